"""Contestants of challenge 04: noise, ranges that nobody fitted, fitted cells, other bases."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from course_utils.challenges.squeeze.ask import latent_shape

Functions = Mapping[str, Callable[..., Any]]
Parameters = dict[str, Tensor]


# --- bits and cells ------------------------------------------------------------------------------


def pack(cells: Tensor, bits: Tensor) -> Tensor:
    """Cell numbers (N, K), of which number k has bits[k] bits, as bytes (N, sum of bits / 8)."""
    owner = torch.repeat_interleave(torch.arange(len(bits)), bits)  # whose bit it is
    place = torch.cat([torch.arange(int(b)) for b in bits])  # which of its bits
    flags = (cells[:, owner] >> place) & 1  # (N, total)
    return (flags.view(len(cells), -1, 8) << torch.arange(8)).sum(dim=2).to(torch.uint8)


def unpack(data: Tensor, bits: Tensor) -> Tensor:
    """The inverse of `pack`."""
    owner = torch.repeat_interleave(torch.arange(len(bits)), bits)
    place = torch.cat([torch.arange(int(b)) for b in bits])
    flags = ((data.long()[:, :, None] >> torch.arange(8)) & 1).flatten(1)  # (N, total)
    cells = torch.zeros(len(data), len(bits), dtype=torch.long)
    return cells.index_add_(1, owner, flags << place)


def lloyd_max(values: Tensor, count: int, rounds: int = 30) -> Tensor:
    """Levels with the least squared error on the rows of values, (K, M) -> (K, count), rising.

    Many levels fit the values at hand too well, and clip what lies beyond them; from 64 on, equal
    cells over a range a little wider than theirs serve better.
    """
    if count >= 64:
        low, high = values.amin(dim=1), values.amax(dim=1)
        return even(low - 0.25 * (high - low), high + 0.25 * (high - low), count)
    levels = values.quantile((torch.arange(count) + 0.5) / count, dim=1).T.contiguous()
    for _ in range(rounds):
        cell = torch.searchsorted((levels[:, 1:] + levels[:, :-1]) / 2, values)  # (K, M)
        total = torch.zeros_like(levels).scatter_add_(1, cell, values)
        members = torch.zeros_like(levels).scatter_add_(1, cell, torch.ones_like(values))
        levels = torch.where(members > 0, total / members.clamp(min=1), levels)
    return levels


def even(low: Tensor, high: Tensor, count: int) -> Tensor:
    """Middles of equal cells, (K,), (K,) -> (K, count)."""
    middles = (torch.arange(count) + 0.5) / count
    return low[:, None] + (high - low)[:, None] * middles


def share_bits(variances: Tensor, total: int, most: int = 8) -> Tensor:
    """Each next bit to the number with the largest error; a bit divides it by 4."""
    bits, error = torch.zeros(len(variances), dtype=torch.long), variances.clone()
    for _ in range(total):
        k = int(torch.where(bits < most, error, 0.0).argmax())
        bits[k] += 1
        error[k] /= 4
    return bits


# --- one codec: a basis, bits for each number, levels for each number ----------------------------


def encode(latents: Tensor, parameters: Parameters, **hidden: Any) -> Tensor:
    numbers = (latents.flatten(1) - parameters["mean"]) @ parameters["basis"]  # (N, K)
    levels = parameters["levels"]
    middles = (levels[:, 1:] + levels[:, :-1]) / 2  # infinite above a number's last level
    cells = torch.searchsorted(middles, numbers.T.contiguous()).T
    return pack(cells, parameters["bits"])


def decode(data: Tensor, parameters: Parameters, **hidden: Any) -> Tensor:
    cells = unpack(data, parameters["bits"])
    numbers = parameters["levels"].gather(1, cells.T).T
    flat = numbers @ parameters["basis"].T + parameters["mean"]
    return flat.view(-1, *latent_shape())


Levels = Callable[[Tensor, int], Tensor]


def codec(basis_of: Callable[[Tensor], Tensor], levels_of: Levels) -> Functions:
    """A basis, bits by variance, and a rule for levels."""

    @functools.lru_cache(maxsize=4)
    def fitted(num_bytes: int) -> Parameters:
        latents = training["latents"].flatten(1)
        mean = latents.mean(dim=0)
        basis = basis_of(latents - mean)
        numbers = ((latents - mean) @ basis).T.contiguous()  # (K, M)
        bits = share_bits(numbers.var(dim=1), 8 * num_bytes)
        levels = torch.full((len(numbers), 2 ** int(bits.max())), math.inf)
        for b in bits.unique().tolist():
            levels[bits == b, : 2**b] = levels_of(numbers[bits == b], 2**b)
        return {"mean": mean, "basis": basis, "bits": bits, "levels": levels}

    training: dict[str, Tensor] = {}

    def fit(training_latents: Tensor, num_bytes: int, **hidden: Any) -> Parameters:
        training["latents"] = training_latents
        return fitted(num_bytes)

    return {"fit": fit, "encode": encode, "decode": decode}


def plain(levels_of: Levels, by_channel: bool = True) -> Functions:
    """The latents as they are, as many bits for each, levels for each channel or for all."""

    def fit(training_latents: Tensor, num_bytes: int, **hidden: Any) -> Parameters:
        size = training_latents[0].numel()
        bits = torch.full((size,), 8 * num_bytes // size)
        groups = len(training_latents[0]) if by_channel else 1
        values = training_latents.transpose(0, 1).reshape(groups, -1)
        levels = levels_of(values, 2 ** int(bits[0])).repeat_interleave(size // groups, dim=0)
        return {
            "mean": torch.zeros(size),
            "basis": torch.eye(size),
            "bits": bits,
            "levels": levels,
        }

    return {"fit": fit, "encode": encode, "decode": decode}


def by_hand(values: Tensor, count: int) -> Tensor:
    """A range for each number of cells, as one finds it by trying."""
    width = {256: 4.0, 8: 2.4, 4: 1.9}[count]
    return fixed_range(width)(values, count)


def fixed_range(width: float) -> Levels:
    return lambda values, count: even(
        torch.full((len(values),), -width), torch.full((len(values),), width), count
    )


def whole_range(values: Tensor, count: int) -> Tensor:
    return even(values.amin(dim=1), values.amax(dim=1), count)


def deviations(values: Tensor, count: int) -> Tensor:
    """Cells from mean - k deviations to mean + k; k is about the best one of a Gaussian."""
    width = {1: 0.0, 2: 1.6, 4: 2.0, 8: 2.35, 16: 2.7, 256: 4.0}.get(count, 3.0)
    mean, deviation = values.mean(dim=1), values.std(dim=1)
    return even(mean - width * deviation, mean + width * deviation, count)


def principal(centred: Tensor) -> Tensor:
    """Eigenvectors of the covariance: Karhunen and Loeve."""
    return torch.linalg.eigh(torch.cov(centred.T.double())).eigenvectors.float()


def cosine(centred: Tensor) -> Tensor:
    """The two-dimensional cosine transform of each channel, which needs no fit."""
    channels, side, _ = latent_shape()
    n = torch.arange(float(side))
    waves = torch.cos(math.pi * (n[:, None] + 0.5) * n / side) * math.sqrt(2 / side)
    waves[:, 0] /= math.sqrt(2)
    return torch.kron(torch.eye(channels), torch.kron(waves, waves))


# --- without a codec -----------------------------------------------------------------------------


def nothing(**hidden: Any) -> Parameters:
    return {}


def noise(latents: Tensor, num_bytes: int, **hidden: Any) -> Tensor:
    return torch.randint(256, (len(latents), num_bytes), dtype=torch.uint8)


def noise_latents(data: Tensor, **hidden: Any) -> Tensor:
    return torch.randn(len(data), *latent_shape())


def mean_only(data: Tensor, parameters: Parameters, **hidden: Any) -> Tensor:
    return parameters["mean"].expand(len(data), *latent_shape())


def fit_mean(training_latents: Tensor, **hidden: Any) -> Parameters:
    return {"mean": training_latents.mean(dim=0)}


def as_float(latents: Tensor, **hidden: Any) -> Tensor:
    return latents.contiguous().flatten(1).view(torch.uint8)


def from_float(data: Tensor, **hidden: Any) -> Tensor:
    return data.contiguous().view(torch.float32).view(-1, *latent_shape())


BYTES = plain(fixed_range(4.0), by_channel=False)
CONTESTANTS: Mapping[str, Functions] = {
    "noise: bytes that mean nothing": {**BYTES, "encode": noise},
    "noise: latents drawn from N(0, I)": {"fit": nothing, "encode": noise, "decode": noise_latents},
    "the mean of all latents, no bytes read": {
        "fit": fit_mean,
        "encode": noise,
        "decode": mean_only,
    },
    "naive: equal cells in [-1, 1]": plain(fixed_range(1.0), by_channel=False),
    "naive: equal cells in [-4, 4]": BYTES,
    "equal cells, a range by hand for each budget": plain(by_hand, by_channel=False),
    "equal cells from least to most, per channel": plain(whole_range),
    "equal cells within deviations, per channel": plain(deviations),
    "Lloyd-Max, one for all channels": plain(lloyd_max, by_channel=False),
    "Lloyd-Max, per channel": plain(lloyd_max),
    "cosine transform, bits by variance, Lloyd-Max": codec(cosine, lloyd_max),
    "eigenvectors, bits by variance, equal cells": codec(principal, deviations),
    "reference: eigenvectors, bits by variance, Lloyd-Max": codec(principal, lloyd_max),
    "unquantised: float32 (over the budget)": {
        "fit": nothing,
        "encode": as_float,
        "decode": from_float,
    },
}
