"""Notebook syntax in an answer: magics are left out, so that the rest of the cell is Python."""

from __future__ import annotations

import ast

from IPython.core.inputtransformer2 import TransformerManager

MOST_MAGICS = 100  # lines; IPython reads a cell anew for each of them
HARMLESS = ("time", "timeit", "capture", "prun")  # the cell below them is Python


def as_python(source: str) -> tuple[str, tuple[str, ...]]:
    """A cell without magics and shell commands.

    Args:
        source: of the cell. Lines stay where they are.

    Returns:
        The source as Python, as far as that goes, and what was left out.
    """
    if _parses(source):
        return source, ()
    left_out: list[str] = []
    lines = source.split("\n")
    for number, line in enumerate(lines):
        if line.strip():
            if line.startswith("%%") and line[2:].split(" ")[0].strip() in HARMLESS:
                left_out.append(line.strip())
                lines[number] = ""
            break
    text = "\n".join(lines)
    if not _parses(text):
        text = _without_magics(text, left_out)
    return text, tuple(left_out)


def _without_magics(source: str, left_out: list[str]) -> str:
    """Lines that IPython gives to a magic or to a shell become `pass`."""
    if sum(line.lstrip().startswith(("%", "!", "?")) for line in source.split("\n")) > MOST_MAGICS:
        return source
    try:
        transformed = TransformerManager().transform_cell(source)
        tree = ast.parse(transformed)
    except Exception:  # what an answer makes of a reader that is not ours
        return source
    lines, old = transformed.split("\n"), source.split("\n")
    if len(lines) - 1 > len(old):  # not line by line, such as a cell magic
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and _is_magic(node.value):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                left_out.append(old[number].strip())
                lines[number] = " " * node.col_offset + "pass"
    return "\n".join(lines[: len(old)])


def _is_magic(value: ast.expr) -> bool:
    """Whether it is a call of a method of `get_ipython()`."""
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
        return False
    owner = value.func.value
    return (
        isinstance(owner, ast.Call)
        and isinstance(owner.func, ast.Name)
        and owner.func.id == "get_ipython"
    )


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
