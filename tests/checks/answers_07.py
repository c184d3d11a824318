"""Wrong and right answers to the exercises of lesson 07."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.guidance import Conditioning, guide
from course_utils.predictions import to_epsilon, to_v, to_x0, training_target
from course_utils.samplers import sample

# --- 07.predict ----------------------------------------------------------------------------------


def predict_away(unet, x_t, t, text_states, empty_states, guidance_scale):
    empty, text = unet(x_t, t, empty_states), unet(x_t, t, text_states)
    return empty + guidance_scale * (empty - text)


def predict_halves_swapped(unet, x_t, t, text_states, empty_states, guidance_scale):
    both = unet(torch.cat([x_t, x_t]), t, torch.cat([text_states, empty_states]))
    without_words, with_words = both.chunk(2)
    return without_words + guidance_scale * (with_words - without_words)


def predict_from_the_prompt(unet, x_t, t, text_states, empty_states, guidance_scale):
    empty, text = unet(x_t, t, empty_states), unet(x_t, t, text_states)
    return (1 + guidance_scale) * text - guidance_scale * empty


def predict_once(unet, x_t, t, text_states, empty_states, guidance_scale):
    return unet(x_t, t, text_states)


def predict_without_words(unet, x_t, t, text_states, empty_states, guidance_scale):
    return unet(x_t, t, empty_states)


def predict_scaled(unet, x_t, t, text_states, empty_states, guidance_scale):
    return unet(x_t, t, text_states) * guidance_scale


def predict_difference(unet, x_t, t, text_states, empty_states, guidance_scale):
    return guidance_scale * (unet(x_t, t, text_states) - unet(x_t, t, empty_states))


def predict_sum(unet, x_t, t, text_states, empty_states, guidance_scale):
    return guidance_scale * unet(x_t, t, text_states) + unet(x_t, t, empty_states)


def predict_every_second(unet, x_t, t, text_states, empty_states, guidance_scale):
    both = unet(torch.cat([x_t, x_t]), t, torch.cat([empty_states, text_states]))
    return both[0::2] + guidance_scale * (both[1::2] - both[0::2])


def predict_batch_forgotten(unet, x_t, t, text_states, empty_states, guidance_scale):
    both = unet(x_t, t, torch.cat([empty_states, text_states]))
    a, b = both.chunk(2)
    return a + guidance_scale * (b - a)


def predict_both(unet, x_t, t, text_states, empty_states, guidance_scale):
    return unet(torch.cat([x_t, x_t]), t, torch.cat([empty_states, text_states]))


def predict_nothing(unet, x_t, t, text_states, empty_states, guidance_scale):
    unet(x_t, t, text_states)


def predict_nan(unet, x_t, t, text_states, empty_states, guidance_scale):
    return unet(x_t, t, text_states) / 0 * 0


def predict_two_calls(unet, x_t, t, text_states, empty_states, guidance_scale):
    empty, text = unet(x_t, t, empty_states), unet(x_t, t, text_states)
    return guidance_scale * text + (1 - guidance_scale) * empty


def predict_other_half_first(unet, x_t, t, text_states, empty_states, guidance_scale):
    times = torch.full((2 * len(x_t),), t)
    text, empty = unet(x_t.repeat(2, 1, 1, 1), times, torch.cat([text_states, empty_states])).split(
        len(x_t)
    )
    return torch.lerp(empty, text, guidance_scale)


def predict_with_the_course(unet, x_t, t, text_states, empty_states, guidance_scale):
    times = torch.full((len(x_t),), t)
    return guide(unet, guidance_scale)(x_t, times, Conditioning(text_states, empty_states))


# --- 07.draw -------------------------------------------------------------------------------------


def walk(
    prompts: Any,
    tokenizer: Any,
    text_encoder: Any,
    unet: Any,
    vae: Any,
    schedule: Any,
    generator: Any,
    num_steps: int = 25,
    guidance_scale: float = 2.5,
    *,
    x_T: Tensor | None = None,
    look: Any = None,
    times: Any = None,
    last: float = 1.0,
) -> Tensor:
    """Latents, from the course's own pieces; wrong answers change one of them."""
    text = text_encoder(tokenizer(prompts))
    empty = text_encoder(tokenizer([""])).expand_as(text)
    x = torch.randn((len(prompts), 4, 4, 4), generator=generator) if x_T is None else x_T
    times = schedule.timesteps(num_steps).tolist() if times is None else times
    levels = [*(schedule.alpha_bar[t] for t in times[1:]), torch.tensor(last)]
    for t, level in zip(times, levels, strict=True):
        if look is None:
            out = empty_and_text(unet, x, t, empty, text, guidance_scale)
        else:
            out = look(unet, x, t, empty, text, guidance_scale)
        now = schedule.alpha_bar[t]
        x0 = to_x0(out, x, now, schedule.prediction_type)
        epsilon = to_epsilon(out, x, now, schedule.prediction_type)
        x = level**0.5 * x0 + (1 - level) ** 0.5 * epsilon
    return x


def empty_and_text(unet, x, t, empty, text, w):
    a, b = unet(x, t, empty), unet(x, t, text)
    return a + w * (b - a)


def pixels(vae, x):
    return vae.decode(x / vae.config.scaling_factor).clamp(-1, 1)


def draw_unscaled(prompts, tokenizer, text_encoder, unet, vae, *rest, **options):
    x = walk(prompts, tokenizer, text_encoder, unet, vae, *rest, **options)
    return vae.decode(x).clamp(-1, 1)


def draw_scaled_twice(prompts, tokenizer, text_encoder, unet, vae, *rest, **options):
    x = walk(prompts, tokenizer, text_encoder, unet, vae, *rest, **options)
    return vae.decode(x * vae.config.scaling_factor).clamp(-1, 1)


def draw_unclamped(prompts, tokenizer, text_encoder, unet, vae, *rest, **options):
    x = walk(prompts, tokenizer, text_encoder, unet, vae, *rest, **options)
    return vae.decode(x / vae.config.scaling_factor)


def draw_for_screens(prompts, tokenizer, text_encoder, unet, vae, *rest, **options):
    x = walk(prompts, tokenizer, text_encoder, unet, vae, *rest, **options)
    return (vae.decode(x / vae.config.scaling_factor) / 2 + 0.5).clamp(0, 1)


def draw_away(prompts, tokenizer, text_encoder, unet, vae, *rest, **options):
    def look(unet, x, t, empty, text, w):
        a, b = unet(x, t, empty), unet(x, t, text)
        return b + w * (a - b)

    return pixels(
        vae, walk(prompts, tokenizer, text_encoder, unet, vae, *rest, **options, look=look)
    )


def draw_paper_convention(prompts, tokenizer, text_encoder, unet, vae, *rest, **options):
    def look(unet, x, t, empty, text, w):
        a, b = unet(x, t, empty), unet(x, t, text)
        return (1 + w) * b - w * a

    return pixels(
        vae, walk(prompts, tokenizer, text_encoder, unet, vae, *rest, **options, look=look)
    )


def draw_one_look(prompts, tokenizer, text_encoder, unet, vae, *rest, **options):
    def look(unet, x, t, empty, text, w):
        return unet(x, t, text)

    return pixels(
        vae, walk(prompts, tokenizer, text_encoder, unet, vae, *rest, **options, look=look)
    )


def draw_upwards(
    prompts, tokenizer, text_encoder, unet, vae, schedule, generator, num_steps=25, **options
):
    times = sorted(schedule.timesteps(num_steps).tolist())
    parts = (prompts, tokenizer, text_encoder, unet, vae, schedule, generator, num_steps)
    return pixels(vae, walk(*parts, **options, times=times))


def draw_noise_of_its_own(prompts, tokenizer, text_encoder, unet, vae, *rest, **options):
    x_T = torch.randn(len(prompts), 4, 4, 4)
    return pixels(vae, walk(prompts, tokenizer, text_encoder, unet, vae, *rest, **options, x_T=x_T))


def draw_stops_early(
    prompts, tokenizer, text_encoder, unet, vae, schedule, generator, num_steps=25, **options
):
    parts = (prompts, tokenizer, text_encoder, unet, vae, schedule, generator, num_steps)
    return pixels(vae, walk(*parts, **options, last=float(schedule.alpha_bar[0])))


def draw_seeded_by_itself(
    prompts, tokenizer, text_encoder, unet, vae, schedule, generator, *rest, **options
):
    fixed = torch.Generator().manual_seed(7)
    parts = (prompts, tokenizer, text_encoder, unet, vae, schedule, fixed)
    return pixels(vae, walk(*parts, *rest, **options))


def draw_latents(*args, **options):
    return walk(*args, **options)


def draw_one_at_the_end(
    prompts, tokenizer, text_encoder, unet, vae, schedule, generator, num_steps=25, **options
):
    times = schedule.timesteps(num_steps).tolist()
    text = text_encoder(tokenizer(prompts))
    x = torch.randn((len(prompts), 4, 4, 4), generator=generator)
    for i, t in enumerate(times):
        out = unet(x, t, text)
        x = schedule.alpha_bar[times[i + 1]].sqrt() * out
    return pixels(vae, x)


def draw_returns_nothing(*args, **options):
    walk(*args, **options)


def draw_with_steps_of_the_course(
    prompts,
    tokenizer,
    text_encoder,
    unet,
    vae,
    schedule,
    generator,
    num_steps=25,
    guidance_scale=2.5,
):
    parts = (prompts, tokenizer, text_encoder, unet, vae, schedule, generator)
    return vae.to_pixels(walk(*parts, num_steps, guidance_scale))


def draw_picture_by_picture(
    prompts,
    tokenizer,
    text_encoder,
    unet,
    vae,
    schedule,
    generator,
    num_steps=25,
    guidance_scale=2.5,
):
    x_T = torch.randn((len(prompts), 4, 4, 4), generator=generator)
    drawn = []
    for prompt, x in zip(prompts, x_T, strict=True):
        parts = ([prompt], tokenizer, text_encoder, unet, vae, schedule, generator)
        drawn.append(walk(*parts, num_steps, guidance_scale, x_T=x[None]))
    return pixels(vae, torch.cat(drawn))


def draw_with_the_sampler(
    prompts,
    tokenizer,
    text_encoder,
    unet,
    vae,
    schedule,
    generator,
    num_steps=25,
    guidance_scale=2.5,
):
    import dataclasses

    text = text_encoder(tokenizer(prompts))
    empty = text_encoder(tokenizer([""] * len(prompts)))
    x_T = torch.randn((len(prompts), 4, 4, 4), generator=generator)
    schedule = dataclasses.replace(schedule, set_alpha_to_one=True)
    denoiser, cond = guide(unet, guidance_scale), Conditioning(text, empty)
    latents = sample(denoiser, x_T, schedule, cond, sampler="ddim", num_steps=num_steps)
    return vae.to_pixels(latents)


# --- 07.nearest_training_picture -----------------------------------------------------------------


def nearest_by_cdist(pictures, data):
    found = torch.cdist(pictures, data).min(dim=1)
    return found.indices, found.values / pictures.shape[1] ** 0.5


def nearest_by_broadcast(pictures, data):
    squares = (pictures[:, None] - data).pow(2).mean(-1)
    return squares.argmin(1), squares.amin(1).sqrt()


def nearest_with_lists(pictures, data):
    index, distance = [], []
    for picture in pictures.tolist():
        every = [
            (sum((a - b) ** 2 for a, b in zip(picture, row, strict=True)) / len(row)) ** 0.5
            for row in data.tolist()
        ]
        distance.append(min(every))
        index.append(every.index(min(every)))
    return torch.tensor(index), torch.tensor(distance)


def nearest_length(pictures, data):
    found = torch.cdist(pictures, data).min(dim=1)
    return found.indices, found.values


def nearest_mean_square(pictures, data):
    squares = (pictures[:, None] - data).pow(2).mean(-1)
    return squares.argmin(1), squares.amin(1)


def nearest_sum_of_squares(pictures, data):
    squares = (pictures[:, None] - data).pow(2).sum(-1)
    return squares.argmin(1), squares.amin(1)


def nearest_farthest(pictures, data):
    squares = (pictures[:, None] - data).pow(2).mean(-1)
    return squares.argmax(1), squares.amax(1).sqrt()


def nearest_for_data(pictures, data):
    squares = (pictures[:, None] - data).pow(2).mean(-1)
    return squares.argmin(0), squares.amin(0).sqrt()


def nearest_absolute(pictures, data):
    every = (pictures[:, None] - data).abs().mean(-1)
    return every.argmin(1), every.amin(1)


def nearest_swapped(pictures, data):
    index, distance = nearest_by_broadcast(pictures, data)
    return distance, index


def nearest_distance_alone(pictures, data):
    return nearest_by_broadcast(pictures, data)[1]


def nearest_all(pictures, data):
    return (pictures[:, None] - data).pow(2).mean(-1).sqrt()


def nearest_without_square(pictures, data):
    every = (pictures[:, None] - data).mean(-1).abs()
    return every.argmin(1), every.amin(1)


def nearest_shapes(pictures, data):
    every = (pictures - data).pow(2).mean(-1)
    return every.argmin(), every.min()


# --- 07.finetune_step ----------------------------------------------------------------------------


def step(
    unet: Any,
    optimizer: Any,
    latents: Tensor,
    text: Tensor,
    empty: Tensor,
    schedule: Any,
    generator: Any,
    drop: float,
    kind: str = "v_prediction",
    update: bool = True,
    dropout: bool = True,
) -> Tensor:
    t = torch.randint(0, 1000, (len(latents),), generator=generator)
    epsilon = torch.randn(latents.shape, generator=generator)
    coin = torch.rand(len(latents), generator=generator)
    states = text.clone()
    if dropout:
        states[coin < drop] = empty
    x_t = schedule.add_noise(latents, epsilon, t)
    target = training_target(latents, epsilon, schedule.alpha_bar[t], kind)
    loss = F.mse_loss(unet(x_t, t, states), target)
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    if update:
        optimizer.step()
    return loss


def step_with_the_course(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    return step(unet, optimizer, latents, text, empty, schedule, generator, drop).item()


def step_detached(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    return step(unet, optimizer, latents, text, empty, schedule, generator, drop).detach()


def step_in_double(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    t = torch.randint(0, 1000, [len(latents)], generator=generator)
    epsilon = torch.randn(latents.shape, generator=generator)
    keep = torch.rand(len(latents), generator=generator) >= drop
    a = schedule.alpha_bar.double()[t].view(-1, 1, 1, 1)
    x_t = a**0.5 * latents + (1 - a) ** 0.5 * epsilon
    v = to_v(epsilon.double(), x_t, a.flatten(), "epsilon") if (a > 0).all() else None
    v = a**0.5 * epsilon - (1 - a) ** 0.5 * latents if v is None else v
    rows = [text[i] if keep[i] else empty[0] for i in range(len(latents))]
    optimizer.zero_grad()
    errors = unet(x_t.float(), t, torch.stack(rows)) - v.float()
    loss = (errors * errors).flatten(1).mean(1).mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def step_epsilon(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    return step(unet, optimizer, latents, text, empty, schedule, generator, drop, "epsilon").item()


def step_sample(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    return step(unet, optimizer, latents, text, empty, schedule, generator, drop, "sample").item()


def step_never_updates(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    parts = (unet, optimizer, latents, text, empty, schedule, generator, drop)
    return step(*parts, update=False).item()


def step_drops_nothing(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    parts = (unet, optimizer, latents, text, empty, schedule, generator, drop)
    return step(*parts, dropout=False).item()


def step_keeps_graph(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    return step(unet, optimizer, latents, text, empty, schedule, generator, drop)


def step_inverted(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    t = torch.randint(0, 1000, (len(latents),), generator=generator)
    epsilon = torch.randn(latents.shape, generator=generator)
    states = text.clone()
    states[torch.rand(len(latents), generator=generator) >= drop] = empty
    x_t = schedule.add_noise(latents, epsilon, t)
    target = training_target(latents, epsilon, schedule.alpha_bar[t], "v_prediction")
    loss = F.mse_loss(unet(x_t, t, states), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def step_accumulates(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    optimizer.zero_grad = lambda *args, **kwargs: None
    return step(unet, optimizer, latents, text, empty, schedule, generator, drop).item()


def step_own_noise(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    t = torch.randint(0, 1000, (len(latents),), generator=generator)
    epsilon = torch.randn_like(latents)
    states = text.clone()
    states[torch.rand(len(latents), generator=generator) < drop] = empty
    x_t = schedule.add_noise(latents, epsilon, t)
    target = training_target(latents, epsilon, schedule.alpha_bar[t], "v_prediction")
    loss = F.mse_loss(unet(x_t, t, states), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def step_does_not_broadcast(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    t = torch.randint(0, 1000, (len(latents),), generator=generator)
    epsilon = torch.randn(latents.shape, generator=generator)
    x_t = schedule.alpha_bar[t].sqrt() * latents + (1 - schedule.alpha_bar[t]).sqrt() * epsilon
    return F.mse_loss(unet(x_t, t, text), epsilon).item()


def step_in_place(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    result = step(unet, optimizer, latents, text, empty, schedule, generator, drop)
    text *= 0
    return result.item()


def step_returns_nothing(unet, optimizer, latents, text, empty, schedule, generator, drop=0.1):
    step(unet, optimizer, latents, text, empty, schedule, generator, drop)


WRONG = [
    ("07.predict", predict_away, "other values than expected"),
    ("07.predict", predict_halves_swapped, "backwards"),
    ("07.predict", predict_from_the_prompt, "plus_one"),
    ("07.predict", predict_once, "with_words_only"),
    ("07.predict", predict_without_words, "without_words_only"),
    ("07.predict", predict_scaled, "louder"),
    ("07.predict", predict_difference, "push_alone"),
    ("07.predict", predict_sum, "no_difference"),
    ("07.predict", predict_every_second, "every_second_row"),
    ("07.predict", predict_batch_forgotten, "The shapes don't fit"),
    ("07.predict", predict_both, "has shape"),
    ("07.predict", predict_nothing, "is a `return` missing"),
    ("07.predict", predict_nan, "holds NaN"),
    ("07.draw", draw_unscaled, "no_factor"),
    ("07.draw", draw_scaled_twice, "times_factor"),
    ("07.draw", draw_unclamped, "no_clamp"),
    ("07.draw", draw_for_screens, "0_to_1"),
    ("07.draw", draw_away, "backwards"),
    ("07.draw", draw_paper_convention, "plus_one"),
    ("07.draw", draw_one_look, "words_only"),
    ("07.draw", draw_upwards, "upwards"),
    ("07.draw", draw_noise_of_its_own, "own_noise"),
    ("07.draw", draw_stops_early, "first_entry"),
    ("07.draw", draw_seeded_by_itself, "other values than expected"),
    ("07.draw", draw_latents, "has shape"),
    ("07.draw", draw_one_at_the_end, "one place beyond the end"),
    ("07.draw", draw_returns_nothing, "is a `return` missing"),
    ("07.nearest_training_picture", nearest_length, "length"),
    ("07.nearest_training_picture", nearest_mean_square, "mean_square"),
    ("07.nearest_training_picture", nearest_sum_of_squares, "sum_of_squares"),
    ("07.nearest_training_picture", nearest_farthest, "farthest"),
    ("07.nearest_training_picture", nearest_for_data, "other_way_round"),
    ("07.nearest_training_picture", nearest_absolute, "absolute"),
    ("07.nearest_training_picture", nearest_swapped, "swapped"),
    ("07.nearest_training_picture", nearest_distance_alone, "distance_only"),
    ("07.nearest_training_picture", nearest_all, "expected a tuple of 2"),
    ("07.nearest_training_picture", nearest_without_square, "signed"),
    ("07.nearest_training_picture", nearest_shapes, "The shapes don't fit"),
    ("07.finetune_step", step_epsilon, "epsilon"),
    ("07.finetune_step", step_sample, "x0"),
    ("07.finetune_step", step_never_updates, "no_step"),
    ("07.finetune_step", step_drops_nothing, "no_dropout"),
    ("07.finetune_step", step_inverted, "kept"),
    ("07.finetune_step", step_accumulates, "no_zero_grad"),
    ("07.finetune_step", step_own_noise, "own_noise"),
    ("07.finetune_step", step_does_not_broadcast, "The shapes don't fit"),
    ("07.finetune_step", step_keeps_graph, "graph"),
    ("07.finetune_step", step_in_place, "other values than expected"),
    ("07.finetune_step", step_returns_nothing, "is a `return` missing"),
]

RIGHT = [
    ("07.predict", predict_two_calls),
    ("07.predict", predict_other_half_first),
    ("07.predict", predict_with_the_course),
    ("07.draw", draw_with_steps_of_the_course),
    ("07.draw", draw_picture_by_picture),
    ("07.draw", draw_with_the_sampler),
    ("07.nearest_training_picture", nearest_by_cdist),
    ("07.nearest_training_picture", nearest_by_broadcast),
    ("07.nearest_training_picture", nearest_with_lists),
    ("07.finetune_step", step_with_the_course),
    ("07.finetune_step", step_detached),
    ("07.finetune_step", step_in_double),
]
