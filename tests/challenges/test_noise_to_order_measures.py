"""Challenge 01 measures what it says: closed forms, the best choice by brute force, bands."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from course_utils.challenges.declare import Refused
from course_utils.challenges.noise_to_order import ask as challenge_01
from course_utils.challenges.noise_to_order.ask import CHALLENGE, best_gap, falling_curve, log10_snr
from course_utils.challenges.noise_to_order.contestants import betas_for

PARTS = {part.id: part for part in CHALLENGE.parts}


def test_snr_of_betas_in_closed_form() -> None:
    found = log10_snr(np.array([0.5, 0.5, 1.0]))
    assert found[:2] == pytest.approx([0.0, math.log10(0.25 / 0.75)], abs=1e-15)
    assert found[2] == -math.inf
    assert log10_snr(np.array([1e-12]))[0] == pytest.approx(12, abs=1e-11)
    assert log10_snr(np.array([0.0]))[0] == math.inf


@pytest.mark.parametrize("seed", range(5))
def test_curves_fall_from_start_to_end(seed: int) -> None:
    curve = falling_curve(np.random.default_rng(seed), 40, 4.0, -5.0)
    assert curve.shape == (40,) and curve[0] == 4.0 and curve[-1] == pytest.approx(-5.0)
    assert (np.diff(curve) < 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_orders_are_legal_and_differ_between_seeds(seed: int) -> None:
    for part in ("a", "b"):
        first, second = (PARTS[part].inputs(np.random.default_rng(s)) for s in (seed, seed + 100))
        for given in first:
            snr = given["snr"]
            assert snr.dtype == np.float64 and (np.diff(snr) < 0).all() and (snr[:-1] > 0).all()
        assert not np.array_equal(first[-1]["snr"][:-1], second[-1]["snr"][:-1])
        assert any(given["snr"][-1] == 0 for given in first) == (part == "b")
    for given in PARTS["c"].inputs(np.random.default_rng(seed)):
        betas = given["betas"]
        assert betas.min() > 0 and betas.max() < 1
        assert given["terminal_snr"] < 10 ** log10_snr(betas)[0]
    for given in PARTS["d"].inputs(np.random.default_rng(seed)):
        alpha_bar = given["alpha_bar"]
        assert (np.diff(alpha_bar) < 0).all() and alpha_bar[-1] > 0 and alpha_bar[0] < 1
        assert 2 <= given["num_steps"] <= len(alpha_bar) <= 500


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_steps", [2, 3, 5, 9, 10])
def test_the_best_gap_is_that_of_brute_force(seed: int, num_steps: int) -> None:
    log_snr = falling_curve(np.random.default_rng(seed), 10, 4.0, -5.0)
    choices = itertools.combinations(range(1, 9), num_steps - 2)
    gaps = [-np.diff(log_snr[[0, *inner, 9]]).min() for inner in choices]
    assert best_gap(log_snr, num_steps) == pytest.approx(min(gaps), rel=1e-12)


def test_rescaling_to_zero_is_algorithm_1_of_lin_et_al() -> None:
    import torch

    from course_utils.schedules import NoiseSchedule, zero_terminal_snr_betas

    betas = NoiseSchedule.scaled_linear().betas.double()
    mine = challenge_01.rescaled_log10_snr(betas.numpy(), 0.0)
    theirs = log10_snr(zero_terminal_snr_betas(betas).numpy())
    assert mine[-1] == theirs[-1] == -math.inf
    torch.testing.assert_close(mine[:-1], theirs[:-1], rtol=0, atol=1e-10)
    kept = challenge_01.rescaled_log10_snr(betas.numpy(), float(10 ** log10_snr(betas.numpy())[-1]))
    torch.testing.assert_close(kept, log10_snr(betas.numpy()), rtol=0, atol=1e-10)


def test_more_error_never_gives_more_points() -> None:
    import torch

    part = PARTS["a"]
    inputs = part.inputs(np.random.default_rng(0))
    exact = [betas_for(torch.tensor(given["snr"])).numpy() for given in inputs]
    values, points = [], []
    for size in (0.0, 1e-7, 1e-5, 1e-3, 1e-2, 0.1, 0.3):
        measured = part.measure(inputs, [betas * (1 - size) for betas in exact])
        band = part.band(measured.value)
        values.append(measured.value)
        points.append(0 if band is None else band.points)
    assert values == sorted(values)
    assert points == sorted(points, reverse=True) and {3, 2} <= set(points)


def test_a_beta_of_one_too_early_is_named() -> None:
    inputs = [{"snr": np.array([10.0, 1.0, 0.1])}]
    found = PARTS["a"].measure(inputs, [np.array([0.1, 1.0, 0.5])])
    assert found.value == challenge_01.WORST
    assert any("beta is 1 in row 1" in note for note in found.notes)


REFUSED = {
    "a list": ([0.1, 0.2], "a list"),
    "nothing": (None, "nothing"),
    "whole numbers": (np.array([0, 1]), "int64"),
    "columns": (np.array([[0.1], [0.2]]), "one beta a row"),
    "infinite": (np.array([0.1, math.inf]), "inf in row 1"),
    "above one": (np.array([0.1, 1.5]), "1.5 in row 1"),
    "a little below zero": (np.array([0.1, -1e-9]), "from rounding"),
}


@pytest.mark.parametrize(("value", "words"), REFUSED.values(), ids=list(REFUSED))
def test_what_is_no_table_of_betas_is_refused(value: object, words: str) -> None:
    with pytest.raises(Refused, match=words):
        PARTS["a"].measure([{"snr": np.array([10.0, 1.0])}], [value])


CHOICES = {
    "a list": ([3, 0], "a list"),
    "fractions": (np.array([3.0, 0.0]), "float64"),
    "too few": (np.array([3]), "num_steps is 2"),
    "no row": (np.array([4, 0]), "no rows"),
    "twice": (np.array([0, 0]), "twice"),
    "rising": (np.array([0, 3]), "rise"),
    "not the cleanest": (np.array([3, 1]), "the cleanest"),
}


@pytest.mark.parametrize(("value", "words"), CHOICES.values(), ids=list(CHOICES))
def test_what_is_no_choice_of_timesteps_is_refused(value: object, words: str) -> None:
    given = {"alpha_bar": np.array([0.9, 0.6, 0.3, 0.1]), "num_steps": 2}
    with pytest.raises(Refused, match=words):
        PARTS["d"].measure([given], [value])
