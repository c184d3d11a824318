"""Lesson 02: its references are the course's, diffusers' and the formulas'; its drawings draw."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image
from torch import Tensor

from course_utils.checks.lesson_02 import (
    denoising_loss,
    optimal_denoiser,
    v_target,
    x0_from_epsilon,
    x0_from_v,
)
from course_utils.data import TOY_DATA, CaptionedEmoji
from course_utils.plots import Curve, DescribedImage
from course_utils.plots.score import Panel, against_size, blended, places, planes, rotation
from course_utils.predictions import PREDICTION_TYPES, to_x0, training_target
from course_utils.samplers import ddim, sample
from course_utils.schedules import NoiseSchedule

SCHEDULE = NoiseSchedule.cosine(prediction_type="sample", timestep_spacing="trailing")


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def perfect(data: Tensor):  # type: ignore[no-untyped-def]
    return lambda x_t, t, cond: optimal_denoiser(x_t, SCHEDULE.alpha_bar[t], data)


@pytest.mark.parametrize("t", [5, 500, 990])
def test_conversions_are_those_of_the_course_and_of_diffusers(t: int) -> None:
    from diffusers import DDIMScheduler

    x0, epsilon = draws(2, 4, 3, 8, 8)
    times = torch.full((4,), t)
    a, x_t = SCHEDULE.alpha_bar[times], SCHEDULE.add_noise(x0, epsilon, times)
    v = v_target(x0, epsilon, a)
    torch.testing.assert_close(v, training_target(x0, epsilon, a, "v_prediction"))
    torch.testing.assert_close(x0_from_v(x_t, v, a), to_x0(v, x_t, a, "v_prediction"))
    torch.testing.assert_close(x0_from_epsilon(x_t, epsilon, a), to_x0(epsilon, x_t, a, "epsilon"))
    for kind, output, own in (
        ("epsilon", epsilon, x0_from_epsilon(x_t, epsilon, a)),
        ("v_prediction", v, x0_from_v(x_t, v, a)),
    ):
        scheduler = DDIMScheduler.from_config(SCHEDULE.to_config(), prediction_type=kind)
        scheduler.set_timesteps(1000)
        theirs = scheduler.step(output, t, x_t).pred_original_sample
        torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(scheduler.get_velocity(x0, epsilon, times), v)
        torch.testing.assert_close(own, x0, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_loss_is_the_error_of_the_training_target(kind: str) -> None:
    x0, epsilon = draws(2, 5, 3, 4, 4)
    t = torch.tensor([0, 10, 400, 900, 998])
    target = training_target(x0, epsilon, SCHEDULE.alpha_bar[t], kind)
    seen = {}

    def denoiser(x_t: Tensor, t: Tensor, cond: object) -> Tensor:
        seen.update(x_t=x_t, t=t, cond=cond)
        return target + 0.5

    loss = denoising_loss(denoiser, x0, epsilon, t, SCHEDULE.alpha_bar, kind)
    assert loss.shape == () and float(loss) == pytest.approx(0.25, rel=1e-5)
    assert torch.equal(seen["x_t"], SCHEDULE.add_noise(x0, epsilon, t))
    assert torch.equal(seen["t"], t) and seen["cond"] is None


def test_one_data_point_is_always_the_guess() -> None:
    point = draws(1, 3, 4, 4)
    guess = optimal_denoiser(draws(6, 3, 4, 4, seed=1), torch.linspace(0, 0.999, 6), point)
    torch.testing.assert_close(guess, point.expand(6, -1, -1, -1))


def test_two_points_give_a_tanh() -> None:
    """For data at +m and -m the posterior mean is m tanh(sqrt(alpha_bar) m x / (1 - alpha_bar))."""
    m, x = 1.3, torch.linspace(-4, 4, 41).double()[:, None]
    data = torch.tensor([[m], [-m]]).double()
    for a in (0.0, 0.2, 0.9):
        guess = optimal_denoiser(x, torch.full((41,), a).double(), data)
        torch.testing.assert_close(guess, m * torch.tanh(a**0.5 * m * x / (1 - a)))


def test_many_gaussian_points_give_the_line_of_a_gaussian() -> None:
    """For x0 ~ N(0, 1) it is E[x0 | x_t] = sqrt(alpha_bar) x_t (Wiener's linear filter)."""
    data, x = draws(40_000, 1).double(), torch.linspace(-1.5, 1.5, 13).double()[:, None]
    guess = optimal_denoiser(x, torch.full((13,), 0.5).double(), data)
    torch.testing.assert_close(guess, 0.5**0.5 * x, rtol=0, atol=0.03)


def test_guess_and_score_are_one() -> None:
    data, x = draws(20, 2).double(), draws(9, 2, seed=1).double().requires_grad_()
    a = torch.full((9,), 0.4).double()
    log_p = (-torch.cdist(x, a[0].sqrt() * data).square() / (2 * (1 - a[0]))).logsumexp(1)
    (score,) = torch.autograd.grad(log_p.sum(), x)
    with torch.no_grad():
        formula = (a[0].sqrt() * optimal_denoiser(x, a, data) - x) / (1 - a[0])
    torch.testing.assert_close(score, formula)


def test_no_guess_has_less_error() -> None:
    generator = torch.Generator().manual_seed(3)
    data = TOY_DATA["two moons"](64, generator)
    x0 = data[torch.randint(64, (20_000,), generator=generator)]
    t = torch.full((20_000,), 600)
    x_t = SCHEDULE.add_noise(x0, torch.randn(x0.shape, generator=generator), t)
    best = optimal_denoiser(x_t, SCHEDULE.alpha_bar[t], data)
    error = (best - x0).square().mean()
    for other in (0.95 * best, 1.05 * best, best + 0.05, best - 0.05, x_t):
        assert (other - x0).square().mean() > error


def test_drawing_with_it_returns_points_of_the_data() -> None:
    data = TOY_DATA["two moons"](32, torch.Generator().manual_seed(0))
    drawn = sample(perfect(data), draws(100, 2), SCHEDULE, sampler="ddim", num_steps=250)
    far = torch.cdist(drawn, data).min(1).values
    fresh = torch.cdist(TOY_DATA["two moons"](500, torch.Generator().manual_seed(1)), data)
    assert far.mean() < 0.02 * fresh.min(1).values.mean()


def test_drawing_emoji_with_it_returns_emoji() -> None:
    art = CaptionedEmoji("smoke", split="all", styles=["3d"])
    concepts, styles = zip(*art.pairs, strict=True)
    data = art.render_batch(concepts, styles, [0] * len(concepts))
    drawn = sample(perfect(data), draws(3, 3, 64, 64), SCHEDULE, sampler="ddim", num_steps=10)
    far = torch.cdist(drawn.flatten(1), data.flatten(1)) / data[0].numel() ** 0.5
    assert far.min(1).values.max() < 1e-3


def test_blended_counts() -> None:
    data = draws(7, 2, 3)
    all_of_them, one = blended(
        torch.stack([draws(2, 3, seed=5), data[3]]), torch.tensor([0.0, 0.9999]), data
    )
    assert float(all_of_them) == pytest.approx(7) and float(one) == pytest.approx(1)
    two = torch.tensor([[-1.0], [1.0], [50.0]])
    assert float(blended(torch.zeros(1, 1), torch.tensor([0.5]), two)) == pytest.approx(2)


def size(image: DescribedImage) -> tuple[int, int]:
    assert len(image.alt) > 3
    return Image.open(io.BytesIO(image.png)).size


def test_drawings() -> None:
    data = draws(30, 2)
    steps = list(ddim(perfect(data), draws(5, 2), SCHEDULE, num_steps=4))
    field = Panel("a field", data, arrows=-places(5))
    one = size(planes([[field, Panel("ways", data, steps=steps)]], "two planes"))
    two = size(planes([[field, field], [field, field]], "four", ["t = 1", "t = 2"]))
    assert two[1] > 1.5 * one[1]
    assert size(rotation([0.5, 0.1], "axes"))[0] > 300
    curve = Curve("a", (8, 32), (0.1, 1.0), (0.1, 0.2))
    assert size(against_size([curve], "distance", "a plot", ("fresh", 1.0)))[0] > 300


def test_drawings_name_what_does_not_fit() -> None:
    panel = Panel("", draws(3, 2))
    with pytest.raises(ValueError, match="as many in each"):
        planes([[panel], [panel, panel]], "uneven")
    with pytest.raises(ValueError, match="one a row"):
        planes([[panel]], "labels", ["a", "b"])


def test_arrows_that_are_nothing_or_endless_can_be_drawn() -> None:
    arrows = torch.zeros(25, 2)
    arrows[0] = 1e6
    planes([[Panel("", draws(3, 2), arrows=arrows)]], "extremes")
