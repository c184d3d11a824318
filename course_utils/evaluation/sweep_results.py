"""Sweeps over guidance scales: what was drawn, and what was measured at each scale.

metric              meaning                                                       unit
alignment           mean of object, style and background                          0 to 1
object, style       share of pictures in which the judge sees what was asked      0 to 1
background          share with the asked background colour, read off the pixels   0 to 1
probability         the judge's p(object | x) p(style | x, object)                0 to 1
saturation, clipped see `metrics`                                                 0 to 1
saturation_excess,  the same minus those of the artists' picture of the prompt    -1 to 1
clipped_excess
diversity           mean 1 - cosine between seeds, in the judge's features        0 to 2
pixel_diversity     standard deviation of a pixel over seeds                      -1 .. 1
frechet, kernel     distance to the artists' pictures of the same prompts
nearest_rmse        root mean square distance to the nearest training picture     -1 .. 1
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from course_utils.evaluation.intervals import Estimate
from course_utils.guidance import check_guidance_scale
from course_utils.hub import bundled_folder
from course_utils.models.weight_files import WeightsError
from course_utils.pipeline import DEFAULT_SAMPLER

FILE = bundled_folder().parent / "guidance_sweep.json"
"""The sweep that the course ships."""
SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.5, 7.0, 9.0, 12.0, 16.0, 20.0)


@dataclass(frozen=True)
class Variant:
    """A kind of guidance: its `rescale`, and the timesteps at which it is on."""

    rescale: float = 0.0
    interval: tuple[float, float] | None = None


VARIANTS: Mapping[str, Variant] = {
    "plain": Variant(),
    "rescale": Variant(rescale=0.7),  # phi of Lin et al. 2024, sec. 3.4
    "interval": Variant(interval=(100, 700)),  # the middle of the walk
}


@dataclass(frozen=True)
class SweepSettings:
    """What is drawn; with the weights this fixes every number of a sweep."""

    scales: tuple[float, ...] = SCALES
    variants: tuple[str, ...] = tuple(VARIANTS)  # names in `VARIANTS`
    subset: str | None = "core"  # of the data: where the concepts come from; None: all it knows
    prompts: int = 24
    seeds: int = 3  # pictures a prompt; at least 2 for diversity
    seed: int = 0  # the first; also fixes the choice of prompts and the resampling
    num_steps: int = 10
    sampler: str = DEFAULT_SAMPLER
    batch_size: int = 24  # pictures drawn side by side

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(float(scale) for scale in self.scales))
        object.__setattr__(self, "variants", tuple(self.variants))
        for scale in self.scales:
            check_guidance_scale(scale)
        if not self.scales or list(self.scales) != sorted(set(self.scales)):
            raise ValueError(f"scales is {self.scales}; expected one or more, rising")
        strange = [name for name in self.variants if name not in VARIANTS]
        if strange or not self.variants:
            raise ValueError(f"variants is {self.variants}; expected some of {tuple(VARIANTS)}")
        least = {"prompts": 3, "seeds": 2, "seed": 0, "num_steps": 1, "batch_size": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {low}")

    @property
    def size(self) -> str:
        """How much was drawn, in words."""
        return (
            f"{len(self.scales)} scales x {self.prompts} prompts x {self.seeds} seeds, "
            f"{self.num_steps} steps of {self.sampler}, {len(self.variants)} kind"
            f"{'s' * (len(self.variants) != 1)} of guidance, concepts of {self.subset or 'all'}"
        )


Metrics = Mapping[str, Estimate]


@dataclass(frozen=True)
class Point:
    """What was measured at one scale of one variant."""

    variant: str
    scale: float
    metrics: Metrics


@dataclass(frozen=True)
class Line:
    """One metric of one variant against the scale; each a tuple of equal length."""

    scales: tuple[float, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def at(self, scale: float) -> float:
        """The value at a scale between two measured ones, on the straight line between them.

        Raises:
            ValueError: beyond the measured scales.
        """
        if not self.scales[0] <= scale <= self.scales[-1]:
            raise ValueError(
                f"scale is {scale}; expected {self.scales[0]:g} to {self.scales[-1]:g}, where "
                "there are measurements"
            )
        for i in range(len(self.scales) - 1):
            left, right = self.scales[i], self.scales[i + 1]
            if scale <= right:
                share = (scale - left) / (right - left)
                return (1 - share) * self.values[i] + share * self.values[i + 1]
        return self.values[-1]


@dataclass(frozen=True, eq=False)
class Sweep:
    """A sweep over guidance scales.

    Attributes:
        settings: what was drawn.
        model_sha256, judge_sha256: of the files; empty for what has no files.
        points: one for each variant and scale.
        references: "real", the artists' own pictures of the same prompts, and "round_trip", the
            same through the model's VAE: what alignment and colour could be.
        made: how, where and when; for people.
    """

    settings: SweepSettings
    model_sha256: str
    judge_sha256: str
    points: tuple[Point, ...] = ()
    references: Mapping[str, Metrics] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)

    def line(self, metric: str, variant: str = "plain") -> Line:
        """A metric against the scale.

        Raises:
            ValueError: it was not measured.
        """
        mine = sorted((p for p in self.points if p.variant == variant), key=lambda p: p.scale)
        known = sorted({name for point in mine for name in point.metrics})
        if metric not in known:
            raise ValueError(
                f"metric {metric!r} of variant {variant!r} was not measured; expected one of "
                f"{', '.join(known) or 'another variant'}"
            )
        every = [point.metrics[metric] for point in mine]
        return Line(
            tuple(point.scale for point in mine),
            tuple(e.value for e in every),
            tuple(e.low for e in every),
            tuple(e.high for e in every),
        )

    def table(self, names: Sequence[str], variant: str = "plain") -> str:
        """Metrics at each scale, for people.

        Args:
            names: of the metrics, a column each.
            variant: of guidance.
        """
        lines = [self.line(name, variant) for name in names]
        rows = ["scale  " + "  ".join(f"{name:>17}" for name in names)]
        for i, scale in enumerate(lines[0].scales):
            rows.append(f"{scale:5g}  " + "  ".join(f"{line.values[i]:17.3f}" for line in lines))
        return "\n".join(rows)

    def made_with_other_weights(self, other: Sweep) -> list[str]:
        """Which weights differ between two sweeps: some of "model" and "judge"."""
        pairs = {
            "model": (self.model_sha256, other.model_sha256),
            "judge": (self.judge_sha256, other.judge_sha256),
        }
        return [name for name, (a, b) in pairs.items() if a != b]

    def to_json(self) -> str:
        """As JSON; a number that is not finite becomes null."""

        def plain(measured: Metrics) -> dict[str, list[float | None]]:
            return {
                name: [round(x, 6) if math.isfinite(x) else None for x in (e.value, e.low, e.high)]
                for name, e in measured.items()
            }

        data = {
            "size": self.settings.size,
            "settings": asdict(self.settings),
            "variants": {name: asdict(VARIANTS[name]) for name in self.settings.variants},
            "model_sha256": self.model_sha256,
            "judge_sha256": self.judge_sha256,
            "made": dict(self.made),
            "intervals": "[value, low, high] with 95 % intervals over prompts",
            "references": {name: plain(found) for name, found in self.references.items()},
            "points": [
                {"variant": p.variant, "scale": p.scale, "metrics": plain(p.metrics)}
                for p in self.points
            ],
        }
        text = json.dumps(data, indent=1)
        numbers = re.compile(r"\[\s+([^][{}]*?)\s+\]")  # a list of plain values on one line
        return numbers.sub(lambda m: "[" + " ".join(m[1].split()) + "]", text) + "\n"

    @classmethod
    def load(cls, path: str | Path = FILE) -> Sweep:
        """Read a sweep; by default the one that the course ships.

        Raises:
            WeightsError: the file is missing, damaged, or no sweep.
        """
        path = Path(path)

        def metrics_of(data: Mapping[str, Sequence[float | None]]) -> Metrics:
            return {
                name: Estimate(*(math.nan if x is None else float(x) for x in numbers))
                for name, numbers in data.items()
            }

        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                settings=SweepSettings(**data["settings"]),
                model_sha256=str(data["model_sha256"]),
                judge_sha256=str(data["judge_sha256"]),
                points=tuple(
                    Point(str(p["variant"]), float(p["scale"]), metrics_of(p["metrics"]))
                    for p in data["points"]
                ),
                references={name: metrics_of(m) for name, m in data["references"].items()},
                made=data["made"],
            )
        except FileNotFoundError:
            raise WeightsError(f"There is no sweep in {path}.") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"{path} is not a sweep ({error!r}).") from error


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[bool]:
    """Which points no other point beats: none costs at most as much and gains more, or costs less
    and gains at least as much."""
    pairs = list(zip(costs, gains, strict=True))
    return [
        not any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in pairs)
        for cost, gain in pairs
    ]
