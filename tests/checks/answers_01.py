"""Wrong and right answers to the exercises of lesson 01; see test_answers.py."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

# --- forward_step --------------------------------------------------------------------------------


def step_without_roots(x_prev, epsilon, beta_t):
    return x_prev - beta_t * x_prev + beta_t * epsilon


def step_noise_without_root(x_prev, epsilon, beta_t):
    return torch.sqrt(1 - beta_t) * x_prev + beta_t * epsilon


def step_picture_without_root(x_prev, epsilon, beta_t):
    return (1 - beta_t) * x_prev + beta_t**0.5 * epsilon


def step_explodes(x_prev, epsilon, beta_t):
    return x_prev + math.sqrt(beta_t) * epsilon


def step_swapped(x_prev, epsilon, beta_t):
    return beta_t**0.5 * x_prev + (1 - beta_t) ** 0.5 * epsilon


def step_minus(x_prev, epsilon, beta_t):
    return (1 - beta_t) ** 0.5 * x_prev - beta_t**0.5 * epsilon


def step_own_noise(x_prev, epsilon, beta_t):
    return (1 - beta_t) ** 0.5 * x_prev + beta_t**0.5 * torch.randn(x_prev.shape)


def step_in_place(x_prev, epsilon, beta_t):
    x_prev *= (1 - beta_t) ** 0.5
    x_prev += beta_t**0.5 * epsilon
    return x_prev


def step_forgets_return(x_prev, epsilon, beta_t):
    (1 - beta_t) ** 0.5 * x_prev + beta_t**0.5 * epsilon


def step_detached(x_prev, epsilon, beta_t):
    return (1 - beta_t) ** 0.5 * x_prev.detach() + beta_t**0.5 * epsilon


def step_mean_only(x_prev, epsilon, beta_t):
    return (1 - beta_t).sqrt() * x_prev + 0 * epsilon


def step_with_names(x_prev, epsilon, beta_t):
    return (1 - beta).sqrt() * x_prev + beta.sqrt() * epsilon  # noqa: F821


def step_right_in_words(x_prev, epsilon, beta_t):
    keep = torch.sqrt(torch.ones_like(beta_t) - beta_t)
    return torch.add(keep.mul(x_prev), torch.pow(beta_t, 0.5).mul(epsilon))


def step_right_with_floats(x_prev, epsilon, beta_t):
    beta = float(beta_t)
    return math.sqrt(1 - beta) * x_prev + math.sqrt(beta) * epsilon


# --- linear_betas --------------------------------------------------------------------------------


def betas_miss_the_end(beta_start, beta_end, num_train_timesteps):
    step = (beta_end - beta_start) / num_train_timesteps
    return torch.tensor([beta_start + i * step for i in range(num_train_timesteps)])


def betas_miss_the_start(beta_start, beta_end, num_train_timesteps):
    i = torch.arange(1, num_train_timesteps + 1)
    return beta_start + i / num_train_timesteps * (beta_end - beta_start)


def betas_one_too_many(beta_start, beta_end, num_train_timesteps):
    return torch.linspace(beta_start, beta_end, num_train_timesteps + 1)


def betas_scaled(beta_start, beta_end, num_train_timesteps):
    return torch.linspace(math.sqrt(beta_start), math.sqrt(beta_end), num_train_timesteps).pow(2)


def betas_geometric(beta_start, beta_end, num_train_timesteps):
    ends = torch.tensor([beta_start, beta_end]).log().tolist()
    return torch.linspace(*ends, num_train_timesteps).exp()


def betas_are_alphas(beta_start, beta_end, num_train_timesteps):
    return torch.linspace(1 - beta_start, 1 - beta_end, num_train_timesteps)


def betas_backwards(beta_start, beta_end, num_train_timesteps):
    return torch.linspace(beta_start, beta_end, num_train_timesteps).flip(0)


def betas_in_numpy(beta_start, beta_end, num_train_timesteps):
    return np.linspace(beta_start, beta_end, num_train_timesteps)


def betas_in_a_list(beta_start, beta_end, num_train_timesteps):
    return [beta_start] * num_train_timesteps


def betas_in_float64(beta_start, beta_end, num_train_timesteps):
    return torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float64)


def betas_by_arange(beta_start, beta_end, num_train_timesteps):
    return torch.arange(beta_start, beta_end, num_train_timesteps)


def betas_right_by_hand(beta_start, beta_end, num_train_timesteps):
    gaps = num_train_timesteps - 1
    step = (beta_end - beta_start) / gaps
    return torch.tensor([beta_start + i * step for i in range(num_train_timesteps)])


def betas_right_from_numpy(beta_start, beta_end, num_train_timesteps):
    return torch.from_numpy(np.linspace(beta_start, beta_end, num_train_timesteps)).float()


# --- add_noise -----------------------------------------------------------------------------------


def column(values, like):
    return values.reshape(len(values), *(1 for _ in like.shape[1:]))


def noise_without_roots(x0, epsilon, alpha_bar, t):
    a = column(alpha_bar[t], x0)
    return a * x0 + (1 - a) * epsilon


def noise_one_minus_root(x0, epsilon, alpha_bar, t):
    a = column(alpha_bar[t], x0) ** 0.5
    return a * x0 + (1 - a) * epsilon


def noise_rootless_noise(x0, epsilon, alpha_bar, t):
    a = column(alpha_bar[t], x0)
    return torch.sqrt(a) * x0 + (1 - a) * epsilon


def noise_swapped(x0, epsilon, alpha_bar, t):
    a = column(alpha_bar[t], x0)
    return torch.sqrt(a) * epsilon + torch.sqrt(1 - a) * x0


def noise_explodes(x0, epsilon, alpha_bar, t):
    return x0 + column((1 - alpha_bar[t]).sqrt(), x0) * epsilon


def noise_at_full_strength(x0, epsilon, alpha_bar, t):
    return column(alpha_bar[t].sqrt(), x0) * x0 + epsilon


def noise_by_one_step(x0, epsilon, alpha_bar, t):
    beta = 1 - column(alpha_bar[t] / alpha_bar[t - 1], x0)
    return (1 - beta).sqrt() * x0 + beta.sqrt() * epsilon


def noise_by_the_notebooks_betas(x0, epsilon, alpha_bar, t):
    betas = torch.linspace(1e-4, 0.02, 1000)
    beta = column(betas[t], x0)
    return torch.sqrt(1 - beta) * x0 + torch.sqrt(beta) * epsilon


def noise_papers_t(x0, epsilon, alpha_bar, t):
    return noise_right_by_powers(x0, epsilon, alpha_bar, t - 1)


def noise_t_too_late(x0, epsilon, alpha_bar, t):
    return noise_right_by_powers(x0, epsilon, alpha_bar, t + 1)


def noise_first_t_for_all(x0, epsilon, alpha_bar, t):
    a = alpha_bar[t[0]]
    return a.sqrt() * x0 + (1 - a).sqrt() * epsilon


def noise_cumprod_again(x0, epsilon, alpha_bar, t):
    return noise_right_by_powers(x0, epsilon, torch.cumprod(alpha_bar, 0), t)


def noise_not_broadcast(x0, epsilon, alpha_bar, t):
    return alpha_bar[t].sqrt() * x0 + (1 - alpha_bar[t]).sqrt() * epsilon


def noise_four_dimensions(x0, epsilon, alpha_bar, t):
    a = alpha_bar[t][:, None, None, None]
    return a**0.5 * x0 + (1 - a) ** 0.5 * epsilon


def noise_two_dimensions(x0, epsilon, alpha_bar, t):
    a = alpha_bar[t][:, None]
    return a**0.5 * x0 + (1 - a) ** 0.5 * epsilon


def noise_of_its_own(x0, epsilon, alpha_bar, t):
    return noise_right_by_powers(x0, torch.randn(x0.shape, dtype=x0.dtype), alpha_bar, t)


def noise_in_place(x0, epsilon, alpha_bar, t):
    a = column(alpha_bar[t], x0)
    return x0.mul_(a.sqrt()).add_((1 - a).sqrt() * epsilon)


def noise_whole_table(x0, epsilon, alpha_bar, t):
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * epsilon


def noise_returns_both(x0, epsilon, alpha_bar, t):
    return noise_right_by_powers(x0, epsilon, alpha_bar, t), epsilon


def noise_in_float32(x0, epsilon, alpha_bar, t):
    return noise_right_by_powers(x0, epsilon, alpha_bar, t).float()


def noise_without_gradient(x0, epsilon, alpha_bar, t):
    with torch.no_grad():
        return noise_right_by_powers(x0, epsilon, alpha_bar, t)


def noise_is_nan(x0, epsilon, alpha_bar, t):
    a = column(alpha_bar[t], x0)
    return a.sqrt() * x0 + (a - 1).sqrt() * epsilon


def noise_right_by_powers(x0, epsilon, alpha_bar, t):
    a = column(alpha_bar.gather(0, t), x0)
    return (1 - a) ** 0.5 * epsilon + a**0.5 * x0


def noise_right_in_a_loop(x0, epsilon, alpha_bar, t):
    pictures = []
    for i in range(len(x0)):
        a = float(alpha_bar[t[i]])
        pictures.append(math.sqrt(a) * x0[i] + math.sqrt(1 - a) * epsilon[i])
    return torch.stack(pictures)


def noise_right_by_einsum(x0, epsilon, alpha_bar, t):
    a = alpha_bar[t].to(x0.dtype)
    return torch.einsum("b,b...->b...", a.sqrt(), x0) + torch.einsum(
        "b,b...->b...", (1 - a).sqrt(), epsilon
    )


# --- snr -----------------------------------------------------------------------------------------


def snr_upside_down(alpha_bar):
    return 1 / alpha_bar - 1


def snr_of_weights(alpha_bar):
    return torch.sqrt(alpha_bar) / torch.sqrt(1 - alpha_bar)


def snr_half_rooted(alpha_bar):
    return alpha_bar / torch.sqrt(1 - alpha_bar)


def snr_squared(alpha_bar):
    return (alpha_bar / (1 - alpha_bar)) ** 2


def snr_in_logarithms(alpha_bar):
    return torch.log(alpha_bar) - torch.log1p(-alpha_bar)


def snr_in_decibels(alpha_bar):
    return 10 * torch.log10(alpha_bar / (1 - alpha_bar))


def snr_signal_alone(alpha_bar):
    return alpha_bar.clone()


def snr_mean(alpha_bar):
    return (alpha_bar / (1 - alpha_bar)).mean()


def snr_with_a_typo(alpha_bar):
    return alpha_bar / (1 - alpha_bars)  # noqa: F821


def snr_right_by_exp(alpha_bar):
    return torch.exp(alpha_bar.log() - torch.log1p(-alpha_bar))


def snr_right_in_a_loop(alpha_bar):
    values = [a / (1 - a) for a in alpha_bar.flatten().double().tolist()]
    return torch.tensor(values, dtype=alpha_bar.dtype).view(alpha_bar.shape)


# --- cosine_alpha_bar ----------------------------------------------------------------------------


def f(time, s):
    return math.cos((time + s) / (1 + s) * math.pi / 2) ** 2


def cosine_starts_at_one(num_train_timesteps, s=0.008):
    T = num_train_timesteps
    return torch.tensor([f(t / T, s) / f(0, s) for t in range(T)])


def cosine_one_too_many(num_train_timesteps, s=0.008):
    T = num_train_timesteps
    return torch.tensor([f(t / T, s) / f(0, s) for t in range(T + 1)])


def cosine_by_linspace(num_train_timesteps, s=0.008):
    time = torch.linspace(0, 1, num_train_timesteps)
    return torch.cos((time + s) / (1 + s) * torch.pi / 2) ** 2 / f(0, s)


def cosine_not_squared(num_train_timesteps, s=0.008):
    T = num_train_timesteps
    return torch.tensor([math.sqrt(f((i + 1) / T, s) / f(0, s)) for i in range(T)])


def cosine_not_divided(num_train_timesteps, s=0.008):
    T = num_train_timesteps
    return torch.tensor([f((i + 1) / T, s) for i in range(T)])


def cosine_without_s(num_train_timesteps, s=0.008):
    t = torch.arange(1, num_train_timesteps + 1)
    return torch.cos(t / num_train_timesteps * torch.pi / 2) ** 2


def cosine_brackets(num_train_timesteps, s=0.008):
    time = torch.arange(num_train_timesteps + 1) / num_train_timesteps
    f = torch.cos((time + s / (1 + s)) * torch.pi / 2) ** 2
    return f[1:] / f[0]


def cosine_to_pi(num_train_timesteps, s=0.008):
    time = torch.arange(num_train_timesteps + 1) / num_train_timesteps
    f = torch.cos((time + s) / (1 + s) * torch.pi) ** 2
    return f[1:] / f[0]


def cosine_hard_coded_s(num_train_timesteps, s=0.008):
    return cosine_right_in_a_loop(num_train_timesteps, 0.008)


def cosine_of_numbers(num_train_timesteps, s=0.008):
    t = torch.arange(num_train_timesteps)
    return math.cos((t / num_train_timesteps + s) / (1 + s) * math.pi / 2) ** 2


def cosine_right_in_a_loop(num_train_timesteps, s=0.008):
    T = num_train_timesteps
    return torch.tensor([f((i + 1) / T, s) / f(0, s) for i in range(T)])


def cosine_right_in_float32(num_train_timesteps, s=0.008):
    time = torch.linspace(0, 1, num_train_timesteps + 1)
    table = 0.5 * (1 + torch.cos((time + s) / (1 + s) * torch.pi))
    return table[1:] / table[0]


# --- betas_from_alpha_bar ------------------------------------------------------------------------


def cut_without_clip(alpha_bar, max_beta=0.999):
    return 1 - alpha_bar / torch.cat([torch.ones(1), alpha_bar[:-1]])


def cut_from_below(alpha_bar, max_beta=0.999):
    betas = 1 - alpha_bar / torch.cat([torch.ones(1), alpha_bar[:-1]])
    return torch.clamp(betas, min=max_beta)


def cut_first_missing(alpha_bar, max_beta=0.999):
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta)


def cut_first_missing_and_no_clip(alpha_bar, max_beta=0.999):
    return (alpha_bar[:-1] - alpha_bar[1:]) / alpha_bar[:-1]


def cut_first_zero(alpha_bar, max_beta=0.999):
    betas = torch.zeros_like(alpha_bar)
    betas[1:] = (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta)
    return betas


def cut_wraps(alpha_bar, max_beta=0.999):
    rows = range(len(alpha_bar))
    return torch.stack([1 - alpha_bar[i] / alpha_bar[i - 1] for i in rows]).clamp(max=max_beta)


def cut_differences(alpha_bar, max_beta=0.999):
    before = torch.cat([torch.ones(1), alpha_bar[:-1]])
    return torch.minimum(before - alpha_bar, torch.tensor(max_beta))


def cut_all_noise(alpha_bar, max_beta=0.999):
    return 1 - alpha_bar


def cut_alphas(alpha_bar, max_beta=0.999):
    return alpha_bar / torch.cat([torch.ones(1), alpha_bar[:-1]])


def cut_at_a_fixed_value(alpha_bar, max_beta=0.999):
    return cut_without_clip(alpha_bar).clamp(max=0.999)


def cut_with_python_min(alpha_bar, max_beta=0.999):
    return min(cut_without_clip(alpha_bar), max_beta)


def cut_right_in_a_loop(alpha_bar, max_beta=0.999):
    before, betas = 1.0, []
    for value in alpha_bar.tolist():
        betas.append(min(1 - value / before, max_beta))
        before = value
    return torch.tensor(betas)


def cut_right_by_division(alpha_bar, max_beta=0.999):
    table = torch.cat([torch.ones(1), alpha_bar]).double()
    betas = -torch.diff(table) / table[:-1]
    return torch.where(betas > max_beta, max_beta, betas).float()


# --- from readers of the pages ---


def step_clamped(x_prev: Tensor, epsilon: Tensor, beta_t: Tensor) -> Tensor:
    return ((1 - beta_t).sqrt() * x_prev + beta_t.sqrt() * epsilon).clamp(-1, 1)


def step_pixel_by_pixel(x_prev: Tensor, epsilon: Tensor, beta_t: Tensor) -> Tensor:
    pixels = [
        (1 - beta_t).sqrt() * x + beta_t.sqrt() * e
        for x, e in zip(x_prev.flatten(), epsilon.flatten(), strict=True)
    ]
    return torch.stack(pixels).view(x_prev.shape)


def snr_clamped(alpha_bar: Tensor) -> Tensor:
    return alpha_bar / (1 - alpha_bar).clamp(min=1e-2)


def cosine_double(num_train_timesteps: int, s: float = 0.008) -> Tensor:
    t = torch.arange(num_train_timesteps + 1).double()
    f = torch.cos((t / num_train_timesteps + s) / (1 + s) * math.pi / 2) ** 2
    return f[1:] / f[0]


def cosine_single(num_train_timesteps: int, s: float = 0.008) -> Tensor:
    t = torch.arange(num_train_timesteps + 1)
    f = torch.cos((t / num_train_timesteps + s) / (1 + s) * math.pi / 2) ** 2
    return f[1:] / f[0]


WRONG = [
    ("01.forward_step", step_without_roots, "no_roots"),
    ("01.forward_step", step_noise_without_root, "noise_without_root"),
    ("01.forward_step", step_picture_without_root, "picture_without_root"),
    ("01.forward_step", step_explodes, "picture_at_full_size"),
    ("01.forward_step", step_swapped, "weights_swapped"),
    ("01.forward_step", step_minus, "noise_subtracted"),
    ("01.forward_step", step_own_noise, "own_noise"),
    ("01.forward_step", step_in_place, "changes its argument x_prev in place"),
    ("01.forward_step", step_forgets_return, "is a `return` missing"),
    ("01.forward_step", step_detached, "no gradient flows back to x_prev"),
    ("01.forward_step", step_mean_only, "has other values than expected"),
    ("01.forward_step", step_with_names, "a name that is not defined"),
    ("01.forward_step", torch.zeros(2), "expected the function itself"),
    ("01.linear_betas", betas_miss_the_end, "end_missed"),
    ("01.linear_betas", betas_miss_the_start, "start_missed"),
    ("01.linear_betas", betas_one_too_many, "one_too_many"),
    ("01.linear_betas", betas_scaled, "roots_rise"),
    ("01.linear_betas", betas_geometric, "constant_factor"),
    ("01.linear_betas", betas_are_alphas, "alphas"),
    ("01.linear_betas", betas_backwards, "backwards"),
    ("01.linear_betas", betas_in_numpy, "expected a torch.Tensor of shape (5,)"),
    ("01.linear_betas", betas_in_a_list, "expected a torch.Tensor of shape (5,)"),
    ("01.linear_betas", betas_in_float64, "the result has dtype float64"),
    ("01.linear_betas", betas_by_arange, "arange"),
    ("01.add_noise", noise_without_roots, "no_roots"),
    ("01.add_noise", noise_one_minus_root, "one_minus_root"),
    ("01.add_noise", noise_rootless_noise, "noise_without_root"),
    ("01.add_noise", noise_swapped, "weights_swapped"),
    ("01.add_noise", noise_explodes, "picture_at_full_size"),
    ("01.add_noise", noise_at_full_strength, "noise_at_full_strength"),
    ("01.add_noise", noise_by_one_step, "beta_of_one_step"),
    ("01.add_noise", noise_by_the_notebooks_betas, "table_of_betas"),
    ("01.add_noise", noise_papers_t, "row_before"),
    ("01.add_noise", noise_t_too_late, "row_after"),
    ("01.add_noise", noise_first_t_for_all, "first_t_for_all"),
    ("01.add_noise", noise_cumprod_again, "product_twice"),
    ("01.add_noise", noise_not_broadcast, "not_broadcast"),
    ("01.add_noise", noise_four_dimensions, "four_dimensions"),
    ("01.add_noise", noise_two_dimensions, "t has shape (B,), one number a picture"),
    ("01.add_noise", noise_of_its_own, "own_noise"),
    ("01.add_noise", noise_in_place, "changes its argument x0 in place"),
    ("01.add_noise", noise_whole_table, "whole_table"),
    ("01.add_noise", noise_returns_both, "expected a torch.Tensor of shape"),
    ("01.add_noise", noise_in_float32, "the result has dtype float32"),
    ("01.add_noise", noise_without_gradient, "no gradient can be taken through it"),
    ("01.add_noise", noise_is_nan, "holds NaN in"),
    ("01.snr", snr_upside_down, "upside_down"),
    ("01.snr", snr_of_weights, "ratio_of_weights"),
    ("01.snr", snr_half_rooted, "root_of_noise"),
    ("01.snr", snr_squared, "squared"),
    ("01.snr", snr_in_logarithms, "logarithm"),
    ("01.snr", snr_in_decibels, "decibels"),
    ("01.snr", snr_signal_alone, "picture_only"),
    ("01.snr", snr_mean, "was everything averaged or summed"),
    ("01.snr", snr_with_a_typo, "a name that is not defined"),
    ("01.cosine_alpha_bar", cosine_starts_at_one, "row_too_early"),
    ("01.cosine_alpha_bar", cosine_one_too_many, "row_too_many"),
    ("01.cosine_alpha_bar", cosine_by_linspace, "gaps"),
    ("01.cosine_alpha_bar", cosine_not_squared, "not_squared"),
    ("01.cosine_alpha_bar", cosine_not_divided, "not_divided"),
    ("01.cosine_alpha_bar", cosine_without_s, "no_offset"),
    ("01.cosine_alpha_bar", cosine_brackets, "brackets"),
    ("01.cosine_alpha_bar", cosine_to_pi, "to_pi"),
    ("01.cosine_alpha_bar", cosine_hard_coded_s, "has other values than expected"),
    ("01.cosine_alpha_bar", cosine_of_numbers, "math.cos takes one number"),
    ("01.betas_from_alpha_bar", cut_without_clip, "no_clip"),
    ("01.betas_from_alpha_bar", cut_from_below, "clipped_from_below"),
    ("01.betas_from_alpha_bar", cut_first_missing, "no_first_beta"),
    ("01.betas_from_alpha_bar", cut_first_missing_and_no_clip, "no_first_beta_unclipped"),
    ("01.betas_from_alpha_bar", cut_first_zero, "first_is_zero"),
    ("01.betas_from_alpha_bar", cut_wraps, "first_against_last"),
    ("01.betas_from_alpha_bar", cut_differences, "difference"),
    ("01.betas_from_alpha_bar", cut_all_noise, "all_noise_so_far_unclipped"),
    ("01.betas_from_alpha_bar", cut_alphas, "alphas"),
    ("01.betas_from_alpha_bar", cut_at_a_fixed_value, "has other values than expected"),
    ("01.betas_from_alpha_bar", cut_with_python_min, "min() and `if` decide about one number"),
    ("01.forward_step", step_clamped, "the expected one, clipped to [-1, 1]"),
    ("01.snr", snr_clamped, "clamped"),
    ("01.cosine_alpha_bar", cosine_double, "dtype float64; expected float32 here"),
]
RIGHT = [
    ("01.forward_step", step_right_in_words),
    ("01.forward_step", step_right_with_floats),
    ("01.linear_betas", betas_right_by_hand),
    ("01.linear_betas", betas_right_from_numpy),
    ("01.add_noise", noise_right_by_powers),
    ("01.add_noise", noise_right_in_a_loop),
    ("01.add_noise", noise_right_by_einsum),
    ("01.snr", snr_right_by_exp),
    ("01.snr", snr_right_in_a_loop),
    ("01.cosine_alpha_bar", cosine_right_in_a_loop),
    ("01.cosine_alpha_bar", cosine_right_in_float32),
    ("01.betas_from_alpha_bar", cut_right_in_a_loop),
    ("01.betas_from_alpha_bar", cut_right_by_division),
    ("01.forward_step", step_pixel_by_pixel),
    ("01.cosine_alpha_bar", cosine_single),
]
