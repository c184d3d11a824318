"""What drawn pictures are measured against: the model's pairs, a judge, the artists' pictures.

`evaluate` and `sweep` both measure on a `Bench`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.data.captions import STYLES
from course_utils.data.concepts import held_out_pairs, load_concepts, subsets
from course_utils.data.emoji import CaptionedEmoji
from course_utils.evaluation import intervals, metrics
from course_utils.evaluation.intervals import Estimate
from course_utils.evaluation.judge import Judge
from course_utils.evaluation.measure import Prompt, Scene

Pairs = list[tuple[int, int]]
"""(concept, style) by index into a bench's `names` and `STYLES`."""


class Bench:
    """A place to measure the pictures of one model.

    Args:
        pipeline: the model. With a `vocabulary` its concepts and held-out pairs count, else the
            judge's concepts and the data's held-out pairs; with a `vae`, pictures are also sent
            through it and back.
        judge: must know every concept that the model knows.
        seed: of the resampling behind every interval.
        batch_size: pictures that go through the VAE side by side.
        inside: keep only the concepts of this subset of the data.

    Attributes:
        names: of the concepts, in the data's order.
        pairs: "seen" and "held_out".
        scene: the judge among these concepts, and the artists' pictures.

    Raises:
        ValueError: the judge or the data does not know a concept of the model, the model knows none
            of the subset, or every pair is held out.
    """

    def __init__(
        self,
        pipeline: Any,
        judge: Judge,
        seed: int,
        batch_size: int,
        inside: str | None = None,
    ) -> None:
        vocabulary = getattr(pipeline, "vocabulary", None)
        known = judge.concepts if vocabulary is None else [c.name for c in vocabulary.concepts]
        if inside is not None:
            members = {c.name for c in load_concepts(inside)}
            known = [name for name in known if name in members]
            if not known:
                raise ValueError(f"subset is {inside!r}, of which the model knows no concept")
        subset = smallest_subset(known)
        self.seed = seed
        self.names = tuple(c.name for c in load_concepts(subset) if c.name in set(known))
        judge = judge.among(self.names)
        self.pairs = find_pairs(subset, self.names, vocabulary)
        round_trip = through_vae(getattr(pipeline, "vae", None), batch_size)
        self.scene = Scene(judge, subset, self.names, self.pairs["seen"], round_trip)

    def estimates(self, values: Mapping[str, Tensor], groups: Tensor) -> dict[str, Estimate]:
        """Means with their intervals.

        Args:
            values: name -> (N,), a number, or true or false, for each picture.
            groups: (N,), which pictures belong together and are resampled together.
        """
        found = {}
        for name, numbers in values.items():
            share = numbers.dtype == torch.bool
            interval = intervals.share_interval if share else intervals.bootstrap_interval
            found[name] = interval(numbers, groups, generator=self.generator())
        return found

    def diversity(
        self, features: Tensor, pixels: Tensor, seeds: int, pair: Tensor
    ) -> dict[str, Estimate]:
        """How far the pictures of one prompt differ.

        Args:
            features: (P * K, D) of the judge, prompt by prompt.
            pixels: (P * K, 3, H, W).
            seeds: K, at least 2.
            pair: (P,) which pair each prompt is of.

        Returns:
            "diversity", 1 - cosine of the features, and "pixel_diversity".
        """
        values = {
            "diversity": metrics.diversity(features.unflatten(0, (-1, seeds))),
            "pixel_diversity": metrics.pixel_diversity(pixels.unflatten(0, (-1, seeds))),
        }
        return self.estimates(values, pair)

    def generator(self) -> torch.Generator:
        """The random numbers of one interval, the same for each."""
        return torch.Generator().manual_seed(self.seed)


def asked_of(prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
    """What prompts ask for, (P, 3): concept, style, background; and (P,) which pair each is of."""
    asked = torch.tensor([(p.concept, p.style, p.background) for p in prompts])
    return asked, torch.unique(asked[:, :2], dim=0, return_inverse=True)[1]


def smallest_subset(names: Sequence[str]) -> str:
    """The smallest subset of the data that holds all these concepts.

    Raises:
        ValueError: no subset does.
    """
    known = {subset: {c.name for c in load_concepts(subset)} for subset in subsets()}
    fitting = [subset for subset in known if known[subset].issuperset(names)]
    if not fitting:
        strange = sorted(set(names) - known["all"])
        raise ValueError(f"the model knows {strange[0]!r}, of which the data has no picture")
    return min(fitting, key=lambda subset: len(known[subset]))


def find_pairs(subset: str, names: Sequence[str], vocabulary: Any) -> dict[str, Pairs]:
    """Pairs that the model was trained on, and those it was not.

    Args:
        subset: of the data; holds the pictures.
        names: of the concepts.
        vocabulary: the model's; None takes the data's held-out pairs.

    Raises:
        ValueError: every pair is held out.
    """
    concepts = load_concepts(subset)
    held = {(concepts[c].name, STYLES[s]) for c, s in held_out_pairs(subset)}
    if vocabulary is not None:
        held &= set(vocabulary.held_out)
    index = {name: i for i, name in enumerate(names)}
    split: dict[str, Pairs] = {"seen": [], "held_out": []}
    for concept, style in CaptionedEmoji(subset, split="all").pairs:
        name = concepts[concept].name
        if name in index:
            where = "held_out" if (name, STYLES[style]) in held else "seen"
            split[where].append((index[name], style))
    if not split["seen"]:
        raise ValueError("every pair of the model is held out; there is nothing that it was taught")
    return split


def through_vae(vae: Any, batch_size: int) -> Callable[[Tensor], Tensor] | None:
    """What sends pictures through a VAE and back, or None where there is no VAE."""
    if vae is None:
        return None
    device = next(vae.parameters()).device

    @torch.inference_mode()
    def there_and_back(pixels: Tensor) -> Tensor:
        parts = pixels.split(batch_size)
        return torch.cat([vae.to_pixels(vae.to_latents(x.to(device))).cpu() for x in parts])

    return there_and_back
