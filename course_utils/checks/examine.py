"""Run a learner's answer against the reference, and say what came out."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from course_utils.checks.compare import describe, difference, same
from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.explain import Failure, case_words, explain, one_line, where_in
from course_utils.checks.guard import Printed, TimeLimit, leash
from course_utils.checks.trial import Outcome, Trial, blank_in, call, gradients_of, trial_of

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
        mistake: the id of the known mistake that was recognised; "" if none was.
        goes_on: the page can go on with the answer. One that is right and too slow, or not exact
            enough for what comes later, is passed, and the page goes on with the course's own.
    """

    exercise: str
    state: State
    message: str
    case: str = ""
    expected: str = ""
    got: str = ""
    printed: str = ""
    mistake: str = ""
    goes_on: bool = True


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
    trial = trial_of(exercise, seed)
    if exercise.keeps_device:  # torch loads what it needs for this now, outside the time limit
        call(exercise, exercise.reference, _moved(trial.cases[0]))
    started, printed = time.monotonic(), Printed()
    try:
        with leash(exercise.seconds) as printed:
            verdict = _examine_calls(trial, candidate)
        if verdict.state == "passed" and exercise.page is not None:
            verdict = _at_page_size(exercise, candidate, verdict)
    except TimeLimit:
        took = time.monotonic() - started
        verdict = Verdict(
            exercise.id,
            "wrong",
            f"It did not come to an end within {took:.0f} seconds, so it was stopped; the course's "
            "own takes a moment. Is there a loop that never ends, or one over every pixel?",
        )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an object whose comparison or text raises
        verdict = Verdict(exercise.id, "wrong", _unreadable(error))
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
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        problem = _unreadable(error)
    if problem:
        return Verdict(exercise.id, "wrong", problem, got=describe(candidate))
    return Verdict(exercise.id, "passed", "Done.")


def _at_page_size(exercise: Exercise, candidate: Any, verdict: Verdict) -> Verdict:
    """Try a right answer on as much as the page will give it."""
    assert exercise.page is not None
    case = exercise.page(torch.Generator().manual_seed(0))
    call(exercise, exercise.reference, case)  # what torch loads for it, it loads here
    try:
        with leash(exercise.page_seconds):
            call(exercise, candidate, case)
    except TimeLimit:
        remark = (
            f"It is right, but too slow for this page: {case_words(exercise, case)} takes it over "
            f"{exercise.page_seconds:g} seconds, and the page needs far more than that. Loops over "
            "single numbers are slow in Python; let torch work on whole tensors."
        )
        return replace(verdict, message=remark, goes_on=False)
    return verdict


def _unreadable(error: BaseException) -> str:
    return f"It can't be read ({type(error).__name__}: {one_line(error)})."


def _examine_calls(trial: Trial, candidate: Any) -> Verdict:
    exercise = trial.exercise
    outcomes, failures = [], []
    for case, value in zip(trial.cases, trial.expected, strict=True):
        outcome = call(exercise, candidate, case)
        blank = blank_in(outcome.error)
        if blank in ("__init__", exercise.reference.__name__):
            return Verdict(exercise.id, "open", "Nothing is written here yet.")
        if blank:
            return Verdict(exercise.id, "open", f"{blank} is still empty.")
        outcomes.append(outcome)
        problem = _problem(exercise, case, value, outcome)
        if problem:
            failures.append(Failure(case, value, outcome, problem))
            if outcome.error is not None and len(failures) > 2:
                break  # it fails anyway; no need to try the larger ones
    if failures:
        words = explain(trial, failures, outcomes)
        return Verdict(
            exercise.id,
            "wrong",
            words.message,
            case=words.case,
            expected=describe(failures[0].expected),
            got=words.got,
            mistake=words.mistake,
        )
    problem = next(_property_problems(trial, candidate), None)
    if problem:
        return Verdict(exercise.id, "wrong", problem)
    remark = exercise.remark(candidate) if exercise.remark else None
    if remark:
        return Verdict(exercise.id, "passed", remark, goes_on=False)
    message = f"It agrees with the course's own in {len(trial.cases)} cases."
    if exercise.keeps_device and not _keeps_device(exercise, candidate, trial.cases[0]):
        message += (
            " One remark: on a GPU it would fail, because a tensor that is made inside stays on "
            "the CPU. Make it with `device=...` of an argument, or with `torch.zeros_like` and its "
            "kin."
        )
        return Verdict(exercise.id, "passed", message, goes_on=not torch.cuda.is_available())
    return Verdict(exercise.id, "passed", message)


def _problem(exercise: Exercise, case: Case, expected: Any, outcome: Outcome) -> str | None:
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


# --- properties ----------------------------------------------------------------------------------


def _property_problems(trial: Trial, candidate: Any) -> Iterator[str]:
    exercise = trial.exercise
    if exercise.gradients:
        yield from _gradient_problems(trial, candidate)
    if exercise.extra is not None:
        try:
            problem = exercise.extra(candidate)
        except (KeyboardInterrupt, TimeLimit):
            raise
        except BaseException as error:
            problem = (
                "The values are right, but looking closer fails with "
                f"{type(error).__name__}{where_in(error)}: {one_line(error)}."
            )
        if problem:
            yield problem


def _gradient_problems(trial: Trial, candidate: Any) -> Iterator[str]:
    """Gradients must reach what the exercise names, with the reference's values."""
    wanted = trial.gradients
    try:
        found = gradients_of(trial.exercise, candidate, trial.cases[0])
    except (KeyboardInterrupt, TimeLimit):
        raise
    except BaseException as error:
        yield (
            f"The values are right, but no gradient can be taken through it ({one_line(error)}). "
            "Are there `.item()`, `.detach()`, `.numpy()` or `torch.no_grad()` on the way?"
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


def _keeps_device(exercise: Exercise, candidate: Any, case: Case) -> bool:
    """Whether it works on another device, and its results are there."""
    outcome = call(exercise, candidate, _moved(case))
    parts = [outcome.value] if isinstance(outcome.value, Tensor) else outcome.value or ()
    there = [part.device.type == other_device() for part in parts if isinstance(part, Tensor)]
    return outcome.error is None and all(there)


def other_device() -> str:
    """Where to try whether code works on another device than the CPU."""
    return "cuda" if torch.cuda.is_available() else "meta"


def _moved(case: Case) -> Case:
    def move(value: Any) -> Any:
        return value.to(other_device()) if isinstance(value, Tensor) else value

    kwargs = {key: move(value) for key, value in case.kwargs.items()}
    return replace(case, args=tuple(map(move, case.args)), kwargs=kwargs)
