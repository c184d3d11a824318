"""Lesson 08, guidance: what is right, and what people get wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from course_utils.checks.claims_08 import SweetSpot
from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.lesson_08_limits import INTERVAL, RESCALE
from course_utils.checks.mistakes import slips

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
    """Whether the pictures of a batch hang together, where chance would not do it."""
    if p in (0, 1):
        return "each for itself"
    if bool((found == found[:, :1]).all()):
        return "all alike"
    counts = found.sum(dim=1)  # of each turn
    return "a fixed number" if bool((counts == counts[0]).all()) else "each for itself"


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


def _negative_extra(candidate: Callable[..., Any]) -> str | None:
    calls = []

    def denoiser(x_t: Tensor, t: Tensor, states: Tensor) -> Tensor:
        calls.append(len(x_t))
        return toy_denoiser(x_t, t, states)

    case = next(_negative_cases(torch.Generator().manual_seed(0)))
    candidate(denoiser, *case.args[1:])
    if len(calls) == 1:
        return None
    return (
        f"The answer is right, but the denoiser is called {len(calls)} times. Ask once, with a "
        "batch of twice the size: torch.cat doubles x_t, t and the states."
    )


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


# --- rescale -------------------------------------------------------------------------------------


# --- interval ------------------------------------------------------------------------------------


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


EXERCISES = (
    Exercise(
        "08.guide",
        guide,
        _guide_cases,
        hints=(
            "Draw the two answers as points. Where do you stand at w = 0, and where at w = 1?",
            "Start at uncond, and walk w times the way that leads to cond.",
            "return uncond + guidance_scale * (...)",
        ),
        difficulty=1,
        minutes=4,
        mistakes=slips(
            """
            ho_and_salimans: `uncond + guidance_scale` -> `cond + guidance_scale`
                This is equation 6 of Ho and Salimans, where 0 means off. Here 1 means off, as in
                diffusers: their w' is our w - 1. Start at uncond and not at cond.
            off_up_to_one:
                `uncond + guidance_scale * (cond - uncond)`
                -> `uncond + guidance_scale * (cond - uncond) if guidance_scale > 1 else cond`
                You treat every scale up to 1 as off. Here only 1 is off: 0 gives the answer without
                the prompt, and 0.5 the middle of the two. The formula needs no `if`.
            swapped:
                `uncond + guidance_scale * (cond - uncond)`
                -> `cond + guidance_scale * (uncond - cond)`
                You walk from cond towards uncond: the two are swapped. Start at uncond; the
                difference is cond - uncond.
            wrong_way: `uncond + ` -> `uncond - `
                The difference points the wrong way: cond - uncond leads towards the prompt, uncond
                - cond away from it.
            way_only: `uncond + ` -> ``
                The starting point is missing: this is only the way, w (cond - uncond). Add uncond.
            whole_cond: `(cond - uncond)` -> `cond`
                You add w times the whole conditional prediction. Only the difference cond - uncond
                is scaled.
            cond_scaled: `uncond + guidance_scale * (cond - uncond)` -> `guidance_scale * cond`
                You only scale the conditional prediction. Guidance scales its difference to the
                unconditional one.
            """
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
            "torch.where(...[:, None, None], empty_state, text_states)",
        ),
        difficulty=2,
        minutes=6,
        call=_call_drop,
        mistakes=slips(
            """
            in_place:
                `return torch.where(dropped, empty_state.to(text_states.dtype), text_states)`
                -> `text_states[dropped[:, 0, 0]] = empty_state\\n    return text_states`
                It changes text_states in place, so the caller's captions are lost. Use torch.where,
                or work on text_states.clone().
            kept: `< p` -> `< 1 - p`
                Words are kept with probability p and dropped with 1 - p: the comparison is the
                wrong way round. A draw below p means dropped.
            whole_batch: `len(text_states), ` -> `1, `
                The whole batch keeps or loses its words together. Draw one number for each picture:
                torch.rand(B, generator=generator).
            unseeded: `, generator=generator` -> ``
                The draws do not come from generator. Pass generator=generator to torch.rand, so
                that training can be repeated.
            always: `< p` -> `< 2`
                Every picture loses its words. Only those whose draw is below p do.
            never: `< p` -> `< 0`
                No picture ever loses its words. Those whose draw is below p get empty_state.
            tokens: `len(text_states), ` -> `text_states.shape[:2], `
                `[:, None, None]` -> `[..., None]`
                Single tokens are replaced. A picture keeps all its states, or gets all of
                empty_state: draw B numbers, not B x L.
            zeros: `empty_state.to(text_states.dtype)` -> `torch.zeros_like(text_states)`
                Some states are neither their own nor the empty prompt's: zeros, or numbers that
                were scaled as nn.Dropout does. Zeros are no prompt; put empty_state there.
            fixed_count:
                `torch.rand(len(text_states), generator=generator) < p`
                -> `torch.randperm(8, generator=generator) < round(8 * p)`
                The same number of pictures loses its words in every batch. Toss a coin for each
                picture, torch.rand(B, generator=generator) < p, so that small batches work too.
            fixed_count_rounded_down:
                `torch.rand(len(text_states), generator=generator) < p`
                -> `torch.randperm(8, generator=generator) < int(8 * p)`
                The same number of pictures loses its words in every batch, and with p = 0.1 and a
                batch of 4 that number is 0. Toss a coin for each picture:
                torch.rand(B, generator=generator) < p.
            """
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
            "torch.cat([negative_states, ...])), and the first half is uncond",
        ),
        difficulty=3,
        minutes=8,
        on_error=_negative_error,
        extra=_negative_extra,
        mistakes=slips(
            """
            swapped: `[negative_states, text_states]` -> `[text_states, negative_states]`
                Prompt and negative prompt are swapped: the picture would flee from what was asked.
                The first half of the answer belongs to whatever came first in torch.cat.
            zeros: `[negative_states,` -> `[torch.zeros_like(text_states),`
                The negative prompt has no effect: zeros stand in its place. negative_states go
                where the empty prompt's states were.
            subtracted:
                `guide(with_prompt, without, guidance_scale)`
                -> `with_prompt - guidance_scale * without`
                You subtract w times the whole negative prediction. The negative prompt takes the
                place of uncond in uncond + w (cond - uncond).
            ho_and_salimans: `without, guidance_scale)` -> `without, 1 + guidance_scale)`
                You add the way to the conditional answer, as Ho and Salimans do. Here w = 1 is off:
                start at the negative answer.
            states_mixed:
                `guide(with_prompt, without, guidance_scale)`
                -> `denoiser(x_t, t, guide(text_states, negative_states, guidance_scale))`
                You mix the text states and ask once. Guidance mixes the two answers of the
                denoiser; it is not linear, so this is something else.
            every_other: `both.chunk(2)` -> `both[::2], both[1::2]`
                You take every other picture. After torch.cat the two looks lie one after the other,
                B and B: cut with chunk(2).
            prompt_only:
                `guide(with_prompt, without, guidance_scale)` -> `guidance_scale * with_prompt`
                The negative look is missing: you only scale the answer with the prompt.
            """
        ),
        keeps_dtype=True,
    ),
    RESCALE,
    INTERVAL,
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
