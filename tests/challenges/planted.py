"""Every challenge refuses its planted wrong answers with the fitting words, and accepts right ones.

`challenge_answers_NN.py` holds, for challenge NN, where an answer is {cell id: source}; cells that
are left out are those of the solution. Where a name ends in "with nothing withheld", the answer
finds all of the course, and the checks alone must refuse it::

    WRONG = [(name, answer, {part id: (most points, "a part of the message")}), ...]  # at least 8
    RIGHT = [(name, answer), ...]                                                     # at least 2
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from course_utils.grading.challenge import NAMES, Challenge, find_challenge
from course_utils.grading.names import TITLES
from course_utils.grading.notebooks import read_answers
from course_utils.grading.process import OtherProcess, beside
from course_utils.grading.verify import Result, verify

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
NUMBERS = [n for n in NAMES if (HERE / f"challenge_answers_{n}.py").exists()]
ANSWERS = {n: importlib.import_module(f"challenge_answers_{n}") for n in NUMBERS}
WRONG = [(n, *case) for n in NUMBERS for case in ANSWERS[n].WRONG]
RIGHT = [(n, *case) for n in NUMBERS for case in ANSWERS[n].RIGHT]


def solution_of(challenge: Challenge) -> dict[str, str]:
    path = ROOT / "solutions" / "challenges" / f"{challenge.name}.ipynb"
    return dict(read_answers(path, challenge))


def run(number: str, answer: dict[str, str], seed: str = "a test", name: str = "") -> Result:
    challenge = find_challenge(number)
    start = beside(challenge, sees_all=name.endswith("with nothing withheld"))
    cells = solution_of(challenge) | answer
    assert set(cells) == set(challenge.answers), "an answer names a cell that is none"
    with OtherProcess(challenge, [(id, cells[id]) for id in challenge.answers], start) as caller:
        return verify(challenge, caller, seed)


def test_every_challenge_that_is_declared_has_answers() -> None:
    folder = ROOT / "course_utils" / "grading"
    assert {path.stem[-2:] for path in folder.glob("challenge_[0-9][0-9].py")} == set(NUMBERS)
    assert {n: find_challenge(n).title for n in NUMBERS} == TITLES


@pytest.mark.parametrize("number", NUMBERS)
def test_enough_answers_are_planted(number: str) -> None:
    assert len(ANSWERS[number].WRONG) >= 8 and len(ANSWERS[number].RIGHT) >= 2
    assert sum("cheat" in name for name, *_ in ANSWERS[number].WRONG) >= 2


@pytest.mark.parametrize(("number", "name", "answer", "expected"), WRONG, ids=lambda x: str(x)[:56])
def test_wrong_answers_end_in_the_right_band(
    number: str, name: str, answer: dict[str, str], expected: dict[str, tuple[float, str]]
) -> None:
    result = run(number, answer, name=name)
    assert not result.passed, result.table()
    hold(result.to_json()["parts"], expected)


def hold(every: Sequence[Mapping[str, Any]], expected: Mapping[str, tuple[float, str]]) -> None:
    """Parts have at most these points, and say these words."""
    parts = {part["id"]: part for part in every}
    for id, (most, words) in expected.items():
        part = parts[id]
        assert part["points"] <= most, part
        assert words in " ".join([part["message"], *part["notes"]]), part


@pytest.mark.parametrize("number", NUMBERS)
def test_the_graders_own_answers_are_withheld(number: str) -> None:
    challenge = find_challenge(number)
    take = (
        f"from course_utils.grading.calibration_{number} import CONTESTANTS\n"
        "globals().update(next(f for name, f in CONTESTANTS.items() if name[:9] == 'reference'))"
    )
    result = run(number, dict.fromkeys(challenge.answers, take))
    assert result.points == 0, result.table()
    for part in result.parts:
        assert f"calibration_{number} is withheld where answers are verified" in part.message


@pytest.mark.parametrize(("number", "name", "answer"), RIGHT, ids=lambda x: str(x)[:40])
def test_right_answers_get_full_marks(number: str, name: str, answer: dict[str, str]) -> None:
    result = run(number, answer)
    assert result.points == result.most, result.table()


@pytest.mark.parametrize("number", NUMBERS)
def test_the_untouched_challenge_is_not_attempted(number: str) -> None:
    challenge: Any = find_challenge(number)
    path = ROOT / "challenges" / f"{challenge.name}.ipynb"
    with OtherProcess(challenge, read_answers(path, challenge)) as caller:
        result = verify(challenge, caller)
    assert {part.verdict for part in result.parts} == {"not attempted"}, result.table()
    assert not result.passed and not result.attempted


HALF_WRONG = {
    "01": "nothing before the first row",
    "02": "another shape",
    "03": "scaled along the batch; integers as projections",
    "04": "latents that are flat",
    "05": "another shape, NaN given to the network",
    "06": "latents come back, not pictures",
}
"""Answers that would stop a notebook, if a look at them could."""


@pytest.mark.parametrize("number", NUMBERS)
def test_a_wrong_answer_does_not_stop_the_notebook(number: str, tmp_path: Path) -> None:
    """In nbval, as the untouched notebook and the solution are; in the quick look's band."""
    challenge = find_challenge(number)
    ((answer, expected),) = [
        (answer, expected)
        for name, answer, expected in ANSWERS[number].WRONG
        if name == HALF_WRONG[number]
    ]
    notebook = json.loads((ROOT / "challenges" / f"{challenge.name}.ipynb").read_text())
    cells = solution_of(challenge) | answer
    by_id = {f"challenge-{number}-{id}": source for id, source in cells.items()}
    for cell in notebook["cells"]:
        id = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        if id in by_id:
            cell["source"] = by_id.pop(id)
        if "quick_look(" in "".join(cell["source"]) and cell["cell_type"] == "code":
            cell["source"] = f"{''.join(cell['source'])}\n{SAVE}"
    assert not by_id, "an answer names a cell that is none"
    path = tmp_path / f"{challenge.name}.ipynb"
    path.write_text(json.dumps(notebook))
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", path.name],
        cwd=tmp_path,
        env={**os.environ, "COURSE_PROGRESS": "off"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-3000:]
    hold(json.loads((tmp_path / "result.json").read_text()), expected)


SAVE = """
import json
from pathlib import Path

Path("result.json").write_text(json.dumps(result.to_json()["parts"]))
"""
