"""The chain of challenge 06 on our side: what `draw` is given, its networks, and whether pictures
are what they made."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.challenges import provenance, validation
from course_utils.challenges.declare import Oracle, Refused
from course_utils.challenges.network import (
    BACKGROUND_NAMES,
    GUIDANCE,
    captions_of,
    latent_shape,
    pipeline,
    scene,
)
from course_utils.data.captions import STYLES
from course_utils.evaluation.measure import Scene
from course_utils.models.tokenizer import split_words

MOST_FROM_ELSEWHERE = 0.02  # share of latents that is neither x_T nor an answer of predict
SAME_PIXELS = 2e-3  # rounding between what decode gave and what draw returns

Array = np.ndarray[Any, Any]


@functools.lru_cache
def held_out() -> tuple[tuple[int, int], ...]:
    """The pairs (concept, style) that the model was never trained on."""
    vocabulary = pipeline().vocabulary
    assert vocabulary is not None
    names = scene().names
    return tuple(
        (names.index(name), STYLES.index(style))
        for name, style in vocabulary.held_out
        if name in names
    )


@functools.lru_cache
def gallery() -> Scene:
    """The judge and the data, with the held-out pairs among what must not be copied."""
    return scene().with_training(torch.cat([scene().training, torch.tensor(held_out())]))


def order(asked: Array, noise: Array, guidance_scale: float) -> dict[str, Any]:
    """The arguments of one call of `draw`.

    Args:
        asked: (N, 3) concept, style and background of each picture.
        noise: (N, C, h, w) float32.
        guidance_scale: 1 is off.
    """
    texts = captions_of(asked)
    tokenizer = pipeline().tokenizer
    return {
        "prompts": [split_words(text) for text in texts],
        "vocab": tokenizer.vocab,
        "merges": [list(pair) for pair in tokenizer.merges],
        "max_length": tokenizer.model_max_length,
        "x_T": noise,
        "alpha_bar": pipeline().schedule.alpha_bar.numpy(),
        "guidance_scale": guidance_scale,
        "scaling_factor": pipeline().vae.config.scaling_factor,
        "_asked": asked,
        "_texts": texts,
        "_trace": [],  # what the oracles were asked and what they gave, see `draw_oracles`
    }


def example(wanted: Sequence[tuple[str, str, str]], seed: int = 0) -> dict[str, Any]:
    """One call of `draw` for a look in the notebook, and what is hidden from answers with it.

    Args:
        wanted: concept, style and background of each picture, by name.
        seed: of the noise.
    """
    asked = [
        (scene().names.index(c), STYLES.index(s), BACKGROUND_NAMES.index(b)) for c, s, b in wanted
    ]
    noise = np.random.default_rng(seed).standard_normal((len(asked), *latent_shape()))
    return order(np.array(asked), noise.astype(np.float32), GUIDANCE)


def picture_order(
    random: np.random.Generator, pairs: Array, seeds: int, guidance_scale: float
) -> list[dict[str, Any]]:
    """One call: these pairs on backgrounds by chance, some pictures of each."""
    backgrounds = random.integers(len(BACKGROUND_NAMES), size=len(pairs))
    asked = np.repeat(np.column_stack([pairs, backgrounds]), seeds, axis=0)
    noise = random.standard_normal((len(asked), *latent_shape())).astype(np.float32)
    return [order(asked, noise, guidance_scale)]


def seen_pairs(random: np.random.Generator, count: int) -> Array:
    """(count, 2) pairs that the model was trained on, all different."""
    every = scene().training.numpy()
    found: Array = every[random.choice(len(every), count, replace=False)]
    return found


def draw_oracles(given: Mapping[str, Any]) -> Mapping[str, Oracle]:
    """The networks, as they are: no guidance, no conversion, no scaling.

    What they are asked and what they give is kept in `given["_trace"]`.
    """
    trace: list[dict[str, Any]] = given["_trace"]
    trace.clear()
    count = len(given["x_T"])
    shape = given["x_T"].shape[1:]

    @torch.no_grad()
    def encode_text(ids: Any) -> Array:
        found = _ids(ids, 2 * count)
        trace.append({"ids": found})
        states: Array = pipeline().text_encoder(torch.from_numpy(found)).numpy()
        return states

    @torch.no_grad()
    def predict(x_t: Any, t: Any, text_states: Any) -> Array:
        x = validation.floats("x_t", x_t, (count, *shape), (2 * count, *shape))
        time = validation.timestep(t, len(given["alpha_bar"]))
        states = validation.floats("text_states", text_states, (len(x), *_states_shape()))
        times = torch.full((len(x),), time, dtype=torch.int64)
        v: Array = pipeline().unet(torch.from_numpy(x), times, torch.from_numpy(states)).numpy()
        trace.append({"t": time, "x_t": x, "v": v})
        return v

    @torch.no_grad()
    def decode(z: Any) -> Array:
        latents = validation.floats("z", z, (count, *shape))
        pixels: Array = pipeline().vae.decode(torch.from_numpy(latents)).clamp(-1, 1).numpy()
        trace.append({"z": latents, "pixels": pixels})
        return pixels

    return {"encode_text": encode_text, "predict": predict, "decode": decode}


def refuse_other_latents(given: Mapping[str, Any]) -> None:
    """Refuse latents that are neither noise nor the network's, nor sums of these."""
    share = share_from_elsewhere(given)
    if share > MOST_FROM_ELSEWHERE:
        raise Refused(
            f"{share:.0%} of what predict or decode is given is neither x_T nor an answer of "
            "predict, nor a weighted sum of these. Fresh noise, clipped latents and latents from "
            "elsewhere are not part of this chain: between the calls there is only arithmetic."
        )


def share_from_elsewhere(given: Mapping[str, Any]) -> float:
    """The largest share of a picture's latents, of x_t and z alike, that came from elsewhere."""
    return provenance.share_from_elsewhere(
        given["x_T"],
        [
            {"used": event["x_t"], "answer": event["v"]} if "v" in event else {"used": event["z"]}
            for event in given["_trace"]
            if "x_t" in event or "z" in event
        ],
    )


# --- what comes from the learner -----------------------------------------------------------------


def drawn_pictures(given: Mapping[str, Any], value: Any) -> Tensor:
    """The pictures that `draw` gave, if decode made them."""
    expected = (len(given["x_T"]), *_picture_shape())
    pixels = validation.tensor("draw", value, expected, nan_hint=validation.AT_THE_END)
    made = [event["pixels"] for event in given["_trace"] if "pixels" in event]
    if not made:
        raise Refused(
            "draw gives pictures, but decode was not called. Pictures have to be what decode makes "
            "of the finished latents."
        )
    gap = float(np.abs(pixels - made[-1]).max())
    if gap > SAME_PIXELS:
        raise Refused(
            f"The pictures are not what decode gave: a pixel differs by {gap:.2g}. Return them as "
            "they come, in [-1, 1], in the order of the prompts."
        )
    return torch.from_numpy(made[-1])


def _picture_shape() -> tuple[int, int, int]:
    config = pipeline().vae.config
    return config.out_channels, config.sample_size, config.sample_size


def _states_shape() -> tuple[int, int]:
    config = pipeline().text_encoder.config
    return pipeline().tokenizer.model_max_length, config.hidden_size


def _ids(ids: Any, most: int) -> Array:
    length, known = _states_shape()[0], len(pipeline().tokenizer)
    if not isinstance(ids, np.ndarray) or ids.dtype.kind != "i":
        kind = ids.dtype if isinstance(ids, np.ndarray) else type(ids).__name__
        raise ValueError(f"ids is a {kind}; expected an int64 tensor (N, {length})")
    if ids.ndim != 2 or ids.shape[1] != length or not 1 <= len(ids) <= most:
        raise ValueError(f"ids has shape {ids.shape}; expected (1 to {most}, {length})")
    if ids.min() < 0 or ids.max() >= known:
        raise ValueError(f"ids goes from {ids.min()} to {ids.max()}; expected 0 to {known - 1}")
    return ids.astype(np.int64)
