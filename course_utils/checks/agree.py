"""Holds the three places that show an answer to one text: lesson, reference and library.

A reference is what `solution` shows; the solution notebook has it in a cell, and some have a copy
in the library. They are compared as syntax trees, without docstrings, annotations and the library's
checks of its arguments.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from course_utils import schedules
from course_utils.authoring import Difference, read, shown
from course_utils.checks import Exercise, exercises
from course_utils.lessons import LESSONS

COPIES: dict[str, ModuleType] = {"01.linear_betas": schedules}
"""Exercises whose answer stands word for word in the library too. Where the library computes the
same otherwise (samplers, blocks), the lesson's test compares numbers."""


def disagreements(solutions_dir: str | Path) -> Iterator[Difference]:
    """Where a solution cell or a library's copy is not the reference of its exercise.

    Args:
        solutions_dir: the complete notebooks; lessons that it lacks are left out.
    """
    for lesson in LESSONS:
        path = Path(solutions_dir) / lesson.solution.name
        if not path.exists():
            continue
        cells = dict(_definitions(read(path)))
        for exercise in exercises(lesson.number):
            if exercise.is_value:
                continue
            reference = comparable(inspect.getsource(exercise.reference), exercise.name)
            cell, found = cells.get(exercise.name, ("", None))
            if found is None:
                yield Difference(shown(path), "", f"no cell defines {exercise.name}")
            elif found != reference:
                yield Difference(shown(path), cell, f"is not the reference of {exercise.id}")
            yield from _library_copy(exercise, reference)


def comparable(source: str, name: str) -> str | None:
    """The syntax tree of a function or class in some Python text; None if it is not there."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return ast.dump(_Bare().visit(node))
    return None


class _Bare(ast.NodeTransformer):
    """Takes off what does not compute: docstrings, annotations, checks of arguments."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        """Without annotations of arguments and result."""
        node.returns = None
        self._bare_body(node)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        """Without its docstring."""
        self._bare_body(node)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> Any:
        """Without its annotation."""
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        """As a plain assignment."""
        return node if node.value is None else ast.Assign([node.target], node.value)

    def _bare_body(self, node: ast.FunctionDef | ast.ClassDef) -> None:
        body = node.body[1:] if ast.get_docstring(node) else node.body
        node.body = [part for part in body if not _only_raises(part)]


def _only_raises(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and not node.orelse and isinstance(node.body[0], ast.Raise)


def _definitions(notebook: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """Names that code cells define, each with the cell's name and the definition's tree."""
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        try:
            body = ast.parse(source).body
        except SyntaxError:  # a cell with a magic command
            continue
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                place = f"cell {number} (id {cell['id']})"
                yield node.name, (place, comparable(source, node.name))


def _library_copy(exercise: Exercise, reference: str | None) -> Iterator[Difference]:
    module = COPIES.get(exercise.id)
    if module is not None:
        found = comparable(inspect.getsource(getattr(module, exercise.name)), exercise.name)
        if found != reference:
            file = shown(Path(str(module.__file__)))
            yield Difference(file, "", f"{exercise.name} is not the reference of {exercise.id}")
