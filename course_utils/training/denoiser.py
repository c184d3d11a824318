"""Recipe `denoiser`: the U-Net that turns noise and words into latents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from course_utils.data.captions import STYLES, full_caption, random_caption
from course_utils.data.emoji import BACKGROUND_NAMES, CaptionedEmoji
from course_utils.files import write_atomically
from course_utils.images import make_grid
from course_utils.models.clip import TextEncoder
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.unet import UNet
from course_utils.models.vae import VAE
from course_utils.predictions import training_target
from course_utils.schedules import NoiseSchedule
from course_utils.training.bank import generator_on


@dataclass(frozen=True)
class Bank:
    """Everything the denoiser trains on, computed once.

    VAE and text encoder are frozen, so their answers never change: a step of training need not
    ask again.

    Attributes:
        latents: (pictures, 4, h, w), of about unit variance.
        states: (captions, L, D), the text states of distinct captions.
        rows: (N, 2) int64, which picture goes with which caption.
        empty: (L, D), the text states of the empty prompt.
    """

    latents: Tensor
    states: Tensor
    rows: Tensor
    empty: Tensor

    def to(self, device: torch.device) -> Bank:
        """The same bank on another device."""
        return Bank(*(x.to(device) for x in (self.latents, self.states, self.rows, self.empty)))


@torch.no_grad()
def build_bank(
    data: CaptionedEmoji,
    vae: VAE,
    encoder: TextEncoder,
    tokenizer: Tokenizer,
    size: int,
    seed: int,
    cache: Path | None = None,
) -> Bank:
    """Draw `size` captioned pictures and encode each distinct picture and caption once.

    Args:
        data: the training split.
        vae, encoder, tokenizer: frozen.
        size: N, rows of the bank. Every picture (pair and background) occurs about equally often.
        seed: fixes the captions.
        cache: a file for the captions' tokens, which take longest; it is made where it is missing.
    """
    colours = len(BACKGROUND_NAMES)
    pictures = [(*pair, colour) for pair in data.pairs for colour in range(colours)]
    latents = torch.cat(
        [
            vae.to_latents(data.render_batch(*torch.tensor(chunk).T).to(vae.device)).float()
            for chunk in _chunks(pictures, 64)
        ]
    )
    rows, ids = draw_captions(data, tokenizer, pictures, size, seed, cache)
    states = torch.cat(
        [
            encoder(chunk.to(encoder.device).long()).half()
            for chunk in ids.split(128 if encoder.device.type == "cpu" else 4096)
        ]
    )
    empty = encoder(tokenizer("").to(encoder.device))[0].half()
    return Bank(latents, states, rows.long().to(latents.device), empty)


def draw_captions(
    data: CaptionedEmoji,
    tokenizer: Tokenizer,
    pictures: list[tuple[int, int, int]],
    size: int,
    seed: int,
    cache: Path | None = None,
) -> tuple[Tensor, Tensor]:
    """Give `size` rows their captions: (size, 2) int32 picture and caption, (captions, L) int16.

    Args:
        data, tokenizer, size, seed: see `build_bank`.
        pictures: (concept, style, background) of each picture.
        cache: read from here, if it was written for the same question; else written.
    """
    cut = json.dumps([tokenizer.vocab, tokenizer.merges, tokenizer.model_max_length])
    digest = hashlib.sha256(cut.encode()).hexdigest()
    asked = f"{data.subset} {data.split} {len(pictures)} {size} {seed} {digest}"
    if cache is not None and cache.exists():
        with safe_open(cache, framework="pt") as file:
            if (file.metadata() or {}).get("asked") == asked:
                return file.get_tensor("rows"), file.get_tensor("ids")
    rng = Random(seed)
    index: dict[str, int] = {}
    rows = []
    for n in range(size):
        concept, style, colour = pictures[n % len(pictures)]
        caption = random_caption(
            data.concepts[concept], STYLES[style], BACKGROUND_NAMES[colour], rng
        )
        rows.append((n % len(pictures), index.setdefault(caption, len(index))))
    found = {
        "rows": torch.tensor(rows, dtype=torch.int32),
        "ids": torch.cat([tokenizer(part).to(torch.int16) for part in _chunks(list(index), 4096)]),
    }
    if cache is not None:
        write_atomically(cache, save(found, metadata={"asked": asked}))
    return found["rows"], found["ids"]


def noised(
    x0: Tensor, schedule: NoiseSchedule, draws: Mapping[str, Any]
) -> tuple[Tensor, Tensor, Tensor]:
    """Noise a batch of latents, each at a timestep of its own.

    Args:
        x0: (B, 4, h, w), clean.
        schedule: on the device of `x0`.
        draws: `generator` and `device` of every random draw.

    Returns:
        x_t (B, 4, h, w); t (B,) int64, rising; what the network should say, (B, 4, h, w).
    """
    count, steps = len(x0), schedule.num_train_timesteps
    # One timestep from each of B equal parts of [0, T): less variance than B free draws.
    parts = torch.arange(count, device=x0.device)
    t = (parts + torch.rand(count, **draws)) * (steps / count)
    t = t.long().clamp_(max=steps - 1)
    epsilon = torch.randn(x0.shape, **draws)
    x_t = schedule.add_noise(x0, epsilon, t)
    target = training_target(x0, epsilon, schedule.alpha_bar[t], schedule.prediction_type)
    return x_t, t, target


def squared_errors(
    model: Any, x_t: Tensor, t: Tensor, condition: Tensor, target: Tensor
) -> dict[str, Tensor]:
    """Mean squared error of the prediction, of all and of the thirds with least and most noise."""
    output = model(x_t, t, condition)
    errors = (output.float() - target).square().mean(dim=(1, 2, 3))  # (B,)
    third = len(errors) // 3 or 1
    return {
        "loss": errors.mean(),
        "little_noise": errors[:third].mean(),  # t is sorted
        "much_noise": errors[-third:].mean(),
    }


class DenoiserTask:
    """Noise a latent, ask for v (or epsilon, or x0), compare: Ho et al. 2020, algorithm 1.

    Args:
        unet: the model; it is trained in place.
        bank: latents and text states, see `build_bank`.
        schedule: how much noise at which timestep, and what is predicted.
        batch_size: B.
        condition_dropout: share of captions replaced by the empty one, so that the model can draw
            without words too: classifier-free guidance needs it (Ho and Salimans 2022, algorithm
                1).
        preview: what `sample_grid` draws with: `(vae, prompts' text states)`.
    """

    name = "denoiser"

    def __init__(
        self,
        unet: UNet,
        bank: Bank,
        schedule: NoiseSchedule,
        batch_size: int,
        condition_dropout: float = 0.1,
        preview: tuple[VAE, Tensor] | None = None,
    ) -> None:
        self.model: nn.Module = unet
        self.bank = bank
        self.schedule = schedule
        self.batch_size, self.condition_dropout = batch_size, condition_dropout
        self.preview = preview
        self.compute = squared_errors

    def loss(self, model: Any, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of the prediction for one batch."""
        device = next(model.parameters()).device
        if {self.bank.latents.device, self.schedule.alpha_bar.device} != {device}:
            self.bank, self.schedule = self.bank.to(device), self.schedule.to(device)
        bank, count = self.bank, self.batch_size
        draws: Any = {"generator": generator_on(device, generator), "device": device}
        rows = bank.rows[torch.randint(len(bank.rows), (count,), **draws)]
        x0 = bank.latents[rows[:, 0]]  # (B, 4, h, w)
        states = bank.states[rows[:, 1]].float()  # (B, L, D)
        dropped = torch.rand(count, **draws) < self.condition_dropout
        states = torch.where(dropped[:, None, None], bank.empty.float(), states)
        x_t, t, target = noised(x0, self.schedule, draws)
        return self.compute(model, x_t, t, states, target)

    @torch.no_grad()
    def evaluate(self, model: Any) -> dict[str, float]:
        """The loss of the averaged weights over fixed draws, without dropped captions."""
        keep, self.condition_dropout = self.condition_dropout, 0.0
        losses = [
            float(self.loss(model, 0, torch.Generator().manual_seed(10**6 + i))["loss"])
            for i in range(8)
        ]
        self.condition_dropout = keep
        return {"ema_loss": sum(losses) / len(losses)}

    @torch.no_grad()
    def sample_grid(self, model: Any) -> Tensor | None:
        """The preview prompts, drawn with guidance 4 in 20 DDIM steps from fixed noise."""
        if self.preview is None:
            return None
        from course_utils.guidance import Conditioning, guide
        from course_utils.samplers import sample

        vae, states = self.preview
        device = next(model.parameters()).device
        states = states.float().to(device)
        generator = torch.Generator().manual_seed(0)
        x_T = torch.randn(len(states), *self.bank.latents.shape[1:], generator=generator)
        empty = self.bank.empty.float().to(device).expand_as(states)
        latents = sample(
            guide(model, 4.0),
            x_T.to(device),
            self.schedule.to(device),
            Conditioning(states, empty),
            sampler="ddim",
            num_steps=20,
        )
        return make_grid(vae.to(device).to_pixels(latents).cpu())


def preview_prompts(data: CaptionedEmoji, count: int) -> list[str]:
    """Full captions of concepts spread over the subset, styles and backgrounds in turn."""
    concepts = data.concepts[:: max(1, len(data.concepts) // count)][:count]
    return [
        full_caption(c.name, STYLES[i % 4], BACKGROUND_NAMES[(3 * i + 7) % len(BACKGROUND_NAMES)])
        for i, c in enumerate(concepts)
    ]


def _chunks(items: list, size: int) -> list[list]:
    return [items[i : i + size] for i in range(0, len(items), size)]
