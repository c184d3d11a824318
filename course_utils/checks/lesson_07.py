"""Lesson 07, text to image: what is right, and what people get wrong."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.checks.exercise import Case, Exercise, Mistake, random_state
from course_utils.models import VAE, TextEncoder, Tokenizer, UNet
from course_utils.predictions import to_epsilon, to_x0
from course_utils.schedules import NoiseSchedule

# --- small parts to try answers on ---------------------------------------------------------------

WORDS = ("a cat face on blue", "a red apple on white", "dog noto green", "a rocket")


@functools.cache
def tiny_parts() -> tuple[Tokenizer, TextEncoder, UNet, VAE]:
    """Tokenizer, text encoder, U-Net and VAE of a few thousand random numbers.

    They draw nothing, but every slip in a loop shows: the decoder leaves [-1, 1], the scaling
    factor is not 1, and the words matter.
    """
    tokenizer = Tokenizer.train(WORDS * 2, vocab_size=540, model_max_length=10)
    text_encoder = TextEncoder(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=10,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    unet = UNet(
        sample_size=4,
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=2,
    )
    vae = VAE(
        block_out_channels=(4, 4, 4, 4),
        layers_per_block=1,
        norm_num_groups=2,
        sample_size=32,
        scaling_factor=0.4,
    )
    for seed, part in enumerate((text_encoder, unet, vae)):
        part.load_state_dict(random_state(part, seed))
        part.eval()
        # Checks copy the arguments of every call; these need no copy, and it would take longest.
        setattr(part, "__deepcopy__", lambda memo, part=part: part)  # noqa: B010
    setattr(tokenizer, "__deepcopy__", lambda memo: tokenizer)  # noqa: B010
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(2)  # far beyond [-1, 1]
        unet.conv_out.weight.mul_(2)
    return tokenizer, text_encoder, unet, vae


class TinyDenoiser(nn.Module):
    """(x_t, t, text_states) -> a tensor like x_t, of a few hundred random numbers.

    Where an answer only calls the U-Net, this does for it, and a hundred times faster.
    """

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(sample_size=4, in_channels=4, out_channels=4)
        self.conv_in = nn.Conv2d(4, 6, 3, padding=1)
        self.words = nn.Linear(8, 6)
        self.time = nn.Linear(2, 6)
        self.conv_out = nn.Conv2d(6, 4, 3, padding=1)
        self.load_state_dict(random_state(self, 3))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.conv_in.weight.device

    def forward(self, x_t: Tensor, t: Tensor | int, text_states: Tensor) -> Tensor:
        """(B, 4, h, w), (B,) or one number, (B, L, 8) -> (B, 4, h, w)."""
        angle = torch.as_tensor(t, device=x_t.device).expand(len(x_t)) / 200.0  # (B,)
        time = self.time(torch.stack([angle.sin(), angle.cos()], dim=1))  # (B, 6)
        words = self.words(text_states).tanh().mean(dim=1)  # (B, 6)
        return self.conv_out((self.conv_in(x_t) + (time + words)[:, :, None, None]).tanh())


def _schedules() -> tuple[NoiseSchedule, NoiseSchedule]:
    """As the course's own model has it, and as Stable Diffusion 1.x has it."""
    own = NoiseSchedule.scaled_linear(
        0.00085, 0.012, prediction_type="v_prediction", timestep_spacing="trailing"
    )
    stable = NoiseSchedule.scaled_linear(
        0.00085, 0.012, prediction_type="epsilon", timestep_spacing="leading", steps_offset=1
    )
    return own.rescale_zero_terminal_snr(), stable


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


def _looks(unet: Any, x_t: Tensor, t: int, text: Tensor, empty: Tensor) -> tuple[Tensor, Tensor]:
    return unet(x_t, t, empty), unet(x_t, t, text)


def _backwards(unet: Any, x_t: Tensor, t: int, text: Tensor, empty: Tensor, w: float) -> Tensor:
    return predict(unet, x_t, t, empty, text, w)


def _plus_one(unet: Any, x_t: Tensor, t: int, text: Tensor, empty: Tensor, w: float) -> Tensor:
    return predict(unet, x_t, t, text, empty, 1 + w)


def _with_only(unet: Any, x_t: Tensor, t: int, text: Tensor, empty: Tensor, w: float) -> Tensor:
    return unet(x_t, t, text)


def _without_only(unet: Any, x_t: Tensor, t: int, text: Tensor, empty: Tensor, w: float) -> Tensor:
    return unet(x_t, t, empty)


def _louder(unet: Any, x_t: Tensor, t: int, text: Tensor, empty: Tensor, w: float) -> Tensor:
    return w * unet(x_t, t, text)


def _push_alone(unet: Any, x_t: Tensor, t: int, text: Tensor, empty: Tensor, w: float) -> Tensor:
    without_words, with_words = _looks(unet, x_t, t, text, empty)
    return w * (with_words - without_words)


def _no_difference(unet: Any, x_t: Tensor, t: int, text: Tensor, empty: Tensor, w: float) -> Tensor:
    without_words, with_words = _looks(unet, x_t, t, text, empty)
    return without_words + w * with_words


def _interleaved(unet: Any, x_t: Tensor, t: int, text: Tensor, empty: Tensor, w: float) -> Tensor:
    both = unet(torch.cat([x_t, x_t]), t, torch.cat([empty, text]))
    return both[::2] + w * (both[1::2] - both[::2])


PREDICT_MISTAKES = (
    Mistake(
        "The push goes the wrong way: away from the prompt. It starts at the answer without words "
        "and goes towards the one with words. Look at the order of the halves and at the sign.",
        _backwards,
    ),
    Mistake(
        "The push is one unit too strong, as if it started at the answer with words (that is the "
        "w of Ho and Salimans' paper). In this course, as in diffusers, 1.0 means off, so it "
        "starts at the answer without words.",
        _plus_one,
    ),
    Mistake(
        "This is the answer with words alone: guidance_scale changes nothing. Look a second time, "
        "with empty_states, and push from that answer towards this one.",
        _with_only,
    ),
    Mistake(
        "This is the answer without words alone: the prompt changes nothing. The answer to "
        "text_states is missing.",
        _without_only,
    ),
    Mistake(
        "This makes the whole answer guidance_scale times as large. Only the difference between "
        "the two answers is multiplied.",
        _louder,
    ),
    Mistake(
        "This is the push alone. It has to be added to the answer without words.",
        _push_alone,
    ),
    Mistake(
        "guidance_scale multiplies the whole answer with words. It belongs to the difference: with "
        "words minus without.",
        _no_difference,
    ),
    Mistake(
        "The two looks are mixed up between pictures: with torch.cat the first N rows are one look "
        "and the last N the other, so `.chunk(2)` takes them apart, not every second row.",
        _interleaved,
    ),
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
    own, stable = _schedules()
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


@torch.no_grad()
def broken_draw(
    prompts: list[str],
    tokenizer: Tokenizer,
    text_encoder: TextEncoder,
    unet: UNet,
    vae: VAE,
    schedule: NoiseSchedule,
    generator: torch.Generator,
    num_steps: int = 25,
    guidance_scale: float = 2.5,
    *,
    mistake: str,
) -> Tensor:
    """`draw` with one mistake of `BROKEN` in it."""
    device = unet.device
    text_states = text_encoder(tokenizer(prompts).to(device))
    empty_states = text_encoder(tokenizer([""] * len(prompts)).to(device))
    if mistake == "zero states":
        empty_states = torch.zeros_like(text_states)
    size = unet.config.sample_size
    if mistake == "own noise":
        generator = torch.default_generator
    x = torch.randn((len(prompts), 4, size, size), generator=generator).to(device)
    timesteps = schedule.timesteps(num_steps).tolist()
    if mistake == "upwards":
        timesteps = timesteps[::-1]
    kind: Any = schedule.prediction_type
    if mistake == "always v":
        kind = "v_prediction"
    for i, t in enumerate(timesteps):
        if mistake == "backwards":
            output = predict(unet, x, t, empty_states, text_states, guidance_scale)
        elif mistake == "plus one":
            output = predict(unet, x, t, text_states, empty_states, 1 + guidance_scale)
        elif mistake == "words only":
            output = unet(x, t, text_states)
        else:
            output = predict(unet, x, t, text_states, empty_states, guidance_scale)
        alpha_bar_t, alpha_bar_next = schedule.alpha_bar[t], torch.ones(())
        if mistake == "one index":
            alpha_bar_next = schedule.alpha_bar[t - 1] if t else torch.ones(())
        elif i + 1 < num_steps:
            alpha_bar_next = schedule.alpha_bar[timesteps[i + 1]]
        elif mistake == "first entry":
            alpha_bar_next = schedule.alpha_bar[0]
        x0 = to_x0(output, x, alpha_bar_t, kind)
        epsilon = to_epsilon(output, x, alpha_bar_t, kind)
        if mistake == "same level":
            alpha_bar_next = alpha_bar_t
        if mistake == "fresh noise":
            epsilon = torch.randn_like(x)
        x = alpha_bar_next.sqrt() * x0 + (1 - alpha_bar_next).sqrt() * epsilon
    factor = vae.config.scaling_factor
    z = {"no factor": x, "times factor": x * factor}.get(mistake, x / factor)
    pixels = vae.decode(z)
    if mistake == "0 to 1":
        return (pixels / 2 + 0.5).clamp(0, 1)
    return pixels if mistake == "no clamp" else pixels.clamp(-1, 1)


BROKEN: dict[str, str] = {
    "no factor": "The latents go into the decoder as they are. The U-Net works on latents of unit "
    "variance, the decoder does not: divide by vae.config.scaling_factor before vae.decode.",
    "times factor": "The latents are multiplied by vae.config.scaling_factor. That is the way in, "
    "after the encoder; on the way out they are divided by it.",
    "no clamp": "The decoder's numbers leave [-1, 1], and a picture has to stay inside: clamp "
    "them at the end.",
    "0 to 1": "These are pixels from 0 to 1. In this course pictures lie in [-1, 1], as the "
    "decoder gives them.",
    "backwards": "Guidance pushes the wrong way: away from the prompt. predict takes text_states "
    "first and empty_states after it.",
    "plus one": "Guidance is one unit too strong. guidance_scale = 1.0 means off: hand it to "
    "predict as it is.",
    "words only": "Every look is with words alone, so guidance_scale changes nothing. Call predict "
    "with both text states instead of unet.",
    "upwards": "The loop walks through the timesteps from little noise to much. It begins at pure "
    "noise, the largest t, and goes down.",
    "one index": "Each step goes down by one index of the table, so much noise is left at the end. "
    "The step goes to the next timestep of the list, which is a stride further down.",
    "first entry": "The last step stops at alpha_bar[0], where a little noise is left. After it "
    "nothing is left: alpha_bar_next is 1.",
    "same level": "The new x has the noise level that the old one had: x0 and epsilon are mixed "
    "with alpha_bar_t again. They belong together with alpha_bar_next.",
    "own noise": "The noise does not come from generator, so a seed fixes nothing. Hand it on: "
    "torch.randn(..., generator=generator).",
    "fresh noise": "Each step mixes in fresh noise. A DDIM step uses the noise that the network "
    "has just predicted.",
    "zero states": "The look without words gets zeros. It needs the text states of the empty "
    "prompt: it is a text like any other, and the network was trained on its states.",
    "always v": "It is right where the network predicts v, and wrong where it predicts epsilon. "
    "schedule.prediction_type says which; to_x0 and to_epsilon take it as their last argument.",
}
"""What each mistake of `broken_draw` is called, and what is said to whoever makes it."""


# --- 07.nearest_training_picture -----------------------------------------------------------------


def nearest_training_picture(pictures: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the row of `data` with the smallest root mean square difference, and that."""
    index, distance = [], []
    for row in pictures:  # one at a time: N x M x D numbers would not fit into memory
        differences = (data - row).square().mean(dim=1).sqrt()  # (M,)
        index.append(differences.argmin())
        distance.append(differences.min())
    return torch.stack(index), torch.stack(distance)


def _nearest_cases(generator: torch.Generator) -> Iterator[Case]:
    for n, m, d in ((2, 3, 5), (4, 4, 3), (3, 7, 12), (5, 2, 48)):
        pictures = torch.randn(n, d, generator=generator)
        data = torch.randn(m, d, generator=generator)
        data[m - 1] = pictures[0] + 0.01  # a near copy, and it is not the first row
        yield Case((pictures, data))


def _all_differences(pictures: Tensor, data: Tensor) -> Tensor:
    return (pictures[:, None] - data[None]).square().mean(dim=2).sqrt()  # (N, M)


def _farthest(pictures: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    found = _all_differences(pictures, data).max(dim=1)
    return found.indices, found.values


def _over_pictures(pictures: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    found = _all_differences(pictures, data).min(dim=0)
    return found.indices, found.values


def _length(pictures: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    index, distance = nearest_training_picture(pictures, data)
    return index, distance * pictures.shape[1] ** 0.5


def _mean_square(pictures: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    index, distance = nearest_training_picture(pictures, data)
    return index, distance.square()


def _sum_square(pictures: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    index, distance = nearest_training_picture(pictures, data)
    return index, distance.square() * pictures.shape[1]


def _absolute(pictures: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    found = (pictures[:, None] - data[None]).abs().mean(dim=2).min(dim=1)
    return found.indices, found.values


def _swapped(pictures: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    index, distance = nearest_training_picture(pictures, data)
    return distance, index


def _only_distance(pictures: Tensor, data: Tensor) -> Tensor:
    return nearest_training_picture(pictures, data)[1]


def _only_index(pictures: Tensor, data: Tensor) -> Tensor:
    return nearest_training_picture(pictures, data)[0]


def _signed(pictures: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    found = (pictures[:, None] - data[None]).mean(dim=2).abs().min(dim=1)
    return found.indices, found.values


# --- 07.finetune_step ----------------------------------------------------------------------------


def finetune_step(
    unet: nn.Module,
    optimizer: torch.optim.Optimizer,
    latents: Tensor,
    text_states: Tensor,
    empty_states: Tensor,
    schedule: NoiseSchedule,
    generator: torch.Generator,
    drop: float = 0.1,
) -> float:
    """One step of Ho et al. 2020, algorithm 1, for v, with condition dropout."""
    count, device = len(latents), latents.device
    t = torch.randint(schedule.num_train_timesteps, (count,), generator=generator)  # (B,)
    epsilon = torch.randn(latents.shape, generator=generator).to(device)
    dropped = torch.rand(count, generator=generator) < drop  # (B,)

    alpha_bar_t = schedule.alpha_bar[t][:, None, None, None].to(device)  # (B, 1, 1, 1)
    alpha, sigma = alpha_bar_t.sqrt(), (1 - alpha_bar_t).sqrt()
    x_t = alpha * latents + sigma * epsilon
    v = alpha * epsilon - sigma * latents
    states = torch.where(dropped[:, None, None].to(device), empty_states, text_states)

    loss = (unet(x_t, t.to(device), states) - v).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _finetune_cases(generator: torch.Generator) -> Iterator[Case]:
    unet = TinyDenoiser()
    own, _ = _schedules()
    for count, drop in ((3, 0.0), (6, 0.5), (4, 1.0)):
        latents = torch.randn(count, 4, 4, 4, generator=generator)
        text_states = torch.randn(count, 10, 8, generator=generator)
        empty_states = torch.randn(1, 10, 8, generator=generator)
        seed = int(torch.randint(2**31, (), generator=generator))
        label = f"two steps on B = {count} latents, drop = {drop:g}"
        arguments = (unet, None, latents, text_states, empty_states, own, seed)
        yield Case(arguments, {"drop": drop}, label)


def _call_finetune(candidate: Any, case: Case) -> Any:
    """Two steps of plain gradient descent: the losses, and how far each parameter went."""
    unet, _, latents, text_states, empty_states, schedule, seed = case.args
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(seed)
        before = nn.utils.parameters_to_vector(unet.parameters()).detach().clone()
        optimizer = torch.optim.SGD(unet.parameters(), lr=0.1)
        losses = [
            candidate(
                unet,
                optimizer,
                latents,
                text_states,
                empty_states,
                schedule,
                generator,
                **case.kwargs,
            )
            for _ in range(2)
        ]
        after = nn.utils.parameters_to_vector(unet.parameters()).detach()
    for loss in losses:
        if loss is None:
            return None
        if isinstance(loss, Tensor) and (loss.numel() != 1 or loss.requires_grad):
            return loss.detach() if loss.numel() != 1 else "a loss that keeps its graph"
    return torch.tensor([float(loss) for loss in losses]), after - before


def _wrong_step(
    unet: nn.Module,
    optimizer: torch.optim.Optimizer,
    latents: Tensor,
    text_states: Tensor,
    empty_states: Tensor,
    schedule: NoiseSchedule,
    generator: torch.Generator,
    drop: float = 0.1,
    *,
    mistake: str,
) -> Any:
    count, T = len(latents), schedule.num_train_timesteps
    if mistake == "own draws":
        generator = torch.default_generator
    own = torch.default_generator if mistake == "own noise" else generator
    if mistake == "order":
        epsilon = torch.randn(latents.shape, generator=generator)
        t = torch.randint(T, (count,), generator=generator)
    else:
        t = torch.randint(T, (1 if mistake == "one t" else count,), generator=generator)
        t = t.expand(count)
        epsilon = torch.randn(latents.shape, generator=own)
    dropped = torch.rand(count, generator=generator) < drop
    if mistake == "keep":
        dropped = ~dropped
    if mistake == "all or none":
        dropped = dropped[:1].expand(count)
    alpha_bar_t = schedule.alpha_bar[t][:, None, None, None]
    alpha, sigma = alpha_bar_t.sqrt(), (1 - alpha_bar_t).sqrt()
    if mistake == "no roots":
        alpha, sigma = alpha_bar_t, 1 - alpha_bar_t
    x_t = alpha * latents + sigma * epsilon
    target = {
        "epsilon": epsilon,
        "x0": latents,
        "swapped": alpha * latents - sigma * epsilon,
        "sign": sigma * latents - alpha * epsilon,
        "plus": alpha * epsilon + sigma * latents,
    }.get(mistake, alpha * epsilon - sigma * latents)
    states = torch.where(dropped[:, None, None], empty_states, text_states)
    if mistake == "no dropout":
        states = text_states
    if mistake == "zeros":
        states = torch.where(dropped[:, None, None], torch.zeros_like(text_states), text_states)
    errors = (unet(latents if mistake == "clean" else x_t, t, states) - target).square()
    loss = errors.sum() if mistake == "sum" else errors.mean()
    if mistake == "no step":
        return loss.item()
    if mistake != "no zero_grad":
        optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if mistake == "graph":
        return loss
    return loss.item()


STEP_MISTAKES: dict[str, str] = {
    "epsilon": "The target is epsilon. This network was trained to predict v: "
    "sqrt(alpha_bar_t) * epsilon - sqrt(1 - alpha_bar_t) * x0.",
    "x0": "The target is the clean latent. This network was trained to predict v: "
    "sqrt(alpha_bar_t) * epsilon - sqrt(1 - alpha_bar_t) * x0.",
    "swapped": "In v the two weights have changed places: sqrt(alpha_bar_t) belongs to epsilon and "
    "sqrt(1 - alpha_bar_t) to the clean latent, other than in x_t.",
    "sign": "v has the wrong sign: it is alpha * epsilon - sigma * x0, not the other way round.",
    "plus": "v is a difference: alpha * epsilon minus sigma * x0.",
    "no roots": "The square roots are missing: alpha and sigma are sqrt(alpha_bar_t) and "
    "sqrt(1 - alpha_bar_t).",
    "clean": "The network sees the clean latents. It has to see x_t, with the noise mixed in.",
    "no dropout": "No caption is ever dropped: drop changes nothing. Without it the network "
    "forgets how to draw without words, and guidance needs that.",
    "keep": "It is the wrong way round: a share of drop is kept, and the rest is dropped.",
    "all or none": "All captions of the batch are dropped together or not at all. Draw one number "
    "for each picture.",
    "zeros": "Dropped captions become zeros. They become empty_states: the text states of the "
    "empty prompt, which the loop uses too.",
    "one t": "All pictures of the batch get the same t. Draw one for each, (B,).",
    "own noise": "epsilon does not come from generator (torch.randn_like takes none). Use "
    "torch.randn(latents.shape, generator=generator).",
    "own draws": "None of the draws comes from generator, so a seed fixes nothing. Hand it to "
    "randint, randn and rand.",
    "order": "epsilon is drawn before t. Any order would do, but the check can only compare the "
    "docstring's: t, epsilon, dropped.",
    "sum": "The loss is a sum over all numbers. Take the mean, or the step grows with the batch.",
    "no zero_grad": "Gradients pile up from step to step. Call optimizer.zero_grad() before "
    "loss.backward().",
    "no step": "The weights do not move. The order is optimizer.zero_grad(), loss.backward(), "
    "optimizer.step(); a zero_grad() in between throws the gradients away.",
    "graph": "It returns the loss with its graph, which keeps every layer's numbers in memory. "
    "Return loss.item().",
}


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
            "without_words, with_words = unet(x_t, t, empty_states), unet(x_t, t, text_states), "
            "then without_words + guidance_scale * (with_words - without_words)",
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
            "x = alpha_bar_next.sqrt() * x0 + (1 - alpha_bar_next).sqrt() * epsilon in the loop; "
            "after it vae.decode(x / vae.config.scaling_factor).clamp(-1, 1)",
        ),
        difficulty=4,
        minutes=25,
        mistakes=tuple(
            Mistake(message, functools.partial(broken_draw, mistake=name))
            for name, message in BROKEN.items()
        ),
        call=_call_draw,
        on_error=_draw_error,
        rtol=1e-3,
        seconds=60,
    ),
    Exercise(
        "07.nearest_training_picture",
        nearest_training_picture,
        _nearest_cases,
        hints=(
            "Take one picture first: subtract it from all rows of data at once. What has shape "
            "(M, D), and over which dimension does the mean go?",
            "Square, mean over D, root: that gives M distances. Keep the smallest and where it "
            "stands, and do this for every picture.",
            "differences = (data - row).square().mean(dim=1).sqrt(), then differences.argmin() "
            "and differences.min(); torch.stack puts the N results together",
        ),
        difficulty=2,
        minutes=8,
        mistakes=(
            Mistake(
                "It finds the picture farthest away. The nearest has the smallest distance.",
                _farthest,
            ),
            Mistake(
                "It finds the nearest picture for each row of data. The question is the other way "
                "round: one answer for each of the N pictures.",
                _over_pictures,
            ),
            Mistake(
                "The distance is the length of the difference. Divide by the root of D (take the "
                "mean, not the sum), so that it is in units of one pixel.",
                _length,
            ),
            Mistake(
                "The distance is the mean square: the root is missing.",
                _mean_square,
            ),
            Mistake(
                "The distance is the sum of squares: take the mean over D, and then the root.",
                _sum_square,
            ),
            Mistake(
                "The distance is the mean of absolute differences. Square them, take the mean, "
                "then the root.",
                _absolute,
            ),
            Mistake(
                "Differences of both signs cancel. Square before the mean.",
                _signed,
            ),
            Mistake(
                "The two results stand in the wrong order: first the index, then the distance.",
                _swapped,
            ),
            Mistake("The index is missing: return index, distance.", _only_distance),
            Mistake("The distance is missing: return index, distance.", _only_index),
        ),
    ),
    Exercise(
        "07.finetune_step",
        finetune_step,
        _finetune_cases,
        hints=(
            "Three draws from the generator in this order: t, epsilon, and a number for each "
            "picture that says whether its caption is dropped. Then lesson 03's training step.",
            "x_t and v are mixed from the same two tensors, latents and epsilon, with the weights "
            "sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t). schedule.alpha_bar[t] needs the shape "
            "(B, 1, 1, 1).",
            "v = alpha * epsilon - sigma * latents, states = torch.where(dropped[:, None, None], "
            "empty_states, text_states), loss = (unet(x_t, t, states) - v).square().mean(), then "
            "zero_grad, backward, step",
        ),
        difficulty=3,
        minutes=12,
        mistakes=tuple(
            Mistake(message, functools.partial(_wrong_step, mistake=name))
            for name, message in STEP_MISTAKES.items()
        ),
        call=_call_finetune,
        rtol=1e-3,
        seconds=60,
    ),
)
