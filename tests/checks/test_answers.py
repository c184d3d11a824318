"""Exercises refuse typical wrong answers with the fitting message and accept odd right ones.

`answers_NN.py` holds, for lesson NN::

    WRONG = [("01.add_noise", function, "no_roots"), ...]   # at least five each
    RIGHT = [("01.add_noise", function), ...]               # at least two each

The third of a wrong answer is the id of the mistake that must be recognised; for an answer that is
no known mistake it is a part of the message, of two words or more.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from course_utils.checks import Exercise, examine, exercises, find_exercise

LESSONS = sorted(path.stem[-2:] for path in Path(__file__).parent.glob("answers_[0-9][0-9].py"))
ANSWERS = {lesson: importlib.import_module(f"answers_{lesson}") for lesson in LESSONS}
WRONG = [case for answers in ANSWERS.values() for case in answers.WRONG]
RIGHT = [case for answers in ANSWERS.values() for case in answers.RIGHT]
EXERCISES = [exercise for lesson in LESSONS for exercise in exercises(lesson)]
SEEDS = (0, 1, 2)


def label(case: Any) -> str:
    if isinstance(case, Exercise):
        return case.id
    return getattr(case, "__name__", "")


def test_every_lesson_with_exercises_has_answers() -> None:
    folder = Path(__file__).parents[2] / "course_utils" / "checks"
    found = {path.stem[-2:] for path in folder.glob("lesson_[0-9][0-9].py")}
    assert found == set(LESSONS)


@pytest.mark.parametrize("exercise", EXERCISES, ids=label)
def test_enough_answers_were_tried(exercise: Exercise) -> None:
    wrong = Counter(id for id, *_ in WRONG)[exercise.id]
    right = Counter(id for id, *_ in RIGHT)[exercise.id]
    assert wrong >= 5 and right >= 2, f"{wrong} wrong and {right} right answers"
    messages = {expected for id, _, expected in WRONG if id == exercise.id}
    assert len(messages) >= 3, "the wrong answers should not all end in the same message"


@pytest.mark.parametrize(("id", "answer", "expected"), WRONG, ids=label)
def test_wrong_answer_is_refused_with_its_message(id: str, answer: Any, expected: str) -> None:
    for seed in SEEDS[:2]:
        verdict = examine(find_exercise(id), answer, seed=seed)
        assert verdict.state == "wrong", verdict
        if " " in expected:
            assert expected in verdict.message and not verdict.mistake, verdict
            assert len(expected) > 8, "a fragment that fits any message proves nothing"
        else:
            assert verdict.mistake == expected, verdict


@pytest.mark.parametrize(("id", "answer"), RIGHT, ids=label)
def test_right_answer_is_accepted(id: str, answer: Any) -> None:
    for seed in SEEDS:
        verdict = examine(find_exercise(id), answer, seed=seed)
        assert verdict.state == "passed", verdict


@pytest.mark.parametrize("exercise", EXERCISES, ids=label)
def test_known_mistakes_are_told_apart(exercise: Exercise) -> None:
    for mistake in exercise.mistakes:
        verdict = examine(exercise, mistake.made_in(exercise.reference), seed=0)
        assert verdict.state == "wrong" and verdict.message == mistake.message, verdict
        assert not verdict.got.startswith("NameError"), "an edit uses what its module lacks"


@pytest.mark.parametrize("exercise", EXERCISES, ids=label)
def test_messages_of_mistakes_read_well(exercise: Exercise) -> None:
    source = "" if exercise.is_value else inspect.getsource(exercise.reference)
    for mistake in exercise.mistakes:
        text = mistake.message
        first = text.split()[0]  # a sentence may begin with a name of the exercise
        assert text[0].isupper() or not first.isalpha() or first in source, text
        assert text.endswith((".", ".)")) and "  " not in text and 20 < len(text) < 400, text
        assert text.count("(") == text.count(")") and text.count("`") % 2 == 0, text
        assert not re.search(r"!(?!=)", text) and re.fullmatch(r"[a-z0-9_A-Z]+", mistake.id), text
    ids = [mistake.id for mistake in exercise.mistakes]
    assert len(ids) == len(set(ids)), ids


@pytest.mark.parametrize("exercise", EXERCISES, ids=label)
def test_hints_grow_and_do_not_repeat(exercise: Exercise) -> None:
    assert len(set(exercise.hints)) == 3 and all(len(hint) > 15 for hint in exercise.hints)
    assert 1 <= exercise.difficulty <= 5 and exercise.minutes > 0
    if exercise.id.split(".")[0] != "00" and exercise.name != "sweet_spot":
        assert "..." in exercise.hints[2] or "(...)" in exercise.hints[2], "one gap is left"
    if not exercise.is_value:  # the last lines of the answer are not in a hint
        lines = inspect.getsource(exercise.reference).strip().split("\n")
        answer = lines[-1].split("#")[0].strip().removeprefix("return ")
        assert answer not in " ".join(exercise.hints), answer
