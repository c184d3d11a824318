"""What an answer says in an error stays text: on pages, in tables and in terminals."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attacks import INJECT
from controls import answered
from tiny_challenge import declared

from course_utils.grading import reports
from course_utils.grading.cohort.gradebook import Gradebook, Policy
from course_utils.grading.cohort.grader import Job, grade
from course_utils.grading.cohort.submissions import clean
from course_utils.grading.reports import exports

WHEN = datetime(2026, 3, 2, 12, tzinfo=UTC).isoformat()
NAMES = ('=HYPERLINK("http://x")', "<script>alert(1)</script>", "\x1b[2J@SUM(1)", "\udcff-2+3")


@pytest.fixture(scope="module")
def written(sandboxed: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports and tables of those who inject."""
    folder = tmp_path_factory.mktemp("injection")
    with declared(), Gradebook(folder / "gradebook.sqlite") as book:
        for name, attack in zip(NAMES, INJECT, strict=True):
            data = answered(attack.cells, attack.challenge)
            book.add(grade(Job(clean(name), attack.challenge, data, WHEN, b"x" * 32)))
        reports.write(book, folder / "reports", Policy())
        for kind in ("nbgrader", "canvas", "moodle"):
            exports.write(kind, book, Policy(), folder / f"{kind}.csv", None)
    return folder


def test_pages_hold_no_markup_of_an_answer(written: Path) -> None:
    pages = sorted((written / "reports").rglob("*.html"))
    assert len(pages) > len(NAMES)
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert "<script>alert" not in text and "<img src=x" not in text
    assert "&lt;script&gt;alert" in text
    assert "\x1b" not in text and "\x07" not in text


@pytest.mark.parametrize("kind", ["nbgrader", "canvas", "moodle"])
def test_tables_hold_no_formula_of_an_answer(kind: str, written: Path) -> None:
    with (written / f"{kind}.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@"))]
    assert not [cell for cell in cells if "\x1b" in cell]
