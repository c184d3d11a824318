"""Recipe `vae`: an autoencoder for 64x64 pictures with 8x8x4 latents."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.data.emoji import BACKGROUND_NAMES, CaptionedEmoji
from course_utils.images import make_grid
from course_utils.models.vae import VAE
from course_utils.training.bank import generator_on


class VAETask:
    """Rebuild the picture: L1 and squared error on pixels, L1 on their differences, a little KL.

    loss = |x - y| + (x - y)^2 + gradient_weight * |grad x - grad y| + kl_weight * KL / latent
    numbers

    The squared error finds the colours early on; the third term, on the differences of neighbouring
    pixels, keeps edges sharp; the last keeps latents near N(0, I) (Rombach et al. 2022, section
    3.1, use a weight of 1e-6).

    Args:
        vae: the model; it is trained in place.
        subset: which concepts, see `course_utils.data.emoji`.
        batch_size: B.
        whole_from: until this step the model sees random 32x32 crops, which cost a quarter, so that
            it takes four times as many steps in the same time; then whole pictures.
        gradient_weight, kl_weight: see above.
    """

    name = "vae"

    def __init__(
        self,
        vae: VAE,
        subset: str,
        batch_size: int,
        whole_from: int = 0,
        gradient_weight: float = 0.5,
        kl_weight: float = 1e-4,
    ) -> None:
        self.whole_from = whole_from
        self.model: nn.Module = vae
        self.data = CaptionedEmoji(subset, split="train")
        self.held_out = CaptionedEmoji(subset, split="held_out")
        self.batch_size = batch_size
        self.gradient_weight, self.kl_weight = gradient_weight, kl_weight
        self.compute = self._compute
        if vae.device.type == "cpu":  # measured: 1.4 times as fast there
            vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, model: VAE, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of one batch, and its parts."""
        device = next(model.parameters()).device
        draws = generator_on(device, generator)
        x = self.draw_batch(draws)
        if step < self.whole_from:
            top, left = torch.randint(0, 33, (2,), generator=generator).tolist()
            x = x[:, :, top : top + 32, left : left + 32]
        x = x.contiguous(memory_format=torch.channels_last)
        shape = (len(x), 4, x.shape[2] // 8, x.shape[3] // 8)
        noise = torch.randn(shape, generator=draws, device=device)
        return self.compute(model, x, noise)

    def draw_batch(self, generator: torch.Generator) -> Tensor:
        """B pictures (B, 3, 64, 64) to learn from, on the generator's device."""
        if self.data.art.device != generator.device:
            self.data.to(generator.device)
        return draw_pictures(self.data, self.batch_size, generator)

    def _compute(self, model: VAE, x: Tensor, noise: Tensor) -> dict[str, Tensor]:
        gaussian = model.encode(x)
        z = gaussian.mean + (0.5 * gaussian.log_var).exp() * noise
        losses = self._rebuilding(model.decode(z), x)
        kl = gaussian.kl().mean() / z[0].numel()
        return losses | {"loss": losses["loss"] + self.kl_weight * kl, "kl": kl}

    def _rebuilding(self, y: Tensor, x: Tensor) -> dict[str, Tensor]:
        """The loss of pictures y that should be x, without KL, and its parts."""
        pixel = F.l1_loss(y, x)
        gradient = F.l1_loss(y.diff(dim=-1), x.diff(dim=-1))
        gradient = gradient + F.l1_loss(y.diff(dim=-2), x.diff(dim=-2))
        loss = pixel + F.mse_loss(y, x) + self.gradient_weight * gradient
        return {"loss": loss, "l1": pixel, "gradient": gradient}

    @torch.no_grad()
    def evaluate(self, model: VAE) -> dict[str, float]:
        """PSNR in decibel on trained and on held-out pictures, means over pictures."""
        figures = {"psnr": float(psnr(model, spread(self.data)))}
        if len(self.held_out):
            figures["psnr_held_out"] = float(psnr(model, spread(self.held_out)))
        return figures

    @torch.no_grad()
    def sample_grid(self, model: VAE) -> Tensor:
        """Eight pictures above their reconstructions, twice: trained, then held out."""
        rows = []
        for data in filter(len, (self.data, self.held_out)):
            every = max(1, len(data) // 8)
            chosen = list(range(0, len(data), every))[:8]
            x = torch.stack([data[i].image for i in chosen]).to(next(model.parameters()).device)
            rows += [x, model.decode(model.encode(x).mode()).clamp(-1, 1)]
        return make_grid(torch.cat([r.cpu() for r in rows]), columns=len(rows[0]))


class DecoderTask(VAETask):
    """Go on with the decoder alone: the encoder rests, so that every latent stays what it is.

    The denoiser learns from latents. Once there are some, only what turns them into pictures can
    still become better without training the denoiser anew; both can be trained side by side.

    Args:
        vae: trained by `VAETask`; its decoder is trained in place.
        subset, batch_size: see `VAETask`.
    """

    name = "decoder"

    def __init__(self, vae: VAE, subset: str, batch_size: int) -> None:
        super().__init__(vae, subset, batch_size)
        for part in (vae.encoder, vae.quant_conv):
            part.requires_grad_(False)

    def _compute(self, model: VAE, x: Tensor, noise: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            gaussian = model.encode(x)
            z = gaussian.mean + (0.5 * gaussian.log_var).exp() * noise
        return self._rebuilding(model.decode(z), x)


def spread(data: CaptionedEmoji, most: int = 400) -> Tensor:
    """At most `most` pictures, evenly spread over the data: (N, 3, 64, 64)."""
    every = -(-len(data) // most)
    return torch.stack([data[i].image for i in range(0, len(data), every)])


def draw_pictures(data: CaptionedEmoji, count: int, generator: torch.Generator) -> Tensor:
    """Random pairs on random backgrounds, without captions: (count, 3, 64, 64)."""
    device = generator.device
    chosen = torch.randint(len(data.pairs), (count,), generator=generator, device=device)
    background = torch.randint(len(BACKGROUND_NAMES), (count,), generator=generator, device=device)
    pairs = data.pair_ids[chosen]
    return data.render_batch(pairs[:, 0], pairs[:, 1], background)


def psnr(vae: VAE, pixels: Tensor, batch_size: int = 64) -> Tensor:
    """Peak signal-to-noise ratio of reconstructions in dB: 10 log10(peak^2 / MSE), peak = 2."""
    device = next(vae.parameters()).device
    values = []
    for x in pixels.split(batch_size):
        x = x.to(device)
        y = vae.decode(vae.encode(x).mode()).clamp(-1, 1)
        mse = (y - x).square().mean(dim=(1, 2, 3))
        values.append(10 * torch.log10(4.0 / mse))
    return torch.cat(values).mean()
