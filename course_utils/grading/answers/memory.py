"""How much memory a process and all that it started hold, in every form that has no other limit.

The resident set alone misses page tables (a mapping that is only read costs nothing else), what
waits in sockets, and the inodes of empty files. Sockets and files are counted by what one of them
can hold at most; the sandbox lets no process raise that.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

PROC = Path("/proc")
COUNTED = ("VmRSS:", "VmPTE:", "VmSwap:")
INODE_BYTES = 1024  # of the kernel, for a file in memory and its name
FOLDERS = ("tmp", "dev/shm")  # that a sandbox may write to


def megabytes(pid: int) -> float:
    """Held by a process and by all that descend from it.

    Args:
        pid: of a process; one that is gone holds nothing.
    """
    if not Path(PROC, str(pid), "task").is_dir():
        return _by_psutil(pid)
    total, inside = 0.0, None
    for each in descendants(pid):
        with contextlib.suppress(OSError):
            total += _kilobytes(each) * 1024
            if not _same_network(each):
                inside = each
    if inside is not None:  # sockets and folders are those of the sandbox alone
        with contextlib.suppress(OSError):
            total += _sockets(inside) * _socket_bytes()
        with contextlib.suppress(OSError):
            total += _inodes(inside) * INODE_BYTES
    return total / 2**20


def descendants(pid: int) -> Iterator[int]:
    """A process, its children, their children and so on."""
    waiting, known = [pid], {pid}
    while waiting:
        each = waiting.pop()
        yield each
        with contextlib.suppress(OSError):
            for task in (PROC / str(each) / "task").iterdir():
                with contextlib.suppress(OSError):
                    children = {int(word) for word in (task / "children").read_text().split()}
                    waiting += children - known
                    known |= children


def _kilobytes(pid: int) -> int:
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(COUNTED))


def _same_network(pid: int) -> bool:
    """Whether a process has this one's network, as outside of a sandbox."""
    return os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")


def _sockets(pid: int) -> int:
    """How many there are in the network of a process, also on their way between processes."""
    first = (PROC / str(pid) / "net/sockstat").read_text().split("\n", 1)[0]
    return int(first.rsplit(" ", 1)[1])


@functools.cache
def _socket_bytes() -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/sys/net/core/wmem_default").read_text())
    return 212_992


def _inodes(pid: int) -> int:
    found = 0
    for folder in FOLDERS:
        state = os.statvfs(PROC / str(pid) / "root" / folder)
        found += state.f_files - state.f_ffree
    return found


def _by_psutil(pid: int) -> float:
    """Where there is no such folder of processes."""
    total = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for each in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
    return total / 2**20
