"""Challenge 03, Teach it to read: a contrastive loss, and a retrieval bar in a fixed step budget.

The last part takes place in a small world that is made anew from each seed: some things, drawn by
four artists, seen through a lens that mixes the pixels, and described in a language whose
dictionary is shuffled. What was learned in one world is of no use in another. One style of each
thing is kept for the test, so nobody has met the pictures that count.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.data import (
    BACKGROUNDS,
    STYLES,
    full_caption,
    load_art,
    load_concepts,
    random_caption,
)
from course_utils.grading.challenge import (
    Band,
    Challenge,
    Limits,
    Measurement,
    Oracle,
    Part,
    Refused,
)

Inputs = Sequence[Mapping[str, Any]]
Array = np.ndarray[Any, Any]

SUBSET = "core"
THINGS = 120  # in a world, all that have four styles
SIDE = 16  # pixels of a picture, after shrinking
IMAGE_WIDTH = 3 * SIDE * SIDE
BATCH_SIZE = 128
BATCHES = 120  # that one training may see
DIM = 64  # of the space where pictures and words meet
WORLDS = 3
ROUNDS = 6  # each with new backgrounds
BACKGROUND_NAMES = tuple(BACKGROUNDS)


# --- the world -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
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
        every = [Scene(*pair, b) for pair in self.pairs for b in range(len(BACKGROUND_NAMES))]
        seen = pictures(every).flatten(1) @ lens
        self.seen = seen.unflatten(0, (len(self.pairs), len(BACKGROUND_NAMES)))
        self.seed = seed

    def see(self, scenes: Sequence[Scene]) -> Tensor:
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

    def scenes(self, pairs: Sequence[tuple[int, int]], random: Random) -> list[Scene]:
        """The pairs on random backgrounds."""
        return [Scene(*pair, random.randrange(len(BACKGROUND_NAMES))) for pair in pairs]

    def train_scenes(self, random: Random) -> list[Scene]:
        """What a batch shows."""
        return self.scenes([random.choice(self.trained) for _ in range(BATCH_SIZE)], random)

    def caption(self, scene: Scene, random: Random | None = None) -> str:
        """What is said of a picture: one of many captions, or the full one."""
        concept, style = self.concepts[scene.concept], STYLES[scene.style]
        background = BACKGROUND_NAMES[scene.background]
        if random is None:
            return full_caption(concept.name, style, background)
        return random_caption(concept, style, background, random)


def pictures(scenes: Sequence[Scene]) -> Tensor:
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
    import dataclasses

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


@functools.lru_cache(maxsize=2 * WORLDS)
def world_of(seed: int) -> World:
    """The world of a seed."""
    return World(seed)


# --- what an answer gets -------------------------------------------------------------------------


def ordinary_features(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part a: temperatures as in papers."""
    return [
        features(random, size, width, temperature)
        for size, width, temperature in (
            (2, 5, 1.0),
            (int(random.integers(8, 20)), 16, 0.5),
            (int(random.integers(24, 48)), 32, 0.07),
            (64, int(random.integers(20, 100)), random.uniform(0.03, 0.2)),
        )
    ]


def extreme_features(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part b: logits in the hundreds, and vectors of every length."""
    return [
        features(random, size, width, random.uniform(0.0015, 0.004), scale)
        for size, width, scale in (
            (12, 8, 1.0),
            (int(random.integers(30, 60)), 16, 100.0),
            (128, int(random.integers(20, 60)), 0.01),
        )
    ]


def features(
    random: np.random.Generator, size: int, width: int, temperature: float, scale: float = 1.0
) -> dict[str, Any]:
    """Pairs of vectors that know a little of each other.

    Pictures share a direction, and texts lie along it more or less. So some texts are near to all
    pictures, and the two directions of the loss differ.
    """
    shared, common = random.standard_normal(width), random.standard_normal((size, width))
    images = shared + 0.5 * common + 0.5 * random.standard_normal((size, width))
    along = random.standard_normal((size, 1))
    texts = along * shared + 0.5 * common + 0.5 * random.standard_normal((size, width))

    def stretched(vectors: Array) -> Array:
        lengths = scale * np.exp(0.7 * random.standard_normal((size, 1)))
        return (lengths * vectors).astype(np.float32)

    return {
        "image_features": stretched(images),
        "text_features": stretched(texts),
        "log_temperature": np.asarray(np.log(temperature), dtype=np.float32),
    }


def worlds(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part c: the size of what there is to see and to read."""
    found = []
    for _ in range(WORLDS):
        seed = int(random.integers(2**62))
        found.append({**_train_arguments(seed), "_seed": seed})
    return found


def _train_arguments(seed: int) -> dict[str, Any]:
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
    def test_scenes(self) -> list[Scene]:
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
        given = _train_arguments(self.seed)
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


# --- how it is measured --------------------------------------------------------------------------


def table_of(given: Mapping[str, Any]) -> Array:
    """Cosines over temperature, `(B, B)`, float64; rows are pictures."""
    images, texts = (_unit(given[name].astype(np.float64)) for name in _FEATURES)
    found: Array = images @ texts.T / np.exp(float(given["log_temperature"]))
    return found


def one_way(logits: Array) -> Array:
    """Cross entropy of each row, whose right answer is on the diagonal."""
    most = logits.max(axis=1)
    found: Array = most + np.log(np.exp(logits - most[:, None]).sum(axis=1)) - np.diag(logits)
    return found


def both_ways(logits: Array) -> float:
    """Mean of the cross entropies of rows and of columns."""
    return float(one_way(logits).mean() + one_way(logits.T).mean()) / 2


def loss_of(given: Mapping[str, Any]) -> float:
    """The symmetric contrastive loss."""
    return both_ways(table_of(given))


_FEATURES = ("image_features", "text_features")


def _unit(rows: Array) -> Array:
    found: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found


def _with(given: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {**given, **changes}


def _raw(given: Mapping[str, Any]) -> float:
    images, texts = (given[name].astype(np.float64) for name in _FEATURES)
    return both_ways(images @ texts.T / np.exp(float(given["log_temperature"])))


def _columns(given: Mapping[str, Any]) -> float:
    scaled = {
        name: given[name] / np.linalg.norm(given[name], axis=0, keepdims=True) for name in _FEATURES
    }
    return _raw({**given, **scaled})


def _by_logarithm(given: Mapping[str, Any]) -> float:
    logarithm = float(given["log_temperature"]) or 1e-9  # torch gives NaN there, which is refused
    return both_ways(table_of(given) * np.exp(logarithm) / logarithm)


MISTAKES = (
    (
        lambda g: float(one_way(table_of(g)).mean()),
        "It is the loss of pictures that choose among texts. Texts also choose among pictures; the "
        "loss is the mean of both.",
    ),
    (
        lambda g: float(one_way(table_of(g).T).mean()),
        "It is the loss of texts that choose among pictures. Pictures also choose among texts; the "
        "loss is the mean of both.",
    ),
    (
        lambda g: 2 * loss_of(g),
        "It is twice the loss: take the mean of the two directions, not their sum.",
    ),
    (
        lambda g: len(g["image_features"]) * loss_of(g),
        "It is the sum over the pairs; take their mean.",
    ),
    (
        lambda g: loss_of(_with(g, log_temperature=-g["log_temperature"])),
        "The cosines are multiplied by the temperature. Divide by it: a low temperature makes a "
        "softmax sure.",
    ),
    (
        lambda g: loss_of(_with(g, log_temperature=np.zeros(()))),
        "The temperature has no effect: cosines go into the softmax as they are.",
    ),
    (
        _by_logarithm,
        "The cosines are divided by the logarithm of the temperature. Take its exp first.",
    ),
    (
        _raw,
        "The vectors are taken as long as they come. Scale each one to length 1 first.",
    ),
    (
        _columns,
        "The vectors are scaled along the batch. Each row is a vector; its length becomes 1.",
    ),
)
"""(loss, sentence): what people write, and how it differs."""


def measure_loss(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Parts a and b."""
    wanted = [loss_of(given) for given in inputs]
    found = [_scalar(value, given) for given, value in zip(inputs, outputs, strict=True)]
    errors = [abs(have - want) / want for want, have in zip(wanted, found, strict=True)]
    worst = int(np.argmax(errors))
    notes: list[str] = []
    if errors[worst] > 1e-3:
        given = inputs[worst]
        temperature = float(np.exp(given["log_temperature"]))
        rows, width = given["image_features"].shape
        notes.append(
            f"The largest error is at temperature {temperature:.3g}, with {rows} pairs of vectors "
            f"of {width} numbers."
        )
        for mistake, sentence in MISTAKES:
            taken = [mistake(each) for each in inputs]
            if np.allclose(found, taken, rtol=1e-3):
                notes.append(sentence)
                break
    details = {f"features {number}": error for number, error in enumerate(errors)}
    return Measurement(errors[worst], tuple(notes), details)


def _scalar(value: Any, given: Mapping[str, Any]) -> float:
    """What came back, if it is one number."""
    name = "contrastive_loss"
    if isinstance(value, np.ndarray) and value.shape != ():
        raise Refused(
            f"{name} gives a tensor of shape {value.shape}; expected one number, the mean over all "
            "pairs."
        )
    if not isinstance(value, float) and not (
        isinstance(value, np.ndarray) and value.dtype.kind == "f"
    ):
        kind = "nothing" if value is None else f"a {type(value).__name__}"
        raise Refused(f"{name} gives {kind}; expected a tensor that holds one number.")
    number = float(value)
    if not np.isfinite(number):
        temperature = float(np.exp(given["log_temperature"]))
        why = (
            f"There the logits reach {1 / temperature:.0f}, and exp of more than 88 is infinite in "
            "float32."
            if temperature < 1 / 88
            else "No logit is large there. log_temperature is the logarithm of the temperature: "
            "take its exp before you divide by it. At temperature 1 the logarithm is 0."
        )
        raise Refused(f"{name} gives {number} at temperature {temperature:.3g}. {why}")
    return number


def measure_retrieval(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part c."""
    found = np.array(
        [
            retrieval(world_of(given["_seed"]), *_projections(value, given))
            for given, value in zip(inputs, outputs, strict=True)
        ]
    )  # (worlds, 2)
    pictures_find, captions_find = found.mean(axis=0)
    notes = [
        f"{pictures_find:.0%} of the pictures find their caption, {captions_find:.0%} of the "
        "captions find their picture; the smaller one counts."
    ]
    if found.max() < 5 / THINGS:
        notes.append("That is what guessing gives.")
    details = {f"world {number}": float(shares.min()) for number, shares in enumerate(found)}
    return Measurement(float(min(pictures_find, captions_find)), tuple(notes), details)


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


def _projections(value: Any, given: Mapping[str, Any]) -> tuple[Array, Array]:
    """What came back, if it is two projections."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise Refused("train gives no pair; expected (image_projection, text_projection).")
    found = []
    for name, projection in zip(("image", "text"), value, strict=True):
        expected = (given[f"{name}_width"], given["dim"])
        if not isinstance(projection, np.ndarray):
            kind = "nothing" if projection is None else f"a {type(projection).__name__}"
            raise Refused(f"{name}_projection is {kind}; expected a tensor of shape {expected}.")
        if projection.shape != expected:
            raise Refused(
                f"{name}_projection has shape {projection.shape}; expected {expected}, so that "
                "features @ projection gives dim numbers a row."
            )
        if projection.dtype.kind != "f":
            raise Refused(f"{name}_projection has dtype {projection.dtype}; expected float32.")
        if not np.isfinite(projection).all():
            raise Refused(
                f"{name}_projection holds {projection[~np.isfinite(projection)][0]}. The training "
                "has diverged: print the loss of each step."
            )
        if np.abs(projection).max() > 1e6:
            raise Refused(f"{name}_projection holds numbers beyond a million; nothing needs them.")
        found.append(projection.astype(np.float64))
    return found[0], found[1]


# --- the challenge -------------------------------------------------------------------------------

SETUP = """import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor"""

CHALLENGE = Challenge(
    number="03",
    title="Teach it to read",
    answers=("contrastive-loss", "train"),
    setup=SETUP,
    withheld=("course_utils.models.clip", "course_utils.training", "course_utils.data"),
    pass_points=7,
    minutes=60,
    parts=(
        Part(
            id="a",
            title="the loss",
            function="contrastive_loss",
            inputs=ordinary_features,
            measure=measure_loss,
            bands=(Band(1e-4, 2, "exact"), Band(0.01, 1, "close")),
            quantity="largest relative error of the loss",
            better="less",
            advice="Scale each vector to length 1, make the (B, B) table of cosines, divide it by "
            "the temperature, and take the cross entropy of the rows and that of the columns. Work "
            "out a batch of two pairs by hand and compare.",
            limits=Limits(seconds=30.0, megabytes=1500),
        ),
        Part(
            id="b",
            title="low temperatures",
            function="contrastive_loss",
            inputs=extreme_features,
            measure=measure_loss,
            bands=(Band(1e-4, 2, "exact"), Band(0.01, 1, "close")),
            quantity="largest relative error of the loss",
            better="less",
            advice="Never take exp of a large number. log(sum(exp(x))) is the same as "
            "m + log(sum(exp(x - m))) with m the largest x; torch.logsumexp and F.cross_entropy do "
            "that for you. Clip nothing.",
            limits=Limits(seconds=30.0, megabytes=1500),
        ),
        Part(
            id="c",
            title="reading in 120 batches",
            function="train",
            inputs=worlds,
            measure=measure_retrieval,
            oracles=oracles,
            bands=(Band(0.775, 6, "reads"), Band(0.7, 2, "spells"), Band(0.5, 1, "stammers")),
            quantity="share that finds its partner, 0 to 1",
            advice="Use all batches, and print the loss and the temperature as you go. Compare "
            "starting temperatures first: 0.07 is for much larger batches, so try higher ones too. "
            "Then try a learning rate three times larger and three times smaller, several times "
            "over, and let it fall to 0 at the end. 768 numbers a picture are easily learned by "
            "heart. Weight decay helps a little against that; AdamW multiplies it by the learning "
            "rate, so in 120 steps 0.01 does next to nothing.",
            limits=Limits(seconds=180.0, megabytes=1500, oracle_calls={"batch": BATCHES}),
        ),
    ),
)
