"""Classifier-free guidance against diffusers' formulas, at its special scales, and bad input."""

import math
from typing import Any

import pytest
import torch
from diffusers.guiders.guider_utils import rescale_noise_cfg
from torch import Tensor

from course_utils.guidance import Conditioning, GuidedDenoiser, combine, guide, rescale_guided
from course_utils.predictions import PREDICTION_TYPES, to_x0
from course_utils.samplers import sample
from course_utils.schedules import NoiseSchedule

B = 3


class Spy:
    """A denoiser that remembers the batch sizes that it was asked for."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, x_t: Tensor, t: Tensor, states: Tensor) -> Tensor:
        assert len(x_t) == len(t) == len(states)
        self.batches.append(len(x_t))
        push = states.mean(dim=(1, 2)).reshape(-1, 1, 1, 1)  # (B, 1, 1, 1)
        return torch.tanh(x_t + push * x_t.flip(-1) + 0.001 * t.reshape(-1, 1, 1, 1))


def inputs() -> tuple[Tensor, Tensor, Conditioning]:
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(B, 2, 4, 4, generator=generator)
    text, negative = torch.randn(2, B, 5, 6, generator=generator) * 3
    return x_t, torch.full((B,), 400), Conditioning(text, negative)


def both(x_t: Tensor, t: Tensor, cond: Conditioning) -> tuple[Tensor, Tensor]:
    assert cond.negative_states is not None
    return Spy()(x_t, t, cond.text_states), Spy()(x_t, t, cond.negative_states)


@pytest.mark.parametrize("scale", [0.5, 1.5, 7.5, 20.0, 100.0])
@pytest.mark.parametrize("rescale", [0.0, 0.7, 1.0])
def test_equals_diffusers_in_one_call_of_twice_the_batch(scale: float, rescale: float) -> None:
    x_t, t, cond = inputs()
    spy = Spy()
    ours = guide(spy, scale, rescale)(x_t, t, cond)
    text, negative = both(x_t, t, cond)
    theirs = negative + scale * (text - negative)  # StableDiffusionPipeline.__call__
    if rescale > 0:
        theirs = rescale_noise_cfg(theirs, text, guidance_rescale=rescale)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert spy.batches == [2 * B]


@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_scale_1_is_off_and_scale_0_ignores_the_prompt(rescale: float) -> None:
    x_t, t, cond = inputs()
    text, negative = both(x_t, t, cond)
    for scale, expected in ((1.0, text), (1, text), (0.0, negative), (0, negative)):
        spy = Spy()
        assert torch.equal(guide(spy, scale, rescale)(x_t, t, cond), expected)
        assert spy.batches == [B]  # one evaluation, not two


def test_scale_1_needs_no_negative_states() -> None:
    x_t, t, cond = inputs()
    only_text = Conditioning(cond.text_states)
    assert torch.equal(guide(Spy(), 1.0)(x_t, t, only_text), both(x_t, t, cond)[0])
    for scale in (0.0, 4.0):
        with pytest.raises(ValueError, match=f"negative_states is None; guidance_scale {scale}"):
            guide(Spy(), scale)(x_t, t, only_text)


def test_combine_is_linear_between_its_two_ends() -> None:
    x_t, t, cond = inputs()
    text, negative = both(x_t, t, cond)
    torch.testing.assert_close(combine(text, negative, 0.25), 0.25 * text + 0.75 * negative)
    torch.testing.assert_close(combine(text, negative, 1.0), text)
    torch.testing.assert_close(combine(text, negative, 0.0), negative)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_guiding_any_prediction_type_guides_x0(prediction_type: str) -> None:
    x_t, t, cond = inputs()
    text, negative = both(x_t, t, cond)
    guided = to_x0(combine(text, negative, 6.0), x_t, 0.4, prediction_type)
    x0_text, x0_negative = (to_x0(y, x_t, 0.4, prediction_type) for y in (text, negative))
    torch.testing.assert_close(guided, combine(x0_text, x0_negative, 6.0), rtol=1e-4, atol=1e-4)


def test_rescale_restores_the_spread_of_each_picture() -> None:
    x_t, t, cond = inputs()
    text, negative = both(x_t, t, cond)
    guided = combine(text, negative, 12.0)
    full = rescale_guided(guided, text, 1.0)
    torch.testing.assert_close(full.std(dim=(1, 2, 3)), text.std(dim=(1, 2, 3)))
    assert torch.equal(rescale_guided(guided, text, 0.0), guided)


# ---------------------------------------------------------------------- the interval


def test_interval_guides_only_inside() -> None:
    x_t, _, cond = inputs()
    spy = Spy()
    guided = guide(spy, 5.0, interval=(200, 600))
    for t, batches in ((199, [B]), (200, [2 * B]), (599, [2 * B]), (600, [B])):
        spy.batches.clear()
        times = torch.full((B,), t)
        output = guided(x_t, times, cond)
        assert spy.batches == batches
        plain = Spy()(x_t, times, cond.text_states)
        assert torch.equal(output, plain) == (batches == [B])


@pytest.mark.parametrize("scale", [0.0, 5.0])
def test_a_batch_may_straddle_the_interval(scale: float) -> None:
    x_t, _, cond = inputs()
    t = torch.tensor([100, 300, 900])
    mixed = guide(Spy(), scale, interval=(200, 600))(x_t, t, cond)
    everywhere = guide(Spy(), scale)(x_t, t, cond)
    text, _ = both(x_t, t, cond)
    torch.testing.assert_close(mixed[1], everywhere[1])
    torch.testing.assert_close(mixed[[0, 2]], text[[0, 2]])


def test_a_sampler_asks_twice_the_batch_only_inside_the_interval() -> None:
    x_T, _, cond = inputs()
    spy = Spy()
    schedule = NoiseSchedule.linear(prediction_type="v_prediction", timestep_spacing="trailing")
    sample(guide(spy, 4.0, interval=(300, 700)), x_T, schedule, cond, "ddim", 10)
    # timesteps 999, 899, ..., 99; inside are 699, 599, 499, 399
    assert spy.batches == [B] * 3 + [2 * B] * 4 + [B] * 3


def test_no_interval_means_everywhere_on_a_schedule_of_any_length() -> None:
    """At T = 4000 an interval that ends at 1000 would leave three quarters of the walk unguided."""
    x_T, _, cond = inputs()
    spy = Spy()
    schedule = NoiseSchedule.linear(1e-5, 5e-3, 4000, timestep_spacing="trailing")
    sample(guide(spy, 4.0), x_T, schedule, cond, "ddim", 10)
    assert spy.batches == [2 * B] * 10
    spy.batches.clear()
    sample(guide(spy, 4.0, interval=(0, 1000)), x_T, schedule, cond, "ddim", 10)
    assert spy.batches == [B] * 8 + [2 * B] * 2  # timesteps 799 and 399 lie inside


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf, -1.0, 1e9, 100.5])
def test_bad_scale(scale: float) -> None:
    with pytest.raises(
        ValueError, match=r"guidance_scale is .*finite number from 0 to 100"
    ) as error:
        guide(Spy(), scale)
    assert str(scale) in str(error.value)


@pytest.mark.parametrize("scale", ["7", None, True, [7.5]])
def test_scale_of_the_wrong_type(scale: Any) -> None:
    with pytest.raises(TypeError, match=r"guidance_scale is .*expected a number from 0 to 100"):
        GuidedDenoiser(Spy(), scale)


def test_other_bad_input() -> None:
    x_t, t, cond = inputs()
    for rescale in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"rescale is {rescale}; expected"):
            guide(Spy(), 5.0, rescale)
    for interval in ((500, 100), (-1, 5), (math.nan, 1), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"interval is .*; expected None, or timesteps"):
            guide(Spy(), 5.0, interval=interval)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"negative_states has shape \(3, 4, 6\); expected"):
        Conditioning(cond.text_states, cond.text_states[:, :4])
    with pytest.raises(ValueError, match=r"cond\.text_states has batch size 3; expected 2"):
        guide(Spy(), 5.0)(x_t[:2], t[:2], cond)
    with pytest.raises(TypeError, match="cond is a Tensor; expected a Conditioning"):
        guide(Spy(), 5.0)(x_t, t, cond.text_states)  # type: ignore[arg-type]
