"""Run a learner's answer against the reference, and find the words for what is wrong with it."""

from __future__ import annotations

import copy
import inspect
import re
import secrets
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from course_utils.checks.compare import describe, difference, relation, same
from course_utils.checks.exercise import Case, Exercise, ModuleCase, StateMismatch, build_module
from course_utils.checks.guard import Printed, TimeLimit, leash

State = Literal["passed", "wrong", "open"]


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes:
        exercise: its id.
        state: "passed", "wrong", or "open" where nothing was tried yet.
        message: a sentence or two for the learner.
        case: the smallest failing case in words; "" where there is none.
        expected, got: of that case, in words.
        printed: what the code printed, its beginning.
        diagnosed: a known mistake was recognised.
    """

    exercise: str
    state: State
    message: str
    case: str = ""
    expected: str = ""
    got: str = ""
    printed: str = ""
    diagnosed: bool = False


@dataclass(frozen=True)
class _Outcome:
    """What calling a candidate on one case gave: a value, or an exception."""

    value: Any = None
    error: Exception | None = None
    changed: str | None = None  # the argument that was changed in place


@dataclass(frozen=True)
class _Failure:
    case: Case
    expected: Any
    outcome: _Outcome
    problem: str


def examine(exercise: Exercise, candidate: Any, seed: int | None = None) -> Verdict:
    """Check an answer.

    Args:
        exercise: what was asked.
        candidate: the learner's function, class or value.
        seed: of the inputs; fresh ones each time if None.

    Returns:
        The verdict. Nothing that the learner's code does raises here, but Ctrl-C does.
    """
    if exercise.is_value:
        return _examine_value(exercise, candidate)
    if candidate is exercise.reference:
        return Verdict(
            exercise.id,
            "open",
            f"This is the course's own {exercise.name}, which an earlier check handed to you. Run "
            "the cell that holds your own, then check again.",
        )
    if not callable(candidate):
        kind = "class" if inspect.isclass(exercise.reference) else "function"
        return Verdict(
            exercise.id,
            "wrong",
            f"{exercise.name} is {describe(candidate)}; expected the {kind} itself, not called.",
        )
    generator = torch.Generator().manual_seed(secrets.randbits(31) if seed is None else seed)
    cases = list(exercise.cases(generator))
    expected = [_call(exercise, exercise.reference, case) for case in cases]
    for case, outcome in zip(cases, expected, strict=True):
        assert outcome.error is None, f"{exercise.id}: the reference fails on {case}"
    if exercise.keeps_device:  # torch loads what it needs for this now, outside the time limit
        _call(exercise, exercise.reference, _moved(cases[0]))
    started, printed = time.monotonic(), Printed()
    try:
        with leash(exercise.seconds) as printed:
            verdict = _examine_calls(exercise, candidate, cases, [o.value for o in expected])
    except TimeLimit:
        took = time.monotonic() - started
        verdict = Verdict(
            exercise.id,
            "wrong",
            f"It did not come to an end within {took:.0f} seconds, so it was stopped; the course's "
            "own takes a moment. Is there a loop that never ends, or one over every pixel?",
        )
    if not printed.count:
        return verdict
    more = (
        f" ... ({printed.count:,} characters in all)" if printed.count > len(printed.text) else ""
    )
    return replace(verdict, printed=printed.text.strip() + more)


def _examine_value(exercise: Exercise, candidate: Any) -> Verdict:
    try:
        if exercise.is_open(candidate):
            return Verdict(exercise.id, "open", "It is still empty.")
        problem = exercise.extra(candidate) if exercise.extra else None
    except Exception as error:
        problem = f"It can't be read ({type(error).__name__}: {error})."
    if problem:
        return Verdict(exercise.id, "wrong", problem, got=describe(candidate))
    return Verdict(exercise.id, "passed", "Done.")


def _examine_calls(
    exercise: Exercise, candidate: Any, cases: list[Case], expected: list[Any]
) -> Verdict:
    outcomes, failures = [], []
    for case, value in zip(cases, expected, strict=True):
        outcome = _call(exercise, candidate, case)
        if _is_blank(outcome.error):
            return Verdict(exercise.id, "open", "Nothing is written here yet.")
        outcomes.append(outcome)
        problem = _problem(exercise, case, value, outcome)
        if problem:
            failures.append(_Failure(case, value, outcome, problem))
            if outcome.error is not None and len(failures) > 2:
                break  # it fails anyway; no need to try the larger ones
    if failures:
        return _explain(exercise, candidate, failures, cases[: len(outcomes)], outcomes)
    problem = next(_property_problems(exercise, candidate, cases), None)
    if problem:
        return Verdict(exercise.id, "wrong", problem)
    count = f"{len(cases)} cases"
    return Verdict(exercise.id, "passed", f"It agrees with the course's own in {count}.")


def _is_blank(error: Exception | None) -> bool:
    """Whether the learner's stub raised, and not torch: silu of whole numbers, a ModuleList."""
    if not isinstance(error, NotImplementedError):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    inside = bool(frames) and "site-packages" in frames[-1].filename
    return not inside and (not str(error) or "raise " in (frames[-1].line or ""))


def _call(exercise: Exercise, candidate: Any, case: Case) -> _Outcome:
    """Call a candidate on copies of a case's arguments."""
    fresh = _copy(case)
    try:
        value = exercise.run(candidate, fresh)
    except Exception as error:
        return _Outcome(error=error)
    return _Outcome(value, changed=_changed(exercise, case, fresh))


def _copy(case: Case) -> Case:
    return replace(case, args=copy.deepcopy(case.args), kwargs=copy.deepcopy(dict(case.kwargs)))


def _changed(exercise: Exercise, before: Case, after: Case) -> str | None:
    """The name of the first argument that is not what it was."""
    names = _argument_names(exercise)
    pairs = [
        (names[i] if i < len(names) else f"argument {i + 1}", a, b)
        for i, (a, b) in enumerate(zip(before.args, after.args, strict=True))
    ]
    pairs += [(key, before.kwargs[key], after.kwargs.get(key)) for key in before.kwargs]
    for name, a, b in pairs:
        if not _identical(a, b):
            return name
    return None


def _identical(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        if not isinstance(b, Tensor) or a.shape != b.shape or a.dtype != b.dtype:
            return False
        return a.device.type == "meta" or torch.equal(a.nan_to_num(), b.nan_to_num())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_identical, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_identical(a[key], b[key]) for key in a)
    if isinstance(a, str | int | float | bool):
        return bool(a == b)
    return True  # modules, generators and functions may change inside


def _argument_names(exercise: Exercise) -> list[str]:
    target = exercise.reference
    if inspect.isclass(target) and issubclass(target, nn.Module):
        target = target.forward
    try:
        return [name for name in inspect.signature(target).parameters if name != "self"]
    except (TypeError, ValueError):
        return []


def _problem(exercise: Exercise, case: Case, expected: Any, outcome: _Outcome) -> str | None:
    if outcome.error is not None:
        return "error"
    problem = difference(expected, outcome.value, exercise.rtol, exercise.atol)
    if problem:
        return problem
    if outcome.changed:
        return (
            f"The values are right, but it changes its argument {outcome.changed} in place: "
            "whoever calls it finds other numbers there afterwards. Watch out for `+=`, `*=` and "
            "methods that end in an underscore"
        )
    both = isinstance(expected, Tensor) and isinstance(outcome.value, Tensor)
    if exercise.keeps_dtype and both and outcome.value.dtype != expected.dtype:
        have, want = (str(x.dtype).removeprefix("torch.") for x in (outcome.value, expected))
        return f"the values are right, but the result has dtype {have}; expected {want} here"
    return None


# --- finding the words ---------------------------------------------------------------------------


def _explain(
    exercise: Exercise,
    candidate: Any,
    failures: list[_Failure],
    cases: list[Case],
    outcomes: list[_Outcome],
) -> Verdict:
    first = failures[0]
    diagnosis = _recognise(exercise, cases, outcomes)
    error = first.outcome.error
    if error is not None:
        message = diagnosis or _explain_error(exercise, candidate, error, first.case)
        got = f"{type(error).__name__}: {_one_line(str(error))}"
    else:
        message = diagnosis or _sentence(first.problem)
        if not diagnosis and "in place" not in first.problem:
            more = [relation(first.expected, first.outcome.value), _tip(exercise, first)]
            message = " ".join([message, *filter(None, more)])
        got = describe(first.outcome.value)
    return Verdict(
        exercise.id,
        "wrong",
        message,
        case=case_words(exercise, first.case),
        expected=describe(first.expected),
        got=got,
        diagnosed=diagnosis is not None,
    )


def _recognise(exercise: Exercise, cases: list[Case], outcomes: list[_Outcome]) -> str | None:
    """The message of the first known mistake that does what the candidate does on every case."""
    for mistake in exercise.mistakes:
        for case, outcome in zip(cases, outcomes, strict=True):
            other = _call(exercise, mistake.made_in(exercise.reference), case)
            if not _alike(exercise, outcome, other):
                break
        else:
            return mistake.message
    return None


def _alike(exercise: Exercise, a: _Outcome, b: _Outcome) -> bool:
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


def _shape_free(error: Exception | None) -> str:
    return re.sub(r"\d+", "#", str(error))


def _explain_error(exercise: Exercise, candidate: Any, error: Exception, case: Case) -> str:
    own = exercise.on_error(error, case) if exercise.on_error else None
    if own:
        return own
    text, kind = _one_line(str(error)), type(error).__name__
    if isinstance(error, StateMismatch):
        return f"{text[:1].upper()}{text[1:]}. Use the names of the docstring, so that weights fit."
    place = _line_of(error)
    where = f" in line {place[0]}: `{place[1]}`" if place else ""
    if isinstance(error, RecursionError):
        return f"It calls itself without an end{where}."
    shape_error = re.search(
        r"size of tensor a|must match|cannot be multiplied|shapes? .*mismatch", text
    )
    if isinstance(error, RuntimeError) and shape_error:
        return f"The shapes don't fit{where}: {text}.{_broadcast_tip(exercise, case)}"
    if isinstance(error, TypeError) and "argument" in text and place is None:
        wanted = ", ".join(_argument_names(exercise))
        return f"It can't be called as the docstring says, {exercise.name}({wanted}): {text}."
    if isinstance(error, NameError):
        return f"It uses a name that is not defined{where}: {text}."
    return f"It raises {kind}{where}: {text}."


def _tip(exercise: Exercise, failure: _Failure) -> str | None:
    """Advice for a result of a wrong shape."""
    want, have = failure.expected, failure.outcome.value
    if not (isinstance(want, Tensor) and isinstance(have, Tensor)) or want.shape == have.shape:
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
    for name, value in zip(_argument_names(exercise), case.args, strict=False):
        flat = isinstance(value, Tensor) and value.ndim == 1
        if flat and len(value) > 1 and len(value) in batches:
            return name
    return None


def _line_of(error: Exception) -> tuple[int, str] | None:
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
    names = _argument_names(exercise)
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


def _one_line(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= 240 else text[:237] + "..."


def _sentence(text: str) -> str:
    text = text if text.endswith((".", "?")) else f"{text}."
    return text[:1].upper() + text[1:]


# --- properties ----------------------------------------------------------------------------------


def _property_problems(exercise: Exercise, candidate: Any, cases: list[Case]) -> Iterator[str]:
    if exercise.gradients:
        yield from _gradient_problems(exercise, candidate, cases[0])
    if exercise.keeps_device:
        yield from _device_problems(exercise, candidate, cases[0])
    if exercise.extra is not None:
        problem = exercise.extra(candidate)
        if problem:
            yield problem


def _gradient_problems(exercise: Exercise, candidate: Any, case: Case) -> Iterator[str]:
    """Gradients must reach what the exercise names, with the reference's values."""
    with torch.enable_grad():
        wanted = _gradients(exercise, exercise.reference, case)
        try:
            found = _gradients(exercise, candidate, case)
        except Exception as error:
            yield (
                "The values are right, but no gradient can be taken through it "
                f"({_one_line(str(error))}). Are there `.item()`, `.detach()`, `.numpy()` or "
                "`torch.no_grad()` on the way?"
            )
            return
    for name, gradient in wanted.items():
        other = found.get(name)
        if other is None:
            yield (
                f"The values are right, but no gradient flows back to {name}. Are there `.item()`, "
                "`.detach()`, `.numpy()`, `.data` or `torch.no_grad()` on the way?"
            )
        elif not same(gradient, other, 1e-3, 1e-5):
            yield f"The values are right, but the gradient for {name} is not the expected one."


def _gradients(exercise: Exercise, candidate: Any, case: Case) -> dict[str, Tensor | None]:
    names = _argument_names(exercise)
    fresh = _copy(case)
    leaves: dict[str, Tensor] = {}
    for name, value in [*zip(names, fresh.args, strict=False), *fresh.kwargs.items()]:
        if name in exercise.gradients and isinstance(value, Tensor):
            leaves[name] = value.requires_grad_()
    value = exercise.run(candidate, fresh)
    parts = [value] if isinstance(value, Tensor) else [v for v in value if isinstance(v, Tensor)]
    total = torch.stack([(part.double().sin()).sum() for part in parts]).sum()
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, gradients, strict=True))


def _device_problems(exercise: Exercise, candidate: Any, case: Case) -> Iterator[str]:
    moved = _moved(case)
    advice = (
        "The values are right, but on a GPU it would fail: a tensor that is made inside stays on "
        "the CPU. Make it with `device=...` of an argument, or with `torch.zeros_like` and its kin."
    )
    try:
        value = exercise.run(candidate, moved)
    except Exception:
        yield advice
        return
    parts = [value] if isinstance(value, Tensor) else value
    if any(isinstance(part, Tensor) and part.device.type != other_device() for part in parts):
        yield advice


def other_device() -> str:
    """Where to try whether code works on another device than the CPU."""
    return "cuda" if torch.cuda.is_available() else "meta"


def _moved(case: Case) -> Case:
    def move(value: Any) -> Any:
        return value.to(other_device()) if isinstance(value, Tensor) else value

    kwargs = {key: move(value) for key, value in case.kwargs.items()}
    return replace(case, args=tuple(map(move, case.args)), kwargs=kwargs)


def module_for(exercise: Exercise, candidate: Any, case: ModuleCase) -> nn.Module:
    """A candidate's module with a case's weights, for further checks."""
    from course_utils.checks.exercise import _with_state

    return build_module(candidate, _with_state(exercise.reference, case))
