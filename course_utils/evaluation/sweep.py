"""How guidance changes what a model draws: one measurement at each of many guidance scales.

    python -m course_utils.evaluation.sweep --out FILE

draws the same prompts from the same noise at every scale, once plainly, once with rescaled guidance
and once with guidance inside an interval of timesteps only, and measures alignment with the prompt,
colour, diversity over seeds and distance to the data. It writes FILE after every scale; started
again with the same settings it goes on where it stopped. `course_utils/weights/guidance_sweep.json`
was made so; `Sweep.load()` reads it. `sweep_results` says what the metrics are.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from course_utils.evaluation import metrics
from course_utils.evaluation.bench import Bench, asked_of
from course_utils.evaluation.evaluate import Settings, choose_prompts, seed_of
from course_utils.evaluation.intervals import Estimate
from course_utils.evaluation.judge import JUDGE_SHA256, Judge
from course_utils.evaluation.measure import distances
from course_utils.evaluation.sweep_results import (
    VARIANTS,
    Metrics,
    Point,
    Sweep,
    SweepSettings,
    Variant,
)
from course_utils.files import write_atomically
from course_utils.guidance import Conditioning, guide
from course_utils.hub import find_folder
from course_utils.models.fast import prepare
from course_utils.models.weight_files import WeightsError
from course_utils.pipeline import Pipeline
from course_utils.samplers import sample

SHARES = ("object", "style", "background")
"""What the alignment is the mean of."""

Draw = Callable[[Sequence[str], Sequence[int], float, Variant], Tensor]
"""(prompts, seeds, guidance scale, variant) -> pixels (N, 3, 64, 64), one for each prompt."""


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
    bench = SweepBench(pipeline, judge, settings)
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
        denoiser = guide(prepare(pipeline.unet), scale, variant.rescale, variant.interval)
        steps = settings.num_steps
        return pipeline.decode(
            sample(denoiser, x_T, pipeline.schedule, cond, settings.sampler, steps)
        )

    return draw


class SweepBench(Bench):
    """The prompts of a sweep, their real pictures, and what measures drawn ones against them."""

    def __init__(self, pipeline: Pipeline, judge: Judge, settings: SweepSettings) -> None:
        if pipeline.vocabulary is None:
            raise ValueError("pipeline has no vocabulary; expected a model with a concepts.json")
        super().__init__(pipeline, judge, settings.seed, settings.batch_size, settings.subset)
        self.settings = settings
        choice = Settings(pairs=settings.prompts, seeds=settings.seeds, seed=settings.seed)
        self.prompts = choose_prompts(self.pairs["seen"], self.names, choice, "seen")
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
        self.asked, self.pair = asked_of(self.prompts)  # (P, 3), (P,)

    def references(self) -> dict[str, Metrics]:
        """The artists' pictures, and what the VAE makes of them."""
        found: dict[str, Metrics] = {"real": self.single(self.real)[0]}
        if self.scene.round_trip is not None:
            found["round_trip"] = self.single(self.scene.round_trip(self.real))[0]
        return found

    def measure(self, pixels: Tensor) -> Metrics:
        """Everything, for drawn pictures (P * K, 3, 64, 64), prompt by prompt."""
        found, features = self.single(pixels)
        found |= distances(features, self.real_features, self.pair)
        return found | self.diversity(features, pixels, self.settings.seeds, self.pair)

    def single(self, pixels: Tensor) -> tuple[dict[str, Estimate], Tensor]:
        """What is measured on single pictures, and the judge's features."""
        repeat = len(pixels) // len(self.prompts)
        concept, style, background = self.asked.repeat_interleave(repeat, dim=0).T
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
        return self.estimates(values, self.pair.repeat_interleave(repeat)), verdicts.features


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
