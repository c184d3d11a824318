"""The project's own files agree with each other: lock, environments, Makefile, README, CI."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11.0", "3.11.7", "3.12.1", "3.13.0")
SYSTEMS = (
    {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux"},
    {"sys_platform": "darwin", "os_name": "posix", "platform_system": "Darwin"},
    {"sys_platform": "win32", "os_name": "nt", "platform_system": "Windows"},
)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pyproject() -> dict:
    return tomllib.loads(read("pyproject.toml"))


def lock() -> list[Requirement]:
    lines = read("requirements.lock").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def locked_versions(python: str, system: dict[str, str]) -> dict[str, str]:
    """The version of each package that the lock asks for on one Python and system."""
    machine = "AMD64" if system["os_name"] == "nt" else "x86_64"
    where = {
        **system,
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "platform_machine": machine,
    }
    versions: dict[str, str] = {}
    for line in lock():
        if line.marker is None or line.marker.evaluate(where):
            name = canonicalize_name(line.name)
            assert name not in versions, f"{name} is in the lock twice for Python {python}"
            versions[name] = str(line.specifier).removeprefix("==")
    return versions


def asked_for() -> list[Requirement]:
    """Everything that pyproject.toml names."""
    project = pyproject()["project"]
    lines = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        lines += extra
    return [Requirement(line) for line in lines]


def tracked() -> list[Path]:
    """The files of the repository, those not yet committed among them."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    names = [name for name in done.stdout.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def tracked_texts() -> list[tuple[Path, str]]:
    texts = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            texts.append((path.relative_to(ROOT), data.decode("utf-8")))
    return texts


# ---------------------------------------------------------------- the lock


def test_the_lock_pins_exact_versions() -> None:
    for line in lock():
        assert re.fullmatch(r"==[0-9a-z.]+", str(line.specifier)), f"{line} is not an exact version"
        assert line.url is None and not line.extras


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system["sys_platform"])
def test_the_lock_has_all_that_pyproject_asks_for(python: str, system: dict[str, str]) -> None:
    versions = locked_versions(python, system)
    for wanted in asked_for():
        name = canonicalize_name(wanted.name)
        assert name in versions, f"{name} is in pyproject.toml, not in the lock: run `make lock`"
        assert wanted.specifier.contains(versions[name]), (
            f"the lock has {name} {versions[name]}, pyproject.toml wants {wanted.specifier}"
        )


def test_the_lock_leaves_the_choice_of_torch_build_to_the_machine() -> None:
    versions = locked_versions("3.11.7", SYSTEMS[0])
    assert Version(versions["torch"]).local is None
    assert "torchvision" not in versions
    forced = [name for name in versions if name.startswith(("nvidia-", "cuda-", "triton"))]
    assert not forced, f"the lock forces CUDA packages on every machine: {forced}"


def test_every_package_that_the_course_imports_is_asked_for() -> None:
    homes = importlib.metadata.packages_distributions()
    declared = {canonicalize_name(requirement.name) for requirement in asked_for()}
    for path in sorted((ROOT / "course_utils").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names):
                if name != "course_utils":
                    found = {canonicalize_name(home) for home in homes.get(name, [])}
                    assert found & declared, (
                        f"{path.name} imports {name}; name it in pyproject.toml"
                    )


# ---------------------------------------------------------------- conda


def conda() -> tuple[dict[str, str], list[str]]:
    """What environment.yml takes from conda-forge, and the lines that it hands to pip."""
    environment = yaml.safe_load(read("environment.yml"))
    packages: dict[str, str] = {}
    pip: list[str] = []
    for entry in environment["dependencies"]:
        if isinstance(entry, dict):
            pip = entry["pip"]
        else:
            name, _, version = entry.partition("=")
            packages[name] = version
    return packages, pip


def test_conda_users_get_the_versions_of_the_lock() -> None:
    packages, pip = conda()
    versions = locked_versions(packages["python"] + ".0", SYSTEMS[0])
    assert packages["pytorch"] == versions["torch"]
    assert packages["numpy"] == versions["numpy"]
    named = {"torch", "numpy"}
    for line in pip:
        if not line.startswith("-"):
            name, _, version = line.partition("==")
            named.add(canonicalize_name(name))
            assert version == versions[canonicalize_name(name)], f"{name} differs from the lock"
    wanted = {
        canonicalize_name(Requirement(r).name) for r in pyproject()["project"]["dependencies"]
    }
    assert named == wanted
    assert "-e ." in pip


# ---------------------------------------------------------------- README, Makefile, CI


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", read("Makefile"), flags=re.MULTILINE))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_every_make_command_in_the_texts_exists(name: str) -> None:
    code = re.findall(r"`[^`]+`|^(?: {4}|\$ )?make .*$", read(name), flags=re.MULTILINE)
    used = {match for text in code for match in re.findall(r"\bmake ([a-z]+)\b(?!:)", text)}
    assert used, f"{name} names no make command"
    assert used <= targets(), f"the Makefile lacks {sorted(used - targets())}"


def test_every_task_of_the_script_in_the_texts_exists() -> None:
    script = ROOT / "scripts" / "bootstrap.py"
    shown = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=True
    ).stdout
    tasks = set(re.findall(r"\{([a-z,]+)\}", shown)[0].split(","))
    used = set(re.findall(r"bootstrap\.py ([a-z]+)", read("README.md")))
    called = set(re.findall(r"\(call bootstrap,([a-z]+)", read("Makefile")))
    assert {"lab", "test"} <= used
    assert used | called <= tasks


def test_every_course_command_in_the_texts_exists() -> None:
    from course_utils.cli import COMMANDS

    for name in ("README.md", "CONTRIBUTING.md"):
        for block in re.findall(r"^```\n(.*?)^```", read(name), flags=re.MULTILINE | re.DOTALL):
            used = set(re.findall(r"^course (\w+)", block, flags=re.MULTILINE))
            assert used <= set(COMMANDS), f"{name}: no course {sorted(used - set(COMMANDS))}"


def test_make_help_lists_every_target() -> None:
    described = set(re.findall(r"^([a-z]+):.*## ", read("Makefile"), flags=re.MULTILINE))
    assert described == targets()


def test_ci_runs_what_everybody_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert read(".ci/run").startswith("#!/usr/bin/env bash\n")
    assert re.search(r"^make test$", read(".ci/run"), flags=re.MULTILINE)
    assert re.search(r"^set -euo pipefail$", read(".ci/run"), flags=re.MULTILINE)
    if os.name == "posix":
        assert os.access(script, os.X_OK)


def test_links_and_pictures_of_the_texts_exist() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", read(name)):
            if "://" not in target:
                assert (ROOT / target.split("#")[0]).exists(), f"{name} points to {target}"


def test_the_readme_marks_as_ready_only_lessons_that_exist() -> None:
    rows = re.findall(r"^\| (\d\d) \|.*\| (\w+) \|$", read("README.md"), flags=re.MULTILINE)
    assert [number for number, _ in rows] == [f"{number:02d}" for number in range(13)]
    for number, status in rows:
        exists = bool(list((ROOT / "notebooks").glob(f"{number}_*.ipynb")))
        assert status == ("ready" if exists else "planned"), f"lesson {number}"


def test_no_figure_of_the_readme_is_left_open() -> None:
    assert not re.findall(r"<!-- measured:.*?-->", read("README.md"), flags=re.DOTALL)


def test_the_licences_are_there() -> None:
    assert "Version 2.0, January 2004" in read("LICENSE")
    assert "The Sculpting Noise authors" in read("LICENSE")
    assert (ROOT / "course_utils" / "data" / "art" / "LICENSES.md").exists()
    assert pyproject()["project"]["license"] == "Apache-2.0"


# ---------------------------------------------------------------- what must not be in the files


def test_no_package_registry_is_named_by_its_address() -> None:
    hosts = r"pypi|pythonhosted|npmjs|yarnpkg|anaconda|conda|debian|ubuntu|download\.pytorch"
    for path, text in tracked_texts():
        found = re.search(rf"https?://[\w.-]*(?:{hosts})[\w.-]*", text)
        assert found is None, f"{path} names a registry: {found and found.group()}"


def test_no_path_of_one_machine_is_in_the_files() -> None:
    for path, text in tracked_texts():
        found = re.search(r"(?<![\w.:/~-])/(?:root|work)/\w+", text)
        assert found is None, f"{path} holds a path of one machine: {found and found.group()}"


def test_no_file_is_too_large_to_keep_in_git() -> None:
    for path in tracked():
        size = path.stat().st_size
        # The largest is the U-Net, 34 MB in one file, as diffusers writes and reads it.
        assert size < 36 * 1024**2, f"{path.relative_to(ROOT)} has {size / 1024**2:.1f} MB"


def test_the_readme_s_lessons_are_those_of_the_course() -> None:
    from course_utils.lessons import LESSONS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for lesson in LESSONS:
        status = "ready" if lesson.written else "planned"
        row = f"| {lesson.number} | {lesson.title} | {lesson.question} | {status} |"
        assert row in readme, row


def test_notebooks_take_their_minutes_from_the_course() -> None:
    from course_utils.lessons import LESSONS

    for lesson in LESSONS:
        if lesson.written:
            text = lesson.solution.read_text(encoding="utf-8")
            call = f'Runtime.start(\\"{lesson.number}\\")'
            assert call in text, lesson.name
            assert f"about {lesson.minutes} minutes" in text, lesson.name
