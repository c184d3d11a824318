"""What a training run writes down while it runs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Self


class Log:
    """A CSV file, and TensorBoard where it is installed. After a resume, later rows are dropped.

    Used in a `with` block, after which both are closed.
    """

    FIELDS = ("step", "seconds", "name", "value")

    def __init__(self, folder: Path, start: int) -> None:
        self.path = folder / "log.csv"
        self.last: dict[str, float] = {}
        rows = []
        if self.path.exists() and start:
            with self.path.open(newline="") as file:
                rows = [r for r in csv.reader(file) if r and r[0].isdigit() and int(r[0]) < start]
        self.file = self.path.open("w", newline="")
        self.writer = csv.writer(self.file)
        self.writer.writerow(self.FIELDS)
        self.writer.writerows(rows)
        self.tensorboard = None
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=start)
        except ImportError:
            pass  # the CSV holds the same numbers

    def write(self, step: int, seconds: float, figures: dict[str, float]) -> None:
        """Add one row a figure."""
        self.last = figures
        for name, value in figures.items():
            self.writer.writerow([step, round(seconds, 1), name, f"{value:.6g}"])
            if self.tensorboard:
                self.tensorboard.add_scalar(name, value, step)
        self.file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        if self.tensorboard:
            self.tensorboard.close()


class SilentLog(Log):
    """What processes other than the first write to."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}

    def write(self, step: int, seconds: float, figures: dict[str, float]) -> None:
        """Only remember the last figures."""
        self.last = figures

    def __exit__(self, *_: object) -> None:
        """There is nothing to close."""
