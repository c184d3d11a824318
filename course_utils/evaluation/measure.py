"""Measure pictures beside the real ones: every picture on its own, and sets against each other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.data.emoji import CaptionedEmoji
from course_utils.evaluation import intervals, metrics
from course_utils.evaluation.intervals import Estimate
from course_utils.evaluation.judge import Judge

TOP = 5  # guesses that an object may take
COPY_RMSE = 0.1
"""A picture this near to a training picture is a copy of it: a twentieth of the range of values.
Fewer than one in fifty real pictures have another real one so near."""
KEEP = 500  # training pictures of one background that are kept in memory: 24 MB


@dataclass(frozen=True)
class Prompt:
    """A pair on a background; indices into the concepts, `STYLES` and `BACKGROUND_NAMES`."""

    text: str
    concept: int
    style: int
    background: int


class Scene:
    """What everything is compared with.

    Args:
        judge: chooses among `names`.
        subset: of the data; holds the pictures.
        names: of the concepts, in the order of every concept id here.
        training: pairs (concept, style) that the model was trained on.
        round_trip: pictures through the model's VAE and back; None where it has none.
    """

    def __init__(
        self,
        judge: Judge,
        subset: str,
        names: tuple[str, ...],
        training: list[tuple[int, int]],
        round_trip: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.judge, self.names, self.round_trip = judge, names, round_trip
        self.data = CaptionedEmoji(subset, split="all")
        place = {c.name: c.index for c in self.data.concepts}
        self.place = torch.tensor([place[name] for name in names])  # ours -> the subset's index
        self.training = torch.tensor(training)  # (T, 2)
        self._kept: dict[int, Tensor] = {}

    def with_training(self, training: Tensor) -> Scene:
        """The same scene, where other pairs (T, 2) count as trained."""
        found = copy.copy(self)
        found.training, found._kept = training, {}
        return found

    def render(self, prompts: Sequence[Prompt]) -> Tensor:
        """The artists' own pictures: (P, 3, 64, 64)."""
        ids = torch.tensor([(p.concept, p.style, p.background) for p in prompts])
        return self.data.render_batch(self.place[ids[:, 0]], ids[:, 1], ids[:, 2])

    def render_pairs(self, pairs: Tensor, background: Tensor) -> Tensor:
        """Pairs (B, 2) on backgrounds (B,): (B, 3, 64, 64)."""
        return self.data.render_batch(self.place[pairs[:, 0]], pairs[:, 1], background)

    def nearest(self, pixels: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        """The training pair whose picture, on the same background, is nearest: ids and RMSE."""
        index = torch.zeros(len(pixels), dtype=torch.int64)
        distance = torch.zeros(len(pixels))
        for colour in background.unique():
            mine = background == colour
            training = self._training_on(int(colour))
            index[mine], distance[mine] = metrics.nearest_training(pixels[mine], training)
        return self.training[index], distance

    def _training_on(self, background: int) -> Tensor:
        """All training pictures on one background; small sets are kept."""
        if background in self._kept:
            return self._kept[background]
        colour = torch.full((len(self.training),), background)
        pictures = self.render_pairs(self.training, colour)
        if len(self.training) <= KEEP:
            self._kept[background] = pictures
        return pictures


@dataclass(frozen=True, eq=False)
class Measured:
    """One set of N pictures.

    Attributes:
        values: name -> (N,), a number or true or false for each picture.
        features: (N, D) of the judge.
        top: (N, 5) likeliest concepts.
        style, background: (N,) what was found.
        nearest: (N, 2) the nearest training pair.
    """

    values: dict[str, Tensor]
    features: Tensor
    top: Tensor
    style: Tensor
    background: Tensor
    nearest: Tensor


def measure(scene: Scene, pixels: Tensor, asked: Tensor) -> Measured:
    """Everything that is measured on single pictures.

    Args:
        scene: the judge and the data.
        pixels: (N, 3, 64, 64) in [-1, 1].
        asked: (N, 3): concept, style, background.
    """
    concept, style, background = asked.T
    verdicts = scene.judge.classify(pixels, concept)
    top = verdicts.top(TOP)
    found, error = metrics.background_colour(pixels)
    nearest, distance = scene.nearest(pixels, found)
    original = metrics.rmse(pixels, scene.render_pairs(asked[:, :2], found))
    copied = scene.render_pairs(nearest, found)  # the nearest training pictures
    copied_features = scene.judge.features(copied)
    copy_distance = distance
    if scene.round_trip is not None:  # a model that copies can copy no better than its VAE
        copy_distance = distance.minimum(metrics.rmse(pixels, scene.round_trip(copied)))
    same = nearest[:, 0] == concept
    values = {
        "object_top1": top[:, 0] == concept,
        "object_top5": (top == concept[:, None]).any(dim=1),
        "style": verdicts.style == style,
        "background": found == background,
        "background_error": error,
        "saturation": metrics.saturation(pixels),
        "clipped": metrics.clipped_share(pixels),
        "nearest_rmse": distance,
        "nearest_features": (1 - (verdicts.features * copied_features).sum(dim=1)).clamp_min(0),
        "near_copy": copy_distance < COPY_RMSE,
        "nearest_same_object": same,
        "nearest_other_style": same & (nearest[:, 1] != style),
        "nearest_is_asked": original <= distance * (1 + 1e-5),  # rounding
    }
    return Measured(values, verdicts.features, top, verdicts.style, found, nearest)


def distances(features: Tensor, real: Tensor, pair: Tensor) -> dict[str, Estimate]:
    """Fréchet distance and KID to the real pictures of the same pairs.

    Features are scaled to length sqrt(D), so that their values are of about unit size, for which
    the kernel's 1/D was made.

    Args:
        features: (P * K, D) unit vectors, prompt by prompt.
        real: (P, D) unit vectors.
        pair: (P,) which pair each prompt is of.

    Returns:
        "frechet" and "kernel"; nothing where there are fewer than three pairs.
    """
    scale = real.shape[1] ** 0.5
    features, real = features * scale, real * scale
    groups = int(pair.max()) + 1
    if groups < 3:
        return {}
    mine = pair.repeat_interleave(len(features) // len(pair))

    def frechet(keep: Tensor) -> float:
        left, right = torch.isin(mine, keep), torch.isin(pair, keep)
        return metrics.frechet_distance(features[left], real[right])

    def kernel(keep: Tensor) -> float:
        left, right = torch.isin(mine, keep), torch.isin(pair, keep)
        return metrics.kernel_distance(features[left], real[right], mine[left], pair[right])

    distance = intervals.jackknife_interval(frechet, groups)
    return {
        "frechet": Estimate(distance.value, max(0.0, distance.low), distance.high),
        "kernel": intervals.jackknife_interval(kernel, groups),
    }
