"""The sandbox holds, its probe notices where it does not, and what can't start is refused."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from running import family, still

from course_utils import cli
from course_utils.challenges.declare import find_challenge
from course_utils.grading.answers.process import end
from course_utils.grading.answers.visibility import course_files
from course_utils.grading.sandbox import bubblewrap as sandboxes
from course_utils.grading.sandbox import probe as probes
from course_utils.grading.sandbox import seccomp
from course_utils.grading.sandbox.bubblewrap import Sandbox, SandboxError

ROOT = Path(__file__).resolve().parents[3]
PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


def python(source: str, sandbox: Sandbox | None = None, module: bool = False) -> str:
    """What Python prints in a sandbox."""
    command = [sys.executable, "-s", "-P", "-B", "-c", source]
    process = (sandbox or Sandbox()).start(command, 1500, **PIPES)
    try:
        return process.communicate(timeout=120)[0].decode()
    finally:
        end(process)


# --- the probe -----------------------------------------------------------------------------------


def test_the_probe_holds(sandboxed: None) -> None:
    assert probes.probe() == []


class Weak(Sandbox):
    """A sandbox that lacks something."""

    change: Callable[[list[str]], list[str]] = staticmethod(lambda arguments: arguments)
    no_limit = ""

    def arguments(self) -> list[str]:
        return type(self).change(super().arguments())

    def limits(self, megabytes: int) -> list[str]:
        every = super().limits(megabytes)
        return [w for w in every if not self.no_limit or not w.startswith(f"--{self.no_limit}=")]


def without(*words: str) -> Callable[[list[str]], list[str]]:
    """Arguments that follow one another are left out."""

    def change(arguments: list[str]) -> list[str]:
        for i in range(len(arguments)):
            if arguments[i : i + len(words)] == list(words):
                return arguments[:i] + arguments[i + len(words) :]
        raise AssertionError(f"{words} are no arguments")

    return change


def sharing(kind: str) -> Callable[[list[str]], list[str]]:
    kinds = [k for k in ("pid", "net", "ipc", "uts", "cgroup") if k != kind]

    def change(arguments: list[str]) -> list[str]:
        i = arguments.index("--unshare-all")
        return [*arguments[:i], *(f"--unshare-{k}" for k in kinds), *arguments[i + 1 :]]

    return change


def adding(*words: str) -> Callable[[list[str]], list[str]]:
    return lambda arguments: [*arguments, *words]


def showing_packages(arguments: list[str]) -> list[str]:
    path = str(next(f for f in sandboxes.packages() if (f / "diffusers").is_dir()) / "diffusers")
    return without("--remount-ro", path)(without("--tmpfs", path)(arguments))


WEAKENED = {
    "network": (sharing("net"), "namespaces"),
    "interprocess communication": (sharing("ipc"), "namespaces"),
    "host name": (sharing("uts"), ""),
    "control groups": (sharing("cgroup"), "namespaces"),
    "processes": (sharing("pid"), ""),
    "user": (without("--unshare-user"), ""),
    "all": (without("--unshare-all"), ""),
    "first process": (without("--as-pid-1"), "first process"),
    "session": (without("--new-session"), "session"),
    "death with the parent": (without("--die-with-parent"), "outlives"),
    "root is read-only": (without("--remount-ro", "/"), "mounts that can be written"),
    "devices are read-only": (without("--remount-ro", "/dev"), "mounts that can be written"),
    "size of /tmp": (without("--size", str(sandboxes.FOLDER_MB * 2**20)), "mounts that can"),
    "devices": (adding("--dev-bind", "/dev/zero", "/tmp/zero"), ""),
    "all devices": (lambda a: [w if w != "/dev/full" else "/dev/zero" for w in a], "mounts"),
    "withheld packages": (showing_packages, "withheld"),
    "the machine's /tmp": (adding("--bind", "/tmp", "/tmp"), "mounts that can be written"),
    "identity": (lambda a: [w if w != "65534" else "1000" for w in a], "keeps privileges"),
}
HARMLESS = {"devices"}  # a device in a folder that allows none can't be opened


@pytest.mark.parametrize("name", WEAKENED)
def test_the_probe_notices_what_is_missing(
    name: str, sandboxed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, words = WEAKENED[name]
    monkeypatch.setattr(Weak, "change", staticmethod(change))
    try:
        through = probes.probe(Weak())
    except SandboxError:  # bubblewrap itself does not start
        assert not words
    else:
        assert bool(through) != (name in HARMLESS), name
        assert words in " ".join(through), through


@pytest.mark.parametrize("limit", ["data", "cpu", "nproc", "nofile", "fsize", "core", "memlock"])
def test_the_probe_notices_a_missing_limit(
    limit: str, sandboxed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"RLIMIT_{limit.upper()}"
    if limit in ("nofile", "memlock") and resource.getrlimit(getattr(resource, name))[1] < 2**16:
        pytest.skip("this machine's own limit is as low")
    monkeypatch.setattr(Weak, "no_limit", limit)
    if limit == "core" and resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("this machine's own limit is 0")
    assert "limits that are too high, or none" in " ".join(probes.probe(Weak()))


def test_the_probe_notices_a_missing_filter(
    sandboxed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seccomp.program() is None:
        pytest.skip("there is no filter for this architecture")
    monkeypatch.setattr(sandboxes, "seccomp", SimpleNamespace(program=lambda: None))
    assert "may call all of the kernel" in probes.probe()


def test_the_probe_notices_that_root_stays_root(
    sandboxed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("this is not root")
    monkeypatch.setattr(Sandbox, "_outer", lambda self: [])
    assert probes.probe() != []  # for one thing, no limit on processes holds


def test_it_holds_for_a_user_without_rights(sandboxed: None) -> None:
    """Root shows another user the course's folder and runs the probe as that user."""
    if os.geteuid() != 0:
        pytest.skip("this is not root, so that the other tests have shown it")
    prefix = str(Path(sys.base_prefix).resolve())
    tops = {str(Path("/", *Path(path).parts[1:2])) for path in (prefix, ROOT, sys.prefix)}
    command = [shutil.which("bwrap") or "", "--die-with-parent", "--dev-bind", "/", "/"]
    for top in sorted({*tops, "/tmp"} - {"/usr"}):  # the course may lie below /tmp, too
        command += ["--tmpfs", top]
    command += ["--chmod", "1777", "/tmp"]
    command += sandboxes._folders([Path(prefix), ROOT, Path(sys.prefix)])
    for path in dict.fromkeys((prefix, str(ROOT), sys.prefix)):
        if not path.startswith("/usr/"):
            command += ["--ro-bind", path, path]
    command += ["--chdir", "/tmp"]
    command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
    command += ["--", "setpriv", "--reuid=12321", "--regid=12321", "--clear-groups"]
    command += ["--inh-caps=-all", "--bounding-set=-all", "--", sys.executable, "-B", "-c"]
    source = (
        "import os, json; from course_utils.grading.sandbox.probe import probe\n"
        "assert os.getuid() == 12321; print(json.dumps(probe()))"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/tmp"}
    done = subprocess.run([*command, source], capture_output=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert json.loads(done.stdout) == []


# --- refusals ------------------------------------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What was found out about this machine is forgotten, before and after."""
    caches: Sequence[Any] = (probes.require, sandboxes.bwrap_version)
    for cache in caches:
        cache.cache_clear()
    yield
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()


def test_it_is_refused_where_bubblewrap_is_missing(
    fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = shutil.which
    monkeypatch.setattr(
        sandboxes.shutil, "which", lambda n, path=None: None if n == "bwrap" else real(n, path=path)
    )
    with pytest.raises(SandboxError, match="apt-get install bubblewrap"):
        probes.require()
    assert "bwrap is missing" in probes.state()
    folder = tmp_path / "in" / "ada"
    folder.mkdir(parents=True)
    (folder / "01_noise_to_order.ipynb").write_text("{}")
    assert cli.main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) != 0
    assert "apt-get install bubblewrap" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'bwrap: No permissions to create new namespace' >&2; exit 1", "apparmor_restrict"),
        ("echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1", "userns_clone"),
        ("exit 3", "without a word"),
        ("echo '{\"x\": true}'", "x. Nothing is graded"),
    ],
)
def test_it_is_refused_where_bubblewrap_does_not_work(
    script: str, words: str, fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform != "linux":
        pytest.skip("the sandbox is for Linux")
    fake = tmp_path / "bwrap"
    fake.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo bubblewrap 0.8.0; exit; fi\n{script}\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SandboxError, match=words):
        probes.require()


def test_it_is_refused_on_other_systems(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxes.sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="needs Linux"):
        probes.require()


# --- what is inside ------------------------------------------------------------------------------


def test_withheld_modules_are_not_there(sandboxed: None) -> None:
    challenge = find_challenge("01")
    assert challenge.withheld == ("course_utils.schedules",)
    names = (*challenge.withheld, "diffusers", "transformers", "course_utils.files")
    source = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    try: module = importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error: print('no', error.name); continue\n"
        "    print(name if module.__file__ else 'no ' + name)\n"
    )
    out = python(source, Sandbox.for_challenge(challenge)).splitlines()
    assert out == [
        "no course_utils.schedules",
        "no diffusers",
        "no transformers",
        "course_utils.files",
    ]


def test_nothing_of_the_course_but_what_is_shown_exists_inside(sandboxed: None) -> None:
    source = (
        "import os\nfor root, folders, files in os.walk('/'):\n"
        "    if root in ('/proc', '/usr', '/sys') or 'site-packages/' in root: folders.clear()\n"
        "    for name in files: print(os.path.join(root, name))\n"
    )
    every = python(source).splitlines()
    shown = {f"/course/course_utils/{path}" for path in course_files()}
    course = {path for path in every if "course_utils/" in path}
    assert course == shown
    ours = str(ROOT)
    assert all(not p.startswith(ours) or p.startswith(sys.prefix) for p in every)
    forbidden = {
        path.name
        for folder in ("tests", "solutions", "course_utils/checks", "course_utils/weights")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and ("challenge" in path.name or path.suffix == ".safetensors")
    }
    assert not forbidden & {Path(path).name for path in every}
    assert not [p for p in every if p.startswith(("/root", "/home", "/var", "/run", "/etc/p"))] or (
        str(Path(sys.base_prefix).resolve()).startswith(("/root", "/home"))
    )


def test_limits_are_in_force(sandboxed: None) -> None:
    source = (
        "import resource, json\nnames = ('DATA', 'CPU', 'NPROC', 'NOFILE', 'FSIZE', 'CORE')\n"
        "print(json.dumps({n: resource.getrlimit(getattr(resource, 'RLIMIT_' + n))"
        " for n in names}))"
    )
    found = json.loads(python(source))
    assert found["NPROC"] == [64, 64] and found["NOFILE"] == [256, 256]
    assert found["FSIZE"] == [64 * 2**20] * 2 and found["CORE"] == [0, 0]
    assert found["DATA"] == [1900 * 2**20] * 2 and found["CPU"][1] < 700


# --- nothing is left behind ----------------------------------------------------------------------


BREEDS = """
import os, signal, sys, time
for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True: time.sleep(0.01)
        os._exit(0)
print("ready", flush=True)
time.sleep(600)
"""


def test_orphans_are_gone_afterwards(sandboxed: None) -> None:
    process = Sandbox().start([sys.executable, "-I", "-c", BREEDS], 300, **PIPES)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    started = family(process.pid)
    assert len(started) >= 5
    end(process)
    assert not still(started)


def test_kill_9_of_the_grader_takes_the_sandbox_with_it(sandboxed: None) -> None:
    source = (
        "import subprocess, sys\nfrom course_utils.grading.sandbox.bubblewrap import Sandbox\n"
        f"p = Sandbox().start([sys.executable, '-I', '-c', {BREEDS!r}], 300)\np.wait()"
    )
    grader = subprocess.Popen(
        [sys.executable, "-c", source], env={**os.environ, "PYTHONPATH": str(ROOT)}, **PIPES
    )
    assert grader.stdout is not None and grader.stdout.readline() == b"ready\n"
    started = family(grader.pid)
    assert len(started) >= 6
    grader.send_signal(signal.SIGKILL)
    grader.wait()
    assert not still(started)


# --- the filter of system calls ------------------------------------------------------------------

ALLOW, KILL = 0x7FFF0000, 0x80000000
X86, ARM = 0xC000003E, 0xC00000B7


def run_filter(code: bytes, architecture: int, number: int, *arguments: int) -> int:
    """A small interpreter of classic BPF, as the kernel runs it on struct seccomp_data."""
    words = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=iIQ6Q", number - (number >> 31 << 32), architecture, 0, *words)
    program = list(struct.iter_unpack("=HBBI", code))
    at = accumulator = 0
    for _ in range(4096):
        kind, yes, no, value = program[at]
        at += 1
        if kind == 0x20:  # load a word
            assert value % 4 == 0 and value + 4 <= len(data)
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif kind == 0x15:  # jump if equal
            at += yes if accumulator == value else no
        elif kind == 0x45:  # jump if any bit is set
            at += yes if accumulator & value else no
        elif kind == 0x06:
            return value
        else:
            raise AssertionError(f"instruction {kind:#x}")
    raise AssertionError("it does not end")


def refused(error: int) -> int:
    return 0x00050000 | error


@pytest.mark.parametrize(
    ("machine", "architecture", "column"), [("x86_64", X86, 0), ("aarch64", ARM, 1)]
)
def test_the_filter_refuses_what_it_should_and_nothing_else(
    machine: str, architecture: int, column: int
) -> None:
    code = seccomp.program(machine)
    assert code is not None and len(code) % 8 == 0 and len(code) // 8 < 4096 and len(code) < 65536
    numbers = {v[column] for v in seccomp.REFUSED.values() if v[column] is not None}
    special = {
        calls[column]: name
        for name, calls in vars(seccomp).items()
        if name in ("CLONE", "CLONE3", "SOCKET", "SOCKETPAIR", "SETSOCKOPT", "MMAP", "PRCTL")
    }
    assert len(special) == 7 and not numbers & set(special)
    for number in range(600):
        found = run_filter(code, architecture, number)
        if number in numbers:
            assert found == refused(errno.EPERM), number
        elif special.get(number) == "CLONE3":
            assert found == refused(errno.ENOSYS)
        elif special.get(number) in ("SOCKET", "SOCKETPAIR"):
            assert found == refused(errno.EACCES)  # family 0
        else:
            assert found == ALLOW, number

    def call(name: str, *arguments: int) -> int:
        return run_filter(code, architecture, getattr(seccomp, name)[column], *arguments)

    eperm, eacces = refused(errno.EPERM), refused(errno.EACCES)
    thread = 0x3D0F00  # what glibc asks for
    assert call("CLONE", thread) == call("CLONE", 0x1200011) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert call("CLONE", thread | flag) == eperm
    for name in ("SOCKET", "SOCKETPAIR"):
        assert call(name, 1, 1) == ALLOW
        assert {call(name, family, 1) for family in (0, 2, 10, 16, 17, 38, 40)} == {eacces}
    private, shared = 0x22, 0x21
    assert call("MMAP", 0, 4096, 3, private) == ALLOW
    assert call("MMAP", 0, 4096, 3, 0x01, 5) == ALLOW  # of a file
    assert call("MMAP", 0, 4096, 3, 0x02, 5) == ALLOW
    for more in (0, 0x4000, 0x40000, 0x8000):
        assert call("MMAP", 0, 4096, 3, shared | more) == eperm
    assert call("MMAP", 0, 4096, 3, 0x23) == eperm
    assert call("SETSOCKOPT", 3, 1, 7) == eperm
    assert call("SETSOCKOPT", 3, 1, 2) == call("SETSOCKOPT", 3, 6, 7) == ALLOW
    assert call("PRCTL", 1, 0) == eperm and call("PRCTL", 15, 0) == ALLOW


def test_the_filter_ends_other_interfaces_of_the_kernel() -> None:
    code = seccomp.program("x86_64")
    assert code is not None
    assert run_filter(code, 0x40000003, 11) == KILL  # 32-bit calls have other numbers
    assert run_filter(code, X86, 0x40000000 | 59) == KILL  # and so has x32
    assert run_filter(code, ARM, 59) == KILL
    assert seccomp.program("riscv64") is None


def test_numbers_are_those_of_this_machine() -> None:
    """The kernel's own header, where it is installed."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no header of the kernel is installed")
    known = {}
    for line in header.read_text().splitlines():
        if line.startswith("#define __NR_"):
            name, number = line.split()[1:3]
            known[name.removeprefix("__NR_")] = int(number)
    ours = {name: numbers[0] for name, numbers in seccomp.REFUSED.items()}
    ours |= {"clone": 56, "clone3": 435, "socket": 41, "socketpair": 53, "setsockopt": 54}
    ours |= {"mmap": 9, "prctl": 157}
    for name, number in ours.items():
        assert known.get(name, number) == number, name
