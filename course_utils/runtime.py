"""What every lesson says first: where it runs, and how long it takes.

    from course_utils.runtime import Runtime

    runtime = Runtime.start("00")
    runtime  # shows a small table

At the end of the notebook `runtime.report()` says how long its cells took.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from course_utils.lessons import find_lesson
from course_utils.machine import cpu_model, usable_cores


@dataclass(frozen=True)
class Runtime:
    """A lesson's time budget, and the machine that it runs on.

    Attributes:
        lesson: its number, "00".
        minutes: what a learner needs to read and to try things.
        seconds: what all cells together take on two CPU cores.
        device: "cpu", "cuda" or "mps", where networks run.
        device_name: what the machine calls it.
        threads: CPU threads of torch.
        cores: CPU cores that this process may use.
        torch_version: of the installed torch.
        clock: seconds that only move forward.
        started: what the clock said at the start.
    """

    lesson: str
    minutes: int
    seconds: float
    device: str
    device_name: str
    threads: int
    cores: int
    torch_version: str
    clock: Callable[[], float] = field(default=time.perf_counter, repr=False)
    started: float = field(default=0.0, repr=False)

    @classmethod
    def start(
        cls,
        lesson: str,
        minutes: int | None = None,
        seconds: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Runtime:
        """Look at the machine and start the clock.

        Args:
            lesson: its number, such as "00".
            minutes: a learner's time, more than 0; what `lessons.py` says if None.
            seconds: the time of all cells on two CPU cores, more than 0; likewise.
            clock: seconds that only move forward.

        Raises:
            ValueError: a time that is not more than 0, or no such lesson to take it from.
        """
        if minutes is None or seconds is None:
            facts = find_lesson(lesson)
            minutes = facts.minutes if minutes is None else minutes
            seconds = facts.seconds if seconds is None else seconds
        for name, value in (("minutes", minutes), ("seconds", seconds)):
            if not value > 0:
                raise ValueError(f"{name} is {value!r}; expected a number above 0")
        device = pick_device().type
        return cls(
            lesson=lesson,
            minutes=minutes,
            seconds=seconds,
            device=device,
            device_name=torch.cuda.get_device_name() if device == "cuda" else cpu_model(),
            threads=torch.get_num_threads(),
            cores=max(1, int(usable_cores())),
            torch_version=torch.__version__,
            clock=clock,
            started=clock(),
        )

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    def rows(self) -> list[tuple[str, str]]:
        """What the table says, line by line."""
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        cores = f"{self.cores} CPU core{'s' * (self.cores != 1)}"
        where = {"cpu": "CPU", "cuda": "GPU (CUDA)", "mps": "GPU (Apple)"}.get(
            self.device, self.device
        )
        return [
            ("runs on", f"{where}: {self.device_name}"),
            ("threads", f"{threads} on {cores}"),
            ("torch", self.torch_version),
            ("your time", f"about {self.minutes} minutes"),
            ("computing", f"at most {self.seconds:g} seconds on two CPU cores"),
        ]

    def report(self) -> str:
        """One sentence for the end of the notebook."""
        return (
            f"Lesson {self.lesson}: {self.elapsed:.0f} seconds since its Runtime cell, "
            f"reading included. The cells alone may take {self.seconds:g} on two CPU cores."
        )

    def __str__(self) -> str:
        return "\n".join(f"{name + ':':<11}{value}" for name, value in self.rows())

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        cells = "".join(
            f'<tr><th scope="row" style="text-align:left">{html.escape(name)}</th>'
            f'<td style="text-align:left">{html.escape(value)}</td></tr>'
            for name, value in self.rows()
        )
        return {"text/plain": str(self), "text/html": f"<table>{cells}</table>"}


def pick_device() -> torch.device:
    """A GPU if torch can use one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
