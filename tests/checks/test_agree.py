"""Solution cells, references and library copies say the same; a slip in one of them is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from course_utils.checks.agree import comparable, disagreements
from course_utils.lessons import ROOT

SOLUTIONS = ROOT / "solutions"


def test_lessons_references_and_library_agree() -> None:
    assert list(map(str, disagreements(SOLUTIONS))) == []


def planted(folder: Path, before: str, after: str) -> Path:
    """Lesson 01 with one text of a cell changed."""
    source = (SOLUTIONS / "01_forward_noising.ipynb").read_text(encoding="utf-8")
    notebook = json.loads(source)
    changed = 0
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code" and before in text:
            changed += 1
            cell["source"] = text.replace(before, after).splitlines(keepends=True)
    assert changed == 1
    (folder / "01_forward_noising.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    return folder


def test_a_cell_that_computes_otherwise_is_found(tmp_path: Path) -> None:
    planted(
        tmp_path, "return alpha_bar / (1 - alpha_bar)", "return alpha_bar / (1 - alpha_bar) * 1"
    )
    (found,) = disagreements(tmp_path)
    assert "is not the reference of 01.snr" in str(found) and "(id snr)" in str(found)


def test_a_cell_that_is_gone_is_found(tmp_path: Path) -> None:
    planted(tmp_path, "def snr(", "def ratio(")
    (found,) = disagreements(tmp_path)
    assert "no cell defines snr" in str(found)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('def f(x: int) -> int:\n    """Words."""\n    return x + 1', True),
        ("def f(x):\n    if x < 0:\n        raise ValueError\n    return x + 1  # words", True),
        ("def f(x):\n    return 1 + x", False),
        ("def f(x, y=1):\n    return x + 1", False),
        ("def g(x):\n    return x + 1", False),
    ],
)
def test_only_what_computes_is_compared(text: str, same: bool) -> None:
    plain = comparable("def f(x):\n    return x + 1", "f")
    assert plain is not None and (comparable(text, "f") == plain) == same
