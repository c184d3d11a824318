"""Lesson 07, text to image: what is right, and what people get wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.lesson_07_training import FINETUNE, NEAREST
from course_utils.checks.mistakes import slips
from course_utils.checks.practice import WORDS, TinyDenoiser, schedules, tiny_parts
from course_utils.models import VAE, TextEncoder, Tokenizer, UNet
from course_utils.predictions import to_epsilon, to_x0
from course_utils.schedules import NoiseSchedule

# --- small parts to try answers on ---------------------------------------------------------------

# --- 07.predict ----------------------------------------------------------------------------------


def predict(
    unet: Any,
    x_t: Tensor,
    t: int,
    text_states: Tensor,
    empty_states: Tensor,
    guidance_scale: float,
) -> Tensor:
    """guided = without + w (with - without), from one look at a batch of 2N."""
    states = torch.cat([empty_states, text_states])  # (2N, L, D)
    both = unet(torch.cat([x_t, x_t]), t, states)  # (2N, 4, h, w)
    without_words, with_words = both.chunk(2)  # (N, 4, h, w) each
    return without_words + guidance_scale * (with_words - without_words)


def _predict_cases(generator: torch.Generator) -> Iterator[Case]:
    unet = TinyDenoiser()
    for count, t, scale in ((1, 999, 4.0), (2, 500, 7.5), (3, 20, 1.0)):
        x_t = torch.randn(count, 4, 4, 4, generator=generator)
        text_states, empty_states = torch.randn(2, count, 10, 8, generator=generator)
        label = f"N = {count}, t = {t}, guidance_scale = {scale:g}"
        yield Case((unet, x_t, t, text_states, empty_states, scale), label=label)


def _call_predict(candidate: Any, case: Case) -> Any:
    with torch.no_grad():
        return candidate(*case.args)


PREDICT_MISTAKES = slips(
    """
    backwards: `[empty_states, text_states]` -> `[text_states, empty_states]`
        The push goes the wrong way: away from the prompt. It starts at the answer without words and
        goes towards the one with words. Look at the order of the halves and at the sign.
    plus_one: `+ guidance_scale` -> `+ (1 + guidance_scale)`
        The push is one unit too strong, as if it started at the answer with words (that is the w of
        Ho and Salimans' paper). In this course, as in diffusers, 1.0 means off, so it starts at the
        answer without words.
    with_words_only: `without_words + guidance_scale * (with_words - without_words)` -> `with_words`
        This is the answer with words alone: guidance_scale changes nothing. Look a second time,
        with empty_states, and push from that answer towards this one.
    without_words_only:
        `without_words + guidance_scale * (with_words - without_words)` -> `without_words`
        This is the answer without words alone: the prompt changes nothing. The answer to
        text_states is missing.
    louder:
        `without_words + guidance_scale * (with_words - without_words)`
        -> `guidance_scale * with_words`
        This makes the whole answer guidance_scale times as large. Only the difference between the
        two answers is multiplied.
    push_alone: `without_words + ` -> ``
        This is the push alone. It has to be added to the answer without words.
    no_difference: `(with_words - without_words)` -> `with_words`
        guidance_scale multiplies the whole answer with words. It belongs to the difference: with
        words minus without.
    every_second_row: `both.chunk(2)` -> `both[::2], both[1::2]`
        The two looks are mixed up between pictures: with torch.cat the first N rows are one look
        and the last N the other, so `.chunk(2)` takes them apart, not every second row.
    """
)


# --- 07.draw -------------------------------------------------------------------------------------


@torch.no_grad()
def draw(
    prompts: list[str],
    tokenizer: Tokenizer,
    text_encoder: TextEncoder,
    unet: UNet,
    vae: VAE,
    schedule: NoiseSchedule,
    generator: torch.Generator,
    num_steps: int = 25,
    guidance_scale: float = 2.5,
) -> Tensor:
    """The whole loop: words, noise, U-Net again and again, decoder."""
    # 1 Words
    device = unet.device
    text_states = text_encoder(tokenizer(prompts).to(device))  # (N, L, D)
    empty_states = text_encoder(tokenizer([""] * len(prompts)).to(device))  # (N, L, D)

    # 2 Noise
    size = unet.config.sample_size
    x = torch.randn((len(prompts), 4, size, size), generator=generator).to(device)

    # 3 U-Net, again and again
    timesteps = schedule.timesteps(num_steps).tolist()
    for i, t in enumerate(timesteps):
        output = predict(unet, x, t, text_states, empty_states, guidance_scale)
        alpha_bar_t, alpha_bar_next = schedule.alpha_bar[t], torch.ones(())
        if i + 1 < num_steps:
            alpha_bar_next = schedule.alpha_bar[timesteps[i + 1]]
        x0 = to_x0(output, x, alpha_bar_t, schedule.prediction_type)
        epsilon = to_epsilon(output, x, alpha_bar_t, schedule.prediction_type)
        x = alpha_bar_next.sqrt() * x0 + (1 - alpha_bar_next).sqrt() * epsilon

    # 4 Decoder
    return vae.decode(x / vae.config.scaling_factor).clamp(-1, 1)


def _draw_cases(generator: torch.Generator) -> Iterator[Case]:
    own, stable = schedules()
    tokenizer, text_encoder, unet, vae = tiny_parts()
    quick = TinyDenoiser()
    cases = (
        (1, quick, own, {"num_steps": 4}, "one prompt, 4 steps, v prediction"),
        (2, quick, own, {"num_steps": 5, "guidance_scale": 1.0}, "two prompts, guidance off"),
        (3, unet, stable, {"num_steps": 5, "guidance_scale": 7.5}, "the U-Net predicts epsilon"),
    )
    for count, denoiser, schedule, options, label in cases:
        seed = int(torch.randint(2**31, (), generator=generator))
        parts = (tokenizer, text_encoder, denoiser, vae, schedule)
        yield Case((list(WORDS[:count]), *parts, seed), options, label)


def _call_draw(candidate: Any, case: Case) -> Any:
    """Noise that does not come from the generator is always the same here, to be recognised."""
    *args, seed = case.args
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return candidate(*args, torch.Generator().manual_seed(seed), **case.kwargs)


def _draw_error(error: Exception, case: Case) -> str | None:
    if isinstance(error, IndexError):
        return (
            "It looks one place beyond the end of the list of timesteps, or of a table. After the "
            "last timestep there is no next one: alpha_bar_next is 1 there."
        )
    return None


DRAW_MISTAKES = slips(
    """
    no_factor: ` / vae.config.scaling_factor` -> ``
        The latents go into the decoder as they are. The U-Net works on latents of unit variance,
        the decoder does not: divide by vae.config.scaling_factor before vae.decode.
    times_factor: `/ vae.config` -> `* vae.config`
        The latents are multiplied by vae.config.scaling_factor. That is the way in, after the
        encoder; on the way out they are divided by it.
    no_clamp: `.clamp(-1, 1)` -> ``
        The decoder's numbers leave [-1, 1], and a picture has to stay inside: clamp them at the
        end.
    0_to_1: `.clamp(-1, 1)` -> `.div(2).add(0.5).clamp(0, 1)`
        These are pixels from 0 to 1. In this course pictures lie in [-1, 1], as the decoder gives
        them.
    backwards:
        `text_states, empty_states, guidance_scale` -> `empty_states, text_states, guidance_scale`
        Guidance pushes the wrong way: away from the prompt. predict takes text_states first and
        empty_states after it.
    plus_one: `empty_states, guidance_scale` -> `empty_states, 1 + guidance_scale`
        Guidance is one unit too strong. guidance_scale = 1.0 means off: hand it to predict as it
        is.
    words_only:
        `predict(unet, x, t, text_states, empty_states, guidance_scale)`
        -> `unet(x, t, text_states)`
        Every look is with words alone, so guidance_scale changes nothing. Call predict with both
        text states instead of unet.
    upwards: `.tolist()` -> `.tolist()[::-1]`
        The loop walks through the timesteps from little noise to much. It begins at pure noise, the
        largest t, and goes down.
    one_index: `if i + 1 < num_steps` -> `if t`
        `timesteps[i + 1]` -> `t - 1`
        Each step goes down by one index of the table, so much noise is left at the end. The step
        goes to the next timestep of the list, which is a stride further down.
    first_entry: `torch.ones(())` -> `schedule.alpha_bar[0]`
        The last step stops at alpha_bar[0], where a little noise is left. After it nothing is left:
        alpha_bar_next is 1.
    same_level:
        `alpha_bar_next.sqrt() * x0 + (1 - alpha_bar_next)`
        -> `alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t)`
        The new x has the noise level that the old one had: x0 and epsilon are mixed with
        alpha_bar_t again. They belong together with alpha_bar_next.
    own_noise: `, generator=generator` -> ``
        The noise does not come from generator, so a seed fixes nothing. Hand it on:
        torch.randn(..., generator=generator).
    fresh_noise: `* epsilon` -> `* torch.randn_like(x)`
        Each step mixes in fresh noise. A DDIM step uses the noise that the network has just
        predicted.
    zero_states:
        `text_encoder(tokenizer([""] * len(prompts)).to(device))` -> `torch.zeros_like(text_states)`
        The look without words gets zeros. It needs the text states of the empty prompt: it is a
        text like any other, and the network was trained on its states.
    always_v:
        `x0 = to_x0(output, x, alpha_bar_t, schedule.prediction_type)`
        -> `x0 = to_x0(output, x, alpha_bar_t, "v_prediction")`
        `schedule.prediction_type` -> `"v_prediction"`
        It is right where the network predicts v, and wrong where it predicts epsilon.
        schedule.prediction_type says which; to_x0 and to_epsilon take it as their last argument.
    last_step_missing: `enumerate(timesteps)` -> `enumerate(timesteps[:-1])`
        The last timestep of the list is left out, so some noise stays in the picture. Each of the
        num_steps timesteps gets its look.
    """
)
"""What each mistake of `broken_draw` is called, and what is said to whoever makes it."""


def broken_draw(*args: Any, mistake: str, **kwargs: Any) -> Tensor:
    """`draw` with one of `DRAW_MISTAKES` in it, named by its id."""
    wrong = {each.id: each for each in DRAW_MISTAKES}[mistake].made_in(draw)
    pictures: Tensor = wrong(*args, **kwargs)
    return pictures


# --- 07.nearest_training_picture -----------------------------------------------------------------


# --- 07.finetune_step ----------------------------------------------------------------------------


EXERCISES = (
    Exercise(
        "07.predict",
        predict,
        _predict_cases,
        hints=(
            "Ask the U-Net twice: once with text_states and once with empty_states. Which answer "
            "should come out when guidance_scale is 0, and which when it is 1?",
            "Start at the answer without words and go guidance_scale times the way to the answer "
            "with words. One call with a batch of 2N is as good as two calls.",
            "without_words, with_words = unet(x_t, t, empty_states), unet(x_t, t, "
            "text_states), then without_words + guidance_scale * (...)",
        ),
        difficulty=2,
        minutes=8,
        mistakes=PREDICT_MISTAKES,
        call=_call_predict,
        seconds=30,
    ),
    Exercise(
        "07.draw",
        draw,
        _draw_cases,
        hints=(
            "Write the four comments first: words, noise, U-Net, decoder. Then one line at a time, "
            "and print the shape of what each line gives.",
            "For each timestep t of schedule.timesteps(num_steps): predict, to_x0, to_epsilon, "
            "then mix the two again with alpha_bar of the next timestep in the list. After the "
            "last one alpha_bar is 1.",
            "x = alpha_bar_next.sqrt() * x0 + ... * epsilon in the loop; after it "
            "vae.decode(x / ...).clamp(-1, 1)",
        ),
        difficulty=4,
        minutes=25,
        mistakes=DRAW_MISTAKES,
        call=_call_draw,
        on_error=_draw_error,
        rtol=1e-3,
        seconds=60,
    ),
    NEAREST,
    FINETUNE,
)
