"""What `scenes-64` learns from, and how: its decoder, its bank of latents and captions, its task.

The encoder of `emoji-64` rests, so a latent means the same in both models. The decoder goes on
training on scenes. The text encoder is trained together with the U-Net, by the denoiser's own loss,
as in Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", section
3.3 (equation 3 is minimised over both): words for place, number and light are learnt from what
they change in the picture.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from course_utils.data.scene_captions import describe, say, say_vaguely
from course_utils.data.scenes import Scene, World
from course_utils.files import write_atomically
from course_utils.guidance import Conditioning, guide
from course_utils.images import make_grid
from course_utils.models.clip import TextEncoder
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.unet import UNet
from course_utils.models.vae import VAE
from course_utils.samplers import sample
from course_utils.schedules import NoiseSchedule
from course_utils.training.bank import generator_on
from course_utils.training.denoiser import noised, squared_errors
from course_utils.training.loop import pick_precision
from course_utils.training.vae import DecoderTask, psnr


def draw_scenes(world: World, n: int, generator: torch.Generator) -> tuple[list[Scene], Tensor]:
    """n random scenes and their pictures (n, 3, 64, 64) in [-1, 1].

    Args:
        world: moved to the generator's device.
        n: how many.
        generator: fixes scenes and pictures.
    """
    device = generator.device
    number = torch.randint(2**62, (), generator=generator, device=device)
    scenes = world.draw(n, Random(int(number)))
    with torch.autocast(device.type, enabled=False):  # pictures are made in full precision
        return scenes, world.to(device).render(scenes, generator)


class SceneDecoderTask(DecoderTask):
    """Go on with the decoder of `emoji-64` on scenes; the loss is `DecoderTask`'s.

    Args:
        vae: its decoder is trained in place, its encoder rests.
        world: draws the scenes.
        batch_size: B.
    """

    name = "scenes-decoder"

    def __init__(self, vae: VAE, world: World, batch_size: int) -> None:
        super().__init__(vae, world.subset, batch_size)
        self.world = world

    def draw_batch(self, generator: torch.Generator) -> Tensor:
        """B pictures of random scenes."""
        return draw_scenes(self.world, self.batch_size, generator)[1]

    @torch.no_grad()
    def evaluate(self, model: VAE) -> dict[str, float]:
        """PSNR in decibel on 400 fresh scenes, mean over pictures."""
        return {"psnr": float(psnr(model, self._fresh(400, model.device)))}

    @torch.no_grad()
    def sample_grid(self, model: VAE) -> Tensor:
        """Sixteen scenes above their reconstructions, eight a row."""
        x = self._fresh(16, model.device)
        y = model.decode(model.encode(x).mode()).clamp(-1, 1)
        return make_grid(torch.cat([x[:8], y[:8], x[8:], y[8:]]).cpu())

    def _fresh(self, count: int, device: torch.device) -> Tensor:
        return draw_scenes(self.world, count, torch.Generator(device).manual_seed(10**6))[1]


@dataclass(frozen=True)
class SceneBank:
    """Latents and captions, computed once.

    Attributes:
        latents: (N, 4, 8, 8) half, of about unit variance.
        true: (N, K, L) int16, token ids of captions that say what the picture shows.
        vague: (N, V, L) int16, of captions that say next to nothing.
        empty: (L,) int16, of the empty prompt.
    """

    latents: Tensor
    true: Tensor
    vague: Tensor
    empty: Tensor

    def to(self, device: torch.device) -> SceneBank:
        """The same bank on another device."""
        return SceneBank(*(getattr(self, field.name).to(device) for field in fields(self)))


@torch.no_grad()
def build_scene_bank(
    world: World,
    vae: VAE,
    tokenizer: Tokenizer,
    size: int,
    captions: int,
    seed: int,
    cache: Path | None = None,
    progress: bool = False,
) -> SceneBank:
    """Draw `size` scenes, encode their pictures and cut their captions into tokens.

    Args:
        world: what happens.
        vae: encodes; on the device that does it best.
        tokenizer: cuts the captions.
        size: N, pictures.
        captions: K, true captions for each; half as many are vague.
        seed: fixes everything.
        cache: read from here if it was written for the same question; else written.
        progress: show a bar.
    """
    from tqdm.auto import tqdm

    asked = _question(world, tokenizer, size, captions, seed)
    if cache is not None and cache.exists():
        with safe_open(cache, framework="pt") as file:
            if (file.metadata() or {}).get("asked") == asked:
                return SceneBank(*(file.get_tensor(f.name) for f in fields(SceneBank)))
    device, fast = vae.device, pick_precision() == "bf16"
    vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator(device).manual_seed(seed)
    rng = Random(seed)
    latents, true, vague = [], [], []
    starts = range(0, size, 256)
    for start in tqdm(starts, desc="bank", disable=not progress, mininterval=5):
        scenes, pixels = draw_scenes(world, min(256, size - start), generator)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=fast):
            latents.append(vae.to_latents(pixels).cpu().half())
        for scene in scenes:
            true += [say(scene, world.concepts, rng) for _ in range(captions)]
            vague += [say_vaguely(scene, world.concepts, rng) for _ in range((captions + 1) // 2)]
    bank = SceneBank(
        torch.cat(latents).contiguous(),
        _cut(tokenizer, true).unflatten(0, (size, -1)),
        _cut(tokenizer, vague).unflatten(0, (size, -1)),
        tokenizer("")[0].to(torch.int16),
    )
    if cache is not None:
        tensors = {field.name: getattr(bank, field.name) for field in fields(bank)}
        write_atomically(cache, save(tensors, metadata={"asked": asked}))
    return bank


def _cut(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """Token ids (texts, L) int16, each distinct text cut once."""
    index = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    distinct = list(index)
    parts = [distinct[i : i + 4096] for i in range(0, len(distinct), 4096)]
    ids = torch.cat([tokenizer(part).to(torch.int16) for part in parts])
    return ids[torch.tensor([index[text] for text in texts])]


def _question(world: World, tokenizer: Tokenizer, size: int, captions: int, seed: int) -> str:
    words = json.dumps([tokenizer.vocab, tokenizer.merges, tokenizer.model_max_length])
    digest = hashlib.sha256(words.encode()).hexdigest()
    return f"{world.subset} {world.mix} {size} {captions} {seed} {digest}"


class Painter(nn.Module):
    """A U-Net and the text encoder that it listens to, trained as one.

    Args:
        unet: predicts from latents and text states.
        text_encoder: token ids to text states.
    """

    def __init__(self, unet: UNet, text_encoder: TextEncoder) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, x_t: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        """Latents (B, 4, 8, 8), timesteps (B,), ids (B, L) -> prediction (B, 4, 8, 8)."""
        return self.unet(x_t, t, self.text_encoder(ids))


class SceneTask:
    """Noise a latent, ask for v, compare; the captions are as bad as those of the web.

    Args:
        painter: trained in place.
        bank: see `build_scene_bank`.
        schedule: how much noise at which timestep, and what is predicted.
        batch_size: B.
        wrong_captions: r, the share of captions that tell the network nothing true: half of them
            are vague, half belong to another picture.
        condition_dropout: share of captions replaced by the empty one (Ho and Salimans 2022,
            algorithm 1).
        preview: `(vae, ids)`: what `sample_grid` draws.
    """

    name = "scenes"

    def __init__(
        self,
        painter: Painter,
        bank: SceneBank,
        schedule: NoiseSchedule,
        batch_size: int,
        wrong_captions: float = 0.3,
        condition_dropout: float = 0.1,
        preview: tuple[VAE, Tensor] | None = None,
    ) -> None:
        if not 0 <= wrong_captions <= 1:
            raise ValueError(f"wrong_captions is {wrong_captions}; expected a share from 0 to 1")
        self.model: nn.Module = painter
        self.bank, self.schedule = bank, schedule
        self.batch_size, self.wrong_captions = batch_size, wrong_captions
        self.condition_dropout = condition_dropout
        self.preview = preview
        self.tokenizer: Tokenizer | None = None  # what the bank was made with
        self.world: World | None = None
        self.compute = squared_errors

    def loss(self, model: Any, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of the prediction for one batch."""
        device = next(model.parameters()).device
        if {self.bank.latents.device, self.schedule.alpha_bar.device} != {device}:
            self.bank, self.schedule = self.bank.to(device), self.schedule.to(device)
        count = self.batch_size
        draws: Any = {"generator": generator_on(device, generator), "device": device}
        rows = torch.randint(len(self.bank.latents), (count,), **draws)
        x0 = self.bank.latents[rows].float()  # (B, 4, 8, 8)
        ids = self.draw_captions(rows, draws)  # (B, L)
        x_t, t, target = noised(x0, self.schedule, draws)
        return self.compute(model, x_t, t, ids, target)

    def draw_captions(self, rows: Tensor, draws: Any) -> Tensor:
        """Token ids (B, L) int64 for pictures `rows`: true, vague, foreign or empty."""
        bank, count = self.bank, len(rows)

        def one_of(captions: Tensor, pictures: Tensor) -> Tensor:
            return captions[pictures, torch.randint(captions.shape[1], (count,), **draws)]

        ids = one_of(bank.true, rows)
        vague = one_of(bank.vague, rows)
        foreign = one_of(bank.true, torch.randint(len(bank.true), (count,), **draws))
        chance = torch.rand(count, **draws)[:, None]
        ids = torch.where(chance < self.wrong_captions, vague, ids)
        ids = torch.where(chance < self.wrong_captions / 2, foreign, ids)
        dropped = torch.rand(count, **draws)[:, None] < self.condition_dropout
        return torch.where(dropped, bank.empty, ids).long()

    @torch.no_grad()
    def evaluate(self, model: Any) -> dict[str, float]:
        """The loss over fixed draws with true captions, and with empty ones."""
        keep = self.wrong_captions, self.condition_dropout
        figures = {}
        for name, dropout in (("ema_loss", 0.0), ("ema_loss_without_words", 1.0)):
            self.wrong_captions, self.condition_dropout = 0.0, dropout
            losses = [
                float(self.loss(model, 0, torch.Generator().manual_seed(10**6 + i))["loss"])
                for i in range(8)
            ]
            figures[name] = sum(losses) / len(losses)
        self.wrong_captions, self.condition_dropout = keep
        return figures

    @torch.no_grad()
    def sample_grid(self, model: Any) -> Tensor | None:
        """The preview prompts, drawn with guidance 4 in 20 DDIM steps from fixed noise."""
        if self.preview is None:
            return None
        vae, ids = self.preview
        device = next(model.parameters()).device
        states = model.text_encoder(ids.to(device))
        empty = model.text_encoder(self.bank.empty.long().to(device)[None]).expand_as(states)
        generator = torch.Generator().manual_seed(0)
        x_T = torch.randn(len(states), *self.bank.latents.shape[1:], generator=generator)
        latents = sample(
            guide(model.unet, 4.0),
            x_T.to(device),
            self.schedule.to(device),
            Conditioning(states, empty),
            sampler="ddim",
            num_steps=20,
        )
        return make_grid(vae.to(device).to_pixels(latents).cpu())


def preview_scenes(world: World, count: int) -> list[str]:
    """Full descriptions of scenes that any world of this subset may show."""
    scenes = world.draw(10 * count, Random("preview"))
    good = [scene for scene in scenes if scene.damage == "none"]
    return [describe(scene, world.concepts, quality=True) for scene in good[:count]]
