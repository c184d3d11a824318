"""A learner's notebook is source text: answer cells are taken by their id, the rest is ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from course_utils.challenges.declare import Challenge, every_challenge

MOST_BYTES = 20 * 2**20  # of a notebook
MOST_SOURCE = 200_000  # characters of an answer


class NotebookError(ValueError):
    """A notebook that no answer can be taken from; the message says why.

    Args:
        message: to the learner.
        tampering: answer cells were changed in a way that does not happen by chance.
    """

    def __init__(self, message: str, tampering: bool = False) -> None:
        super().__init__(message)
        self.tampering = tampering


def read_answers(path: str | Path, challenge: Challenge) -> list[tuple[str, str]]:
    """The answer cells of a notebook.

    Args:
        path: of the notebook.
        challenge: which cells.

    Returns:
        (cell id, source) in the challenge's order.

    Raises:
        NotebookError: it is no notebook, too large, of another challenge, or a cell is missing,
            there twice, or no longer code.
    """
    return answers_of(read_notebook(path), challenge)


def read_notebook(path: str | Path) -> dict[str, Any]:
    """Read a notebook's JSON.

    Raises:
        NotebookError: it is missing, too large, or no notebook.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise NotebookError(
                f"{path.name} has {size / 2**20:.0f} MB; expected at most "
                f"{MOST_BYTES / 2**20:.0f}. Clear its outputs and save it again."
            )
        data = path.read_bytes()
    except OSError as error:
        raise NotebookError(f"{path.name} can't be read: {error.strerror}.") from None
    return parse_notebook(data, path.name)


def parse_notebook(data: bytes, name: str) -> dict[str, Any]:
    """Read a notebook's JSON from its bytes.

    Args:
        data: of the file.
        name: for messages.

    Raises:
        NotebookError: it is no notebook.
    """
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
        cells = notebook["cells"]
        if notebook["nbformat"] != 4 or not isinstance(cells, list):
            raise TypeError
        for cell in cells:
            source = cell["source"]
            if not isinstance(source, str | list):
                raise TypeError
            if not isinstance(source, str) and not all(isinstance(line, str) for line in source):
                raise TypeError
            if not isinstance(cell["cell_type"], str):
                raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NotebookError(f"{name} is not a notebook of format 4.") from None
    found: dict[str, Any] = notebook
    return found


def answers_of(notebook: dict[str, Any], challenge: Challenge) -> list[tuple[str, str]]:
    """The answer cells of a notebook that was read; see `read_answers`."""
    by_id: dict[str, list[dict[str, Any]]] = {}
    for cell in notebook["cells"]:
        if isinstance(id := cell.get("id"), str):
            by_id.setdefault(id, []).append(cell)
    answers = []
    for id in challenge.answers:
        cells = by_id.get(id, [])
        if not cells:
            fits = _other_challenge(by_id)
            also = f" It looks like challenge {fits}." if fits else ""
            raise NotebookError(
                f"The cell {id!r} of challenge {challenge.number} is missing.{also} Cells are "
                f"found by their id; `course reset {challenge.name}` gives a fresh notebook to "
                "copy your answer into."
            )
        if len(cells) > 1:
            raise NotebookError(
                f"The cell {id!r} is there {len(cells)} times; expected once.", tampering=True
            )
        if cells[0]["cell_type"] != "code":
            kind = cells[0]["cell_type"]
            raise NotebookError(f"The cell {id!r} is {kind}; expected code.", tampering=True)
        source = cells[0]["source"]
        text = source if isinstance(source, str) else "".join(source)
        if len(text) > MOST_SOURCE:
            raise NotebookError(f"The cell {id!r} has {len(text):,} characters; that is no answer.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise NotebookError(
                f"The cell {id!r} holds half of a character (a lone surrogate), number "
                f"{error.start + 1} of {len(text):,}. Write it anew."
            ) from None
        answers.append((id, text))
    return answers


def _other_challenge(by_id: dict[str, Any]) -> str | None:
    for other in every_challenge():
        if all(id in by_id for id in other.answers):
            return other.name
    return None
