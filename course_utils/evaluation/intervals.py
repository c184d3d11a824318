"""How sure a measurement is: intervals for means, shares and distances.

Seeds of one prompt are not independent: a prompt that fails once often fails again. So what is
drawn again, or left out, is always a whole group of values that belong together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A measured value and its interval."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    values: Tensor,
    groups: Tensor | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    *,
    generator: torch.Generator,
) -> Estimate:
    """The mean and its percentile bootstrap interval, with whole groups drawn again.

    Where all groups agree the bootstrap sees no spread at all; for shares see `share_interval`.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13; groups:
    Davison and Hinkley 1997, "Bootstrap methods and their application", section 3.8.

    Args:
        values: (N,) numbers, or true and false.
        groups: (N,) whole numbers that tell what belongs together; None: each value on its own.
        confidence: between 0 and 1.
        resamples: how often.
        generator: CPU generator.
    """
    values, members, sums = _by_group(values, groups)
    _check_confidence(confidence)
    drawn = torch.randint(len(sums), (resamples, len(sums)), generator=generator)
    means = sums[drawn].sum(dim=1) / members[drawn].sum(dim=1)
    tail = (1 - confidence) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Estimate(float(values.mean()), low, high)


def share_interval(
    right: Tensor,
    groups: Tensor | None = None,
    confidence: float = 0.95,
    *,
    generator: torch.Generator,
) -> Estimate:
    """A share of true values: `bootstrap_interval`, or Wilson's where all values agree.

    With every value alike the bootstrap would claim certainty; Wilson's interval then counts each
    group as one trial.
    """
    values, members, _ = _by_group(right, groups)
    share = float(values.mean())
    if share in (0.0, 1.0):
        return wilson_interval(round(share * len(members)), len(members), confidence)
    return bootstrap_interval(right, groups, confidence, generator=generator)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """The interval of a share of independent trials.

    All p with |p_hat - p| <= z sqrt(p (1 - p) / n); solved for p:
    (p_hat + z^2/2n +- z sqrt(p_hat (1 - p_hat)/n + z^2/4n^2)) / (1 + z^2/n).

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes={successes}, n={n}; expected 0 <= successes <= n and n > 0")
    _check_confidence(confidence)
    z, p = NormalDist().inv_cdf(0.5 + confidence / 2), successes / n
    middle = p + z * z / (2 * n)
    reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    whole = 1 + z * z / n
    low = 0.0 if successes == 0 else (middle - reach) / whole
    high = 1.0 if successes == n else (middle + reach) / whole
    return Estimate(p, low, high)


def jackknife_interval(
    statistic: Callable[[Tensor], float], groups: int, confidence: float = 0.95, blocks: int = 20
) -> Estimate:
    """The interval of a statistic that is no mean, such as a distance between sets.

    It is computed again with each block of groups left out; with g blocks the variance is
    (g - 1)/g times the sum of the squared deviations, and the interval is Student's. A bootstrap
    would draw pictures twice, and a picture is close to itself, which such distances notice.

    Source: Efron and Tibshirani 1993, chapter 11.

    Args:
        statistic: from the groups to keep, a sorted int64 tensor, to a number.
        groups: how many there are, at least 2.
        confidence: between 0 and 1.
        blocks: how many to cut them into, at most one for each group.
    """
    if groups < 2:
        raise ValueError(f"groups is {groups}; expected at least 2")
    _check_confidence(confidence)
    g = min(blocks, groups)
    block = torch.arange(groups) % g
    every = torch.arange(groups)
    value = statistic(every)
    without = torch.tensor([statistic(every[block != i]) for i in range(g)], dtype=torch.float64)
    error = math.sqrt((g - 1) / g * float((without - without.mean()).square().sum()))
    reach = student_t(0.5 + confidence / 2, g - 1) * error
    return Estimate(value, value - reach, value + reach)


def student_t(p: float, degrees: int) -> float:
    """The p-quantile of Student's t.

    Source: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4, solved for the angle by halving.
    """

    def within(angle: float) -> float:
        """The probability of at most sqrt(degrees) tan(angle), in size."""
        odd = degrees % 2
        term = math.cos(angle) if odd else 1.0
        terms = [term] if degrees > 1 else []
        for k in range(2 + odd, degrees - 1, 2):
            term *= math.cos(angle) ** 2 * (k - 1) / k
            terms.append(term)
        total = math.sin(angle) * math.fsum(terms)
        return (angle + total) * 2 / math.pi if odd else total

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < abs(2 * p - 1) else (low, middle)
    return math.copysign(math.sqrt(degrees) * math.tan(low), p - 0.5)


def _by_group(values: Tensor, groups: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Values as float64, and of each group how many there are and their sum."""
    values = torch.as_tensor(values).detach().cpu().double()
    groups = torch.arange(len(values)) if groups is None else torch.as_tensor(groups).cpu()
    if values.ndim != 1 or values.shape != groups.shape or not len(values):
        raise ValueError(
            f"values has shape {tuple(values.shape)} and groups {tuple(groups.shape)}; expected "
            "(N,) and (N,) with N > 0"
        )
    number = groups.unique(return_inverse=True)[1]
    zeros = torch.zeros(int(number.max()) + 1, dtype=torch.float64)
    members = zeros.index_add(0, number, torch.ones_like(values))
    return values, members, zeros.index_add(0, number, values)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; expected a number between 0 and 1")
