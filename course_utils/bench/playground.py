"""The playground's engine in headless Chromium beside torch: processor time and memory.

Both compute the same picture on one thread. Processor time and not seconds, because a browser has
helpers of its own and other programs may run; it is summed over all of the browser's processes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import torch

from course_utils.bench.drawing import difference
from course_utils.bench.subject import GUIDANCE, PROMPT, SEED, STEPS
from course_utils.bench.timing import Row, summarize
from course_utils.pipeline import DEFAULT_SAMPLER, Pipeline
from course_utils.playground.serve import make_server
from course_utils.playground.site import find_models

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")
LOAD = """async (base) => {
    const { readFiles } = await import("/files.js");
    const { Pipeline } = await import("/pipeline.js");
    window.pipeline = new Pipeline(await readFiles({ base, bytes: 1 }, () => {}));
}"""
DRAW = """(given) => {
    const [positive, negative] = [pipeline.encode([given.prompt]), pipeline.encode([""])];
    let last;
    for (last of pipeline.steps({ positive, negative, seeds: [given.seed], count: given.steps,
        guidance: given.guidance, sampler: given.sampler }));
    return Array.from(pipeline.decode(last.x));
}"""
MEMORY = """
import psutil, sys, torch
from course_utils.pipeline import Pipeline
before = psutil.Process().memory_info().rss
Pipeline.load(sys.argv[1], device="cpu").draw("a cat", num_steps=3)
print(psutil.Process().memory_info().rss - before)
"""


def chromium() -> str | None:
    """The path of Chromium; None where there is none."""
    given = os.environ.get("COURSE_CHROMIUM")
    return given or next(filter(None, map(shutil.which, CHROMIUM)), None)


def why_not() -> str | None:
    """Why this cannot be measured here; None where it can."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed (`make dev`)"
    return None if chromium() else "there is no Chromium; install it, or name it in COURSE_CHROMIUM"


def beside_torch(pairs: int) -> list[Row]:
    """Load and draw, in turn, in the browser and in torch.

    Args:
        pairs: how often each draws.

    Returns:
        Rows for drawing, loading and memory.
    """
    model = find_models()[0]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    given = {"prompt": PROMPT, "seed": SEED, "steps": STEPS, "guidance": GUIDANCE,
             "sampler": DEFAULT_SAMPLER}  # fmt: skip
    try:
        with browser_page() as (page, browser_time, browser_memory):
            before = browser_memory()
            base = f"/models/{model.name}/"
            load_ours = time_of(lambda: page.evaluate(LOAD, base), browser_time)
            load_theirs = time_of(lambda: Pipeline.load(model.name, device="cpu"), own_time)
            pipeline = Pipeline.load(model.name, device="cpu")

            def ours() -> torch.Tensor:
                return torch.tensor(page.evaluate(DRAW, given)).reshape(1, 3, 64, 64)

            def theirs() -> torch.Tensor:
                return pipeline.draw(
                    PROMPT, num_steps=STEPS, guidance_scale=GUIDANCE, seed=SEED
                ).pixels

            check = difference(ours(), theirs())  # which also warms both up
            seconds: tuple[list[float], list[float]] = ([], [])
            for pair in range(pairs):
                for which in (0, 1) if pair % 2 == 0 else (1, 0):
                    work, clock = ((ours, browser_time), (theirs, own_time))[which]
                    seconds[which].append(time_of(work, clock))
            grown = browser_memory() - before
    finally:
        torch.set_num_threads(threads)

    done = subprocess.run(
        [sys.executable, "-c", MEMORY, model.name], capture_output=True, text=True, check=True
    )
    what = f"browser beside torch, {STEPS} guided steps"
    rows = [summarize("playground", what, "processor s", seconds, lambda s: s, check)]
    for name, unit, a, b in (
        ("browser beside torch, load", "processor s", load_ours, load_theirs),
        ("browser beside torch, memory", "MB", grown / 1e6, int(done.stdout) / 1e6),
    ):
        row = summarize("playground", name, unit, ([a], [b]), lambda s: s, "measured once")
        rows.append(row)
    return rows


@contextlib.contextmanager
def browser_page() -> Iterator[tuple[Any, Callable[[], float], Callable[[], int]]]:
    """A page of the playground's origin, the processor time and the memory of its browser."""
    from playwright.sync_api import sync_playwright

    with make_server(0, find_models()) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        page = running.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/site.json")
        parts = [p for p in psutil.Process().children(recursive=True) if "chrom" in p.name()]

        def seconds() -> float:
            return sum(sum(part.cpu_times()[:2]) for part in parts if part.is_running())

        def memory() -> int:
            return sum(part.memory_info().rss for part in parts if part.is_running())

        yield page, seconds, memory
        running.close()
        server.shutdown()


def time_of(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of a clock while `work` runs."""
    began = clock()
    work()
    return clock() - began


def own_time() -> float:
    """Processor seconds of this process so far."""
    return sum(psutil.Process().cpu_times()[:2])
