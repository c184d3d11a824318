"""Is the sandbox in force on this machine? Tries to break out of it, before anything is graded."""

from __future__ import annotations

import functools
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from course_utils.grading.answers.process import end
from course_utils.grading.answers.visibility import PACKAGE, WITHHELD_ALWAYS
from course_utils.grading.sandbox import seccomp
from course_utils.grading.sandbox.bubblewrap import (
    DEVICES,
    FOLDER_MB,
    INSIDE,
    PROCESSES,
    Sandbox,
    SandboxError,
    packages,
)

SECONDS = 60.0
MEGABYTES = 100  # that the probe may take, beside what Python takes by itself

# What runs in the sandbox. It prints one JSON object: what it tried, and what came of it; True
# means that it got through.
ATTEMPTS = r"""
import ctypes, json, mmap, os, resource, signal, socket, sys, time
given = json.loads(sys.argv[1])
found = {}

def tries(name):
    def note(attempt):
        try:
            found[name] = bool(attempt())
        except BaseException:
            found[name] = False
    return note

def lacks(name):
    def note(attempt):
        try:
            found[name] = not attempt()
        except BaseException:
            found[name] = True
    return note

libc = ctypes.CDLL(None, use_errno=True)

@tries("reads a file of the grader")
def _():
    return open(given["canary"]).read()

@tries("sees the course's tests, checks, judge or solutions")
def _():
    return any(os.path.exists(path) for path in given["hidden"])

@tries("finds a secret in the environment")
def _():
    return given["word"] in str(dict(os.environ))

@tries("writes outside its folder")
def _():
    for folder in ("/", "/usr", "/dev", "/course", "/etc", os.path.dirname(sys.executable)):
        try:
            open(folder + "/written", "w").close()
            return True
        except OSError:
            pass

@tries("writes more than its folder holds")
def _():
    for number in range(8):
        with open(f"/tmp/{number}", "wb") as file:
            for _ in range(40):
                file.write(bytes(2**20))
    return True

@tries("reaches the network")
def _():
    with socket.create_connection(("127.0.0.1", given["port"]), timeout=2):
        return True

@lacks("keeps privileges")
def _():
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    least = all(int(status[name], 16) == 0 for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"))
    mapped = [int(word) for word in open("/proc/self/uid_map").read().split()]
    nobody = os.getuid() == given["user"] == mapped[0] and mapped[2] == 1
    return least and nobody and status["NoNewPrivs"].strip() == "1"

@lacks("lives in the grader's namespaces")
def _():
    names = set(given["own"]) - {"time", "time_for_children"}  # bubblewrap has none of these
    return all(os.readlink(f"/proc/self/ns/{name}") != given["own"][name] for name in names)

@lacks("is in the grader's session, or not the first process of its own")
def _():
    return os.getpid() == os.getsid(0) == os.getpgid(0) == 1

@lacks("outlives the grader")
def _():
    number = ctypes.c_int()
    libc.prctl(2, ctypes.byref(number))  # PR_GET_PDEATHSIG
    return number.value == signal.SIGKILL and (libc.prctl(1, 0) == -1 or not given["filtered"])

@lacks("may call all of the kernel")
def _():
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return status["Seccomp"].strip() == "2" or not given["filtered"]

@lacks("has mounts that can be written and hold more than a little")
def _():
    for line in open("/proc/self/mountinfo"):
        before, after = line.split(" - ")
        point, options = before.split()[4:6]
        kind = after.split()[0]
        if "ro" in options.split(",") or kind == "proc" or not os.path.isdir(point):
            continue
        state = os.statvfs(point)
        if kind != "tmpfs" or state.f_frsize * state.f_blocks > given["folder"]:
            return False
    return set(os.listdir("/dev")) <= {"fd", "shm", *given["devices"]}

@lacks("has limits that are too high, or none")
def _():
    return all(
        0 <= resource.getrlimit(getattr(resource, "RLIMIT_" + name.upper()))[1] <= most
        for name, most in given["limits"].items()
    )

@tries("takes memory that nobody counts")
def _():
    if given["filtered"]:
        mmap.mmap(-1, 4096)
        return True

@tries("sees packages that are withheld")
def _():
    return any(os.path.isdir(path) and os.listdir(path) for path in given["withheld"])

@tries("makes a namespace of its own")
def _():
    return libc.unshare(0x10000000) == 0

@tries("sees processes outside")
def _():
    return sum(name.isdigit() for name in os.listdir("/proc")) > 4

@tries("signals the grader")
def _():
    os.kill(given["parent"], 0)
    return given["parent"] != os.getpid()

@tries("starts processes without end")
def _():
    started = []
    try:
        for _ in range(4 * given["processes"]):
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            started.append(child)
    finally:
        for child in started:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return True

@tries("takes memory without end")
def _():
    held = []
    for _ in range(64):
        held.append(mmap.mmap(-1, 32 * 2**20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    return True

print(json.dumps(found))
"""


def probe(sandbox: Sandbox | None = None) -> list[str]:
    """Try to break out.

    Args:
        sandbox: which; one that withholds nothing by default.

    Returns:
        What got through, in words; empty where the sandbox holds.

    Raises:
        SandboxError: it does not start.
    """
    sandbox = sandbox or Sandbox()
    word = secrets.token_hex(12)
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        canary = Path(folder, "canary")
        canary.write_text(word)
        hidden = [PACKAGE / name for name in ("checks", "evaluation", "weights", "data")]
        hidden += [PACKAGE.parent / name for name in ("tests", "solutions", "challenges")]
        hidden.append(Path("/course/course_utils/checks"))
        given: dict[str, Any] = {
            "canary": str(canary),
            "hidden": [str(path) for path in hidden],
            "word": word,
            "port": server.getsockname()[1],
            "parent": os.getpid(),
            "processes": PROCESSES,
            "user": INSIDE,
            "own": {path.name: os.readlink(path) for path in Path("/proc/self/ns").glob("*")},
            "filtered": seccomp.program() is not None,
            "folder": FOLDER_MB * 2**20,
            "devices": DEVICES,
            "limits": _hard(Sandbox.limits(sandbox, MEGABYTES)),
            "withheld": [str(f / name) for f in packages() for name in WITHHELD_ALWAYS],
        }
        command = [sys.executable, "-I", "-B", "-c", ATTEMPTS, json.dumps(given)]
        process = sandbox.start(
            command,
            MEGABYTES,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        try:
            out, error = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            end(process)
            raise SandboxError(f"the sandbox's probe did not end in {SECONDS:g} s.") from None
    try:
        found = json.loads(out)
    except ValueError:
        said = " ".join(error.decode(errors="replace").split())[-300:]
        raise SandboxError(_why(said)) from None
    return [name for name, got_through in found.items() if got_through]


def _hard(command: list[str]) -> dict[str, int]:
    """The hard limits that a command sets."""
    pairs = [word.removeprefix("--").split("=") for word in command if "=" in word]
    return {name: int(value.split(":")[1]) for name, value in pairs}


def _why(said: str) -> str:
    """What keeps bubblewrap from working, and the remedy."""
    if "namespace" in said or "uid map" in said:
        return (
            f"bubblewrap may not make a user namespace here ({said}). Where the setting exists: "
            "`sudo sysctl kernel.unprivileged_userns_clone=1`; on Ubuntu 24.04 and later: "
            "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`; in a container: run "
            "the grader outside of it, or give the container that right."
        )
    return f"the sandbox does not start here: {said or 'it ended without a word'}."


@functools.lru_cache
def require() -> None:
    """Refuse to go on where the sandbox is not in force.

    Raises:
        SandboxError: with the reason, and the command that helps.
    """
    through = probe()
    if through:
        raise SandboxError(
            "the sandbox does not hold here: what runs in it "
            + ", ".join(through)
            + ". Nothing is graded. Please grade on another machine, and report this."
        )


def state(check: Callable[[], None] = require) -> str:
    """For `course doctor`: one line on the sandbox."""
    try:
        check()
    except SandboxError as error:
        return f"not in force: {error}".rstrip(".")
    except OSError as error:
        return f"not in force: {error.strerror}"
    return "in force"
