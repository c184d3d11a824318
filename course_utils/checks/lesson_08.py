"""Lesson 08, guidance: what is right, and what people get wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from course_utils.checks.claims_08 import SweetSpot
from course_utils.checks.exercise import Case, Exercise, Mistake

SHAPES = ((1, 1, 2, 2), (3, 4, 8, 8), (4, 4, 4, 4), (5, 2))
LARGEST_SCALE = 20.0  # of the sweep


def _like(values: Tensor, x: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), to multiply x of shape (B, ...)."""
    return values.view(-1, *[1] * (x.ndim - 1))


# --- guide ---------------------------------------------------------------------------------------


def guide(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    """uncond + w (cond - uncond)."""
    return uncond + guidance_scale * (cond - uncond)


def _guide_cases(generator: torch.Generator) -> Iterator[Case]:
    for shape, scale in zip((*SHAPES, SHAPES[1]), (7.5, 0.0, 1.0, 3.0, 0.5), strict=True):
        cond, uncond = torch.randn(2, *shape, generator=generator)
        yield Case((cond, uncond, scale))


def _ho_and_salimans(cond: Tensor, uncond: Tensor, w: float) -> Tensor:
    return (1 + w) * cond - w * uncond


def _off_up_to_one(cond: Tensor, uncond: Tensor, w: float) -> Tensor:
    return guide(cond, uncond, w) if w > 1 else cond


# --- drop_conditions -----------------------------------------------------------------------------


def drop_conditions(
    text_states: Tensor, empty_state: Tensor, p: float, generator: torch.Generator
) -> Tensor:
    """Each picture loses its words with probability p: its states become the empty prompt's."""
    dropped = torch.rand(len(text_states), generator=generator) < p  # (B,)
    dropped = dropped.to(text_states.device)[:, None, None]  # (B, 1, 1)
    return torch.where(dropped, empty_state.to(text_states.dtype), text_states)


def _drop_cases(generator: torch.Generator) -> Iterator[Case]:
    for p, length, width in ((0.1, 3, 4), (0.0, 2, 5), (1.0, 2, 5), (0.3, 6, 2)):
        states = torch.randn(8, length, width, generator=generator)
        empty = torch.randn(length, width, generator=generator)
        seed = int(torch.randint(2**31, (), generator=generator))
        words = f"p = {p:g}, 8 pictures, text states of {length} x {width}, 300 draws"
        yield Case((states, empty, p, seed), label=words)


def _call_drop(candidate: Callable[..., Any], case: Case) -> Any:
    """What a candidate does over many draws, in words that chance does not change."""
    states, empty, p, seed = case.args
    source, before = torch.Generator().manual_seed(seed), torch.random.get_rng_state()
    marks, first = [], None
    for turn in range(300):
        given, nothing = states.clone(), empty.clone()
        got = candidate(given, nothing, p, source)
        if not isinstance(got, Tensor) or got.shape != states.shape or got.dtype != states.dtype:
            return got  # the comparison says what is wrong with it
        first = got.clone() if turn == 0 else first
        if not torch.equal(given, states) or not torch.equal(nothing, empty):
            return {"arguments after the call": "changed in place"}
        new = (got == empty).flatten(1).all(dim=1)  # (B,)
        kept = (got == states).flatten(1).all(dim=1)
        marks.append(torch.where(new, 1.0, torch.where(kept, 0.0, torch.nan)))
    assert isinstance(first, Tensor)
    found = torch.stack(marks)  # (300, B): 1 replaced, 0 kept, NaN neither
    whole = bool(found.isfinite().all())
    again = candidate(states.clone(), empty.clone(), p, torch.Generator().manual_seed(seed))
    used = not torch.equal(before, torch.random.get_rng_state())
    repeats = torch.equal(again, first) and not used
    return {
        "share dropped": _share(found, p) if whole else "unknown",
        "picture": "whole" if whole else "mixed",
        "batch": _together(found, p) if whole else "unknown",
        "chance": "generator" if repeats else "elsewhere",
    }


def _share(found: Tensor, p: float) -> str:
    share, count = float(found.mean()), found.numel()
    for name, wanted in (("p", p), ("1 - p", 1 - p), ("none", 0.0), ("all", 1.0)):
        if abs(share - wanted) <= 5 * math.sqrt(wanted * (1 - wanted) / count) + 1e-9:
            return name
    # All pictures of a batch at once: as if there were far fewer draws.
    loose = 5 * math.sqrt(p * (1 - p) / len(found))
    return "p" if abs(share - p) <= loose else f"about {share:.1f}"


def _together(found: Tensor, p: float) -> str:
    """Whether the pictures of a batch are always treated alike, where chance would not do it."""
    alike = bool((found == found[:, :1]).all())
    return "all alike" if alike and 0 < p < 1 else "each for itself"


def _drop_kept(states: Tensor, empty: Tensor, p: float, generator: torch.Generator) -> Tensor:
    return drop_conditions(states, empty, 1 - p, generator)


def _drop_batch(states: Tensor, empty: Tensor, p: float, generator: torch.Generator) -> Tensor:
    if torch.rand((), generator=generator) < p:
        return empty.expand_as(states).clone()
    return states.clone()


def _drop_tokens(states: Tensor, empty: Tensor, p: float, generator: torch.Generator) -> Tensor:
    dropped = torch.rand(states.shape[:2], generator=generator) < p
    return torch.where(dropped[..., None], empty, states)


def _drop_to_zero(states: Tensor, empty: Tensor, p: float, generator: torch.Generator) -> Tensor:
    dropped = torch.rand(len(states), generator=generator) < p
    return states * (~dropped)[:, None, None]


def _drop_unseeded(states: Tensor, empty: Tensor, p: float, generator: torch.Generator) -> Tensor:
    dropped = torch.rand(len(states)) < p
    return torch.where(dropped[:, None, None], empty, states)


def _drop_in_place(states: Tensor, empty: Tensor, p: float, generator: torch.Generator) -> Tensor:
    dropped = torch.rand(len(states), generator=generator) < p
    states[dropped] = empty
    return states


def _drop_always(states: Tensor, empty: Tensor, p: float, generator: torch.Generator) -> Tensor:
    return empty.expand_as(states).clone()


def _drop_never(states: Tensor, empty: Tensor, p: float, generator: torch.Generator) -> Tensor:
    torch.rand(len(states), generator=generator)
    return states.clone()


# --- negative_prompt -----------------------------------------------------------------------------


def negative_prompt(
    denoiser: Callable[[Tensor, Tensor, Tensor], Tensor],
    x_t: Tensor,
    t: Tensor,
    text_states: Tensor,
    negative_states: Tensor,
    guidance_scale: float,
) -> Tensor:
    """Guidance away from the negative prompt, with one call of the denoiser for 2B pictures."""
    both = denoiser(
        torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([negative_states, text_states])
    )
    without, with_prompt = both.chunk(2)  # (B, ...) each
    return guide(with_prompt, without, guidance_scale)


def toy_denoiser(x_t: Tensor, t: Tensor, states: Tensor) -> Tensor:
    """Stands for the U-Net in checks: every picture's answer depends on its own x, t and words."""
    if not len(x_t) == len(t) == len(states):
        raise ValueError(
            f"the denoiser got {len(x_t)} pictures, {len(t)} timesteps and {len(states)} prompts"
        )
    push = _like(states.flatten(1).mean(dim=1), x_t)  # (B, 1, ..., 1)
    slow = _like(t.to(x_t.dtype), x_t) / 1000
    return torch.tanh(x_t + push * x_t.flip(-1)) + slow * push


def _negative_cases(generator: torch.Generator) -> Iterator[Case]:
    rows = zip(((1, 1, 2, 2), (3, 4, 8, 8), (4, 4, 4, 4)), (7.5, 3.0, 0.0), strict=True)
    for shape, scale in (*rows, ((3, 4, 8, 8), 1.0)):
        x_t = torch.randn(shape, generator=generator)
        t = torch.randint(1000, (shape[0],), generator=generator)
        text, negative = 3 * torch.randn(2, shape[0], 5, 6, generator=generator)
        words = f"a batch of {shape[0]}, x_t of shape {tuple(shape)}, guidance_scale = {scale}"
        yield Case((toy_denoiser, x_t, t, text, negative, scale), label=words)


def _negative_error(error: Exception, case: Case) -> str | None:
    text = str(error)
    if "the denoiser got" in text:
        return (
            f"The batches don't fit: {text}. x_t, t and the states must all be doubled, with "
            "`torch.cat([.., ..])` along dimension 0, so that each picture is looked at twice."
        )
    if isinstance(error, TypeError) and "cat()" in text:
        return "`torch.cat` wants the tensors in a list: `torch.cat([a, b])`."
    return None


def _negative_swapped(
    denoiser: Any, x_t: Tensor, t: Tensor, text: Tensor, negative: Tensor, w: float
) -> Tensor:
    return negative_prompt(denoiser, x_t, t, negative, text, w)


def _negative_zeros(
    denoiser: Any, x_t: Tensor, t: Tensor, text: Tensor, negative: Tensor, w: float
) -> Tensor:
    return negative_prompt(denoiser, x_t, t, text, torch.zeros_like(text), w)


def _negative_taken_off(
    denoiser: Any, x_t: Tensor, t: Tensor, text: Tensor, negative: Tensor, w: float
) -> Tensor:
    return denoiser(x_t, t, text) - w * denoiser(x_t, t, negative)


def _negative_ho(
    denoiser: Any, x_t: Tensor, t: Tensor, text: Tensor, negative: Tensor, w: float
) -> Tensor:
    return negative_prompt(denoiser, x_t, t, text, negative, 1 + w)


def _negative_states_mixed(
    denoiser: Any, x_t: Tensor, t: Tensor, text: Tensor, negative: Tensor, w: float
) -> Tensor:
    return denoiser(x_t, t, guide(text, negative, w))


def _negative_every_other(
    denoiser: Any, x_t: Tensor, t: Tensor, text: Tensor, negative: Tensor, w: float
) -> Tensor:
    both = denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([negative, text]))
    return guide(both[1::2], both[::2], w)


def _negative_prompt_only(
    denoiser: Any, x_t: Tensor, t: Tensor, text: Tensor, negative: Tensor, w: float
) -> Tensor:
    return w * denoiser(x_t, t, text)


# --- rescale -------------------------------------------------------------------------------------


def rescale(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    """Mix the guided prediction with one that has the standard deviation of cond."""
    axes = list(range(1, guided.ndim))
    ratio = cond.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)  # (B, 1, ..., 1)
    return phi * (guided * ratio) + (1 - phi) * guided


def _rescale_cases(generator: torch.Generator) -> Iterator[Case]:
    shapes = ((2, 1, 2, 2), (3, 4, 8, 8), (4, 4, 4, 4), (5, 6))
    for shape, phi in zip((*shapes, shapes[1]), (0.7, 1.0, 0.5, 0.7, 0.0), strict=True):
        cond, uncond = torch.randn(2, *shape, generator=generator)
        size = 0.5 + torch.rand(shape[0], generator=generator)  # pictures of unequal contrast
        cond = _like(size, cond) * cond + 0.5
        yield Case((guide(cond, uncond, 6.0), cond, phi))


def _rescale_batch(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    return phi * guided * cond.std() / guided.std() + (1 - phi) * guided


def _rescale_inverted(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    axes = list(range(1, guided.ndim))
    ratio = guided.std(dim=axes, keepdim=True) / cond.std(dim=axes, keepdim=True)
    return phi * guided * ratio + (1 - phi) * guided


def _rescale_variance(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    axes = list(range(1, guided.ndim))
    ratio = cond.var(dim=axes, keepdim=True) / guided.var(dim=axes, keepdim=True)
    return phi * guided * ratio + (1 - phi) * guided


def _rescale_channel(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    axes = list(range(2 if guided.ndim > 2 else 1, guided.ndim))
    ratio = cond.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
    return phi * guided * ratio + (1 - phi) * guided


def _rescale_with_cond(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    return phi * rescale(guided, cond, 1.0) + (1 - phi) * cond


def _rescale_around_mean(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    axes = list(range(1, guided.ndim))
    mean = guided.mean(dim=axes, keepdim=True)
    return phi * (rescale(guided - mean, cond, 1.0) + mean) + (1 - phi) * guided


def _rescale_unshaped(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    axes = list(range(1, guided.ndim))
    return phi * (guided * (cond.std(dim=axes) / guided.std(dim=axes))) + (1 - phi) * guided


# --- interval ------------------------------------------------------------------------------------


def interval(
    cond: Tensor, uncond: Tensor, t: Tensor, guidance_scale: float, low: float, high: float
) -> Tensor:
    """Guidance where low <= t < high; elsewhere the prompt alone, which is scale 1."""
    inside = (t >= low) & (t < high)  # (B,)
    w = torch.where(inside, guidance_scale, 1.0).to(cond.dtype)  # (B,)
    return uncond + w.view(-1, *[1] * (cond.ndim - 1)) * (cond - uncond)


def _interval_cases(generator: torch.Generator) -> Iterator[Case]:
    rows = (
        ((2, 1, 2, 2), [150, 900], 7.5),
        ((4, 4, 4, 4), [999, 500, 200, 100], 4.0),  # 200 is the lower end, inside
        ((3, 4, 8, 8), [700, 699, 0], 0.0),  # 700 is the upper end, outside
        ((4, 4, 4, 4), [300, 300, 300, 300], 12.0),
        ((3, 2), [700, 200, 450], 3.0),
        ((3, 4, 8, 8), [950, 950, 950], 5.0),
    )
    for shape, t, scale in rows:
        low, high = (100, 600) if shape[0] == 2 else (200, 700)
        cond, uncond = torch.randn(2, *shape, generator=generator)
        words = f"x of shape {shape}, t = {t}, guidance_scale = {scale}, {low} <= t < {high}"
        yield Case((cond, uncond, torch.tensor(t), scale, low, high), label=words)


def _interval_where(
    inside: Tensor, cond: Tensor, uncond: Tensor, w: float, outside: float = 1.0
) -> Tensor:
    return guide(cond, uncond, 1.0) + _like(
        torch.where(inside, w - 1, outside - 1).to(cond.dtype), cond
    ) * (cond - uncond)


def _interval_uncond(
    cond: Tensor, uncond: Tensor, t: Tensor, w: float, low: float, high: float
) -> Tensor:
    return _interval_where((t >= low) & (t < high), cond, uncond, w, outside=0.0)


def _interval_inverted(
    cond: Tensor, uncond: Tensor, t: Tensor, w: float, low: float, high: float
) -> Tensor:
    return _interval_where(~((t >= low) & (t < high)), cond, uncond, w)


def _interval_closed(
    cond: Tensor, uncond: Tensor, t: Tensor, w: float, low: float, high: float
) -> Tensor:
    return _interval_where((t >= low) & (t <= high), cond, uncond, w)


def _interval_open(
    cond: Tensor, uncond: Tensor, t: Tensor, w: float, low: float, high: float
) -> Tensor:
    return _interval_where((t > low) & (t < high), cond, uncond, w)


def _interval_half_open(
    cond: Tensor, uncond: Tensor, t: Tensor, w: float, low: float, high: float
) -> Tensor:
    return _interval_where((t > low) & (t <= high), cond, uncond, w)


def _interval_first(
    cond: Tensor, uncond: Tensor, t: Tensor, w: float, low: float, high: float
) -> Tensor:
    return guide(cond, uncond, w) if low <= t[0] < high else cond


def _interval_any(
    cond: Tensor, uncond: Tensor, t: Tensor, w: float, low: float, high: float
) -> Tensor:
    return guide(cond, uncond, w) if bool(((t >= low) & (t < high)).any()) else cond


def _interval_all(
    cond: Tensor, uncond: Tensor, t: Tensor, w: float, low: float, high: float
) -> Tensor:
    return guide(cond, uncond, w) if bool(((t >= low) & (t < high)).all()) else cond


def _interval_either(
    cond: Tensor, uncond: Tensor, t: Tensor, w: float, low: float, high: float
) -> Tensor:
    return _interval_where((t >= low) | (t < high), cond, uncond, w)


def _interval_unshaped(
    cond: Tensor, uncond: Tensor, t: Tensor, w: float, low: float, high: float
) -> Tensor:
    return uncond + torch.where((t >= low) & (t < high), w, 1.0).to(cond.dtype) * (cond - uncond)


def _interval_error(error: Exception, case: Case) -> str | None:
    if "more than one value is ambiguous" in str(error):
        return (
            "`if low <= t < high` asks one question, and t holds one timestep for each picture. "
            "Make a tensor of answers with `(t >= low) & (t < high)`, and choose with `torch.where`"
            "."
        )
    return None


# --- sweet_spot ----------------------------------------------------------------------------------


def _sweet_spot_open(value: Any) -> bool:
    return value is None or (isinstance(value, SweetSpot) and value.scale is None)


def _sweet_spot_problem(value: Any) -> str | None:
    """What is wrong with a marked sweet spot; None if it keeps its own promises."""
    if not isinstance(value, SweetSpot):
        return "Hand over a SweetSpot(my_scale, my_least_alignment, my_most_saturation, live)."
    asked = (
        ("my_scale", value.scale, LARGEST_SCALE),
        ("my_least_alignment", value.least_alignment, 1.0),
        ("my_most_saturation", value.most_saturation, 1.0),
    )
    for name, number, most in asked:
        if isinstance(number, Tensor) and number.numel() == 1:
            number = number.item()
        if isinstance(number, bool) or not isinstance(number, int | float):
            return f"{name} is {number!r}; expected a number from 0 to {most:g}."
        if not (math.isfinite(number) and 0 <= number <= most):
            return f"{name} is {number:g}; expected a number from 0 to {most:g}."
    scale = float(value.scale or 0)
    if value.measured is None:
        return "There is no measured curve to hold it against; run the cell that measures first."
    alignment = value.measured.line("alignment").at(scale)
    saturation = value.measured.line("saturation").at(scale)
    if alignment < float(value.least_alignment or 0):
        return (
            f"At scale {scale:g} your curve says alignment {alignment:.3f}, and you asked for at "
            f"least {value.least_alignment:g}. Choose a scale where the curve is higher, or ask "
            "for less."
        )
    if saturation > float(value.most_saturation or 0):
        return (
            f"At scale {scale:g} your curve says saturation {saturation:.3f}, and you allowed at "
            f"most {value.most_saturation:g}. Choose a scale with quieter colours, or allow more."
        )
    return None


_HALF = "a half-open interval: low belongs to it, high does not, `(t >= low) & (t < high)`."

EXERCISES = (
    Exercise(
        "08.guide",
        guide,
        _guide_cases,
        hints=(
            "Draw the two answers as points. Where do you stand at w = 0, and where at w = 1?",
            "Start at uncond, and walk w times the way that leads to cond.",
            "return uncond + guidance_scale * (the difference, cond first)",
        ),
        difficulty=1,
        minutes=4,
        mistakes=(
            Mistake(
                "This is equation 6 of Ho and Salimans, where 0 means off. Here 1 means off, as in "
                "diffusers: their w' is our w - 1. Start at uncond and not at cond.",
                _ho_and_salimans,
            ),
            Mistake(
                "You treat every scale up to 1 as off. Here only 1 is off: 0 gives the answer "
                "without the prompt, and 0.5 the middle of the two. The formula needs no `if`.",
                _off_up_to_one,
            ),
            Mistake(
                "You walk from cond towards uncond: the two are swapped. Start at uncond; the "
                "difference is cond - uncond.",
                lambda cond, uncond, w: cond + w * (uncond - cond),
            ),
            Mistake(
                "The difference points the wrong way: cond - uncond leads towards the prompt, "
                "uncond - cond away from it.",
                lambda cond, uncond, w: uncond - w * (cond - uncond),
            ),
            Mistake(
                "The starting point is missing: this is only the way, w (cond - uncond). Add "
                "uncond.",
                lambda cond, uncond, w: w * (cond - uncond),
            ),
            Mistake(
                "You add w times the whole conditional prediction. Only the difference cond - "
                "uncond is scaled.",
                lambda cond, uncond, w: uncond + w * cond,
            ),
            Mistake(
                "You only scale the conditional prediction. Guidance scales its difference to the "
                "unconditional one.",
                lambda cond, uncond, w: w * cond,
            ),
        ),
        gradients=("cond", "uncond"),
        keeps_dtype=True,
        keeps_device=True,
    ),
    Exercise(
        "08.drop_conditions",
        drop_conditions,
        _drop_cases,
        hints=(
            "Toss one coin for each picture of the batch: `torch.rand(B, generator=generator)`.",
            "A number below p says: this picture loses its words. Give the answers the shape "
            "(B, 1, 1), and choose between two tensors with torch.where.",
            "torch.where(dropped[:, None, None], empty_state, text_states)",
        ),
        difficulty=2,
        minutes=6,
        call=_call_drop,
        mistakes=(
            Mistake(
                "It changes text_states in place, so the caller's captions are lost. Use "
                "torch.where, or work on text_states.clone().",
                _drop_in_place,
            ),
            Mistake(
                "Words are kept with probability p and dropped with 1 - p: the comparison is the "
                "wrong way round. A draw below p means dropped.",
                _drop_kept,
            ),
            Mistake(
                "The whole batch keeps or loses its words together. Draw one number for each "
                "picture: torch.rand(B, generator=generator).",
                _drop_batch,
            ),
            Mistake(
                "The draws do not come from generator. Pass generator=generator to torch.rand, so "
                "that training can be repeated.",
                _drop_unseeded,
            ),
            Mistake(
                "Every picture loses its words. Only those whose draw is below p do.",
                _drop_always,
            ),
            Mistake(
                "No picture ever loses its words. Those whose draw is below p get empty_state.",
                _drop_never,
            ),
            Mistake(
                "Single tokens are replaced. A picture keeps all its states, or gets all of "
                "empty_state: draw B numbers, not B x L.",
                _drop_tokens,
            ),
            Mistake(
                "Some states are neither their own nor the empty prompt's: zeros, or numbers that "
                "were scaled as nn.Dropout does. Zeros are no prompt; put empty_state there.",
                _drop_to_zero,
            ),
        ),
    ),
    Exercise(
        "08.negative_prompt",
        negative_prompt,
        _negative_cases,
        hints=(
            "Nothing in the formula says that uncond must come from the empty prompt.",
            "Double x_t, t and the states with torch.cat, call the denoiser once, and cut its "
            "answer into two halves with chunk(2).",
            "both = denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), "
            "torch.cat([negative_states, text_states])), and the first half is uncond",
        ),
        difficulty=3,
        minutes=8,
        on_error=_negative_error,
        mistakes=(
            Mistake(
                "Prompt and negative prompt are swapped: the picture would flee from what was "
                "asked. The first half of the answer belongs to whatever came first in torch.cat.",
                _negative_swapped,
            ),
            Mistake(
                "The negative prompt has no effect: zeros stand in its place. negative_states go "
                "where the empty prompt's states were.",
                _negative_zeros,
            ),
            Mistake(
                "You subtract w times the whole negative prediction. The negative prompt takes "
                "the place of uncond in uncond + w (cond - uncond).",
                _negative_taken_off,
            ),
            Mistake(
                "You add the way to the conditional answer, as Ho and Salimans do. Here w = 1 is "
                "off: start at the negative answer.",
                _negative_ho,
            ),
            Mistake(
                "You mix the text states and ask once. Guidance mixes the two answers of the "
                "denoiser; it is not linear, so this is something else.",
                _negative_states_mixed,
            ),
            Mistake(
                "You take every other picture. After torch.cat the two looks lie one after the "
                "other, B and B: cut with chunk(2).",
                _negative_every_other,
            ),
            Mistake(
                "The negative look is missing: you only scale the answer with the prompt.",
                _negative_prompt_only,
            ),
        ),
        keeps_dtype=True,
    ),
    Exercise(
        "08.rescale",
        rescale,
        _rescale_cases,
        hints=(
            "Which dimensions belong to one picture? All but the first.",
            "ratio = std of cond over std of guided, both with keepdim=True; then mix the scaled "
            "prediction and the plain one with phi and 1 - phi.",
            "phi * (guided * ratio) + (1 - phi) * guided, with dim=list(range(1, guided.ndim))",
        ),
        difficulty=2,
        minutes=6,
        mistakes=(
            Mistake(
                "One standard deviation for the whole batch: then each picture depends on its "
                "neighbours. Take it over every dimension but the first, with keepdim=True.",
                _rescale_batch,
            ),
            Mistake(
                "The ratio is upside down: std(cond) over std(guided) brings the contrast back.",
                _rescale_inverted,
            ),
            Mistake(
                "These are variances. The ratio is one of standard deviations, their roots.",
                _rescale_variance,
            ),
            Mistake(
                "You rescale each channel for itself. The paper takes one number for each picture: "
                "the deviation over every dimension but the first, channels included.",
                _rescale_channel,
            ),
            Mistake(
                "You always rescale fully. phi mixes: phi of the rescaled prediction and 1 - phi "
                "of the guided one.",
                lambda guided, cond, phi: rescale(guided, cond, 1.0),
            ),
            Mistake(
                "phi and 1 - phi are swapped: phi is the share of the rescaled prediction.",
                lambda guided, cond, phi: rescale(guided, cond, 1 - phi),
            ),
            Mistake(
                "You mix with cond. The mix is between the rescaled and the guided prediction, "
                "otherwise 1 - phi of the guidance is lost.",
                _rescale_with_cond,
            ),
            Mistake(
                "You scale around the mean. Equation 15 multiplies the whole prediction, its mean "
                "included.",
                _rescale_around_mean,
            ),
            Mistake(
                "The standard deviations have shape (B,), so they line up with the last dimension "
                "of the pictures and not with the first. keepdim=True makes them (B, 1, 1, 1).",
                _rescale_unshaped,
            ),
        ),
        gradients=("guided", "cond"),
        keeps_dtype=True,
        keeps_device=True,
    ),
    Exercise(
        "08.interval",
        interval,
        _interval_cases,
        hints=(
            "A picture outside the interval is drawn as if the scale were 1.",
            "Make a scale for each picture: torch.where(inside, guidance_scale, 1.0), with inside "
            "= (t >= low) & (t < high).",
            "Give that scale the shape (B, 1, 1, 1): w.view(-1, *[1] * (cond.ndim - 1)), and use "
            "it in uncond + w * (cond - uncond).",
        ),
        difficulty=3,
        minutes=7,
        on_error=_interval_error,
        mistakes=(
            Mistake(
                "Outside the interval you fall back to the answer without the prompt. There the "
                "prompt speaks plainly: scale 1, not 0.",
                _interval_uncond,
            ),
            Mistake(
                "Inside and outside are swapped: guidance belongs where low <= t < high.",
                _interval_inverted,
            ),
            Mistake(f"t = high is guided, too. Take {_HALF}", _interval_closed),
            Mistake(f"t = low is left out. Take {_HALF}", _interval_open),
            Mistake(
                f"t = low is left out and t = high is guided. Take {_HALF}", _interval_half_open
            ),
            Mistake(
                "The first picture's timestep decides for all. t holds one timestep for each "
                "picture: choose with torch.where.",
                _interval_first,
            ),
            Mistake(
                "One picture inside makes you guide all of them. Decide for each picture, with "
                "torch.where.",
                _interval_any,
            ),
            Mistake(
                "You guide only if every picture is inside. Decide for each picture, with "
                "torch.where.",
                _interval_all,
            ),
            Mistake(
                "Every timestep is guided: `t >= low` or `t < high` always holds. Both must, `&`.",
                _interval_either,
            ),
            Mistake(
                "The scales have shape (B,), so they line up with the last dimension of the "
                "pictures and not with the first. Give them (B, 1, 1, 1) with view or [:, None, "
                "None, None].",
                _interval_unshaped,
            ),
        ),
        gradients=("cond", "uncond"),
        keeps_dtype=True,
    ),
    Exercise(
        "08.sweet_spot",
        SweetSpot(4.0, 0.5, 0.9),
        lambda generator: (),
        hints=(
            "Look at the plot above: from which scale on does alignment hardly rise?",
            "Among the scales with enough alignment the lowest one costs the least colour and "
            "diversity.",
            "Read the printed table: pick a row whose alignment is at least yours and whose "
            "saturation is at most yours, and write its scale.",
        ),
        difficulty=1,
        minutes=5,
        is_value=True,
        is_open=_sweet_spot_open,
        extra=_sweet_spot_problem,
    ),
)
