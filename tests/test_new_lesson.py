"""`course new lesson`: a lesson that works from the first minute, in the course's own tables."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from course_utils import cli
from course_utils.authoring import check_cells, learner_version
from course_utils.checks import examine
from course_utils.checks.agree import comparable
from course_utils.commands.new import lesson as skeleton
from course_utils.commands.new import write
from course_utils.lessons import LESSONS, ROOT, Lesson

NAMES = ["keep_mask", "blend"]
ASKED = Namespace(number="13", name="mosaics", title=None, question="Why?", exercises=NAMES)
LESSON = Lesson("13", "13_mosaics", "Mosaics", "Why?", skeleton.MINUTES)


def load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where slips look up the names of their reference
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Path]:
    """The files of the skeleton, by name, in another folder."""
    found = {path.name: text for path, text in skeleton.files(ASKED).items()}
    for name, text in found.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return {name: tmp_path / name for name in found}


def test_the_planted_answers_meet_their_checks(written: dict[str, Path]) -> None:
    checks = load(written["lesson_13.py"], "course_utils.checks.lesson_13")
    answers = load(written["answers_13.py"], "answers_13")
    exercises = {exercise.id: exercise for exercise in checks.EXERCISES}
    assert list(exercises) == ["13.keep_mask", "13.blend"]
    for id, answer, expected in answers.WRONG:
        verdict = examine(exercises[id], answer, seed=0)
        assert verdict.state == "wrong", verdict
        assert expected in (verdict.mistake, verdict.message) or expected in verdict.message
    for id, answer in answers.RIGHT:
        assert examine(exercises[id], answer, seed=0).state == "passed"
    assert len(answers.WRONG) == 10 and len(answers.RIGHT) == 4
    del sys.modules["course_utils.checks.lesson_13"], sys.modules["answers_13"]


def test_the_notebook_holds_the_references(written: dict[str, Path]) -> None:
    notebook = json.loads(written["13_mosaics.ipynb"].read_text(encoding="utf-8"))
    check_cells(notebook)
    checks = written["lesson_13.py"].read_text(encoding="utf-8")
    cells = {cell["id"]: "".join(cell["source"]) for cell in notebook["cells"]}
    for name in NAMES:
        place = name.replace("_", "-")
        assert comparable(cells[place], name) == comparable(checks, name) is not None
    blank = "".join("".join(cell["source"]) for cell in learner_version(notebook)["cells"])
    assert blank.count("raise NotImplementedError()") == 2 and "share * (y - x)" not in blank


def test_new_and_planned_lessons_get_their_line_and_row() -> None:
    changed = dict(skeleton.changes(ASKED))
    names: dict[str, Any] = {"__file__": str(ROOT / "course_utils" / "lessons.py")}
    table = changed[ROOT / "course_utils" / "lessons.py"]
    exec(compile(table, "lessons", "exec"), {**names, "__name__": __name__}, names)
    assert str(names["LESSONS"]) == str((*LESSONS, LESSON))
    assert "\n| 13 | Mosaics | Why? | ready |\n" in changed[ROOT / "README.md"]
    planned = next(lesson for lesson in LESSONS if not lesson.written)
    source = skeleton.with_lesson(table, planned)
    count = len([n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)])
    assert count == len([n for n in ast.walk(ast.parse(table)) if isinstance(n, ast.Call)])
    row = f"| {planned.number} | {planned.title} | {planned.question} |"
    readme = skeleton.with_row(changed[ROOT / "README.md"], planned)
    assert f"{row} ready |" in readme and f"{row} planned |" not in readme


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1", "x"], "number is '1'; expected two digits"),
        (["14", "Mosaics"], "name is 'Mosaics'; expected lower case letters"),
        (["09", "mosaics"], "lesson 09 is 09_prompting; choose its name or another number"),
        (["14", "mosaics", "--exercises", "2nd"], "exercise is '2nd'; expected a function's name"),
        (["09", "prompting"], "course_utils/checks/lesson_09.py is there already"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (ROOT / "course_utils" / "lessons.py").read_bytes()
    assert cli.main(["new", "lesson", *arguments]) != 0
    assert message in capsys.readouterr().err
    assert (ROOT / "course_utils" / "lessons.py").read_bytes() == before


def test_files_are_written_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("course_utils.commands.new.ROOT", tmp_path)
    assert write({tmp_path / "a" / "b.txt": "new"}, {tmp_path / "c.txt": "changed"}) == 0
    assert (tmp_path / "a" / "b.txt").read_text() == "new"
    with pytest.raises(ValueError, match=r"a/b\.txt is there already"):
        write({tmp_path / "a" / "b.txt": "other"}, {tmp_path / "c.txt": "lost"})
    assert (tmp_path / "c.txt").read_text() == "changed"
