"""The training loop: what it computes, what it leaves behind, what it refuses."""

import contextlib
import csv
import json
import math
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import SETTINGS, TinyTask, run
from torch import nn
from torch.testing import assert_close

from course_utils.training import loop
from course_utils.training.ema import EMA
from course_utils.training.log import Log
from course_utils.training.loop import (
    DelayedInterrupt,
    Settings,
    learning_rate,
    pick_precision,
    step_generator,
    train,
)

CHECKPOINT = "checkpoint.safetensors"


def settings(**fields: Any) -> Settings:
    return Settings(**{**SETTINGS, **fields})


def logged(folder: Path, name: str = "loss") -> list[tuple[int, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return [(int(r["step"]), r["value"]) for r in csv.DictReader(file) if r["name"] == name]


def step_of(folder: Path) -> int:
    with safe_open(folder / CHECKPOINT, framework="pt") as file:
        return json.loads(file.metadata()["note"])["step"]


# --- learning rate and moving average ---------------------------------------------------------


def test_learning_rate_rises_stays_and_falls() -> None:
    s = settings(steps=1000, learning_rate=2.0, warmup_steps=100, decay_fraction=0.25)
    rates = [learning_rate(s, step) for step in range(1000)]
    assert rates[:100] == pytest.approx([2.0 * (n + 1) / 100 for n in range(100)])
    assert rates[100:751] == [2.0] * 651
    assert rates[750:] == pytest.approx([2.0 * (1000 - n) / 250 for n in range(750, 1000)])
    assert rates[-1] > 0
    assert learning_rate(s, 1000) == learning_rate(s, 5000) == 0.0


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("warmup", [0, 1, 100])
def test_learning_rate_of_short_runs(steps: int, fraction: float, warmup: int) -> None:
    s = settings(steps=steps, warmup_steps=warmup, decay_fraction=fraction)
    rates = [learning_rate(s, step) for step in range(steps)]
    assert all(0 < rate <= s.learning_rate for rate in rates)


def test_moving_average_is_the_weighted_sum() -> None:
    """average_n = sum over k of (1 - d_k) p_k prod over j > k of d_j, with average_0 = p_0."""
    model, ema = nn.Linear(3, 2), EMA(0.8)
    history = []
    for step in range(60):
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(step)))
        history.append(model.weight.detach().double().clone())
        ema.update(model, step)
    decays = [min(0.8, (1 + n) / (10 + n)) for n in range(60)]
    expected = math.prod(decays[1:]) * history[0]
    for k in range(1, 60):
        expected = expected + (1 - decays[k]) * math.prod(decays[k + 1 :]) * history[k]
    assert_close(ema.average["weight"].double(), expected, atol=1e-6, rtol=1e-6)
    assert not torch.equal(model.weight, ema.average["weight"])
    ema.copy_to(model)
    assert torch.equal(model.weight, ema.average["weight"])
    assert torch.equal(model.bias, ema.average["bias"])


def test_moving_average_forgets_the_start_soon() -> None:
    model, ema = nn.Linear(1, 1, bias=False), EMA(0.9999)
    for step in range(200):
        nn.init.constant_(model.weight, 100.0 if step == 0 else 1.0)
        ema.update(model, step)
    assert float(ema.average["weight"]) == pytest.approx(1.0, abs=1e-3)


# --- training ---------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [1e9, 0.1], ids=["free", "clipped"])
def test_trains_like_a_loop_by_hand(tmp_path: Path, clip: float) -> None:
    s = settings(steps=12, max_grad_norm=clip)
    task, other = TinyTask(), TinyTask()
    figures = train(task, s, tmp_path, progress=False)

    model, ema, norms = other.model, EMA(s.ema_decay), []
    adam = torch.optim.AdamW(
        model.parameters(), betas=s.betas, weight_decay=s.weight_decay, fused=True
    )
    for step in range(s.steps):
        adam.param_groups[0]["lr"] = learning_rate(s, step)
        losses = other.loss(model, step, step_generator(s.seed, step))
        adam.zero_grad()
        losses["loss"].backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), clip)))
        adam.step()
        ema.update(model, step)
    stored = load_file(tmp_path / CHECKPOINT)
    for name, value in model.state_dict().items():
        assert_close(stored[f"model.{name}"], value, atol=1e-6, rtol=1e-6)
        assert_close(task.model.state_dict()[name], ema.average[name], atol=1e-6, rtol=1e-6)
    logged_norms = [float(value) for _, value in logged(tmp_path, "grad_norm")]
    assert logged_norms == pytest.approx(norms, rel=1e-4)
    assert figures["loss"] == pytest.approx(float(losses["loss"]), rel=1e-4)


def test_it_learns_and_leaves_its_papers(tmp_path: Path) -> None:
    s = settings(steps=300, sample_every=100, save_every_seconds=1e9, log_every=50)
    task = TinyTask()
    figures = train(task, s, tmp_path, progress=False)
    losses = [float(value) for _, value in logged(tmp_path)]
    assert losses[-1] < 0.3 * losses[0]
    assert [step for step, _ in logged(tmp_path)] == [0, 50, 100, 150, 200, 250, 299]
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert names == [CHECKPOINT, "log.csv", "run.json"]
    samples = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert samples == ["000100.png", "000200.png", "000300.png"]
    assert json.loads((tmp_path / "run.json").read_text()) == json.loads(json.dumps(figures))
    assert figures["steps"] == 300
    assert figures["settings"]["learning_rate"] == s.learning_rate
    assert figures["total"] == pytest.approx(task.evaluate(task.model)["total"])
    assert not task.model.training


def test_without_moving_average_the_weights_are_the_last(tmp_path: Path) -> None:
    task = TinyTask()
    train(task, settings(steps=5, ema_decay=0.0), tmp_path, progress=False)
    stored = load_file(tmp_path / CHECKPOINT)
    assert not any(name.startswith("ema.") for name in stored)
    assert torch.equal(task.model.state_dict()["0.weight"], stored["model.0.weight"])


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    first = run(tmp_path)
    before, log = load_file(tmp_path / CHECKPOINT), (tmp_path / "log.csv").read_bytes()
    task = TinyTask()
    second = train(task, settings(), tmp_path, progress=False)
    assert second["total"] == first["total"]
    assert_close(load_file(tmp_path / CHECKPOINT), before, atol=0, rtol=0)
    assert (tmp_path / "log.csv").read_bytes() == log
    assert torch.equal(task.model.state_dict()["0.weight"], before["ema.0.weight"])


@pytest.mark.parametrize(
    ("task", "error"),
    [({}, None), ({"nan_at": 2}, FloatingPointError), ({"interrupts": {2: 1}}, KeyboardInterrupt)],
)
def test_the_log_is_closed_however_a_run_ends(
    task: dict[str, Any],
    error: type[BaseException] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logs: list[Log] = []

    def kept(*args: Any) -> Log:
        logs.append(Log(*args))
        return logs[-1]

    monkeypatch.setattr(loop, "Log", kept)
    with pytest.raises(error) if error else contextlib.nullcontext():
        run(tmp_path, task, steps=4)
    assert logs[0].file.closed
    assert logs[0].tensorboard is None or logs[0].tensorboard.file_writer is None


def test_draws_depend_on_seed_step_and_process() -> None:
    draws = {
        (seed, step, rank): float(torch.rand((), generator=step_generator(seed, step, rank)))
        for seed in (0, 1, 65535)
        for step in (0, 1, 2**32 - 1)
        for rank in (0, 1, 7)
    }
    assert len(set(draws.values())) == len(draws)
    assert draws[1, 1, 1] == float(torch.rand((), generator=step_generator(1, 1, 1)))


# --- losses that are not numbers --------------------------------------------------------------


@pytest.mark.parametrize(("log_every", "save_every_seconds"), [(1, 0.0), (20, 0.0), (20, 1e9)])
def test_a_loss_that_is_no_number(
    tmp_path: Path, log_every: int, save_every_seconds: float
) -> None:
    """The checkpoint is never one that holds what is not a number."""
    run(tmp_path, steps=3)
    with pytest.raises(FloatingPointError, match=r"loss of tiny is nan.*learning_rate \(0\.01\)"):
        run(
            tmp_path,
            {"nan_at": 6},
            log_every=log_every,
            save_every_seconds=save_every_seconds,
        )
    stored = load_file(tmp_path / CHECKPOINT)
    assert all(value.isfinite().all() for value in stored.values())
    assert step_of(tmp_path) == (6 if save_every_seconds == 0 else 3)
    assert not any(value == "nan" for _, value in logged(tmp_path))


def test_after_it_training_goes_on_with_another_learning_rate(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError):
        run(tmp_path, {"nan_at": 6})
    figures = run(tmp_path, learning_rate=1e-3)
    assert math.isfinite(figures["loss"])
    assert [step for step, _ in logged(tmp_path)] == list(range(40))


# --- checkpoints that cannot be used ----------------------------------------------------------


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut short": lambda p: p.write_bytes(p.read_bytes()[:-40]),
    "header cut": lambda p: p.write_bytes(p.read_bytes()[:50]),
    "empty": lambda p: p.write_bytes(b""),
    "a picture": lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)),
    "a pickle": lambda p: torch.save({"step": 3}, p),
    "plain weights": lambda p: save_file(TinyTask().model.state_dict(), p),
    "no JSON": lambda p: save_file(load_file(p), p, metadata={"note": "step 3"}),
    "no step": lambda p: save_file(load_file(p), p, metadata={"note": '{"task": "tiny"}'}),
    "no task": lambda p: save_file(load_file(p), p, metadata={"note": "{}"}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint(tmp_path: Path, name: str) -> None:
    run(tmp_path, steps=3)
    path = tmp_path / CHECKPOINT
    DAMAGES[name](path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"(?s){CHECKPOINT} is damaged.*Move it away"):
        run(tmp_path)
    assert path.read_bytes() == before, "it was overwritten"


def test_a_checkpoint_of_another_task(tmp_path: Path) -> None:
    run(tmp_path, steps=3)
    with pytest.raises(ValueError, match=rf"{CHECKPOINT} is a checkpoint of 'tiny'.*'other'"):
        run(tmp_path, {"name": "other"})


@pytest.mark.parametrize("task", [{"width": 7}, {"width": 60}])
def test_a_checkpoint_of_another_shape(tmp_path: Path, task: dict[str, Any]) -> None:
    run(tmp_path, steps=3)
    with pytest.raises(ValueError, match=rf"(?s){CHECKPOINT} is of a model of another shape.*size"):
        run(tmp_path, task)


# --- Ctrl-C and precision ---------------------------------------------------------------------


def test_the_first_interrupt_waits_and_the_second_does_not() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with DelayedInterrupt() as interrupt:
        assert not interrupt.asked
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    for number, handler in before.items():
        assert signal.getsignal(number) is handler


def test_training_works_outside_the_main_thread(tmp_path: Path) -> None:
    figures: dict = {}
    thread = threading.Thread(target=lambda: figures.update(run(tmp_path, steps=3)))
    thread.start()
    thread.join()
    assert figures["steps"] == 3


@pytest.mark.parametrize("wanted", ["no", "bf16"])
def test_precision_that_is_asked_for(wanted: str) -> None:
    assert pick_precision(wanted) == wanted


@pytest.mark.parametrize("wanted", ["fp16", "float32", "", "BF16"])
def test_precision_that_is_not_there(wanted: str) -> None:
    with pytest.raises(ValueError, match=f"mixed_precision is {wanted!r}; expected 'auto'"):
        pick_precision(wanted)


@pytest.mark.parametrize(
    ("cuda", "cuda_bf16", "mps", "avx512", "amx", "expected"),
    [
        (True, True, False, False, False, "bf16"),
        (True, False, False, True, True, "no"),
        (False, False, True, True, True, "no"),
        (False, False, False, True, False, "bf16"),
        (False, False, False, False, True, "bf16"),
        (False, False, False, False, False, "no"),
    ],
)
def test_precision_is_picked_by_hardware(
    monkeypatch: pytest.MonkeyPatch,
    cuda: bool,
    cuda_bf16: bool,
    mps: bool,
    avx512: bool,
    amx: bool,
    expected: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda_bf16)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert pick_precision("auto") == pick_precision() == expected


def test_precision_can_change_between_runs_of_one_process(tmp_path: Path) -> None:
    """As in a notebook that trains one model in float32 and the next in bfloat16."""
    for i, precision in enumerate(("no", "bf16", "no")):
        figures = run(tmp_path / str(i), steps=3, mixed_precision=precision)
        assert figures["precision"] == precision
