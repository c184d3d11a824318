"""A run that is killed and started again gives the weights of one that is not, bit by bit."""

import csv
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import child, child_that_dies_in_save, one_of_several, run
from torch.testing import assert_close

from course_utils.training.processes import free_port

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
CHECKPOINT = "checkpoint.safetensors"
Start = Callable[..., BaseProcess]


@pytest.fixture(scope="module")
def context() -> Any:
    """Children fork from a clean process that has torch, so they start at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "accelerate", "course_utils.training.loop"])
    return context


@pytest.fixture
def start(context: Any) -> Iterator[Start]:
    """Starts `function(*args)` in a child; whatever is left of the children is ended."""
    children: list[BaseProcess] = []

    def begin(function: Callable[..., None], *args: Any) -> BaseProcess:
        children.append(context.Process(target=function, args=args))
        children[-1].start()
        return children[-1]

    yield begin
    for process in children:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


def steps_logged(folder: Path) -> list[int]:
    try:
        with (folder / "log.csv").open(newline="") as file:
            rows = list(csv.reader(file))[1:]
    except FileNotFoundError:
        return []
    return [int(row[0]) for row in rows if len(row) == 4 and row[2] == "loss"]


def step_of(folder: Path) -> int:
    with safe_open(folder / CHECKPOINT, framework="pt") as file:
        return json.loads(file.metadata()["note"])["step"]


def wait_for_step(folder: Path, step: int, process: BaseProcess, most: float = 300) -> None:
    end = time.monotonic() + most
    while not any(logged >= step for logged in steps_logged(folder)):
        assert process.is_alive(), f"ended with {process.exitcode} before step {step}"
        assert time.monotonic() < end, f"no step {step} in {most} s"
        time.sleep(0.005)


def finish(process: BaseProcess, most: float = 300) -> int | None:
    process.join(most)
    return process.exitcode


def assert_same_run(folder: Path, whole: Path) -> None:
    """The same weights, moving average and optimiser state, the same log and figures."""
    assert_close(load_file(folder / CHECKPOINT), load_file(whole / CHECKPOINT), atol=0, rtol=0)
    logs = []
    for each in (folder, whole):
        with (each / "log.csv").open(newline="") as file:
            logs.append([(r["step"], r["name"], r["value"]) for r in csv.DictReader(file)])
    assert logs[0] == logs[1]
    assert steps_logged(folder) == list(range(40))
    mine, theirs = (json.loads((each / "run.json").read_text()) for each in (folder, whole))
    for figures in (mine, theirs):
        del figures["seconds"], figures["samples_per_second"], figures["settings"]
        del figures["device"]
    assert mine == theirs


def test_killed_at_random_moments(tmp_path: Path, whole: Path, start: Start) -> None:
    rng = random.Random(0)
    slow = {"delay": 0.004}
    reached = 0
    for _ in range(4):
        process = start(child, tmp_path, slow, {})
        wait_for_step(tmp_path, reached + rng.randint(1, 7), process)
        time.sleep(rng.uniform(0, 0.01))
        process.kill()
        assert finish(process) == -signal.SIGKILL
        reached = step_of(tmp_path)
    assert 0 < reached < 40
    assert not (tmp_path / "run.json").exists()
    assert finish(start(child, tmp_path, slow, {})) == 0
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_killed_while_saving(tmp_path: Path, whole: Path, start: Start, moment: str) -> None:
    """The checkpoint from before is whole, and the half-written one is in nobody's way."""
    process = start(child_that_dies_in_save, tmp_path, 6, moment)
    assert finish(process) == -signal.SIGKILL
    assert step_of(tmp_path) == 5
    assert finish(start(child, tmp_path, {}, {})) == 0
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_asked_to_stop(tmp_path: Path, whole: Path, start: Start, number: signal.Signals) -> None:
    """The step is completed and saved, even where saving by the clock is far away."""
    process = start(child, tmp_path, {"delay": 0.02}, {"save_every_seconds": 1e9})
    wait_for_step(tmp_path, 3, process)
    os.kill(process.pid or 0, number)
    assert finish(process) == 130
    assert step_of(tmp_path) == steps_logged(tmp_path)[-1] + 1 < 40
    assert finish(start(child, tmp_path, {}, {})) == 0
    assert_same_run(tmp_path, whole)


def test_asked_twice_stops_at_once(tmp_path: Path) -> None:
    """The second Ctrl-C does not wait for a long step; what was saved before it stays."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {"interrupts": {3: 2}})
    assert step_of(tmp_path) == 3
    with pytest.raises(KeyboardInterrupt, match="stopped after step 5; run again to go on"):
        run(tmp_path, {"interrupts": {4: 1}})
    assert step_of(tmp_path) == 5
    assert steps_logged(tmp_path) == list(range(5))


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path: Path) -> None:
    run(tmp_path, steps=10)
    figures = run(tmp_path, steps=14)
    assert figures["steps"] == 14
    assert steps_logged(tmp_path) == list(range(14))
    assert step_of(tmp_path) == 14


# --- several processes ------------------------------------------------------------------------


def start_two(
    start: Start, folder: Path, tasks: list[dict[str, Any]], **settings: Any
) -> list[BaseProcess]:
    port = free_port()
    return [start(one_of_several, i, 2, port, folder, tasks[i], settings) for i in range(2)]


def test_two_processes_equal_one(tmp_path: Path, start: Start) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    both = start_two(start, two, [{}, {}])
    run(one, {"ranks": (0, 1)})
    assert [finish(process) for process in both] == [0, 0]
    assert_close(load_file(two / CHECKPOINT), load_file(one / CHECKPOINT), atol=1e-5, rtol=1e-4)
    first, second = (load_file(two / f"rank{i}.safetensors") for i in range(2))
    assert_close(first, second, atol=0, rtol=0)
    assert steps_logged(two) == list(range(40))
    figures = json.loads((two / "run.json").read_text())
    assert figures["processes"] == 2


def test_two_processes_stop_together_and_go_on(tmp_path: Path, start: Start) -> None:
    """Asking one is enough; both stop after the same step, and a new pair ends as one run does."""
    one, two = tmp_path / "one", tmp_path / "two"
    slow = {"delay": 0.02}
    both = start_two(start, two, [slow, slow], save_every_seconds=1e9)
    run(one, {"ranks": (0, 1)})
    wait_for_step(two, 3, both[0])
    os.kill(both[1].pid or 0, signal.SIGINT)
    assert [finish(process) for process in both] == [130, 130]
    assert 3 < step_of(two) < 40
    again = start_two(start, two, [{}, {}])
    assert [finish(process) for process in again] == [0, 0]
    assert_close(load_file(two / CHECKPOINT), load_file(one / CHECKPOINT), atol=1e-5, rtol=1e-4)
    assert steps_logged(two) == list(range(40))


def test_no_number_in_one_process_stops_both(tmp_path: Path, start: Start) -> None:
    both = start_two(start, tmp_path, [{}, {"nan_at": 6}])
    assert [finish(process) for process in both] == [3, 3]
    assert step_of(tmp_path) == 6
    assert all(value.isfinite().all() for value in load_file(tmp_path / CHECKPOINT).values())
