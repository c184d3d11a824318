"""The model card: `python -m course_utils.training.card` writes it from what was measured.

`runs.json` holds what each recipe's training reported, `evaluation.json` what `course evaluate`
found. No number in the card is typed by hand.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from course_utils.evaluation.report import COLUMNS, ROWS, SPLITS
from course_utils.files import write_atomically

FOLDER = Path(__file__).parent.parent / "weights"
FIRST = 40  # concepts that the card names
RECIPES = ("clip", "judge", "vae", "decoder", "denoiser")


def collect(runs: Path, folder: Path = FOLDER) -> None:
    """Gather the `run.json` of every recipe below `runs` into `runs.json`."""
    found = {r: json.loads((runs / r / "run.json").read_text()) for r in RECIPES}
    write_atomically(folder / "runs.json", (json.dumps(found, indent=1) + "\n").encode())


def card(folder: Path = FOLDER) -> str:
    """The card's text, in Markdown."""
    runs = json.loads((folder / "runs.json").read_text())
    evaluation = json.loads((folder / "evaluation.json").read_text())
    known = json.loads((folder / "emoji-64" / "concepts.json").read_text())
    text = (Path(__file__).parent / "card.md").read_text(encoding="utf-8")
    size = sum(p.stat().st_size for p in (folder / "emoji-64").rglob("*") if p.is_file())
    settings = evaluation["settings"]
    text_config = json.loads((folder / "emoji-64" / "text_encoder" / "config.json").read_text())
    first = [c["name"] for c in known["concepts"][:FIRST]]
    sweep = json.loads((folder / "guidance_sweep.json").read_text())
    return text.format(
        concepts=", ".join(first),
        subset=known["subset"],
        tokens=text_config["max_position_embeddings"],
        width=text_config["hidden_size"],
        unet=f"{_parameters(folder / 'emoji-64' / 'unet') / 1e6:.1f}",
        device=runs["denoiser"]["device"],
        held_out_count=len(known["held_out"]),
        count=len(known["concepts"]),
        clip_count=_count(folder / "clip"),
        judge_count=_count(folder / "judge"),
        held_out=", ".join(f"{n} ({style})" for n, style in known["held_out"] if n in first),
        lesson_03=f"{(folder / 'lesson_03.safetensors').stat().st_size / 1e6:.1f}",
        sweep=sweep["size"],
        megabytes=f"{size / 1e6:.1f}",
        minutes=f"{sum(run['seconds'] for run in runs.values()) / 60:.0f}",
        training=training_table(runs),
        quality="\n\n".join(quality_table(evaluation, split) for split in evaluation["splits"]),
        drawn=f"{settings['num_steps']} steps of {settings['sampler']}, guidance "
        f"{settings['guidance_scale']:g}, {settings['seeds']} seeds a prompt",
        judge=evaluation["judge"]["sha256"][:12],
        among=evaluation["judge"]["concepts"],
    )


def _parameters(folder: Path) -> int:
    """How many numbers the weights in a folder hold."""
    from safetensors import safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            total += sum(
                math.prod(file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118 - no iterator
            )
    return total


def _count(folder: Path) -> int:
    return len(json.loads((folder / "concepts.json").read_text())["concepts"])


def training_table(runs: dict[str, Any]) -> str:
    """One row a recipe: steps, batch, time, speed, and what it measured of itself."""
    own = {
        "clip": ("top1", "top1_held_out"),
        "judge": ("top1", "top1_held_out"),
        "vae": ("psnr", "psnr_held_out"),
        "decoder": ("psnr", "psnr_held_out"),
        "denoiser": ("ema_loss",),
    }
    lines = [
        "| recipe | steps | batch | minutes | samples/s | hardware | of itself |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, run in runs.items():
        figures = ", ".join(f"{key} {run[key]:.3g}" for key in own[name] if key in run)
        hardware = f"{run['processes']} x {run['device']}"
        batch, minutes = run["settings"]["batch_size"], run["seconds"] / 60
        lines.append(
            f"| {name} | {run['steps']:,} | {batch} | {minutes:.1f} "
            f"| {run['samples_per_second']:.0f} | {hardware} | {figures} |"
        )
    return "\n".join(lines)


def quality_table(evaluation: dict[str, Any], split: str) -> str:
    """Every measurement of one split with its 95 % interval, as Markdown."""
    part = evaluation["splits"][split]
    used = [c for c in COLUMNS if any(c in m for m in part["metrics"].values())]
    lines = [
        f"**{SPLITS[split]}** ({part['pairs']} pairs, {part['pictures']} pictures)",
        "",
        "| | " + " | ".join(COLUMNS[c] for c in used) + " |",
        "|---|" + "---|" * len(used),
    ]
    for metric, row in ROWS.items():
        columns = part["metrics"].get(metric)
        if columns is None or row.split not in (None, split):
            continue
        label = row.label.format(concepts=evaluation["judge"]["concepts"])
        cells = [_cell(columns.get(c), row.factor, row.decimals) for c in used]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(estimate: dict[str, Any] | None, factor: float, decimals: int) -> str:
    if estimate is None or estimate.get("value") is None:
        return ""
    value = f"{estimate['value'] * factor:.{decimals}f}"
    low, high = estimate.get("low"), estimate.get("high")
    if low is None or high is None:
        return value
    return f"{value} ({low * factor:.{decimals}f} to {high * factor:.{decimals}f})"


if __name__ == "__main__":
    write_atomically(FOLDER / "README.md", card().encode())
    print(FOLDER / "README.md")
