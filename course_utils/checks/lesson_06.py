"""Lesson 06, the latent VAE: what is right, and what people get wrong."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from course_utils.checks.exercise import Case, Exercise, call_seeded
from course_utils.checks.mistakes import slips

Shape = tuple[int, int, int]


# --- reparameterise ------------------------------------------------------------------------------


def reparameterise(mean: Tensor, log_var: Tensor, epsilon: Tensor) -> Tensor:
    """z = mu + sigma * epsilon with sigma = exp(log sigma^2 / 2)."""
    return mean + (log_var / 2).exp() * epsilon


def _reparameterise_cases(generator: torch.Generator) -> Iterator[Case]:
    for shape in ((2, 4, 1, 1), (3, 4, 8, 8), (5, 2)):
        mean, log_var, epsilon = torch.randn(3, *shape, generator=generator)
        yield Case((mean, log_var - 1, epsilon))


# --- kl_divergence -------------------------------------------------------------------------------


def kl_divergence(mean: Tensor, log_var: Tensor) -> Tensor:
    """1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2) over latents, mean over the batch, in nats."""
    terms = mean.square() + log_var.exp() - 1 - log_var  # (B, C, h, w)
    return terms.flatten(1).sum(dim=1).mean() / 2


def _kl_cases(generator: torch.Generator) -> Iterator[Case]:
    for shape in ((2, 1, 1, 2), (3, 4, 2, 2), (4, 4, 8, 8)):
        mean, log_var = torch.randn(2, *shape, generator=generator)
        yield Case((mean + 0.5, log_var - 1))


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
            "With (c, h, w) of the picture and (k, i, j) of the latents: (c * h * w) / "
            "..., (h * w) / ...",
        ),
        difficulty=1,
        minutes=4,
        mistakes=slips(
            """
            swapped:
                `positions * channels / latent_channels, positions`
                -> `positions, positions * channels / latent_channels`
                The two results are swapped: numbers come first, positions second.
            inverse:
                `positions * channels / latent_channels, positions`
                -> `latent_channels / (positions * channels), 1 / positions`
                It divides the latents by the picture. Asked is how many times FEWER the latents
                have, so the picture's count goes on top.
            rounded_down: `(height * width) / (` -> `(height * width) // (`
                `positions * channels / latent_channels, positions`
                -> `torch.Size(picture).numel() // torch.Size(latents).numel(), positions`
                `//` rounds down to whole numbers. The ratio need not be whole; divide with `/`.
            channels_forgotten:
                `positions * channels / latent_channels, positions` -> `positions, positions`
                The number of channels is not counted: numbers are channels times height times
                width. Positions do without channels, numbers don't.
            one_side: `latent_channels, positions` -> `latent_channels, height / latent_height`
                For positions it compares one side only. A picture that is 8 times as wide and 8
                times as high has 8 times 8 as many positions.
            channels_last:
                `latent_channels, positions`
                -> `latent_channels, (channels * height) / (latent_channels * latent_height)`
                It reads shapes as (height, width, channels). Tensors of this course are (C, H, W):
                the channels come first, so positions are shape[1] * shape[2].
            channels_upside_down: `channels / latent_channels` -> `latent_channels / channels`
                The ratio of the channels is upside down: more channels in the latents mean less
                compression, so the latents' channels belong below the line.
            """
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
            "return mean + (...).exp() * epsilon",
        ),
        difficulty=2,
        minutes=6,
        mistakes=slips(
            """
            variance: `(log_var / 2).exp()` -> `log_var.exp()`
                It stretches the noise by the variance, exp(log_var). Noise is stretched by the
                standard deviation, the square root of it: exp(log_var / 2).
            half_outside: `(log_var / 2).exp()` -> `log_var.exp() / 2`
                The half stands outside of the exponential: exp(log_var) / 2 is half the variance.
                The square root of a variance is exp(log_var / 2).
            logarithm: `(log_var / 2).exp()` -> `log_var`
                It stretches the noise by log_var itself. That is a logarithm, and can be below
                zero; take the exponential of half of it.
            half_logarithm: `(log_var / 2).exp()` -> `log_var / 2`
                It stretches the noise by log_var / 2, which is log sigma. The exponential that
                undoes the logarithm is missing.
            root_of_logarithm: `(log_var / 2).exp()` -> `log_var.sqrt()`
                It takes the square root of log_var, which is a logarithm and often below zero, so
                that NaN comes out. First undo the logarithm: exp(log_var / 2).
            no_mean: `mean + ` -> ``
                The mean is missing: the noise must be moved to it.
            own_noise: `* epsilon` -> `* torch.randn_like(mean)`
                It draws noise of its own. Use the epsilon that is handed in, so that whoever calls
                decides about the seed.
            noise_subtracted: `mean + ` -> `mean - `
                The noise is taken off where it belongs added. Both have the same distribution, but
                with this epsilon the formula gives other numbers.
            exponent_sign: `(log_var / 2).exp()` -> `(-log_var / 2).exp()`
                The sign in the exponential is wrong: this is 1 / sigma. sigma is exp(log_var / 2).
            """
        ),
        call=call_seeded,
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
            "terms = mean.square() + log_var.exp() - ...; the sum over the latents of a "
            "picture is terms.flatten(1).sum(dim=1); then the mean over pictures, and the"
            " half.",
        ),
        difficulty=3,
        minutes=10,
        mistakes=slips(
            """
            one_a_picture: `.mean() / 2` -> ` / 2`
                It gives one number a picture. The mean over the batch is still missing.
            mean_of_all: `.flatten(1).sum(dim=1)` -> ``
                It takes the mean over the latents too. A picture pays for every number, so sum over
                its latents, and take the mean over pictures only.
            sum_of_all: `.flatten(1).sum(dim=1).mean()` -> `.sum()`
                It sums over the batch too, so that twice as many pictures would cost twice as much.
                Sum over the latents of a picture, then take the mean over pictures.
            opposite: `return terms` -> `return -terms`
                The sign is the opposite. A KL divergence is never below zero; in the paper the
                formula stands with a minus, because there it is subtracted from a bound.
            no_half: ` / 2` -> ``
                The factor 1/2 is missing.
            no_one: ` - 1` -> ``
                The -1 is missing: for mean 0 and variance 1 the divergence must be 0.
            deviation: `log_var.exp()` -> `(log_var / 2).exp()`
                Where sigma^2 belongs there is sigma: exp(log_var / 2). The variance is
                exp(log_var), without the half.
            squared_twice: `log_var.exp()` -> `(2 * log_var).exp()`
                exp(log_var) is already sigma^2, and it was squared once more.
            mean_not_squared: `mean.square()` -> `mean`
                The mean is not squared.
            logarithm_as_variance: `log_var.exp() - 1 - log_var` -> `log_var - 1 - log_var.log()`
                It takes log_var for the variance. It is the logarithm of it: sigma^2 is
                exp(log_var), and log sigma^2 is log_var itself.
            bits: ` / 2` -> ` / 2 / torch.tensor(2.0).log()`
                The result is in bits: something divides by log 2. Here nats are asked for, the unit
                that natural logarithms give.
            exponent_sign: `log_var.exp()` -> `(-log_var).exp()`
                The sign in the exponential is wrong: this is 1 / sigma^2. sigma^2 is exp(log_var).
            """
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
            "return float(1 / ...)",
        ),
        difficulty=2,
        minutes=5,
        mistakes=slips(
            """
            deviation: `1 / latents.std()` -> `latents.std()`
                This is the standard deviation itself. Latents are MULTIPLIED by the factor, so it
                is one over it.
            variance: `std()` -> `var()`
                It divides by the variance. To get standard deviation 1, divide by the standard
                deviation, its square root.
            one_a_channel: `float(1 / latents.std())` -> `1 / latents.std(dim=(0, 2, 3))`
                It gives one factor for each channel. Rombach et al. use a single number for all of
                them, so that channels keep their proportions.
            one_a_channel_kept:
                `float(1 / latents.std())` -> `1 / latents.std(dim=(0, 2, 3), keepdim=True)`
                It gives one factor for each channel. Rombach et al. use a single number for all of
                them; without `dim` everything counts at once.
            one_a_place: `float(1 / latents.std())` -> `1 / latents.std(dim=0)`
                It gives one factor for each place, from the pictures alone (dim=0). One number is
                asked for: leave `dim` out.
            mean_of_channels: `std()` -> `std(dim=(0, 2, 3)).mean()`
                It takes the standard deviation of each channel and then their mean. That leaves out
                how far the channels' means lie apart; take it over everything at once.
            mean_of_pictures: `std()` -> `std(dim=(1, 2, 3)).mean()`
                It takes the standard deviation of each picture and then their mean. That leaves out
                how far pictures lie apart; take it over everything at once.
            root_mean_square: `latents.std()` -> `latents.square().mean().sqrt()`
                It takes the root of the mean square, without taking the mean off first. A standard
                deviation is measured from the mean.
            largest: `latents.std()` -> `latents.abs().max()`
                It divides by the largest value, which a single odd picture can change. Divide by
                the standard deviation.
            """
        ),
        rtol=3e-4,
    ),
)
