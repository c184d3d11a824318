"""The pieces that the U-Net and the VAE share. Parameter names are those of diffusers.

Shapes: `x` is a feature map (B, C, H, W); `temb` is the time embedding (B, D).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResnetBlock2D(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the time embedding is added between them.

    Args:
        in_channels, out_channels: C before and after; where they differ, a 1x1 convolution
            brings the shortcut to the new width.
        temb_channels: D, or `None` where there is no time (the VAE).
        groups: groups of the normalisation (Wu and He 2018).
        eps: its epsilon.

    Source: He et al. 2016, "Identity mappings in deep residual networks" (pre-activation), with the
    time embedding of Ho et al. 2020, appendix B.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temb_channels: int | None = None,
        groups: int = 32,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(temb_channels, out_channels) if temb_channels else None
        self.norm2 = nn.GroupNorm(groups, out_channels, eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.conv_shortcut = None if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        """(B, in_channels, H, W), (B, D) -> (B, out_channels, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is not None and temb is not None:
            h = h + self.time_emb_proj(F.silu(temb))[:, :, None, None]  # (B, C, 1, 1)
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Downsample2D(nn.Module):
    """Halves height and width with a strided convolution.

    Args:
        channels: C.
        padding: 1 pads all four sides (U-Net); 0 pads right and bottom only (VAE).
    """

    def __init__(self, channels: int, padding: int = 1) -> None:
        super().__init__()
        self.padding = padding
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H/2, W/2)."""
        return self.conv(x if self.padding else F.pad(x, (0, 1, 0, 1)))


class Upsample2D(nn.Module):
    """Doubles height and width: each pixel becomes 2x2, then a convolution smooths."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W), or `size` where an odd size was halved."""
        if size is None:
            return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


class Attention(nn.Module):
    """Multi-head attention: each query position takes a weighted mean of values.

    softmax(q k^T / sqrt(d)) v with h heads of d channels (Vaswani et al. 2017, section 3.2.2).

    Args:
        query_dim: channels of the queries' input.
        context_dim: channels of the keys' and values' input; `None` for self-attention.
        heads: h.
        head_dim: d.
        bias: whether q, k and v have a bias.
        norm_groups: groups of a GroupNorm over the input, or `None` for no normalisation.
    """

    def __init__(
        self,
        query_dim: int,
        context_dim: int | None = None,
        heads: int = 8,
        head_dim: int = 64,
        bias: bool = False,
        norm_groups: int | None = None,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        context_dim = context_dim or query_dim
        self.heads = heads
        self.group_norm = nn.GroupNorm(norm_groups, query_dim, eps) if norm_groups else None
        self.to_q = nn.Linear(query_dim, inner, bias=bias)
        self.to_k = nn.Linear(context_dim, inner, bias=bias)
        self.to_v = nn.Linear(context_dim, inner, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(inner, query_dim), nn.Identity()])

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, L, h*d) -> (B, h, L, d)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, L, query_dim), (B, S, context_dim) -> (B, L, query_dim)."""
        context = x if context is None else context
        q = self.split_heads(self.to_q(x))  # (B, h, L, d)
        k = self.split_heads(self.to_k(context))  # (B, h, S, d)
        v = self.split_heads(self.to_v(context))  # (B, h, S, d)
        out = F.scaled_dot_product_attention(q, k, v)  # (B, h, L, d)
        return self.to_out[0](out.transpose(1, 2).flatten(-2))  # (B, L, h*d) -> (B, L, query_dim)


class SpatialAttention(Attention):
    """One-head self-attention over all positions of a feature map, added to the map (VAE)."""

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__(channels, heads=1, head_dim=channels, bias=True, norm_groups=groups)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        assert self.group_norm is not None
        flat = self.group_norm(x).flatten(2).transpose(1, 2)  # (B, H*W, C)
        return x + super().forward(flat).transpose(1, 2).reshape(x.shape)
