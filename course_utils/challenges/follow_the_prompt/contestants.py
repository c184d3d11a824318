"""Contestants of challenge 05: noise, orders copied, weak and loud guidance, the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.challenges.follow_the_prompt.ask import SETUP
from course_utils.challenges.network import BACKGROUND_NAMES, pipeline, scene
from course_utils.data.captions import STYLES

Functions = Mapping[str, Callable[..., Any]]
Predict = Callable[..., Tensor]
Writer = Callable[..., tuple[str, str]]
Scale = Callable[[int], float]

_given: dict[str, Any] = {}
exec(SETUP, _given)
carry: Callable[..., Tensor] = _given["carry"]


# --- words ---------------------------------------------------------------------------------------


def meaning(words: Sequence[str], dictionary: Mapping[str, Any]) -> dict[str, list[str]]:
    """What words mean, by kind."""
    found: dict[str, list[str]] = {"thing": [], "style": [], "background": []}
    for word in words:
        if word in dictionary:
            found[dictionary[word]["kind"]].append(dictionary[word]["means"])
    return found


def caption(things: Sequence[str], styles: Sequence[str], backgrounds: Sequence[str]) -> str:
    """In the form of captions."""
    named = [f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}" for thing in things]
    parts = [*named, *(f"{style} style" for style in styles)]
    return ", ".join([*parts, *(f"on a {background} background" for background in backgrounds)])


def in_captions(
    wants: Sequence[str], without: Sequence[str], dictionary: Mapping[str, Any], **hidden: Any
) -> tuple[str, str]:
    """The negative prompt says the whole order, but with what is ruled out."""
    want, avoid = meaning(wants, dictionary), meaning(without, dictionary)
    prompt = caption(want["thing"], want["style"], want["background"])
    if not avoid["style"] and not avoid["background"]:
        return prompt, ""
    return prompt, caption(
        want["thing"], avoid["style"] or want["style"], avoid["background"] or want["background"]
    )


def short_negative(
    wants: Sequence[str], without: Sequence[str], dictionary: Mapping[str, Any], **hidden: Any
) -> tuple[str, str]:
    """The negative prompt says what is ruled out and nothing else."""
    avoid = meaning(without, dictionary)
    negative = caption([], avoid["style"], avoid["background"])
    return in_captions(wants, without, dictionary)[0], negative


def no_negative(
    wants: Sequence[str], without: Sequence[str], dictionary: Mapping[str, Any], **hidden: Any
) -> tuple[str, str]:
    return in_captions(wants, without, dictionary)[0], ""


def vague(
    wants: Sequence[str], without: Sequence[str], dictionary: Mapping[str, Any], **hidden: Any
) -> tuple[str, str]:
    """The thing alone."""
    return caption(meaning(wants, dictionary)["thing"], [], []), ""


def copied(wants: Sequence[str], without: Sequence[str], **hidden: Any) -> tuple[str, str]:
    """The customer's own words."""
    return ", ".join(wants), ", ".join(without)


def style_by_name(
    wants: Sequence[str], without: Sequence[str], dictionary: Mapping[str, Any], **hidden: Any
) -> tuple[str, str]:
    """Where the style is open, the prompt names one that is not ruled out."""
    want, avoid = meaning(wants, dictionary), meaning(without, dictionary)
    styles = want["style"] or [s for s in ("noto", "3d", "flat") if s not in avoid["style"]][:1]
    return caption(want["thing"], styles, want["background"]), ""


# --- guidance ------------------------------------------------------------------------------------


def guided(scale: float, steps: int = 8, low: int = 0, high: int = 99) -> Callable[..., Tensor]:
    """Guidance away from the negative prompt at steps low to high - 1; 1 is off."""

    def draw(x_T: Tensor, alpha_bar: Tensor, predict: Predict, **others: Any) -> Tensor:
        def guess(x_t: Tensor, t: int, step: int) -> Tensor:
            cond = predict("prompt", x_t, t)
            if scale == 1 or not low <= step < high:
                return cond
            uncond = predict("negative", x_t, t)
            return uncond + scale * (cond - uncond)

        return carry(x_T, alpha_bar, guess, steps)

    return draw


def reference(
    x_T: Tensor,
    alpha_bar: Tensor,
    predict: Predict,
    negative_prompts: Sequence[str],
    **others: Any,
) -> Tensor:
    """Away from the negative prompt by a push of one size, towards the prompt until late."""
    avoid = torch.tensor([len(text) > 0 for text in negative_prompts]).view(-1, 1, 1, 1)

    def guess(x_t: Tensor, t: int, step: int) -> Tensor:
        cond = predict("prompt", x_t, t)
        found = cond
        if 2 <= step < 7:
            found = found + (cond - predict("empty", x_t, t))
        if 2 <= step < 5 and bool(avoid.any()):
            push = cond - predict("negative", x_t, t)
            size = push.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            found = found + 1.2 * avoid * push / size.clamp(min=0.04)
        return found

    return carry(x_T, alpha_bar, guess)


def noise(x_T: Tensor, **others: Any) -> Tensor:
    return x_T


def one_look(x_T: Tensor, predict: Predict, **others: Any) -> Tensor:
    return predict("prompt", x_T, 999)


def without_noise(x_T: Tensor, **others: Any) -> Tensor:
    """The same start for all pictures."""
    return reference(torch.zeros_like(x_T), **others)


def turned(x_T: Tensor, **others: Any) -> Tensor:
    """Other noise, from which the network may well draw another style."""
    return guided(1)(-x_T, **others)


@torch.no_grad()
def real(x_T: Tensor, _asked: Sequence[Mapping[str, Any]], **others: Any) -> Tensor:
    """Latents of the artists' own pictures, a little noisy; in noto where the style is open."""
    names, colours = scene().names, BACKGROUND_NAMES
    pairs = [
        (names.index(order["thing"]), STYLES.index(order["style"] or "noto")) for order in _asked
    ]
    ground = [colours.index(order["background"]) for order in _asked]
    pixels = scene().render_pairs(torch.tensor(pairs), torch.tensor(ground))
    return pipeline().vae.to_latents(pixels) + 0.05 * x_T


def _contestants(
    functions: Sequence[tuple[str, Writer, Callable[..., Tensor]]],
) -> dict[str, Functions]:
    return {name: {"write_prompt": write, "draw": draw} for name, write, draw in functions}


CONTESTANTS: Mapping[str, Functions] = _contestants(
    [
        (
            "reference: whole order as negative, a push of one size at steps 2 to 4",
            in_captions,
            reference,
        ),
        ("noise: x_T itself", in_captions, noise),
        ("naive: the customer's words, guidance 2.5", copied, guided(2.5)),
        ("one look: right words, guidance 1", in_captions, one_look),
        ("vague: the thing alone, guidance 2.5", vague, guided(2.5)),
        ("unguided: right words, guidance 1", in_captions, guided(1)),
        ("without a negative prompt, guidance 2.5", no_negative, guided(2.5)),
        ("short negative, guidance 2.5", short_negative, guided(2.5)),
        ("short negative, guidance 4", short_negative, guided(4)),
        ("short negative, guidance 15", short_negative, guided(15)),
        ("whole order as negative, guidance 2.5", in_captions, guided(2.5)),
        ("whole order as negative, guidance 4 at steps 2 to 4", in_captions, guided(4, 8, 2, 5)),
        ("whole order as negative, guidance 7 at steps 2 to 4", in_captions, guided(7, 8, 2, 5)),
        ("whole order as negative, guidance 15", in_captions, guided(15)),
        ("a style by name where it is open, guidance 2.5", style_by_name, guided(2.5)),
        ("reference that starts from 0, not from x_T", in_captions, without_noise),
        ("unguided, with the noise turned around", in_captions, turned),
        ("real pictures, through the autoencoder, a little noisy", in_captions, real),
    ]
)
