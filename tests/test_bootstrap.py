"""`scripts/`: the choice of Python, the environment, what each target runs."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
posix_only = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`bootstrap.py` as a module that works in a folder of its own."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    module = importlib.import_module("bootstrap")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    for name in ("VENV", "LOCK", "PYPROJECT", "STAMP", "UNFINISHED"):
        path = getattr(module, name).relative_to(ROOT)
        monkeypatch.setattr(module, name, tmp_path / path)
    module.LOCK.write_text("torch==2.13.0\n")
    module.PYPROJECT.write_text("[project]\n")
    monkeypatch.delenv("PYTHON", raising=False)
    return module


def interpreter(**changes: object) -> dict[str, object]:
    found: dict[str, object] = {
        "version": [3, 12, 4],
        "path": "/opt/python/bin/python3.12",
        "venv": True,
        "bits": 64,
        "free_threaded": False,
        "platform": "linux-x86_64",
        "soabi": "cpython-312-x86_64-linux-gnu",
    }
    return {**found, **changes}


def put(folder: Path, name: str, **changes: object) -> Path:
    """A stand-in for a Python, which answers the script's question about itself."""
    path = folder / name
    answer = json.dumps({**interpreter(), "path": str(path), **changes})
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def only(tmp_path: Path, bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH; no other Python can be seen."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "executable", "")
    return folder


# ---------------------------------------------------------------- which Python


def test_an_interpreter_that_fits_has_no_fault(bootstrap: ModuleType) -> None:
    for minor in (11, 12, 13):
        assert bootstrap.unfit(interpreter(version=[3, minor, 0])) == ""


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"version": [3, 10, 13]}, "outside 3.11 to 3.13"),
        ({"version": [3, 14, 0]}, "outside 3.11 to 3.13"),
        ({"version": [2, 7, 18]}, "outside 3.11 to 3.13"),
        ({"bits": 32}, "32-bit"),
        ({"free_threaded": True}, "free-threaded"),
        ({"platform": "macosx-10.13-x86_64"}, "Apple silicon"),
        ({"platform": "win-arm64"}, "x64"),
        ({"soabi": "cpython-312-x86_64-linux-musl"}, "glibc"),
        ({"venv": False}, "lacks the venv module"),
    ],
)
def test_an_interpreter_that_does_not_fit_is_told_why(
    bootstrap: ModuleType, changes: dict[str, object], fault: str
) -> None:
    assert fault in bootstrap.unfit(interpreter(**changes))


@posix_only
def test_the_first_python_that_fits_is_taken(bootstrap: ModuleType, only: Path) -> None:
    put(only, "python3", version=[3, 14, 0])
    broken = only / "python3.13"  # as pyenv's shims: there, and yet no Python
    broken.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    broken.chmod(0o755)
    wanted = put(only, "python3.12")
    put(only, "python3.11", version=[3, 11, 9])
    assert bootstrap.find_python() == str(wanted)


@posix_only
def test_a_named_python_is_the_only_one_tried(
    bootstrap: ModuleType, only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(only, "python3.12")
    named = put(only, "mine", version=[3, 13, 1])
    monkeypatch.setenv("PYTHON", str(named))
    assert bootstrap.find_python() == str(named)
    monkeypatch.setenv("PYTHON", "missing-python")
    with pytest.raises(bootstrap.Problem, match="PYTHON=missing-python does not run"):
        bootstrap.find_python()


@posix_only
def test_where_only_venv_is_missing_the_package_is_named(bootstrap: ModuleType, only: Path) -> None:
    put(only, "python3", version=[3, 10, 13])
    put(only, "python3.11", version=[3, 11, 2], venv=False)
    with pytest.raises(bootstrap.Problem) as raised:
        bootstrap.find_python()
    assert "Python 3.11.2" in str(raised.value)
    if sys.platform == "linux":
        assert "apt-get install python3.11-venv" in str(raised.value)
    assert "\n" not in str(raised.value)


@posix_only
def test_no_python_at_all_is_one_line_with_the_remedy(bootstrap: ModuleType, only: Path) -> None:
    with pytest.raises(bootstrap.Problem, match=r"3\.11 to 3\.13 is needed.*none on the PATH\. \w"):
        bootstrap.find_python()


# ---------------------------------------------------------------- the environment


@pytest.fixture
def installs(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Records what pip would install; environments are made without pip, to be quick."""
    done: list[tuple[str, ...]] = []
    monkeypatch.setattr(bootstrap, "pip_install", lambda *what: done.append(what))
    monkeypatch.setattr(bootstrap, "has_pip", lambda: True)
    monkeypatch.setattr(bootstrap, "run", lambda *command: 0)

    def make_venv() -> None:
        bootstrap.remove_venv()
        bootstrap.VENV.mkdir()
        bootstrap.UNFINISHED.touch()
        command = [sys.executable, "-m", "venv", "--without-pip", str(bootstrap.VENV)]
        subprocess.run(command, check=True)

    monkeypatch.setattr(bootstrap, "make_venv", make_venv)
    return done


def test_a_second_start_installs_nothing(bootstrap: ModuleType, installs: list) -> None:
    bootstrap.ensure_environment()
    assert installs
    installs.clear()
    bootstrap.ensure_environment()
    assert not installs


def test_a_new_lock_or_a_new_extra_installs_again(bootstrap: ModuleType, installs: list) -> None:
    bootstrap.ensure_environment(("dev",))
    bootstrap.LOCK.write_text("torch==2.13.1\n")
    installs.clear()
    bootstrap.ensure_environment()
    assert installs[-1][-1].endswith("[dev]"), "the tools for tests are kept"
    installs.clear()
    bootstrap.ensure_environment(("cluster",))
    assert installs[-1][-1].endswith("[cluster,dev]")


@pytest.mark.parametrize("cut", [KeyboardInterrupt, OSError])
def test_an_install_that_was_cut_off_is_made_anew(
    bootstrap: ModuleType,
    installs: list,
    monkeypatch: pytest.MonkeyPatch,
    cut: type[BaseException],
) -> None:
    def stop(*what: str) -> None:
        raise cut()

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "pip_install", stop)
        with pytest.raises(cut):
            bootstrap.ensure_environment()
    assert bootstrap.UNFINISHED.exists()
    assert not bootstrap.STAMP.exists()
    left_behind = bootstrap.VENV / "half-installed"
    left_behind.touch()
    bootstrap.ensure_environment()
    assert not left_behind.exists()
    assert bootstrap.STAMP.exists()
    assert not bootstrap.UNFINISHED.exists()


def test_a_folder_that_was_moved_gets_a_new_environment(
    bootstrap: ModuleType, installs: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap.ensure_environment()
    moved = bootstrap.ROOT / "moved"  # its scripts name the folder that it was made in
    bootstrap.VENV.rename(moved)
    for name in ("STAMP", "UNFINISHED"):
        monkeypatch.setattr(bootstrap, name, moved / getattr(bootstrap, name).name)
    monkeypatch.setattr(bootstrap, "VENV", moved)
    left_behind = moved / "left-behind"
    left_behind.touch()
    bootstrap.ensure_environment()
    assert not left_behind.exists()


def test_a_second_start_waits_for_the_first(bootstrap: ModuleType, installs: list) -> None:
    with bootstrap.alone():
        second = threading.Thread(target=bootstrap.ensure_environment, daemon=True)
        second.start()
        second.join(timeout=1.5)
        assert second.is_alive()
        assert not installs
    second.join(timeout=60)
    assert not second.is_alive()
    assert installs


def test_a_damaged_stamp_counts_as_none(bootstrap: ModuleType, installs: list) -> None:
    bootstrap.ensure_environment()
    for damage in ("", "{", "[]", '{"fingerprint": 1}'):
        bootstrap.STAMP.write_text(damage)
        installs.clear()
        bootstrap.ensure_environment()
        assert installs


def test_a_full_disk_is_told_before_anything_is_written(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "find_python", lambda: sys.executable)
    monkeypatch.setattr(bootstrap, "FREE_BYTES", 1 << 60)
    with pytest.raises(bootstrap.Problem, match="Free some space"):
        bootstrap.ensure_environment()
    assert not bootstrap.VENV.exists()


# ---------------------------------------------------------------- what the targets run


def lab_command(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    commands: list[tuple[str, ...]] = []

    def run(*command: str) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(bootstrap, "ensure_environment", lambda extras=(): None)
    monkeypatch.setattr(bootstrap, "run", run)
    assert bootstrap.lab(["--port=9000"]) == 0
    return list(commands[0])


def test_lab_opens_lesson_00(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "has_screen", lambda: True)
    assert not any("default_url" in word for word in lab_command(bootstrap, monkeypatch))
    lesson = bootstrap.ROOT / "notebooks" / "00_start_here.ipynb"
    lesson.parent.mkdir()
    lesson.touch()
    command = lab_command(bootstrap, monkeypatch)
    assert "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb" in command
    assert "--no-browser" not in command
    assert command[-1] == "--port=9000"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a screen is taken for granted")
def test_lab_without_a_screen_starts_no_browser(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    assert "--no-browser" in lab_command(bootstrap, monkeypatch)
    monkeypatch.setenv("DISPLAY", ":0")
    assert "--no-browser" not in lab_command(bootstrap, monkeypatch)
    monkeypatch.setenv("SSH_CONNECTION", "there")
    assert "--no-browser" in lab_command(bootstrap, monkeypatch)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no root here")
def test_lab_as_root_is_allowed(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 0)
    assert "--allow-root" in lab_command(bootstrap, monkeypatch)
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000)
    assert "--allow-root" not in lab_command(bootstrap, monkeypatch)


def test_test_stops_at_the_first_step_that_fails(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(bootstrap, "ensure_environment", lambda extras=(): None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for failing in ("ruff", "mypy", "pytest", ""):

        def run(*command: str, failing: str = failing) -> int:
            steps.append(command[1])
            return 3 if command[1] == failing else 0

        steps.clear()
        monkeypatch.setattr(bootstrap, "run", run)
        assert bootstrap.test([]) == (3 if failing else 0)
        assert steps[-1] == (failing or "pytest")


def test_test_runs_every_notebook(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "notebooks/00.ipynb",
        "solutions/challenges/1.ipynb",
        "notebooks/.ipynb_checkpoints/0.ipynb",
    ):
        path = bootstrap.ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert bootstrap.notebooks() == ["solutions/challenges/1.ipynb", "notebooks/00.ipynb"]
