"""On a Dask cluster of two workers, one of which is killed: every submission has one result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
import tiny_challenge
from running import family, still

from course_utils.grading.cohort.attempts import Attempt
from course_utils.grading.cohort.gradebook import Gradebook
from course_utils.grading.cohort.run import CohortError, GradingSettings, grade_cohort
from course_utils.grading.cohort.submissions import Submission

pytest.importorskip("distributed")
HERE = Path(__file__).parent
ROOT = HERE.parents[2]
WHEN = datetime(2026, 3, 2, 12, tzinfo=UTC)
COUNT = 12
STARTS = 120.0  # seconds


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The scheduler's address, and two workers with one thread each."""
    folder = tmp_path_factory.mktemp("dask")
    about = folder / "scheduler.json"
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{HERE}:{HERE.parent}", "OMP_NUM_THREADS": "1"}
    env |= {"DASK_TEMPORARY_DIRECTORY": str(folder)}
    started: list[subprocess.Popen[bytes]] = []

    def start(kind: str, *arguments: str) -> None:
        module = f"distributed.cli.dask_{kind}"
        with (folder / f"{kind}.log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", module, "--scheduler-file", str(about), *arguments],
                    env=env,
                    cwd=folder,
                    stdout=log,
                    stderr=log,
                )
            )

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        deadline = time.monotonic() + STARTS
        while not about.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        for name in ("one", "two"):
            start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name)
        address = json.loads(about.read_text())["address"]
        _wait_for_workers(address, 2)
        yield address, started[1:]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait(20)


def _wait_for_workers(address: str, count: int) -> None:
    from distributed import Client

    client = Client(address, timeout=STARTS, set_as_default=False)
    try:
        client.wait_for_workers(count, timeout=STARTS)
    finally:
        client.close()


def test_a_worker_that_is_killed_costs_nobody_a_result(
    sandboxed: None,
    cluster: tuple[str, list[subprocess.Popen[bytes]]],
    tmp_path: Path,
) -> None:
    address, workers = cluster
    answers = {**tiny_challenge.HONEST}
    answers["double"] = "import time\ntime.sleep(0.3)\n" + answers["double"]
    cells = [
        {"cell_type": "code", "id": id, "metadata": {}, "source": text}
        for id, text in answers.items()
    ]
    data = json.dumps({"nbformat": 4, "nbformat_minor": 5, "cells": cells}).encode()
    given = [Submission(f"student {n}", "90", "x", data + b" " * n, WHEN) for n in range(COUNT)]
    victim, seen = workers[0], list[Attempt]()
    started: set[psutil.Process] = set()

    def on_attempt(attempt: Attempt) -> None:
        seen.append(attempt)
        if len(seen) == COUNT // 4:
            started.update(family(victim.pid))
            victim.send_signal(signal.SIGKILL)

    settings = GradingSettings(b"x" * 32, scheduler=address)
    with tiny_challenge.declared(), Gradebook(tmp_path / "gradebook.sqlite") as book:
        tally = grade_cohort(given, book, settings, on_attempt, tiny_challenge.grade_tiny)
        every = list(book.attempts())
        again = grade_cohort(given, book, settings, grader=tiny_challenge.grade_tiny)
    assert victim.wait(20) == -signal.SIGKILL
    assert tally.graded == {"pass": COUNT} and tally.before == 0
    assert Counter(a.student for a in every) == Counter({s.student: 1 for s in given})
    assert every == seen and all(a.sandboxed and a.points == 10 for a in every)
    assert again.graded == {} and again.before == COUNT
    assert not still(started)  # its sandbox went with it


def test_a_scheduler_that_is_none_is_told(tmp_path: Path) -> None:
    settings = GradingSettings(b"x" * 32, scheduler="no address")
    with (
        Gradebook(tmp_path / "gradebook.sqlite") as book,
        pytest.raises(CohortError, match="no Dask scheduler answers"),
    ):
        grade_cohort([], book, settings)
