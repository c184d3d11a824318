"""Pictures of challenge 05: what the network expects, and what is found in what was drawn."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.challenges import provenance, validation
from course_utils.challenges.declare import Refused
from course_utils.challenges.follow_the_prompt.orders import Order
from course_utils.challenges.network import BACKGROUND_NAMES, pipeline, scene
from course_utils.data.captions import STYLES
from course_utils.evaluation import metrics
from course_utils.evaluation.measure import measure
from course_utils.predictions import to_x0

MOST_CLIPPED = {"b": 0.06, "c": 0.03}  # share of values at 0 or 255 above the artists' pictures
MOST_FROM_ELSEWHERE = 0.1  # share of latents that is neither x_T nor an answer of predict

Array = np.ndarray[Any, Any]


@torch.no_grad()
def text_states(texts: Sequence[str]) -> Tensor:
    """States of texts, each of which is encoded once."""
    return torch.stack([_text_state(text) for text in texts])


@functools.lru_cache(maxsize=1024)
@torch.no_grad()
def _text_state(text: str) -> Tensor:
    return pipeline().encode_prompt(text)[0]


@torch.no_grad()
def expected(texts: Sequence[str], x_t: Tensor, t: int) -> Tensor:
    """The pictures that the network expects at a timestep for these texts, as latents."""
    schedule = pipeline().schedule
    times = torch.full((len(x_t),), t, dtype=torch.int64)
    output = pipeline().unet(x_t, times, text_states(texts))
    return to_x0(output, x_t, schedule.alpha_bar[t], schedule.prediction_type)


@dataclass(frozen=True, eq=False)
class Seen:
    """What was found in N pictures, each (N,) true or false but for the numbers."""

    thing: Tensor
    style: Tensor
    background: Tensor
    clipped: float
    saturation: float
    diversity: float
    copies: float


def look_at(value: Any, given: Mapping[str, Any], seeds: int, part: str) -> Seen:
    """Decode latents and look at the pictures; refuse what is no answer to the orders.

    Args:
        value: what `draw` gave.
        given: to `draw`.
        seeds: pictures of each order, which stand side by side.
        part: whose limits apply.
    """
    latents = validation.latents("draw", value, given["x_T"].shape, nan_hint="")
    refuse_other_latents(given, latents)
    pixels = pipeline().decode(torch.from_numpy(latents))
    orders = [Order(**asked) for asked in given["_asked"]]
    thing = torch.tensor([scene().names.index(order.thing) for order in orders])
    background = torch.tensor([BACKGROUND_NAMES.index(order.background) for order in orders])
    verdicts = scene().judge.classify(pixels, thing)
    style = torch.tensor(
        [
            STYLES.index(order.style) if order.style else int(found)
            for order, found in zip(orders, verdicts.style, strict=True)
        ]
    )
    asked = torch.stack([thing, style, background], dim=1)
    values = measure(scene(), pixels, asked).values
    good_style = torch.tensor(
        [
            STYLES[int(found)] == order.style
            if order.style
            else STYLES[int(found)] not in order.no_styles
            for order, found in zip(orders, verdicts.style, strict=True)
        ]
    )
    real = scene().render_pairs(asked[:, :2], background)
    seen = Seen(
        thing=values["object_top1"],
        style=good_style,
        background=values["background"],
        clipped=float((values["clipped"] - metrics.clipped_share(real)).mean()),
        saturation=float((values["saturation"] - metrics.saturation(real)).mean()),
        diversity=float(metrics.pixel_diversity(pixels.unflatten(0, (-1, seeds))).mean()),
        copies=float(values["near_copy"].float().mean()),
    )
    refuse_flaws(seen, part)
    validation.refuse_other_noise(given["x_T"], given["alpha_bar"], given["_trace"])
    return seen


def refuse_other_latents(given: Mapping[str, Any], latents: Array) -> None:
    """Refuse latents from elsewhere.

    The network draws what it was trained on as near to the data as a copy would come, so what tells
    a copy is that it does not come out of x_T and predict.
    """
    found = provenance.share_from_elsewhere(given["x_T"], [*given["_trace"], {"used": latents}])
    if found > MOST_FROM_ELSEWHERE:
        raise Refused(
            f"{found:.0%} of the latents that predict is given, or that come back, are neither x_T "
            "nor an answer of predict, nor a weighted sum of these. The pictures have to come out "
            "of x_T and predict: between the looks there are sums, and factors for whole pictures."
        )


def refuse_flaws(seen: Seen, part: str) -> None:
    validation.refuse_sameness(seen.diversity)
    validation.refuse_oversaturation(
        seen.clipped,
        MOST_CLIPPED[part],
        "A push that is too strong, or that goes on to the last steps, does that.",
    )


def told(seen: Seen, style: str, most: float) -> str:
    count = len(seen.thing)
    return (
        f"Of {count} pictures {share(seen.thing):.0%} show the right thing, "
        f"{share(seen.background):.0%} the right background, {share(seen.style):.0%} {style}. "
        "The share of colour values at the end of the scale lies "
        f"{seen.clipped:+.1%} off the artists' (at most {most:+.0%}), saturation "
        f"{seen.saturation:+.2f}; pictures of one order differ by {seen.diversity:.2g} a pixel (at "
        f"least {validation.LEAST_DIVERSITY:g})."
    )


def share(found: Tensor) -> float:
    return float(found.float().mean())


def details(seen: Seen) -> dict[str, float]:
    return {
        "thing": share(seen.thing),
        "style": share(seen.style),
        "background": share(seen.background),
        "clipped": seen.clipped,
        "saturation": seen.saturation,
        "diversity": seen.diversity,
        "near copies": seen.copies,
    }
