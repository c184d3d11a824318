"""Lesson 06, the latent VAE: what is right, and what people get wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from course_utils.checks.exercise import Case, Exercise, Mistake

Shape = tuple[int, int, int]


# --- reparameterise ------------------------------------------------------------------------------


def reparameterise(mean: Tensor, log_var: Tensor, epsilon: Tensor) -> Tensor:
    """z = mu + sigma * epsilon with sigma = exp(log sigma^2 / 2)."""
    return mean + (log_var / 2).exp() * epsilon


def _reparameterise_cases(generator: torch.Generator) -> Iterator[Case]:
    for shape in ((2, 4, 1, 1), (3, 4, 8, 8), (5, 2)):
        mean, log_var, epsilon = torch.randn(3, *shape, generator=generator)
        yield Case((mean, log_var - 1, epsilon))


def _seeded(candidate: Any, case: Case) -> Any:
    """Whoever draws noise of their own draws the same as the mistake that does so."""
    torch.manual_seed(0)
    return candidate(*case.args, **case.kwargs)


def _variance_as_width(mean: Tensor, log_var: Tensor, epsilon: Tensor) -> Tensor:
    return mean + log_var.exp() * epsilon


def _log_as_width(mean: Tensor, log_var: Tensor, epsilon: Tensor) -> Tensor:
    return mean + log_var * epsilon


def _half_outside(mean: Tensor, log_var: Tensor, epsilon: Tensor) -> Tensor:
    return mean + log_var.exp() / 2 * epsilon


def _half_log_as_width(mean: Tensor, log_var: Tensor, epsilon: Tensor) -> Tensor:
    return mean + log_var / 2 * epsilon


def _root_of_log(mean: Tensor, log_var: Tensor, epsilon: Tensor) -> Tensor:
    return mean + log_var.sqrt() * epsilon


def _without_mean(mean: Tensor, log_var: Tensor, epsilon: Tensor) -> Tensor:
    return (log_var / 2).exp() * epsilon


def _own_noise(mean: Tensor, log_var: Tensor, epsilon: Tensor) -> Tensor:
    return mean + (log_var / 2).exp() * torch.randn_like(mean)


def _minus_noise(mean: Tensor, log_var: Tensor, epsilon: Tensor) -> Tensor:
    return mean - (log_var / 2).exp() * epsilon


# --- kl_divergence -------------------------------------------------------------------------------


def kl_divergence(mean: Tensor, log_var: Tensor) -> Tensor:
    """1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2) over latents, mean over the batch, in nats."""
    terms = mean.square() + log_var.exp() - 1 - log_var  # (B, C, h, w)
    return terms.flatten(1).sum(dim=1).mean() / 2


def _kl_cases(generator: torch.Generator) -> Iterator[Case]:
    for shape in ((2, 1, 1, 2), (3, 4, 2, 2), (4, 4, 8, 8)):
        mean, log_var = torch.randn(2, *shape, generator=generator)
        yield Case((mean + 0.5, log_var - 1))


def _terms(mean: Tensor, log_var: Tensor) -> Tensor:
    return (mean.square() + log_var.exp() - 1 - log_var) / 2


def _summed(terms: Tensor) -> Tensor:
    return terms.flatten(1).sum(dim=1).mean()


def _mean_of_all(mean: Tensor, log_var: Tensor) -> Tensor:
    return _terms(mean, log_var).mean()


def _sum_of_all(mean: Tensor, log_var: Tensor) -> Tensor:
    return _terms(mean, log_var).sum()


def _for_each_picture(mean: Tensor, log_var: Tensor) -> Tensor:
    return _terms(mean, log_var).flatten(1).sum(dim=1)


def _opposite(mean: Tensor, log_var: Tensor) -> Tensor:
    return -_summed(_terms(mean, log_var))


def _without_half(mean: Tensor, log_var: Tensor) -> Tensor:
    return 2 * _summed(_terms(mean, log_var))


def _without_one(mean: Tensor, log_var: Tensor) -> Tensor:
    return _summed((mean.square() + log_var.exp() - log_var) / 2)


def _width_as_variance(mean: Tensor, log_var: Tensor) -> Tensor:
    return _summed((mean.square() + (log_var / 2).exp() - 1 - log_var) / 2)


def _variance_squared(mean: Tensor, log_var: Tensor) -> Tensor:
    return _summed((mean.square() + (2 * log_var).exp() - 1 - log_var) / 2)


def _mean_not_squared(mean: Tensor, log_var: Tensor) -> Tensor:
    return _summed((mean + log_var.exp() - 1 - log_var) / 2)


def _log_variance_as_variance(mean: Tensor, log_var: Tensor) -> Tensor:
    return _summed((mean.square() + log_var - 1 - log_var.log()) / 2)


def _in_bits(mean: Tensor, log_var: Tensor) -> Tensor:
    return _summed(_terms(mean, log_var)) / math.log(2)


# --- scaling_factor ------------------------------------------------------------------------------


def scaling_factor(latents: Tensor) -> float:
    """1 / standard deviation over all numbers of many latents."""
    return float(1 / latents.std())


def _scaling_cases(generator: torch.Generator) -> Iterator[Case]:
    # Channels and pictures differ in mean and width; there are so many numbers that dividing by
    # n or by n - 1 gives the same.
    for count, size in ((256, 4), (64, 8), (128, 8)):
        widths = torch.tensor([0.5, 1.0, 2.0, 3.0]).view(1, 4, 1, 1)
        loudness = torch.rand(count, 1, 1, 1, generator=generator) + 0.5
        noise = torch.randn(count, 4, size, size, generator=generator)
        shift = torch.randn(count, 4, 1, 1, generator=generator) + 1.0
        yield Case((widths * (loudness * noise + shift),))


def _just_std(latents: Tensor) -> Tensor:
    return latents.std()


def _one_over_variance(latents: Tensor) -> Tensor:
    return 1 / latents.var()


def _for_each_channel(latents: Tensor) -> Tensor:
    return 1 / latents.std(dim=(0, 2, 3))


def _for_each_channel_kept(latents: Tensor) -> Tensor:
    return 1 / latents.std(dim=(0, 2, 3), keepdim=True)


def _mean_of_channels(latents: Tensor) -> Tensor:
    return 1 / latents.std(dim=(0, 2, 3)).mean()


def _mean_of_pictures(latents: Tensor) -> Tensor:
    return 1 / latents.std(dim=(1, 2, 3)).mean()


def _mean_not_taken_off(latents: Tensor) -> Tensor:
    return 1 / latents.square().mean().sqrt()


def _one_over_largest(latents: Tensor) -> Tensor:
    return 1 / latents.abs().max()


def _over_the_batch(latents: Tensor) -> Tensor:
    return 1 / latents.std(dim=0)


# --- compression ---------------------------------------------------------------------------------


def compression(picture: Shape, latents: Shape) -> tuple[float, float]:
    """How many times fewer numbers, and how many times fewer positions, latents have."""
    channels, height, width = picture
    latent_channels, latent_height, latent_width = latents
    positions = (height * width) / (latent_height * latent_width)
    return positions * channels / latent_channels, positions


def _compression_cases(generator: torch.Generator) -> Iterator[Case]:
    yield Case(((3, 64, 64), (4, 8, 8)))
    yield Case(((3, 512, 512), (4, 64, 64)))
    yield Case(((3, 640, 960), (16, 80, 120)))
    yield Case(((3, 1024, 512), (32, 32, 16)))
    yield Case(((1, 30, 20), (7, 7, 3)))


def _swapped(picture: Shape, latents: Shape) -> tuple[float, float]:
    numbers, positions = compression(picture, latents)
    return positions, numbers


def _inverse(picture: Shape, latents: Shape) -> tuple[float, float]:
    numbers, positions = compression(picture, latents)
    return 1 / numbers, 1 / positions


def _whole_numbers(picture: Shape, latents: Shape) -> tuple[int, int]:
    (c, h, w), (k, i, j) = picture, latents
    return (c * h * w) // (k * i * j), (h * w) // (i * j)


def _channels_forgotten(picture: Shape, latents: Shape) -> tuple[float, float]:
    positions = compression(picture, latents)[1]
    return positions, positions


def _side_only(picture: Shape, latents: Shape) -> tuple[float, float]:
    return compression(picture, latents)[0], picture[1] / latents[1]


def _channels_last(picture: Shape, latents: Shape) -> tuple[float, float]:
    numbers = compression(picture, latents)[0]
    return numbers, (picture[0] * picture[1]) / (latents[0] * latents[1])


def _channels_upside_down(picture: Shape, latents: Shape) -> tuple[float, float]:
    positions = compression(picture, latents)[1]
    return positions * latents[0] / picture[0], positions


EXERCISES = (
    Exercise(
        "06.compression",
        compression,
        _compression_cases,
        hints=(
            "Count first: how many numbers does a tensor of shape (3, 64, 64) hold, and at how "
            "many places do they sit?",
            "Numbers: channels times height times width. Positions: height times width. Divide "
            "those of the picture by those of the latents, with / and not with //.",
            "With (c, h, w) of the picture and (k, i, j) of the latents: "
            "(c * h * w) / (k * i * j), (h * w) / (i * j).",
        ),
        difficulty=1,
        minutes=4,
        mistakes=(
            Mistake("The two results are swapped: numbers come first, positions second.", _swapped),
            Mistake(
                "It divides the latents by the picture. Asked is how many times FEWER the latents "
                "have, so the picture's count goes on top.",
                _inverse,
            ),
            Mistake(
                "`//` rounds down to whole numbers. The ratio need not be whole; divide with `/`.",
                _whole_numbers,
            ),
            Mistake(
                "The number of channels is not counted: numbers are channels times height times "
                "width. Positions do without channels, numbers don't.",
                _channels_forgotten,
            ),
            Mistake(
                "For positions it compares one side only. A picture that is 8 times as wide and 8 "
                "times as high has 8 times 8 as many positions.",
                _side_only,
            ),
            Mistake(
                "It reads shapes as (height, width, channels). Tensors of this course are (C, H, "
                "W): the channels come first, so positions are shape[1] * shape[2].",
                _channels_last,
            ),
            Mistake(
                "The ratio of the channels is upside down: more channels in the latents mean "
                "less compression, so the latents' channels belong below the line.",
                _channels_upside_down,
            ),
        ),
    ),
    Exercise(
        "06.reparameterise",
        reparameterise,
        _reparameterise_cases,
        hints=(
            "The network gives log sigma^2. Which function undoes a logarithm, and what turns a "
            "variance into a standard deviation?",
            "sigma = sqrt(exp(log_var)), which is exp(log_var / 2). Stretch the given noise by "
            "sigma, then move it by the mean.",
            "return mean + (log_var / 2).exp() * epsilon",
        ),
        difficulty=2,
        minutes=6,
        mistakes=(
            Mistake(
                "It stretches the noise by the variance, exp(log_var). Noise is stretched by the "
                "standard deviation, the square root of it: exp(log_var / 2).",
                _variance_as_width,
            ),
            Mistake(
                "The half stands outside of the exponential: exp(log_var) / 2 is half the "
                "variance. The square root of a variance is exp(log_var / 2).",
                _half_outside,
            ),
            Mistake(
                "It stretches the noise by log_var itself. That is a logarithm, and can be below "
                "zero; take the exponential of half of it.",
                _log_as_width,
            ),
            Mistake(
                "It stretches the noise by log_var / 2, which is log sigma. The exponential that "
                "undoes the logarithm is missing.",
                _half_log_as_width,
            ),
            Mistake(
                "It takes the square root of log_var, which is a logarithm and often below zero, "
                "so that NaN comes out. First undo the logarithm: exp(log_var / 2).",
                _root_of_log,
            ),
            Mistake("The mean is missing: the noise must be moved to it.", _without_mean),
            Mistake(
                "It draws noise of its own. Use the epsilon that is handed in, so that whoever "
                "calls decides about the seed.",
                _own_noise,
            ),
            Mistake(
                "The noise is taken off where it belongs added. Both have the same distribution, "
                "but with this epsilon the formula gives other numbers.",
                _minus_noise,
            ),
        ),
        call=_seeded,
        gradients=("mean", "log_var"),
        keeps_dtype=True,
        keeps_device=True,
    ),
    Exercise(
        "06.kl_divergence",
        kl_divergence,
        _kl_cases,
        hints=(
            "Write the four terms of the formula with mean and log_var first; sigma^2 is "
            "exp(log_var), and log sigma^2 is what you are given.",
            "Then sum over all latents of a picture, dimensions 1, 2 and 3, take the mean over the "
            "pictures, and don't forget the half.",
            "terms = mean.square() + log_var.exp() - 1 - log_var; "
            "return terms.sum(dim=(1, 2, 3)).mean() / 2",
        ),
        difficulty=3,
        minutes=10,
        mistakes=(
            Mistake(
                "It gives one number a picture. The mean over the batch is still missing.",
                _for_each_picture,
            ),
            Mistake(
                "It takes the mean over the latents too. A picture pays for every number, so sum "
                "over its latents, and take the mean over pictures only.",
                _mean_of_all,
            ),
            Mistake(
                "It sums over the batch too, so that twice as many pictures would cost twice as "
                "much. Sum over the latents of a picture, then take the mean over pictures.",
                _sum_of_all,
            ),
            Mistake(
                "The sign is the opposite. A KL divergence is never below zero; in the paper the "
                "formula stands with a minus, because there it is subtracted from a bound.",
                _opposite,
            ),
            Mistake("The factor 1/2 is missing.", _without_half),
            Mistake(
                "The -1 is missing: for mean 0 and variance 1 the divergence must be 0.",
                _without_one,
            ),
            Mistake(
                "Where sigma^2 belongs there is sigma: exp(log_var / 2). The variance is "
                "exp(log_var), without the half.",
                _width_as_variance,
            ),
            Mistake(
                "exp(log_var) is already sigma^2, and it was squared once more.",
                _variance_squared,
            ),
            Mistake("The mean is not squared.", _mean_not_squared),
            Mistake(
                "It takes log_var for the variance. It is the logarithm of it: sigma^2 is "
                "exp(log_var), and log sigma^2 is log_var itself.",
                _log_variance_as_variance,
            ),
            Mistake(
                "The result is in bits: something divides by log 2. Here nats are asked for, the "
                "unit that natural logarithms give.",
                _in_bits,
            ),
        ),
        gradients=("mean", "log_var"),
        keeps_dtype=True,
    ),
    Exercise(
        "06.scaling_factor",
        scaling_factor,
        _scaling_cases,
        hints=(
            "One number for all channels: which number must the latents be multiplied by, so that "
            "their standard deviation is 1?",
            "Take the standard deviation over everything at once, pictures, channels and "
            "positions, and put it below a 1.",
            "return float(1 / latents.std())",
        ),
        difficulty=2,
        minutes=5,
        mistakes=(
            Mistake(
                "This is the standard deviation itself. Latents are MULTIPLIED by the factor, so "
                "it is one over it.",
                _just_std,
            ),
            Mistake(
                "It divides by the variance. To get standard deviation 1, divide by the standard "
                "deviation, its square root.",
                _one_over_variance,
            ),
            Mistake(
                "It gives one factor for each channel. Rombach et al. use a single number for all "
                "of them, so that channels keep their proportions.",
                _for_each_channel,
            ),
            Mistake(
                "It gives one factor for each channel. Rombach et al. use a single number for all "
                "of them; without `dim` everything counts at once.",
                _for_each_channel_kept,
            ),
            Mistake(
                "It gives one factor for each place, from the pictures alone (dim=0). One number "
                "is asked for: leave `dim` out.",
                _over_the_batch,
            ),
            Mistake(
                "It takes the standard deviation of each channel and then their mean. That leaves "
                "out how far the channels' means lie apart; take it over everything at once.",
                _mean_of_channels,
            ),
            Mistake(
                "It takes the standard deviation of each picture and then their mean. That leaves "
                "out how far pictures lie apart; take it over everything at once.",
                _mean_of_pictures,
            ),
            Mistake(
                "It takes the root of the mean square, without taking the mean off first. A "
                "standard deviation is measured from the mean.",
                _mean_not_taken_off,
            ),
            Mistake(
                "It divides by the largest value, which a single odd picture can change. Divide "
                "by the standard deviation.",
                _one_over_largest,
            ),
        ),
        rtol=3e-4,
    ),
)
