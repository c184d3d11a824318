"""Is what the learner's code gives what it should give, and if not, how do the two differ?"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

MOST_NUMBERS = 6  # shown of a tensor


def difference(expected: Any, got: Any, rtol: float, atol: float, path: str = "") -> str | None:
    """What distinguishes a result from the expected one; None if nothing does.

    Numbers are compared in float64, whatever the dtype. A Python number and a tensor of one number
    are the same.

    Args:
        expected: tensor, number, text, bool, None, or a tuple, list or mapping of these.
        got: what the learner's code gave.
        rtol: relative to the largest expected value.
        atol: absolute.
        path: names the part in messages: "part 2 of the result".

    Returns:
        A sentence without its full stop, or None.
    """
    what = path or "the result"
    if got is None and expected is not None:
        return f"{what} is None; is a `return` missing?"
    if isinstance(expected, Tensor):
        return _tensor_difference(expected, got, rtol, atol, what)
    if isinstance(expected, bool) or expected is None or isinstance(expected, str | bytes):
        same = type(got) is type(expected) and got == expected
        return None if same else f"{what} is {short(got)}; expected {short(expected)}"
    if isinstance(expected, int | float):
        if isinstance(got, Tensor) and got.ndim == 0:
            got = got.detach().cpu().item()
        if isinstance(got, bool) or not isinstance(got, int | float):
            with contextlib.suppress(TypeError, ValueError):
                got = float(got) if type(got).__module__ == "numpy" else got
            if isinstance(got, bool) or not isinstance(got, int | float):
                return f"{what} is {short(got)}; expected a number"
        close = math.isclose(got, expected, rel_tol=rtol, abs_tol=atol)
        return None if close else f"{what} is {got:.6g}; expected {expected:.6g}"
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping) or set(got) != set(expected):
            return f"{what} is {short(got)}; expected a dictionary with keys {list(expected)}"
        pairs = [(f"{what}[{key!r}]", value, got[key]) for key, value in expected.items()]
    elif isinstance(expected, list | tuple):
        if not isinstance(got, list | tuple):
            count = len(expected)
            return f"{what} is {short(got)}; expected a {type(expected).__name__} of {count}"
        if len(got) != len(expected):
            return f"{what} has {len(got)} parts; expected {len(expected)}"
        pairs = [
            (f"part {i} of {what}", a, b)
            for i, (a, b) in enumerate(zip(expected, got, strict=True), 1)
        ]
    else:
        return None if got == expected else f"{what} is {short(got)}; expected {short(expected)}"
    for name, a, b in pairs:
        problem = difference(a, b, rtol, atol, name)
        if problem:
            return problem
    return None


def _tensor_difference(
    expected: Tensor, got: Any, rtol: float, atol: float, what: str
) -> str | None:
    shape = tuple(expected.shape)
    if isinstance(got, int | float) and not isinstance(got, bool) and expected.numel() == 1:
        got = torch.tensor(got).reshape(shape)
    if not isinstance(got, Tensor):
        return f"{what} is {short(got)}; expected a torch.Tensor of shape {shape}"
    if tuple(got.shape) != shape:
        return f"{what} has shape {tuple(got.shape)}; expected {shape}"
    if got.is_complex() or (expected.is_floating_point() and not got.is_floating_point()):
        return f"{what} has dtype {_dtype(got)}; expected numbers with a fraction, such as float32"
    if not expected.is_floating_point():
        if expected.dtype != got.dtype and (
            expected.dtype == torch.bool or got.is_floating_point()
        ):
            return f"{what} has dtype {_dtype(got)}; expected {_dtype(expected)}"
        same = torch.equal(expected.cpu().long(), got.detach().cpu().long())
        return None if same else f"{what} has other values than expected"
    if expected.device.type == "meta":
        return None
    want, have = expected.detach().double().cpu(), got.detach().double().cpu()
    if have.isnan().any() and not want.isnan().any():
        return f"{what} holds NaN in {int(have.isnan().sum())} of {have.numel()} places"
    finite = want.isfinite()
    if not torch.equal(finite, have.isfinite()):
        return f"{what} holds infinity where it should not"
    scale = float(want[finite].abs().max()) if finite.any() else 0.0
    worst = float((want - have)[finite].abs().max()) if finite.any() else 0.0
    if worst > atol + rtol * scale or not torch.equal(want[~finite], have[~finite]):
        return f"{what} has other values than expected"
    return None


def relation(expected: Any, got: Any) -> str | None:
    """How wrong values relate to the right ones, where that is simple: a sign, a factor, a shift.

    Returns:
        A sentence, or None.
    """
    if not (isinstance(expected, Tensor) and isinstance(got, Tensor)):
        return None
    if not (expected.is_floating_point() and got.is_floating_point()):
        return None
    a, b = expected.detach().double().cpu(), got.detach().double().cpu()
    if a.shape != b.shape:
        return _shape_relation(a, b)
    if a.numel() < 2 or not (a.isfinite().all() and b.isfinite().all()):
        return None
    scale = max(float(a.abs().max()), 1e-6)
    off = float((b - a).abs().max())

    def close(x: Tensor, y: Tensor) -> bool:
        """Far nearer than the two results are to each other, in every element."""
        return bool((x - y).abs().max() <= min(1e-4 * scale, 1e-2 * off))

    if close(b, torch.zeros_like(b)):
        return "Your result is zero everywhere."
    if close(-a, b):
        return "Your result is the expected one with the opposite sign."
    if float(a.std()) > 1e-6 * scale:
        factor = float((a * b).sum() / (a * a).sum())
        if close(factor * a, b):
            return f"Your result is {factor:.4g} times the expected one, everywhere."
        shift = float((b - a).mean())
        if close(a + shift, b):
            return f"Your result is the expected one plus {shift:.4g}, everywhere."
    if close(a.clamp(-1, 1), b):
        return (
            "Your result is the expected one, clipped to [-1, 1]. Nothing is clipped here: numbers "
            "beyond that range belong to it."
        )
    if (a >= 0).all() and close(a.sqrt(), b):
        return "Your result is the square root of the expected one."
    if close(a.square(), b):
        return "Your result is the square of the expected one."
    if a.ndim and close(a.flip(0), b):
        return "Your result is the expected one in reverse order along its first dimension."
    return None


def _shape_relation(a: Tensor, b: Tensor) -> str | None:
    if a.ndim == b.ndim and a.ndim > 1 and sorted(a.shape) == sorted(b.shape):
        return "Two of its dimensions are swapped."
    if a.numel() == b.numel():
        return "It has the right number of numbers, in another shape."
    if b.ndim == 0:
        return "It is one number: was everything averaged or summed, where some dimensions stay?"
    if a.ndim == 0:
        return "One number is expected: the mean or the sum over all dimensions is missing."
    return None


def short(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, Tensor):
        return describe(value)
    text = _shown(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return text if isinstance(value, str | int | float | bool) else f"{_a(type(value))}: {text}"


def describe(value: Any) -> str:
    """A result for the lines "expected" and "got": shape and first numbers."""
    if isinstance(value, Tensor):
        if value.device.type == "meta":
            return f"a tensor of shape {tuple(value.shape)}"
        flat = value.detach().flatten()[:MOST_NUMBERS].cpu()
        numbers = ", ".join(f"{x:.4g}" for x in flat.tolist()) if not value.is_complex() else "..."
        dots = ", ..." if value.numel() > MOST_NUMBERS else ""
        if value.ndim == 0:
            return numbers
        return f"[{numbers}{dots}], shape {tuple(value.shape)}"
    if isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value):
        return "; ".join(describe(part) for part in value[:3])
    text = _shown(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _shown(value: Any) -> str:
    """Its `repr`, sets in order; an object of a learner's own may fail even at that."""
    try:
        if isinstance(value, set | frozenset) and value:
            return f"{{{', '.join(sorted(map(repr, value)))}}}"
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def same(a: Any, b: Any, rtol: float, atol: float) -> bool:
    """Whether two results are equal within the tolerance, whichever of them is right."""
    return difference(a, b, rtol, atol) is None


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _a(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'aeiou' else 'a'} {kind.__name__}"
