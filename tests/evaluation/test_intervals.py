"""Intervals against scipy, closed forms, and the coverage that they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from course_utils.evaluation import (
    bootstrap_interval,
    jackknife_interval,
    share_interval,
    wilson_interval,
)
from course_utils.evaluation.intervals import student_t

stats = pytest.importorskip("scipy.stats")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("successes", "n"), [(0, 8), (8, 8), (3, 11), (52, 64), (499, 500)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_interval_is_that_of_scipy(successes: int, n: int, confidence: float) -> None:
    theirs = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    ours = wilson_interval(successes, n, confidence)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.value == successes / n


def test_bootstrap_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).exponential(size=60)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    ours = bootstrap_interval(torch.from_numpy(values), resamples=20_000, generator=seeded())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.01)
    assert ours.value == pytest.approx(values.mean())


def test_groups_widen_the_interval_as_much_as_they_must() -> None:
    """Ten copies of each value say no more than one: the interval must not shrink."""
    values = torch.randn(40, generator=seeded())
    once = bootstrap_interval(values, generator=seeded(1))
    groups = torch.arange(40).repeat_interleave(10)
    copied = bootstrap_interval(values.repeat_interleave(10), groups, generator=seeded(1))
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    alone = bootstrap_interval(values.repeat_interleave(10), generator=seeded(1))
    assert alone.high - alone.low < 0.5 * (once.high - once.low)


def test_groups_of_unequal_size_weigh_by_their_size() -> None:
    values, groups = torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([7, 7, 7, 3])
    estimate = bootstrap_interval(values, groups, generator=seeded())
    assert (estimate.value, estimate.low, estimate.high) == (0.75, 0.0, 1.0)


def test_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    """200 experiments, each of 30 prompts with 4 seeds that share a prompt's luck."""
    rng, generator, hits = np.random.default_rng(0), seeded(), 0
    groups = torch.arange(30).repeat_interleave(4)
    for _ in range(200):
        luck = rng.normal(size=30).repeat(4) + 0.5 * rng.normal(size=120)
        estimate = bootstrap_interval(
            torch.from_numpy(luck), groups, resamples=400, generator=generator
        )
        hits += estimate.low <= 0 <= estimate.high
    assert 0.88 <= hits / 200 <= 0.99


def test_share_interval_never_claims_certainty() -> None:
    groups = torch.arange(12).repeat_interleave(4)
    estimate = share_interval(torch.ones(48, dtype=torch.bool), groups, generator=seeded())
    theirs = stats.binomtest(12, 12).proportion_ci(0.95, method="wilson")  # 12 prompts, not 48
    assert (estimate.low, estimate.high) == pytest.approx((theirs.low, 1.0))
    mixed = torch.arange(48) % 3 == 0
    expected = bootstrap_interval(mixed, groups, generator=seeded())
    assert share_interval(mixed, groups, generator=seeded()) == expected


def test_jackknife_of_a_mean_is_students_interval() -> None:
    values = torch.randn(16, generator=seeded(), dtype=torch.float64)
    ours = jackknife_interval(lambda keep: float(values[keep].mean()), 16, blocks=16)
    error = float(values.std()) / math.sqrt(16)
    theirs = stats.t.interval(0.95, 15, loc=float(values.mean()), scale=error)
    assert (ours.low, ours.high) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("degrees", [10, 19, 60])
@pytest.mark.parametrize("p", [0.9, 0.975, 0.995])
def test_student_t_is_that_of_scipy(p: float, degrees: int) -> None:
    assert student_t(p, degrees) == pytest.approx(stats.t.ppf(p, degrees), rel=1e-9)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(3, 2)
    with pytest.raises(ValueError, match="confidence"):
        wilson_interval(1, 2, confidence=95)
    with pytest.raises(ValueError, match="groups"):
        bootstrap_interval(torch.ones(3), torch.ones(2), generator=seeded())
    with pytest.raises(ValueError, match="groups"):
        jackknife_interval(lambda keep: 0.0, 1)
