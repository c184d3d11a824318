"""`course new challenge` writes a challenge that runs, with nothing else to touch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course_utils import cli
from course_utils.challenges.names import NAMES
from course_utils.lessons import ROOT

NUMBER = f"{1 + max(map(int, NAMES)):02}"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what a challenge is made of."""
    apart = shutil.ignore_patterns("__pycache__", ".pytest_cache")
    for name in ("course_utils", "tests/challenges"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=apart)
    for name in ("conftest.py", "pyproject.toml", "tests/conftest.py", "tests/forked.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "tests" / "tiny_pipeline.py", tmp_path / "tests")
    return tmp_path


def course(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True
    )


def test_the_skeleton_is_a_challenge(copy: Path) -> None:
    made = course(copy, "-m", "course_utils", "new", "challenge", "Mix colours")
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == [
        "course_utils/challenges/mix_colours/__init__.py",
        "course_utils/challenges/mix_colours/ask.py",
        "course_utils/challenges/mix_colours/contestants.py",
        f"solutions/challenges/{NUMBER}_mix_colours.ipynb",
        f"challenges/{NUMBER}_mix_colours.ipynb",
        "tests/challenges/test_mix_colours.py",
    ]
    notebook = f"challenges/{NUMBER}_mix_colours.ipynb"
    solved = course(copy, "-m", "course_utils", "verify", f"solutions/{notebook}")
    assert "4 of 4 points: passed" in solved.stdout, solved.stdout + solved.stderr
    untouched = course(copy, "-m", "course_utils", "verify", notebook)
    assert "not attempted" in untouched.stdout.lower(), untouched.stdout + untouched.stderr
    tests = course(copy, "-m", "pytest", "-q", "tests/challenges/test_mix_colours.py")
    assert "1 failed, 6 passed" in tests.stdout, tests.stdout  # more answers must be planted
    assert "test_enough_answers_are_planted" in tests.stdout
    for words in (["check"], ["format", "--check"]):
        style = course(copy, "-m", "ruff", *words, *made.stdout.split())
        assert style.returncode == 0, style.stdout
    again = course(copy, "-m", "course_utils", "new", "challenge", "mix  colours")
    assert again.returncode == 1 and "mix_colours is there already" in again.stderr


@pytest.mark.parametrize("title", ["", "12", '"', "Squeeze", "a\\b", "???"])
def test_titles_that_give_no_name_are_refused(
    title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["new", "challenge", title]) == 1
    assert "title" in capsys.readouterr().err
