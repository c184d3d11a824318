"""Processes for answers that start in no time: they are forked from one that has imported torch.

For tests of what answers are worth. How a process really starts, and what a sandbox keeps from it,
is tested with real starts.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Callable
from multiprocessing.reduction import DupFd
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # nothing of ours is in the new process, where answers would find it
    from course_utils.challenges.declare import Challenge, Limits

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "pytest", "course_utils.grading.answers.worker"])


def forked(challenge: Challenge, sees_all: bool = False) -> Callable[[Limits], Any]:
    """For `OtherProcess`, as `process.unsandboxed` is."""
    from course_utils.grading.answers.visibility import hidden_modules

    withheld = "" if sees_all else ",".join(hidden_modules(challenge.withheld))
    return lambda limits: Forked(withheld)


class Forked:
    """What `subprocess.Popen` is for a process that was started."""

    def __init__(self, withheld: str) -> None:
        hear, tell = os.pipe()
        back, said = os.pipe()
        arguments = (DupFd(hear), DupFd(said), withheld)
        self.process: Any = CONTEXT.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        os.close(hear)
        os.close(said)
        self.pid = self.process.pid
        self.stdin, self.stdout = os.fdopen(tell, "wb"), os.fdopen(back, "rb")

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        code: int | None = self.process.exitcode
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        self.process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("an answer", timeout or 0.0)
        return code

    def kill(self) -> None:
        """End it."""
        self.process.kill()


def _serve(hear: Any, said: Any, withheld: str) -> None:
    os.setsid()
    os.dup2(hear.detach(), 0)
    os.dup2(said.detach(), 1)
    for name in [each for each in os.environ if each.startswith("COURSE_")]:
        del os.environ[name]
    os.environ["COURSE_WITHHELD"] = withheld
    from course_utils.grading.answers import worker

    worker.serve()
