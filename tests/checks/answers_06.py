"""Answers to the exercises of lesson 06: wrong ones with what they must be told, and right ones."""

from __future__ import annotations

import numpy as np
import torch
from torch.distributions import Normal, kl_divergence

# --- compression ---------------------------------------------------------------------------------


def ratio_of_positions_twice(picture, latents):
    ratio = (picture[1] * picture[2]) / (latents[1] * latents[2])
    return ratio, ratio


def numbers_second(picture, latents):
    numbers, fewer = 1, 1
    for a, b in zip(picture, latents, strict=True):
        numbers *= a / b
    for a, b in zip(picture[1:], latents[1:], strict=True):
        fewer *= a / b
    return fewer, numbers


def latents_over_picture(picture, latents):
    return (
        np.prod(latents) / np.prod(picture),
        np.prod(latents[1:]) / np.prod(picture[1:]),
    )


def rounds_down(picture, latents):
    return (
        int(np.prod(picture)) // int(np.prod(latents)),
        picture[1] * picture[2] // (latents[1] * latents[2]),
    )


def one_side(picture, latents):
    return float(np.prod(picture) / np.prod(latents)), picture[1] / latents[1]


def height_first(picture, latents):
    h, w, c = picture
    i, j, k = latents
    return h * w * c / (i * j * k), h * w / (i * j)


def one_number(picture, latents):
    return np.prod(picture) / np.prod(latents)


def no_return(picture, latents):
    np.prod(picture) / np.prod(latents)


def takes_one_argument(picture):
    return 48.0, 64.0


def always_ours(picture, latents):
    return 48.0, 64.0


def with_math_prod(picture, latents):
    return [
        float(np.prod(picture)) / float(np.prod(latents)),
        float(np.prod(picture[1:])) / float(np.prod(latents[1:])),
    ]


def with_empty_tensors(picture, latents):
    a, b = torch.empty(picture, device="meta"), torch.empty(latents, device="meta")
    return a.numel() / b.numel(), a[0].numel() / b[0].numel()


def side_by_side(picture, latents):
    down, across = picture[1] / latents[1], picture[2] / latents[2]
    return down * across * picture[0] / latents[0], down * across


# --- reparameterise ------------------------------------------------------------------------------


def variance(mean, log_var, epsilon):
    return mean + torch.exp(log_var) * epsilon


def half_variance(mean, log_var, epsilon):
    return mean + 0.5 * torch.exp(log_var) * epsilon


def log_variance(mean, log_var, epsilon):
    return epsilon * log_var + mean


def root_of_log_variance(mean, log_var, epsilon):
    return mean + torch.sqrt(log_var) * epsilon


def only_noise(mean, log_var, epsilon):
    return torch.exp(0.5 * log_var) * epsilon


def fresh_noise(mean, log_var, epsilon):
    return mean + torch.exp(0.5 * log_var) * torch.randn(mean.shape)


def only_mean(mean, log_var, epsilon):
    return mean


def detached(mean, log_var, epsilon):
    return mean.detach() + torch.exp(0.5 * log_var) * epsilon


def width_without_gradient(mean, log_var, epsilon):
    with torch.no_grad():
        sigma = torch.exp(0.5 * log_var)
    return mean + sigma * epsilon


def in_place(mean, log_var, epsilon):
    return epsilon.mul_(torch.exp(0.5 * log_var)).add_(mean)


def mean_and_noise_apart(mean, log_var, epsilon):
    return mean, torch.exp(0.5 * log_var) * epsilon


def wrong_name(mean, log_var, epsilon):
    return mean + torch.exp(0.5 * logvar) * epsilon  # noqa: F821


def root_of_exponential(mean, log_var, epsilon):
    return torch.sqrt(torch.exp(log_var)) * epsilon + mean


def with_addcmul(mean, log_var, epsilon):
    return torch.addcmul(mean, epsilon, log_var.mul(0.5).exp())


def with_normal(mean, log_var, epsilon):
    return torch.lerp(mean, mean + epsilon, (0.5 * log_var).exp())


# --- kl_divergence -------------------------------------------------------------------------------


def mean_of_everything(mean, log_var):
    return -0.5 * torch.mean(1 + log_var - mean**2 - log_var.exp())


def sum_of_everything(mean, log_var):
    return -0.5 * torch.sum(1 + log_var - mean**2 - log_var.exp())


def for_each_picture(mean, log_var):
    return -0.5 * torch.sum(1 + log_var - mean**2 - log_var.exp(), dim=(1, 2, 3))


def of_the_bound(mean, log_var):
    return 0.5 * torch.sum(1 + log_var - mean**2 - log_var.exp(), dim=(1, 2, 3)).mean()


def no_half(mean, log_var):
    return torch.sum(mean**2 + log_var.exp() - log_var - 1, dim=(1, 2, 3)).mean()


def sigma_for_variance(mean, log_var):
    sigma = torch.exp(0.5 * log_var)
    return 0.5 * torch.sum(mean**2 + sigma - log_var - 1, dim=(1, 2, 3)).mean()


def no_square(mean, log_var):
    return 0.5 * torch.sum(mean + log_var.exp() - log_var - 1, dim=(1, 2, 3)).mean()


def no_one(mean, log_var):
    return 0.5 * torch.sum(mean**2 + log_var.exp() - log_var, dim=(1, 2, 3)).mean()


def a_python_number(mean, log_var):
    return (0.5 * torch.sum(mean**2 + log_var.exp() - log_var - 1, dim=(1, 2, 3)).mean()).item()


def log_of_log(mean, log_var):
    return 0.5 * (mean**2 + log_var - 1 - torch.log(log_var)).sum(dim=(1, 2, 3)).mean()


def over_channels_only(mean, log_var):
    return 0.5 * torch.sum(mean**2 + log_var.exp() - log_var - 1, dim=1).mean()


def from_distributions(mean, log_var):
    q = Normal(mean, (log_var / 2).exp())
    p = Normal(0.0, 1.0)
    return kl_divergence(q, p).sum(dim=(1, 2, 3)).mean()


def as_in_the_paper(mean, log_var):
    return -0.5 * (1 + log_var - mean.pow(2) - log_var.exp()).sum() / len(mean)


def picture_by_picture(mean, log_var):
    total = mean.new_zeros(())
    for m, v in zip(mean, log_var, strict=True):
        total = total + 0.5 * ((m * m).sum() + v.exp().sum() - m.numel() - v.sum())
    return total / mean.shape[0]


# --- scaling_factor ------------------------------------------------------------------------------


def standard_deviation(latents):
    return latents.std().item()


def inverse_variance(latents):
    return 1 / latents.var().item()


def each_channel(latents):
    return 1 / latents.transpose(0, 1).flatten(1).std(dim=1)


def channels_first(latents):
    return 1 / np.mean([latents[:, c].std().item() for c in range(4)])


def pictures_first(latents):
    return 1 / np.mean([z.std().item() for z in latents])


def root_mean_square(latents):
    return 1 / float((latents**2).mean() ** 0.5)


def maximum(latents):
    return 1 / latents.abs().amax().item()


def stable_diffusions(latents):
    return 0.18215


def scaled_latents(latents):
    return latents / latents.std()


def raises(latents):
    return 1 / latents.standard_deviation()


def with_n(latents):
    return 1 / latents.std(correction=0).item()


def tensor_of_one_number(latents):
    return latents.double().var().rsqrt()


def with_numpy(latents):
    centred = latents.numpy() - latents.numpy().mean()
    return float(np.mean(centred.astype(np.float64) ** 2) ** -0.5)


WRONG = [
    ("06.compression", ratio_of_positions_twice, "channels_forgotten"),
    ("06.compression", numbers_second, "swapped"),
    ("06.compression", latents_over_picture, "inverse"),
    ("06.compression", rounds_down, "rounded_down"),
    ("06.compression", one_side, "one_side"),
    ("06.compression", height_first, "channels_last"),
    ("06.compression", one_number, "expected a tuple of 2"),
    ("06.compression", no_return, "is a `return` missing?"),
    ("06.compression", takes_one_argument, "can't be called as the docstring says"),
    ("06.compression", always_ours, "expected 12"),
    ("06.reparameterise", variance, "variance"),
    ("06.reparameterise", half_variance, "half_outside"),
    ("06.reparameterise", log_variance, "logarithm"),
    ("06.reparameterise", root_of_log_variance, "root_of_logarithm"),
    ("06.reparameterise", only_noise, "no_mean"),
    ("06.reparameterise", fresh_noise, "own_noise"),
    ("06.reparameterise", only_mean, "has other values than expected"),
    ("06.reparameterise", detached, "no gradient flows back to mean"),
    ("06.reparameterise", width_without_gradient, "no gradient flows back to log_var"),
    ("06.reparameterise", in_place, "changes its argument epsilon in place"),
    ("06.reparameterise", mean_and_noise_apart, "expected a torch.Tensor of shape"),
    ("06.reparameterise", wrong_name, "uses a name that is not defined"),
    ("06.kl_divergence", mean_of_everything, "mean_of_all"),
    ("06.kl_divergence", sum_of_everything, "sum_of_all"),
    ("06.kl_divergence", for_each_picture, "one_a_picture"),
    ("06.kl_divergence", of_the_bound, "opposite"),
    ("06.kl_divergence", no_half, "no_half"),
    ("06.kl_divergence", sigma_for_variance, "deviation"),
    ("06.kl_divergence", no_square, "mean_not_squared"),
    ("06.kl_divergence", no_one, "no_one"),
    ("06.kl_divergence", log_of_log, "logarithm_as_variance"),
    ("06.kl_divergence", over_channels_only, "has other values than expected"),
    ("06.kl_divergence", a_python_number, "no gradient"),
    ("06.scaling_factor", standard_deviation, "deviation"),
    ("06.scaling_factor", inverse_variance, "variance"),
    ("06.scaling_factor", each_channel, "one_a_channel"),
    ("06.scaling_factor", channels_first, "mean_of_channels"),
    ("06.scaling_factor", pictures_first, "mean_of_pictures"),
    ("06.scaling_factor", root_mean_square, "root_mean_square"),
    ("06.scaling_factor", maximum, "largest"),
    ("06.scaling_factor", stable_diffusions, "result is 0.18215; expected"),
    ("06.scaling_factor", scaled_latents, "expected a number"),
    ("06.scaling_factor", raises, "It raises AttributeError"),
    ("06.reparameterise", lambda m, v, e: m + torch.exp(-v / 2) * e, "exponent_sign"),
    ("06.compression", lambda p, q: (torch.ones(1), torch.ones(1)), "expected a number"),
]
RIGHT = [
    ("06.compression", with_math_prod),
    ("06.compression", with_empty_tensors),
    ("06.compression", side_by_side),
    ("06.reparameterise", root_of_exponential),
    ("06.reparameterise", with_addcmul),
    ("06.reparameterise", with_normal),
    ("06.kl_divergence", from_distributions),
    ("06.kl_divergence", as_in_the_paper),
    ("06.kl_divergence", picture_by_picture),
    ("06.scaling_factor", with_n),
    ("06.scaling_factor", tensor_of_one_number),
    ("06.scaling_factor", with_numpy),
]
