"""What `course new lesson` writes: checks, planted answers, the solution notebook and two lines.

The skeleton is a whole lesson, so that everything runs from the first minute: each exercise asks
for a share of the way from x to y. Put yours in its place.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_utils.authoring import BEGIN, END, KERNEL, LANGUAGE
from course_utils.lessons import LESSONS, ROOT, Lesson

NAME = "lesson"
MINUTES = 30  # of the skeleton

CHECKS_HEAD = '''"""Lesson @NUMBER@, @TITLE@: what is right, and what people get wrong."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.mistakes import slips
'''
CHECKS = '''
# --- @NUMBER@.@EXERCISE@ ---


def @EXERCISE@(x: Tensor, y: Tensor, share: float) -> Tensor:
    """A share of the way from x to y."""
    return x + share * (y - x)


def _@EXERCISE@_cases(generator: torch.Generator) -> Iterator[Case]:
    for shape, share in (((2,), 0.25), ((3, 4), 0.7), ((2, 3, 4, 4), 0.1)):
        x, y = torch.randn(2, *shape, generator=generator)
        yield Case((x, y, share))


@CONSTANT@ = Exercise(
    "@NUMBER@.@EXERCISE@",
    @EXERCISE@,
    _@EXERCISE@_cases,
    hints=(
        "Where do you stand if share is 0, and where if it is 1?",
        "Start at x and go a part of the way that leads to y, which is y - x.",
        "return x + share * ...",
    ),
    difficulty=1,
    minutes=5,
    gradients=("x", "y"),
    mistakes=slips(
        """
        ends_swapped: `x + share * (y - x)` -> `y + share * (x - y)`
            It starts at y and walks to x. With share 0 the answer is x.
        whole_y: `(y - x)` -> `y`
            It adds a share of y itself. The way from x to y is y - x.
        way_only: `x + share` -> `share`
            This is the way alone. Add x, where it starts.
        """
    ),
)
'''
ANSWERS_HEAD = '''"""Answers to the exercises of lesson @NUMBER@, as people write them."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def swapped(x: Tensor, y: Tensor, share: float) -> Tensor:
    return (1 - share) * y + share * x


def added(x: Tensor, y: Tensor, share: float) -> Tensor:
    return x + y * share


def from_zero(x: Tensor, y: Tensor, share: float) -> Tensor:
    return share * y - share * x


def nothing(x: Tensor, y: Tensor, share: float) -> None:
    x + share * (y - x)


def in_place(x: Tensor, y: Tensor, share: float) -> Tensor:
    x += share * (y - x)
    return x


def mixed(x: Tensor, y: Tensor, share: float) -> Tensor:
    return (1 - share) * x + share * y


def lerp(x: Tensor, y: Tensor, share: float) -> Tensor:
    return x.lerp(y, share)


WRONG: list[tuple[str, Any, str]] = [
'''
WRONG = """    ("@NUMBER@.@EXERCISE@", swapped, "ends_swapped"),
    ("@NUMBER@.@EXERCISE@", added, "whole_y"),
    ("@NUMBER@.@EXERCISE@", from_zero, "way_only"),
    ("@NUMBER@.@EXERCISE@", nothing, "is a `return` missing"),
    ("@NUMBER@.@EXERCISE@", in_place, "changes its argument x in place"),
"""
RIGHT = """    ("@NUMBER@.@EXERCISE@", mixed),
    ("@NUMBER@.@EXERCISE@", lerp),
"""
TITLE = """# @NUMBER@ @TITLE@: @QUESTION@

What the lesson is about, and the first thing to see.

| this lesson | |
|---|---|
| your time | about @MINUTES@ minutes |
| at the end | what you can do then |
"""
START = """from IPython.display import display

from course_utils.checks import check, hint, panel, summary
from course_utils.runtime import Runtime

runtime = Runtime.start("@NUMBER@")
display(runtime, panel("@NUMBER@"))"""
ASK = """## What this part is about

**Exercise** `@EXERCISE@` (difficulty 1, 5 minutes)."""
ANSWER = f'''from torch import Tensor


def @EXERCISE@(x: Tensor, y: Tensor, share: float) -> Tensor:
    """A share of the way from x to y.

    Args:
        x: where it starts, any shape.
        y: where it leads, of the same shape.
        share: 0 gives x, 1 gives y.

    Returns:
        A tensor of their shape.
    """
    {BEGIN}
    return x + share * (y - x)
    {END}'''
CHECK = """@EXERCISE@ = check("@NUMBER@.@EXERCISE@", @EXERCISE@)
# hint("@NUMBER@.@EXERCISE@")"""
FINISH = """print(runtime.report())
summary("@NUMBER@")"""


def register(kinds: Any) -> None:
    """Add the kind to `course new`."""
    parser = kinds.add_parser(
        NAME,
        help="a lesson: checks, planted answers, the solution notebook",
        description="Writes a whole small lesson with the exercises that you name.",
    )
    parser.add_argument("number", help="two digits, such as 10")
    parser.add_argument("name", help="of the files, in lower case, such as editing")
    parser.add_argument("--title", help="for people; the name if it is left out")
    parser.add_argument("--question", default="What does it answer?", help="that it answers")
    parser.add_argument(
        "--exercises", nargs="+", default=["first"], metavar="NAME", help="names of functions"
    )


def files(args: argparse.Namespace) -> dict[Path, str]:
    """The new files and what they hold.

    Raises:
        ValueError: a number or a name that does not fit, or one that another lesson has.
    """
    lesson = _lesson(args)
    names = list(dict.fromkeys(args.exercises))
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"exercise is {name!r}; expected a function's name, such as keep_mask")
    constants = ", ".join(name.upper() for name in names) + "," * (len(names) == 1)
    each = [{"EXERCISE": name, "CONSTANT": name.upper()} for name in names]
    checks = CHECKS_HEAD + "\n".join(_filled(CHECKS, lesson, **one) for one in each)
    checks += f"\n\nEXERCISES = ({constants})\n"
    answers = ANSWERS_HEAD + "".join(_filled(WRONG, lesson, **one) for one in each)
    answers += "]\nRIGHT: list[tuple[str, Any]] = [\n"
    answers += "".join(_filled(RIGHT, lesson, **one) for one in each) + "]\n"
    found = {
        ROOT / "course_utils" / "checks" / f"lesson_{lesson.number}.py": checks,
        ROOT / "tests" / "checks" / f"answers_{lesson.number}.py": answers,
        lesson.solution: _notebook(lesson, names),
    }
    return {path: _filled(text, lesson) for path, text in found.items()}


def changes(args: argparse.Namespace) -> dict[Path, str]:
    """`lessons.py` and README with the lesson in their tables."""
    lesson = _lesson(args)
    table, readme = ROOT / "course_utils" / "lessons.py", ROOT / "README.md"
    return {
        table: with_lesson(table.read_text(encoding="utf-8"), lesson),
        readme: with_row(readme.read_text(encoding="utf-8"), lesson),
    }


def with_lesson(source: str, lesson: Lesson) -> str:
    """`lessons.py` with a lesson in its table, in place of a planned one of the same number."""
    texts = (lesson.number, lesson.name, lesson.title, lesson.question)
    quoted = [json.dumps(text, ensure_ascii=False) for text in texts]
    entry = ["    Lesson(", *(f"        {part}," for part in (*quoted, lesson.minutes)), "    ),"]
    lines = source.split("\n")
    table = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "LESSONS"
    )
    assert isinstance(table.value, ast.Tuple)
    first = last = int(table.end_lineno or 0) - 1  # before the closing bracket
    for call in table.value.elts:
        assert isinstance(call, ast.Call) and call.end_lineno is not None
        if ast.literal_eval(call.args[0]) == lesson.number:
            first, last = call.lineno - 1, call.end_lineno
    return "\n".join([*lines[:first], *entry, *lines[last:]])


def with_row(readme: str, lesson: Lesson) -> str:
    """README with the lesson's row in the table of lessons."""
    row = f"| {lesson.number} | {lesson.title} | {lesson.question} | ready |"
    rows = re.findall(r"^\| \d\d \| .* \| (?:ready|planned) \|$", readme, flags=re.MULTILINE)
    own = [each for each in rows if each.startswith(f"| {lesson.number} |")]
    return readme.replace(own[0], row) if own else readme.replace(rows[-1], f"{rows[-1]}\n{row}")


def _lesson(args: argparse.Namespace) -> Lesson:
    if not re.fullmatch(r"\d\d", args.number):
        raise ValueError(f"number is {args.number!r}; expected two digits, such as 10")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", args.name):
        raise ValueError(f"name is {args.name!r}; expected lower case letters, such as editing")
    planned = {lesson.number: lesson for lesson in LESSONS}.get(args.number)
    name = f"{args.number}_{args.name}"
    if planned is not None and planned.name != name:
        raise ValueError(
            f"lesson {args.number} is {planned.name}; choose its name or another number"
        )
    title = args.title or (planned.title if planned else args.name.replace("_", " ").capitalize())
    question = planned.question if planned else args.question
    return Lesson(args.number, name, title, question, MINUTES)


def _filled(text: str, lesson: Lesson, **more: str) -> str:
    facts = {
        "NUMBER": lesson.number,
        "TITLE": lesson.title,
        "QUESTION": lesson.question,
        "MINUTES": str(lesson.minutes),
        **more,
    }
    for key, value in facts.items():
        text = text.replace(f"@{key}@", value)
    return text


def _notebook(lesson: Lesson, names: list[str]) -> str:
    cells = [_cell("markdown", "title", TITLE), _cell("code", "start", START)]
    for name in names:
        cells += _exercise(lesson, name)
    cells.append(_cell("code", "the-end", FINISH))
    metadata = {"kernelspec": KERNEL, "language_info": LANGUAGE}
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _exercise(lesson: Lesson, name: str) -> Iterator[dict[str, Any]]:
    place = name.replace("_", "-")
    yield _cell("markdown", f"{place}-words", ASK.replace("@EXERCISE@", name))
    answer = _cell("code", place, ANSWER.replace("@EXERCISE@", name))
    answer["metadata"]["nbgrader"] = {
        "grade": False,
        "grade_id": f"{lesson.number}-{place}",
        "locked": False,
        "schema_version": 3,
        "solution": True,
        "task": False,
    }
    yield answer
    yield _cell("code", f"check-{place}", CHECK.replace("@EXERCISE@", name))


def _cell(kind: str, id: str, text: str) -> dict[str, Any]:
    cell = {"cell_type": kind, "id": id, "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []}
