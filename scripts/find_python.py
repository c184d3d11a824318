"""Find a Python that can hold the course, or say in one line what is missing and how to get it."""

import json
import os
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
WINDOWS = os.name == "nt"

# Each candidate answers this for itself; it may be any Python, even one of version 2.
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
