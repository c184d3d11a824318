"""What comes from an answer, checked: arguments of its calls, tensors it gives, pictures it drew.

Wrong arguments of an oracle raise ValueError in the answer's own line; what comes back wrong is
`Refused`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from course_utils.challenges.declare import Refused

WIDEST = 1e3  # what a latent may be at most; those of pictures have unit variance
LEAST_DIVERSITY = 0.002  # deviation of a pixel between the pictures of one prompt
AT_THE_END = (
    "At the last timestep alpha_bar may be exactly 0; look for a division by its root, or its "
    "logarithm. Or two calls have the same timestep, so that a step has length 0"
)
LOUDEST = 50.0  # variance of what a guess may hold; right answers have 1 to 7, guidance 15 has 40
OF_NOISE = "that of x_T, "

Array = np.ndarray[Any, Any]


# --- what an oracle is asked ---------------------------------------------------------------------


def floats(
    name: str,
    value: Any,
    *shapes: tuple[int, ...],
    like: str = "",
    nan_hint: str = AT_THE_END,
) -> Array:
    """A floating-point argument of an oracle, as float32.

    Args:
        name: of the argument.
        value: what was given.
        shapes: one of which it must have.
        like: where the shape comes from, in words: "that of x_T, ".
        nan_hint: where NaN may come from.

    Raises:
        ValueError: it is something else, or holds NaN, infinity or huge numbers.
    """
    expected = like + " or ".join(str(shape) for shape in shapes)
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise ValueError(
            f"{name} is a {kind}; expected a floating-point tensor, its shape {expected}"
        )
    if value.shape not in shapes:
        raise ValueError(f"{name} has shape {value.shape}; expected {expected}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name} holds NaN or infinity. {nan_hint}")
    if np.abs(value).max() > WIDEST:
        raise ValueError(
            f"{name} goes up to {np.abs(value).max():.3g}; latents of pictures have a variance "
            "near 1"
        )
    return value.astype(np.float32)


def timestep(t: Any, rows: int) -> int:
    """A timestep, the same for all pictures: a number, or a tensor of equal ones.

    Raises:
        ValueError: it is none from 0 to rows - 1.
    """
    times = np.asarray(t)
    if times.dtype.kind != "i" or times.size == 0 or (times != times.flat[0]).any():
        raise ValueError(f"t is {t!r}; expected one whole number, the same for all pictures")
    time = int(times.flat[0])
    if not 0 <= time < rows:
        raise ValueError(f"t is {time}; expected a timestep from 0 to {rows - 1}")
    return time


def question(
    x_t: Any, t: Any, given: Mapping[str, Any], nan_hint: str = AT_THE_END
) -> tuple[Array, int]:
    """The arguments of a network that is asked for all pictures at once, at one timestep.

    Args:
        x_t, t: what was given.
        given: the inputs, with x_T and alpha_bar.
        nan_hint: where NaN may come from.

    Raises:
        ValueError: they are none for these inputs.
    """
    x = floats("x_t", x_t, given["x_T"].shape, like=OF_NOISE, nan_hint=nan_hint)
    return x, timestep(t, len(given["alpha_bar"]))


def refuse_other_noise(x_T: Array, alpha_bar: Array, asked: Sequence[Mapping[str, Any]]) -> None:
    """Refuse questions about other noise than x_T, which has a part in what is drawn.

    What a network knows well it draws from any start, so this is seen in the questions alone. While
    more than half of x_t is noise, it must be alpha x_0 + sigma x_T, whatever x_0, with a variance
    of up to `LOUDEST`. From that follow the least correlation with x_T, and how large x_t may be.

    Args:
        x_T: (N, C, h, w), the noise that each picture has to start from.
        alpha_bar: (T,).
        asked: each with "used", (N, C, h, w), and "t".

    Raises:
        Refused: the noise is not x_T, or not as large.
    """
    start = x_T.reshape(len(x_T), -1)
    size = np.linalg.norm(start, axis=1)
    for event in asked:
        t, a = event["t"], float(alpha_bar[event["t"]])
        if a >= 0.5:
            continue
        x_t = event["used"].reshape(start.shape)
        length = np.maximum(np.linalg.norm(x_t, axis=1), 1e-9)
        ratios = length / size
        correlation = (x_t * start).sum(axis=1) / (length * size)
        largest = (1 - a + LOUDEST * a) ** 0.5  # that x_t may be, in sizes of x_T
        least = 0.95 * (1 - a) ** 0.5 / largest
        worst = int(correlation.argmin())
        if correlation[worst] < least:
            is_loud = ratios[worst] > 1.2
            why = "which drowns its noise" if is_loud else "whose noise is not that of x_T"
            hint = ", and push less: a push that is too strong does that" if is_loud else ""
            raise Refused(
                f"At t = {t} a picture goes in {why}: the correlation with x_T is "
                f"{correlation[worst]:.2f}, and at least {least:.2g} is expected. Start from x_T "
                f"as it is{hint}."
            )
        ratio = float(ratios[np.abs(np.log(ratios)).argmax()])
        low, high = 0.8 * (1 - a) ** 0.5, 1.2 * largest
        if not low < ratio < high:
            raise Refused(
                f"At t = {t} a picture goes in that is {ratio:.2f} times as large as x_T, and "
                f"{low:.2f} to {high:.2f} is expected. Start from x_T as it is."
            )


# --- what an answer gives ------------------------------------------------------------------------


def tensor(
    name: str, value: Any, shape: tuple[int, ...], *, like: str = "", nan_hint: str = ""
) -> Array:
    """A floating-point tensor that a function gave.

    Args:
        name: of the function.
        value: what it gave.
        shape: that it must have.
        like: where the shape comes from, in words: "that of x_T, ".
        nan_hint: where NaN may come from; "" says nothing.

    Raises:
        Refused: it is something else, or holds NaN or infinity.
    """
    if not isinstance(value, np.ndarray):
        raise Refused(f"{name} gives {kind(value)}; expected a tensor of shape {shape}.")
    if value.dtype.kind != "f":
        raise Refused(f"{name} gives a tensor of {value.dtype}; expected float32.")
    if value.shape != shape:
        raise Refused(f"{name} gives shape {value.shape}; expected {like}{shape}.")
    if not np.isfinite(value).all():
        share = float(1 - np.isfinite(value).mean())
        hint = f" {nan_hint}." if nan_hint else ""
        raise Refused(f"{name} gives NaN or infinity in {share:.0%} of its numbers.{hint}")
    return value


def latents(name: str, value: Any, shape: tuple[int, ...], nan_hint: str = AT_THE_END) -> Array:
    """Finished latents that a function gave for x_T of this shape, as float32.

    Raises:
        Refused: they are none.
    """
    found = tensor(name, value, shape, like=OF_NOISE, nan_hint=nan_hint)
    if np.abs(found).max() > WIDEST:
        raise Refused(
            f"{name} gives latents up to {np.abs(found).max():.3g}; those of pictures have a "
            "variance near 1."
        )
    return found.astype(np.float32)


def kind(value: Any) -> str:
    """What a value is, in words."""
    if value is None:
        return "nothing"
    return "a tensor" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


# --- what was drawn ------------------------------------------------------------------------------


def refuse_sameness(diversity: float) -> None:
    """Refuse pictures that do not depend on their noise.

    Args:
        diversity: standard deviation of a pixel, from -1 to 1, between pictures of one prompt.
    """
    if diversity < LEAST_DIVERSITY:
        raise Refused(
            "The pictures of one prompt are all but the same, though each has noise of its own in "
            f"x_T: a pixel differs by {diversity:.2g}, and at least {LEAST_DIVERSITY:g} is "
            "expected. Start every picture from its own x_T."
        )


def refuse_oversaturation(clipped: float, most: float, hint: str) -> None:
    """Refuse pictures with too many values at the ends of the scale.

    Args:
        clipped: share of colour values at 0 or 255, above that of the artists' pictures.
        most: what it may be.
        hint: a sentence on where it may come from.
    """
    if clipped > most:
        raise Refused(
            "The pictures are oversaturated: the share of their colour values that are as dark or "
            f"as bright as can be lies {clipped:.1%} above that of the artists' own pictures, and "
            f"at most {most:.0%} is expected. {hint}"
        )


def refuse_copies(copies: Sequence[bool], most: float, asked: str) -> None:
    """Refuse pictures that are nearer to the data set than the network comes by itself.

    Args:
        copies: for each picture, whether it is.
        most: the share that may be.
        asked: the oracle that pictures have to come out of.
    """
    if sum(copies) > most * len(copies):
        raise Refused(
            f"{sum(copies)} of {len(copies)} pictures are nearer to a picture of the data set than "
            "the network comes by itself: they are copies. The pictures have to come out of x_T "
            f"and {asked}.",
            tampering=True,
        )
