"""The sampling loops: ask the denoiser for a prediction, take a step, yield it.

Every loop repeats its diffusers scheduler operation by operation, the conventions of the last step
included, so that the same noise and the same network give the same picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from course_utils.guidance import Denoiser
from course_utils.predictions import to_epsilon, to_x0, x0_from_alpha_sigma, x0_from_sigma
from course_utils.samplers.steps import (
    alpha_sigma,
    ddim_step,
    ddpm_step,
    dpm_solver_pp_2m_step,
    euler_step,
)
from course_utils.schedules import (
    NoiseSchedule,
    check_int,
    leading_timesteps,
    trailing_timesteps,
)


@dataclass(frozen=True, eq=False)
class Step:
    """One moment of the sampling loop.

    Step 0 is the noise that was passed in, before the denoiser has been asked anything: its `x` is
    `x_T`, its `t` the first timestep, its `x0` None. Step k follows the k-th prediction.
    """

    step: int  # 0 .. num_steps
    num_steps: int  # predictions in the whole loop
    t: int  # timestep whose noise level x has; 0 when the loop is done
    x: Tensor  # (B, ...) noisy picture, variance preserving: sqrt(alpha_bar) x0 + noise
    x0: Tensor | None  # (B, ...) clean picture predicted on the way to x


class Sampler(Protocol):
    """What every sampler can be called with; some take further keyword options."""

    def __call__(
        self,
        denoiser: Denoiser,
        x_T: Tensor,
        schedule: NoiseSchedule,
        cond: Any = None,
        num_steps: int = 25,
        *,
        generator: torch.Generator | None = None,
        start: int = 0,
    ) -> Iterator[Step]: ...


def ddpm(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    cond: Any = None,
    num_steps: int = 25,
    *,
    generator: torch.Generator | None = None,
    start: int = 0,
) -> Iterator[Step]:
    """Ancestral sampling (Ho et al. 2020, alg. 2): fresh noise at every step.

    Args:
        denoiser: `(x_t, t, cond) -> output`, called once a step with `t` of shape `(B,)`. What its
            output means is `schedule.prediction_type`.
        x_T: standard normal noise, `(B, ...)`, finite.
        schedule: the noise schedule that the denoiser was trained with.
        cond: passed on to the denoiser.
        num_steps: predictions in a whole loop, from 1 to T.
        generator: source of the fresh noise; a CPU generator gives the same noise on every device.
        start: steps to skip. `x_T` is then a picture that already has the noise level of timestep
            number `start` (image-to-image; Meng et al. 2022, SDEdit).

    Yields:
        `Step` number `start`, which is `x_T` itself, then one `Step` a prediction.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a value out of range, NaN in `x_T`, a denoiser output of the wrong shape, or a
            prediction type that cannot start from zero terminal SNR.
    """
    timesteps = schedule.timesteps(num_steps).tolist()
    run = _Run(denoiser, x_T, schedule, cond, timesteps, generator, start)

    def loop() -> Iterator[Step]:
        x = x_T
        yield run.step(start, x, None)
        for i in range(start, num_steps):
            t = timesteps[i]
            output = run.predict(x, t)
            alpha_bar_t = run.alpha_bar[t]
            alpha_bar_next = run.alpha_bar[timesteps[i + 1]] if i + 1 < num_steps else run.one
            x0 = to_x0(output, x, alpha_bar_t, schedule.prediction_type)
            noise = run.noise_like(x) if t > 0 else None
            x = ddpm_step(x, x0, alpha_bar_t, alpha_bar_next, noise)
            yield run.step(i + 1, x, x0)

    return loop()


def ddim(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    cond: Any = None,
    num_steps: int = 25,
    *,
    generator: torch.Generator | None = None,
    start: int = 0,
    eta: float = 0.0,
) -> Iterator[Step]:
    """Deterministic sampling in few steps (Song et al. 2021, "DDIM"); arguments as for `ddpm`.

    Args:
        eta: 0 is deterministic, 1 has DDPM's amount of fresh noise at each step.

    A step goes from t to t - T // num_steps, as in diffusers. With "trailing" spacing and a
    `num_steps` that does not divide T this is not always the next timestep, and the loop may end on
    `alpha_bar[0]` instead of on a clean picture; choose a divisor of T, such as 10, 20, 25 or 50.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta!r}; expected a number from 0 (no fresh noise) to 1")
    timesteps = schedule.timesteps(num_steps).tolist()
    run = _Run(denoiser, x_T, schedule, cond, timesteps, generator, start)
    stride = schedule.num_train_timesteps // num_steps
    final = run.one if schedule.set_alpha_to_one else run.alpha_bar[0]

    def loop() -> Iterator[Step]:
        x = x_T
        yield run.step(start, x, None)
        for i in range(start, num_steps):
            t = timesteps[i]
            output = run.predict(x, t)
            alpha_bar_t = run.alpha_bar[t]
            alpha_bar_next = run.alpha_bar[t - stride] if t >= stride else final
            x0 = to_x0(output, x, alpha_bar_t, schedule.prediction_type)
            epsilon = to_epsilon(output, x, alpha_bar_t, schedule.prediction_type)
            noise = run.noise_like(x) if eta > 0 else None
            x = ddim_step(x0, epsilon, alpha_bar_t, alpha_bar_next, eta, noise)
            yield run.step(i + 1, x, x0)

    return loop()


def euler(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    cond: Any = None,
    num_steps: int = 25,
    *,
    generator: torch.Generator | None = None,
    start: int = 0,
) -> Iterator[Step]:
    """Euler's method in the noise-to-signal ratio (Karras et al. 2022); arguments as for `ddpm`.

    The loop runs in the variance-exploding view, `x_sigma = x / alpha_t`; the steps that it yields
    are variance preserving like those of the other samplers. With "trailing" spacing the denoiser
    first sees `sqrt(1 - alpha_bar_T) * x_T`, as in diffusers. `generator` is not used.
    """
    timesteps = schedule.timesteps(num_steps).tolist()
    run = _Run(denoiser, x_T, schedule, cond, timesteps, generator, start)
    sigmas = noise_to_signal(schedule, timesteps)  # (num_steps + 1,)

    def loop() -> Iterator[Step]:
        size = (sigmas**2 + 1) ** 0.5  # 1 / alpha_t
        from_noise = schedule.timestep_spacing == "trailing" and start == 0
        x_sigma = x_T * (sigmas[0] if from_noise else size[start])
        yield run.step(start, x_T, None)
        for i in range(start, num_steps):
            output = run.predict(x_sigma / size[i], timesteps[i])
            x0 = x0_from_sigma(output, x_sigma, sigmas[i], schedule.prediction_type)
            x_sigma = euler_step(x_sigma, x0, sigmas[i], sigmas[i + 1])
            yield run.step(i + 1, x_sigma / size[i + 1], x0)

    return loop()


def dpm_solver_pp_2m(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    cond: Any = None,
    num_steps: int = 25,
    *,
    generator: torch.Generator | None = None,
    start: int = 0,
) -> Iterator[Step]:
    """DPM-Solver++(2M), second order with one prediction a step; arguments as for `ddpm`.

    Lu et al. 2022b, "DPM-Solver++: Fast Solver for Guided Sampling", alg. 2. The first and the last
    step are of first order. "leading" spacing splits T into num_steps + 1 strides, as in diffusers,
    so it allows at most T - 1 steps. `generator` is not used.
    """
    T = schedule.num_train_timesteps
    check_int("num_steps", num_steps, 1, T)
    if schedule.timestep_spacing == "trailing":
        timesteps = trailing_timesteps(num_steps, T).tolist()
    else:
        check_int("num_steps ('dpm++2m' with 'leading' spacing)", num_steps, 1, T - 1)
        steps, stride = range(1, num_steps + 1), T // (num_steps + 1)
        timesteps = leading_timesteps(steps, stride, schedule.steps_offset, T).tolist()
    run = _Run(denoiser, x_T, schedule, cond, timesteps, generator, start)
    sigmas = noise_to_signal(schedule, timesteps)  # (num_steps + 1,)

    def loop() -> Iterator[Step]:
        x, x0_before, sigma_before = x_T, None, None
        yield run.step(start, x, None)
        for i in range(start, num_steps):
            output = run.predict(x, timesteps[i])
            x0 = x0_from_alpha_sigma(output, x, *alpha_sigma(sigmas[i]), schedule.prediction_type)
            if i + 1 == num_steps:  # lambda is infinite at the end: a first-order step gives x0
                x0_before = None
            x = dpm_solver_pp_2m_step(x, x0, sigmas[i], sigmas[i + 1], x0_before, sigma_before)
            x0_before, sigma_before = x0, sigmas[i]
            yield run.step(i + 1, x, x0)

    return loop()


def noise_to_signal(schedule: NoiseSchedule, timesteps: list[int]) -> Tensor:
    """Noise-to-signal ratio at each timestep, and 0 for the clean end, `(len(timesteps) + 1,)`.

    At zero terminal SNR the ratio is infinite; there 2**-24 stands for alpha_bar, as in diffusers.
    """
    alpha_bar = schedule.alpha_bar.cpu()
    alpha_bar = torch.where(alpha_bar == 0, 2.0**-24, alpha_bar)
    sigma = ((1 - alpha_bar) / alpha_bar) ** 0.5
    return torch.cat([sigma[timesteps], torch.zeros(1)])


class _Run:
    """The checked arguments of one sampling loop and the small services that each loop needs."""

    def __init__(
        self,
        denoiser: Denoiser,
        x_T: Tensor,
        schedule: NoiseSchedule,
        cond: Any,
        timesteps: list[int],
        generator: torch.Generator | None,
        start: int,
    ) -> None:
        if not callable(denoiser):
            raise TypeError(f"denoiser is {denoiser!r}; expected a callable (x_t, t, cond)")
        if not isinstance(x_T, Tensor) or not x_T.is_floating_point():
            kind = x_T.dtype if isinstance(x_T, Tensor) else type(x_T).__name__
            raise TypeError(f"x_T is a {kind}; expected a floating-point tensor (B, ...)")
        if x_T.ndim < 2 or x_T.numel() == 0:
            raise ValueError(
                f"x_T has shape {tuple(x_T.shape)}; expected (B, ...) with at least one picture"
            )
        if not bool(torch.isfinite(x_T).all()):
            raise ValueError("x_T holds NaN or infinity; expected finite noise")
        check_int("start", start, 0, len(timesteps) - 1)
        # Scalars of the loop live on the CPU: they multiply tensors on any device without a copy.
        self.alpha_bar = schedule.alpha_bar.cpu()
        self.one = torch.ones(())
        if schedule.prediction_type == "epsilon" and self.alpha_bar[timesteps[start]] == 0:
            raise ValueError(
                f"timestep {timesteps[start]} has zero SNR, where prediction_type 'epsilon' says "
                "nothing about the picture; expected 'v_prediction', 'sample' or 'leading' spacing"
            )
        self.denoiser, self.cond, self.generator = denoiser, cond, generator
        self.timesteps = timesteps

    def predict(self, x: Tensor, t: int) -> Tensor:
        """The denoiser's output for `x`, all of whose pictures are at timestep `t`."""
        with torch.no_grad():
            times = torch.full((len(x),), t, dtype=torch.int64, device=x.device)  # (B,)
            output = self.denoiser(x, times, self.cond)
        if output.shape != x.shape:
            raise ValueError(
                f"denoiser returned shape {tuple(output.shape)}; expected that of x_T, "
                f"{tuple(x.shape)}"
            )
        return output

    def noise_like(self, x: Tensor) -> Tensor:
        """Standard normal noise, drawn where the generator lives and moved to where `x` lives."""
        device = x.device if self.generator is None else self.generator.device
        return torch.randn(x.shape, generator=self.generator, device=device, dtype=x.dtype).to(
            x.device
        )

    def step(self, number: int, x: Tensor, x0: Tensor | None) -> Step:
        t = self.timesteps[number] if number < len(self.timesteps) else 0
        return Step(number, len(self.timesteps), t, x, x0)
