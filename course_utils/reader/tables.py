"""The tables in `words/`: plain text, "name: word, word", a line each; "#" begins a comment."""

from __future__ import annotations

import functools
import re
import unicodedata
from pathlib import Path

FOLDER = Path(__file__).parent / "words"
TONES = re.compile("[\N{EMOJI MODIFIER FITZPATRICK TYPE-1-2}-\N{EMOJI MODIFIER FITZPATRICK TYPE-6}]")


@functools.cache
def table(name: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Read `words/<name>.txt`: pairs of what stands before the last ": " and the words behind it."""
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


def plain(text: str) -> str:
    """One spelling for what looks the same.

    Lower case, accents composed (NFC), a straight apostrophe; emoji without the variation selector
    U+FE0F and without skin tones.
    """
    text = unicodedata.normalize("NFC", text.lower()).replace("’", "'").replace("\ufe0f", "")
    return TONES.sub("", text)


def without_accents(text: str) -> str:
    """The text with accents taken off its Latin letters: "piñata" becomes "pinata"."""
    parts = unicodedata.normalize("NFD", text)
    return "".join(sign for sign in parts if not unicodedata.combining(sign))
