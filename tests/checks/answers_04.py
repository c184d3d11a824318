"""Answers to the exercises of lesson 04: wrong ones with what they must be told, and right ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# --- timesteps -----------------------------------------------------------------------------------


def trailing_upwards(num_steps, T=1000, spacing="trailing"):
    stride = T / num_steps
    if spacing == "trailing":
        return torch.tensor([round(stride * (i + 1)) - 1 for i in range(num_steps)])
    return torch.arange(0, num_steps) * (T // num_steps)


def beyond_the_table(num_steps, T=1000, spacing="trailing"):
    if spacing == "trailing":
        return torch.tensor([round(T - i * T / num_steps) for i in range(num_steps)])
    return torch.tensor([(num_steps - 1 - i) * (T // num_steps) for i in range(num_steps)])


def deaf_to_spacing(num_steps, T=1000, spacing="trailing"):
    return torch.tensor([round(T - i * T / num_steps) - 1 for i in range(num_steps)])


def only_leading(num_steps, T=1000, spacing="trailing"):
    return torch.arange(num_steps).flip(0) * (T // num_steps)


def numpy_linspace(num_steps, T=1000, spacing="trailing"):
    return torch.tensor([round(t) for t in torch.linspace(T - 1, 0, num_steps).tolist()])


def int_for_round(num_steps, T=1000, spacing="trailing"):
    if spacing == "trailing":
        return torch.tensor([int(T - i * T / num_steps) - 1 for i in range(num_steps)])
    return only_leading(num_steps, T)


def floor_stride(num_steps, T=1000, spacing="trailing"):
    if spacing == "trailing":
        return torch.arange(T - 1, T - 1 - num_steps * (T // num_steps), -(T // num_steps))
    return only_leading(num_steps, T)


def floats(num_steps, T=1000, spacing="trailing"):
    found = deaf_to_spacing(num_steps, T) if spacing == "trailing" else only_leading(num_steps, T)
    return found.float()


def a_list(num_steps, T=1000, spacing="trailing"):
    found = deaf_to_spacing(num_steps, T) if spacing == "trailing" else only_leading(num_steps, T)
    return found.tolist()


def one_too_many(num_steps, T=1000, spacing="trailing"):
    return torch.arange(num_steps + 1)


def nothing(*args, **kwargs):
    pass


def as_a_loop(num_steps, T=1000, spacing="trailing"):
    found, t = [], float(T)
    for i in range(num_steps):
        if spacing == "trailing":
            found.append(round(t) - 1)
            t = T - (i + 1) * T / num_steps
        else:
            found.insert(0, i * (T // num_steps))
    return torch.tensor(found)


def with_float64(num_steps, T=1000, spacing="trailing"):
    i = torch.arange(num_steps, dtype=torch.float64)
    found = (
        T - i * (T / num_steps) - 1
        if spacing == "trailing"
        else (num_steps - 1 - i) * (T // num_steps)
    )
    return found.round().to(torch.int64)


# --- ddpm_step -----------------------------------------------------------------------------------


def times_variance(x, x0, alpha_bar_t, alpha_bar_next, noise):
    a = alpha_bar_t / alpha_bar_next
    b = 1 - a
    mean = (alpha_bar_next**0.5 * b * x0 + a**0.5 * (1 - alpha_bar_next) * x) / (1 - alpha_bar_t)
    return mean if noise is None else mean + b * (1 - alpha_bar_next) / (1 - alpha_bar_t) * noise


def beta_for_variance(x, x0, alpha_bar_t, alpha_bar_next, noise):
    a = alpha_bar_t / alpha_bar_next
    b = 1 - a
    mean = (alpha_bar_next**0.5 * b * x0 + a**0.5 * (1 - alpha_bar_next) * x) / (1 - alpha_bar_t)
    return mean if noise is None else mean + b**0.5 * noise


def no_roots(x, x0, alpha_bar_t, alpha_bar_next, noise):
    a = alpha_bar_t / alpha_bar_next
    b = 1 - a
    below = 1 - alpha_bar_t
    mean = alpha_bar_next * b / below * x0 + a * (1 - alpha_bar_next) / below * x
    if noise is not None:
        mean = mean + torch.sqrt((1 - alpha_bar_next) / below * b) * noise
    return mean


def alpha_bar_for_alpha(x, x0, alpha_bar_t, alpha_bar_next, noise):
    a = alpha_bar_t
    b = 1 - a
    below = 1 - alpha_bar_t
    mean = alpha_bar_next**0.5 * b / below * x0 + a**0.5 * (1 - alpha_bar_next) / below * x
    return mean if noise is None else mean + ((1 - alpha_bar_next) / below * b) ** 0.5 * noise


def noise_is_never_none(x, x0, alpha_bar_t, alpha_bar_next, noise):
    a = alpha_bar_t / alpha_bar_next
    b = 1 - a
    below = 1 - alpha_bar_t
    mean = alpha_bar_next**0.5 * b / below * x0 + a**0.5 * (1 - alpha_bar_next) / below * x
    return mean + ((1 - alpha_bar_next) / below * b) ** 0.5 * noise


def posterior_mean_only(x, x0, alpha_bar_t, alpha_bar_next, noise):
    a = alpha_bar_t / alpha_bar_next
    below = 1 - alpha_bar_t
    return alpha_bar_next**0.5 * (1 - a) / below * x0 + a**0.5 * (1 - alpha_bar_next) / below * x


def in_place(x, x0, alpha_bar_t, alpha_bar_next, noise):
    a = alpha_bar_t / alpha_bar_next
    b = 1 - a
    below = 1 - alpha_bar_t
    x *= a**0.5 * (1 - alpha_bar_next) / below
    x += alpha_bar_next**0.5 * b / below * x0
    return x if noise is None else x + ((1 - alpha_bar_next) / below * b) ** 0.5 * noise


def jump_to_the_guess(x, x0, alpha_bar_t, alpha_bar_next, noise):
    return x0


def beta_from_differences(x, x0, alpha_bar_t, alpha_bar_next, noise):
    b = alpha_bar_next - alpha_bar_t
    a = 1 - b
    below = 1 - alpha_bar_t
    mean = alpha_bar_next**0.5 * b / below * x0 + a**0.5 * (1 - alpha_bar_next) / below * x
    return mean if noise is None else mean + ((1 - alpha_bar_next) / below * b) ** 0.5 * noise


def by_bayes(x, x0, alpha_bar_t, alpha_bar_next, noise):
    """The product of two Gaussians, in float64."""
    now, after = alpha_bar_t.double(), alpha_bar_next.double()
    a = now / after
    if float(after) == 1:
        return x0.clone()
    precision = a / (1 - a) + 1 / (1 - after)  # of x_{t-1}: from x_t, and from x0
    mean = (a.sqrt() / (1 - a) * x + after.sqrt() / (1 - after) * x0) / precision
    return (mean if noise is None else mean + noise / precision.sqrt()).to(x.dtype)


def one_number_at_a_time(x, x0, alpha_bar_t, alpha_bar_next, noise):
    now, after = float(alpha_bar_t), float(alpha_bar_next)
    a = now / after
    out = torch.empty_like(x)
    for i in range(len(x)):
        out[i] = math.sqrt(after) * (1 - a) * x0[i] + math.sqrt(a) * (1 - after) * x[i]
        out[i] /= 1 - now
        if noise is not None:
            out[i] += math.sqrt((1 - after) * (1 - a) / (1 - now)) * noise[i]
    return out


# --- ddim_step -----------------------------------------------------------------------------------


def too_much_noise(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):
    s = eta * ((1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)) ** 0.5
    out = alpha_bar_next**0.5 * x0 + (1 - alpha_bar_next) ** 0.5 * epsilon
    return out if noise is None else out + s * noise


def same_noise_level(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):
    s = eta * ((1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)) ** 0.5
    out = alpha_bar_next**0.5 * x0 + (1 - alpha_bar_t - s**2) ** 0.5 * epsilon
    return out if noise is None else out + s * noise


def no_sqrt_at_all(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):
    s = eta * ((1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)) ** 0.5
    out = alpha_bar_next * x0 + (1 - alpha_bar_next - s**2) * epsilon
    return out if noise is None else out + s * noise


def sigma_without_root(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):
    s = eta * (1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)
    out = alpha_bar_next**0.5 * x0 + (1 - alpha_bar_next - s**2) ** 0.5 * epsilon
    return out if noise is None else out + s * noise


def sigma_not_squared(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):
    s = eta * ((1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)) ** 0.5
    out = alpha_bar_next**0.5 * x0 + (1 - alpha_bar_next - s) ** 0.5 * epsilon
    return out if noise is None else out + s * noise


def eta_is_forgotten(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):
    s = ((1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)) ** 0.5
    out = alpha_bar_next**0.5 * x0 + (1 - alpha_bar_next - s**2) ** 0.5 * epsilon
    return out if noise is None else out + s * noise


def multiplies_none(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):
    s = eta * ((1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)) ** 0.5
    return alpha_bar_next**0.5 * x0 + (1 - alpha_bar_next - s**2) ** 0.5 * epsilon + s * noise


def wrong_fraction(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):
    s = eta * ((1 - alpha_bar_t) / (1 - alpha_bar_next) * (1 - alpha_bar_t / alpha_bar_next)) ** 0.5
    out = alpha_bar_next**0.5 * x0 + (1 - alpha_bar_next - s**2) ** 0.5 * epsilon
    return out if noise is None else out + s * noise


def second_fraction_upside_down(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):
    s = eta * ((1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_next / alpha_bar_t)) ** 0.5
    out = alpha_bar_next**0.5 * x0 + (1 - alpha_bar_next - s**2) ** 0.5 * epsilon
    return out if noise is None else out + s * noise


def other_way_round(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):
    return too_much_noise(epsilon, x0, alpha_bar_t, alpha_bar_next) if noise is None else x0


def two_cases(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):
    if eta == 0:
        return torch.sqrt(alpha_bar_next) * x0 + torch.sqrt(1 - alpha_bar_next) * epsilon
    s2 = (1 - alpha_bar_next) * (alpha_bar_next - alpha_bar_t)
    s2 = eta**2 * s2 / ((1 - alpha_bar_t) * alpha_bar_next)
    return alpha_bar_next**0.5 * x0 + (1 - alpha_bar_next - s2) ** 0.5 * epsilon + s2**0.5 * noise


def in_float64(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):
    now, after = float(alpha_bar_t), float(alpha_bar_next)
    s = eta * math.sqrt((1 - after) / (1 - now) * (1 - now / after))
    fresh = torch.zeros_like(x0) if noise is None else noise
    parts = torch.stack([x0, epsilon, fresh]).double()
    weights = torch.tensor([math.sqrt(after), math.sqrt(1 - after - s * s), s]).double()
    return torch.einsum("k,k...->...", weights, parts).to(x0.dtype)


# --- dpm_solver_pp_2m_step -----------------------------------------------------------------------


def only_first_order(x, x0, sigma, sigma_next, x0_before=None, sigma_before=None):
    a, b = 1 / (1 + sigma**2) ** 0.5, 1 / (1 + sigma_next**2) ** 0.5
    return sigma_next * b / (sigma * a) * x + b * (1 - sigma_next / sigma) * x0


def _two_guesses(mix):
    def step(x, x0, sigma, sigma_next, x0_before=None, sigma_before=None):
        a, b = 1 / (1 + sigma**2) ** 0.5, 1 / (1 + sigma_next**2) ** 0.5
        D = x0
        if x0_before is not None:
            h = torch.log(sigma / sigma_next)
            r = torch.log(sigma_before / sigma) / h
            D = mix(x0, x0_before, r)
        return sigma_next * b / (sigma * a) * x + b * (1 - sigma_next / sigma) * D

    return step


backwards = _two_guesses(lambda x0, before, r: x0 + (before - x0) / (2 * r))
backwards.__name__ = "backwards"
times_r = _two_guesses(lambda x0, before, r: x0 + 0.5 * r * (x0 - before))
times_r.__name__ = "times_r"
no_half = _two_guesses(lambda x0, before, r: (1 + 1 / r) * x0 - before / r)
no_half.__name__ = "no_half"
r_is_one = _two_guesses(lambda x0, before, r: 1.5 * x0 - 0.5 * before)
r_is_one.__name__ = "r_is_one"
mean_of_both = _two_guesses(lambda x0, before, r: (x0 + before) / 2)
mean_of_both.__name__ = "mean_of_both"
uses_the_older = _two_guesses(lambda x0, before, r: before)
uses_the_older.__name__ = "uses_the_older"


def asks_a_tensor(x, x0, sigma, sigma_next, x0_before=None, sigma_before=None):
    if x0_before:
        raise AssertionError
    return only_first_order(x, x0, sigma, sigma_next)


def never_checks(x, x0, sigma, sigma_next, x0_before=None, sigma_before=None):
    r = torch.log(sigma_before / sigma) / torch.log(sigma / sigma_next)
    return only_first_order(x, x0 + (x0 - x0_before) / (2 * r), sigma, sigma_next)


def ratios_for_sigmas(x, x0, sigma, sigma_next, x0_before=None, sigma_before=None):
    h = (sigma / sigma_next).log()
    D = x0
    if x0_before is not None:
        D = x0 + (x0 - x0_before) / (2 * (sigma_before / sigma).log() / h)
    return sigma_next / sigma * x - (1 + sigma_next**2) ** -0.5 * torch.expm1(-h) * D


def h_backwards(x, x0, sigma, sigma_next, x0_before=None, sigma_before=None):
    a, b = 1 / (1 + sigma**2) ** 0.5, 1 / (1 + sigma_next**2) ** 0.5
    h = torch.log(sigma_next / sigma)
    D = x0
    if x0_before is not None:
        D = x0 + (x0 - x0_before) / (2 * torch.log(sigma_before / sigma) / h)
    return sigma_next * b / (sigma * a) * x - b * (torch.exp(-h) - 1) * D


def without_alphas(x, x0, sigma, sigma_next, x0_before=None, sigma_before=None):
    h = torch.log(sigma / sigma_next)
    D = x0
    if x0_before is not None:
        D = x0 + (x0 - x0_before) / (2 * torch.log(sigma_before / sigma) / h)
    return sigma_next / sigma * x - (torch.exp(-h) - 1) * D


def exploding_view(x, x0, sigma, sigma_next, x0_before=None, sigma_before=None):
    return sigma_next / sigma * x + (1 - sigma_next / sigma) * x0


def with_lambdas(x, x0, sigma, sigma_next, x0_before=None, sigma_before=None):
    """In float64, with all of the paper's letters."""
    s, s_next = sigma.double(), sigma_next.double()
    alpha_t, alpha_next = torch.rsqrt(1 + s**2), torch.rsqrt(1 + s_next**2)
    sigma_t, sigma_t_next = (1 - alpha_t**2) ** 0.5, s_next * alpha_next
    lambda_t, lambda_next = torch.log(alpha_t / sigma_t), torch.log(alpha_next / sigma_t_next)
    h = lambda_next - lambda_t
    if x0_before is None:
        D = x0
    else:
        r = (lambda_t + torch.log(sigma_before.double())) / h
        D = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_before
    return (sigma_t_next / sigma_t * x - alpha_next * torch.expm1(-h) * D).to(x.dtype)


def with_python_numbers(x, x0, sigma, sigma_next, x0_before=None, sigma_before=None):
    s, n = float(sigma), float(sigma_next)
    a, b = 1 / math.sqrt(1 + s * s), 1 / math.sqrt(1 + n * n)
    D = x0
    if x0_before is not None:
        slope = (x0 - x0_before) / math.log(float(sigma_before) / s)
        D = x0 + 0.5 * math.log(s / n) * slope
    return n * b / (s * a) * x + b * (1 - n / s) * D


# --- from readers of the pages ---


def ddim_ignores_eta(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):  # type: ignore[no-untyped-def]
    s = ((1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)) ** 0.5
    x = alpha_bar_next**0.5 * x0 + (1 - alpha_bar_next - s**2) ** 0.5 * epsilon
    return x if noise is None else x + s * noise


def ddim_old_signal(x0, epsilon, alpha_bar_t, alpha_bar_next, eta=0.0, noise=None):  # type: ignore[no-untyped-def]
    s = eta * ((1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)) ** 0.5
    x = alpha_bar_t**0.5 * x0 + (1 - alpha_bar_next - s**2) ** 0.5 * epsilon
    return x if noise is None else x + s * noise


def ddpm_own_noise(x, x0, alpha_bar_t, alpha_bar_next, noise):  # type: ignore[no-untyped-def]
    alpha = alpha_bar_t / alpha_bar_next
    share = (1 - alpha_bar_next) / (1 - alpha_bar_t)
    mean = alpha_bar_next**0.5 * (1 - alpha) / (1 - alpha_bar_t) * x0 + alpha**0.5 * share * x
    return mean if noise is None else mean + (share * (1 - alpha)) ** 0.5 * torch.randn_like(x)


def steps_in_32_bits(num_steps: int, T: int = 1000, spacing: str = "trailing") -> Tensor:
    if spacing == "trailing":
        return (T - torch.arange(num_steps) * T / num_steps).round().int() - 1
    return (torch.arange(num_steps) * (T // num_steps)).flip(0).int()


WRONG = [
    ("04.timesteps", trailing_upwards, "rising"),
    ("04.timesteps", beyond_the_table, "from_T"),
    ("04.timesteps", deaf_to_spacing, "always_trailing"),
    ("04.timesteps", only_leading, "always_leading"),
    ("04.timesteps", numpy_linspace, "both_ends"),
    ("04.timesteps", int_for_round, "cut_off"),
    ("04.timesteps", floor_stride, "whole_stride"),
    ("04.timesteps", floats, "expected int64"),
    ("04.timesteps", a_list, "expected a torch.Tensor"),
    ("04.timesteps", one_too_many, "has shape (6,); expected (5,)"),
    ("04.timesteps", nothing, "is a `return` missing"),
    ("04.ddpm_step", times_variance, "noise_times_variance"),
    ("04.ddpm_step", beta_for_variance, "fixed_large"),
    ("04.ddpm_step", no_roots, "no_roots"),
    ("04.ddpm_step", alpha_bar_for_alpha, "alpha_bar_for_alpha"),
    ("04.ddpm_step", noise_is_never_none, "where noise is None"),
    ("04.ddpm_step", posterior_mean_only, "no_noise"),
    ("04.ddpm_step", in_place, "changes its argument x in place"),
    ("04.ddpm_step", jump_to_the_guess, "other values than expected"),
    ("04.ddpm_step", beta_from_differences, "other values than expected"),
    ("04.ddpm_step", nothing, "is a `return` missing"),
    ("04.ddim_step", too_much_noise, "no_room"),
    ("04.ddim_step", same_noise_level, "noise_stays"),
    ("04.ddim_step", no_sqrt_at_all, "no_roots"),
    ("04.ddim_step", sigma_without_root, "variance_as_sigma"),
    ("04.ddim_step", sigma_not_squared, "sigma_not_squared"),
    ("04.ddim_step", eta_is_forgotten, "eta_ignored"),
    ("04.ddim_step", multiplies_none, "where noise is None"),
    ("04.ddim_step", wrong_fraction, "upside_down"),
    ("04.ddim_step", second_fraction_upside_down, "holds NaN"),
    ("04.ddim_step", other_way_round, "other values than expected"),
    ("04.ddim_step", nothing, "is a `return` missing"),
    ("04.dpm_solver_pp_2m_step", only_first_order, "first_order"),
    ("04.dpm_solver_pp_2m_step", backwards, "backwards"),
    ("04.dpm_solver_pp_2m_step", times_r, "r_upside_down"),
    ("04.dpm_solver_pp_2m_step", no_half, "no_half"),
    ("04.dpm_solver_pp_2m_step", r_is_one, "r_is_1"),
    ("04.dpm_solver_pp_2m_step", mean_of_both, "average"),
    ("04.dpm_solver_pp_2m_step", uses_the_older, "other values than expected"),
    ("04.dpm_solver_pp_2m_step", asks_a_tensor, "if x0_before is not None"),
    ("04.dpm_solver_pp_2m_step", never_checks, "where there is none"),
    ("04.dpm_solver_pp_2m_step", ratios_for_sigmas, "ratios_as_sigma"),
    ("04.dpm_solver_pp_2m_step", h_backwards, "h_sign"),
    ("04.dpm_solver_pp_2m_step", without_alphas, "no_alphas"),
    ("04.dpm_solver_pp_2m_step", exploding_view, "other values than expected"),
    ("04.dpm_solver_pp_2m_step", nothing, "is a `return` missing"),
    ("04.ddim_step", ddim_ignores_eta, "eta_ignored"),
    ("04.ddim_step", ddim_old_signal, "old_signal"),
    ("04.ddpm_step", ddpm_own_noise, "own_noise"),
    ("04.timesteps", steps_in_32_bits, "dtype int32; expected int64 here"),
]

RIGHT = [
    ("04.timesteps", as_a_loop),
    ("04.timesteps", with_float64),
    ("04.ddpm_step", by_bayes),
    ("04.ddpm_step", one_number_at_a_time),
    ("04.ddim_step", two_cases),
    ("04.ddim_step", in_float64),
    ("04.dpm_solver_pp_2m_step", with_lambdas),
    ("04.dpm_solver_pp_2m_step", with_python_numbers),
]
