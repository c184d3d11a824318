"""The sampling loop: ask the denoiser for a prediction, take a step, yield it.

There is one loop, `Sampler.__call__`. A `Walk` says what differs from sampler to sampler: which
timesteps are visited, and how one step goes. Every walk repeats its diffusers scheduler operation
by operation, the conventions of the last step included, so that the same noise and the same network
give the same picture.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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

Generators = torch.Generator | Sequence[torch.Generator] | None


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


class Walk(ABC):
    """One way from noise to a picture: the timesteps that it visits, and its step.

    A loop makes a walk of its own, so a walk may remember what its next step needs.
    """

    def __init__(self, schedule: NoiseSchedule, num_steps: int) -> None:
        self.schedule = schedule
        self.prediction_type = schedule.prediction_type
        # Scalars of the loop live on the CPU: they multiply tensors on any device without a copy.
        self.alpha_bar = schedule.alpha_bar.cpu()
        self.timesteps: list[int] = self.visit(num_steps).tolist()

    def visit(self, num_steps: int) -> Tensor:
        """The timesteps of the loop, from noisy to clean, int64 `(num_steps,)`."""
        return self.schedule.timesteps(num_steps)

    def begin(self, x_T: Tensor, start: int) -> Tensor:
        """What the denoiser sees first, `(B, ...)`: `x_T` itself, for all walks but Euler's."""
        return x_T

    @abstractmethod
    def step(
        self, i: int, x: Tensor, output: Tensor, fresh_noise: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Take step number `i`.

        Args:
            i: from 0; the picture is at timestep `timesteps[i]`.
            x: noisy picture x_t, `(B, ...)`.
            output: what the denoiser said of it, `(B, ...)`.
            fresh_noise: draws standard normal noise, `(B, ...)`.

        Returns:
            The next picture and the predicted clean one, `(B, ...)` each.
        """


class DDPM(Walk):
    """Ancestral sampling (Ho et al. 2020, alg. 2): fresh noise at every step."""

    def step(
        self, i: int, x: Tensor, output: Tensor, fresh_noise: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        t, after = self.timesteps[i], self.timesteps[i + 1 : i + 2]
        alpha_bar_t = self.alpha_bar[t]
        alpha_bar_next = self.alpha_bar[after[0]] if after else torch.ones(())
        x0 = to_x0(output, x, alpha_bar_t, self.prediction_type)
        noise = fresh_noise() if t > 0 else None
        return ddpm_step(x, x0, alpha_bar_t, alpha_bar_next, noise), x0


class DDIM(Walk):
    """Deterministic sampling in few steps (Song et al. 2021, "DDIM", eqs. 12 and 16).

    Args:
        eta: 0 is deterministic, 1 has DDPM's amount of fresh noise at each step.

    A step goes from t to t - T // num_steps, as in diffusers. With "trailing" spacing and a
    `num_steps` that does not divide T this is not always the next timestep, and the loop may end on
    `alpha_bar[0]` instead of on a clean picture; choose a divisor of T, such as 10, 20, 25 or 50.
    """

    def __init__(self, schedule: NoiseSchedule, num_steps: int, eta: float = 0.0) -> None:
        if not 0 <= eta <= 1:
            raise ValueError(f"eta is {eta!r}; expected a number from 0 (no fresh noise) to 1")
        super().__init__(schedule, num_steps)
        self.eta = eta
        self.stride = schedule.num_train_timesteps // num_steps
        self.final = torch.ones(()) if schedule.set_alpha_to_one else self.alpha_bar[0]

    def step(
        self, i: int, x: Tensor, output: Tensor, fresh_noise: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        t, after = self.timesteps[i], self.timesteps[i] - self.stride
        alpha_bar_t = self.alpha_bar[t]
        alpha_bar_next = self.alpha_bar[after] if after >= 0 else self.final
        x0 = to_x0(output, x, alpha_bar_t, self.prediction_type)
        epsilon = to_epsilon(output, x, alpha_bar_t, self.prediction_type)
        noise = fresh_noise() if self.eta > 0 else None
        return ddim_step(x0, epsilon, alpha_bar_t, alpha_bar_next, self.eta, noise), x0


class Euler(Walk):
    """Euler's method in the noise-to-signal ratio (Karras et al. 2022, alg. 1 of first order).

    The walk runs in the variance-exploding view, `x_sigma = x / alpha_t`; the pictures that it
    gives are variance preserving like those of the others. With "trailing" spacing the denoiser
    first sees `sqrt(1 - alpha_bar_T) * x_T`, as in diffusers. It draws no fresh noise.
    """

    def __init__(self, schedule: NoiseSchedule, num_steps: int) -> None:
        super().__init__(schedule, num_steps)
        self.sigmas = noise_to_signal(schedule, self.timesteps)  # (num_steps + 1,)
        self.sizes = (self.sigmas**2 + 1) ** 0.5  # 1 / alpha_t, so that x_sigma = size * x_t

    def begin(self, x_T: Tensor, start: int) -> Tensor:
        from_noise = self.schedule.timestep_spacing == "trailing" and start == 0
        self.x_sigma = x_T * (self.sigmas[0] if from_noise else self.sizes[start])
        return self.x_sigma / self.sizes[start]

    def step(
        self, i: int, x: Tensor, output: Tensor, fresh_noise: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        sigma, sigma_next = self.sigmas[i], self.sigmas[i + 1]
        x0 = x0_from_sigma(output, self.x_sigma, sigma, self.prediction_type)
        self.x_sigma = euler_step(self.x_sigma, x0, sigma, sigma_next)
        return self.x_sigma / self.sizes[i + 1], x0


class DPMSolverPP2M(Walk):
    """DPM-Solver++(2M), second order with one prediction a step.

    Lu et al. 2022b, "DPM-Solver++: Fast Solver for Guided Sampling", alg. 2. The first and the last
    step are of first order. "leading" spacing splits T into num_steps + 1 strides, as in diffusers,
    so it allows at most T - 1 steps. It draws no fresh noise.
    """

    def __init__(self, schedule: NoiseSchedule, num_steps: int) -> None:
        super().__init__(schedule, num_steps)
        self.sigmas = noise_to_signal(schedule, self.timesteps)  # (num_steps + 1,)
        self.before: tuple[Tensor, Tensor] | tuple[None, None] = (None, None)  # x0 and its sigma

    def visit(self, num_steps: int) -> Tensor:
        T = self.schedule.num_train_timesteps
        check_int("num_steps", num_steps, 1, T)
        if self.schedule.timestep_spacing == "trailing":
            return trailing_timesteps(num_steps, T)
        check_int("num_steps ('dpm++2m' with 'leading' spacing)", num_steps, 1, T - 1)
        steps, stride = range(1, num_steps + 1), T // (num_steps + 1)
        return leading_timesteps(steps, stride, self.schedule.steps_offset, T)

    def step(
        self, i: int, x: Tensor, output: Tensor, fresh_noise: Callable[[], Tensor]
    ) -> tuple[Tensor, Tensor]:
        sigma, sigma_next = self.sigmas[i], self.sigmas[i + 1]
        x0 = x0_from_alpha_sigma(output, x, *alpha_sigma(sigma), self.prediction_type)
        if i + 1 == len(self.timesteps):  # lambda is infinite at the end: first order gives x0
            self.before = (None, None)
        x_next = dpm_solver_pp_2m_step(x, x0, sigma, sigma_next, *self.before)
        self.before = (x0, sigma)
        return x_next, x0


@dataclass(frozen=True)
class Sampler:
    """A sampler: call it to walk from noise to pictures, and it yields every step.

    Args:
        walk: makes a `Walk` from a schedule, a number of steps and the sampler's own options; its
            docstring is the sampler's.
    """

    walk: type[Walk]

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.walk.__doc__)

    def __call__(
        self,
        denoiser: Denoiser,
        x_T: Tensor,
        schedule: NoiseSchedule,
        cond: Any = None,
        num_steps: int = 25,
        *,
        generator: Generators = None,
        start: int = 0,
        **options: Any,
    ) -> Iterator[Step]:
        """Walk from noise to pictures, all pictures of the batch side by side.

        Args:
            denoiser: `(x_t, t, cond) -> output`, called once a step with `t` of shape `(B,)`. What
                its output means is `schedule.prediction_type`.
            x_T: standard normal noise, `(B, ...)`, finite.
            schedule: the noise schedule that the denoiser was trained with.
            cond: passed on to the denoiser.
            num_steps: predictions in a whole loop, from 1 to T.
            generator: source of the fresh noise, for those that draw any: one for the whole batch,
                or one for each picture, which then does not depend on its neighbours. A CPU
                generator gives the same noise on every device.
            start: steps to skip. `x_T` is then a picture that already has the noise level of
                timestep number `start` (image-to-image; Meng et al. 2022, SDEdit).
            options: those of the walk, such as DDIM's `eta`.

        Returns:
            An iterator: `Step` number `start`, which is `x_T` itself, then one a prediction.

        Raises:
            TypeError: an argument of the wrong type.
            ValueError: a value out of range, NaN in `x_T`, a denoiser output of the wrong shape, or
                a prediction type that cannot start from zero terminal SNR.
        """
        walk = self.walk(schedule, num_steps, **options)
        _check(denoiser, x_T, walk, generator, start)

        def loop() -> Iterator[Step]:
            yield Step(start, num_steps, walk.timesteps[start], x_T, None)
            x = walk.begin(x_T, start)
            for i in range(start, num_steps):
                output = _predict(denoiser, x, walk.timesteps[i], cond)
                x, x0 = walk.step(i, x, output, functools.partial(noise_like, x, generator))
                t = walk.timesteps[i + 1] if i + 1 < num_steps else 0
                yield Step(i + 1, num_steps, t, x, x0)

        return loop()


ddpm = Sampler(DDPM)
ddim = Sampler(DDIM)
euler = Sampler(Euler)
dpm_solver_pp_2m = Sampler(DPMSolverPP2M)


def noise_to_signal(schedule: NoiseSchedule, timesteps: list[int]) -> Tensor:
    """Noise-to-signal ratio at each timestep, and 0 for the clean end, `(len(timesteps) + 1,)`.

    At zero terminal SNR the ratio is infinite; there 2**-24 stands for alpha_bar, as in diffusers.
    """
    alpha_bar = schedule.alpha_bar.cpu()
    alpha_bar = torch.where(alpha_bar == 0, 2.0**-24, alpha_bar)
    sigma = ((1 - alpha_bar) / alpha_bar) ** 0.5
    return torch.cat([sigma[timesteps], torch.zeros(1)])


def noise_like(x: Tensor, generator: Generators = None) -> Tensor:
    """Standard normal noise of the shape `(B, ...)` and type of `x`, moved to where `x` lives.

    Args:
        x: pictures.
        generator: of the whole batch; or one for each of the B pictures, each of which gets what
            it would get alone.
    """
    if generator is None:
        return torch.randn_like(x)
    if isinstance(generator, torch.Generator):
        noise = torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
        return noise.to(x.device)
    each = [noise_like(row, one) for row, one in zip(x.split(1), generator, strict=True)]
    return torch.cat(each)


def _check(denoiser: Denoiser, x_T: Tensor, walk: Walk, generator: Generators, start: int) -> None:
    """Say what is wrong with the arguments of a loop before it begins."""
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
    if isinstance(generator, Sequence) and len(generator) != len(x_T):
        raise ValueError(
            f"generator has {len(generator)} entries; expected {len(x_T)}, one a picture"
        )
    check_int("start", start, 0, len(walk.timesteps) - 1)
    first = walk.timesteps[start]
    if walk.prediction_type == "epsilon" and walk.alpha_bar[first] == 0:
        raise ValueError(
            f"timestep {first} has zero SNR, where prediction_type 'epsilon' says "
            "nothing about the picture; expected 'v_prediction', 'sample' or 'leading' spacing"
        )


@torch.no_grad()
def _predict(denoiser: Denoiser, x: Tensor, t: int, cond: Any) -> Tensor:
    """The denoiser's output for `x`, all of whose pictures are at timestep `t`."""
    times = torch.full((len(x),), t, dtype=torch.int64, device=x.device)  # (B,)
    output = denoiser(x, times, cond)
    if output.shape != x.shape:
        raise ValueError(
            f"denoiser returned shape {tuple(output.shape)}; expected that of x_T, {tuple(x.shape)}"
        )
    return output
