"""Lesson 02, learning to denoise: what is right, and what people get wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from course_utils.checks.exercise import Case, Exercise, Mistake
from course_utils.predictions import expand_to

SHAPES = ((2, 1, 1, 1), (3, 3, 4, 5), (4, 4, 8, 8), (5, 2))


def _alpha_bars(n: int, generator: torch.Generator) -> Tensor:
    """Shares of signal that differ from picture to picture, (n,) in [0.1, 0.9]."""
    return 0.1 + 0.8 * torch.rand(n, generator=generator)


def _roots(alpha_bar_t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    a = expand_to(alpha_bar_t, like)
    return a.sqrt(), (1 - a).sqrt()


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


def _x0_no_roots(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = expand_to(alpha_bar_t, x_t)
    return (x_t - (1 - a) * epsilon) / a


def _x0_no_division(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    return x_t - _roots(alpha_bar_t, x_t)[1] * epsilon


def _x0_times(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x_t)
    return (x_t - sigma * epsilon) * alpha


def _x0_plus(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x_t)
    return (x_t + sigma * epsilon) / alpha


def _x0_swapped(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x_t)
    return (x_t - alpha * epsilon) / sigma


def _x0_one_minus_root(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, _ = _roots(alpha_bar_t, x_t)
    return (x_t - (1 - alpha) * epsilon) / alpha


def _x0_divides_noise(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x_t)
    return x_t - sigma * epsilon / alpha


def _x0_divides_picture(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x_t)
    return x_t / alpha - sigma * epsilon


def _x0_bare_epsilon(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    return x_t - epsilon


# --- v -------------------------------------------------------------------------------------------


def v_target(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """v = sqrt(alpha_bar_t) epsilon - sqrt(1 - alpha_bar_t) x0."""
    a = expand_to(alpha_bar_t, x0)  # (B, 1, ..., 1)
    return a.sqrt() * epsilon - (1 - a).sqrt() * x0


def _v_negative(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    return -v_target(x0, epsilon, alpha_bar_t)


def _v_swapped(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x0)
    return sigma * epsilon - alpha * x0


def _v_plus(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x0)
    return alpha * epsilon + sigma * x0


def _v_is_x_t(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x0)
    return alpha * x0 + sigma * epsilon


def _v_no_roots(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = expand_to(alpha_bar_t, x0)
    return a * epsilon - (1 - a) * x0


def _v_one_minus_root(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, _ = _roots(alpha_bar_t, x0)
    return alpha * epsilon - (1 - alpha) * x0


def _v_straight(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    return epsilon - x0


def x0_from_v(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """x0 = sqrt(alpha_bar_t) x_t - sqrt(1 - alpha_bar_t) v."""
    a = expand_to(alpha_bar_t, x_t)  # (B, 1, ..., 1)
    return a.sqrt() * x_t - (1 - a).sqrt() * v


def _x0_from_v_cases(generator: torch.Generator) -> Iterator[Case]:
    yield from _two_and_alpha_bar(generator)
    x_t, v = torch.randn(2, 2, 3, 2, 2, generator=generator)
    yield Case((x_t, v, torch.zeros(2)), label="pure noise, alpha_bar_t = 0")


def _xv_plus(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x_t)
    return alpha * x_t + sigma * v


def _xv_swapped(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x_t)
    return sigma * x_t - alpha * v


def _xv_epsilon(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x_t)
    return sigma * x_t + alpha * v


def _xv_no_roots(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = expand_to(alpha_bar_t, x_t)
    return a * x_t - (1 - a) * v


def _xv_negative(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    return -x0_from_v(x_t, v, alpha_bar_t)


def _xv_as_epsilon(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x_t)
    return (x_t - sigma * v) / alpha


def _xv_through_epsilon(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    alpha, sigma = _roots(alpha_bar_t, x_t)
    return (x_t - sigma * (sigma * x_t + alpha * v)) / alpha


# --- the loss ------------------------------------------------------------------------------------


class WrongCall(ValueError):
    """The denoiser of a check was called with something else than it should be."""

    def __init__(self, told: str) -> None:
        super().__init__("the check's denoiser got something else than x_t, t and None")
        self.told = told


class WatchedDenoiser:
    """A denoiser that says so when it is not handed x_t, t and cond."""

    def __init__(self, x0: Tensor, epsilon: Tensor, t: Tensor, alpha_bar: Tensor) -> None:
        self.x0, self.epsilon, self.t, self.alpha_bar = x0, epsilon, t, alpha_bar

    def __repr__(self) -> str:
        return "a small denoiser"

    def __call__(self, x_t: Any, t: Any = "missing", cond: Any = "missing") -> Tensor:
        if isinstance(t, str) or isinstance(cond, str):
            count = 1 if isinstance(t, str) else 2
            raise WrongCall(
                f"The denoiser gets {count} argument{'s' * (count > 1)}. Here it always takes "
                "three, (x_t, t, cond); without a condition cond is None."
            )
        if not isinstance(x_t, Tensor) or x_t.shape != self.x0.shape:
            shape = tuple(x_t.shape) if isinstance(x_t, Tensor) else type(x_t).__name__
            raise WrongCall(
                f"The first thing that the denoiser gets has shape {shape}; expected x_t, of x0's "
                f"shape {tuple(self.x0.shape)}."
            )
        if x_t.device.type != "meta":
            self._look_at_x_t(x_t.detach().cpu())
            self._look_at_t(t)
        else:
            t = torch.as_tensor(t)
        return 0.6 * x_t + 0.1 * torch.sin(expand_to(t.to(x_t.dtype), x_t))

    def _look_at_x_t(self, x_t: Tensor) -> None:
        alpha, sigma = _roots(self.alpha_bar[self.t], self.x0)
        before, before_sigma = _roots(self.alpha_bar[self.t - 1], self.x0)
        x0, epsilon = self.x0, self.epsilon
        known = {
            "": alpha * x0 + sigma * epsilon,
            "The denoiser gets the clean picture x0. It must see the noisy one, x_t.": x0,
            "The denoiser gets pure noise. It must see x_t, the mix of x0 and noise.": epsilon,
            "x_t is mixed without the square roots: sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t) "
            "are the weights.": alpha**2 * x0 + sigma**2 * epsilon,
            "x_t is mixed with the weights the wrong way round: x0 gets sqrt(alpha_bar_t).": sigma
            * x0
            + alpha * epsilon,
            "x_t is x0 + epsilon. Both need their weights, sqrt(alpha_bar_t) for x0 and "
            "sqrt(1 - alpha_bar_t) for epsilon.": x0 + epsilon,
            "x_t has the noise of timestep t - 1: the table counts from 0, so alpha_bar[t] is "
            "right as it stands.": before * x0 + before_sigma * epsilon,
        }
        for message, value in known.items():
            if torch.allclose(x_t.to(value.dtype), value, rtol=1e-3, atol=1e-3):
                if message:
                    raise WrongCall(message)
                return
        raise WrongCall(
            "The x_t that the denoiser gets is not sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) "
            "epsilon. Mix in the epsilon of the arguments, not fresh noise, and give every picture "
            "the alpha_bar of its own t."
        )

    def _look_at_t(self, t: Any) -> None:
        t = torch.as_tensor(t).detach().cpu()
        if t.shape == self.t.shape and torch.equal(t.double(), self.t.double()):
            return
        if t.numel() == len(self.t) and torch.allclose(
            t.flatten().float(), self.alpha_bar[self.t].float()
        ):
            raise WrongCall(
                "The denoiser gets alpha_bar_t as its second argument; it wants the timesteps t."
            )
        raise WrongCall(
            "The second thing that the denoiser gets is not t. Hand on the timesteps (B,) as they "
            "came in: not divided by T, not shifted, not reshaped."
        )


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


def _error(*args: Any) -> Tensor:
    denoiser, x0, epsilon, t, alpha_bar, kind = args
    alpha, sigma = _roots(alpha_bar[t], x0)
    targets = {"epsilon": epsilon, "sample": x0, "v_prediction": alpha * epsilon - sigma * x0}
    output: Tensor = denoiser(alpha * x0 + sigma * epsilon, t, None)
    return output - targets[kind]


def _loss_sum(*args: Any) -> Tensor:
    return _error(*args).square().sum()


def _loss_sum_per_picture(*args: Any) -> Tensor:
    return _error(*args).square().flatten(1).sum(1).mean()


def _loss_mean_per_picture(*args: Any) -> Tensor:
    return _error(*args).square().flatten(1).mean(1)


def _loss_unreduced(*args: Any) -> Tensor:
    return _error(*args).square()


def _loss_root(*args: Any) -> Tensor:
    return _error(*args).square().mean().sqrt()


def _loss_absolute(*args: Any) -> Tensor:
    return _error(*args).abs().mean()


def _loss_signed(*args: Any) -> Tensor:
    return _error(*args).mean()


def _loss_half(*args: Any) -> Tensor:
    return _error(*args).square().mean() / 2


def _loss_always_epsilon(*args: Any) -> Tensor:
    return _error(*args[:5], "epsilon").square().mean()


def _loss_always_x0(*args: Any) -> Tensor:
    return _error(*args[:5], "sample").square().mean()


def _loss_against_x_t(
    denoiser: Any, x0: Tensor, epsilon: Tensor, t: Tensor, alpha_bar: Tensor, kind: str
) -> Tensor:
    alpha, sigma = _roots(alpha_bar[t], x0)
    x_t = alpha * x0 + sigma * epsilon
    return (denoiser(x_t, t, None) - x_t).square().mean()


def _loss_names_swapped(*args: Any) -> Tensor:
    other = {"epsilon": "sample", "sample": "epsilon"}
    return _error(*args[:5], other.get(args[5], args[5])).square().mean()


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
        alpha, sigma = _roots(alpha_bar_t, noise)
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


def _posterior(
    x_t: Tensor,
    alpha_bar_t: Tensor,
    data: Tensor,
    scale: Callable[[Tensor], Tensor] = torch.sqrt,
    factor: Callable[[Tensor], Tensor] = lambda a: -0.5 / (1 - a),
    dim: int = 1,
    power: float = 1.0,
    reduce: Callable[[Tensor], Tensor] = lambda x: x.sum(2),
) -> Tensor:
    """`optimal_denoiser`, with one part of it changed."""
    a = expand_to(alpha_bar_t, x_t)
    difference = x_t[:, None] - scale(a)[:, None] * data
    distance = reduce(difference.flatten(2).square()) ** power
    weights = torch.softmax(factor(alpha_bar_t[:, None]) * distance, dim=dim)
    return torch.einsum("bn,n...->b...", weights, data)


def _opt_plus(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return _posterior(x_t, alpha_bar_t, data, factor=lambda a: 0.5 / (1 - a))


def _opt_no_root(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return _posterior(x_t, alpha_bar_t, data, scale=lambda a: a)


def _opt_unscaled(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return _posterior(x_t, alpha_bar_t, data, scale=torch.ones_like)


def _opt_no_two(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return _posterior(x_t, alpha_bar_t, data, factor=lambda a: -1 / (1 - a))


def _opt_sigma(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return _posterior(x_t, alpha_bar_t, data, factor=lambda a: -0.5 / (1 - a).sqrt())


def _opt_no_variance(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return _posterior(x_t, alpha_bar_t, data, factor=lambda a: -torch.ones_like(a))


def _opt_not_squared(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return _posterior(x_t, alpha_bar_t, data, power=0.5)


def _opt_mean_distance(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return _posterior(x_t, alpha_bar_t, data, reduce=lambda x: x.mean(2))


def _opt_over_batch(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return _posterior(x_t, alpha_bar_t, data, dim=0)


def _opt_nearest(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    a = expand_to(alpha_bar_t, x_t).sqrt()[:, None]
    distance = (x_t[:, None] - a * data).flatten(2).square().sum(2)
    return data[distance.argmin(1)]


def _opt_shrunk(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return expand_to(alpha_bar_t, x_t).sqrt() * optimal_denoiser(x_t, alpha_bar_t, data)


def _opt_weights(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    a = expand_to(alpha_bar_t, x_t).sqrt()[:, None]
    distance = (x_t[:, None] - a * data).flatten(2).square().sum(2)
    return torch.softmax(-distance / (2 * (1 - alpha_bar_t[:, None])), dim=1)


def _opt_underflow(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    a = expand_to(alpha_bar_t, x_t).sqrt()[:, None]
    distance = (x_t[:, None] - a * data).flatten(2).square().sum(2)
    weights = (-distance / (2 * (1 - alpha_bar_t[:, None]))).exp()
    return torch.einsum("bn,n...->b...", weights / weights.sum(1, keepdim=True), data)


def _opt_not_normalised(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    a = expand_to(alpha_bar_t, x_t).sqrt()[:, None]
    distance = (x_t[:, None] - a * data).flatten(2).square().sum(2)
    weights = (-distance / (2 * (1 - alpha_bar_t[:, None]))).exp()
    return torch.einsum("bn,n...->b...", weights, data)


def _opt_divided(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    a = expand_to(alpha_bar_t, x_t)
    distance = ((x_t / a.sqrt())[:, None] - data).flatten(2).square().sum(2)
    variance = ((1 - alpha_bar_t) / alpha_bar_t)[:, None]
    return torch.einsum("bn,n...->b...", torch.softmax(-distance / (2 * variance), 1), data)


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
        mistakes=(
            Mistake(
                "The square roots are missing. The weights in x_t are sqrt(alpha_bar_t) and "
                "sqrt(1 - alpha_bar_t); alpha_bar_t itself is a share of the variance.",
                _x0_no_roots,
            ),
            Mistake(
                "You took epsilon away without its weight. x_t holds only sqrt(1 - alpha_bar_t) "
                "of it, and only sqrt(alpha_bar_t) of x0.",
                _x0_bare_epsilon,
            ),
            Mistake(
                "What you return is sqrt(alpha_bar_t) times x0. The division by "
                "sqrt(alpha_bar_t) is missing.",
                _x0_no_division,
            ),
            Mistake(
                "You multiply by sqrt(alpha_bar_t) at the end where you should divide: x_t holds "
                "x0 made smaller, so make it larger again.",
                _x0_times,
            ),
            Mistake(
                "The sign: the noise was added on the way to x_t, so it is subtracted here.",
                _x0_plus,
            ),
            Mistake(
                "The two weights are swapped. x0 has sqrt(alpha_bar_t), epsilon has "
                "sqrt(1 - alpha_bar_t).",
                _x0_swapped,
            ),
            Mistake(
                "The weight of epsilon is 1 - sqrt(alpha_bar_t) in yours. It is "
                "sqrt(1 - alpha_bar_t): first subtract, then take the root.",
                _x0_one_minus_root,
            ),
            Mistake(
                "Only the noise is divided by sqrt(alpha_bar_t). Brackets are missing: the "
                "division is for the whole difference.",
                _x0_divides_noise,
            ),
            Mistake(
                "Only x_t is divided by sqrt(alpha_bar_t). The division is for the whole "
                "difference, x_t minus the noise.",
                _x0_divides_picture,
            ),
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
        mistakes=(
            Mistake(
                "Yours is -v. Epsilon has the plus sign and x0 the minus sign: v points from the "
                "picture towards the noise.",
                _v_negative,
            ),
            Mistake(
                "That is x_t itself. In v the weights change places, and one sign becomes a minus.",
                _v_is_x_t,
            ),
            Mistake(
                "The weights are swapped: epsilon gets sqrt(alpha_bar_t) here, and x0 gets "
                "sqrt(1 - alpha_bar_t).",
                _v_swapped,
            ),
            Mistake(
                "The sign of x0 is a minus. With a plus, v would not be at a right angle to x_t.",
                _v_plus,
            ),
            Mistake(
                "The square roots are missing: the weights are sqrt(alpha_bar_t) and "
                "sqrt(1 - alpha_bar_t).",
                _v_no_roots,
            ),
            Mistake(
                "The weight of x0 is 1 - sqrt(alpha_bar_t) in yours. It is sqrt(1 - alpha_bar_t): "
                "first subtract, then take the root.",
                _v_one_minus_root,
            ),
            Mistake(
                "epsilon - x0 is the velocity of flow matching, which lesson 12 comes to. Here "
                "both have a weight that depends on t.",
                _v_straight,
            ),
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
        mistakes=(
            Mistake(
                "It is right wherever there is some signal, but it divides by sqrt(alpha_bar_t), "
                "which is 0 for pure noise. v needs no division; use that the squares of the two "
                "weights add up to 1.",
                _xv_through_epsilon,
            ),
            Mistake(
                "The sign of v is a minus: v points towards the noise, away from x0.",
                _xv_plus,
            ),
            Mistake(
                "That is epsilon. x0 has the weights the other way round, and a minus before v.",
                _xv_epsilon,
            ),
            Mistake(
                "The weights are swapped: x_t gets sqrt(alpha_bar_t), v gets "
                "sqrt(1 - alpha_bar_t).",
                _xv_swapped,
            ),
            Mistake(
                "The square roots are missing: the weights are sqrt(alpha_bar_t) and "
                "sqrt(1 - alpha_bar_t).",
                _xv_no_roots,
            ),
            Mistake(
                "You treat v as if it were epsilon. v is a mix of epsilon and x0, so the formula "
                "of x0_from_epsilon does not hold for it.",
                _xv_as_epsilon,
            ),
            Mistake("Yours is -x0. Both signs are the wrong way round.", _xv_negative),
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
            "return (denoiser(x_t, t, None) - target).square().mean()",
        ),
        difficulty=3,
        minutes=15,
        mistakes=(
            Mistake(
                "You compare with epsilon whatever prediction_type says. The target is x0 for "
                '"sample" and v for "v_prediction".',
                _loss_always_epsilon,
            ),
            Mistake(
                "You compare with x0 whatever prediction_type says. The target is epsilon for "
                '"epsilon" and v for "v_prediction".',
                _loss_always_x0,
            ),
            Mistake(
                "You compare with x_t, the noisy picture that went in. The target is what was "
                "hidden in it: epsilon, x0 or v.",
                _loss_against_x_t,
            ),
            Mistake(
                'Two targets are swapped: "epsilon" means the noise, "sample" the clean picture.',
                _loss_names_swapped,
            ),
            Mistake(
                "You sum over all numbers; the loss is their mean, so that it does not grow with "
                "the batch and the picture.",
                _loss_sum,
            ),
            Mistake(
                "You sum over the numbers of a picture and average over pictures. The loss here "
                "is the mean over all of them, so that it does not grow with the picture.",
                _loss_sum_per_picture,
            ),
            Mistake(
                "You return one number for each picture. One for the whole batch is expected: "
                "take the mean over the batch as well.",
                _loss_mean_per_picture,
            ),
            Mistake(
                "The squared errors are right, but their mean is missing at the end.",
                _loss_unreduced,
            ),
            Mistake(
                "There is a square root at the end. The mean squared error has none.",
                _loss_root,
            ),
            Mistake(
                "You take the absolute error. The squared one is expected: its best answer is the "
                "mean, that of the absolute error is the median.",
                _loss_absolute,
            ),
            Mistake(
                "The square is missing, so that errors up and down cancel each other.",
                _loss_signed,
            ),
            Mistake(
                "Yours is half of what is expected: no factor 1/2 stands before the mean.",
                _loss_half,
            ),
        ),
        on_error=_told,
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
            "weights = torch.softmax(-distance / (2 * (1 - alpha_bar_t[:, None])), dim=1), then "
            'torch.einsum("bn,n...->b...", weights, data)',
        ),
        difficulty=4,
        minutes=20,
        mistakes=(
            Mistake(
                "It holds NaN where all exp(...) are 0 in float32. Take torch.softmax of the "
                "exponents: it subtracts the largest one first, so that one weight stays.",
                _opt_underflow,
            ),
            Mistake(
                "The weights do not add up to 1. Divide by their sum, or let torch.softmax do both "
                "the exp and the division.",
                _opt_not_normalised,
            ),
            Mistake(
                "It is right wherever there is some signal, but it divides by sqrt(alpha_bar_t), "
                "which is 0 for pure noise. Shrink the data points instead of stretching x_t.",
                _opt_divided,
            ),
            Mistake(
                "You return the weights (B, N). The guess is the mean of the data points with "
                "these weights, of the shape of x_t.",
                _opt_weights,
            ),
            Mistake(
                "The minus sign before the distance is missing: the farthest data points get the "
                "largest weights.",
                _opt_plus,
            ),
            Mistake(
                "The softmax runs over the batch. For each x_t the weights of all data points add "
                "up to 1, so it runs over dim=1 of (B, N).",
                _opt_over_batch,
            ),
            Mistake(
                "You compare x_t with the data points as they are. In x_t they are smaller: "
                "compare with sqrt(alpha_bar_t) x_i.",
                _opt_unscaled,
            ),
            Mistake(
                "You compare x_t with alpha_bar_t x_i; the weight of the picture in x_t is the "
                "root, sqrt(alpha_bar_t).",
                _opt_no_root,
            ),
            Mistake(
                "The distance is not squared. A Gaussian has the squared distance in its exponent.",
                _opt_not_squared,
            ),
            Mistake(
                "The factor 2 is missing: the exponent is -distance / (2 * variance), with the "
                "variance 1 - alpha_bar_t.",
                _opt_no_two,
            ),
            Mistake(
                "You divide by twice the standard deviation. The variance belongs there, "
                "1 - alpha_bar_t without a root.",
                _opt_sigma,
            ),
            Mistake(
                "The squared distance is not divided by 2 (1 - alpha_bar_t), so that the weights "
                "do not know how much noise there is.",
                _opt_no_variance,
            ),
            Mistake(
                "You average the squared differences over a picture. The squared distance is "
                "their sum: every number of x_t is one more clue.",
                _opt_mean_distance,
            ),
            Mistake(
                "You return the nearest data point. The best guess is the mean of all of them, "
                "weighted by how likely each is.",
                _opt_nearest,
            ),
            Mistake(
                "Your guess is sqrt(alpha_bar_t) times the right one: average the data points "
                "themselves, not the shrunken ones that x_t is compared with.",
                _opt_shrunk,
            ),
        ),
        keeps_dtype=True,
    ),
)
