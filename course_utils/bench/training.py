"""Training steps: forward, backward and AdamW, of the U-Net, the VAE and CLIP's text tower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.bench.drawing import difference
from course_utils.bench.subject import PROMPT, Subject
from course_utils.bench.timing import Row, summarize, synchronizer, time_pairs
from course_utils.models import VAE, TextEncoder, UNet

UNET_BATCH, VAE_BATCH, TEXT_BATCH = 32, 16, 96


def training_steps(subject: Subject, pairs: int) -> list[Row]:
    """Samples a second of each model, both sides from the same weights on the same batch."""
    return [
        _row(subject, pairs, "U-Net training", UNET_BATCH, *_unets(subject)),
        _row(subject, pairs, "VAE training, channels last", VAE_BATCH, *_vaes(subject)),
        _row(subject, pairs, "text tower training", TEXT_BATCH, *_text_towers(subject)),
    ]


Loss = Callable[[], Tensor]


def _row(
    subject: Subject,
    pairs: int,
    name: str,
    batch: int,
    ours: nn.Module,
    our_loss: Loss,
    theirs: nn.Module,
    their_loss: Loss,
) -> Row:
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.train()
    theirs.train()
    first, second = _stepper(ours, our_loss), _stepper(theirs, their_loss)
    check = difference(first(), second())  # the losses before the first update
    seconds = time_pairs(first, second, pairs, 2, synchronizer(subject.device))
    what = f"{name}, batch {batch}"
    return summarize("train", what, "samples/s", seconds, lambda s: batch / s, check)


def _stepper(model: nn.Module, loss: Loss) -> Loss:
    """One optimiser step a call; returns the loss from before it."""
    adam = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> Tensor:
        value = loss()
        value.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)
        return value.detach()

    return step


def _noise(*shape: int, seed: int, device: torch.device) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def _unets(subject: Subject) -> tuple[nn.Module, Loss, nn.Module, Loss]:
    from diffusers import UNet2DConditionModel

    device, config = subject.device, subject.ours.unet.config
    size, channels = config.sample_size, config.in_channels
    ours = UNet(config).to(device)
    ours.load_state_dict(subject.ours.unet.state_dict())
    theirs: Any = UNet2DConditionModel.from_config(ours.to_config()).to(device)
    x_t = _noise(UNET_BATCH, channels, size, size, seed=0, device=device)
    target = _noise(UNET_BATCH, config.out_channels, size, size, seed=1, device=device)
    length = subject.ours.tokenizer.model_max_length
    states = _noise(UNET_BATCH, length, config.cross_attention_dim, seed=2, device=device)
    t = torch.arange(UNET_BATCH, device=device) * (1000 // UNET_BATCH)
    return (
        ours,
        lambda: F.mse_loss(ours(x_t, t, states), target),
        theirs,
        lambda: F.mse_loss(theirs(x_t, t, states, return_dict=False)[0], target),
    )


def _vaes(subject: Subject) -> tuple[nn.Module, Loss, nn.Module, Loss]:
    from diffusers import AutoencoderKL

    device, config = subject.device, subject.ours.vae.config
    ours = VAE(config).to(device)
    ours.load_state_dict(subject.ours.vae.state_dict())
    theirs: Any = AutoencoderKL.from_config(ours.to_config()).to(device)
    for model in (ours, theirs):  # as the recipe trains it
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = config.sample_size
    x = _noise(VAE_BATCH, config.in_channels, size, size, seed=0, device=device)
    x = x.contiguous(memory_format=torch.channels_last)

    def our_loss() -> Tensor:
        gaussian = ours.encode(x)
        y = ours.decode(gaussian.sample(torch.Generator(device).manual_seed(0)))
        return F.l1_loss(y, x) + 1e-6 * gaussian.kl().mean()

    def their_loss() -> Tensor:
        gaussian = theirs.encode(x, return_dict=False)[0]
        z = gaussian.sample(torch.Generator(device).manual_seed(0))
        y = theirs.decode(z, return_dict=False)[0]
        return F.l1_loss(y, x) + 1e-6 * gaussian.kl().mean()

    return ours, our_loss, theirs, their_loss


def _text_towers(subject: Subject) -> tuple[nn.Module, Loss, nn.Module, Loss]:
    from transformers import CLIPTextConfig, CLIPTextModel

    device, config = subject.device, subject.ours.text_encoder.config
    ours = TextEncoder(config).to(device)
    ours.load_state_dict(subject.ours.text_encoder.state_dict())
    theirs: Any = CLIPTextModel(CLIPTextConfig(**ours.to_config())).to(device)
    ids = subject.ours.tokenizer([PROMPT] * TEXT_BATCH).to(device)
    target = _noise(TEXT_BATCH, config.hidden_size, seed=0, device=device)
    return (
        ours,
        lambda: F.mse_loss(ours.pool(ours(ids), ids), target),
        theirs,
        lambda: F.mse_loss(theirs(input_ids=ids).pooler_output, target),
    )
