"""The calls that an answer is tried on, and what the reference and its mistakes give there."""

from __future__ import annotations

import copy
import functools
import inspect
import secrets
import traceback
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.authoring import CODE_STUB
from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.guard import TimeLimit
from course_utils.checks.mistakes import Mistake


@dataclass(frozen=True)
class Outcome:
    """What calling a candidate on one case gave: a value, or an exception."""

    value: Any = None
    error: BaseException | None = None
    changed: str | None = None  # the argument that was changed in place


class Trial:
    """One set of cases of an exercise; what was computed for it is kept.

    Args:
        exercise: what was asked.
        seed: of the inputs.
    """

    def __init__(self, exercise: Exercise, seed: int) -> None:
        self.exercise = exercise
        self.cases = list(exercise.cases(torch.Generator().manual_seed(seed)))
        self.expected = []
        for case in self.cases:
            outcome = call(exercise, exercise.reference, case)
            assert outcome.error is None, f"{exercise.id}: the reference fails on {case}"
            self.expected.append(outcome.value)
        self._mistakes: dict[tuple[str, int], Outcome] = {}

    def of_mistake(self, mistake: Mistake, number: int) -> Outcome:
        """What a mistake gives on a case, by the case's number from 0 on."""
        key = mistake.id, number
        if key not in self._mistakes:
            wrong = mistake.made_in(self.exercise.reference)
            self._mistakes[key] = call(self.exercise, wrong, self.cases[number])
        return self._mistakes[key]

    @functools.cached_property
    def gradients(self) -> dict[str, Tensor | None]:
        """Of the first case, what flows back through the reference; see `gradients_of`."""
        return gradients_of(self.exercise, self.exercise.reference, self.cases[0])


def trial_of(exercise: Exercise, seed: int | None = None) -> Trial:
    """A trial with fresh inputs, or the one of a seed, which is made once."""
    return Trial(exercise, secrets.randbits(31)) if seed is None else _kept_trial(exercise, seed)


_kept_trial = functools.lru_cache(maxsize=64)(Trial)


def call(exercise: Exercise, candidate: Any, case: Case) -> Outcome:
    """Call a candidate on copies of a case's arguments.

    Whatever the candidate raises is its own outcome, `SystemExit` included; only Ctrl-C and the
    time limit go through.
    """
    fresh = copied(case)
    try:
        value = exercise.run(candidate, fresh)
    except (KeyboardInterrupt, TimeLimit):
        raise
    except BaseException as error:
        return Outcome(error=error)
    return Outcome(value, changed=_changed(exercise, case, fresh))


def blank_in(error: BaseException | None) -> str | None:
    """The name of the function that is still a stub, told by the stub's own text; or None."""
    if not isinstance(error, NotImplementedError):
        return None
    frames = traceback.extract_tb(error.__traceback__)
    is_stub = bool(frames) and (frames[-1].line or "").strip() == CODE_STUB[1]
    return frames[-1].name if is_stub else None


def gradients_of(exercise: Exercise, candidate: Any, case: Case) -> dict[str, Tensor | None]:
    """The gradients of a mix of all results for the arguments that the exercise names."""
    fresh = copied(case)
    leaves: dict[str, Tensor] = {}
    for name, value in [
        *zip(argument_names(exercise), fresh.args, strict=False),
        *fresh.kwargs.items(),
    ]:
        if name in exercise.gradients and isinstance(value, Tensor):
            leaves[name] = value.requires_grad_()
    with torch.enable_grad():
        value = exercise.run(candidate, fresh)
        parts = (
            [value] if isinstance(value, Tensor) else [v for v in value if isinstance(v, Tensor)]
        )
        total = torch.stack([part.double().sin().sum() for part in parts]).sum()
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, gradients, strict=True))


def copied(case: Case) -> Case:
    """A case whose arguments may be changed."""
    return replace(case, args=copy.deepcopy(case.args), kwargs=copy.deepcopy(dict(case.kwargs)))


def argument_names(exercise: Exercise) -> list[str]:
    """Of the function, or of the module's `forward`."""
    target = exercise.reference
    if inspect.isclass(target) and issubclass(target, nn.Module):
        target = target.forward
    try:
        return [name for name in inspect.signature(target).parameters if name != "self"]
    except (TypeError, ValueError):
        return []


def _changed(exercise: Exercise, before: Case, after: Case) -> str | None:
    """The name of the first argument that is not what it was."""
    names = argument_names(exercise)
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
    if isinstance(a, str | int | float | bool | set | frozenset):
        return bool(a == b)
    return True  # modules, generators and functions may change inside
