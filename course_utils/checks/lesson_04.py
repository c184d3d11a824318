"""Lesson 04, samplers: what is right, and what people get wrong."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from course_utils.checks.exercise import Case, Exercise, call_seeded
from course_utils.checks.mistakes import slips

# --- timesteps -----------------------------------------------------------------------------------


def timesteps(num_steps: int, T: int = 1000, spacing: str = "trailing") -> Tensor:
    """Equal strides, counted down from the noisy end or up from the clean one."""
    i = torch.arange(num_steps)
    if spacing == "trailing":
        return (T - i * T / num_steps).round().long() - 1
    return (i * (T // num_steps)).flip(0)


def _timesteps_cases(generator: torch.Generator) -> Iterator[Case]:
    for num_steps, T in ((5, 10), (1, 1000), (10, 1000), (3, 1000), (7, 1000), (30, 200)):
        for spacing in ("trailing", "leading"):
            words = f'num_steps={num_steps}, T={T}, spacing="{spacing}"'
            yield Case((num_steps, T, spacing), label=words)


TIMESTEPS = Exercise(
    "04.timesteps",
    timesteps,
    _timesteps_cases,
    hints=(
        "Write down both lists for T = 10 and 5 steps: 9, 7, 5, 3, 1 and 8, 6, 4, 2, 0. Which end "
        "does each of them touch?",
        "`i = torch.arange(num_steps)` counts the steps. Trailing: go down from T by T / num_steps "
        "a step, round, and take 1 off. Leading: go up from 0 by T // num_steps, then `.flip(0)`.",
        "Trailing: `(T - i * T / num_steps).round().long() - ...`. Leading: `(i * (T // "
        "num_steps))`, turned round.",
    ),
    difficulty=1,
    minutes=5,
    keeps_dtype=True,
    mistakes=slips(
        """
        rising: `(i * (T // num_steps)).flip(0)` -> `i * (T // num_steps)`
            `.long() - 1` -> `.long().flip(0) - 1`
            The numbers are right, but they rise. A sampler starts at the noise, so the largest
            timestep comes first: `.flip(0)`.
        from_T: ` - 1` -> ``
            With trailing spacing you start at T, which lies beyond the table: its rows are 0 to T -
            1, so take 1 off.
        always_trailing: `spacing == "trailing"` -> `True`
            You give trailing timesteps whatever `spacing` says.
        always_leading: `spacing == "trailing"` -> `False`
            You give leading timesteps whatever `spacing` says.
        exchanged: `spacing ==` -> `spacing !=`
            The two are exchanged. Trailing touches the noisy end, T - 1; leading touches the clean
            end, 0.
        cut_off: `.round()` -> ``
            With trailing spacing you cut the fractions off where they should be rounded: 1000 in 3
            strides is 1000, 667, 333, before 1 is taken off.
        whole_stride: `i * T / num_steps` -> `i * (T // num_steps)`
            With trailing spacing your stride is T // num_steps. Where num_steps does not divide T,
            the strides then add up to less than T; use T / num_steps, and round at the end.
        both_ends:
            `    i = torch.arange(num_steps)\\n`
            -> `    return torch.linspace(T - 1, 0, num_steps).round().long()\\n`
            Your timesteps touch both ends, T - 1 and 0. diffusers calls that "linspace". Trailing
            leaves out 0, leading leaves out the noisy end.
        """
    ),
)

# --- ddpm_step -----------------------------------------------------------------------------------


def ddpm_step(
    x: Tensor, x0: Tensor, alpha_bar_t: Tensor, alpha_bar_next: Tensor, noise: Tensor | None
) -> Tensor:
    """Draw x_{t-1} from the posterior q(x_{t-1} | x_t, x_0)."""
    alpha = alpha_bar_t / alpha_bar_next
    beta = 1 - alpha
    mean = (
        alpha_bar_next.sqrt() * beta / (1 - alpha_bar_t) * x0
        + alpha.sqrt() * (1 - alpha_bar_next) / (1 - alpha_bar_t) * x
    )
    if noise is None:
        return mean
    variance = (1 - alpha_bar_next) / (1 - alpha_bar_t) * beta
    return mean + variance.sqrt() * noise


def _levels(generator: torch.Generator, count: int) -> list[Tensor]:
    """Rising values of alpha-bar with gaps between them, scalars."""
    steps = 0.4 + torch.rand(count + 1, generator=generator)
    values = steps.cumsum(0) / steps.sum()  # the last is 1
    return list(values[:count])


SHAPES = ((2, 2), (3, 4, 4, 4), (1, 3, 5, 2), (4, 7))


def _ddpm_cases(generator: torch.Generator) -> Iterator[Case]:
    for shape in SHAPES:
        x, x0, noise = torch.randn(3, *shape, generator=generator)
        alpha_bar_t, alpha_bar_next = _levels(generator, 2)
        yield Case((x, x0, alpha_bar_t, alpha_bar_next, noise))
    words = "the last step: alpha_bar_next = 1 and noise = None"
    yield Case((x, x0, alpha_bar_t, torch.ones(()), None), label=words)
    words = "a step from pure noise: alpha_bar_t = 0"
    yield Case((x, x0, torch.zeros(()), alpha_bar_next, noise), label=words)
    yield Case((x.double(), x0.double(), alpha_bar_t, alpha_bar_next, noise.double()))


def _without_noise(error: Exception, case: Case) -> str | None:
    """Words for arithmetic with None."""
    if isinstance(error, TypeError) and "NoneType" in str(error):
        return (
            "It computes with `noise` where noise is None. That means a step without noise: return "
            "what there is without it (`if noise is None: return ...`)."
        )
    return None


DDPM = Exercise(
    "04.ddpm_step",
    ddpm_step,
    _ddpm_cases,
    hints=(
        "Equations 6 and 7 give a mean and a variance. First get alpha_t and beta_t from the two "
        "alpha-bars that you have; then write the two weights of the mean.",
        "alpha_t = alpha_bar_t / alpha_bar_next and beta_t = 1 - alpha_t. The weight of x0 starts "
        "with the root of alpha_bar_next, that of x with the root of alpha_t. Noise is multiplied "
        "by a standard deviation, the root of the variance.",
        "`mean = alpha_bar_next**0.5 * beta / (1 - alpha_bar_t) * x0 + alpha**0.5 * ... /"
        " (1 - alpha_bar_t) * x`; the variance is equation 7's, and noise is multiplied "
        "by its root. If noise is None, return the mean.",
    ),
    difficulty=3,
    minutes=12,
    mistakes=slips(
        """
        noise_times_variance: `variance.sqrt()` -> `variance`
            The noise is multiplied by the variance; it takes the standard deviation, which is the
            root of the variance.
        fixed_large: `(1 - alpha_bar_next) / (1 - alpha_bar_t) * beta` -> `beta`
            Your noise has the variance beta_t. Equation 7 asks for the smaller beta-tilde_t = (1 -
            alpha_bar_next) / (1 - alpha_bar_t) * beta_t. (Section 3.2 of the paper allows both;
            diffusers calls them fixed_large and fixed_small.)
        x0_without_root: `alpha_bar_next.sqrt()` -> `alpha_bar_next`
            The weight of x0 takes the root of alpha_bar_next, not alpha_bar_next itself.
        x_without_root: `alpha.sqrt()` -> `alpha`
            The weight of x takes the root of alpha_t, not alpha_t itself.
        no_roots: `alpha_bar_next.sqrt()` -> `alpha_bar_next`
            `alpha.sqrt()` -> `alpha`
            Both weights of the mean start with a root: of alpha_bar_next for x0, of alpha_t for x.
        x0_with_alpha_bar_t: `alpha_bar_next.sqrt()` -> `alpha_bar_t.sqrt()`
            The weight of x0 starts with the root of alpha_bar_t; equation 7 has alpha-bar_{t-1}
            there, which is alpha_bar_next.
        alpha_bar_for_alpha: `alpha_bar_t / alpha_bar_next` -> `alpha_bar_t`
            You use alpha_bar_t where alpha_t belongs. alpha_t is one stride alone: alpha_bar_t /
            alpha_bar_next; beta_t is 1 minus that.
        exchanged: `* x0\\n` -> `* x\\n`
            `* x\\n    )` -> `* x0\\n    )`
            x and x0 are exchanged: each has the other's weight.
        no_noise: `    if noise is None:\\n        return mean\\n` -> `    return mean\\n`
            The mean is right, and the noise is missing. Add it, times the root of the variance,
            unless noise is None.
        no_division: `beta / (1 - alpha_bar_t)` -> `beta`
            `(1 - alpha_bar_next) / (1 - alpha_bar_t) * x` -> `(1 - alpha_bar_next) * x`
            `(1 - alpha_bar_next) / (1 - alpha_bar_t) * beta` -> `(1 - alpha_bar_next) * beta`
            The division by 1 - alpha_bar_t is missing, in both weights and in the variance.
        own_noise: `* noise` -> `* torch.randn_like(x)`
            It draws noise of its own. Use the noise that is handed in, so that whoever calls
            decides about the seed.
        """
    ),
    on_error=_without_noise,
    call=call_seeded,
    keeps_dtype=True,
)

# --- ddim_step -----------------------------------------------------------------------------------


def ddim_step(
    x0: Tensor,
    epsilon: Tensor,
    alpha_bar_t: Tensor,
    alpha_bar_next: Tensor,
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> Tensor:
    """Mix the guesses of the picture and of the noise anew, with less noise."""
    variance = (1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)
    sigma = eta * variance.sqrt()
    direction = (1 - alpha_bar_next - sigma**2).sqrt() * epsilon
    x_next = alpha_bar_next.sqrt() * x0 + direction
    return x_next if noise is None else x_next + sigma * noise


def _ddim_cases(generator: torch.Generator) -> Iterator[Case]:
    for shape in SHAPES:
        x0, epsilon, noise = torch.randn(3, *shape, generator=generator)
        alpha_bar_t, alpha_bar_next = _levels(generator, 2)
        eta = 0.2 + 0.7 * float(torch.rand((), generator=generator))
        yield Case((x0, epsilon, alpha_bar_t, alpha_bar_next))
        yield Case((x0, epsilon, alpha_bar_t, alpha_bar_next), {"eta": eta, "noise": noise})
    words = "the last step: alpha_bar_next = 1"
    yield Case((x0, epsilon, alpha_bar_t, torch.ones(())), label=words)
    words = "a step from pure noise: alpha_bar_t = 0"
    yield Case((x0, epsilon, torch.zeros(()), alpha_bar_next, eta, noise), label=words)
    yield Case((x0.double(), epsilon.double(), alpha_bar_t, alpha_bar_next))


DDIM = Exercise(
    "04.ddim_step",
    ddim_step,
    _ddim_cases,
    hints=(
        "Equation 12 has three terms: the guess of the picture, the guess of the noise, and fresh "
        "noise. Compute sigma by equation 16 first; with eta = 0 it is 0.",
        "The signal gets the root of alpha_bar_next. Together, the two noises must have the "
        "variance 1 - alpha_bar_next: if fresh noise takes sigma squared of it, the guessed noise "
        "gets the rest.",
        "`sigma = eta * (equation 16's fractions) ** 0.5`, then `alpha_bar_next**0.5 * x0"
        " + (1 - alpha_bar_next - ...) ** 0.5 * epsilon`, plus `sigma * noise` unless "
        "noise is None.",
    ),
    difficulty=3,
    minutes=10,
    mistakes=slips(
        """
        no_room: ` - sigma**2` -> ``
            With eta above 0 there is too much noise. Fresh noise takes sigma**2 of the variance, so
            the guessed noise keeps only 1 - alpha_bar_next - sigma**2.
        sigma_not_squared: `sigma**2` -> `sigma`
            Under the root stands sigma where sigma**2 belongs: 1 - alpha_bar_next is a variance,
            and what the fresh noise takes of it is a variance too.
        x0_without_root: `alpha_bar_next.sqrt()` -> `alpha_bar_next`
            The guess of the picture takes the root of alpha_bar_next, not alpha_bar_next itself.
        noise_stays: `1 - alpha_bar_next - sigma**2` -> `1 - alpha_bar_t - sigma**2`
            The noise keeps its old size, 1 - alpha_bar_t. After the step there should be less of
            it: 1 - alpha_bar_next.
        epsilon_without_root: `sigma**2).sqrt()` -> `sigma**2)`
            The weight of epsilon lacks its root: 1 - alpha_bar_next - sigma**2 is a variance.
        no_roots: `sigma**2).sqrt()` -> `sigma**2)`
            `alpha_bar_next.sqrt()` -> `alpha_bar_next`
            Both weights lack their roots: alpha-bar and 1 - alpha-bar are variances, and a picture
            is multiplied by a standard deviation.
        variance_as_sigma: `variance.sqrt()` -> `variance`
            sigma is eta times a root; you left the root out, so what you have is eta times a
            variance.
        eta_inside: `eta * variance.sqrt()` -> `(eta * variance).sqrt()`
            eta stands before the root of equation 16, not inside it.
        eta_alone: `eta * variance.sqrt()` -> `torch.as_tensor(eta)`
            ` - sigma**2` -> ``
            The fresh noise is multiplied by eta alone. eta is a share; sigma of equation 16 is eta
            times the deviation that DDPM would use.
        no_fresh_noise: `x_next if noise is None else x_next + sigma * noise` -> `x_next`
            With eta above 0 the fresh noise is missing: add sigma * noise.
        exchanged: `* epsilon` -> `* x0`
            `* x0 + direction` -> `* epsilon + direction`
            x0 and epsilon are exchanged.
        upside_down:
            `(1 - alpha_bar_next) / (1 - alpha_bar_t)` -> `(1 - alpha_bar_t) / (1 - alpha_bar_next)`
            The first fraction in sigma is upside down: 1 - alpha_bar_next belongs above, 1 -
            alpha_bar_t below.
        eta_ignored: `eta * variance.sqrt()` -> `variance.sqrt()`
            eta is not used: it stands before the root of sigma. With eta = 0 there is no fresh
            noise, and all of 1 - alpha_bar_next is left for the guessed one.
        old_signal: `alpha_bar_next.sqrt() * x0` -> `alpha_bar_t.sqrt() * x0`
            The guess of the picture gets the root of alpha_bar_t, which is the level before the
            step. After it the share of the picture is alpha_bar_next.
        own_noise: `* noise` -> `* torch.randn_like(x0)`
            It draws noise of its own. Use the noise that is handed in, so that whoever calls
            decides about the seed.
        """
    ),
    on_error=_without_noise,
    call=call_seeded,
    keeps_dtype=True,
)

# --- dpm_solver_pp_2m_step -----------------------------------------------------------------------


def dpm_solver_pp_2m_step(
    x: Tensor,
    x0: Tensor,
    sigma: Tensor,
    sigma_next: Tensor,
    x0_before: Tensor | None = None,
    sigma_before: Tensor | None = None,
) -> Tensor:
    """Extrapolate the guess of the picture from the last two, then take an exact step."""
    alpha_t, alpha_next = (1 + sigma**2) ** -0.5, (1 + sigma_next**2) ** -0.5
    h = sigma.log() - sigma_next.log()
    D = x0
    if x0_before is not None and sigma_before is not None:
        r = (sigma_before.log() - sigma.log()) / h
        D = x0 + (x0 - x0_before) / (2 * r)
    noise_left = (sigma_next * alpha_next) / (sigma * alpha_t)
    return noise_left * x - alpha_next * ((-h).exp() - 1) * D


def _dpm_cases(generator: torch.Generator) -> Iterator[Case]:
    for shape in SHAPES:
        x, x0, x0_before = torch.randn(3, *shape, generator=generator)
        levels = _levels(generator, 3)
        sigma_before, sigma, sigma_next = (((1 - a) / a) ** 0.5 for a in levels)
        words = f"the first step: x of shape {shape}, no x0_before"
        yield Case((x, x0, sigma, sigma_next), label=words)
        yield Case((x, x0, sigma, sigma_next, x0_before, sigma_before))
    words = "the last step: sigma_next = 0, no x0_before"
    yield Case((x, x0, sigma, torch.zeros(()), None, None), label=words)
    yield Case((x.double(), x0.double(), sigma, sigma_next, x0_before.double(), sigma_before))


def _truth_of_tensor(error: Exception, case: Case) -> str | None:
    """Words for `if x0_before:` and for arithmetic with None."""
    text = str(error)
    if isinstance(error, RuntimeError) and "Boolean value of Tensor" in text:
        return (
            "`if x0_before:` asks whether a whole tensor is true, which has no answer. Ask whether "
            "there is one: `if x0_before is not None:`."
        )
    if isinstance(error, TypeError | AttributeError) and "NoneType" in text:
        return (
            "It computes with x0_before or sigma_before where there is none. Without an earlier "
            "guess the step is of first order: D = x0."
        )
    return None


DPM = Exercise(
    "04.dpm_solver_pp_2m_step",
    dpm_solver_pp_2m_step,
    _dpm_cases,
    hints=(
        "Take it in three parts: h from the two sigmas, D from the two guesses, then the step. "
        "lambda is minus the logarithm of `sigma`.",
        "h = log(sigma / sigma_next) and r = log(sigma_before / sigma) / h. D lies beyond x0, on "
        "the side away from x0_before. alpha of a level is 1 / sqrt(1 + sigma**2), and the "
        "paper's sigma_t is sigma * alpha.",
        "`D = x0 + (x0 - x0_before) / (2 * r)`, or x0 if x0_before is None; return "
        "`(sigma_next * alpha_next) / (sigma * alpha_t) * x - ... * D`, where the weight "
        "of D holds torch.exp(-h).",
    ),
    difficulty=4,
    minutes=18,
    mistakes=slips(
        """
        first_order: `x0 + (x0 - x0_before) / (2 * r)` -> `x0`
            Every step of yours is of first order: the earlier guess x0_before is not used. With it,
            D = x0 + (x0 - x0_before) / (2 r).
        backwards: `x0 + (x0` -> `x0 - (x0`
            The correction points backwards. D goes beyond x0, away from the earlier guess: plus (x0
            - x0_before) / (2 r).
        r_upside_down:
            `(sigma_before.log() - sigma.log()) / h` -> `h / (sigma_before.log() - sigma.log())`
            r is upside down. It is the step before, in lambda, over this step: (lambda_t -
            lambda_before) / h.
        no_half: `(2 * r)` -> `r`
            The correction lacks the factor 1/2: D = x0 + (x0 - x0_before) / (2 r).
        r_is_1: `2 * r` -> `2`
            You take r as 1, as if all steps had the same length in lambda. They have not: r is the
            length of the step before over the length of this one.
        average: `x0 + (x0 - x0_before) / (2 * r)` -> `(x0 + x0_before) / 2`
            You take the mean of the two guesses. The next part of the way lies after x0, so the
            line through both guesses must be followed further, not averaged.
        exponent_sign: `(-h).exp()` -> `h.exp()`
            The sign in the exponential is wrong: exp(-h) - 1, with h positive.
        h_sign: `sigma.log() - sigma_next.log()` -> `sigma_next.log() - sigma.log()`
            Your h has the wrong sign. lambda = -log(sigma) rises on the way to the picture, so h =
            log(sigma / sigma_next) is above 0.
        no_alphas: `(1 + sigma**2) ** -0.5, (1 + sigma_next**2) ** -0.5` -> `1.0, 1.0`
            The alphas are missing: sigma_next / sigma and exp(-h) - 1 alone are the step for
            pictures whose signal keeps its size. Here x is variance preserving, so the paper's
            sigma_t is sigma * alpha, and alpha_next stands before exp(-h) - 1.
        full_log_snr:
            `h = sigma.log() - sigma_next.log()` -> `h = 2 * (sigma.log() - sigma_next.log())`
            `r = (sigma` -> `r = 2 * (sigma`
            Your lambda is twice too large. It is log(alpha_t / sigma_t), half the log SNR.
        ratios_as_sigma: `(sigma_next * alpha_next) / (sigma * alpha_t)` -> `sigma_next / sigma`
            The weight of x uses the ratios `sigma` as if they were the paper's sigma_t. The paper's
            sigma_t is sigma * alpha, with alpha = 1 / sqrt(1 + sigma**2).
        alpha_before: `- alpha_next *` -> `- alpha_t *`
            The weight of D takes alpha of the level after the step, not before it.
        plus: `x - alpha_next` -> `x + alpha_next`
            The weight of D has the wrong sign. exp(-h) - 1 is below 0, and a minus stands before
            it.
        D_swapped: `x0 + (x0 - x0_before) / (2 * r)` -> `x0_before + (x0_before - x0) / (2 * r)`
            In D the two guesses have changed places: it starts at x0, the newest one.
        alpha_without_root:
            `(1 + sigma**2) ** -0.5, (1 + sigma_next**2) ** -0.5`
            -> `1 / (1 + sigma**2), 1 / (1 + sigma_next**2)`
            alpha lacks its root: 1 / (1 + sigma**2) is alpha-bar, and alpha is the root of it.
        """
    ),
    on_error=_truth_of_tensor,
    keeps_dtype=True,
)

EXERCISES = (TIMESTEPS, DDPM, DDIM, DPM)
