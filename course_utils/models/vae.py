"""The variational autoencoder: pictures to small latents and back.

A picture (B, 3, H, W) in [-1, 1] becomes a Gaussian over latents (B, 4, H/8, W/8). The mean of that
Gaussian times `scaling_factor` has unit variance, which is what the denoiser works on.

Source: Kingma and Welling 2014, "Auto-encoding variational Bayes", equations 3 and 10; Rombach et
al. 2022, "High-resolution image synthesis with latent diffusion models", section 3.1. Configuration
fields and parameter names are those of `diffusers.AutoencoderKL`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.base import Model, check_counts, check_groups
from course_utils.models.blocks import Downsample2D, ResnetBlock2D, SpatialAttention, Upsample2D

VAE_COUNTS = (
    "sample_size",
    "in_channels",
    "out_channels",
    "layers_per_block",
    "latent_channels",
    "norm_num_groups",
)
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


@dataclass(frozen=True)
class VAEConfig:
    """Fields of `AutoencoderKL`; the defaults are Stable Diffusion 1.x's."""

    in_channels: int = 3
    out_channels: int = 3
    down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",) * 4
    up_block_types: tuple[str, ...] = ("UpDecoderBlock2D",) * 4
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)  # each step after the first halves
    layers_per_block: int = 2
    act_fn: str = "silu"
    latent_channels: int = 4
    norm_num_groups: int = 32
    sample_size: int = 512  # H and W of the training pictures
    scaling_factor: float = 0.18215  # 1 / standard deviation of the latents' means

    def __post_init__(self) -> None:
        check_counts(self, VAE_COUNTS, lists=("block_out_channels",))
        check_groups(self)
        if not (isinstance(self.scaling_factor, int | float) and self.scaling_factor > 0):
            raise ValueError(
                f"scaling_factor is {self.scaling_factor!r}; expected a number above 0."
            )
        n = len(self.block_out_channels)
        if self.down_block_types != ("DownEncoderBlock2D",) * n:
            raise ValueError(
                f"down_block_types is {self.down_block_types}; expected {n} x 'DownEncoderBlock2D',"
                " one for each of block_out_channels."
            )
        if self.up_block_types != ("UpDecoderBlock2D",) * n:
            raise ValueError(
                f"up_block_types is {self.up_block_types}; expected {n} x 'UpDecoderBlock2D', "
                " one for each of block_out_channels."
            )
        if self.act_fn != "silu":
            raise ValueError(f"act_fn is {self.act_fn!r}; expected 'silu'.")


@dataclass(frozen=True)
class DiagonalGaussian:
    """The encoder's answer: an independent Gaussian for every latent number.

    Args:
        mean: mu, (B, 4, H/8, W/8).
        log_var: log sigma^2, of the same shape.
    """

    mean: Tensor
    log_var: Tensor

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """z = mu + sigma * epsilon with epsilon ~ N(0, I): the reparameterisation trick."""
        epsilon = torch.randn(
            self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype
        )
        return self.mean + (0.5 * self.log_var).exp() * epsilon

    def mode(self) -> Tensor:
        """The most likely latent: mu."""
        return self.mean

    def kl(self) -> Tensor:
        """KL(N(mu, sigma^2) || N(0, I)) in nats per picture, (B,).

        Kingma and Welling 2014, appendix B: 1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2).
        """
        terms = self.mean.square() + self.log_var.exp() - 1.0 - self.log_var
        return 0.5 * terms.sum(dim=(1, 2, 3))


class VAE(Model):
    """Encoder, decoder and the two 1x1 convolutions around the latents.

    >>> vae = VAE(block_out_channels=(8, 8, 8, 8), norm_num_groups=4, sample_size=64)
    >>> vae.encode(torch.zeros(1, 3, 64, 64)).mean.shape
    torch.Size([1, 4, 8, 8])
    """

    Config = VAEConfig
    CLASS_NAME = "AutoencoderKL"
    FIXED: ClassVar[Mapping[str, Any]] = {
        "force_upcast": ...,  # a hint for half precision; our pipeline always decodes in float32
        "use_quant_conv": True,
        "use_post_quant_conv": True,
        "mid_block_add_attention": True,
    }
    config: VAEConfig

    def __init__(self, config: VAEConfig | None = None, **fields: Any) -> None:
        super().__init__(config, **fields)
        c = self.config
        self.encoder = Encoder(c)
        self.decoder = Decoder(c)
        self.quant_conv = nn.Conv2d(2 * c.latent_channels, 2 * c.latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(c.latent_channels, c.latent_channels, 1)

    @classmethod
    def convert_state_dict(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Stable Diffusion 1.x's own file has older names for the parts of the attention."""
        for old, new in OLD_NAMES.items():
            state = {k.replace(f".{old}.", f".{new}."): v for k, v in state.items()}
        return state

    def encode(self, pixels: Tensor) -> DiagonalGaussian:
        """(B, 3, H, W) in [-1, 1] -> a Gaussian over (B, 4, H/8, W/8), not yet scaled."""
        mean, log_var = self.quant_conv(self.encoder(pixels)).chunk(2, dim=1)
        return DiagonalGaussian(mean, log_var.clamp(-30.0, 20.0))

    def decode(self, z: Tensor) -> Tensor:
        """(B, 4, h, w), not scaled -> pictures (B, 3, 8h, 8w), about [-1, 1] and not clipped."""
        return self.decoder(self.post_quant_conv(z))

    def to_latents(self, pixels: Tensor) -> Tensor:
        """What the denoiser works on: the mean times `scaling_factor`, of unit variance."""
        return self.encode(pixels).mode() * self.config.scaling_factor

    def to_pixels(self, latents: Tensor) -> Tensor:
        """The inverse of `to_latents`, clipped to [-1, 1]."""
        return self.decode(latents / self.config.scaling_factor).clamp(-1.0, 1.0)

    def forward(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Encode, sample, decode: (B, 3, H, W) -> (B, 3, H, W)."""
        return self.decode(self.encode(pixels).sample(generator))


class Encoder(nn.Module):
    """Halves the picture between levels, mixes all positions, gives mean and log variance."""

    def __init__(self, c: VAEConfig) -> None:
        super().__init__()
        widths, groups = c.block_out_channels, c.norm_num_groups
        self.conv_in = nn.Conv2d(c.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            EncoderBlock(before, width, c.layers_per_block, groups, down=i < len(widths) - 1)
            for i, (before, width) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )
        self.mid_block = MidBlock(widths[-1], groups)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 2 * c.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 8, H/8, W/8)."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """The encoder's mirror image, with one more residual block a level."""

    def __init__(self, c: VAEConfig) -> None:
        super().__init__()
        widths, groups = tuple(reversed(c.block_out_channels)), c.norm_num_groups
        self.conv_in = nn.Conv2d(c.latent_channels, widths[0], 3, padding=1)
        self.mid_block = MidBlock(widths[0], groups)
        self.up_blocks = nn.ModuleList(
            DecoderBlock(before, width, c.layers_per_block + 1, groups, up=i < len(widths) - 1)
            for i, (before, width) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], c.out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(B, 4, h, w) -> (B, 3, 8h, 8w)."""
        x = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class EncoderBlock(nn.Module):
    """`layers` residual blocks, then half the size."""

    def __init__(self, before: int, width: int, layers: int, groups: int, down: bool) -> None:
        super().__init__()
        self.resnets = _resnets(before, width, layers, groups)
        self.downsamplers = nn.ModuleList([Downsample2D(width, padding=0)] if down else [])

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, width, H/2, W/2)."""
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x)
        return x


class DecoderBlock(nn.Module):
    """`layers` residual blocks, then twice the size."""

    def __init__(self, before: int, width: int, layers: int, groups: int, up: bool) -> None:
        super().__init__()
        self.resnets = _resnets(before, width, layers, groups)
        self.upsamplers = nn.ModuleList([Upsample2D(width)] if up else [])

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, width, 2H, 2W)."""
        for layer in (*self.resnets, *self.upsamplers):
            x = layer(x)
        return x


class MidBlock(nn.Module):
    """Residual block, attention over all positions, residual block."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([SpatialAttention(width, groups)])
        self.resnets = _resnets(width, width, 2, groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, width, H, W)."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


def _resnets(before: int, width: int, layers: int, groups: int) -> nn.ModuleList:
    return nn.ModuleList(
        ResnetBlock2D(before if i == 0 else width, width, groups=groups) for i in range(layers)
    )
