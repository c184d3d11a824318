"""Lesson 01, tables of betas and alpha-bars: what is right, and what people get wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Generator, Tensor

from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.mistakes import Mistake, slips


def linear_betas(beta_start: float, beta_end: float, num_train_timesteps: int) -> Tensor:
    """T betas in a straight line, both ends included."""
    return torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float32)


def _linear_betas_cases(generator: Generator) -> Iterator[Case]:
    end = 0.5 + 0.3 * float(torch.rand((), generator=generator))
    for arguments in ((0.1, 0.5, 5), (0.05, round(end, 3), 8), (1e-4, 0.02, 1000)):
        yield Case(arguments)


LINEAR_BETAS = Exercise(
    "01.linear_betas",
    linear_betas,
    _linear_betas_cases,
    hints=(
        "torch has a function that makes equally spaced numbers from a start to an end.",
        "torch.arange leaves its end out and takes a step; torch.linspace takes how many.",
        "torch.linspace(beta_start, ..., dtype=torch.float32): what stands in the two "
        "places between?",
    ),
    difficulty=1,
    minutes=3,
    keeps_dtype=True,
    mistakes=slips(
        """
        end_missed:
            `num_train_timesteps, dtype=torch.float32)`
            -> `num_train_timesteps + 1, dtype=torch.float32)[:-1]`
            The last beta stays below beta_end: T numbers have T - 1 gaps between them, so divide by
            T - 1. torch.linspace does it for you.
        start_missed:
            `num_train_timesteps, dtype=torch.float32)`
            -> `num_train_timesteps + 1, dtype=torch.float32)[1:]`
            The first beta is already one step above beta_start. Count from 0 to T - 1 and divide by
            T - 1, so that both ends are hit.
        arange: `linspace` -> `arange`
            torch.arange(start, end, step) takes a step as its third number. torch.linspace takes
            how many numbers you want, and hits both ends.
        one_too_many: `num_train_timesteps, dtype` -> `num_train_timesteps + 1, dtype`
            There is one beta too many: T numbers are wanted, both ends included.
        roots_rise: `beta_start, beta_end,` -> `beta_start**0.5, beta_end**0.5,`
            `dtype=torch.float32)` -> `dtype=torch.float32) ** 2`
            The square roots of these betas rise in a straight line. That is Stable Diffusion's
            schedule, which comes further down; here the betas themselves do.
        constant_factor:
            `linspace(beta_start, beta_end`
            -> `logspace(math.log10(beta_start), math.log10(beta_end)`
            These betas rise by a constant factor. Here they rise by a constant amount.
        alphas: `torch.linspace` -> `1 - torch.linspace`
            These are the alphas, 1 - beta_t. The betas themselves are wanted.
        backwards: `(beta_start, beta_end,` -> `(beta_end, beta_start,`
            The table runs backwards: the first step adds the least noise, beta_start.
        """
    ),
)


def cosine_alpha_bar(num_train_timesteps: int, s: float = 0.008) -> Tensor:
    """alpha_bar_t = f(t) / f(0) for t = 1 .. T, with f(t) = cos^2((t/T + s) / (1 + s) * pi/2)."""
    t = torch.arange(num_train_timesteps + 1, dtype=torch.float64)  # 0 .. T, as the paper counts
    f = torch.cos((t / num_train_timesteps + s) / (1 + s) * math.pi / 2) ** 2
    return (f[1:] / f[0]).float()  # (T,)


def _cosine_cases(generator: Generator) -> Iterator[Case]:
    s = round(0.05 + 0.2 * float(torch.rand((), generator=generator)), 3)
    yield Case((5,), {"s": 0.1})
    yield Case((7,), {"s": s})
    yield Case((1000,))


def _cosine_remark(candidate: Callable[..., Tensor]) -> str | None:
    """The page compares betas with diffusers' to 1e-6; near T float32 is not exact enough."""
    off = betas_from_alpha_bar(candidate(1000)) - betas_from_alpha_bar(cosine_alpha_bar(1000))
    worst = float(off.abs().max())
    if worst <= 1e-6:
        return None
    return (
        "It is right, but not exact enough for this page: near T the cosine is nearly 0, and betas "
        f"that are made of it are off by {worst:.0e} in float32. Compute in float64, with "
        "dtype=torch.float64, and round with .float() at the end."
    )


def _one_number_at_a_time(error: Exception, case: Case) -> str | None:
    if "only one element tensors can be converted" in str(error):
        return (
            "math.cos takes one number, and here is a whole tensor of times. Use torch.cos, which "
            "works on all of them at once."
        )
    return None


COSINE = Exercise(
    "01.cosine_alpha_bar",
    cosine_alpha_bar,
    _cosine_cases,
    hints=(
        "Write f for a tensor of times first, then divide. Which times does the paper use, and in "
        "which row of our table does each of them go?",
        "Make the times 0, 1, ..., T, so T + 1 of them. f at time 0 is the divisor; f at the times "
        "1 to T are the rows of the table.",
        "f = torch.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2 for the times "
        "torch.arange(T + 1, dtype=torch.float64); then divide (...), and .float() at the end.",
    ),
    difficulty=3,
    minutes=7,
    keeps_dtype=True,
    remark=_cosine_remark,
    on_error=_one_number_at_a_time,
    mistakes=slips(
        """
        row_too_early: `f[1:]` -> `f[:-1]`
            The table starts one row too early, with alpha_bar = 1. Row 0 is the paper's t = 1, and
            the last row its t = T.
        row_too_many: `f[1:]` -> `f`
            There is one row too many: the paper's t = 0 is the clean picture and has no row.
        gaps:
            `torch.arange(num_train_timesteps + 1,`
            -> `torch.linspace(0, num_train_timesteps, num_train_timesteps,`
            `f[1:]` -> `f`
            The times run from 0 to 1 in T - 1 gaps. Row i is the paper's t = i + 1, so its time is
            (i + 1) / T.
        not_squared: ` ** 2` -> ``
            The cosine is not squared.
        not_divided: `f[1:] / f[0]` -> `f[1:]`
            The division by f(0) is missing, so the table does not start from a clean picture.
        no_offset: `(t / num_train_timesteps + s) / (1 + s)` -> `t / num_train_timesteps`
            The offset s is missing. Without it the first betas are too small for the network to
            notice (the paper's reason for it).
        not_divided_by_1_plus_s: ` / (1 + s)` -> ``
            t/T + s is not divided by 1 + s, so the cosine goes past its zero and comes up again.
        brackets:
            `(t / num_train_timesteps + s) / (1 + s)` -> `(t / num_train_timesteps + s / (1 + s))`
            The brackets sit wrong: (t/T + s) / (1 + s), not t/T + s / (1 + s).
        to_pi: `math.pi / 2` -> `math.pi`
            The angle goes to pi and not to pi/2, so the table falls to zero halfway and rises
            again.
        sine: `torch.cos` -> `torch.sin`
            This is a sine: it starts at noise. The table must start near 1 and fall.
        """
    ),
)


def betas_from_alpha_bar(alpha_bar: Tensor, max_beta: float = 0.999) -> Tensor:
    """beta_t = min(1 - alpha_bar_t / alpha_bar_{t-1}, max_beta), with 1 before the first row."""
    before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])  # alpha_bar_{t-1}
    return (1 - alpha_bar / before).clamp(max=max_beta)


def _betas_cases(generator: Generator) -> Iterator[Case]:
    for count, max_beta in ((4, 0.999), (6, 0.8), (9, 0.999)):
        betas = 0.3 + 0.4 * torch.rand(count, generator=generator)
        betas[-1] = 1.0 if max_beta > 0.9 else 0.98
        kwargs = {} if max_beta == 0.999 else {"max_beta": max_beta}
        yield Case((torch.cumprod(1 - betas, dim=0),), kwargs)


def _min_of_a_table(error: Exception, case: Case) -> str | None:
    if "is ambiguous" in str(error):
        return (
            "Python's min() and `if` decide about one number, and here is a whole table. Use "
            ".clamp(max=max_beta), which decides for each entry."
        )
    return None


BETAS_MISTAKES = slips(
    """
    no_clip: `.clamp(max=max_beta)` -> ``
        The clip is missing: no beta may be larger than max_beta. Without it the last step would
        wipe out everything.
    clipped_from_below: `max=max_beta` -> `max_beta`
        It clips from below: every beta that is smaller than max_beta became max_beta. An upper
        bound is clamp(max=...), or torch.minimum.
    no_first_beta: `alpha_bar / before` -> `alpha_bar[1:] / alpha_bar[:-1]`
        The first row has no beta. Before it stands the clean picture with alpha_bar = 1, so the
        first beta is 1 - alpha_bar[0], and there are T of them.
    first_is_zero: `torch.ones_like(alpha_bar[:1])` -> `alpha_bar[:1]`
        The first beta is 0. The first step adds noise as well: before it stands the clean
        picture with alpha_bar = 1, so its beta is 1 - alpha_bar[0].
    first_against_last: `torch.ones_like(alpha_bar[:1])` -> `alpha_bar[-1:]`
        The first row is compared with the last one: index -1 means the end of a table. Put a 1
        before the first row.
    upside_down: `alpha_bar / before` -> `before / alpha_bar`
        The ratio is upside down: alpha_bar_t / alpha_bar_{t-1} is below 1, so that beta_t is
        above 0.
    difference: `1 - alpha_bar / before` -> `before - alpha_bar`
        This is by how much the table falls. beta_t is a share: how much of what was still there
        the step takes away, 1 - alpha_bar_t / alpha_bar_{t-1}.
    all_noise_so_far: ` / before` -> ``
        1 - alpha_bar_t is all the noise since the beginning. beta_t is the noise of one step,
        so divide by the row before.
    alphas: `1 - alpha_bar / before` -> `alpha_bar / before`
        These are the alphas, alpha_bar_t / alpha_bar_{t-1}. beta_t is 1 minus that.
    """
)


def _unclipped(mistake: Mistake) -> Mistake:
    """The same mistake without the clip: who is still at the formula forgets it."""
    edits = (*mistake.edits, (".clamp(max=max_beta)", ""))
    return replace(mistake, id=f"{mistake.id}_unclipped", edits=edits)


BETAS = Exercise(
    "01.betas_from_alpha_bar",
    betas_from_alpha_bar,
    _betas_cases,
    hints=(
        "alpha_bar_t is alpha_bar_{t-1} times 1 - beta_t. Solve this for beta_t.",
        "You need the table once as it is and once moved down by one row. What stands before its "
        "first row? The clean picture, with alpha_bar = 1.",
        "before = torch.cat([torch.ones(1), alpha_bar[:-1]]) is the row before each row; "
        "then (1 - ... / ...).clamp(max=max_beta).",
    ),
    difficulty=3,
    minutes=7,
    keeps_dtype=True,
    on_error=_min_of_a_table,
    mistakes=BETAS_MISTAKES + tuple(map(_unclipped, BETAS_MISTAKES[2:])),
)
