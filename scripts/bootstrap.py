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
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
PYPROJECT = ROOT / "pyproject.toml"
STAMP = VENV / "sculpting-noise.json"
UNFINISHED = VENV / "unfinished"
FIRST_LESSON = Path("notebooks") / "00_start_here.ipynb"

OLDEST, NEWEST = (3, 11), (3, 13)
FREE_BYTES = 2 * 1024**3  # the packages take about 1.5 GB; with CUDA more, which pip reports
CELL_SECONDS = 300
WINDOWS = os.name == "nt"
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

PROBE = """
import json, struct, sys, sysconfig
try:
    import ensurepip, venv
    has_venv = bool(ensurepip.version())
except Exception:
    has_venv = False
print(json.dumps({
    "version": list(sys.version_info[:3]),
    "path": getattr(sys, "_base_executable", None) or sys.executable,
    "venv": has_venv,
    "bits": struct.calcsize("P") * 8,
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "platform": sysconfig.get_platform(),
    "soabi": str(sysconfig.get_config_var("SOABI")),
}))
"""


class Problem(Exception):
    """What is wrong and what to do about it, in one line for the reader."""


def say(text: str) -> None:
    print("sculpting-noise: " + text, flush=True)


# ---------------------------------------------------------------- which Python


def probe(command: "list[str]") -> "dict | None":
    """What the interpreter behind `command` is, or None where there is none that runs."""
    try:
        done = subprocess.run(
            [*command, "-c", PROBE],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        return json.loads(done.stdout.decode()) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def dotted(version: "list[int] | tuple[int, ...]") -> str:
    return ".".join(str(part) for part in version)


def unfit(found: dict) -> str:
    """Why this interpreter can't run the course, or an empty string where it can."""
    name = "Python " + dotted(found["version"]) + " (" + found["path"] + ")"
    if not OLDEST <= tuple(found["version"][:2]) <= NEWEST:
        return name + " is outside " + dotted(OLDEST) + " to " + dotted(NEWEST)
    if found["bits"] != 64:
        return name + " is a 32-bit build, and PyTorch needs a 64-bit one"
    if found["free_threaded"]:
        return name + " is a free-threaded build, and the course needs the usual one"
    if found["platform"].startswith("macosx") and found["platform"].endswith("x86_64"):
        return name + " is an Intel build, and PyTorch for macOS needs an Apple silicon one"
    if found["platform"] == "win-arm64":
        return name + " is an ARM build, and PyTorch for Windows needs an x64 one"
    if "musl" in found["soabi"]:
        return name + " is built for musl, and PyTorch needs glibc (not Alpine)"
    if not found["venv"]:
        return name + " lacks the venv module"
    return ""


def remedy(found: "dict | None") -> str:
    """The command that gets a Python that fits, on this system."""
    if found is not None and not found["venv"] and not unfit({**found, "venv": True}):
        package = "python" + dotted(found["version"][:2]) + "-venv"
        if os.path.realpath(found["path"]) == os.path.realpath("/usr/bin/python3"):
            package = "python3-venv"
        return "On Debian or Ubuntu run `apt-get install " + package + "`, then start again."
    if sys.platform == "darwin":
        return "Run `brew install python@3.12`, then start again."
    if WINDOWS:
        return "Run `winget install Python.Python.3.12`, then start again."
    return (
        "Install Python 3.12 (`apt-get install python3 python3-venv` where that gives 3.11 to "
        "3.13, else conda, pyenv or uv), or name one: `make lab PYTHON=/path/to/python3.12`."
    )


def candidates() -> "list[list[str]]":
    names = ["python3", "python3.13", "python3.12", "python3.11", "python"]
    commands = [[sys.executable]] if sys.executable else []
    if WINDOWS:
        commands += [["py", "-3.13"], ["py", "-3.12"], ["py", "-3.11"]]
    return commands + [[name] for name in names]


def find_python() -> str:
    """The path of a Python that can hold the course.

    PYTHON in the environment names one and is then the only one tried. Otherwise the interpreter
    that runs this script comes first, then what lies on the PATH.

    Raises:
        Problem: none fits.
    """
    named = os.environ.get("PYTHON", "").strip()
    nearest = None
    for command in [[named]] if named else candidates():
        found = probe(command)
        if found is None:
            continue
        if not unfit(found):
            return found["path"]
        # A Python that only lacks venv is nearer to a working course than one of another version.
        if nearest is None or (not found["venv"] and not unfit({**found, "venv": True})):
            nearest = found
    wanted = "Python " + dotted(OLDEST) + " to " + dotted(NEWEST) + " is needed"
    if nearest is not None:
        raise Problem(wanted + ", and " + unfit(nearest) + ". " + remedy(nearest))
    if named:
        raise Problem(wanted + ", and PYTHON=" + named + " does not run. " + remedy(None))
    raise Problem(wanted + ", and there is none on the PATH. " + remedy(None))


# ---------------------------------------------------------------- the environment


def in_venv(name: str) -> Path:
    return VENV / ("Scripts" if WINDOWS else "bin") / (name + (".exe" if WINDOWS else ""))


def fingerprint() -> str:
    """What the environment is made from: the lock, the package's metadata and the folder."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (LOCK, PYPROJECT):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def read_stamp() -> dict:
    """The stamp of a finished environment, or an empty one."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        return {"fingerprint": str(stamp["fingerprint"]), "extras": list(stamp["extras"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"fingerprint": "", "extras": []}


def runs() -> bool:
    """Whether `.venv` was not cut off and holds a Python that fits."""
    if UNFINISHED.exists() or not in_venv("python").exists():
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


def ensure_environment(extras: "tuple[str, ...]" = ()) -> None:
    """Bring `.venv` to what the lock and `extras` ask for. Does nothing where it is so already.

    Raises:
        Problem: no Python fits, or pip fails. The environment then counts as unfinished.
    """
    stamp = read_stamp()
    wanted = fingerprint()
    sound = runs()
    if sound and stamp["fingerprint"] == wanted and set(extras) <= set(stamp["extras"]):
        return
    if sound and has_pip():
        extras = tuple(sorted({*extras, *stamp["extras"]}))
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
    part = STAMP.with_suffix(".part")
    part.write_text(json.dumps({"fingerprint": wanted, "extras": list(extras)}), encoding="utf-8")
    os.replace(str(part), str(STAMP))
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
        steps = (
            ("ruff check", ["check", "."], "`.venv/bin/ruff check --fix .` mends most of it"),
            ("ruff format", ["format", "--check", "."], "`.venv/bin/ruff format .` mends it"),
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
