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

from course_utils.grading.sandbox import INSIDE, PACKAGE, PROCESSES, Sandbox, SandboxError

SECONDS = 60.0
MEGABYTES = 300  # that the probe may take, beside what Python takes by itself

# What runs in the sandbox. It prints one JSON object: what it tried, and what came of it; True
# means that it got through.
ATTEMPTS = r"""
import ctypes, json, os, signal, socket, sys, time
given = json.loads(sys.argv[1])
found = {}

def tries(name):
    def note(attempt):
        try:
            found[name] = bool(attempt())
        except BaseException:
            found[name] = False
    return note

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

@tries("keeps privileges")
def _():
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    least = all(int(status[name], 16) == 0 for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"))
    kept = os.getuid() == 0 or not least or status["NoNewPrivs"].strip() != "1"
    return kept or os.getuid() != given["user"]

@tries("makes a namespace of its own")
def _():
    return ctypes.CDLL(None, use_errno=True).unshare(0x10000000) == 0

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
        held.append(bytearray(32 * 2**20))
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
            from course_utils.grading.process import end

            end(process)
            raise SandboxError(f"the sandbox's probe did not end in {SECONDS:g} s.") from None
    try:
        found = json.loads(out)
    except ValueError:
        said = " ".join(error.decode(errors="replace").split())[-300:]
        raise SandboxError(_why(said)) from None
    return [name for name, got_through in found.items() if got_through]


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
