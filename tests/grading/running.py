"""Which processes of a family still run, for tests that nothing is left behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import psutil

from course_utils.grading.answers.memory import descendants


def family(pid: int) -> set[psutil.Process]:
    """A process and all that descend from it, each known by its number and its start."""
    found = set()
    for each in descendants(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.add(psutil.Process(each))
    return found


def still(processes: Iterable[psutil.Process], seconds: float = 20) -> list[psutil.Process]:
    """Those that still run after a while; what has ended and is not yet collected does not run."""
    deadline = time.monotonic() + seconds
    while (left := [each for each in processes if _runs(each)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
