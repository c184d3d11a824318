"""Attempts count as graded alike only where nothing that a grade depends on has changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course_utils.challenges.names import NAMES
from course_utils.grading.cohort import grader

IMPORTED = """
import sys
from course_utils.challenges.declare import find_challenge
from course_utils.grading.cohort import grader
find_challenge(sys.argv[1])
print(*(m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "course_utils"), sep="\\n")
"""
# Imported, but of no weight for a grade: the quick look in a notebook shows and remembers results.
SHOWN = ("checks/",)


@pytest.mark.parametrize("number", ["01", "06"])
def test_all_that_is_imported_for_a_grade_is_hashed(number: str) -> None:
    ran = subprocess.run([sys.executable, "-c", IMPORTED, number], capture_output=True, text=True)
    used = {Path(line) for line in ran.stdout.split()}
    assert len(used) > 30, ran.stderr
    missing = {path.relative_to(grader.PACKAGE) for path in used - set(grader.depends_on(number))}
    assert not [
        p for p in missing if not p.as_posix().startswith(SHOWN) and p.name != "__init__.py"
    ]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the course's code to change."""
    copy = tmp_path / "course_utils"
    ignored = shutil.ignore_patterns("__pycache__", "art", "weights")
    shutil.copytree(grader.PACKAGE, copy, ignore=ignored)
    monkeypatch.setattr(grader, "PACKAGE", copy)
    return copy


CHANGES = {
    "challenges/squeeze/ask.py": True,
    "challenges/squeeze/a_new_piece.py": True,
    "challenges/validation.py": True,
    "challenges/provenance.py": True,
    "challenges/network.py": True,
    "evaluation/judge.py": True,
    "data/captions.py": True,
    "data/a_new_table.json": True,
    "models/vae.py": True,
    "grading/answers/boundary.py": True,
    "grading/sandbox/seccomp.py": True,
    "grading/cohort/grader.py": True,
    "a_new_folder/module.py": True,
    "challenges/noise_to_order/ask.py": False,
    "grading/reports/style.py": False,
    "plots/unet.py": False,
    "widgets/player.py": False,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_counts_where_a_grade_depends_on_it(name: str, package: Path) -> None:
    before = grader.template_hash.__wrapped__("04")
    path = package / name
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write("\n# another rule\n")
    assert (grader.template_hash.__wrapped__("04") != before) == CHANGES[name]


def test_each_challenge_has_its_own_hash() -> None:
    assert len({grader.template_hash(number) for number in NAMES}) == len(NAMES)
