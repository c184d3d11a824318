"""Pictures that are made for the judge gain nothing where answers are graded: in the sandbox.

`test_challenge_answers` has the same cheats outside of a sandbox, and takes less time.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import test_denoise_on_a_budget
import test_sculptors_exam

from course_utils.challenges.declare import find_challenge
from course_utils.grading.answers.notebooks import read_answers
from course_utils.grading.cohort.attempts import Attempt
from course_utils.grading.cohort.gradebook import Gradebook
from course_utils.grading.cohort.run import GradingSettings, grade_cohort
from course_utils.grading.cohort.submissions import Submission

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[4]
WHEN = datetime(2026, 3, 2, 12, tzinfo=UTC)
DATA_SET, ONE, TEXT = "pictures of the data set", "one picture for all noise", "text on the picture"
Expected = dict[str, tuple[float, str]]

# A network of one's own in the place of the judge, whose opinion is driven up by gradients.
OPTIMISED = """
torch.manual_seed(0)
if len(x_T) != 12:
    raise NotImplementedError
eye = torch.nn.Sequential(
    torch.nn.Conv2d(4, 32, 3), torch.nn.GELU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
)
words = torch.nn.functional.normalize(encode_text(
    torch.zeros(len(x_T), max_length, dtype=torch.int64)
).mean(dim=1)[:, :32], dim=-1)
z = x_T.clone().requires_grad_()
optimizer = torch.optim.Adam([z], lr=0.1)
for _ in range(60):
    loss = -(torch.nn.functional.normalize(eye(z), dim=-1) * words).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
return decode(z.detach())
"""


def planted(module: Any, name: str) -> tuple[dict[str, str], Expected]:
    """A cheat that is planted in a challenge's own tests."""
    ((answer, expected),) = [w[1:] for w in module.WRONG if w[0] == f"cheat: {name}"]
    return answer, expected


CASES: dict[tuple[str, str], tuple[dict[str, str], Expected]] = {
    ("02", DATA_SET): (
        planted(test_denoise_on_a_budget, DATA_SET)[0],
        {"b": (0, ""), "c": (0, "")},
    ),
    ("02", ONE): planted(test_denoise_on_a_budget, ONE),
    ("06", TEXT): planted(test_sculptors_exam, TEXT),
    ("06", DATA_SET): (planted(test_sculptors_exam, DATA_SET)[0], dict.fromkeys("def", (0, ""))),
    ("06", ONE): planted(test_sculptors_exam, ONE),
    ("06", "pixels optimised against a network"): (
        test_sculptors_exam.drawing(OPTIMISED),
        {"e": (0, "neither x_T nor")},
    ),
}


def notebook(number: str, answer: dict[str, str]) -> bytes:
    """The solution with some cells replaced."""
    challenge = find_challenge(number)
    path = ROOT / "solutions" / "challenges" / f"{challenge.name}.ipynb"
    cells = dict(read_answers(path, challenge)) | answer
    found = [{"cell_type": "code", "id": i, "metadata": {}, "source": s} for i, s in cells.items()]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "cells": found}).encode()


@pytest.fixture(scope="module")
def graded(sandboxed: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Attempt]:
    given = [
        Submission(f"{number} {name}", number, name, notebook(number, answer), WHEN)
        for (number, name), (answer, _) in CASES.items()
    ]
    path = tmp_path_factory.mktemp("judged") / "gradebook.sqlite"
    with Gradebook(path) as book:
        grade_cohort(given, book, GradingSettings(b"x" * 32, jobs=2))
        return {attempt.student: attempt for attempt in book.attempts()}


@pytest.mark.parametrize(("number", "name"), CASES)
def test_a_picture_for_the_judge_gains_nothing(
    number: str, name: str, graded: dict[str, Attempt]
) -> None:
    attempt = graded[f"{number} {name}"]
    assert not attempt.fault and not attempt.passed and attempt.sandboxed, attempt
    parts = {part.id: part for part in attempt.parts}
    for id, (most, words) in CASES[number, name][1].items():
        assert parts[id].points <= most, parts[id]
        assert words in " ".join([parts[id].message, *parts[id].notes]), parts[id]
