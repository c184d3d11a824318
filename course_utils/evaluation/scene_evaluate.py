"""Ask a model for scenes, word by word, and read in its pictures whether it listened.

Each group of prompts asks for one kind of thing: a number, a place, a size. Every prompt is drawn
with several seeds; the real scene of each prompt is read in the same way, and once more after the
VAE: that is the ceiling, and what a perfect denoiser could reach.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any

import torch
from torch import Tensor

from course_utils.data.captions import BACKGROUNDS
from course_utils.data.places import SCENERY
from course_utils.data.scene_captions import (
    HELD_OUT_PHRASINGS,
    ask_otherwise,
    describe,
    things_phrase,
)
from course_utils.data.scenes import Scene, World, size_name, turn_name, zone
from course_utils.evaluation import intervals, metrics
from course_utils.evaluation.intervals import Estimate
from course_utils.evaluation.judge import Judge
from course_utils.evaluation.scene_checks import PlaceReader, Reading, read_plain, sharpness

GUIDANCE_SCALES = (1.0, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0)


@dataclass(frozen=True)
class SceneSettings:
    """What is drawn, and how."""

    prompts: int = 24  # of each group
    seeds: int = 2  # pictures a prompt
    seed: int = 0  # fixes the prompts and the noise
    num_steps: int = 25
    guidance_scale: float = 4.0
    sampler: str = "dpm++2m"
    batch_size: int = 16
    guidance_scales: tuple[float, ...] = GUIDANCE_SCALES

    def __post_init__(self) -> None:
        for name in ("prompts", "seeds", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")


@dataclass(frozen=True)
class Asked:
    """A prompt, the scene that it asks for, and what must be right."""

    text: str
    scene: Scene
    checks: tuple[str, ...]
    negative: str = ""


@dataclass(frozen=True)
class SceneReport:
    """Everything that was measured.

    Attributes:
        model: its name.
        settings: of the evaluation.
        rows: group and check -> "drawn", "real", "round_trip" -> share that is right.
        guidance: for each scale: alignment, saturation, clipping, diversity, sharpness.
        detail: spread over seeds of "a cat" and of full descriptions, pixels and judge's features.
        quality: sharpness with no word of quality, with praise, with "blurry", with a negative.
    """

    model: str
    settings: dict[str, Any]
    rows: dict[str, dict[str, Estimate]]
    guidance: list[dict[str, Any]] = field(default_factory=list)
    detail: dict[str, Estimate] = field(default_factory=dict)
    quality: dict[str, Estimate] = field(default_factory=dict)

    def to_json(self) -> str:
        """Everything as JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def table(self) -> str:
        """What a person reads in a terminal."""
        lines = [f"{self.model}, guidance {self.settings['guidance_scale']:g}", ""]
        lines.append(f"{'asked for: what is right, %':40}{'drawn':>9}{'VAE':>9}{'real':>9}")
        for name, columns in self.rows.items():
            cells = [columns.get(c) for c in ("drawn", "round_trip", "real")]
            text = "".join(f"{100 * c.value:9.1f}" if c else f"{'':9}" for c in cells)
            lines.append(f"{name:40}{text}")
        lines += ["", f"{'guidance':>8}{'right':>9}{'saturated':>11}{'clipped':>9}{'spread':>9}"]
        for row in self.guidance:
            lines.append(
                f"{row['guidance_scale']:8g}{row['alignment']['value']:9.3f}"
                f"{row['saturation']['value']:11.3f}{row['clipped']['value']:9.3f}"
                f"{row['diversity']['value']:9.3f}"
            )
        for title, found in (("spread over seeds", self.detail), ("sharpness", self.quality)):
            if found:
                parts = ", ".join(f"{name} {e.value:.3f}" for name, e in found.items())
                lines += ["", f"{title}: {parts}"]
        return "\n".join(lines)


class SceneBench:
    """Draws prompts and reads the pictures.

    Args:
        pipeline: draws; has a `vocabulary` with the subset, and a `vae`.
        judge: knows every thing of the subset.
        settings: what is drawn.
        on_batch: called with the number of pictures after each batch.
    """

    def __init__(
        self,
        pipeline: Any,
        judge: Judge,
        settings: SceneSettings,
        on_batch: Callable[[int], object] | None = None,
    ) -> None:
        self.pipeline, self.settings, self.on_batch = pipeline, settings, on_batch
        self.world = World(pipeline.vocabulary.subset)
        self.judge = judge.among([concept.name for concept in self.world.concepts])
        self.places = PlaceReader()

    # --- drawing ---------------------------------------------------------------------------------

    def draw(self, asked: Sequence[Asked], guidance_scale: float | None = None) -> Tensor:
        """Every prompt with every seed, prompt by prompt: (P * K, 3, 64, 64) in [-1, 1]."""
        s = self.settings
        jobs = [(a, s.seed + 1000 * i + k) for i, a in enumerate(asked) for k in range(s.seeds)]
        parts = []
        for start in range(0, len(jobs), s.batch_size):
            batch = jobs[start : start + s.batch_size]
            pixels = self.pipeline.draw(
                [a.text for a, _ in batch],
                [a.negative for a, _ in batch],
                num_steps=s.num_steps,
                guidance_scale=s.guidance_scale if guidance_scale is None else guidance_scale,
                seed=[seed for _, seed in batch],
                sampler=s.sampler,
            ).pixels
            parts.append(pixels.float().cpu().clamp(-1, 1))
            if self.on_batch is not None:
                self.on_batch(len(batch))
        return torch.cat(parts)

    def real(self, asked: Sequence[Asked]) -> Tensor:
        """The real picture of each prompt: (P, 3, 64, 64)."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        return self.world.render([a.scene for a in asked], generator)

    @torch.inference_mode()
    def round_trip(self, pixels: Tensor) -> Tensor:
        """Pictures through the model's VAE and back."""
        vae = self.pipeline.vae
        parts = pixels.split(self.settings.batch_size)
        return torch.cat([vae.to_pixels(vae.to_latents(x.to(vae.device))).cpu() for x in parts])

    # --- reading -------------------------------------------------------------------------------

    def read(self, asked: Sequence[Asked], pixels: Tensor) -> dict[str, Tensor]:
        """Whether each asked word is right in each picture.

        Args:
            asked: P prompts with the same checks.
            pixels: (P * K, 3, 64, 64), prompt by prompt.

        Returns:
            check -> (P * K,) bool.
        """
        each = len(pixels) // len(asked)
        scenes = [a.scene for a in asked for _ in range(each)]
        checks = asked[0].checks
        found: dict[str, list[bool]] = {check: [] for check in checks}
        if set(checks) - {"place", "light"}:
            things = [scene.things[0].concept for scene in scenes]
            turned = ["turn" in checks] * len(scenes)
            for scene, reading in zip(
                scenes, read_plain(pixels, self.judge, things, turned), strict=True
            ):
                for check in checks:
                    if check in _RIGHT:
                        found[check].append(_RIGHT[check](scene, reading))
        if {"place", "light"} & set(checks):
            for scene, (place, light) in zip(scenes, self.places.read(pixels), strict=True):
                for check, right in (
                    ("place", place == scene.place),
                    ("light", light == scene.light),
                ):
                    if check in checks:
                        found[check].append(right)
        return {check: torch.tensor(values) for check, values in found.items()}

    def shares(self, asked: Sequence[Asked], sets: dict[str, Tensor]) -> dict[str, Any]:
        """check -> column -> `Estimate`, seeds of one prompt counted together."""
        table: dict[str, dict[str, Estimate]] = {}
        for column, pixels in sets.items():
            each = len(pixels) // len(asked)
            groups = torch.arange(len(asked)).repeat_interleave(each)
            for check, right in self.read(asked, pixels).items():
                generator = torch.Generator().manual_seed(self.settings.seed)
                estimate = intervals.share_interval(right, groups, generator=generator)
                table.setdefault(check, {})[column] = estimate
        return table

    def mean(self, values: Tensor, prompts: int) -> Estimate:
        """A mean over prompts and seeds, with its interval."""
        groups = torch.arange(prompts).repeat_interleave(len(values) // prompts)
        generator = torch.Generator().manual_seed(self.settings.seed)
        return intervals.bootstrap_interval(values, groups, generator=generator)


_RIGHT: dict[str, Callable[[Scene, Reading], bool]] = {
    "thing": lambda s, r: r.things[:1] == (s.things[0].concept,),
    "things": lambda s, r: sorted(r.things) == sorted(t.concept for t in s.things),
    "number": lambda s, r: r.number == len(s.things),
    "position": lambda s, r: r.zone == zone(s.things[0].x, s.things[0].y),
    "size": lambda s, r: r.size == size_name(s.things[0].size),
    "turn": lambda s, r: r.turn == turn_name(s.things[0]),
}


# --- what is asked for ---------------------------------------------------------------------------


def groups_of(world: World, settings: SceneSettings) -> dict[str, list[Asked]]:
    """The prompts of each group, fixed by the seed.

    Words that a scene's full description has are asked for; positions and sizes near a border
    between two words are left out, and so is what the checks cannot tell.
    """

    def pick(name: str, *checks: str, plain: bool = True, **wanted: Any) -> list[Asked]:
        rng = Random(f"asked {name} {settings.seed}")
        found: list[Asked] = []
        while len(found) < settings.prompts:
            scene = world.draw(1, rng)[0]
            place = rng.choice(tuple(BACKGROUNDS)) if plain else rng.choice(SCENERY)
            held = any(world.is_held_out(t.concept, place) for t in scene.things)
            light = wanted.get("light", ("plain",))
            scene = replace(scene, place=place, light=rng.choice(light), damage="none")
            if not held and _fits(scene, wanted):
                found.append(Asked(describe(scene, world.concepts), scene, checks))
        return found

    one: dict[str, Any] = {"number": 1, "turned": False}
    groups = {
        "one thing": pick("one", "thing", "place", **one),
        "two or three of a kind": pick("same", "number", "thing", number=(2, 3), kinds=1),
        "two different things": pick("other", "things", "number", kinds=2),
        "a position": pick("position", "position", "thing", size=("small", "medium"), **one),
        "a size": pick("size", "size", "thing", size=("small", "large"), **one),
        "a turn": pick("turn", "turn", "thing", number=1, turned=True),
        "a painted place": pick("place", "place", plain=False, **one),
        "a light": pick("light", "light", light=("dark", "warm"), **one),
    }
    groups["one thing, asked otherwise"] = [
        replace(a, text=ask_otherwise(a.scene, world.concepts, i % len(HELD_OUT_PHRASINGS)))
        for i, a in enumerate(groups["one thing"])
    ]
    return groups


def _fits(scene: Scene, wanted: dict[str, Any]) -> bool:
    first, count = scene.things[0], len(scene.things)
    kinds = len({thing.concept for thing in scene.things})
    number = wanted.get("number")
    if number is not None and count not in ((number,) if isinstance(number, int) else number):
        return False
    if wanted.get("kinds", kinds) != kinds or (wanted.get("kinds") == 2 and count != 2):
        return False
    if "turned" in wanted and (turn_name(first) != "upright") != wanted["turned"]:
        return False
    if count > 1:
        return True
    near = min(abs(first.size - 0.44), abs(first.size - 0.66))
    across = min(abs(value - edge) for value in (first.x, first.y) for edge in (0.36, 0.64))
    if "size" in wanted and (size_name(first.size) not in wanted["size"] or near < 0.05):
        return False
    return "size" not in wanted or across > 0.04


# --- all of it -----------------------------------------------------------------------------------


def evaluate_scenes(
    pipeline: Any,
    judge: Judge,
    settings: SceneSettings | None = None,
    on_batch: Callable[[int], object] | None = None,
) -> SceneReport:
    """Measure a model that draws scenes.

    Args:
        pipeline: its `vocabulary` must be of scenes.
        judge: knows every thing of the model.
        settings: what to draw.
        on_batch: called with the number of pictures of each batch.

    Raises:
        ValueError: the judge does not know a thing of the model.
    """
    settings = settings or SceneSettings()
    bench = SceneBench(pipeline, judge, settings, on_batch)
    groups = groups_of(bench.world, settings)
    rows: dict[str, dict[str, Estimate]] = {}
    for name, asked in groups.items():
        real = bench.real(asked)
        sets = {"drawn": bench.draw(asked), "round_trip": bench.round_trip(real), "real": real}
        for check, columns in bench.shares(asked, sets).items():
            rows[f"{name}: {check}"] = columns
    mixed = groups["a position"][::2] + groups["a size"][1::2]
    curve = [guidance_row(bench, mixed, scale) for scale in settings.guidance_scales]
    return SceneReport(
        model=str(getattr(pipeline, "name", type(pipeline).__name__)),
        settings=asdict(settings),
        rows=rows,
        guidance=curve,
        detail=spread_of_detail(bench, groups["a position"]),
        quality=sharpness_of_words(bench, groups["one thing"]),
    )


def guidance_row(bench: SceneBench, asked: Sequence[Asked], scale: float) -> dict[str, Any]:
    """What one guidance scale does to the same prompts and noise.

    Alignment is the share of asked words that are right: thing, position, size, place.
    """
    words = [replace(a, checks=("thing", "position", "size", "place")) for a in asked]
    pixels = bench.draw(words, scale)
    right = torch.stack([v.double() for v in bench.read(words, pixels).values()]).mean(dim=0)
    features = bench.judge.features(pixels).unflatten(0, (len(asked), -1))
    row: dict[str, Any] = {"guidance_scale": scale}
    measured = {
        "alignment": right,
        "saturation": metrics.saturation(pixels),
        "clipped": metrics.clipped_share(pixels),
        "sharpness": sharpness(pixels),
    }
    if features.shape[1] > 1:
        measured["diversity"] = metrics.diversity(features)
    for name, values in measured.items():
        row[name] = asdict(bench.mean(values, len(asked)))
    row.setdefault("diversity", asdict(Estimate(float("nan"), float("nan"), float("nan"))))
    return row


def spread_of_detail(bench: SceneBench, asked: Sequence[Asked]) -> dict[str, Estimate]:
    """How far apart pictures of different seeds are, for the thing alone and for everything said.

    The root mean variance of a pixel over the seeds, in [-1, 1].
    """
    if bench.settings.seeds < 2:
        return {}
    concepts = bench.world.concepts
    short = [replace(a, text=things_phrase(replace_size(a.scene), concepts)) for a in asked]
    found = {}
    for name, prompts in (("the thing alone", short), ("full description", asked)):
        pixels = bench.draw(prompts).unflatten(0, (len(asked), -1))
        found[name] = bench.mean(metrics.pixel_diversity(pixels), len(asked))
    return found


def replace_size(scene: Scene) -> Scene:
    """The scene with its things of a size that nobody mentions."""
    return replace(scene, things=tuple(replace(t, size=0.5) for t in scene.things))


def sharpness_of_words(bench: SceneBench, asked: Sequence[Asked]) -> dict[str, Estimate]:
    """Sharpness of the same prompts with words of quality, and with a negative prompt."""
    praise, blame = "sharp, high quality", "blurry, low quality"
    versions = {
        "no word": [replace(a, text=a.text) for a in asked],
        f'"{praise}"': [replace(a, text=f"{a.text}, {praise}") for a in asked],
        '"blurry"': [replace(a, text=f"{a.text}, blurry") for a in asked],
        f'negative "{blame}"': [replace(a, negative=blame) for a in asked],
    }
    found = {}
    for name, prompts in versions.items():
        found[name] = bench.mean(sharpness(bench.draw(prompts)), len(asked))
    found["real"] = bench.mean(sharpness(bench.real(asked)), len(asked))
    return found
