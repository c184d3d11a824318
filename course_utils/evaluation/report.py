"""What an evaluation found: as plain data for JSON, and as a table to read."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from course_utils.evaluation.intervals import Estimate
from course_utils.evaluation.measure import COPY_RMSE

COLUMNS = {"drawn": "drawn", "round_trip": "real, through VAE", "real": "real"}
SPLITS = {
    "seen": "Seen pairs",
    "held_out": "Held-out pairs, never trained on",
    "phrasings": "Seen pairs, in phrasings that no training caption has",
}
_PER_CENT = 100.0


@dataclass(frozen=True)
class Row:
    """How a measurement is shown: its label, a factor, decimals, and the split it belongs to."""

    label: str
    factor: float = 1.0
    decimals: int = 2
    split: str | None = None


ROWS: dict[str, Row] = {
    "object_top1": Row("object, first of {concepts}, %", _PER_CENT, 1),
    "object_top5": Row("object, among the first five, %", _PER_CENT, 1),
    "style": Row("style, of 4, %", _PER_CENT, 1),
    "background": Row("background, on pixels, of 10, %", _PER_CENT, 1),
    "background_error": Row("background, off by (0 to 255)", 1.0, 1),
    "frechet": Row("Fréchet distance to real", 1.0, 2),
    "kernel": Row("KID to real, x 1000", 1000.0, 1),
    "saturation": Row("saturation, 0 to 1", 1.0, 3),
    "clipped": Row("values at 0 or 255, %", _PER_CENT, 1),
    "diversity": Row("diversity over seeds, features", 1.0, 3),
    "pixel_diversity": Row("diversity over seeds, pixels", 1.0, 3),
    "nearest_rmse": Row("nearest training picture, RMSE", 1.0, 3),
    "nearest_features": Row("... and in features, 1 - cosine", 1.0, 3),
    "near_copy": Row("near copies of training pictures, %", _PER_CENT, 1),
    "nearest_same_object": Row("nearest shows the object, %", _PER_CENT, 1, "seen"),
    "nearest_other_style": Row("nearest is another style of it, %", _PER_CENT, 1, "held_out"),
    "nearest_is_asked": Row("the asked original is nearest, %", _PER_CENT, 1),
}


@dataclass(frozen=True)
class Verdict:
    """One drawn picture: what was asked, and what was found.

    Attributes:
        prompt, seed: `course draw PROMPT --seed SEED` draws it again.
        concept, style, background: asked for.
        objects: what the judge takes it for, the five likeliest first.
        judged_style, measured_background: what was found.
        nearest: the nearest training picture, as (concept, style).
        nearest_rmse: how near.
    """

    prompt: str
    seed: int
    concept: str
    style: str
    background: str
    objects: tuple[str, ...]
    judged_style: str
    measured_background: str
    nearest: tuple[str, str]
    nearest_rmse: float

    def mistakes(self) -> list[str]:
        """What is wrong, such as "object: dog face"; empty where all three are right."""
        found = {
            "object": (self.concept, self.objects[0]),
            "style": (self.style, self.judged_style),
            "background": (self.background, self.measured_background),
        }
        return [f"{what}: {got}" for what, (asked, got) in found.items() if got != asked]


@dataclass(frozen=True, eq=False)
class SplitReport:
    """Measurements on one split.

    Attributes:
        prompts, pairs, pictures: how many.
        metrics: name in `ROWS` -> column in `COLUMNS` -> estimate.
        verdicts: one for each drawn picture, prompt by prompt.
        pixels: (pictures, 3, H, W), what was drawn.
    """

    prompts: int
    pairs: int
    pictures: int
    metrics: Mapping[str, Mapping[str, Estimate]]
    verdicts: tuple[Verdict, ...]
    pixels: Tensor


@dataclass(frozen=True, eq=False)
class Report:
    """An evaluation.

    Attributes:
        model: name of the pipeline.
        settings: how it was drawn, the fields of `Settings`.
        judge: its hash, whether that is the pinned one, and the concepts it chose among.
        splits: "seen"; where the model has any, "held_out"; and "phrasings".
    """

    model: str
    settings: Mapping[str, Any]
    judge: Mapping[str, Any]
    splits: Mapping[str, SplitReport]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain data without pictures; the same evaluation gives the same data."""
        return {
            "model": self.model,
            "settings": dict(self.settings),
            "judge": dict(self.judge),
            "notes": list(self.notes),
            "splits": {
                name: {
                    "prompts": split.prompts,
                    "pairs": split.pairs,
                    "pictures": split.pictures,
                    "metrics": {
                        metric: {column: asdict(estimate) for column, estimate in columns.items()}
                        for metric, columns in split.metrics.items()
                    },
                    "verdicts": [asdict(verdict) for verdict in split.verdicts],
                }
                for name, split in self.splits.items()
            },
        }

    def to_json(self) -> str:
        """`to_dict` as JSON; a number that is not finite becomes null."""
        return json.dumps(_finite(self.to_dict()), indent=1, ensure_ascii=False) + "\n"

    def table(self) -> str:
        """Every measurement with its interval, real pictures beside drawn ones."""
        blocks = [self._head()]
        for name, split in self.splits.items():
            title = (
                f"{SPLITS[name]}: {split.pairs} pairs, {split.prompts} prompts, "
                f"{split.pictures} pictures"
            )
            blocks.append("\n".join([title, *self._rows(name, split), *_missed(split)]))
        through_vae = any("round_trip" in split.metrics["style"] for split in self.splits.values())
        legend = [
            "In brackets: 95 % intervals; pairs were resampled, not pictures.",
            "real: the artists' own pictures of the same prompts. What the judge says of them is",
            "the ceiling: what a model scores that draws as the artists do.",
            f"near copy: RMSE below {COPY_RMSE} (values from -1 to 1) to a training picture"
            + (", or to what the VAE makes of it." if through_vae else "."),
        ]
        if through_vae:
            legend.append(
                "real, through VAE: the same, encoded and decoded; a perfect denoiser draws these."
            )
        blocks.append("\n".join([*legend, *(f"Note: {note}" for note in self.notes)]))
        return "\n\n".join(blocks)

    def _head(self) -> str:
        s, judge = self.settings, self.judge
        pinned = "pinned" if judge["pinned"] else "not the pinned one"
        return (
            f"{self.model}: {s['num_steps']} steps of {s['sampler']}, "
            f"guidance {s['guidance_scale']:g}, {s['seeds']} seeds a prompt from {s['seed']}\n"
            f"judge {judge['sha256'][:12] or 'without files'} ({pinned}), "
            f"among {judge['concepts']} concepts"
        )

    def _rows(self, split_name: str, split: SplitReport) -> list[str]:
        used = [c for c in COLUMNS if any(c in columns for columns in split.metrics.values())]
        lines = [["", *(COLUMNS[c] for c in used)]]
        for metric, row in ROWS.items():
            columns = split.metrics.get(metric)
            if columns and row.split in (None, split_name):
                cells = [_cell(columns.get(c), row) for c in used]
                lines.append([row.label.format(concepts=self.judge["concepts"]), *cells])
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return [
            "  " + "   ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]


def _cell(estimate: Estimate | None, row: Row) -> str:
    if estimate is None:
        return "-"
    value, low, high = (
        f"{x * row.factor:.{row.decimals}f}" if math.isfinite(x) else "?"
        for x in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value:>6} [{low}, {high}]"


def _missed(split: SplitReport, most: int = 5) -> list[str]:
    """The objects that were missed most often, and what they were taken for."""
    asked = Counter(v.concept for v in split.verdicts)
    taken: dict[str, Counter[str]] = {}
    for v in split.verdicts:
        if v.objects[0] != v.concept:
            taken.setdefault(v.concept, Counter())[v.objects[0]] += 1
    worst = sorted(taken, key=lambda name: (-taken[name].total() / asked[name], name))[:most]
    if not worst:
        return []
    listed = (
        f"{name} {taken[name].total()}/{asked[name]} (as {taken[name].most_common(1)[0][0]})"
        for name in worst
    )
    return ["  most often missed: " + ", ".join(listed)]


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
