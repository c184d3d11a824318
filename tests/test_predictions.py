"""Conversions between epsilon, x0 and v: they agree with the definitions and with each other."""

import math
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from course_utils.predictions import (
    LOSS_WEIGHTS,
    PREDICTION_TYPES,
    expand_to,
    min_snr_weight,
    to_epsilon,
    to_v,
    to_x0,
    training_target,
    x0_from_alpha_sigma,
    x0_from_sigma,
)
from course_utils.schedules import NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear()
T = torch.tensor([0, 10, 500, 999])
ALPHA_BAR = SCHEDULE.alpha_bar[T]  # (4,)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    x0, epsilon = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    return x0, epsilon, SCHEDULE.add_noise(x0, epsilon, T)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_a_perfect_output_converts_to_what_it_came_from(prediction_type: str) -> None:
    x0, epsilon, x_t = batch()
    output = training_target(x0, epsilon, ALPHA_BAR, prediction_type)
    v = training_target(x0, epsilon, ALPHA_BAR, "v_prediction")
    close: dict[str, Any] = {
        "rtol": 1e-5,
        "atol": 2e-4,
    }  # at t = 0 epsilon is what is left after a cancellation
    torch.testing.assert_close(to_x0(output, x_t, ALPHA_BAR, prediction_type), x0, **close)
    torch.testing.assert_close(
        to_epsilon(output, x_t, ALPHA_BAR, prediction_type), epsilon, **close
    )
    torch.testing.assert_close(to_v(output, x_t, ALPHA_BAR, prediction_type), v, **close)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_any_output_means_one_pair_of_picture_and_noise(prediction_type: str) -> None:
    """x_t = alpha x0 + sigma epsilon must hold for the two, whatever the network said."""
    _, _, x_t = batch()
    output = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(9))
    x0 = to_x0(output, x_t, ALPHA_BAR, prediction_type)
    epsilon = to_epsilon(output, x_t, ALPHA_BAR, prediction_type)
    torch.testing.assert_close(SCHEDULE.add_noise(x0, epsilon, T), x_t, rtol=1e-5, atol=1e-5)


def test_v_equals_diffusers_velocity() -> None:
    x0, epsilon, _ = batch()
    theirs = DDPMScheduler.from_config(SCHEDULE.to_config()).get_velocity(x0, epsilon, T)
    ours = training_target(x0, epsilon, ALPHA_BAR, "v_prediction")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_three_ways_to_name_a_noise_level_agree(prediction_type: str) -> None:
    _, _, x_t = batch()
    output, a = 0.3 * x_t.flip(0), torch.tensor(0.3)
    alpha, sigma = a**0.5, (1 - a) ** 0.5
    expected = to_x0(output, x_t, a, prediction_type)
    torch.testing.assert_close(to_x0(output, x_t, 0.3, prediction_type), expected)
    torch.testing.assert_close(to_x0(output, x_t, a.expand(4), prediction_type), expected)
    torch.testing.assert_close(
        x0_from_alpha_sigma(output, x_t, alpha, sigma, prediction_type), expected
    )
    torch.testing.assert_close(
        x0_from_sigma(output, x_t / alpha, sigma / alpha, prediction_type), expected
    )


def test_zero_terminal_snr() -> None:
    """At alpha_bar = 0 x_t is the noise: v = -x0, "sample" is x0, and epsilon says nothing."""
    x0, epsilon, _ = batch()
    alpha_bar = torch.tensor([0.5, 0.5, 0.5, 0.0])
    x_t = alpha_bar.reshape(-1, 1, 1, 1) ** 0.5 * x0
    x_t = x_t + (1 - alpha_bar.reshape(-1, 1, 1, 1)) ** 0.5 * epsilon
    for prediction_type in ("sample", "v_prediction"):
        output = training_target(x0, epsilon, alpha_bar, prediction_type)
        torch.testing.assert_close(to_x0(output, x_t, alpha_bar, prediction_type), x0)
        torch.testing.assert_close(to_epsilon(output, x_t, alpha_bar, prediction_type), epsilon)
    torch.testing.assert_close(output[-1], -x0[-1])
    for convert in (to_x0, to_v):
        with pytest.raises(ValueError, match="'epsilon' cannot recover x0 where alpha_bar is 0"):
            convert(epsilon, x_t, alpha_bar, "epsilon")
    with pytest.raises(ValueError, match="'sample' cannot recover epsilon where alpha_bar is 1"):
        to_epsilon(x0, x0, 1.0, "sample")


def test_bad_input() -> None:
    x0, epsilon, x_t = batch()
    for convert in (to_x0, to_epsilon, to_v, training_target):
        with pytest.raises(ValueError, match="prediction_type is 'noise'; expected one of epsilon"):
            convert(x0, x_t, ALPHA_BAR, "noise")
    with pytest.raises(ValueError, match=r"epsilon has shape \(4, 3, 2\)"):
        training_target(x0, epsilon[..., 0], ALPHA_BAR, "epsilon")
    with pytest.raises(ValueError, match=r"must have shape \(4,\).*got shape \(3,\)"):
        to_x0(x0, x_t, ALPHA_BAR[:3], "epsilon")
    with pytest.raises(ValueError, match=r"got shape \(4, 3, 2, 2\)"):
        expand_to(x0, x_t)


# ---------------------------------------------------------------------- loss weights


def test_min_snr_weights_equal_their_definition() -> None:
    snr = torch.tensor([0.01, 1.0, 5.0, 80.0])
    capped = torch.tensor([0.01, 1.0, 5.0, 5.0])
    torch.testing.assert_close(min_snr_weight(snr, 5.0, "sample"), capped)
    torch.testing.assert_close(min_snr_weight(snr, 5.0, "epsilon"), capped / snr)
    torch.testing.assert_close(min_snr_weight(snr, 5.0, "v_prediction"), capped / (snr + 1))


def test_min_snr_weighs_the_same_error_in_x0_alike_for_every_prediction_type() -> None:
    """A given error in x0 costs min(SNR, gamma) whatever the network predicts."""
    x0, epsilon, x_t = batch()
    snr = SCHEDULE.snr()[T]
    losses = []
    for prediction_type, convert in zip(PREDICTION_TYPES, (to_epsilon, None, to_v), strict=True):
        wrong = x0 + 0.1
        output = convert(wrong, x_t, ALPHA_BAR, "sample") if convert else wrong
        error = (output - training_target(x0, epsilon, ALPHA_BAR, prediction_type)) ** 2
        losses.append(error.mean(dim=(1, 2, 3)) * min_snr_weight(snr, 5.0, prediction_type))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-2, atol=1e-5)
    torch.testing.assert_close(losses[2], losses[1], rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("kind", LOSS_WEIGHTS)
def test_weights_are_finite_at_every_timestep(kind: str, prediction_type: str) -> None:
    snr = NoiseSchedule.cosine().rescale_zero_terminal_snr().snr()
    weights = LOSS_WEIGHTS[kind](snr, 5.0, prediction_type)
    assert weights.shape == snr.shape
    assert bool(torch.isfinite(weights).all())
    assert bool((weights >= 0).all())
    if kind == "uniform":
        assert bool((weights == 1).all())


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.nan, math.inf])
def test_bad_gamma(gamma: float) -> None:
    with pytest.raises(ValueError, match=f"gamma is {gamma}; expected a positive finite number"):
        min_snr_weight(torch.ones(3), gamma)
