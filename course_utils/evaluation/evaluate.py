"""Draw seen and held-out pairs, and measure what came out beside real pictures.

A *pair* is an object in a style; a *prompt* is a pair on a background. Each prompt is drawn with
several seeds. The real picture of each prompt is measured in the same way: the judge's accuracy on
it is the ceiling, and the same picture sent through the VAE is what a perfect denoiser could reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.data.captions import (
    HELD_OUT_TEMPLATES,
    STYLES,
    full_caption,
    held_out_caption,
)
from course_utils.data.emoji import BACKGROUND_NAMES, SIZE
from course_utils.evaluation.bench import Bench, asked_of
from course_utils.evaluation.intervals import Estimate
from course_utils.evaluation.judge import JUDGE_SHA256, Judge
from course_utils.evaluation.measure import Measured, Prompt, distances, measure
from course_utils.evaluation.report import Report, SplitReport, Verdict


class Drawn(Protocol):
    """What `draw` returns: pixels (N, 3, H, W) in [-1, 1]."""

    @property
    def pixels(self) -> Tensor: ...


class Artist(Protocol):
    """Anything that draws, such as a `Pipeline`.

    `vae`, `vocabulary` and `name` are used where it has them.
    """

    def draw(
        self,
        prompts: Sequence[str],
        *,
        num_steps: int,
        guidance_scale: float,
        seed: Sequence[int],
        sampler: str,
    ) -> Drawn: ...


@dataclass(frozen=True)
class Settings:
    """What is drawn, and how; together with the weights this fixes every number of a report."""

    pairs: int = 64  # prompts of each split; where it has fewer pairs they come on more backgrounds
    seeds: int = 4  # pictures a prompt; at least 2 for diversity
    seed: int = 0  # the first; also fixes the choice of prompts and the resampling
    num_steps: int = 25
    guidance_scale: float = 4.0
    sampler: str = "dpm++2m"
    batch_size: int = 16  # pictures drawn side by side

    def __post_init__(self) -> None:
        for name, least in {"pairs": 1, "seeds": 1, "seed": 0, "batch_size": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")


def evaluate(
    pipeline: Artist,
    judge: Judge,
    settings: Settings | None = None,
    on_batch: Callable[[int, int], object] | None = None,
) -> Report:
    """Measure a text-to-image model.

    Args:
        pipeline: draws; if it has a `vocabulary`, its concepts and held-out pairs are used, else
            the judge's concepts and the data's held-out pairs.
        judge: must know every concept that the model knows.
        settings: what to draw, and how.
        on_batch: called with (pictures drawn, pictures in all) after each batch.

    Returns:
        The report; the same arguments give the same report.

    Raises:
        ValueError: the judge or the data does not know a concept of the model, or a setting that
            the pipeline refuses.
    """
    settings = settings or Settings()
    bench = Bench(pipeline, judge, settings.seed, settings.batch_size)
    names, pairs, scene = bench.names, bench.pairs, bench.scene
    prompts = {name: choose_prompts(pairs[name], names, settings, name) for name in pairs}
    prompts["phrasings"] = [reworded(prompt, names, i) for i, prompt in enumerate(prompts["seen"])]
    notes = [] if pairs["held_out"] else ["the model has no held-out pairs."]

    everything = [prompt for name in prompts for prompt in prompts[name]]
    pixels = draw_all(pipeline, everything, settings, on_batch)  # (P, K, 3, H, W)
    real = {name: scene.render(chosen) for name, chosen in prompts.items() if chosen}
    splits, start = {}, 0
    for name, originals in real.items():
        chosen = prompts[name]
        drawn = pixels[start : start + len(chosen)]
        sets = {"drawn": drawn.flatten(0, 1), "real": originals}
        if scene.round_trip is not None:
            sets["round_trip"] = scene.round_trip(originals)
        splits[name] = _split_report(bench, chosen, sets, settings, start)
        start += len(chosen)
    return Report(
        model=str(getattr(pipeline, "name", type(pipeline).__name__)),
        settings=asdict(settings),
        judge={
            "sha256": scene.judge.sha256,
            "pinned": scene.judge.sha256 == JUDGE_SHA256 != "",
            "concepts": len(names),
        },
        splits=splits,
        notes=tuple(notes),
    )


# --- what to draw ------------------------------------------------------------------------------


def choose_prompts(
    pairs: Sequence[tuple[int, int]], names: Sequence[str], settings: Settings, split: str
) -> list[Prompt]:
    """Spread prompts over concepts, then styles, then backgrounds, in an order fixed by the seed.

    Args:
        pairs: (concept, style) to choose from.
        names: of the concepts.
        settings: how many, and the seed.
        split: goes into the order.

    Returns:
        At most `settings.pairs` prompts, all different; those of one pair stay together.
    """
    if not pairs:
        return []
    rng = Random(f"prompts {split} {settings.seed}")
    of_concept: dict[int, list[tuple[int, int]]] = {}
    for pair in rng.sample(list(pairs), len(pairs)):
        of_concept.setdefault(pair[0], []).append(pair)
    rounds = max(len(mine) for mine in of_concept.values())
    order = [mine[i] for i in range(rounds) for mine in of_concept.values() if i < len(mine)]
    count = min(settings.pairs, len(order) * len(BACKGROUND_NAMES))
    colours: list[int] = []  # every ten pairs use all ten backgrounds
    while len(colours) < len(order):
        colours += rng.sample(range(len(BACKGROUND_NAMES)), len(BACKGROUND_NAMES))
    chosen = []
    for i, (concept, style) in enumerate(order):
        for turn in range(len(range(i, count, len(order)))):
            background = (colours[i] + 3 * turn) % len(BACKGROUND_NAMES)
            text = full_caption(names[concept], STYLES[style], BACKGROUND_NAMES[background])
            chosen.append(Prompt(text, concept, style, background))
    return chosen


def reworded(prompt: Prompt, names: Sequence[str], template: int) -> Prompt:
    """The same prompt in a phrasing that no training caption has."""
    text = held_out_caption(
        template % len(HELD_OUT_TEMPLATES),
        names[prompt.concept],
        STYLES[prompt.style],
        BACKGROUND_NAMES[prompt.background],
    )
    return replace(prompt, text=text)


def seed_of(settings: Settings, prompt: int, turn: int) -> int:
    """The seed of each picture is its own: no two prompts start from the same noise."""
    return settings.seed + prompt * settings.seeds + turn


def draw_all(
    pipeline: Artist,
    prompts: Sequence[Prompt],
    settings: Settings,
    on_batch: Callable[[int, int], object] | None = None,
) -> Tensor:
    """Draw every prompt with every seed: (P, K, 3, 64, 64) float32 in [-1, 1]."""
    jobs = [
        (prompt.text, seed_of(settings, i, turn))
        for i, prompt in enumerate(prompts)
        for turn in range(settings.seeds)
    ]
    parts = []
    for start in range(0, len(jobs), settings.batch_size):
        batch = jobs[start : start + settings.batch_size]
        drawn = pipeline.draw(
            [text for text, _ in batch],
            num_steps=settings.num_steps,
            guidance_scale=settings.guidance_scale,
            seed=[seed for _, seed in batch],
            sampler=settings.sampler,
        ).pixels
        drawn = drawn.detach().float().cpu().clamp(-1, 1)
        if drawn.shape[2:] != (SIZE, SIZE):
            drawn = F.interpolate(drawn, (SIZE, SIZE), mode="area")
        parts.append(drawn)
        if on_batch is not None:
            on_batch(min(start + settings.batch_size, len(jobs)), len(jobs))
    return torch.cat(parts).unflatten(0, (len(prompts), settings.seeds))


# --- measuring -----------------------------------------------------------------------------------


def _split_report(
    bench: Bench,
    prompts: list[Prompt],
    sets: dict[str, Tensor],
    settings: Settings,
    first: int,
) -> SplitReport:
    """Measure one split; `first` is the number of its first prompt among all."""
    asked, pair = asked_of(prompts)  # (P, 3), (P,)
    table: dict[str, dict[str, Estimate]] = {}
    measured: dict[str, Measured] = {}
    for column, pixels in sets.items():
        repeat = len(pixels) // len(prompts)
        measured[column] = measure(bench.scene, pixels, asked.repeat_interleave(repeat, dim=0))
        found = bench.estimates(measured[column].values, pair.repeat_interleave(repeat))
        for name, estimate in found.items():
            table.setdefault(name, {})[column] = estimate
    for column in ("drawn", "round_trip"):
        if column in measured:
            features = (measured[column].features, measured["real"].features)
            for name, estimate in distances(*features, pair).items():
                table.setdefault(name, {})[column] = estimate
    drawn, pixels = measured["drawn"], sets["drawn"]
    if settings.seeds > 1:
        found = bench.diversity(drawn.features, pixels, settings.seeds, pair)
        table |= {name: {"drawn": estimate} for name, estimate in found.items()}
    return SplitReport(
        prompts=len(prompts),
        pairs=int(pair.max()) + 1,
        pictures=len(pixels),
        metrics=table,
        verdicts=tuple(_verdicts(bench.names, prompts, drawn, settings, first)),
        pixels=pixels,
    )


def _verdicts(
    names: tuple[str, ...], prompts: list[Prompt], drawn: Measured, settings: Settings, first: int
) -> list[Verdict]:
    verdicts = []
    for i in range(len(drawn.top)):
        prompt = prompts[i // settings.seeds]
        concept, style = drawn.nearest[i].tolist()
        verdicts.append(
            Verdict(
                prompt=prompt.text,
                seed=seed_of(settings, first + i // settings.seeds, i % settings.seeds),
                concept=names[prompt.concept],
                style=STYLES[prompt.style],
                background=BACKGROUND_NAMES[prompt.background],
                objects=tuple(names[c] for c in drawn.top[i].tolist()),
                judged_style=STYLES[int(drawn.style[i])],
                measured_background=BACKGROUND_NAMES[int(drawn.background[i])],
                nearest=(names[concept], STYLES[style]),
                nearest_rmse=round(float(drawn.values["nearest_rmse"][i]), 6),
            )
        )
    return verdicts
