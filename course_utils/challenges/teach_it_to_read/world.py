"""The worlds of challenge 03: what there is to see, the language for it, and what is found in both.

A world is made anew from its seed: some things, drawn by four artists, seen through a lens that
mixes the pixels, and described in a language whose dictionary is shuffled.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.challenges.declare import Oracle
from course_utils.data import (
    BACKGROUNDS,
    STYLES,
    full_caption,
    load_art,
    load_concepts,
    random_caption,
)

Array = np.ndarray[Any, Any]

SUBSET = "core"
THINGS = 120  # in a world, all that have four styles
SIDE = 16  # pixels of a picture, after shrinking
IMAGE_WIDTH = 3 * SIDE * SIDE
BATCH_SIZE = 128
BATCHES = 120  # that one training may see
DIM = 64  # of the space where pictures and words meet
ROUNDS = 6  # each with new backgrounds
BACKGROUND_NAMES = tuple(BACKGROUNDS)


@dataclass(frozen=True)
class Sight:
    """A picture to be: which thing, in which style, on which background; indices."""

    concept: int
    style: int
    background: int


class World:
    """Things to see and a language to read.

    Args:
        seed: decides everything, also what the batches hold.

    Attributes:
        trained: (concept, style) pairs that batches show.
        tested: one pair of each thing, that they never show.
        vocabulary: the number of each word.
        pairs: the row of each pair in `seen`.
        seen: all pictures on all backgrounds, through the lens.
        words: how many there are.
    """

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.concepts = load_concepts(SUBSET)
        several = [concept.index for concept in self.concepts if len(concept.styles) >= 3]
        self.trained: list[tuple[int, int]] = []
        self.tested: list[tuple[int, int]] = []
        for concept in random.permutation(several)[:THINGS].tolist():
            known = [STYLES.index(style) for style in self.concepts[concept].styles]
            kept, *shown = random.permutation(known).tolist()
            self.tested.append((concept, kept))
            self.trained += [(concept, style) for style in shown]
        spoken = sorted(_words_of(self))
        self.words = len(spoken)
        numbers = random.permutation(self.words).tolist()
        self.vocabulary = dict(zip(spoken, numbers, strict=True))
        mixed = torch.from_numpy(random.standard_normal((IMAGE_WIDTH, IMAGE_WIDTH))).float()
        lens = torch.linalg.qr(mixed).Q
        self.pairs = {pair: row for row, pair in enumerate(self.trained + self.tested)}
        every = [Sight(*pair, b) for pair in self.pairs for b in range(len(BACKGROUND_NAMES))]
        seen = pictures(every).flatten(1) @ lens
        self.seen = seen.unflatten(0, (len(self.pairs), len(BACKGROUND_NAMES)))
        self.seed = seed

    def see(self, scenes: Sequence[Sight]) -> Tensor:
        """Pictures as numbers, `(B, IMAGE_WIDTH)`: small, and through the lens."""
        pairs = [self.pairs[scene.concept, scene.style] for scene in scenes]
        return self.seen[pairs, [scene.background for scene in scenes]]

    def read(self, captions: Sequence[str]) -> Tensor:
        """How often each word stands in each caption, `(B, words)`; order is lost."""
        rows, columns = [], []
        for row, caption in enumerate(captions):
            numbers = [self.vocabulary[word] for word in _split(caption)]
            rows += [row] * len(numbers)
            columns += numbers
        counts = torch.zeros(len(captions), self.words)
        return counts.index_put_(
            (torch.tensor(rows), torch.tensor(columns)), torch.ones(len(rows)), accumulate=True
        )

    def scenes(self, pairs: Sequence[tuple[int, int]], random: Random) -> list[Sight]:
        """The pairs on random backgrounds."""
        return [Sight(*pair, random.randrange(len(BACKGROUND_NAMES))) for pair in pairs]

    def train_scenes(self, random: Random) -> list[Sight]:
        """What a batch shows."""
        return self.scenes([random.choice(self.trained) for _ in range(BATCH_SIZE)], random)

    def caption(self, scene: Sight, random: Random | None = None) -> str:
        """What is said of a picture: one of many captions, or the full one."""
        concept, style = self.concepts[scene.concept], STYLES[scene.style]
        background = BACKGROUND_NAMES[scene.background]
        if random is None:
            return full_caption(concept.name, style, background)
        return random_caption(concept, style, background, random)


def pictures(scenes: Sequence[Sight]) -> Tensor:
    """Small pictures, `(B, 3, SIDE, SIDE)` in [-1, 1]."""
    concept = torch.tensor([scene.concept for scene in scenes])
    style = torch.tensor([scene.style for scene in scenes])
    colours = torch.tensor(list(BACKGROUNDS.values()), dtype=torch.float32) / 127.5 - 1
    colour = colours[torch.tensor([scene.background for scene in scenes])][:, :, None, None]
    art = _small_art()[concept, style]  # (B, 4, SIDE, SIDE)
    return art[:, :3] + (1 - art[:, 3:]) * colour


@functools.lru_cache(maxsize=1)
def _small_art() -> Tensor:
    """All pictures, shrunk: colour times opacity, then opacity; `(concepts, styles, 4, 16, 16)`."""
    planes = torch.from_numpy(load_art(SUBSET)).movedim(-1, -3).float()  # (N, S, 4, 64, 64)
    opacity = planes[:, :, 3:] / 255
    premultiplied = torch.cat([(planes[:, :, :3] / 127.5 - 1) * opacity, opacity], dim=2)
    small = torch.nn.functional.avg_pool2d(premultiplied.flatten(0, 1), 64 // SIDE)
    return small.unflatten(0, planes.shape[:2])


def _split(caption: str) -> list[str]:
    return re.findall(r"\w+", caption.lower())


@functools.lru_cache(maxsize=1)
def _common_words() -> frozenset[str]:
    """Words of captions that are not the name of a thing: of styles, backgrounds and sentences."""
    random = Random(0)
    thing = dataclasses.replace(load_concepts(SUBSET)[0], name="umbrella", synonyms=())
    plain = dataclasses.replace(thing, name="ball", synonyms=())
    captions = [
        random_caption(random.choice((thing, plain)), style, background, random)
        for style in STYLES
        for background in BACKGROUND_NAMES
        for _ in range(150)
    ]
    return frozenset(word for caption in captions for word in _split(caption)) - {
        "umbrella",
        "ball",
    }


def _words_of(world: World) -> set[str]:
    """All words that a caption of a world may hold."""
    found = set(_common_words())
    for index, _ in world.tested:
        concept = world.concepts[index]
        for name in (concept.name, *concept.synonyms):
            found |= set(_split(full_caption(name, STYLES[0], BACKGROUND_NAMES[0])))
            found |= set(_split(name))
    return found


@functools.lru_cache(maxsize=6)
def world_of(seed: int) -> World:
    """The world of a seed."""
    return World(seed)


def retrieval(world: World, image_projection: Array, text_projection: Array) -> tuple[float, float]:
    """Shares of pictures that find their caption, and of captions that find their picture.

    In each round all things stand there once, in the style that was kept for the test. What is
    found must be nearer than all else; a tie is no find.
    """
    shares = []
    for number in range(ROUNDS):
        scenes = world.scenes(world.tested, Random(f"test {world.seed} {number}"))
        words = world.read([world.caption(scene) for scene in scenes]).double().numpy()
        images = world.see(scenes).double().numpy() @ image_projection
        texts = words @ text_projection
        cosines = _safe_unit(images) @ _safe_unit(texts).T
        right = np.diag(cosines)
        others = np.where(np.eye(len(cosines), dtype=bool), -np.inf, cosines)
        margin = 1e-9  # rounding breaks no tie
        shares.append(
            [
                (right > others.max(axis=1) + margin).mean(),
                (right > others.max(axis=0) + margin).mean(),
            ]
        )
    pictures_find, captions_find = np.mean(shares, axis=0).tolist()
    return pictures_find, captions_find


def _safe_unit(rows: Array) -> Array:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    found: Array = rows / np.where(lengths > 0, lengths, 1.0)
    return found


def train_arguments(seed: int) -> dict[str, Any]:
    """What `train` is told of the world of a seed."""
    return {
        "num_batches": BATCHES,
        "image_width": IMAGE_WIDTH,
        "text_width": world_of(seed).words,
        "dim": DIM,
    }


def oracles(given: Mapping[str, Any]) -> Mapping[str, Oracle]:
    """`batch()`, which gives the next batch of a world."""
    world, random = world_of(given["_seed"]), Random(f"batches {given['_seed']}")

    def batch() -> dict[str, Tensor]:
        scenes = world.train_scenes(random)
        captions = [world.caption(scene, random) for scene in scenes]
        return {"images": world.see(scenes), "words": world.read(captions)}

    return {"batch": batch}


@dataclass(frozen=True)
class Practice:
    """A world to look at and to train in, such as the verifier makes."""

    seed: int

    @property
    def world(self) -> World:
        """What there is."""
        return world_of(self.seed)

    @property
    def test_scenes(self) -> list[Sight]:
        """All things once, as no batch shows them."""
        return self.world.scenes(self.world.tested, Random(f"test {self.seed} 0"))

    @property
    def captions(self) -> list[str]:
        """The full captions of the test."""
        return [self.world.caption(scene) for scene in self.test_scenes]

    @property
    def pixels(self) -> Tensor:
        """The pictures of the test, `(120, 3, 16, 16)` in [-1, 1]."""
        return pictures(self.test_scenes)

    def arguments(self) -> dict[str, Any]:
        """What `train` gets; batches start from the first one again."""
        given = train_arguments(self.seed)
        return {**given, **oracles({"_seed": self.seed})}

    def example(self, count: int) -> tuple[Tensor, list[str]]:
        """Some pictures `(count, 3, 16, 16)` as they are, and what is said of them."""
        random = Random(f"example {self.seed}")
        scenes = self.world.train_scenes(random)[:count]
        return pictures(scenes), [self.world.caption(scene, random) for scene in scenes]

    def score(self, image_projection: Tensor, text_projection: Tensor) -> tuple[float, float]:
        """Shares of pictures that find their caption, and of captions that find their picture."""
        found = (image_projection, text_projection)
        return retrieval(self.world, *(each.detach().double().numpy() for each in found))

    def picked(self, image_projection: Tensor, text_projection: Tensor) -> list[str]:
        """For each picture of the test, the caption that is nearest."""
        captions = self.captions
        images = self.world.see(self.test_scenes) @ image_projection.detach()
        texts = self.world.read(captions) @ text_projection.detach()
        nearest = (images @ torch.nn.functional.normalize(texts, dim=-1).T).argmax(dim=1)
        return [captions[number] for number in nearest.tolist()]


def practice(seed: int) -> Practice:
    """A practice world."""
    return Practice(seed)
