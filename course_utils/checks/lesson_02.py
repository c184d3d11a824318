"""Lesson 02, learning to denoise: what is right, and what people get wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.mistakes import slips
from course_utils.checks.practice import WatchedDenoiser, WrongCall, roots
from course_utils.predictions import expand_to

SHAPES = ((2, 1, 1, 1), (3, 3, 4, 5), (4, 4, 8, 8), (5, 2))


def _alpha_bars(n: int, generator: torch.Generator) -> Tensor:
    """Shares of signal that differ from picture to picture, (n,) in [0.1, 0.9]."""
    return 0.1 + 0.8 * torch.rand(n, generator=generator)


# --- x0 from epsilon -----------------------------------------------------------------------------


def x0_from_epsilon(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """x0 = (x_t - sqrt(1 - alpha_bar_t) epsilon) / sqrt(alpha_bar_t)."""
    a = expand_to(alpha_bar_t, x_t)  # (B, 1, ..., 1)
    return (x_t - (1 - a).sqrt() * epsilon) / a.sqrt()


def _two_and_alpha_bar(generator: torch.Generator) -> Iterator[Case]:
    for shape in SHAPES:
        a, b = torch.randn(2, *shape, generator=generator)
        yield Case((a, b, _alpha_bars(shape[0], generator)))
    a, b = torch.randn(2, 3, 1, 2, 2, generator=generator).double()
    alpha_bar_t = _alpha_bars(3, generator).double()
    yield Case((a, b, alpha_bar_t), label="three pictures in float64")


# --- v -------------------------------------------------------------------------------------------


def v_target(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """v = sqrt(alpha_bar_t) epsilon - sqrt(1 - alpha_bar_t) x0."""
    a = expand_to(alpha_bar_t, x0)  # (B, 1, ..., 1)
    return a.sqrt() * epsilon - (1 - a).sqrt() * x0


def x0_from_v(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """x0 = sqrt(alpha_bar_t) x_t - sqrt(1 - alpha_bar_t) v."""
    a = expand_to(alpha_bar_t, x_t)  # (B, 1, ..., 1)
    return a.sqrt() * x_t - (1 - a).sqrt() * v


def _x0_from_v_cases(generator: torch.Generator) -> Iterator[Case]:
    yield from _two_and_alpha_bar(generator)
    x_t, v = torch.randn(2, 2, 3, 2, 2, generator=generator)
    yield Case((x_t, v, torch.zeros(2)), label="pure noise, alpha_bar_t = 0")


# --- the loss ------------------------------------------------------------------------------------


def _told(error: Exception, case: Case) -> str | None:
    return error.told if isinstance(error, WrongCall) else None


def denoising_loss(
    denoiser: Callable[[Tensor, Tensor, Any], Tensor],
    x0: Tensor,
    epsilon: Tensor,
    t: Tensor,
    alpha_bar: Tensor,
    prediction_type: str = "epsilon",
) -> Tensor:
    """Mean squared error between what the denoiser says and what it should have said."""
    alpha_bar_t = alpha_bar[t]  # (B,)
    a = expand_to(alpha_bar_t, x0)  # (B, 1, ..., 1)
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * epsilon
    targets = {
        "epsilon": epsilon,
        "sample": x0,
        "v_prediction": v_target(x0, epsilon, alpha_bar_t),
    }
    return (denoiser(x_t, t, None) - targets[prediction_type]).square().mean()


def _loss_cases(generator: torch.Generator) -> Iterator[Case]:
    alpha_bar = torch.linspace(0.98, 0.8, 12).cumprod(0)
    shapes = ((2, 1, 1, 1), (3, 3, 4, 5), (5, 2), (6, 3, 2), (4, 4, 8, 8))
    kinds = ("epsilon", "v_prediction", "sample", "epsilon", "v_prediction")
    for shape, kind in zip(shapes, kinds, strict=True):
        x0, epsilon = torch.randn(2, *shape, generator=generator)
        t = torch.randint(1, len(alpha_bar), (shape[0],), generator=generator)
        watched = WatchedDenoiser(x0, epsilon, t, alpha_bar)
        yield Case(
            (watched, x0, epsilon, t, alpha_bar, kind),
            label=f'pictures of shape {shape}, prediction_type "{kind}"',
        )


# --- the perfect denoiser ------------------------------------------------------------------------


def optimal_denoiser(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    """E[x0 | x_t] where x0 is one of the data points, each as likely as the others."""
    a = expand_to(alpha_bar_t, x_t)  # (B, 1, ..., 1)
    difference = x_t[:, None] - a.sqrt()[:, None] * data  # (B, N, ...)
    distance = difference.flatten(2).square().sum(2)  # (B, N)
    weights = torch.softmax(-distance / (2 * (1 - alpha_bar_t[:, None])), dim=1)  # (B, N)
    return torch.einsum("bn,n...->b...", weights, data)


def _optimal_cases(generator: torch.Generator) -> Iterator[Case]:
    for batch, shape, label in (
        ((2, 3), (2,), "2 noisy points, 3 data points in the plane"),
        ((4, 6), (1, 2, 2), "4 noisy pictures of 1 x 2 x 2, 6 data points"),
        ((5, 5), (3, 2, 1), "5 noisy pictures of 3 x 2 x 1, 5 data points"),
    ):
        data = torch.randn(batch[1], *shape, generator=generator)
        alpha_bar_t = _alpha_bars(batch[0], generator)
        chosen = torch.randint(batch[1], (batch[0],), generator=generator)
        noise = torch.randn(batch[0], *shape, generator=generator)
        alpha, sigma = roots(alpha_bar_t, noise)
        x_t = alpha * data[chosen] + sigma * noise
        yield Case((x_t, alpha_bar_t, data), label=label)
    yield Case((x_t.double(), alpha_bar_t.double(), data.double()), label=f"{label}, in float64")
    # Far from every data point at little noise: all exp(-distance / ...) are 0 in float32.
    corners = torch.tensor([[-2.0, -2.0], [2.0, -2.0], [-2.0, 2.0], [2.0, 2.0]])
    data = corners + 0.2 * torch.randn(4, 2, generator=generator)
    x_t = data[[2, 0, 3]] + 0.4 + 0.1 * torch.rand(3, 2, generator=generator)
    yield Case((x_t, torch.full((3,), 0.9999), data), label="hardly any noise, alpha_bar_t 0.9999")
    x_t, data = torch.randn(2, 3, 2, 2, generator=generator)
    yield Case((x_t, torch.zeros(3), data), label="pure noise, alpha_bar_t = 0")


def _optimal_page(generator: torch.Generator) -> Case:
    x_t, data = torch.randn(1000, 2, generator=generator), torch.randn(64, 2, generator=generator)
    return Case(
        (x_t, _alpha_bars(1000, generator), data), label="1000 noisy points, 64 data points"
    )


def _loss_extra(candidate: Callable[..., Any]) -> str | None:
    calls = []

    def denoiser(x_t: Tensor, t: Tensor, cond: Any) -> Tensor:
        calls.append(t)
        return 0.5 * x_t

    x0, epsilon = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
    candidate(denoiser, x0, epsilon, torch.tensor([1, 2, 3]), torch.linspace(0.9, 0.1, 5))
    if len(calls) == 1:
        return None
    return (
        f"The loss is right, but the denoiser is called {len(calls)} times. It is the expensive "
        "part of training: call it once, and give its output a name."
    )


EXERCISES = (
    Exercise(
        "02.x0_from_epsilon",
        x0_from_epsilon,
        _two_and_alpha_bar,
        hints=(
            "Start from x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) epsilon. Everything in "
            "it is known but x0.",
            "First take the noise away, with its weight. What is left is x0 times its own weight. "
            "`a = expand_to(alpha_bar_t, x_t)` makes one number a picture fit whole pictures.",
            "return (x_t - (1 - a).sqrt() * epsilon) / ...",
        ),
        difficulty=1,
        minutes=5,
        mistakes=slips(
            """
            no_roots: `(1 - a).sqrt()` -> `(1 - a)`
                `a.sqrt()` -> `a`
                The square roots are missing. The weights in x_t are sqrt(alpha_bar_t) and sqrt(1 -
                alpha_bar_t); alpha_bar_t itself is a share of the variance.
            bare_epsilon: `(x_t - (1 - a).sqrt() * epsilon) / a.sqrt()` -> `x_t - epsilon`
                You took epsilon away without its weight. x_t holds only sqrt(1 - alpha_bar_t) of
                it, and only sqrt(alpha_bar_t) of x0.
            no_division: ` / a.sqrt()` -> ``
                What you return is sqrt(alpha_bar_t) times x0. The division by sqrt(alpha_bar_t) is
                missing.
            multiplied: `/ a.sqrt()` -> `* a.sqrt()`
                You multiply by sqrt(alpha_bar_t) at the end where you should divide: x_t holds x0
                made smaller, so make it larger again.
            plus: `x_t - (` -> `x_t + (`
                The sign: the noise was added on the way to x_t, so it is subtracted here.
            weights_swapped:
                `(x_t - (1 - a).sqrt() * epsilon) / a.sqrt()`
                -> `(x_t - a.sqrt() * epsilon) / (1 - a).sqrt()`
                The two weights are swapped. x0 has sqrt(alpha_bar_t), epsilon has sqrt(1 -
                alpha_bar_t).
            one_minus_root: `(1 - a).sqrt()` -> `(1 - a.sqrt())`
                The weight of epsilon is 1 - sqrt(alpha_bar_t) in yours. It is sqrt(1 -
                alpha_bar_t): first subtract, then take the root.
            divides_the_noise:
                `(x_t - (1 - a).sqrt() * epsilon) / a.sqrt()`
                -> `x_t - (1 - a).sqrt() * epsilon / a.sqrt()`
                Only the noise is divided by sqrt(alpha_bar_t). Brackets are missing: the division
                is for the whole difference.
            divides_the_picture:
                `(x_t - (1 - a).sqrt() * epsilon) / a.sqrt()`
                -> `x_t / a.sqrt() - (1 - a).sqrt() * epsilon`
                Only x_t is divided by sqrt(alpha_bar_t). The division is for the whole difference,
                x_t minus the noise.
            divides_by_the_noise: `/ a.sqrt()` -> `/ (1 - a).sqrt()`
                You divide by sqrt(1 - alpha_bar_t), the weight of the noise. What is left is x0
                times its own weight, sqrt(alpha_bar_t).
            """
        ),
        gradients=("x_t", "epsilon"),
        keeps_dtype=True,
        keeps_device=True,
    ),
    Exercise(
        "02.v_target",
        v_target,
        _two_and_alpha_bar,
        hints=(
            "Look at the drawing: v stands at a right angle to x_t. It points from the picture "
            "towards the noise.",
            "The same two weights as in x_t, but epsilon gets the weight that x0 has there, and "
            "x0 gets minus the weight that epsilon has there.",
            "return a.sqrt() * epsilon - ... * x0",
        ),
        difficulty=2,
        minutes=5,
        mistakes=slips(
            """
            negative:
                `a.sqrt() * epsilon - (1 - a).sqrt() * x0`
                -> `(1 - a).sqrt() * x0 - a.sqrt() * epsilon`
                Yours is -v. Epsilon has the plus sign and x0 the minus sign: v points from the
                picture towards the noise.
            x_t:
                `a.sqrt() * epsilon - (1 - a).sqrt() * x0`
                -> `a.sqrt() * x0 + (1 - a).sqrt() * epsilon`
                That is x_t itself. In v the weights change places, and one sign becomes a minus.
            weights_swapped:
                `a.sqrt() * epsilon - (1 - a).sqrt() * x0`
                -> `(1 - a).sqrt() * epsilon - a.sqrt() * x0`
                The weights are swapped: epsilon gets sqrt(alpha_bar_t) here, and x0 gets sqrt(1 -
                alpha_bar_t).
            plus: `epsilon - (` -> `epsilon + (`
                The sign of x0 is a minus. With a plus, v would not be at a right angle to x_t.
            no_roots: `(1 - a).sqrt()` -> `(1 - a)`
                `a.sqrt()` -> `a`
                The square roots are missing: the weights are sqrt(alpha_bar_t) and sqrt(1 -
                alpha_bar_t).
            one_minus_root: `(1 - a).sqrt()` -> `(1 - a.sqrt())`
                The weight of x0 is 1 - sqrt(alpha_bar_t) in yours. It is sqrt(1 - alpha_bar_t):
                first subtract, then take the root.
            flow_matching: `a.sqrt() * epsilon - (1 - a).sqrt() * x0` -> `epsilon - x0`
                epsilon - x0 is the velocity of flow matching, which lesson 12 comes to. Here both
                have a weight that depends on t.
            """
        ),
        gradients=("x0", "epsilon"),
        keeps_dtype=True,
        keeps_device=True,
    ),
    Exercise(
        "02.x0_from_v",
        x0_from_v,
        _x0_from_v_cases,
        hints=(
            "You have two equations, one for x_t and one for v, and two unknowns, x0 and epsilon. "
            "You want x0 alone.",
            "Multiply the equation of x_t by sqrt(alpha_bar_t), the one of v by "
            "sqrt(1 - alpha_bar_t), and subtract: epsilon drops out. The squares of the two "
            "weights add up to 1.",
            "return a.sqrt() * x_t - ... * v",
        ),
        difficulty=2,
        minutes=8,
        mistakes=slips(
            """
            through_epsilon:
                `a.sqrt() * x_t - (1 - a).sqrt() * v`
                -> `(x_t - (1 - a).sqrt() * ((1 - a).sqrt() * x_t + a.sqrt() * v)) / a.sqrt()`
                It is right wherever there is some signal, but it divides by sqrt(alpha_bar_t),
                which is 0 for pure noise. v needs no division; use that the squares of the two
                weights add up to 1.
            plus: `x_t - (` -> `x_t + (`
                The sign of v is a minus: v points towards the noise, away from x0.
            epsilon: `a.sqrt() * x_t - (1 - a).sqrt() * v` -> `(1 - a).sqrt() * x_t + a.sqrt() * v`
                That is epsilon. x0 has the weights the other way round, and a minus before v.
            weights_swapped:
                `a.sqrt() * x_t - (1 - a).sqrt() * v` -> `(1 - a).sqrt() * x_t - a.sqrt() * v`
                The weights are swapped: x_t gets sqrt(alpha_bar_t), v gets sqrt(1 - alpha_bar_t).
            no_roots: `(1 - a).sqrt()` -> `(1 - a)`
                `a.sqrt()` -> `a`
                The square roots are missing: the weights are sqrt(alpha_bar_t) and sqrt(1 -
                alpha_bar_t).
            v_as_epsilon:
                `a.sqrt() * x_t - (1 - a).sqrt() * v` -> `(x_t - (1 - a).sqrt() * v) / a.sqrt()`
                You treat v as if it were epsilon. v is a mix of epsilon and x0, so the formula of
                x0_from_epsilon does not hold for it.
            negative: `a.sqrt() * x_t - (1 - a).sqrt() * v` -> `(1 - a).sqrt() * v - a.sqrt() * x_t`
                Yours is -x0. Both signs are the wrong way round.
            """
        ),
        gradients=("x_t", "v"),
        keeps_dtype=True,
        keeps_device=True,
    ),
    Exercise(
        "02.denoising_loss",
        denoising_loss,
        _loss_cases,
        hints=(
            "Three parts: make x_t as in lesson 01, ask the denoiser, compare with the target "
            "that prediction_type names.",
            'The target is epsilon for "epsilon", x0 for "sample", and v_target(x0, epsilon, '
            'alpha_bar[t]) for "v_prediction". The denoiser is called as denoiser(x_t, t, None).',
            "return (denoiser(x_t, t, None) - ...).square().mean(): which target does "
            "prediction_type ask for?",
        ),
        difficulty=3,
        minutes=15,
        mistakes=slips(
            """
            always_epsilon: `targets[prediction_type]` -> `epsilon`
                You compare with epsilon whatever prediction_type says. The target is x0 for
                "sample" and v for "v_prediction".
            always_x0: `targets[prediction_type]` -> `x0`
                You compare with x0 whatever prediction_type says. The target is epsilon for
                "epsilon" and v for "v_prediction".
            against_x_t: `targets[prediction_type]` -> `x_t`
                You compare with x_t, the noisy picture that went in. The target is what was hidden
                in it: epsilon, x0 or v.
            names_swapped: `"epsilon": epsilon` -> `"epsilon": x0`
                `"sample": x0` -> `"sample": epsilon`
                Two targets are swapped: "epsilon" means the noise, "sample" the clean picture.
            sum: `.mean()` -> `.sum()`
                You sum over all numbers; the loss is their mean, so that it does not grow with the
                batch and the picture.
            sum_per_picture: `.mean()` -> `.flatten(1).sum(1).mean()`
                You sum over the numbers of a picture and average over pictures. The loss here is
                the mean over all of them, so that it does not grow with the picture.
            mean_per_picture: `.mean()` -> `.flatten(1).mean(1)`
                You return one number for each picture. One for the whole batch is expected: take
                the mean over the batch as well.
            no_mean: `.mean()` -> ``
                The squared errors are right, but their mean is missing at the end.
            root: `.mean()` -> `.mean().sqrt()`
                There is a square root at the end. The mean squared error has none.
            absolute: `.square()` -> `.abs()`
                You take the absolute error. The squared one is expected: its best answer is the
                mean, that of the absolute error is the median.
            signed: `.square()` -> ``
                The square is missing, so that errors up and down cancel each other.
            half: `.mean()` -> `.mean() / 2`
                Yours is half of what is expected: no factor 1/2 stands before the mean.
            """
        ),
        on_error=_told,
        extra=_loss_extra,
        gradients=("x0", "epsilon"),
    ),
    Exercise(
        "02.optimal_denoiser",
        optimal_denoiser,
        _optimal_cases,
        hints=(
            "Three parts: the squared distances (B, N) between each x_t and each shrunken data "
            "point, the weights that a softmax makes of them, the weighted mean of the data.",
            "`x_t[:, None]` has shape (B, 1, ...) and `data` has (N, ...): their difference is "
            "(B, N, ...). `.flatten(2).square().sum(2)` makes squared distances of it. The "
            "softmax runs over the data points, dim=1.",
            "weights = torch.softmax(-distance / (2 * ...), dim=1), with the variance of "
            'x_t around a shrunken data point; then torch.einsum("bn,n...->b...", '
            "weights, ...).",
        ),
        difficulty=4,
        minutes=20,
        mistakes=slips(
            """
            underflow: `torch.softmax(` -> `torch.exp(`
                `, dim=1)` -> `)`
                `weights, data` -> `weights / weights.sum(1, keepdim=True), data`
                It holds NaN where all exp(...) are 0 in float32. Take torch.softmax of the
                exponents: it subtracts the largest one first, so that one weight stays.
            not_normalised: `torch.softmax(` -> `torch.exp(`
                `, dim=1)` -> `)`
                The weights do not add up to 1. Divide by their sum, or let torch.softmax do both
                the exp and the division.
            stretched:
                `x_t[:, None] - a.sqrt()[:, None] * data` -> `(x_t / a.sqrt())[:, None] - data`
                `(1 - alpha_bar_t[:, None])` -> `((1 - alpha_bar_t) / alpha_bar_t)[:, None]`
                It is right wherever there is some signal, but it divides by sqrt(alpha_bar_t),
                which is 0 for pure noise. Shrink the data points instead of stretching x_t.
            weights: `torch.einsum("bn,n...->b...", weights, data)` -> `weights`
                You return the weights (B, N). The guess is the mean of the data points with these
                weights, of the shape of x_t.
            plus: `-distance` -> `distance`
                The minus sign before the distance is missing: the farthest data points get the
                largest weights.
            over_the_batch: `dim=1` -> `dim=0`
                The softmax runs over the batch. For each x_t the weights of all data points add up
                to 1, so it runs over dim=1 of (B, N).
            unscaled: `a.sqrt()[:, None] * data` -> `data`
                You compare x_t with the data points as they are. In x_t they are smaller: compare
                with sqrt(alpha_bar_t) x_i.
            no_root: `a.sqrt()[:, None]` -> `a[:, None]`
                You compare x_t with alpha_bar_t x_i; the weight of the picture in x_t is the root,
                sqrt(alpha_bar_t).
            not_squared: `.sum(2)` -> `.sum(2).sqrt()`
                The distance is not squared. A Gaussian has the squared distance in its exponent.
            no_two: `2 * ` -> ``
                The factor 2 is missing: the exponent is -distance / (2 * variance), with the
                variance 1 - alpha_bar_t.
            deviation: `(1 - alpha_bar_t[:, None])` -> `(1 - alpha_bar_t[:, None]).sqrt()`
                You divide by twice the standard deviation. The variance belongs there, 1 -
                alpha_bar_t without a root.
            no_variance: ` / (2 * (1 - alpha_bar_t[:, None]))` -> ``
                The squared distance is not divided by 2 (1 - alpha_bar_t), so that the weights do
                not know how much noise there is.
            mean_distance: `.sum(2)` -> `.mean(2)`
                You average the squared differences over a picture. The squared distance is their
                sum: every number of x_t is one more clue.
            nearest: `torch.einsum("bn,n...->b...", weights, data)` -> `data[distance.argmin(1)]`
                You return the nearest data point. The best guess is the mean of all of them,
                weighted by how likely each is.
            shrunk: `torch.einsum` -> `a.sqrt() * torch.einsum`
                Your guess is sqrt(alpha_bar_t) times the right one: average the data points
                themselves, not the shrunken ones that x_t is compared with.
            """
        ),
        keeps_dtype=True,
        page=_optimal_page,
    ),
)
