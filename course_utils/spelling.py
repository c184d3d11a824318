"""One spelling for what looks the same, so that words can be compared."""

from __future__ import annotations

import re
import unicodedata

_TONES = re.compile("[\U0001f3fb-\U0001f3ff]")  # skin tones, which follow an emoji


def plain(text: str) -> str:
    """One spelling of a text.

    Lower case, accents composed (NFC), a straight apostrophe; emoji without the variation selector
    U+FE0F and without skin tones.
    """
    text = unicodedata.normalize("NFC", text.lower()).replace("’", "'").replace("\ufe0f", "")
    return _TONES.sub("", text)


def without_accents(text: str) -> str:
    """The text with accents taken off its letters: "piñata" becomes "pinata"."""
    parts = unicodedata.normalize("NFD", text)
    return "".join(sign for sign in parts if not unicodedata.combining(sign))
