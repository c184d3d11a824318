"""The source text of functions and classes, and of what they use of this package."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
import types
from collections.abc import Iterable, Iterator
from typing import Any

PACKAGE = __name__.rpartition(".")[0]


def sources(values: Iterable[Any]) -> Iterator[str]:
    """What defines some values: sources of functions and classes, the rest as Python writes it.

    Functions, classes and constants of `course_utils.checks` that they use come after them, each
    once, and what those use in turn.
    """
    waiting: list[Any] = list(values)
    seen: set[Any] = set()
    while waiting:
        value: Any = waiting.pop(0)
        if not callable(value) or not hasattr(value, "__module__"):
            yield repr(value)
        elif value not in seen:
            seen.add(value)
            yield source_of(value)
            waiting += _used(value)


@functools.cache
def source_of(value: Any) -> str:
    """The source of a function or class without its docstrings; "" where there is none."""
    try:
        source = textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError):
        return ""
    try:
        return without_docstrings(source)
    except SyntaxError:  # the lines of a lambda are no program of their own
        return source


def without_docstrings(source: str) -> str:
    """Python text with empty lines where docstrings stood."""
    lines = source.split("\n")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            text = node.body[0]
            assert text.end_lineno is not None
            lines[text.lineno - 1 : text.end_lineno] = [""] * (text.end_lineno - text.lineno + 1)
    return "\n".join(lines)


def _used(value: Any) -> Iterator[Any]:
    """What a function or class names of the modules of this package, in the order of its code."""
    names = vars(sys.modules[value.__module__])
    for name in dict.fromkeys(_names(value)):
        used = names.get(name)
        module = getattr(used, "__module__", None)
        if isinstance(used, bool | int | float | str | tuple) or (
            isinstance(module, str) and module.startswith(PACKAGE)
        ):
            yield used


def _names(value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        for part in vars(value).values():
            if inspect.isfunction(part):
                yield from _names(part)
        return
    codes = [inspect.unwrap(value).__code__]
    while codes:
        code = codes.pop(0)
        yield from code.co_names
        codes += [part for part in code.co_consts if isinstance(part, types.CodeType)]
