"""Where answers run when they are graded: bubblewrap, without network, with next to nothing to see.

A sandbox shows Python, its packages and a few modules of `course_utils`, all read-only, and one
small folder of its own in memory. Tests, references, the judge, the art, solutions, other
submissions and results are not hidden there: they do not exist. In force are a user namespace with
an unprivileged user and no capability, namespaces for processes, network, interprocess
communication, host name and control groups, a filter of system calls (`seccomp`), no further
namespaces, a new session, an empty environment, limits on processor time, memory, processes, open
files and file size, and death with the parent.

A grader that is root must not lend root's identity to answers, because limits on processes do not
hold for root: an outer bubblewrap first makes the paths reachable, drops to an unused user and then
starts the same inner one that other users start.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils.challenges.declare import Challenge, Limits
from course_utils.grading.answers.visibility import (
    PACKAGE,
    WITHHELD_ALWAYS,
    course_files,
    hidden_modules,
)
from course_utils.grading.sandbox import seccomp

USER = 64_321  # for a root grader: a user id that no account has
INSIDE = 65_534  # what the answer sees itself as: nobody
FOLDER_MB = 64  # of the private folder
PROCESSES = 64  # threads count too
OPEN_FILES = 256
DEVICES = ("null", "full", "random", "urandom")
FILE_MB = 64
DATA_MB = 400  # private memory that Python and torch take before an answer does anything
REMEDY = "On Debian and Ubuntu: `sudo apt-get install bubblewrap`."


class SandboxError(RuntimeError):
    """The sandbox can't be used here; the message says why and what to do."""


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        remedy = REMEDY if name == "bwrap" else "It is part of the package util-linux."
        raise SandboxError(f"{name} is missing. {remedy}")
    return found


@functools.lru_cache
def bwrap_version() -> tuple[int, ...]:
    """Of bubblewrap.

    Raises:
        SandboxError: it is missing, or this is not Linux.
    """
    if sys.platform != "linux":
        raise SandboxError(
            f"the sandbox needs Linux; this is {platform.system()}. Grade on a Linux machine, or "
            "in a Linux virtual machine."
        )
    text = subprocess.run([_tool("bwrap"), "--version"], capture_output=True, text=True).stdout
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def environment(withheld: Sequence[str] = (), threads: int = 1) -> dict[str, str]:
    """The whole environment of an answer."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "USER": "learner",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/course",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "COURSE_WITHHELD": ",".join(hidden_modules(withheld)),
    }


@functools.lru_cache
def _system() -> tuple[str, ...]:
    """bwrap's arguments for the system, Python and its packages, read-only."""
    prefixes = [Path(sys.base_prefix), Path(sys.prefix), Path(sys.executable).resolve().parents[1]]
    prefixes = [each for prefix in prefixes for each in (prefix.resolve(), prefix)]
    arguments = _folders([Path("/etc/-"), Path("/sys/devices/system/cpu"), *prefixes])
    bound: list[Path] = []

    def bind(path: Path) -> None:
        if path.exists() and not any(path.is_relative_to(other) for other in bound):
            bound.append(path)
            arguments.extend(["--ro-bind", str(path), str(path)])

    bind(Path("/usr"))
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            arguments.extend(["--symlink", os.readlink(path), str(path)])
        else:
            bind(path)
    for name in ("/etc/ld.so.cache", "/etc/alternatives", "/sys/devices/system/cpu"):
        bind(Path(name))
    for prefix in prefixes:
        bind(prefix)
    return tuple(arguments)


def _folders(paths: Sequence[Path]) -> list[str]:
    """bwrap's arguments for the folders above these paths, which everybody may enter.

    Where bubblewrap makes a file's folder by itself, only its owner may.
    """
    every = sorted({folder for path in paths for folder in path.parents if folder.parent != folder})
    return [word for folder in every for word in ("--dir", str(folder))]


def packages() -> list[Path]:
    """The folders that packages are installed in."""
    return [Path(path) for path in site.getsitepackages() if Path(path).is_dir()]


def _without(names: Sequence[str]) -> list[str]:
    """bwrap's arguments that put nothing in the place of packages; the course's own is one."""
    arguments: list[str] = []
    for folder in packages():
        for name in ("course_utils", *names):
            if (folder / name).is_dir():
                arguments += ["--tmpfs", str(folder / name), "--remount-ro", str(folder / name)]
    return arguments


@dataclass(frozen=True)
class Sandbox:
    """Starts processes in a sandbox.

    Attributes:
        withheld: modules of `course_utils`, and packages, that are not there.
        threads: of torch.
        processor_seconds: that one process may use before it is killed.
    """

    withheld: tuple[str, ...] = ()
    threads: int = 1
    processor_seconds: int = 600

    @staticmethod
    def for_challenge(challenge: Challenge, threads: int = 1) -> Sandbox:
        """With what a challenge withholds, and time for all of its calls."""
        seconds = sum(10 * part.limits.seconds for part in challenge.parts)
        return Sandbox(challenge.withheld, threads, int(60 + threads * seconds))

    def limits(self, megabytes: int) -> list[str]:
        """The command that sets limits; private memory is counted, which torch can live with."""
        bytes_ = (megabytes + DATA_MB) * 2**20
        return [
            _tool("prlimit"),
            f"--data={bytes_}:{bytes_}",
            f"--cpu={self.processor_seconds}:{self.processor_seconds + 5}",
            f"--nproc={PROCESSES}:{PROCESSES}",
            f"--nofile={OPEN_FILES}:{OPEN_FILES}",
            f"--fsize={FILE_MB * 2**20}:{FILE_MB * 2**20}",
            "--core=0:0",
            "--memlock=65536:65536",
        ]

    def arguments(self) -> list[str]:
        """bwrap's arguments, without what is run."""
        found = ["--unshare-user", "--unshare-all", "--uid", str(INSIDE), "--gid", str(INSIDE)]
        if bwrap_version() >= (0, 8):
            found.append("--disable-userns")
        found += ["--cap-drop", "ALL", "--new-session", "--die-with-parent", "--hostname", "answer"]
        found.append("--as-pid-1")  # bubblewrap's own first process would have none of the limits
        # Before the rest: the course itself may lie below /tmp.
        found += ["--size", str(FOLDER_MB * 2**20), "--tmpfs", "/tmp"]
        found += [*_system(), *_without([n for n in self.hidden if "." not in n])]
        for path in course_files(self.withheld):
            found += ["--ro-bind", str(PACKAGE / path), f"/course/course_utils/{path}"]
        # No /dev/zero, whose shared mappings nothing counts, and no terminals: they are the host's.
        found += ["--proc", "/proc", "--tmpfs", "/dev", "--symlink", "/proc/self/fd", "/dev/fd"]
        for device in DEVICES:
            found += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
        found += ["--size", str(FOLDER_MB * 2**20), "--tmpfs", "/dev/shm"]
        found += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--clearenv"]
        for name, value in environment(self.withheld, self.threads).items():
            found += ["--setenv", name, value]
        return found

    @property
    def hidden(self) -> tuple[str, ...]:
        """Modules and packages that are not there."""
        return (*self.withheld, *WITHHELD_ALWAYS)

    def start(
        self, command: Sequence[str], megabytes: int = 3000, **popen: Any
    ) -> subprocess.Popen[bytes]:
        """Start a command in a new sandbox.

        Args:
            command: what runs in it.
            megabytes: of private memory for one process.
            popen: for `subprocess.Popen`.

        Raises:
            SandboxError: a tool is missing.
        """
        inner = [_tool("bwrap"), *self.arguments()]
        filter = seccomp.program()
        if filter is None:
            whole = [*self._outer(), *inner, *self._ending(command, megabytes)]
            return subprocess.Popen(whole, env={"PATH": "/usr/bin:/bin"}, **popen)
        read, write = os.pipe()
        try:
            os.write(write, filter)  # smaller than a pipe holds
            os.close(write)
            inner += ["--seccomp", str(read)]
            return subprocess.Popen(
                [*self._outer(), *inner, *self._ending(command, megabytes)],
                pass_fds=(read,),
                env={"PATH": "/usr/bin:/bin"},
                **popen,
            )
        finally:
            os.close(read)

    def _ending(self, command: Sequence[str], megabytes: int) -> list[str]:
        return ["--", *self.limits(megabytes), "--", *command]

    def _outer(self) -> list[str]:
        """For root: reach the paths as root, then become a user without rights."""
        if os.geteuid() != 0:
            return []
        # Of its own processes: a parent without rights may not end a child of another user when
        # it dies itself, but whatever is in such a namespace ends with its first process.
        outer = [_tool("bwrap"), "--unshare-pid", "--die-with-parent", "--tmpfs", "/tmp"]
        outer += _system()
        files = course_files(self.withheld)
        outer += _folders([PACKAGE / path for path in files])
        for path in files:
            outer += ["--ro-bind", str(PACKAGE / path), str(PACKAGE / path)]
        outer += ["--bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev"]
        outer += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
        outer += ["--", _tool("setpriv"), f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        return [*outer, "--inh-caps=-all", "--bounding-set=-all", "--"]

    def starter(self) -> Callable[[Limits], subprocess.Popen[bytes]]:
        """For `process.OtherProcess`: starts the process that runs answers."""

        def start(limits: Limits) -> subprocess.Popen[bytes]:
            return self.start(
                [sys.executable, "-s", "-P", "-B", "-m", "course_utils.grading.answers.worker"],
                limits.megabytes,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

        return start

    def profile(self) -> Mapping[str, Any]:
        """What is in force, for the record of a grade; equal profiles have equal hashes."""
        filter = seccomp.program()
        found = {
            "bubblewrap": ".".join(map(str, bwrap_version())),
            "arguments": self.arguments(),
            "limits": self.limits(0),
            "drops root": os.geteuid() == 0,
            "seccomp": hashlib.sha256(filter).hexdigest() if filter else None,
        }
        digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
        return {**found, "hash": digest}
