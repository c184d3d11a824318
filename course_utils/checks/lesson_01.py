"""Lesson 01, forward noising: what is right, and what people get wrong."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from course_utils.checks.exercise import Case, Exercise, call_seeded
from course_utils.checks.lesson_01_tables import BETAS, COSINE, LINEAR_BETAS
from course_utils.checks.mistakes import slips

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


def _forward_step_page(generator: Generator) -> Case:
    x_prev, epsilon = torch.randn(2, 8, 3, 64, 64, generator=generator)
    return Case((x_prev, epsilon, torch.tensor(0.02)), label="a step of 8 pictures of 3 x 64 x 64")


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
    call=call_seeded,
    keeps_dtype=True,
    gradients=("x_prev", "epsilon"),
    page=_forward_step_page,
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


def _add_noise_page(generator: Generator) -> Case:
    x0, epsilon = torch.randn(2, 16, 3, 64, 64, generator=generator)
    table = torch.linspace(0.99, 0.01, 16)
    return Case((x0, epsilon, table, torch.arange(16)), label="16 pictures of 3 x 64 x 64")


ADD_NOISE = Exercise(
    "01.add_noise",
    add_noise,
    _add_noise_cases,
    hints=(
        "Equation 2 needs one number a picture, alpha_bar at that picture's own t: index the "
        "table with the whole tensor t.",
        "alpha_bar[t] has shape (B,). Give it dimensions of size 1, (B, 1, 1, 1), so that each "
        "number meets its own picture. Then take the two square roots.",
        "a = alpha_bar[t].view(-1, *[1] * (x0.ndim - 1)), one number for each picture; "
        "then a.sqrt() * x0 + ... * epsilon.",
    ),
    difficulty=2,
    minutes=10,
    call=call_seeded,
    gradients=("x0", "epsilon"),
    page=_add_noise_page,
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
        table_of_betas: `alpha_bar[t]` -> `(1 - torch.linspace(1e-4, 0.02, 1000)[t])`
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
    yield Case((torch.tensor(0.6),), label="one number, 0.6")
    yield Case((torch.tensor([0.9999, 0.5]),), label="a table that begins near 1")
    yield Case((torch.tensor([0.75, 0.1], dtype=torch.float64),), label="a table in float64")


SNR = Exercise(
    "01.snr",
    snr,
    _snr_cases,
    hints=(
        "SNR is a ratio of two variances: that of the picture in x_t over that of the noise.",
        "alpha_bar_t is the picture's share, and the shares add up to 1.",
        "alpha_bar / (...): the picture's share over the noise's share.",
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
        clamped: `(1 - alpha_bar)` -> `(1 - alpha_bar).clamp(min=1e-2)`
            The noise's share is kept from falling below a bound. Near t = 0 there is very little
            noise, and the ratio is as large as it is: no clamp.
        """
    ),
)


EXERCISES = (FORWARD_STEP, LINEAR_BETAS, ADD_NOISE, SNR, COSINE, BETAS)
