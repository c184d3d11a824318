"""One training loop for every model, on accelerate.

A recipe is a `Task`: it owns a model, gives a loss for a step number, draws a sample picture and
saves the result. The loop owns everything else: mixed precision, gradient clipping, the learning
rate, the moving average of the weights, checkpoints, the log.

Every random draw of step n comes from a generator seeded with (seed, n), and the learning rate is a
function of n. So a run that is killed at any moment and started again gives the same weights as one
that is not: model, optimiser, average and n are all there is to restore.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from course_utils.files import write_atomically
from course_utils.images import save_png
from course_utils.training.checkpoint import load_checkpoint, save_checkpoint
from course_utils.training.ema import EMA
from course_utils.training.log import Log, SilentLog
from course_utils.training.processes import shares_cpu


@dataclass(frozen=True)
class Settings:
    """How to train; each recipe's preset fills it in."""

    steps: int
    batch_size: int  # of all processes together
    learning_rate: float
    warmup_steps: int = 100
    decay_fraction: float = 0.3  # the last part of the run, in which the rate falls to zero
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)  # 0.99 follows the gradient faster; runs are short
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999  # 0 turns the moving average off
    seed: int = 0
    mixed_precision: str = "auto"  # "auto", "no", "bf16"
    compile: bool = False  # the task's computation, with torch.compile
    seconds: float = 0.0  # where it is not 0: end after about so long, with fewer steps if need be
    log_every: int = 20  # steps
    sample_every: int = 0  # steps; 0 draws samples only at the end
    save_every_seconds: float = 180.0


class Task(Protocol):
    """What the loop trains."""

    name: str
    model: nn.Module
    compute: Any  # the part of `loss` that `Settings.compile` compiles; it draws nothing

    def loss(self, model: Any, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The batch's losses; the entry "loss" is minimised, the others are logged."""
        ...

    def evaluate(self, model: Any) -> dict[str, float]:
        """Numbers for the log and the model card, from weights that may be the moving average."""
        ...

    def sample_grid(self, model: Any) -> Tensor | None:
        """A picture (3, H, W) in [-1, 1] that shows how far training has come."""
        ...


def learning_rate(settings: Settings, step: int) -> float:
    """Rises over `warmup_steps`, stays, and falls linearly to zero over the last part.

    A run that ends in this fall can be made longer afterwards by resuming from a checkpoint before
    it.
    """
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    decay_steps = max(1, round(settings.steps * settings.decay_fraction))
    fall = min(1.0, (settings.steps - step) / decay_steps)
    return settings.learning_rate * warm * max(fall, 0.0)


def pick_precision(wanted: str = "auto") -> str:
    """`"bf16"` where the hardware computes it fast, else `"no"` (float32).

    On a GPU bfloat16 needs Ampere or newer; on a CPU it needs avx512_bf16 or AMX, and is slower
    than float32 without them.
    """
    if wanted not in {"auto", "no", "bf16"}:
        raise ValueError(f"mixed_precision is {wanted!r}; expected 'auto', 'no' or 'bf16'.")
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    if torch.backends.mps.is_available():
        return "no"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if fast else "no"


def train(task: Task, settings: Settings, folder: str | Path, progress: bool = True) -> dict:
    """Train, or go on training, and leave the averaged weights in `task.model`.

    Args:
        task: what to train.
        settings: how.
        folder: for `checkpoint.safetensors`, `log.csv`, `samples/` and `run.json`. Where it holds a
            checkpoint of the same task, training goes on from there.
        progress: show a progress bar.

    Returns:
        The last figures: losses, `task.evaluate`, steps, seconds and samples a second.

    Raises:
        KeyboardInterrupt: after a checkpoint has been written.
        FloatingPointError: the loss is not a number; the last checkpoint is from before.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    precision = pick_precision(settings.mixed_precision)
    AcceleratorState._reset_state()  # an earlier run of this process may have had another precision
    accelerator = Accelerator(cpu=shares_cpu(), mixed_precision=precision)
    main = accelerator.is_main_process
    processes, rank = accelerator.num_processes, accelerator.process_index
    torch.manual_seed(settings.seed)
    optimizer = torch.optim.AdamW(
        task.model.parameters(),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    ema = EMA(settings.ema_decay)
    path = folder / "checkpoint.safetensors"
    start, seconds = 0, 0.0
    if path.exists():
        state = load_checkpoint(path, task.name, task.model, optimizer, ema)
        start, seconds = state["step"], state["seconds"]
    # Gradients are averaged below, by hand, so the model is not wrapped a second time.
    model = accelerator.prepare_model(task.model, evaluation_mode=True)
    optimizer = accelerator.prepare_optimizer(optimizer)
    if accelerator.device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # what stays in float32 uses TF32
        model.to(memory_format=torch.channels_last)
    if settings.compile:
        task.compute = torch.compile(task.compute)
    pace = Pace(settings, start)
    ema.average = {k: v.to(accelerator.device) for k, v in ema.average.items()}
    log = Log(folder, start) if main else SilentLog()

    def save(step: int) -> None:
        if not main:
            return
        raw = accelerator.unwrap_model(model)
        note = {"step": step, "seconds": seconds + time.monotonic() - began, "task": task.name}
        save_checkpoint(path, raw, optimizer.optimizer, ema, note)

    began = saved = time.monotonic()
    done = start
    model.train()
    with log, DelayedInterrupt() as interrupt:
        for step in _bar(start, pace, task.name, progress and main, log):
            spent = seconds + time.monotonic() - began
            pace.look(step, spent)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(pace.settings, step)
            generator = step_generator(settings.seed, step, rank)
            with accelerator.autocast():
                losses = task.loss(model, step, generator)
            accelerator.backward(losses["loss"])
            stop = interrupt.asked
            if processes > 1:
                stop = average_gradients(model, accelerator, stop)
            norm = accelerator.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if settings.ema_decay:
                ema.update(accelerator.unwrap_model(model), step)
            due = stop or time.monotonic() - saved > settings.save_every_seconds
            log_now = step % settings.log_every == 0 or step + 1 == pace.steps
            # Before anything is saved, and in all processes at once: the norm is the same in each.
            if (log_now or due or processes > 1) and not math.isfinite(float(norm)):
                raise FloatingPointError(
                    f"The loss of {task.name} is {float(losses['loss'].detach())}, its gradient's "
                    f"norm {float(norm)} at step {step}. Lower learning_rate "
                    f"({settings.learning_rate}) and start again."
                )
            if log_now:
                figures = {k: float(v.detach()) for k, v in losses.items()}
                spent = seconds + time.monotonic() - began
                log.write(step, spent, figures | {"grad_norm": float(norm)})
            if main and settings.sample_every and (step + 1) % settings.sample_every == 0:
                _save_samples(task, accelerator.unwrap_model(model), ema, folder, step + 1)
            done = step + 1
            if due:
                save(done)
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt(f"stopped after step {done}; run again to go on")
    if done > start:
        save(done)
    spent = seconds + time.monotonic() - began
    raw = accelerator.unwrap_model(model).eval()
    if settings.ema_decay:
        ema.copy_to(raw)
    if not main:
        return {}
    settings = dataclasses.replace(settings, steps=pace.steps)
    _save_samples(task, raw, None, folder, settings.steps)
    result = {
        "task": task.name,
        "steps": settings.steps,
        "seconds": round(spent, 1),
        "samples_per_second": round(
            settings.steps * settings.batch_size * processes / max(spent, 1e-9), 1
        ),
        "processes": processes,
        "device": device_name(accelerator.device),
        "precision": precision,
        "settings": asdict(settings) | {"batch_size": settings.batch_size * processes},
        **log.last,
        **task.evaluate(raw),
    }
    write_atomically(folder / "run.json", (json.dumps(result, indent=2) + "\n").encode())
    return result


class Pace:
    """How many steps a run takes: `Settings.steps`, or as many as fit into `Settings.seconds`.

    The number is estimated again and again, since what the machine does beside this run may change;
    the fall of the learning rate ends with the run in any case.

    Args:
        settings: of the run.
        start: the first step.
    """

    EVERY = 50  # steps between two estimates
    SKIP = 20  # steps in which compilation and warm-up hide the pace

    def __init__(self, settings: Settings, start: int) -> None:
        self.settings = settings
        self._most = settings.steps
        self._from = start + self.SKIP
        self._mark: tuple[int, float] | None = None

    @property
    def steps(self) -> int:
        """As many as are planned now."""
        return self.settings.steps

    def look(self, step: int, spent: float) -> None:
        """Take note that `step` begins `spent` seconds after the run began."""
        limit = self.settings.seconds
        if not limit or step < self._from or (step - self._from) % self.EVERY:
            return
        if self._mark is not None:
            before, then = self._mark
            each = max((spent - then) / (step - before), 1e-9)
            fits = step + int(max(limit - spent, 0.0) / each)
            self.settings = dataclasses.replace(
                self.settings, steps=min(max(step + 1, fits), self._most)
            )
        if self._mark is None or step - self._mark[0] >= 10 * self.EVERY:
            self._mark = (step, spent)


def step_generator(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """The random numbers of one step, the same whether or not the run was interrupted.

    A CPU generator looks at the low 32 bits of its seed only, so the three numbers are hashed into
    them.

    Args:
        seed: the run's.
        step: which optimiser step.
        rank: which process; each draws its own part of the batch.
    """
    digest = hashlib.sha256(f"{seed} {step} {rank}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))


def average_gradients(model: nn.Module, accelerator: Any, stop: bool) -> bool:
    """Give every process the mean of all processes' gradients, in one message.

    Args:
        model: has gradients.
        accelerator: knows the other processes.
        stop: whether this process was asked to stop.

    Returns:
        Whether any process was, so that all stop after the same step.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    asked = gradients[0].new_tensor([float(stop)])
    flat = accelerator.reduce(torch.cat([g.flatten() for g in gradients] + [asked]), "mean")
    sizes = [g.numel() for g in gradients]
    for gradient, part in zip(gradients, flat[:-1].split(sizes), strict=True):
        gradient.copy_(part.view_as(gradient))
    return bool(flat[-1] > 0)


def device_name(device: torch.device) -> str:
    """What a person would call the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


class DelayedInterrupt:
    """Holds Ctrl-C (and a polite kill) back until a step is complete; a second one acts at once."""

    def __init__(self) -> None:
        self.asked = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _bar(start: int, pace: Pace, name: str, progress: bool, log: Log) -> Iterator[int]:
    from tqdm.auto import tqdm

    total = pace.steps
    with tqdm(total=total, initial=start, desc=name, disable=not progress, mininterval=2) as bar:
        step = start
        while step < pace.steps:
            yield step
            step += 1
            bar.total = pace.steps
            bar.update()
            if "loss" in log.last:
                bar.set_postfix(loss=f"{log.last['loss']:.4f}", refresh=False)


def _save_samples(task: Task, model: nn.Module, ema: EMA | None, folder: Path, step: int) -> None:
    """Draw with the averaged weights and put the training weights back."""
    was_training = model.training
    backup = None
    if ema is not None and ema.average:
        backup = {k: v.detach().clone() for k, v in model.named_parameters()}
        ema.copy_to(model)
    model.eval()
    with torch.no_grad():
        grid = task.sample_grid(model)
    if grid is not None:
        save_png(grid, folder / "samples" / f"{step:06d}.png")
    if backup is not None:
        EMA(0.0, backup).copy_to(model)
    model.train(was_training)
