"""Answers to the exercises of lesson 02, as people write them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.schedules import NoiseSchedule


def spread(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


# --- x0_from_epsilon -----------------------------------------------------------------------------


def x0_without_roots(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    return x_t / a - epsilon * (1 - a) / a


def x0_never_divided(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    return x_t - torch.sqrt(1 - spread(alpha_bar_t, x_t)) * epsilon


def x0_brackets_forgotten(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    return x_t - torch.sqrt(1 - a) * epsilon / torch.sqrt(a)


def x0_not_broadcast(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    return (x_t - (1 - alpha_bar_t).sqrt() * epsilon) / alpha_bar_t.sqrt()


def x0_in_place(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    x_t -= (1 - a).sqrt() * epsilon
    x_t /= a.sqrt()
    return x_t


def x0_detached(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    return (x_t - (1 - a).sqrt() * epsilon.detach()) / a.sqrt()


def x0_always_float32(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t).float()
    return (x_t.float() - (1 - a).sqrt() * epsilon.float()) / a.sqrt()


def x0_first_alpha_for_all(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = alpha_bar_t[0]
    return (x_t - (1 - a).sqrt() * epsilon) / a.sqrt()


def x0_nothing(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> None:
    (x_t - epsilon) / 2


def x0_loop(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    pictures = [
        (x - torch.sqrt(1 - a) * e) / torch.sqrt(a)
        for x, e, a in zip(x_t, epsilon, alpha_bar_t, strict=True)
    ]
    return torch.stack(pictures)


def x0_noise_to_signal(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    return x_t * a**-0.5 - ((1 - a) / a) ** 0.5 * epsilon


# --- v_target ------------------------------------------------------------------------------------


def v_negative(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x0)
    return torch.sqrt(1 - a) * x0 - torch.sqrt(a) * epsilon


def v_swapped(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x0)
    return torch.sqrt(1 - a) * epsilon - torch.sqrt(a) * x0


def v_mix(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x0)
    return torch.sqrt(a) * x0 + torch.sqrt(1 - a) * epsilon


def v_straight(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    return epsilon - x0


def v_no_roots(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x0)
    return a * (epsilon + x0) - x0


def v_not_broadcast(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    return alpha_bar_t**0.5 * epsilon - (1 - alpha_bar_t) ** 0.5 * x0


def v_numpy(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Any:
    a = spread(alpha_bar_t, x0).numpy()
    return a**0.5 * epsilon.numpy() - (1 - a) ** 0.5 * x0.numpy()


def v_of_the_mean(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = float(alpha_bar_t.mean())
    return math.sqrt(a) * epsilon - math.sqrt(1 - a) * x0


def v_angle(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    angle = spread(torch.acos(alpha_bar_t.sqrt()), x0)
    return angle.cos() * epsilon - angle.sin() * x0


def v_loop(x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    v = torch.zeros_like(x0)
    for i, a in enumerate(alpha_bar_t):
        v[i] = a.sqrt() * epsilon[i] - (1 - a).sqrt() * x0[i]
    return v


# --- x0_from_v -----------------------------------------------------------------------------------


def xv_plus(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    return torch.sqrt(a) * x_t + torch.sqrt(1 - a) * v


def xv_epsilon(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    return torch.sqrt(a) * v + torch.sqrt(1 - a) * x_t


def xv_detour(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    epsilon = torch.sqrt(1 - a) * x_t + torch.sqrt(a) * v
    return (x_t - torch.sqrt(1 - a) * epsilon) / torch.sqrt(a)


def xv_like_epsilon(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    return (x_t - torch.sqrt(1 - a) * v) / torch.sqrt(a)


def xv_no_roots(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    return a * x_t - v + a * v


def xv_twice(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    return 2 * (torch.sqrt(a) * x_t - torch.sqrt(1 - a) * v)


def xv_list(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> list[Tensor]:
    a = spread(alpha_bar_t, x_t)
    return [torch.sqrt(a) * x_t - torch.sqrt(1 - a) * v]


def xv_loop(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    return torch.stack(
        [a**0.5 * x - (1 - a) ** 0.5 * w for x, w, a in zip(x_t, v, alpha_bar_t, strict=True)]
    )


def xv_einsum(x_t: Tensor, v: Tensor, alpha_bar_t: Tensor) -> Tensor:
    picture = torch.einsum("b,b...->b...", alpha_bar_t.sqrt(), x_t)
    return picture - torch.einsum("b,b...->b...", (1 - alpha_bar_t).sqrt(), v)


# --- denoising_loss ------------------------------------------------------------------------------


def mixed(x0: Tensor, epsilon: Tensor, a: Tensor) -> Tensor:
    a = spread(a, x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * epsilon


def wanted(x0: Tensor, epsilon: Tensor, a: Tensor, kind: str) -> Tensor:
    if kind == "epsilon":
        return epsilon
    a = spread(a, x0)
    return x0 if kind == "sample" else a.sqrt() * epsilon - (1 - a).sqrt() * x0


def loss_clean_input(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    return F.mse_loss(denoiser(x0, t, None), wanted(x0, epsilon, alpha_bar[t], prediction_type))


def loss_fresh_noise(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    epsilon = torch.randn_like(x0)
    x_t = mixed(x0, epsilon, alpha_bar[t])
    return F.mse_loss(denoiser(x_t, t, None), wanted(x0, epsilon, alpha_bar[t], prediction_type))


def loss_t_as_share(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    x_t = mixed(x0, epsilon, alpha_bar[t])
    share = t / len(alpha_bar)
    return F.mse_loss(
        denoiser(x_t, share, None), wanted(x0, epsilon, alpha_bar[t], prediction_type)
    )


def loss_alpha_bar_for_t(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    a = alpha_bar[t]
    x_t = mixed(x0, epsilon, a)
    return F.mse_loss(denoiser(x_t, a, None), wanted(x0, epsilon, a, prediction_type))


def loss_without_cond(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    x_t = mixed(x0, epsilon, alpha_bar[t])
    return F.mse_loss(denoiser(x_t, t), wanted(x0, epsilon, alpha_bar[t], prediction_type))


def loss_no_roots(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    a = spread(alpha_bar[t], x0)
    x_t = a * x0 + (1 - a) * epsilon
    return F.mse_loss(denoiser(x_t, t, None), wanted(x0, epsilon, alpha_bar[t], prediction_type))


def loss_only_epsilon(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    return F.mse_loss(denoiser(mixed(x0, epsilon, alpha_bar[t]), t, None), epsilon)


def loss_sum(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    output = denoiser(mixed(x0, epsilon, alpha_bar[t]), t, None)
    target = wanted(x0, epsilon, alpha_bar[t], prediction_type)
    return F.mse_loss(output, target, reduction="sum")


def loss_per_picture(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    output = denoiser(mixed(x0, epsilon, alpha_bar[t]), t, None)
    errors = (output - wanted(x0, epsilon, alpha_bar[t], prediction_type)) ** 2
    return errors.flatten(1).mean(dim=1)


def loss_l1(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    output = denoiser(mixed(x0, epsilon, alpha_bar[t]), t, None)
    return F.l1_loss(output, wanted(x0, epsilon, alpha_bar[t], prediction_type))


def loss_number(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    output = denoiser(mixed(x0, epsilon, alpha_bar[t]), t, None)
    return F.mse_loss(output, wanted(x0, epsilon, alpha_bar[t], prediction_type)).item()


def loss_no_grad(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    with torch.no_grad():
        output = denoiser(mixed(x0, epsilon, alpha_bar[t]), t, None)
    return F.mse_loss(output, wanted(x0, epsilon, alpha_bar[t], prediction_type))


def loss_other_name(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    a = spread(alpha_bar[t], x0)
    targets = {"epsilon": epsilon, "x0": x0, "v": a.sqrt() * epsilon - (1 - a).sqrt() * x0}
    output = denoiser(mixed(x0, epsilon, alpha_bar[t]), t, None)
    return F.mse_loss(output, targets[prediction_type])


def loss_mse(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    output = denoiser(mixed(x0, epsilon, alpha_bar[t]), t, None)
    return F.mse_loss(output, wanted(x0, epsilon, alpha_bar[t], prediction_type))


def loss_loop(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    x_t = torch.stack(
        [
            torch.sqrt(alpha_bar[i]) * x + torch.sqrt(1 - alpha_bar[i]) * e
            for x, e, i in zip(x0, epsilon, t, strict=True)
        ]
    )
    output, total = denoiser(x_t, t, None), 0
    for i in range(len(x0)):
        target = wanted(x0[i : i + 1], epsilon[i : i + 1], alpha_bar[t[i : i + 1]], prediction_type)
        total = total + ((output[i] - target[0]) ** 2).mean()
    return total / len(x0)


# --- optimal_denoiser ----------------------------------------------------------------------------


def squared(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return (
        (x_t[:, None] - spread(alpha_bar_t, x_t)[:, None].sqrt() * data).flatten(2).pow(2).sum(-1)
    )


def mean_of(weights: Tensor, data: Tensor) -> Tensor:
    return (weights @ data.flatten(1)).unflatten(1, data.shape[1:])


def opt_naive_exp(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    w = torch.exp(-squared(x_t, alpha_bar_t, data) / (2 * (1 - alpha_bar_t)[:, None]))
    return mean_of(w / w.sum(dim=1, keepdim=True), data)


def opt_wrong_axis(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    w = F.softmax(-squared(x_t, alpha_bar_t, data) / (2 * (1 - alpha_bar_t)[:, None]), dim=0)
    return mean_of(w, data)


def opt_plain_distance(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    far = squared(x_t, alpha_bar_t, data).sqrt()
    return mean_of(F.softmax(-far / (2 * (1 - alpha_bar_t)[:, None]), dim=1), data)


def opt_data_not_shrunk(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    far = torch.cdist(x_t.flatten(1), data.flatten(1)) ** 2
    return mean_of(F.softmax(-far / (2 * (1 - alpha_bar_t)[:, None]), dim=1), data)


def opt_no_two(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    w = F.softmax(-squared(x_t, alpha_bar_t, data) / (1 - alpha_bar_t)[:, None], dim=1)
    return mean_of(w, data)


def opt_nearest(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return data[squared(x_t, alpha_bar_t, data).argmin(dim=1)]


def opt_stretched(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    clean = x_t / spread(alpha_bar_t, x_t).sqrt()
    far = (clean[:, None] - data).flatten(2).pow(2).sum(-1)
    exponent = -far * alpha_bar_t[:, None] / (2 * (1 - alpha_bar_t[:, None]))
    return mean_of(F.softmax(exponent, dim=1), data)


def opt_weights_only(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    return F.softmax(-squared(x_t, alpha_bar_t, data) / (2 * (1 - alpha_bar_t)[:, None]), dim=1)


def opt_flat(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    w = F.softmax(-squared(x_t, alpha_bar_t, data) / (2 * (1 - alpha_bar_t)[:, None]), dim=1)
    return w @ data.flatten(1)


def opt_variance_not_broadcast(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    w = F.softmax(-squared(x_t, alpha_bar_t, data) / (2 * (1 - alpha_bar_t)), dim=1)
    return mean_of(w, data)


def opt_expanded_square(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    x, points, a = x_t.flatten(1), data.flatten(1), alpha_bar_t[:, None]
    exponent = (a.sqrt() * x @ points.T - a / 2 * points.square().sum(1)) / (1 - a)
    return mean_of(F.softmax(exponent, dim=1), data)


def opt_logsumexp(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    log_w = -squared(x_t, alpha_bar_t, data) / (2 * (1 - alpha_bar_t)[:, None])
    return mean_of((log_w - log_w.logsumexp(dim=1, keepdim=True)).exp(), data)


def opt_loop(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    guesses = []
    for x, a in zip(x_t.double(), alpha_bar_t.tolist(), strict=True):
        exponents = torch.stack(
            [-((x - math.sqrt(a) * point) ** 2).sum() / (2 * (1 - a)) for point in data.double()]
        )
        w = torch.softmax(exponents, dim=0)
        guesses.append(sum(w[i] * data[i].double() for i in range(len(data))))
    return torch.stack(guesses).to(data.dtype)  # type: ignore[arg-type]


# --- from readers of the pages ---


def loss_of_the_page(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    x_t = NoiseSchedule.cosine().add_noise(x0, epsilon, t)
    return F.mse_loss(denoiser(x_t, t, None), wanted(x0, epsilon, alpha_bar[t], prediction_type))


def loss_asks_twice(denoiser, x0, epsilon, t, alpha_bar, prediction_type="epsilon"):  # type: ignore[no-untyped-def]
    x_t = mixed(x0, epsilon, alpha_bar[t])
    assert denoiser(x_t, t, None).shape == x0.shape
    return F.mse_loss(denoiser(x_t, t, None), wanted(x0, epsilon, alpha_bar[t], prediction_type))


def x0_divided_by_the_noise(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    return (x_t - torch.sqrt(1 - a) * epsilon) / torch.sqrt(1 - a)


def x0_clamped(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    a = spread(alpha_bar_t, x_t)
    return ((x_t - torch.sqrt(1 - a) * epsilon) / torch.sqrt(a)).clamp(-1, 1)


def x0_one_row_off(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    x0 = x0_loop(x_t, epsilon, alpha_bar_t)
    return torch.cat([x0[:1] + 2e-3, x0[1:]])


def x0_flat(x_t: Tensor, epsilon: Tensor, alpha_bar_t: Tensor) -> Tensor:
    return x0_loop(x_t, epsilon, alpha_bar_t).flatten(1)


def opt_double_loop(x_t: Tensor, alpha_bar_t: Tensor, data: Tensor) -> Tensor:
    guesses = []
    for x, a in zip(x_t, alpha_bar_t, strict=True):
        exponents = [-((x - a.sqrt() * d) ** 2).sum() / (2 * (1 - a)) for d in data]
        weights = torch.stack(exponents).softmax(0)
        guesses.append(sum(w * d for w, d in zip(weights, data, strict=True)))
    return torch.stack(guesses)


WRONG = [
    ("02.x0_from_epsilon", x0_without_roots, "no_roots"),
    ("02.x0_from_epsilon", x0_never_divided, "no_division"),
    ("02.x0_from_epsilon", x0_brackets_forgotten, "divides_the_noise"),
    ("02.x0_from_epsilon", x0_not_broadcast, "alpha_bar_t has shape (B,)"),
    ("02.x0_from_epsilon", x0_in_place, "changes its argument x_t in place"),
    ("02.x0_from_epsilon", x0_detached, "no gradient flows back to epsilon"),
    ("02.x0_from_epsilon", x0_always_float32, "dtype float32; expected float64"),
    ("02.x0_from_epsilon", x0_first_alpha_for_all, "other values than expected"),
    ("02.x0_from_epsilon", x0_nothing, "is a `return` missing?"),
    ("02.v_target", v_negative, "negative"),
    ("02.v_target", v_swapped, "weights_swapped"),
    ("02.v_target", v_mix, "x_t"),
    ("02.v_target", v_straight, "flow_matching"),
    ("02.v_target", v_no_roots, "no_roots"),
    ("02.v_target", v_not_broadcast, "alpha_bar_t has shape (B,)"),
    ("02.v_target", v_numpy, "expected a torch.Tensor"),
    ("02.v_target", v_of_the_mean, "other values than expected"),
    ("02.x0_from_v", xv_plus, "plus"),
    ("02.x0_from_v", xv_epsilon, "epsilon"),
    ("02.x0_from_v", xv_detour, "through_epsilon"),
    ("02.x0_from_v", xv_like_epsilon, "v_as_epsilon"),
    ("02.x0_from_v", xv_no_roots, "no_roots"),
    ("02.x0_from_v", xv_twice, "2 times the expected one"),
    ("02.x0_from_v", xv_list, "expected a torch.Tensor"),
    ("02.denoising_loss", loss_clean_input, "gets the clean picture x0"),
    ("02.denoising_loss", loss_fresh_noise, "not fresh noise"),
    ("02.denoising_loss", loss_t_as_share, "not divided by T"),
    ("02.denoising_loss", loss_alpha_bar_for_t, "gets alpha_bar_t as its second argument"),
    ("02.denoising_loss", loss_without_cond, "always takes three, (x_t, t, cond)"),
    ("02.denoising_loss", loss_no_roots, "mixed without the square roots"),
    ("02.denoising_loss", loss_only_epsilon, "always_epsilon"),
    ("02.denoising_loss", loss_sum, "sum"),
    ("02.denoising_loss", loss_per_picture, "mean_per_picture"),
    ("02.denoising_loss", loss_l1, "absolute"),
    ("02.denoising_loss", loss_number, "no gradient can be taken"),
    ("02.denoising_loss", loss_no_grad, "no gradient flows back to x0"),
    ("02.denoising_loss", loss_other_name, "It raises KeyError"),
    ("02.optimal_denoiser", opt_naive_exp, "underflow"),
    ("02.optimal_denoiser", opt_wrong_axis, "over_the_batch"),
    ("02.optimal_denoiser", opt_plain_distance, "not_squared"),
    ("02.optimal_denoiser", opt_data_not_shrunk, "unscaled"),
    ("02.optimal_denoiser", opt_no_two, "no_two"),
    ("02.optimal_denoiser", opt_nearest, "nearest"),
    ("02.optimal_denoiser", opt_stretched, "stretched"),
    ("02.optimal_denoiser", opt_weights_only, "weights"),
    ("02.optimal_denoiser", opt_flat, "in another shape"),
    ("02.optimal_denoiser", opt_variance_not_broadcast, "The shapes don't fit"),
    ("02.denoising_loss", loss_of_the_page, "mixed with the page's own schedule"),
    ("02.denoising_loss", loss_asks_twice, "the denoiser is called 2 times"),
    ("02.x0_from_epsilon", x0_divided_by_the_noise, "divides_by_the_noise"),
    ("02.x0_from_epsilon", x0_clamped, "the expected one, clipped to [-1, 1]"),
    ("02.x0_from_epsilon", x0_one_row_off, "has other values than expected"),
    ("02.x0_from_epsilon", x0_flat, "the right number of numbers, in another shape"),
]

RIGHT = [
    ("02.x0_from_epsilon", x0_loop),
    ("02.x0_from_epsilon", x0_noise_to_signal),
    ("02.v_target", v_angle),
    ("02.v_target", v_loop),
    ("02.x0_from_v", xv_loop),
    ("02.x0_from_v", xv_einsum),
    ("02.denoising_loss", loss_mse),
    ("02.denoising_loss", loss_loop),
    ("02.optimal_denoiser", opt_expanded_square),
    ("02.optimal_denoiser", opt_logsumexp),
    ("02.optimal_denoiser", opt_loop),
    ("02.optimal_denoiser", opt_double_loop),
]
