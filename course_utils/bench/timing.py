"""Paired timing: two ways to do the same work, in turn, so that both meet the same machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        group: which part of the benchmark.
        what: what was done.
        unit: of `ours` and `theirs`, such as "ms".
        ours, theirs: medians.
        ratio: median over pairs of our time / their time; below 1 ours is faster.
        low, high: quartiles of that ratio.
        pairs: how often both were timed.
        check: how far the two results are apart, in words.
    """

    group: str
    what: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    pairs: int
    check: str


def time_pairs(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    pairs: int,
    warm_up: int = 1,
    synchronize: Callable[[], object] = lambda: None,
) -> tuple[list[float], list[float]]:
    """Time two functions in turn.

    Args:
        ours, theirs: what to time.
        pairs: how often each is called. Who goes first alternates: A B, B A, A B, ...
        warm_up: calls of each beforehand that are not timed.
        synchronize: waits until a GPU has done what it was asked.

    Returns:
        Seconds of each call of `ours` and of `theirs`, pair by pair.
    """
    for _ in range(warm_up):
        ours()
        theirs()
    seconds: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            synchronize()
            began = time.perf_counter()
            (ours, theirs)[which]()
            synchronize()
            seconds[which].append(time.perf_counter() - began)
    return seconds


def summarize(
    group: str,
    what: str,
    unit: str,
    seconds: tuple[list[float], list[float]],
    convert: Callable[[float], float],
    check: str,
) -> Row:
    """Medians of both sides and of the ratio, which is taken pair by pair.

    >>> row = summarize("g", "w", "ms", ([1.0, 2.0, 9.0], [2.0, 2.0, 9.0]), lambda s: 1000 * s, "")
    >>> row.ours, row.theirs, row.ratio
    (2000.0, 2000.0, 1.0)
    """
    ours, theirs = seconds
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    if len(ratios) > 1:
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    else:
        low = high = ratios[0]
    return Row(
        group=group,
        what=what,
        unit=unit,
        ours=convert(statistics.median(ours)),
        theirs=convert(statistics.median(theirs)),
        ratio=statistics.median(ratios),
        low=low,
        high=high,
        pairs=len(ratios),
        check=check,
    )


def synchronizer(device: torch.device) -> Callable[[], object]:
    """What waits for a device; nothing to wait for on a CPU."""
    if device.type == "cuda":
        return torch.cuda.synchronize
    return torch.mps.synchronize if device.type == "mps" else lambda: None
