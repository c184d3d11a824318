"""Draw anew what the views show when they open.

    python -m course_utils.widgets.rebuild

writes `drawings.webp` and `drawings.json` beside this file (see `_drawings`) in about two minutes
on one CPU core. Needed when the weights, the judge or the recipes of the views change; a test
notices.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from course_utils.evaluation.sweep import weights_sha256
from course_utils.pipeline import DEFAULT_SAMPLER
from course_utils.widgets import guidance, prompts
from course_utils.widgets._drawings import FOLDER, Recipe, Studio, write_sheet


def recipes() -> list[Recipe]:
    """What the views show while nothing is drawn."""
    return list(dict.fromkeys([*guidance.grid_recipes(), *prompts.example_recipes()]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw everything and write the two files."""
    import torch

    parser = argparse.ArgumentParser(
        prog="python -m course_utils.widgets.rebuild",
        description="Draw the pictures that the views show when they open.",
    )
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER")
    folder = parser.parse_args(arguments).out
    studio = Studio(anew=True)
    wanted, drawings = recipes(), []
    with torch.no_grad():
        for i, recipe in enumerate(wanted, 1):
            drawings.append(studio.draw(recipe))
            print(f"{i}/{len(wanted)} {recipe}", file=sys.stderr, flush=True)
    made = {
        "command": "python -m course_utils.widgets.rebuild",
        "model": studio.pipeline.name,
        "model_sha256": weights_sha256(studio.pipeline.name),
        "judge_sha256": studio.judge.sha256,
        "sampler": DEFAULT_SAMPLER,
        "device": studio.pipeline.device.type,
        "torch": torch.__version__,
    }
    write_sheet(drawings, folder, made)
    size = (folder / "drawings.webp").stat().st_size
    print(f"{sum(recipe.count for recipe in wanted)} pictures, {size / 1000:.0f} KB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
