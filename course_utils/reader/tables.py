"""The tables in `words/`: plain text, "name: word, word", a line each; "#" begins a comment."""

from __future__ import annotations

import functools
from pathlib import Path

FOLDER = Path(__file__).parent / "words"


@functools.cache
def table(name: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Read `words/<name>.txt`: pairs of what stands before the last ": ", and the words behind."""
    pairs = []
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            head, _, rest = line.rpartition(": ")
            pairs.append((head, tuple(word.strip() for word in rest.split(","))))
    return tuple(pairs)


@functools.cache
def word_list(name: str) -> frozenset[str]:
    """Read `words/<name>.txt`: words with blanks between."""
    lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())
