"""How guidance changes what a model draws: one measurement at each of many guidance scales.

    python -m course_utils.evaluation.sweep --out FILE

draws the same prompts from the same noise at every scale, once plainly, once with rescaled guidance
and once with guidance inside an interval of timesteps only, and measures alignment with the prompt,
colour, diversity over seeds and distance to the data. It writes FILE after every scale; started
again with the same settings it goes on where it stopped. `course_utils/weights/guidance_sweep.json`
was made so; `Sweep.load()` reads it.

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

import argparse
import hashlib
import json
import math
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_utils.data.concepts import load_concepts
from course_utils.evaluation import intervals, metrics
from course_utils.evaluation.evaluate import (
    Settings,
    _pairs,
    _round_trip,
    _smallest_subset,
    choose_prompts,
    seed_of,
)
from course_utils.evaluation.intervals import Estimate
from course_utils.evaluation.judge import JUDGE_SHA256, Judge
from course_utils.evaluation.measure import Prompt, Scene, distances
from course_utils.files import write_atomically
from course_utils.guidance import Conditioning, check_guidance_scale, guide
from course_utils.hub import bundled_folder, find_folder
from course_utils.models.base import WeightsError
from course_utils.pipeline import DEFAULT_SAMPLER, Pipeline
from course_utils.samplers import sample

FILE = bundled_folder().parent / "guidance_sweep.json"
"""The sweep that the course ships."""
SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.5, 7.0, 9.0, 12.0, 16.0, 20.0)
SHARES = ("object", "style", "background")


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

Draw = Callable[[Sequence[str], Sequence[int], float, Variant], Tensor]
"""(prompts, seeds, guidance scale, variant) -> pixels (N, 3, 64, 64), one for each prompt."""


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


# --- making one ----------------------------------------------------------------------------------


def sweep(
    pipeline: Pipeline,
    judge: Judge,
    settings: SweepSettings | None = None,
    draw: Draw | None = None,
    start: Sweep | None = None,
    on_point: Callable[[Sweep], object] | None = None,
) -> Sweep:
    """Draw and measure at every scale.

    Args:
        pipeline: the model; must know which concepts it was taught.
        judge: must know all of these.
        settings: what to draw.
        draw: draws in place of `pipeline_draw(pipeline, settings)`, to measure a loop of your own.
        start: an unfinished sweep with the same settings and weights; its points are kept.
        on_point: called with the sweep so far after each scale.

    Returns:
        The finished sweep; the same arguments give the same numbers on the same machine.

    Raises:
        ValueError: `start` is another sweep, or the pipeline has no list of concepts.
    """
    settings = settings or SweepSettings()
    draw = draw or pipeline_draw(pipeline, settings)
    found = Sweep(settings, weights_sha256(pipeline.name), judge.sha256)
    if start is not None:
        other = found.made_with_other_weights(start)
        if start.settings != settings or other:
            what = "other settings" if start.settings != settings else f"another {other[0]}"
            raise ValueError(f"start was made with {what}; expected an unfinished sweep like this")
        found = start
    bench = _Bench(pipeline, judge, settings)
    if not found.references:
        found = replace(found, references=bench.references())
    for name in settings.variants:
        for scale in settings.scales:
            if any(p.variant == name and p.scale == scale for p in found.points):
                continue
            parts = []
            for first in range(0, len(bench.jobs), settings.batch_size):
                jobs = bench.jobs[first : first + settings.batch_size]
                texts, seeds = [text for text, _ in jobs], [seed for _, seed in jobs]
                parts.append(draw(texts, seeds, scale, VARIANTS[name]).float().cpu().clamp(-1, 1))
            point = Point(name, scale, bench.measure(torch.cat(parts)))
            found = replace(found, points=(*found.points, point))
            if on_point is not None:
                on_point(found)
    return found


def pipeline_draw(pipeline: Pipeline, settings: SweepSettings) -> Draw:
    """The course's own way to draw with a scale and a variant; `Pipeline.draw` lacks intervals."""

    def draw(
        prompts: Sequence[str], seeds: Sequence[int], scale: float, variant: Variant
    ) -> Tensor:
        text_states = pipeline.encode_prompt(prompts)  # (N, L, D)
        cond = Conditioning(text_states, pipeline.encode_prompt([""]).expand_as(text_states))
        x_T = pipeline.noise([torch.Generator().manual_seed(seed) for seed in seeds])
        denoiser = guide(pipeline.unet, scale, variant.rescale, variant.interval)
        steps = settings.num_steps
        return pipeline.decode(
            sample(denoiser, x_T, pipeline.schedule, cond, settings.sampler, steps)
        )

    return draw


class _Bench:
    """The prompts of a sweep, their real pictures, and what measures drawn ones against them."""

    def __init__(self, pipeline: Pipeline, judge: Judge, settings: SweepSettings) -> None:
        if pipeline.vocabulary is None:
            raise ValueError("pipeline has no vocabulary; expected a model with a concepts.json")
        names = tuple(c.name for c in pipeline.vocabulary.concepts)
        if settings.subset is not None:
            inside = {c.name for c in load_concepts(settings.subset)}
            names = tuple(name for name in names if name in inside)
            if not names:
                raise ValueError(
                    f"subset is {settings.subset!r}, of which the model knows no concept"
                )
        subset = _smallest_subset(names)
        pairs = _pairs(subset, names, pipeline.vocabulary)["seen"]
        self.settings = settings
        choice = Settings(pairs=settings.prompts, seeds=settings.seeds, seed=settings.seed)
        self.prompts: list[Prompt] = choose_prompts(pairs, names, choice, "seen")
        self.scene = Scene(judge.among(names), subset, names, pairs)
        self.round_trip = _round_trip(pipeline, settings.batch_size)
        self.jobs = [
            (prompt.text, seed_of(choice, i, turn))
            for i, prompt in enumerate(self.prompts)
            for turn in range(settings.seeds)
        ]
        self.real = self.scene.render(self.prompts)  # (P, 3, 64, 64)
        self.real_features = self.scene.judge.features(self.real)
        self.real_colour = {  # each (P,)
            "saturation": metrics.saturation(self.real),
            "clipped": metrics.clipped_share(self.real),
        }
        asked = torch.tensor([(p.concept, p.style, p.background) for p in self.prompts])  # (P, 3)
        self.asked = asked
        self.pair = torch.unique(asked[:, :2], dim=0, return_inverse=True)[1]  # (P,)

    def references(self) -> dict[str, Metrics]:
        """The artists' pictures, and what the VAE makes of them."""
        found: dict[str, Metrics] = {"real": self.estimates(self.real)[0]}
        if self.round_trip is not None:
            found["round_trip"] = self.estimates(self.round_trip(self.real))[0]
        return found

    def measure(self, pixels: Tensor) -> Metrics:
        """Everything, for drawn pictures (P * K, 3, 64, 64), prompt by prompt."""
        found, features = self.estimates(pixels)
        found |= distances(features, self.real_features, self.pair)
        shape = (len(self.prompts), self.settings.seeds)
        for name, values in (
            ("diversity", metrics.diversity(features.unflatten(0, shape))),
            ("pixel_diversity", metrics.pixel_diversity(pixels.unflatten(0, shape))),
        ):
            found[name] = intervals.bootstrap_interval(
                values, self.pair, generator=self.generator()
            )
        return found

    def estimates(self, pixels: Tensor) -> tuple[dict[str, Estimate], Tensor]:
        """What is measured on single pictures, and the judge's features."""
        repeat = len(pixels) // len(self.prompts)
        concept, style, background = self.asked.repeat_interleave(repeat, dim=0).T
        groups = self.pair.repeat_interleave(repeat)
        verdicts = self.scene.judge.classify(pixels, concept)
        colour = metrics.background_colour(pixels)[0]
        row = torch.arange(len(pixels))
        values: dict[str, Tensor] = {
            "object": verdicts.concept == concept,
            "style": verdicts.style == style,
            "background": colour == background,
            "probability": (verdicts.objects[row, concept] + verdicts.styles[row, style]).exp(),
            "saturation": metrics.saturation(pixels),
            "clipped": metrics.clipped_share(pixels),
            "nearest_rmse": self.scene.nearest(pixels, colour)[1],
        }
        for name, real in self.real_colour.items():
            values[f"{name}_excess"] = values[name] - real.repeat_interleave(repeat)
        values["alignment"] = torch.stack([values[name].float() for name in SHARES]).mean(dim=0)
        found = {}
        for name, numbers in values.items():
            interval = intervals.share_interval if name in SHARES else intervals.bootstrap_interval
            found[name] = interval(numbers, groups, generator=self.generator())
        return found, verdicts.features

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.settings.seed)


def weights_sha256(model: str) -> str:
    """One digest for every weight, setting and word list of a model; "" where it has no folder.

    How git writes line ends does not matter.

    Args:
        model: name of bundled weights, or a folder.
    """
    try:
        folder = find_folder(model)
    except WeightsError:
        return ""
    digest = hashlib.sha256()
    kinds = (".json", ".safetensors", ".txt")
    for path in sorted(p for p in folder.rglob("*") if p.suffix in kinds):
        content = path.read_bytes()
        if path.suffix != ".safetensors":
            content = content.replace(b"\r\n", b"\n")
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


# --- the learner's own choice --------------------------------------------------------------------


@dataclass(frozen=True)
class SweetSpot:
    """A guidance scale that somebody chose, and what they ask of it.

    Attributes:
        scale: the choice; None while there is none.
        least_alignment: the alignment to keep at least, 0 to 1.
        most_saturation: the saturation to stay below, 0 to 1.
        measured: the sweep that it is held against; None: nothing was measured.
    """

    scale: float | None
    least_alignment: float | None
    most_saturation: float | None
    measured: Sweep | None = field(default=None, repr=False)


# --- what people say of guidance scales ----------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """Whether a sentence about guidance scales holds in a sweep, and the numbers that say so."""

    claim: str
    holds: bool
    because: str


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[bool]:
    """Which points no other point beats: none costs at most as much and gains more, or costs less
    and gains at least as much."""
    pairs = list(zip(costs, gains, strict=True))
    return [
        not any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in pairs)
        for cost, gain in pairs
    ]


def follows_half(sweep: Sweep, variant: str = "plain") -> Finding:
    """ "Below 3 the prompt is ignored": no scale from 1 to below 3 has come half of the way from
    the alignment without a prompt to the best."""
    line = sweep.line("alignment", variant)
    nothing, best = line.values[0], max(line.values)
    below = [i for i, scale in enumerate(line.scales) if 1 <= scale < 3]
    way = {line.scales[i]: (line.values[i] - nothing) / max(best - nothing, 1e-9) for i in below}
    most = max(way.values(), default=0.0)
    first = min(way, default=math.nan)
    return Finding(
        "below 3 the prompt is ignored",
        bool(way) and most < 0.5,
        f"between scale {line.scales[0]:g} (alignment {nothing:.2f}) and the best ({best:.2f}), "
        f"{way.get(first, 0):.0%} of the way is done at {first:g}, at most {most:.0%} below 3",
    )


def best_scale(sweep: Sweep, variant: str = "plain", slack: float = 0.01) -> Finding:
    """ "7 to 9 is best": the lowest scale within `slack` of the best alignment lies there, and so
    does the scale that is nearest to the data."""
    aligned, far = sweep.line("alignment", variant), sweep.line("frechet", variant)
    best = max(aligned.values)
    enough = next(
        s for s, a in zip(aligned.scales, aligned.values, strict=True) if a >= best - slack
    )
    nearest = min(zip(far.values, far.scales, strict=True))[1]
    return Finding(
        "7 to 9 is best",
        7 <= enough <= 9 and 7 <= nearest <= 9,
        f"alignment is within {slack:g} of its best from scale {enough:g} on, and the pictures "
        f"are nearest to the data at {nearest:g}",
    )


def oversaturates(sweep: Sweep, variant: str = "plain") -> Finding:
    """ "Above 15 the colours are too loud, and not before": saturation or clipping surely exceeds
    that of the real pictures of the same prompts (the interval of the difference lies above 0) at
    every scale above 15, and at none from 1 to 9."""
    lines = {name: sweep.line(f"{name}_excess", variant) for name in ("saturation", "clipped")}
    scales = lines["saturation"].scales
    loud = [any(line.low[i] > 0 for line in lines.values()) for i in range(len(scales))]
    above = [loud[i] for i, scale in enumerate(scales) if scale > 15]
    early = [loud[i] for i, scale in enumerate(scales) if 1 <= scale <= 9]
    onset = min((s for s, yes in zip(scales, loud, strict=True) if yes), default=None)
    since = "surely more at no scale" if onset is None else f"surely more first at {onset:g}"
    return Finding(
        "above 15 the colours are too loud, and not before",
        bool(above) and all(above) and not any(early),
        f"against the real pictures, saturation at {scales[-1]:g} is "
        f"{lines['saturation'].values[-1]:+.3f} and the share of clipped values "
        f"{lines['clipped'].values[-1]:+.3f}; one of them is {since}",
    )


# --- the command ---------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m course_utils.evaluation.sweep`; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        settings = SweepSettings(
            scales=tuple(options.scales),
            variants=tuple(options.variants),
            prompts=options.prompts,
            seeds=options.seeds,
            seed=options.seed,
            num_steps=options.steps,
            batch_size=options.batch,
            subset=options.subset,
        )
        judge = Judge.load(options.judge, **({} if options.judge is None else {"sha256": None}))
        pipeline = Pipeline.load(options.model)
        start = Sweep.load(options.out) if options.out.is_file() and not options.new else None
        command = "python -m course_utils.evaluation.sweep " + " ".join(
            sys.argv[1:] if arguments is None else arguments
        )
        before = float(start.made.get("seconds", 0.0)) if start else 0.0
        clock = time.monotonic()

        def save(found: Sweep) -> None:
            done, every = len(found.points), len(settings.scales) * len(settings.variants)
            seconds = before + time.monotonic() - clock
            made = {
                "command": command.replace(str(options.out), options.out.name),
                "device": pipeline.device.type,
                "torch": torch.__version__,
                "seconds": round(seconds),
                "judge_pinned": judge.sha256 == JUDGE_SHA256,
            }
            write_atomically(options.out, replace(found, made=made).to_json().encode())
            last = found.points[-1]
            alignment = last.metrics["alignment"].value
            print(
                f"{done}/{every} {last.variant} {last.scale:g}: alignment {alignment:.3f}, "
                f"{seconds:.0f} s",
                flush=True,
            )

        sweep(pipeline, judge.to(pipeline.device), settings, start=start, on_point=save)
    except (ValueError, TypeError, WeightsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    default = SweepSettings()
    parser = argparse.ArgumentParser(
        prog="python -m course_utils.evaluation.sweep",
        description="Measure alignment, colour, diversity and distance against guidance scale. "
        "Full size on a GPU: --prompts 200 --seeds 5 --steps 25 with twenty --scales.",
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file; goes on if it exists")
    parser.add_argument("--new", action="store_true", help="start again, over the file")
    parser.add_argument("--model", default="emoji-64", help="name or folder of a pipeline")
    parser.add_argument("--judge", type=Path, default=None, help="folder; default: the pinned one")
    parser.add_argument("--scales", type=float, nargs="+", default=list(default.scales))
    parser.add_argument(
        "--variants", nargs="+", choices=list(VARIANTS), default=list(default.variants)
    )
    parser.add_argument("--prompts", type=int, default=default.prompts)
    parser.add_argument("--seeds", type=int, default=default.seeds)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--steps", type=int, default=default.num_steps)
    parser.add_argument("--batch", type=int, default=default.batch_size)
    parser.add_argument(
        "--subset", default=default.subset, help="of the data, where the concepts come from"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
