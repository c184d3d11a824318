"""Text that came from elsewhere, such that a terminal or a page shows it and does nothing else."""

from __future__ import annotations

JOINERS = "\u200c\u200d"  # invisible, and part of names and of emoji


def printable(text: object) -> str:
    """One line of text: what can't be seen is written as an escape, spaces stay spaces."""
    return "".join(
        c if c.isprintable() or c in JOINERS else c.encode("unicode_escape").decode()
        for c in str(text)
    )
