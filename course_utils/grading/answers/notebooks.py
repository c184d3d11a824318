"""A learner's notebook is source text: answer cells are taken by their id, the rest is ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from course_utils.challenges.declare import Challenge, every_challenge, find_challenge

MOST_BYTES = 20 * 2**20  # of a notebook
MOST_SOURCE = 50_000  # characters of an answer; more is no code, but a table of what it gives


class NotebookError(ValueError):
    """A notebook that no answer can be taken from; the message says why.

    Args:
        message: to the learner.
        tampering: answer cells were changed in a way that does not happen by chance.
    """

    def __init__(self, message: str, tampering: bool = False) -> None:
        super().__init__(message)
        self.tampering = tampering


def read_answers(path: str | Path, challenge: Challenge) -> Answers:
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
        raise NotebookError(f"{name} {_what_it_is(data)}.") from None
    found: dict[str, Any] = notebook
    return found


def _what_it_is(data: bytes) -> str:
    """What a file is that is no notebook of format 4."""
    if not data.strip(b"\0 \t\r\n"):
        return "is empty. Save the notebook again and hand it in"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:200]:
        return "is not in UTF-8 (it may be UTF-16). Open it in Jupyter and save it again"
    text = data.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if text.startswith("<"):
        return "is a web page and not a notebook. Download the .ipynb file itself"
    try:
        found = json.loads(text)
    except RecursionError:
        return "is not a notebook of format 4"
    except ValueError:
        if text.startswith("{") and not text.rstrip().endswith("}"):
            return "is cut off: it ends in the middle. Save the notebook again and hand it in"
        if "�" in text:
            return "is not in UTF-8. Open it in Jupyter and save it again"
        return "is no notebook: it does not hold JSON"
    version = found.get("nbformat") if isinstance(found, dict) else None
    if isinstance(version, int) and version != 4:
        hint = "`jupyter nbconvert --to notebook --inplace` brings it to format 4"
        return f"is a notebook of format {version}, and is not a notebook of format 4. {hint}"
    return "is not a notebook of format 4"


class Answers(list[tuple[str, str]]):
    """(cell id, source) in the challenge's order.

    Attributes:
        notes: what a learner should know of how they were found, a sentence each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []


def answers_of(notebook: dict[str, Any], challenge: Challenge) -> Answers:
    """The answer cells of a notebook that was read; see `read_answers`."""
    answers = Answers()
    for id in challenge.answers:
        cells = _cells_of(notebook, challenge, id)
        if not cells:
            fits = challenge_in(notebook)
            also = f" It looks like challenge {fits}." if fits else ""
            raise NotebookError(
                f"The cell {id!r} of challenge {challenge.number} is missing.{also} Cells are "
                f"found by their id; `course reset {challenge.name}` gives a fresh notebook to "
                "copy your answer into."
            )
        if any(cell["cell_type"] != "code" for cell in cells):
            kind = next(cell["cell_type"] for cell in cells if cell["cell_type"] != "code")
            raise NotebookError(f"The cell {id!r} is {kind}; expected code.", tampering=True)
        texts = [_text(cell) for cell in cells]
        if len(set(texts)) > 1:
            raise NotebookError(
                f"The cell {id!r} is there {len(cells)} times, and they differ. Keep the one that "
                "is your answer, delete the others, and hand it in again."
            )
        text = texts[-1]
        if len(texts) > 1:
            answers.notes.append(f"The cell {id!r} is there {len(cells)} times, all alike.")
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


def _text(cell: dict[str, Any]) -> str:
    source: str | list[str] = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _cells_of(notebook: dict[str, Any], challenge: Challenge, id: str) -> list[dict[str, Any]]:
    """The cells of an answer: by their id, or else by the name that nbgrader gave them.

    Some editors leave ids out or make new ones; nbgrader's name is in the metadata, which they
    keep.
    """
    cells = [cell for cell in notebook["cells"] if isinstance(cell, dict)]
    found = [cell for cell in cells if cell.get("id") == id]
    name = f"challenge-{challenge.number}-{id}"
    return found or [cell for cell in cells if _grade_id(cell) == name]


def _grade_id(cell: dict[str, Any]) -> Any:
    metadata = cell.get("metadata")
    own = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return own.get("grade_id") if isinstance(own, dict) else None


def challenge_of(data: bytes) -> str | None:
    """The number of the challenge whose answer cells a notebook's bytes hold; None if unsure."""
    try:
        name = None if len(data) > MOST_BYTES else challenge_in(parse_notebook(data, ""))
    except NotebookError:
        return None
    return None if name is None else find_challenge(name).number


def challenge_in(notebook: dict[str, Any]) -> str | None:
    """The name of the one challenge all of whose answer cells a notebook has."""
    fitting = [
        each.name
        for each in every_challenge()
        if all(_cells_of(notebook, each, id) for id in each.answers)
    ]
    return fitting[0] if len(fitting) == 1 else None
