"""A task that trains in milliseconds, and what child processes do with it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from course_utils.training.loop import Settings, step_generator, train
from course_utils.training.processes import join

SETTINGS: dict[str, Any] = {
    "steps": 40,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "warmup_steps": 5,
    "ema_decay": 0.9,
    "mixed_precision": "no",
    "log_every": 1,
    "save_every_seconds": 0.0,
    "seed": 3,
}


class TinyTask:
    """Learn a sine with a small network.

    Args:
        nan_at: from this step on the loss is not a number.
        delay: seconds that a step takes at least.
        ranks: work on the parts of these processes at once; `None` is this process's own part.
        interrupts: how many Ctrl-C arrive during which steps.
        width, name: to make checkpoints that do not fit one another.
    """

    def __init__(
        self,
        nan_at: int | None = None,
        delay: float = 0.0,
        ranks: tuple[int, ...] | None = None,
        interrupts: dict[int, int] | None = None,
        width: int = 6,
        name: str = "tiny",
    ) -> None:
        torch.manual_seed(7)
        self.name = name
        self.model: nn.Module = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 2))
        self.nan_at, self.delay, self.ranks = nan_at, delay, ranks
        self.interrupts = interrupts or {}

    def loss(self, model: Any, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        if self.delay:
            time.sleep(self.delay)
        for _ in range(self.interrupts.get(step, 0)):
            os.kill(os.getpid(), signal.SIGINT)
        generators = [generator]
        if self.ranks is not None:
            generators = [step_generator(SETTINGS["seed"], step, rank) for rank in self.ranks]
        loss = torch.stack([_part(model, each) for each in generators]).mean()
        if self.nan_at is not None and step >= self.nan_at:
            loss = loss * float("nan")
        return {"loss": loss, "twice": 2 * loss}

    def evaluate(self, model: Any) -> dict[str, float]:
        return {"total": float(sum(p.double().abs().sum() for p in model.parameters()))}

    def sample_grid(self, model: Any) -> Tensor | None:
        return torch.full((3, 4, 4), float(next(model.parameters()).mean()))


def _part(model: nn.Module, generator: torch.Generator) -> Tensor:
    x = torch.randn(8, 4, generator=generator)
    return F.mse_loss(model(x), 3 * torch.sin(x[:, :2]))


def run(folder: Path, task: dict[str, Any] | None = None, **settings: Any) -> dict:
    """Train the tiny task in this process."""
    return train(
        TinyTask(**(task or {})), Settings(**{**SETTINGS, **settings}), folder, progress=False
    )


def child(folder: Path, task: dict[str, Any], settings: dict[str, Any]) -> None:
    """Train in a process of its own; the exit status tells how it ended."""
    torch.set_num_threads(1)
    sys.exit(_status(lambda: run(folder, task, **settings)))


def child_that_dies_in_save(folder: Path, number: int, moment: str) -> None:
    """Train until the given moment of save `number`, then die as if the power had failed."""
    torch.set_num_threads(1)
    call, count = getattr(os, moment), 0

    def deadly(*args: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args)

    setattr(os, moment, deadly)
    run(folder)


def one_of_several(
    rank: int, count: int, port: int, folder: Path, task: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Train as process `rank` of `count`; leave the weights that this process ended with."""
    join(rank, count, port)
    torch.set_num_threads(1)
    mine = TinyTask(**task)

    def work() -> None:
        train(mine, Settings(**{**SETTINGS, **settings}), folder, progress=False)
        save_file(mine.model.state_dict(), folder / f"rank{rank}.safetensors")

    sys.exit(_status(work))


def _status(work: Any) -> int:
    try:
        work()
    except KeyboardInterrupt as stop:
        print(stop, file=sys.stderr)
        return 130
    except FloatingPointError as error:
        print(error, file=sys.stderr)
        return 3
    return 0
