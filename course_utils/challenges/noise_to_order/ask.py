"""Challenge 01, Noise to order: schedules that meet a given curve of signal-to-noise ratios.

Betas are measured by what they do. The running product is taken as a sum of log(1 - beta) in
float64, so that the measurement itself adds less than 1e-12 to a logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from course_utils.challenges.declare import Band, Challenge, Limits, Measurement, Part, Refused
from course_utils.challenges.noise_to_order import NUMBER, TITLE
from course_utils.challenges.validation import kind

WORST = 20.0  # decades; what an SNR counts that is infinite, or 0 where it should not be
LIMITS = Limits(seconds=10.0, megabytes=1500)
Inputs = Sequence[Mapping[str, Any]]


# --- the curves ----------------------------------------------------------------------------------


def falling_curve(
    random: np.random.Generator,
    length: int,
    start: float,
    end: float,
    shape: float = 1.0,
    spread: float = 1.3,
) -> np.ndarray[Any, Any]:
    """log10 SNR that falls from `start` to `end` in steps of very different height, `(length,)`.

    Args:
        random: decides where it is steep.
        length: number of rows, at least 2.
        start, end: first and last value.
        shape: of the gamma distribution that rows differ by; the larger, the more alike they are.
        spread: steep parts fall up to exp(2 * spread) times as fast as flat ones.
    """
    knots = random.permutation(np.linspace(-spread, spread, 6))
    pace = np.exp(np.interp(np.linspace(0, 5, length - 1), np.arange(6), knots))
    drops = pace * (0.05 + random.gamma(shape, size=length - 1))
    return np.concatenate([[start], start + (end - start) * np.cumsum(drops) / drops.sum()])


def ordinary_curves(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part a: curves such as schedules have, from 12 to 1000 steps."""
    lengths = (12, *random.integers(40, 400, 2).tolist(), 1000)
    return [
        {"snr": 10 ** falling_curve(random, n, random.uniform(4, 5), random.uniform(-6, -4))}
        for n in lengths
    ]


def extreme_curves(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part b: first steps that hardly touch the picture; every second curve ends at exactly 0."""
    found = []
    for number, n in enumerate((30, *random.integers(60, 300, 2).tolist(), 1000)):
        curve = falling_curve(random, n, random.uniform(8, 9), random.uniform(-6, -5))
        snr = 10**curve
        if number % 2 == 0:
            snr[-1] = 0.0
        found.append({"snr": snr})
    return found


def beta_tables(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part c: linear, scaled-linear and bumpy tables, with a terminal SNR to reach or with 0."""
    found = []
    for number in range(4):
        n = int(random.integers(100, 1000))
        top = 20 / n * random.uniform(0.6, 1.2)  # alpha-bar ends where those of papers end
        power = 1 if number % 2 else 2
        low = (top / random.uniform(15, 200)) ** (1 / power)
        betas = np.linspace(low, top ** (1 / power), n) ** power
        if number >= 2:
            betas *= random.uniform(0.7, 1.3, n)
        betas = np.minimum(betas, 0.5)
        terminal = 0.0 if number % 2 == 0 else 10 ** random.uniform(-5, -1.5)
        found.append({"betas": betas, "terminal_snr": float(terminal)})
    return found


def alpha_bar_tables(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part d: tables with steep and flat parts, and fewer or more timesteps to choose.

    In the second one the flat parts hold so many rows that marks in the steep ones fall on the same
    row twice; in the short ones the next row is up to a third of a gap away, so that it matters
    which of two rows is taken.
    """
    found = []
    for rows, steps, shape, spread in (
        (400, 12, 1.0, 1.6),
        (300, 100, 1.0, 1.6),
        (90, 24, 4.0, 0.7),
        (60, 16, 4.0, 0.7),
        (24, 10, 4.0, 0.7),
    ):
        n = rows + int(random.integers(0, rows // 5))
        num_steps = steps + int(random.integers(0, 3))
        start, end = random.uniform(3, 4.5), random.uniform(-5, -3)
        snr = 10 ** falling_curve(random, n, start, end, shape, spread)
        found.append({"alpha_bar": snr / (1 + snr), "num_steps": num_steps})
    return found


# --- what an answer is compared with -------------------------------------------------------------


def log10_snr(betas: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """log10 SNR of a schedule, `(T,)`; plus infinity where nothing is lost, minus where all is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_alpha_bar = np.cumsum(np.log1p(-betas.astype(np.float64)))
        log_noise = np.log(np.maximum(-np.expm1(log_alpha_bar), 0.0))
        found: np.ndarray[Any, Any] = (log_alpha_bar - log_noise) / math.log(10)
    return found


def rescaled_log10_snr(betas: np.ndarray[Any, Any], terminal_snr: float) -> np.ndarray[Any, Any]:
    """log10 SNR after sqrt(alpha-bar) was shifted and stretched to end at `terminal_snr`."""
    log_root = np.cumsum(np.log1p(-betas)) / 2
    root, first, last = np.exp(log_root), np.exp(log_root[0]), np.exp(log_root[-1])
    end = math.sqrt(terminal_snr / (1 + terminal_snr))
    root = end + (root - last) * (first - end) / (first - last)
    noise = np.concatenate([[betas[0]], 1 - root[1:] ** 2])  # the first one stays what it was
    with np.errstate(divide="ignore"):
        found: np.ndarray[Any, Any] = np.log10(root**2 / noise)
    return found


def best_gap(log_snr: np.ndarray[Any, Any], num_steps: int) -> float:
    """The smallest largest gap of `num_steps` timesteps, from the last row to the first.

    A gap is possible if going as far as it allows, again and again, arrives in time; this finds
    the smallest possible one among all differences of two rows.
    """
    gaps = np.unique(log_snr[:, None] - log_snr[None, :])
    gaps = gaps[gaps > 0]
    low, high = 0, len(gaps) - 1
    while low < high:
        middle = (low + high) // 2
        if _jumps(log_snr, gaps[middle]) <= num_steps - 1:
            high = middle
        else:
            low = middle + 1
    return float(gaps[low])


def _jumps(log_snr: np.ndarray[Any, Any], gap: float) -> float:
    """How many jumps of at most `gap` lead from row 0 to the last row."""
    reach = np.searchsorted(-log_snr, -(log_snr - gap * (1 + 1e-12)), side="right") - 1
    row, jumps = 0, 0
    while row < len(log_snr) - 1:
        if reach[row] <= row:
            return math.inf
        row, jumps = int(reach[row]), jumps + 1
    return jumps


# --- measurements --------------------------------------------------------------------------------


def measure_curves(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Parts a and b."""
    wanted = []
    for given in inputs:
        with np.errstate(divide="ignore"):
            wanted.append(np.log10(given["snr"]))
    found = [
        _betas("betas_for", value, len(given["snr"]), f"the {len(given['snr'])} ratios of snr")
        for given, value in zip(inputs, outputs, strict=True)
    ]
    return _largest_error(wanted, found)


def measure_rescaled(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part c."""
    wanted = [rescaled_log10_snr(given["betas"], given["terminal_snr"]) for given in inputs]
    found = [
        _betas("rescale", value, len(given["betas"]), f"the {len(given['betas'])} betas given")
        for given, value in zip(inputs, outputs, strict=True)
    ]
    return _largest_error(wanted, found)


def measure_timesteps(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part d."""
    ratios = []
    for given, value in zip(inputs, outputs, strict=True):
        alpha_bar, num_steps = given["alpha_bar"], given["num_steps"]
        chosen = _timesteps(value, len(alpha_bar), num_steps)
        log_snr = np.log(alpha_bar) - np.log1p(-alpha_bar)
        gaps = np.diff(log_snr[chosen])
        ratios.append(float(gaps.max()) / best_gap(log_snr, num_steps))
    worst = int(np.argmax(ratios))
    table = inputs[worst]
    note = (
        f"This was for {table['num_steps']} timesteps of a table of {len(table['alpha_bar'])} rows."
    )
    return Measurement(
        max(ratios),
        (note,),
        {f"table {number}": ratio for number, ratio in enumerate(ratios)},
    )


def _largest_error(
    wanted: Sequence[np.ndarray[Any, Any]], found: Sequence[np.ndarray[Any, Any]]
) -> Measurement:
    """The largest difference in log10 SNR over all curves, and where it was."""
    errors, notes = [], []
    for want, betas in zip(wanted, found, strict=True):
        have = log10_snr(betas)
        with np.errstate(invalid="ignore"):
            error = np.where(want == have, 0.0, np.abs(want - have))  # -inf meets -inf
        errors.append(np.minimum(np.nan_to_num(error, nan=WORST, posinf=WORST), WORST))
    worst = int(np.argmax([error.max() for error in errors]))
    want, betas, error = wanted[worst], found[worst], errors[worst]
    row, rows = int(error.argmax()), len(error)
    if error[row] > 1e-12:
        notes.append(f"The largest error is in row {row} of a curve of {rows} rows.")
    full = np.flatnonzero(betas[:-1] >= 1)
    if len(full):
        notes.append(
            f"There beta is 1 in row {full[0]}, and what follows is pure noise. Only the last row "
            "of a curve that ends at 0 has a beta of 1."
        )
    elif want[-1] == -math.inf and betas[-1] != 1:
        notes.append("That curve ends at an SNR of exactly 0, so its last beta is exactly 1.")
    elif betas[row] == 0:
        notes.append("The beta of that row is exactly 0: it was too small for the way it was made.")
    details = {f"curve {number}": float(part.max()) for number, part in enumerate(errors)}
    return Measurement(max(details.values()), tuple(notes), details)


def _betas(name: str, value: Any, length: int, what: str) -> np.ndarray[Any, Any]:
    """What came back, if it is a table of betas."""
    if not isinstance(value, np.ndarray):
        raise Refused(f"{name} gives {kind(value)}; expected a tensor of shape (T,).")
    if value.dtype.kind != "f":
        raise Refused(f"{name} gives a tensor of {value.dtype}; expected float64.")
    if value.shape != (length,):
        raise Refused(
            f"{name} gives shape {value.shape} for {what}; expected ({length},), one beta a row."
        )
    if not np.isfinite(value).all():
        row = int(np.flatnonzero(~np.isfinite(value))[0])
        raise Refused(f"{name} gives {value[row]} in row {row} of {length}; expected numbers.")
    if value.min() < 0 or value.max() > 1:
        row = int(np.flatnonzero((value < 0) | (value > 1))[0])
        why = " So small a number below 0 comes from rounding." if -1e-5 < value[row] < 0 else ""
        raise Refused(
            f"{name} gives {value[row]:.6g} in row {row} of {length}; a beta is a share of the "
            f"variance, from 0 to 1.{why}"
        )
    return value


def _timesteps(value: Any, rows: int, num_steps: int) -> np.ndarray[Any, Any]:
    """What came back, if it is a choice of timesteps."""
    name = "timesteps_for"
    if not isinstance(value, np.ndarray):
        raise Refused(f"{name} gives {kind(value)}; expected a tensor of {num_steps} timesteps.")
    if value.dtype.kind != "i":
        raise Refused(f"{name} gives a tensor of {value.dtype}; timesteps are int64.")
    if value.shape != (num_steps,):
        raise Refused(
            f"{name} gives shape {value.shape} where num_steps is {num_steps}; expected "
            f"({num_steps},)."
        )
    if value.min() < 0 or value.max() >= rows:
        raise Refused(f"{name} gives timesteps that are no rows of a table of {rows} rows.")
    if (np.diff(value) == 0).any():
        raise Refused(
            f"{name} gives a timestep twice, for {num_steps} of {rows} rows. All must differ."
        )
    if (np.diff(value) > 0).any():
        raise Refused(f"{name} gives timesteps that rise somewhere; expected falling ones.")
    if value[0] != rows - 1 or value[-1] != 0:
        raise Refused(
            f"{name} goes from {value[0]} to {value[-1]} in a table of {rows} rows; expected from "
            f"{rows - 1}, the noisiest, to 0, the cleanest."
        )
    return value


# --- the challenge -------------------------------------------------------------------------------

CHALLENGE = Challenge(
    number=NUMBER,
    title=TITLE,
    answers=("betas-for", "rescale", "timesteps-for"),
    setup="import math\n\nimport torch\nfrom torch import Tensor",
    withheld=("course_utils.schedules",),
    pass_points=7,
    minutes=60,
    parts=(
        Part(
            id="a",
            title="ordinary curves",
            function="betas_for",
            inputs=ordinary_curves,
            measure=measure_curves,
            bands=(Band(1e-5, 3, "exact"), Band(0.03, 2, "rounded"), Band(0.5, 1, "the shape")),
            quantity="largest error of log10 SNR, in powers of ten",
            better="less",
            advice="Go from SNR to alpha-bar, and from alpha-bar to a step: one row divided by the "
            "row before, with 1 before the first row. Print the dtype of your result, and the SNR "
            "that your betas give beside the one that was ordered.",
            limits=LIMITS,
        ),
        Part(
            id="b",
            title="extreme ends",
            function="betas_for",
            inputs=extreme_curves,
            measure=measure_curves,
            bands=(Band(1e-9, 2, "exact"), Band(1e-3, 1, "rounded")),
            quantity="largest error of log10 SNR, in powers of ten",
            better="less",
            advice="Where the SNR is 1e9, alpha-bar is 0.999999999, and 1 minus a ratio of two "
            "such numbers keeps few digits. Put alpha-bar = SNR / (1 + SNR) into the formula of "
            "beta on paper, and simplify until you subtract no two numbers that are almost "
            "equal to 1. Then see what your formula says where the SNR is 0.",
            limits=LIMITS,
        ),
        Part(
            id="c",
            title="another end for a schedule",
            function="rescale",
            inputs=beta_tables,
            measure=measure_rescaled,
            bands=(Band(1e-6, 2, "exact"), Band(0.01, 1, "rounded")),
            quantity="largest error of log10 SNR, in powers of ten",
            better="less",
            advice="Shift and stretch the square root of alpha-bar, not alpha-bar: one straight "
            "line maps its first value to itself, and its last to the root of the alpha-bar that "
            "terminal_snr asks for. Then make steps of the new table, in float64.",
            limits=LIMITS,
        ),
        Part(
            id="d",
            title="timesteps that are even in log-SNR",
            function="timesteps_for",
            inputs=alpha_bar_tables,
            measure=measure_timesteps,
            bands=(Band(1.05, 3, "optimal"), Band(1.4, 2, "near"), Band(1.8, 1, "better than t")),
            quantity="largest gap in log-SNR, divided by the smallest possible",
            better="less",
            advice="Rows next to marks that are even in log-SNR are a good start. For the best "
            "choice turn the question round: how many timesteps do you need if no gap may be "
            "larger than g? Going as far as g allows, again and again, answers it. Then look for "
            "the smallest g that needs no more than num_steps.",
            limits=LIMITS,
        ),
    ),
)
