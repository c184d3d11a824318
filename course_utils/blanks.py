"""What is still blank in a notebook, by its text.

A stub is recognised by how it reads and never by what it raises: torch raises `NotImplementedError`
too, and so may an answer.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_blank(function: Callable[..., Any]) -> bool:
    """Whether a function or a class is a stub; False where its text is not known."""
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return False
    name = getattr(function, "__name__", "")
    return name in blank_names([text])


def blank_names(sources: Iterable[str]) -> frozenset[str]:
    """The functions and classes that are stubs in the end.

    Args:
        sources: of cells, in the order in which they run. What can't be parsed says nothing.
    """
    found: dict[str, bool] = {}
    for source in sources:
        try:
            body = ast.parse(source).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in body:
            if isinstance(node, Function):
                found[node.name] = _is_stub(node)
            elif isinstance(node, ast.ClassDef):
                found[node.name] = any(
                    isinstance(each, Function) and _is_stub(each) for each in node.body
                )
            else:
                for each in ast.walk(node):
                    if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                        found.pop(each.id, None)
    return frozenset(name for name, blank in found.items() if blank)


def is_stub_line(text: str) -> bool:
    """Whether a line is what raises in a stub."""
    return text.strip() in ("raise NotImplementedError()", "raise NotImplementedError")


def _is_stub(function: Function) -> bool:
    """Whether the stub stands in a function's body, and nothing returns before it."""
    for statement in function.body:
        if isinstance(statement, ast.Raise):
            return statement.exc is not None and is_stub_line(ast.unparse(statement))
        if any(isinstance(each, ast.Return | ast.Yield) for each in ast.walk(statement)):
            return False
    return False
