"""The samplers against diffusers' schedulers, against closed forms, and against bad input."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
)
from torch import Tensor

from course_utils.predictions import PREDICTION_TYPES
from course_utils.samplers import (
    SAMPLERS,
    ddim,
    ddim_step,
    ddpm,
    ddpm_step,
    dpm_solver_pp_2m,
    dpm_solver_pp_2m_step,
    euler,
    sample,
)
from course_utils.schedules import NoiseSchedule

REFERENCES = {
    "ddpm": DDPMScheduler,
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "dpm++2m": DPMSolverMultistepScheduler,
}
BETAS: dict[str, Callable[..., NoiseSchedule]] = {
    "linear": NoiseSchedule.linear,
    "scaled_linear": NoiseSchedule.scaled_linear,
    "cosine": NoiseSchedule.cosine,
}
COND = torch.linspace(-1, 1, 6).reshape(2, 3)


class ToyDenoiser:
    """A fixed random network of x, t and cond: small, not linear, with outputs of order 1."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.w_in = torch.randn(8, 8, generator=generator) * 0.3
        self.w_cond = torch.randn(3, 8, generator=generator)
        self.w_out = torch.randn(8, 8, generator=generator) * 0.3

    def __call__(self, x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        assert t.shape == (len(x_t),)
        assert t.dtype == torch.int64
        hidden = x_t.flatten(1) @ self.w_in + cond @ self.w_cond  # (B, 8)
        hidden = torch.tanh(hidden + torch.sin(t[:, None] * 0.01))
        return (hidden @ self.w_out).reshape(x_t.shape)


TOY = ToyDenoiser()


def noise(seed: int = 0) -> Tensor:
    return torch.randn(2, 2, 2, 2, generator=torch.Generator().manual_seed(seed))


def reference_loop(
    name: str, schedule: NoiseSchedule, num_steps: int, x_T: Tensor, start: int = 0, **options: Any
) -> Iterator[tuple[Tensor, Any]]:
    """The loop of diffusers' pipelines; yields (x in the scheduler's own view, x0) a step."""
    scheduler = REFERENCES[name].from_config(schedule.to_config(REFERENCES[name].__name__))
    scheduler.set_timesteps(num_steps)
    timesteps = scheduler.timesteps[:num_steps]
    if start:
        timesteps = timesteps[start:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(start)
        x = x_T * ((scheduler.sigmas[start] ** 2 + 1) ** 0.5 if name == "euler" else 1.0)
    else:
        x = x_T * scheduler.init_noise_sigma
    for t in timesteps:
        seen = scheduler.scale_model_input(x, t)
        output = TOY(seen, torch.full((2,), int(t)), COND)
        result = scheduler.step(output, t, x, **options)
        x = result.prev_sample
        yield x, getattr(result, "pred_original_sample", None)


def assert_equals_reference(
    name: str, schedule: NoiseSchedule, num_steps: int, eta: float = 0.0, start: int = 0
) -> None:
    x_T = noise()
    options: dict[str, Any] = {"eta": eta} if eta else {}
    theirs_options = dict(options)
    if eta or name == "ddpm":
        theirs_options["generator"] = torch.Generator().manual_seed(7)
    ours = list(
        SAMPLERS[name](
            TOY,
            x_T,
            schedule,
            COND,
            num_steps,
            generator=torch.Generator().manual_seed(7),
            start=start,
            **options,
        )
    )
    theirs = list(reference_loop(name, schedule, num_steps, x_T, start, **theirs_options))
    assert len(ours) == len(theirs) + 1
    close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
    if theirs[0][1] is not None:  # diffusers' DPM-Solver does not tell
        x0s = torch.stack([step.x0 for step in ours[1:] if step.x0 is not None])
        torch.testing.assert_close(x0s, torch.stack([x0 for _, x0 in theirs]), **close)
    compared = slice(-1, None) if name == "euler" else slice(1, None)  # theirs: in another view
    our_xs = torch.stack([step.x for step in ours[compared]])
    their_xs = torch.stack([x for x, _ in theirs][-len(our_xs) :])
    assert bool(torch.isfinite(our_xs).all())
    torch.testing.assert_close(our_xs, their_xs, **close)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("betas", BETAS)
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("zero_snr", [False, True])
def test_full_loop_equals_diffusers(
    name: str, betas: str, prediction_type: str, spacing: str, zero_snr: bool
) -> None:
    schedule = BETAS[betas](prediction_type=prediction_type, timestep_spacing=spacing)
    if zero_snr:
        schedule = schedule.rescale_zero_terminal_snr()
    for num_steps in (10, 25, 50):
        if zero_snr and spacing == "trailing" and prediction_type == "epsilon":
            with pytest.raises(ValueError, match=r"timestep 999 has zero SNR.*epsilon"):
                SAMPLERS[name](TOY, noise(), schedule, COND, num_steps)
        else:
            assert_equals_reference(name, schedule, num_steps)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize(
    ("spacing", "num_steps"),
    [(s, n) for s in ("leading", "trailing") for n in (1, 2, 3, 7, 14, 15, 30)]
    + [("leading", 300), ("trailing", 1000)],
)
def test_unusual_step_counts_equal_diffusers(name: str, spacing: str, num_steps: int) -> None:
    schedule = NoiseSchedule.scaled_linear(prediction_type="epsilon", timestep_spacing=spacing)
    assert_equals_reference(name, schedule, num_steps)


def test_dpm_solver_has_no_1000_leading_steps() -> None:
    """diffusers fails there too: 1001 strides of length 0, every timestep the same."""
    schedule = NoiseSchedule.linear()
    assert_equals_reference("dpm++2m", schedule, 499)
    with pytest.raises(ValueError, match=r"num_steps .* is 1000; expected an int from 1 to 999"):
        dpm_solver_pp_2m(TOY, noise(), schedule, COND, 1000)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("set_alpha_to_one", [False, True])
@pytest.mark.parametrize("steps_offset", [0, 1])
def test_stable_diffusion_conventions_equal_diffusers(
    name: str, set_alpha_to_one: bool, steps_offset: int
) -> None:
    schedule = NoiseSchedule.scaled_linear(
        steps_offset=steps_offset, set_alpha_to_one=set_alpha_to_one
    )
    assert_equals_reference(name, schedule, 25)


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_ddim_with_fresh_noise_equals_diffusers(eta: float, prediction_type: str) -> None:
    schedule = NoiseSchedule.linear(prediction_type=prediction_type, timestep_spacing="trailing")
    assert_equals_reference("ddim", schedule, 25, eta=eta)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_starting_part_way_equals_diffusers(name: str, spacing: str) -> None:
    """Image-to-image skips the first steps, as diffusers' pipeline does with `strength`."""
    schedule = NoiseSchedule.scaled_linear(prediction_type="v_prediction", timestep_spacing=spacing)
    assert_equals_reference(name, schedule, 20, start=8)


def test_ddpm_and_ddim_with_eta_1_take_the_same_step() -> None:
    """Song et al. 2021, sec. 4.1: DDIM with eta = 1 is DDPM."""
    schedule = NoiseSchedule.linear()
    x, x0, epsilon, fresh = (noise(seed) for seed in range(4))
    a_t, a_next = schedule.alpha_bar[700], schedule.alpha_bar[650]
    x = a_t**0.5 * x0 + (1 - a_t) ** 0.5 * epsilon
    ours = ddim_step(x0, epsilon, a_t, a_next, eta=1.0, noise=fresh)
    torch.testing.assert_close(ours, ddpm_step(x, x0, a_t, a_next, fresh), rtol=1e-5, atol=1e-5)


def test_dpm_solver_of_first_order_is_ddim() -> None:
    """Lu et al. 2022b, sec. 4.1."""
    schedule = NoiseSchedule.linear()
    x0, epsilon = noise(1), noise(2)
    a_t, a_next = schedule.alpha_bar[700], schedule.alpha_bar[650]
    x = a_t**0.5 * x0 + (1 - a_t) ** 0.5 * epsilon
    sigma, sigma_next = ((1 - a_t) / a_t) ** 0.5, ((1 - a_next) / a_next) ** 0.5
    torch.testing.assert_close(
        dpm_solver_pp_2m_step(x, x0, sigma, sigma_next), ddim_step(x0, epsilon, a_t, a_next)
    )


# ---------------------------------------------------------------------- a closed form to land on

MEAN, STD = 0.7, 0.5


def gaussian_denoiser(schedule: NoiseSchedule) -> Callable[..., Tensor]:
    """The exact denoiser of data that are N(MEAN, STD**2): it knows the posterior mean of x0."""

    def denoise(x_t: Tensor, t: Tensor, cond: None) -> Tensor:
        a = schedule.alpha_bar[t[0]].double()
        gain = a**0.5 * STD**2 / (a * STD**2 + 1 - a)
        x0 = MEAN + gain * (x_t.double() - a**0.5 * MEAN)
        epsilon = (x_t - a**0.5 * x0) / (1 - a) ** 0.5
        outputs = {"sample": x0, "epsilon": epsilon}
        outputs["v_prediction"] = a**0.5 * epsilon - (1 - a) ** 0.5 * x0
        return outputs[schedule.prediction_type].to(x_t.dtype)

    return denoise


def ode_solution(schedule: NoiseSchedule, x_T: Tensor, t: int) -> Tensor:
    """Where the probability-flow ODE has taken x_T at t.

    In the variance-exploding view, x_sigma - MEAN shrinks as sqrt(STD**2 + sigma**2).
    """
    alpha_bar = schedule.alpha_bar.double()
    sigma = ((1 - alpha_bar) / alpha_bar) ** 0.5
    shrink = ((STD**2 + sigma[t] ** 2) / (STD**2 + sigma[-1] ** 2)) ** 0.5
    x_sigma = MEAN + (x_T / alpha_bar[-1] ** 0.5 - MEAN) * shrink
    return (alpha_bar[t] ** 0.5 * x_sigma).to(x_T.dtype)


def error_at_99(name: str, schedule: NoiseSchedule, num_steps: int) -> float:
    """Largest distance from the solution when the loop passes timestep 99."""
    steps = SAMPLERS[name](gaussian_denoiser(schedule), noise(), schedule, None, num_steps)
    x_T = noise() * ((1 - schedule.alpha_bar[-1]) ** 0.5 if name == "euler" else 1.0)
    x = next(s.x for s in steps if s.t == 99)
    return float((x - ode_solution(schedule, x_T, 99)).abs().max())


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize(
    ("name", "order", "error_of_40"), [("ddim", 1, 0.03), ("euler", 1, 0.03), ("dpm++2m", 2, 3e-4)]
)
def test_samplers_converge_to_the_closed_form_at_their_order(
    name: str, order: int, error_of_40: float, prediction_type: str
) -> None:
    """Twice the steps, half the error (first order) or a quarter of it (second order)."""
    schedule = NoiseSchedule.scaled_linear(
        prediction_type=prediction_type, timestep_spacing="trailing"
    )
    errors = [error_at_99(name, schedule, n) for n in (20, 40)]
    assert errors[1] < error_of_40
    assert errors[1] < errors[0] / (2**order * 0.95)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_have_the_mean_and_spread_of_the_data(name: str) -> None:
    schedule = NoiseSchedule.scaled_linear(
        prediction_type="v_prediction", timestep_spacing="trailing"
    ).rescale_zero_terminal_snr()
    generator = torch.Generator().manual_seed(3)
    x_T = torch.randn(20_000, 1, generator=generator)
    x = sample(gaussian_denoiser(schedule), x_T, schedule, None, name, 250, generator)
    assert abs(float(x.mean()) - MEAN) < 4 * STD / math.sqrt(20_000) + 0.005
    assert abs(float(x.std()) / STD - 1) < 0.04


# ---------------------------------------------------------------------- what the loop promises


@pytest.mark.parametrize("name", SAMPLERS)
def test_steps_tell_the_story_of_the_loop(name: str) -> None:
    schedule, x_T = NoiseSchedule.linear(timestep_spacing="trailing"), noise()
    steps = list(SAMPLERS[name](TOY, x_T, schedule, COND, 10))
    assert [s.step for s in steps] == list(range(11))
    assert {s.num_steps for s in steps} == {10}
    assert [s.t for s in steps] == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99, 0]
    assert torch.equal(steps[0].x, x_T)
    assert steps[0].x0 is None
    assert all(s.x0 is not None and s.x0.shape == x_T.shape for s in steps[1:])
    torch.testing.assert_close(steps[-1].x, steps[-1].x0)  # the last step removes all noise
    with pytest.raises(AttributeError):
        steps[0].t = 5  # type: ignore[misc]


@pytest.mark.parametrize("name", SAMPLERS)
def test_intermediate_steps_preserve_the_variance(name: str) -> None:
    """Every x that is yielded has the variance of the forward process at its t."""
    schedule = NoiseSchedule.linear(prediction_type="sample", timestep_spacing="trailing")
    x_T = torch.randn(4000, 2, generator=torch.Generator().manual_seed(5))
    denoiser = gaussian_denoiser(schedule)
    generator = torch.Generator().manual_seed(6)
    for s in list(SAMPLERS[name](denoiser, x_T, schedule, None, 100, generator=generator))[:-1]:
        a = float(schedule.alpha_bar[s.t])
        assert abs(float(s.x.std()) - math.sqrt(a * STD**2 + 1 - a)) < 0.04
        assert abs(float(s.x.mean()) - math.sqrt(a) * MEAN) < 0.04


@pytest.mark.parametrize("name", SAMPLERS)
def test_same_seed_same_picture_and_x_T_untouched(name: str) -> None:
    x_T, schedule = noise(), NoiseSchedule.cosine(prediction_type="v_prediction")
    pictures = [
        sample(TOY, x_T, schedule, COND, name, 5, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(pictures[0], pictures[1])
    assert torch.equal(pictures[0], pictures[2]) == (name != "ddpm")
    assert torch.equal(x_T, noise())


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_denoiser_is_asked_once_a_step_and_only_when_needed(name: str) -> None:
    asked: list[int] = []

    def counting(x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        asked.append(int(t[0]))
        return TOY(x_t, t, cond)

    steps = SAMPLERS[name](counting, noise(), NoiseSchedule.linear(), COND, 6)
    first = next(iter(steps))
    assert first.step == 0
    assert asked == []
    list(steps)
    assert len(asked) == 6


@pytest.mark.parametrize(("name", "options"), [("ddpm", {}), ("ddim", {"eta": 0.7}), ("euler", {})])
def test_a_generator_a_picture_gives_each_what_it_gets_alone(
    name: str, options: dict[str, Any]
) -> None:
    asked: list[int] = []

    def counting(x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        asked.append(len(x_t))
        return TOY(x_t, t, cond)

    schedule, x_T = NoiseSchedule.linear(timestep_spacing="trailing"), noise()

    def draw(denoiser: Any, rows: slice) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in (4, 9)][rows]
        arguments = (denoiser, x_T[rows], schedule, COND[rows], name, 8)
        return sample(*arguments, generator=generators, **options)

    together = draw(counting, slice(None))
    assert asked == [2] * 8, "one call a step, for the whole batch"
    for i in range(2):
        torch.testing.assert_close(together[i : i + 1], draw(TOY, slice(i, i + 1)))
    one = sample(TOY, x_T, schedule, COND, name, 8, torch.Generator().manual_seed(4), **options)
    assert torch.equal(one, together) == (name == "euler"), "one generator is another stream"


def test_no_gradients_are_kept() -> None:
    weight = torch.ones(1, requires_grad=True)
    x = sample(lambda x, t, c: weight * x, noise(), NoiseSchedule.linear(), num_steps=3)
    assert not x.requires_grad


def test_half_precision_pictures_stay_half() -> None:
    schedule = NoiseSchedule.linear(prediction_type="v_prediction")
    for name in SAMPLERS:
        x = sample(lambda x, t, c: 0.5 * x, noise().bfloat16(), schedule, None, name, 5)
        assert x.dtype == torch.bfloat16
        assert bool(torch.isfinite(x).all())


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    ("num_steps", "error"),
    [(0, ValueError), (-1, ValueError), (10_000, ValueError), (2.5, TypeError), (True, TypeError)],
)
def test_bad_num_steps(name: str, num_steps: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"num_steps.* is {num_steps}; expected an int from 1 to 1000"):
        SAMPLERS[name](TOY, noise(), NoiseSchedule.linear(), COND, num_steps)


@pytest.mark.parametrize("name", SAMPLERS)
def test_bad_x_T(name: str) -> None:
    schedule, bad = NoiseSchedule.linear(), noise()
    bad[0, 0, 0, 0] = math.nan
    cases: list[tuple[Any, type[Exception], str]] = [
        (bad, ValueError, "x_T holds NaN or infinity"),
        (noise() / 0, ValueError, "x_T holds NaN or infinity"),
        (torch.zeros(4), ValueError, r"x_T has shape \(4,\); expected"),
        (torch.zeros(0, 4), ValueError, r"x_T has shape \(0, 4\); expected"),
        (torch.zeros(2, 4, dtype=torch.int64), TypeError, "x_T is a torch.int64"),
        ([[0.0]], TypeError, "x_T is a list"),
    ]
    for x_T, error, message in cases:
        with pytest.raises(error, match=message):
            SAMPLERS[name](TOY, x_T, schedule, COND, 5)


def test_other_bad_input() -> None:
    schedule = NoiseSchedule.linear()
    with pytest.raises(ValueError, match="sampler is 'heun'; expected one of ddpm, ddim, euler"):
        sample(TOY, noise(), schedule, COND, "heun")
    with pytest.raises(ValueError, match=r"eta is 1\.5; expected"):
        ddim(TOY, noise(), schedule, COND, 5, eta=1.5)
    with pytest.raises(ValueError, match="eta is nan; expected"):
        ddim(TOY, noise(), schedule, COND, 5, eta=math.nan)
    with pytest.raises(ValueError, match="start is 5; expected an int from 0 to 4"):
        ddpm(TOY, noise(), schedule, COND, 5, start=5)
    with pytest.raises(ValueError, match="generator has 1 entries; expected 2, one a picture"):
        ddpm(TOY, noise(), schedule, COND, 5, generator=[torch.Generator()])
    with pytest.raises(TypeError, match="eta"):
        euler(TOY, noise(), schedule, COND, 5, eta=0.5)
    with pytest.raises(TypeError, match="denoiser is 3; expected a callable"):
        euler(3, noise(), schedule, COND, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"denoiser returned shape \(2, 1, 2, 2\)"):
        sample(lambda x, t, c: x[:, :1], noise(), schedule)
    with pytest.raises(ValueError, match="noise is None"):
        ddim_step(noise(), noise(), torch.tensor(0.5), torch.tensor(0.6), eta=1.0)
    with pytest.raises(ValueError, match="steps_offset is 1, which makes the first of 1000"):
        sample(TOY, noise(), NoiseSchedule.linear(steps_offset=1), COND, "ddim", 1000)


@pytest.mark.parametrize("num_steps", [10, 20, 25])
def test_ddim_with_noise_starts_from_pure_noise(num_steps: int) -> None:
    schedule = NoiseSchedule.scaled_linear(
        0.00085, 0.012, prediction_type="v_prediction", timestep_spacing="trailing"
    ).rescale_zero_terminal_snr()
    x_T = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)

    def denoiser(x: Tensor, t: Tensor, cond: object) -> Tensor:
        return torch.zeros_like(x)

    for step in ddim(denoiser, x_T, schedule, None, num_steps, eta=1.0, generator=generator):
        assert torch.isfinite(step.x).all()
