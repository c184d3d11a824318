"""Lesson 01, forward noising: what is right, and what people get wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.mistakes import Mistake, slips


def _seeded(candidate: Callable[..., Any], case: Case) -> Any:
    """Call with a fixed random state, so that noise of one's own is recognised as such."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return candidate(*case.args, **case.kwargs)


# --- 01.forward_step -----------------------------------------------------------------------------


def forward_step(x_prev: Tensor, epsilon: Tensor, beta_t: Tensor) -> Tensor:
    """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) epsilon."""
    return (1 - beta_t).sqrt() * x_prev + beta_t.sqrt() * epsilon


def _forward_step_cases(generator: Generator) -> Iterator[Case]:
    for shape, beta in (((2, 2), 0.36), ((3,), 0.1), ((2, 3, 4, 4), 0.02), ((4, 1, 8, 8), 0.7)):
        x_prev, epsilon = torch.randn(2, *shape, generator=generator)
        yield Case((x_prev, epsilon, torch.tensor(beta)))
    x_prev, epsilon = torch.randn(2, 5, generator=generator).double()
    yield Case((x_prev, epsilon, torch.tensor(0.25)), label="five numbers in float64")


FORWARD_STEP = Exercise(
    "01.forward_step",
    forward_step,
    _forward_step_cases,
    hints=(
        "Equation 1 above the cell has two terms, each a weight times a tensor.",
        "The weights multiply tensors and variances are squares: each weight is a square root.",
        "(1 - beta_t).sqrt() * x_prev + ... * epsilon, and the other weight is a root as well.",
    ),
    difficulty=1,
    minutes=5,
    call=_seeded,
    keeps_dtype=True,
    gradients=("x_prev", "epsilon"),
    mistakes=slips(
        """
        no_roots: `(1 - beta_t).sqrt()` -> `(1 - beta_t)`
            `beta_t.sqrt()` -> `beta_t`
            Both square roots are missing. beta_t is the variance that the noise should have, and a
            number multiplied by w gets w squared times its variance: so w is sqrt(beta_t), and
            sqrt(1 - beta_t) for the picture.
        noise_without_root: `beta_t.sqrt()` -> `beta_t`
            The weight of the noise has no square root. With weight beta_t its variance would be
            beta_t squared; it should be beta_t.
        picture_without_root: `(1 - beta_t).sqrt()` -> `(1 - beta_t)`
            The weight of the picture has no square root. With 1 - beta_t the picture keeps (1 -
            beta_t) squared of its variance, and the total shrinks.
        picture_at_full_size: `(1 - beta_t).sqrt() * x_prev` -> `x_prev`
            The picture is not scaled down, so each step adds variance and the values grow without
            end. Multiply x_prev by sqrt(1 - beta_t).
        weights_swapped: `(1 - beta_t).sqrt() * x_prev` -> `beta_t.sqrt() * x_prev`
            `+ beta_t.sqrt()` -> `+ (1 - beta_t).sqrt()`
            The two weights are swapped: beta_t is the small share, and it belongs to the noise.
        noise_subtracted: `x_prev + ` -> `x_prev - `
            The noise is subtracted. Noise with the other sign is noise as well, but the later
            lessons solve this equation for x0 and for epsilon, and they count on the plus.
        own_noise: `* epsilon` -> `* torch.randn_like(x_prev)`
            It draws noise of its own. Use the epsilon that it is given, so that the caller decides
            on the noise and can repeat it.
        """
    ),
)


# --- 01.linear_betas -----------------------------------------------------------------------------


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
        "torch.linspace(first value, last value, how many, dtype=torch.float32)",
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


# --- 01.add_noise --------------------------------------------------------------------------------


def add_noise(x0: Tensor, epsilon: Tensor, alpha_bar: Tensor, t: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) epsilon."""
    alpha_bar_t = alpha_bar[t].view(-1, *[1] * (x0.ndim - 1))  # (B, 1, 1, 1)
    return alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t).sqrt() * epsilon


def _add_noise_cases(generator: Generator) -> Iterator[Case]:
    betas = torch.linspace(0.01, 0.25, 20) * (0.8 + 0.4 * torch.rand(20, generator=generator))
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    # Of the shapes, the second has B = W: a wrong broadcast goes through there unnoticed.
    for shape in ((2, 1, 3, 4), (4, 3, 4, 4), (3, 4, 8, 8), (5, 2)):
        x0, epsilon = torch.randn(2, *shape, generator=generator)
        t = 2 + torch.randperm(16, generator=generator)[: shape[0]]
        yield Case((x0, epsilon, alpha_bar, t))
    x0, epsilon = torch.randn(2, 2, 3, 2, 2, generator=generator).double()
    yield Case((x0, epsilon, alpha_bar, torch.tensor([3, 11])), label="two pictures in float64")


ADD_NOISE = Exercise(
    "01.add_noise",
    add_noise,
    _add_noise_cases,
    hints=(
        "Equation 2 needs one number a picture, alpha_bar at that picture's own t: index the "
        "table with the whole tensor t.",
        "alpha_bar[t] has shape (B,). Give it dimensions of size 1, (B, 1, 1, 1), so that each "
        "number meets its own picture. Then take the two square roots.",
        "a = alpha_bar[t].view(-1, 1, 1, 1), or with as many ones as x0 has further dimensions; "
        "then a.sqrt() * x0 + (1 - a).sqrt() * epsilon.",
    ),
    difficulty=2,
    minutes=10,
    call=_seeded,
    gradients=("x0", "epsilon"),
    keeps_dtype=True,
    mistakes=slips(
        """
        no_roots: `alpha_bar_t.sqrt()` -> `alpha_bar_t`
            `(1 - alpha_bar_t).sqrt()` -> `(1 - alpha_bar_t)`
            The square roots are missing. alpha_bar_t is a share of the variance, and a picture
            multiplied by w keeps w squared of its variance: so w is sqrt(alpha_bar_t), and sqrt(1 -
            alpha_bar_t) for the noise.
        one_minus_root: `(1 - alpha_bar_t).sqrt()` -> `(1 - alpha_bar_t.sqrt())`
            The noise has the weight 1 - sqrt(alpha_bar_t); it should be sqrt(1 - alpha_bar_t). The
            variances add up to 1, not the weights.
        noise_without_root: `(1 - alpha_bar_t).sqrt()` -> `(1 - alpha_bar_t)`
            The weight of the noise has no square root: sqrt(1 - alpha_bar_t) belongs there.
        picture_without_root: `alpha_bar_t.sqrt()` -> `alpha_bar_t`
            The weight of the picture has no square root: sqrt(alpha_bar_t) belongs there.
        weights_swapped: `alpha_bar_t.sqrt() * x0` -> `(1 - alpha_bar_t).sqrt() * x0`
            `+ (1 - alpha_bar_t).sqrt()` -> `+ alpha_bar_t.sqrt()`
            The weights are swapped: alpha_bar_t is the share of the picture, near 1 at t = 0.
        picture_at_full_size: `alpha_bar_t.sqrt() * x0` -> `x0`
            The picture keeps its full size while noise is added, so the variance grows beyond 1.
            Multiply x0 by sqrt(alpha_bar_t).
        noise_at_full_strength: `(1 - alpha_bar_t).sqrt() * epsilon` -> `epsilon`
            The noise comes at full strength at every t. Multiply epsilon by sqrt(1 - alpha_bar_t).
        squared: `alpha_bar_t.sqrt()` -> `alpha_bar_t`
            `(1 - alpha_bar_t).sqrt()` -> `(1 - alpha_bar_t**2).sqrt()`
            It squares alpha_bar_t, as if the table held its square roots. The weights are
            sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t).
        beta_of_one_step: `alpha_bar[t]` -> `(alpha_bar[t] / alpha_bar[t - 1])`
            It uses beta_t, the noise of one step. A jump over all steps up to t needs alpha_bar_t,
            the product of all 1 - beta_s.
        table_of_betas: `alpha_bar[t]` -> `(1 - linear_betas(1e-4, 0.02, 1000)[t])`
            It looks up `betas`, the noise of one step, and not the table that it is given. A jump
            over all steps up to t needs alpha_bar[t].
        row_before: `[t]` -> `[t - 1]`
            It looks up alpha_bar[t - 1]. Papers count t from 1; our t is the index already, from 0
            to T - 1.
        row_after: `[t]` -> `[t + 1]`
            It looks up alpha_bar[t + 1]. The noise of timestep t is in row t of the table.
        first_t_for_all: `[t]` -> `[t[:1].expand_as(t)]`
            All pictures get the timestep of the first one. Index the table with the whole tensor t:
            alpha_bar[t] has one number a picture.
        product_twice: `alpha_bar[t]` -> `alpha_bar.cumprod(0)[t]`
            It multiplies up the table once more. alpha_bar is the running product already; look it
            up at t.
        not_broadcast: `.view(-1, *[1] * (x0.ndim - 1))` -> ``
            alpha_bar[t] has shape (B,), one number a picture, and broadcasting lines it up with the
            last dimension, the columns of pixels. Give it dimensions of size 1, (B, 1, 1, 1), so
            that each number meets its own picture.
        whole_table: `alpha_bar[t].view(-1, *[1] * (x0.ndim - 1))` -> `alpha_bar`
            It uses the whole table. Look up the rows that are asked for: alpha_bar[t], one number a
            picture.
        four_dimensions: `*[1] * (x0.ndim - 1)` -> `1, 1, 1`
            This works for pictures (B, C, H, W), and not yet for points (B, 2), which come later in
            the lesson. Make as many dimensions of size 1 as x0 has after its first: view(-1, *[1] *
            (x0.ndim - 1)).
        own_noise: `* epsilon` -> `* torch.randn_like(x0)`
            It draws noise of its own. Use the epsilon that it is given: training compares the
            network's answer with exactly this noise.
        """
    ),
)


# --- 01.snr --------------------------------------------------------------------------------------


def snr(alpha_bar: Tensor) -> Tensor:
    """SNR = alpha_bar / (1 - alpha_bar)."""
    return alpha_bar / (1 - alpha_bar)


def _snr_cases(generator: Generator) -> Iterator[Case]:
    yield Case((torch.tensor([0.9, 0.6, 0.2]),))
    for shape in ((7,), (2, 3)):
        table = 0.05 + 0.85 * torch.rand(shape, generator=generator)
        yield Case((table.sort(descending=True).values,))
    yield Case((torch.tensor([0.8, 0.3, 0.0]),), label="a table that ends at exactly 0")
    yield Case((torch.tensor([0.75, 0.1], dtype=torch.float64),), label="a table in float64")


SNR = Exercise(
    "01.snr",
    snr,
    _snr_cases,
    hints=(
        "SNR is a ratio of two variances: that of the picture in x_t over that of the noise.",
        "alpha_bar_t is the picture's share, and the shares add up to 1.",
        "alpha_bar divided by (1 - alpha_bar), entry by entry.",
    ),
    difficulty=1,
    minutes=3,
    keeps_dtype=True,
    mistakes=slips(
        """
        upside_down: `alpha_bar / (1 - alpha_bar)` -> `(1 - alpha_bar) / alpha_bar`
            It is upside down: signal over noise, so alpha_bar stands above the line.
        ratio_of_weights: `alpha_bar / (1 - alpha_bar)` -> `(alpha_bar / (1 - alpha_bar)).sqrt()`
            This is the ratio of the weights, sqrt(alpha_bar / (1 - alpha_bar)). SNR compares
            variances, so the square root goes.
        root_of_noise: `alpha_bar / (1 - alpha_bar)` -> `alpha_bar / (1 - alpha_bar).sqrt()`
            The noise has the variance 1 - alpha_bar, without a square root.
        root_of_picture: `alpha_bar / (1 - alpha_bar)` -> `alpha_bar.sqrt() / (1 - alpha_bar)`
            The picture has the variance alpha_bar, without a square root.
        squared: `alpha_bar / (1 - alpha_bar)` -> `alpha_bar**2 / (1 - alpha_bar) ** 2`
            alpha_bar_t is a variance already. It is not squared again.
        logarithm: `alpha_bar / (1 - alpha_bar)` -> `(alpha_bar / (1 - alpha_bar)).log()`
            This is the logarithm of the ratio. It is useful too, but the ratio is wanted.
        decibels: `alpha_bar / (1 - alpha_bar)` -> `10 * (alpha_bar / (1 - alpha_bar)).log10()`
            This is the ratio in decibels, 10 log10. The plain ratio is wanted.
        picture_only: `alpha_bar / (1 - alpha_bar)` -> `alpha_bar * 1.0`
            Only the picture's share is there. Divide it by the noise's share, 1 - alpha_bar.
        """
    ),
)


# --- 01.cosine_alpha_bar -------------------------------------------------------------------------


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
        "f = torch.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2 with t = torch.arange(T + 1), "
        "then f[1:] / f[0].",
    ),
    difficulty=3,
    minutes=7,
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


# --- 01.betas_from_alpha_bar ---------------------------------------------------------------------


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
        "before = torch.cat([torch.ones(1), alpha_bar[:-1]]), then 1 - alpha_bar / before, then "
        ".clamp(max=max_beta).",
    ),
    difficulty=3,
    minutes=7,
    on_error=_min_of_a_table,
    mistakes=BETAS_MISTAKES + tuple(map(_unclipped, BETAS_MISTAKES[2:])),
)


EXERCISES = (FORWARD_STEP, LINEAR_BETAS, ADD_NOISE, SNR, COSINE, BETAS)
