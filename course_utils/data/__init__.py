"""Pictures, captions and point sets to learn from. Names load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .captions import (
        BACKGROUNDS,
        HELD_OUT_TEMPLATES,
        STYLES,
        full_caption,
        held_out_caption,
        random_caption,
    )
    from .concepts import Concept, held_out_pairs, load_art, load_concepts, subsets
    from .emoji import Batch, CaptionedEmoji, Example, compose, nearest_background
    from .toy import TOY_DATA

__all__ = [
    "BACKGROUNDS",
    "HELD_OUT_TEMPLATES",
    "STYLES",
    "TOY_DATA",
    "Batch",
    "CaptionedEmoji",
    "Concept",
    "Example",
    "compose",
    "full_caption",
    "held_out_caption",
    "held_out_pairs",
    "load_art",
    "load_concepts",
    "nearest_background",
    "random_caption",
    "subsets",
]

_HOMES = {
    "captions": (
        "BACKGROUNDS",
        "HELD_OUT_TEMPLATES",
        "STYLES",
        "full_caption",
        "held_out_caption",
        "random_caption",
    ),
    "concepts": ("Concept", "held_out_pairs", "load_art", "load_concepts", "subsets"),
    "emoji": ("Batch", "CaptionedEmoji", "Example", "compose", "nearest_background"),
    "toy": ("TOY_DATA",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
