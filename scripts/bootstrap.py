"""Make the course's environment and run its parts: what every target of the Makefile calls.

Works without make as well, on every system that Python runs on::

    python scripts/bootstrap.py lab     # JupyterLab on lesson 00
    python scripts/bootstrap.py test    # style, types, tests, notebooks

It needs nothing but a Python, and the Python that starts it may be too old or too new for the
course: it then looks for one that fits. The environment is `.venv` at the top of the repository.
A stamp inside it tells what it was made from, so a second start installs nothing. An install that
was cut off leaves a mark, and the next start makes the environment anew.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Iterator

from find_python import WINDOWS, Problem, find_python, probe, remedy, unfit

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
PYPROJECT = ROOT / "pyproject.toml"
STAMP = VENV / "sculpting-noise.json"
UNFINISHED = VENV / "unfinished"
FIRST_LESSON = Path("notebooks") / "00_start_here.ipynb"

FREE_BYTES = 2 * 1024**3  # the packages take about 1.5 GB; CUDA takes more, which pip reports
CELL_SECONDS = 300
# Imported once after an install: it shows that they work, and Python keeps them compiled.
TRIED = (
    "accelerate",
    "ipykernel.kernelapp",
    "ipywidgets",
    "jupyterlab.labapp",
    "matplotlib.pyplot",
    "PIL.Image",
    "torch",
)


def say(text: str) -> None:
    print("sculpting-noise: " + text, flush=True)


# ---------------------------------------------------------------- the environment


def in_venv(name: str) -> Path:
    return VENV / ("Scripts" if WINDOWS else "bin") / (name + (".exe" if WINDOWS else ""))


def fingerprint() -> str:
    """What the environment is made from: the lock and the package's metadata."""
    digest = hashlib.sha256()
    for path in (LOCK, PYPROJECT):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def read_stamp() -> dict:
    """The stamp of a finished environment, or one that fits nothing."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        return {
            "fingerprint": str(stamp["fingerprint"]),
            "extras": list(stamp["extras"]),
            "folder": str(stamp["folder"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {"fingerprint": "", "extras": [], "folder": str(VENV)}


def write_stamp(extras: "tuple[str, ...]") -> None:
    stamp = {"fingerprint": fingerprint(), "extras": list(extras), "folder": str(VENV)}
    part = STAMP.with_suffix(".part")
    part.write_text(json.dumps(stamp), encoding="utf-8")
    os.replace(str(part), str(STAMP))


def runs() -> bool:
    """Whether `.venv` is whole, was made in this very folder and holds a Python that fits."""
    if UNFINISHED.exists() or not in_venv("python").exists():
        return False
    if read_stamp()["folder"] != str(VENV):
        return False
    found = probe([str(in_venv("python"))])
    return found is not None and not unfit({**found, "venv": True})


def has_pip() -> bool:
    command = [str(in_venv("python")), "-m", "pip", "--version"]
    silent = subprocess.DEVNULL
    return subprocess.run(command, stdout=silent, stderr=silent).returncode == 0


def environment() -> "dict[str, str]":
    """The variables for commands inside `.venv`: as after its activation."""
    variables = dict(os.environ)
    variables.pop("PYTHONHOME", None)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # else every start compiles all it imports
    variables["VIRTUAL_ENV"] = str(VENV)
    variables["PATH"] = str(in_venv("python").parent) + os.pathsep + variables.get("PATH", "")
    variables["PIP_USER"] = "0"  # a user's `--user` default can't work inside an environment
    variables["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return variables


def run(*command: str) -> int:
    """Run one command of `.venv` at the top of the repository; its exit status.

    Ctrl-C reaches the command as well as this script: the command ends in its own way first.
    """
    full = [str(in_venv("python")), *command]
    process = subprocess.Popen(full, cwd=str(ROOT), env=environment())
    interrupted = False
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return status


def pip_install(*what: str) -> None:
    # The lock is a constraint, not a list: pip installs what is asked for, at the lock's versions.
    # Compiling every module takes longer than all the rest, so Python compiles what it imports.
    command = ["-m", "pip", "install", "--no-compile", "--constraint", str(LOCK)]
    if run(*command, *what) != 0:
        raise Problem(
            "pip could not install the packages; its own lines above say why. With no network or "
            "behind a mirror set PIP_INDEX_URL or pip.conf; then start again, downloads are kept."
        )


def remove_venv() -> None:
    """Take `.venv` out of the way in one step, then delete it."""
    if VENV.is_symlink():
        VENV.unlink()
    elif VENV.exists():
        try:
            VENV.rename(ROOT / ".venv.old-{}".format(os.getpid()))
        except OSError as error:
            raise Problem(
                "{} can't be replaced ({}). Close what uses it or delete it, start again.".format(
                    VENV, error.strerror
                )
            ) from error
    for old in ROOT.glob(".venv.old-*"):
        shutil.rmtree(str(old), ignore_errors=True)


def make_venv() -> None:
    python = find_python()
    if VENV.exists():
        say("making .venv anew: it was unfinished, moved, or its Python no longer fits")
    remove_venv()
    free = shutil.disk_usage(str(ROOT)).free
    if free < FREE_BYTES:
        raise Problem(
            "The disk of {} has {:.1f} GB free, and the packages need {:.1f} GB. Free some space, "
            "then start again.".format(ROOT, free / 1e9, FREE_BYTES / 1e9)
        )
    VENV.mkdir()
    UNFINISHED.touch()
    say("making .venv with " + python)
    if subprocess.run([python, "-m", "venv", str(VENV)]).returncode != 0:
        known = probe([python])
        fix = remedy({**known, "venv": False} if known else None)
        raise Problem("Python could not make .venv; its own lines above say why. " + fix)


@contextlib.contextmanager
def alone() -> "Iterator[None]":
    """Hold the right to change `.venv`. A second start waits here until the first is done."""

    def take(handle: IO) -> bool:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            pass  # a file system without locks: go on without one
        return True

    with open(str(ROOT / ".venv.lock"), "a") as handle:
        if not take(handle):
            say("another start is making .venv; this one waits for it")
            while not take(handle):
                time.sleep(0.5)
        yield


def ready(extras: "tuple[str, ...]") -> bool:
    """Whether `.venv` holds what the lock and `extras` ask for."""
    stamp = read_stamp()
    return stamp["fingerprint"] == fingerprint() and set(extras) <= set(stamp["extras"]) and runs()


def ensure_environment(extras: "tuple[str, ...]" = ()) -> None:
    """Bring `.venv` to what the lock and `extras` ask for. Does nothing where it is so already.

    Raises:
        Problem: no Python fits, or pip fails. The environment then counts as unfinished.
    """
    if ready(extras):
        return
    with alone():
        if not ready(extras):
            install(extras)


def install(extras: "tuple[str, ...]") -> None:
    if runs() and has_pip():
        extras = tuple(sorted({*extras, *read_stamp()["extras"]}))
    else:
        make_venv()
    UNFINISHED.touch()
    if STAMP.exists():
        STAMP.unlink()
    say("installing the packages into .venv (some minutes the first time)")
    pip_install("setuptools")
    target = str(ROOT) + ("[" + ",".join(extras) + "]" if extras else "")
    pip_install("--no-build-isolation", "--editable", target)
    # JupyterLab asks about its news on first start; the course does not call home.
    config = VENV / "etc" / "jupyter" / "labconfig" / "page_config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    disabled = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    config.write_text(json.dumps(disabled), encoding="utf-8")
    say("trying the packages")
    if run("-c", "import " + ", ".join(TRIED)) != 0:
        raise Problem("The packages are in .venv but do not start; the lines above say why.")
    write_stamp(extras)
    UNFINISHED.unlink()
    say("the environment is ready: " + str(VENV))


# ---------------------------------------------------------------- what the targets do


def has_screen() -> bool:
    """Whether a browser can open here."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    if WINDOWS or sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def lab(arguments: "list[str]") -> int:
    """Open JupyterLab on lesson 00."""
    ensure_environment()
    command = [
        "-m",
        "jupyterlab",
        "--ServerApp.root_dir=" + str(ROOT),
        "--ServerApp.answer_yes=True",
        "--LabApp.log_level=ERROR",
        "--ServerApp.log_level=ERROR",
    ]
    if (ROOT / FIRST_LESSON).exists():
        command.append("--LabApp.default_url=/lab/tree/" + FIRST_LESSON.as_posix())
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    if has_screen():
        say("JupyterLab opens in the browser; Ctrl-C here stops it")
    else:
        command.append("--no-browser")
        say("no screen here: open the address below in a browser; Ctrl-C here stops the server")
    try:
        return run(*command, *arguments)
    except KeyboardInterrupt:
        say("JupyterLab has stopped")
        return 0


def notebooks() -> "list[str]":
    """Every notebook that must run from top to bottom."""
    found = []
    for folder in ("solutions", "notebooks", "challenges"):
        for path in sorted((ROOT / folder).glob("**/*.ipynb")):
            if ".ipynb_checkpoints" not in path.parts:
                found.append(path.relative_to(ROOT).as_posix())
    return found


def test(arguments: "list[str]") -> int:
    """Run style, types, tests and notebooks; with arguments only pytest, on what they name."""
    ensure_environment(("dev",))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers, each on its own core
    if not arguments:
        ruff = str(in_venv("ruff").relative_to(ROOT))
        steps = (
            ("ruff check", ["check", "."], "`" + ruff + " check --fix .` mends most of it"),
            ("ruff format", ["format", "--check", "."], "`" + ruff + " format .` mends it"),
            ("mypy", ["--pretty"], "the lines above name each place"),
        )
        for name, rest, hint in steps:
            say(name)
            status = run("-m", name.split()[0], *rest)
            if status != 0:
                say(name + " found faults: " + hint)
                return status
    say("pytest")
    command = ["-m", "pytest", "-n", "2", "--dist", "loadfile", "--nbval-lax"]
    command += ["--nbval-current-env", "--nbval-cell-timeout={}".format(CELL_SECONDS)]
    if not any((ROOT / word.split("::")[0]).exists() for word in arguments):
        command += ["tests", *notebooks()]
    return run(*command, *arguments)


def bench(arguments: "list[str]") -> int:
    """Run the benchmarks."""
    ensure_environment()
    return run("-m", "course_utils.bench", *arguments)


def env(arguments: "list[str]") -> int:
    """Make the environment and start nothing; `env dev` adds the tools for tests."""
    ensure_environment(tuple(arguments))
    return 0


def lock(arguments: "list[str]") -> int:
    """Write requirements.lock anew."""
    script = str(ROOT / "scripts" / "lock.py")
    return subprocess.run([find_python(), script, *arguments], cwd=str(ROOT)).returncode


def clean(arguments: "list[str]") -> int:
    """Delete the environment and the caches; trained runs stay."""
    remove_venv()
    for name in (".mypy_cache", ".pytest_cache", ".ruff_cache", "build", "dist"):
        shutil.rmtree(str(ROOT / name), ignore_errors=True)
    for folder in ("course_utils", "scripts", "tests"):
        for cache in list((ROOT / folder).glob("**/__pycache__")):
            shutil.rmtree(str(cache), ignore_errors=True)
    for info in ROOT.glob("*.egg-info"):
        shutil.rmtree(str(info), ignore_errors=True)
    return 0


TASKS = {"lab": lab, "test": test, "bench": bench, "env": env, "lock": lock, "clean": clean}


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Make the course's environment and run its parts.",
        epilog="What follows the task goes to the program behind it: "
        "`lab --port 9000`, `test -k unet`.",
    )
    parser.add_argument("task", choices=sorted(TASKS), help="what to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        return TASKS[options.task](options.arguments)
    except Problem as problem:
        print("sculpting-noise: " + str(problem), file=sys.stderr, flush=True)
        return 1
    except OSError as error:
        print("sculpting-noise: " + str(error), file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
