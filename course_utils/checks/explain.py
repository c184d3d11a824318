"""What is wrong with a learner's answer, in words."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_utils.checks.compare import describe, relation, same
from course_utils.checks.exercise import Case, Exercise, ModuleCase, StateMismatch
from course_utils.checks.mistakes import Mistake
from course_utils.checks.trial import Outcome, Trial, argument_names


@dataclass(frozen=True)
class Failure:
    """One case in which an answer is wrong.

    Attributes:
        case: the call.
        expected: what it should give.
        outcome: what it gives.
        problem: how the two differ; "error" for an exception.
    """

    case: Case
    expected: Any
    outcome: Outcome
    problem: str


@dataclass(frozen=True)
class Explanation:
    """The words for failures.

    Attributes:
        message: a sentence or two.
        case, got: the smallest failing case and what it gave.
        mistake: the id of the known mistake; "" if it is none.
    """

    message: str
    case: str
    got: str
    mistake: str = ""


def explain(trial: Trial, failures: list[Failure], outcomes: list[Outcome]) -> Explanation:
    """Find the words for an answer that is wrong.

    Args:
        trial: what it was tried on.
        failures: at least one, the smallest case first.
        outcomes: of all cases that were tried, in their order.
    """
    exercise, first = trial.exercise, failures[0]
    mistake = _recognise(trial, outcomes)
    error = first.outcome.error
    if error is not None:
        got = f"{type(error).__name__}: {one_line(error)}"
    else:
        got = describe(first.outcome.value)
    if mistake is not None:
        message = mistake.message
    elif error is not None:
        message = _explain_error(exercise, error, first.case)
    else:
        message = _sentence(first.problem)
        if "in place" not in first.problem:
            more = [relation(first.expected, first.outcome.value), _tip(exercise, first)]
            message = " ".join([message, *filter(None, more)])
    return Explanation(
        message, case_words(exercise, first.case), got, mistake.id if mistake else ""
    )


def _recognise(trial: Trial, outcomes: list[Outcome]) -> Mistake | None:
    """The first known mistake that does what the candidate does on every case."""
    for mistake in trial.exercise.mistakes:
        if all(
            _alike(trial.exercise, outcome, trial.of_mistake(mistake, number))
            for number, outcome in enumerate(outcomes)
        ):
            return mistake
    return None


def _alike(exercise: Exercise, a: Outcome, b: Outcome) -> bool:
    if a.error is not None or b.error is not None:
        return type(a.error) is type(b.error) and _shape_free(a.error) == _shape_free(b.error)
    if a.changed != b.changed:
        return False
    if isinstance(a.value, Tensor) and isinstance(b.value, Tensor):
        if (
            torch.equal(a.value.isnan(), b.value.isnan())
            if a.value.shape == b.value.shape
            else False
        ):
            return same(
                a.value.nan_to_num(0.0, 0.0, 0.0),
                b.value.nan_to_num(0.0, 0.0, 0.0),
                exercise.rtol,
                exercise.atol,
            )
        return False
    return same(b.value, a.value, exercise.rtol, exercise.atol)


def _shape_free(error: BaseException | None) -> str:
    return re.sub(r"\d+", "#", str(error))


def _explain_error(exercise: Exercise, error: BaseException, case: Case) -> str:
    if isinstance(error, Exception) and exercise.on_error:
        own = exercise.on_error(error, case)
        if own:
            return own
    text, kind = one_line(error), type(error).__name__
    if isinstance(error, StateMismatch):
        advice = "Use the names" if "names" in text else "Take the sizes"
        return f"{text[:1].upper()}{text[1:]}. {advice} of the docstring, so that weights fit."
    place = _line_of(error)
    where = where_in(error)
    if isinstance(error, SystemExit):
        return f"It ends the program{where}, and the lesson with it. A function ends with `return`."
    if isinstance(error, RecursionError):
        return f"It calls itself without an end{where}."
    shape_error = re.search(
        r"size of tensor a|must match|cannot be multiplied|shapes? .*mismatch", text
    )
    if isinstance(error, RuntimeError) and shape_error:
        return f"The shapes don't fit{where}: {text}.{_broadcast_tip(exercise, case)}"
    if isinstance(error, TypeError) and "argument" in text and place is None:
        wanted = ", ".join(argument_names(exercise))
        return f"It can't be called as the docstring says, {exercise.name}({wanted}): {text}."
    if isinstance(error, NameError):
        return f"It uses a name that is not defined{where}: {text}."
    return f"It raises {kind}{where}: {text}."


def _tip(exercise: Exercise, failure: Failure) -> str | None:
    """Advice for a result of a wrong shape."""
    want, have = failure.expected, failure.outcome.value
    if not (isinstance(want, Tensor) and isinstance(have, Tensor)):
        return None
    if want.numel() == have.numel():  # its shape, or only the order of its numbers
        return None
    return _broadcast_tip(exercise, failure.case).strip() or None


def _broadcast_tip(exercise: Exercise, case: Case) -> str:
    flat = _flat_argument(exercise, case)
    if flat is None:
        return ""
    return (
        f" {flat} has shape (B,), one number a picture. What is looked up or computed with it "
        "needs dimensions of size 1, as in `values[:, None, None, None]`, to broadcast over "
        "(B, C, H, W)."
    )


def _flat_argument(exercise: Exercise, case: Case) -> str | None:
    """The name of an argument of shape (B,) beside one of shape (B, C, H, W)."""
    batches = {len(x) for x in case.args if isinstance(x, Tensor) and x.ndim == 4}
    for name, value in zip(argument_names(exercise), case.args, strict=False):
        flat = isinstance(value, Tensor) and value.ndim == 1
        if flat and len(value) > 1 and len(value) in batches:
            return name
    return None


def where_in(error: BaseException) -> str:
    """Where in the learner's code an error arose: " in line 3: `x = y`"; "" if unknown."""
    place = _line_of(error)
    return f" in line {place[0]}: `{place[1]}`" if place else ""


def _line_of(error: BaseException) -> tuple[int, str] | None:
    """The last line of the learner's own code that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        f for f in frames if "course_utils" not in f.filename and "site-packages" not in f.filename
    ]
    own = [
        f for f in own if not f.filename.startswith("<frozen") and "/lib/python" not in f.filename
    ]
    if not own or own[-1].lineno is None:
        return None
    return own[-1].lineno, (own[-1].line or "").strip()


def case_words(exercise: Exercise, case: Case) -> str:
    """A case for a learner: its label, or the arguments' values and shapes."""
    if case.label:
        return case.label
    names = argument_names(exercise)
    parts = []
    if isinstance(case, ModuleCase):
        parts += [f"{key}={value}" for key, value in case.init.items()]
    pairs = [(names[i] if i < len(names) else "", value) for i, value in enumerate(case.args)]
    for name, value in [*pairs, *case.kwargs.items()]:
        equals = f"{name} = " if name else ""
        small = isinstance(value, Tensor) and value.numel() <= 6 and value.device.type != "meta"
        if isinstance(value, Tensor) and not small:
            parts.append(f"{equals}tensor of shape {tuple(value.shape)}")
        else:
            parts.append(equals + describe(value))
    return ", ".join(parts)


def one_line(error: BaseException) -> str:
    """What an error says, on one line of at most 240 characters."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 240 else text[:237] + "..."


def _sentence(text: str) -> str:
    text = text if text.endswith((".", "?")) else f"{text}."
    return text[:1].upper() + text[1:]
