"""Interactive views of the course: play with a model instead of reading about it.

    from course_utils.widgets import ForwardNoising
    ForwardNoising()

Each view works in JupyterLab and in a Voila page (`course demo`), by mouse or keyboard, and leaves
a picture with its words behind where there is no kernel. Names load on first use.

    ForwardNoising      drown a picture in noise, timestep by timestep
    DenoisingPlayer     watch a picture come out of noise; mail it to a friend as one HTML file
    GuidanceExplorer    turn the guidance scale: alignment, saturation, diversity, your sweet spot
    PromptLab           two prompts from the same seeds, with negative prompts and scores
    LatentStudio        paint on the 256 numbers behind a picture, swap, mix and round them
    CrossAttention      click a word and see where the picture listens to it, step by step
    ArchitectureMap     the four parts of the system to scale; a click runs one
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .architecture import ArchitectureMap
    from .attention import CrossAttention
    from .forward import ForwardNoising
    from .guidance import GuidanceExplorer
    from .latents import LatentStudio
    from .player import DenoisingPlayer
    from .prompts import PromptLab

__all__ = [
    "ArchitectureMap",
    "CrossAttention",
    "DenoisingPlayer",
    "ForwardNoising",
    "GuidanceExplorer",
    "LatentStudio",
    "PromptLab",
]

_HOMES = {
    "ArchitectureMap": "architecture",
    "CrossAttention": "attention",
    "GuidanceExplorer": "guidance",
    "LatentStudio": "latents",
    "PromptLab": "prompts",
    "DenoisingPlayer": "player",
    "ForwardNoising": "forward",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
