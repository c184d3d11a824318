"""The denoiser: a U-Net that knows the time and listens to words.

It takes noisy latents x_t, the timestep t and text states, and predicts epsilon, x0 or v. Going
down, maps get smaller and wider; going up, they grow back, and each level sees what the same level
saw on the way down (the skips).

Source: Ronneberger et al. 2015, "U-Net"; Ho et al. 2020, appendix B (time embedding, residual
blocks); Rombach et al. 2022, section 3.3 and equation 3 (cross-attention to text). Configuration
fields and parameter names are those of `diffusers.UNet2DConditionModel` for the blocks that Stable
Diffusion 1.x uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.base import Model, check_counts, check_groups
from course_utils.models.blocks import Attention, Downsample2D, ResnetBlock2D, Upsample2D


@dataclass(frozen=True)
class UNetConfig:
    """Fields of `UNet2DConditionModel`; the defaults are Stable Diffusion 1.x's."""

    sample_size: int = 64  # H and W of the latents
    in_channels: int = 4
    out_channels: int = 4
    down_block_types: tuple[str, ...] = (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D")
    up_block_types: tuple[str, ...] = ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3)
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)  # widths of the levels
    layers_per_block: int = 2
    cross_attention_dim: int = 768  # D, the width of the text states
    attention_head_dim: int | tuple[int, ...] = 8  # in diffusers this field is the NUMBER of heads
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    flip_sin_to_cos: bool = True
    freq_shift: int = 0

    def __post_init__(self) -> None:
        check_config(self)

    @property
    def heads(self) -> tuple[int, ...]:
        """The number of attention heads of each level."""
        heads = self.attention_head_dim
        return heads if isinstance(heads, tuple) else (heads,) * len(self.block_out_channels)


class UNet(Model):
    """(x_t, t, text states) -> model output of the shape of x_t.

    >>> unet = UNet(block_out_channels=(8, 16), attention_head_dim=2, norm_num_groups=4,
    ...     cross_attention_dim=12, sample_size=8, layers_per_block=1,
    ...     down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    ...     up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"))
    >>> x_t, t = torch.zeros(2, 4, 8, 8), torch.tensor([10, 900])
    >>> unet(x_t, t, text_states=torch.zeros(2, 5, 12)).shape
    torch.Size([2, 4, 8, 8])
    """

    Config = UNetConfig
    CLASS_NAME = "UNet2DConditionModel"
    config: UNetConfig

    def __init__(self, config: UNetConfig | None = None, **fields: Any) -> None:
        super().__init__(config, **fields)
        c = self.config
        widths, heads, layers = c.block_out_channels, c.heads, c.layers_per_block
        temb = 4 * widths[0]
        shared: dict[str, Any] = {"temb": temb, "context": c.cross_attention_dim, "config": c}

        self.conv_in = nn.Conv2d(c.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], temb)

        self.down_blocks = nn.ModuleList()
        before = widths[0]
        skips = [before]  # the channels of every map that the way down hands to the way up
        for i, width in enumerate(widths):
            last = i == len(widths) - 1
            attends = c.down_block_types[i].startswith("CrossAttn")
            self.down_blocks.append(
                DownBlock(before, width, layers, heads[i] if attends else None, not last, **shared)
            )
            skips += [width] * (layers if last else layers + 1)
            before = width

        self.mid_block = MidBlock(before, heads[-1], **shared)

        self.up_blocks = nn.ModuleList()
        for i, width in enumerate(reversed(widths)):
            last = i == len(widths) - 1
            attends = c.up_block_types[i].startswith("CrossAttn")
            from_below = [skips.pop() for _ in range(layers + 1)]
            n_heads = heads[-1 - i] if attends else None
            self.up_blocks.append(UpBlock(before, width, from_below, n_heads, not last, **shared))
            before = width

        self.conv_norm_out = nn.GroupNorm(c.norm_num_groups, widths[0], c.norm_eps)
        self.conv_out = nn.Conv2d(widths[0], c.out_channels, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor | int, text_states: Tensor) -> Tensor:
        """Predict from noisy latents.

        Args:
            x_t: (B, in_channels, H, W).
            t: timesteps, (B,) or one number for all.
            text_states: (B, L, cross_attention_dim).

        Returns:
            (B, out_channels, H, W).
        """
        c = self.config
        t = torch.as_tensor(t, device=x_t.device).expand(len(x_t))
        waves = timestep_embedding(t, c.block_out_channels[0], c.flip_sin_to_cos, c.freq_shift)
        temb = self.time_embedding(waves.to(x_t.dtype))  # (B, temb)

        x = self.conv_in(x_t)
        skips = [x]
        for down in self.down_blocks:
            x, new = down(x, temb, text_states)
            skips += new
        x = self.mid_block(x, temb, text_states)
        for up in self.up_blocks:
            x = up(x, skips, temb, text_states)
            skips = skips[: -(c.layers_per_block + 1)]
        return self.conv_out(F.silu(self.conv_norm_out(x)))

    # The other fields of diffusers' configuration, and the one value of each that is meant here.
    FIXED: ClassVar[Mapping[str, Any]] = {
        "act_fn": "silu",
        "attention_type": "default",
        "addition_embed_type_num_heads": ...,
        "conv_in_kernel": 3,
        "conv_out_kernel": 3,
        "downsample_padding": 1,
        "dropout": ...,
        "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "resnet_out_scale_factor": 1.0,
        "resnet_time_scale_shift": "default",
        "time_embedding_type": "positional",
        "transformer_layers_per_block": 1,
    }


def timestep_embedding(
    t: Tensor, dim: int, flip_sin_to_cos: bool = True, freq_shift: float = 0.0
) -> Tensor:
    """Waves of many lengths, so that near and far timesteps can both be told apart.

    Vaswani et al. 2017, section 3.5: sin(t / 10000^(i/half)) and cos of the same, for i from 0 to
    half - 1.

    Args:
        t: timesteps (B,).
        dim: even; half of it sines, half cosines.
        flip_sin_to_cos: put the cosines first, as Stable Diffusion does.
        freq_shift: subtracted from `half` in the exponent.

    Returns:
        (B, dim), float32.
    """
    half = dim // 2
    exponent = -math.log(10_000) * torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(exponent / (half - freq_shift))  # (B, half)
    sin, cos = angles.sin(), angles.cos()
    return torch.cat([cos, sin] if flip_sin_to_cos else [sin, cos], dim=-1)


class TimestepEmbedding(nn.Module):
    """Two layers that turn waves into the embedding that every residual block receives."""

    def __init__(self, dim: int, temb: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(dim, temb)
        self.linear_2 = nn.Linear(temb, temb)

    def forward(self, waves: Tensor) -> Tensor:
        """(B, dim) -> (B, temb)."""
        return self.linear_2(F.silu(self.linear_1(waves)))


class DownBlock(nn.Module):
    """Residual blocks, each followed by attention where `heads` is given; then half the size."""

    def __init__(
        self,
        before: int,
        width: int,
        layers: int,
        heads: int | None,
        down: bool,
        temb: int,
        context: int,
        config: UNetConfig,
    ) -> None:
        super().__init__()
        groups, eps = config.norm_num_groups, config.norm_eps
        if heads:
            self.attentions = nn.ModuleList(
                Transformer2D(width, heads, context, groups) for _ in range(layers)
            )
        self.resnets = nn.ModuleList(
            ResnetBlock2D(before if i == 0 else width, width, temb, groups, eps)
            for i in range(layers)
        )
        if down:
            self.downsamplers = nn.ModuleList([Downsample2D(width)])

    def forward(self, x: Tensor, temb: Tensor, text_states: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Returns the map and everything that the way up will need."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, temb)
            if hasattr(self, "attentions"):
                x = self.attentions[i](x, text_states)
            skips.append(x)
        if hasattr(self, "downsamplers"):
            x = self.downsamplers[0](x)
            skips.append(x)
        return x, skips


class MidBlock(nn.Module):
    """At the smallest size: residual block, attention, residual block."""

    def __init__(self, width: int, heads: int, temb: int, context: int, config: UNetConfig) -> None:
        super().__init__()
        groups, eps = config.norm_num_groups, config.norm_eps
        self.attentions = nn.ModuleList([Transformer2D(width, heads, context, groups)])
        self.resnets = nn.ModuleList(
            ResnetBlock2D(width, width, temb, groups, eps) for _ in range(2)
        )

    def forward(self, x: Tensor, temb: Tensor, text_states: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, width, H, W)."""
        x = self.attentions[0](self.resnets[0](x, temb), text_states)
        return self.resnets[1](x, temb)


class UpBlock(nn.Module):
    """Joins each map with its skip from the way down; residual block, attention; twice the size."""

    def __init__(
        self,
        before: int,
        width: int,
        skips: list[int],
        heads: int | None,
        up: bool,
        temb: int,
        context: int,
        config: UNetConfig,
    ) -> None:
        super().__init__()
        groups, eps = config.norm_num_groups, config.norm_eps
        if heads:
            self.attentions = nn.ModuleList(
                Transformer2D(width, heads, context, groups) for _ in skips
            )
        self.resnets = nn.ModuleList(
            ResnetBlock2D((before if i == 0 else width) + skip, width, temb, groups, eps)
            for i, skip in enumerate(skips)
        )
        if up:
            self.upsamplers = nn.ModuleList([Upsample2D(width)])

    def forward(self, x: Tensor, skips: list[Tensor], temb: Tensor, text_states: Tensor) -> Tensor:
        """Joins the last of `skips` first, one with each residual block; the rest is for others."""
        for i, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips[-1 - i]], dim=1), temb)
            if hasattr(self, "attentions"):
                x = self.attentions[i](x, text_states)
        if hasattr(self, "upsamplers"):
            x = self.upsamplers[0](x, skips[-1 - len(self.resnets)].shape[-2:])
        return x


class Transformer2D(nn.Module):
    """Attention over a feature map: positions become a sequence, and the result is added back."""

    def __init__(self, width: int, heads: int, context: int, groups: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(
                f"attention_head_dim asks for {heads} heads; expected a divisor of the level's "
                f"width, {width}."
            )
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, heads, context)])
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, text_states: Tensor) -> Tensor:
        """(B, C, H, W), (B, L, D) -> (B, C, H, W)."""
        h = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)  # (B, H*W, C)
        h = self.transformer_blocks[0](h, text_states)
        return x + self.proj_out(h.transpose(1, 2).reshape(x.shape))


class TransformerBlock(nn.Module):
    """Positions look at positions, positions look at words, then each thinks alone."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, None, heads, width // heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = Attention(width, context, heads, width // heads)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, text_states: Tensor) -> Tensor:
        """(B, H*W, C), (B, L, D) -> (B, H*W, C)."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), text_states)
        return x + self.ff(self.norm3(x))


class FeedForward(nn.Module):
    """Four times wider with a gate, and back (Shazeer 2020, "GLU variants", GEGLU)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList(
            [GEGLU(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)."""
        return self.net[2](self.net[0](x))


class GEGLU(nn.Module):
    """value * gelu(gate), both linear in x."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, dim) -> (B, L, inner)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


# --- what a configuration may say ---------------------------------------------------------------

UNET_COUNTS = (
    "in_channels",
    "out_channels",
    "layers_per_block",
    "cross_attention_dim",
    "norm_num_groups",
)
DOWN_BLOCKS = ("DownBlock2D", "CrossAttnDownBlock2D")
UP_BLOCKS = ("UpBlock2D", "CrossAttnUpBlock2D")


def check_config(config: UNetConfig) -> None:
    """Refuse a configuration that no network can be built from.

    Raises:
        ValueError: the field, its value and what was expected.
    """
    if config.sample_size is not None:  # null is no size of its own; a pipeline needs one
        check_counts(config, ("sample_size",))
    check_counts(config, UNET_COUNTS, lists=("block_out_channels", "attention_head_dim"))
    check_groups(config)
    levels = len(config.block_out_channels)
    for name, known in (("down_block_types", DOWN_BLOCKS), ("up_block_types", UP_BLOCKS)):
        kinds = getattr(config, name)
        if len(kinds) != levels:
            raise ValueError(
                f"{name} has {len(kinds)} entries; expected {levels}, one for each of "
                f"block_out_channels {config.block_out_channels}."
            )
        for kind in kinds:
            if kind not in known:
                raise ValueError(f"{name} holds {kind!r}; expected {' or '.join(known)}.")
    if len(config.heads) != levels:
        raise ValueError(
            f"attention_head_dim is {config.attention_head_dim}; expected one number or {levels}."
        )
