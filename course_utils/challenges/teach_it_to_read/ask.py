"""Challenge 03, Teach it to read: a contrastive loss, and a retrieval bar in a fixed step budget.

The last part takes place in a small world that is made anew from each seed: some things, drawn by
four artists, seen through a lens that mixes the pixels, and described in a language whose
dictionary is shuffled. What was learned in one world is of no use in another. One style of each
thing is kept for the test, so nobody has met the pictures that count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from course_utils.challenges.declare import Band, Challenge, Limits, Measurement, Part, Refused
from course_utils.challenges.teach_it_to_read import NUMBER, TITLE
from course_utils.challenges.teach_it_to_read.world import (
    BATCHES,
    THINGS,
    oracles,
    retrieval,
    train_arguments,
    world_of,
)

Inputs = Sequence[Mapping[str, Any]]
Array = np.ndarray[Any, Any]

WORLDS = 3


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
        found.append({**train_arguments(seed), "_seed": seed})
    return found


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
    number=NUMBER,
    title=TITLE,
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
