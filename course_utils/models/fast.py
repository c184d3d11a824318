"""A prepared copy of the U-Net for drawing on a CPU: the same numbers in less time.

`UNet` is written to be read. Most of its time on a small picture goes into convolutions over 8x8
and 4x4 maps and into small matrix products, and some of it is the same in every step. The copy

    keeps a map as rows, one a position, (B*H*W, C), so that a 1x1 convolution is a matrix product
    and nothing is transposed around attention;
    writes a 3x3 convolution as one product of rows of 9 C numbers (im2col; Chellapilla et al. 2006)
    with weights that were put into the processor's order once;
    doubles a map and convolves it in one product of four 2x2 kernels, one for each corner of the
    2x2 pixels that a pixel becomes;
    joins q, k and v, and keeps the keys and values of the text for the whole prompt;
    keeps, for each timestep, what the time embedding adds to each block, as part of its bias.

`prepare` makes it. It works for inference in float32 and hands all else back to the network itself:
a network on a GPU, gradients, hooks, timesteps that differ within a batch, other classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.blocks import Attention, Downsample2D, ResnetBlock2D, Upsample2D
from course_utils.models.unet import (
    GEGLU,
    DownBlock,
    FeedForward,
    MidBlock,
    TimestepEmbedding,
    Transformer2D,
    TransformerBlock,
    UNet,
    UpBlock,
    timestep_embedding,
)

LARGEST = 50_000_000  # parameters: the copy takes their memory a second time
KEPT_TIMESTEPS = 128  # their additions are kept: 10 KB each for the course's model
KNOWN = {
    UNet, DownBlock, MidBlock, UpBlock, ResnetBlock2D, Downsample2D, Upsample2D, Transformer2D,
    TransformerBlock, Attention, FeedForward, GEGLU, TimestepEmbedding, nn.ModuleList, nn.Identity,
    nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm,
}  # fmt: skip


class Product:
    """x W^T + b, with W in the order that the processor's matrix product reads.

    torch's own `linear` brings W into this order in every call. oneDNN's product, which takes it
    ready-made, is what `torch.compile` uses; where it is missing, this is `linear`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, rows: int = 128) -> None:
        self.weight, self.bias = weight.contiguous(), bias
        self.packed = None
        if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
            self.packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, rows)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """(N, K) -> (N, M); `bias` (M,) in place of its own."""
        bias = self.bias if bias is None else bias
        if self.packed is None:
            return F.linear(x, self.weight, bias)
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, bias, "none", [], "")


class Map:
    """A feature map as rows: `rows` (B*H*W, C), each row one position."""

    def __init__(self, rows: Tensor, batch: int, height: int, width: int) -> None:
        self.rows, self.batch, self.height, self.width = rows, batch, height, width

    def like(self, rows: Tensor) -> Map:
        """Another map of the same places."""
        return Map(rows, self.batch, self.height, self.width)

    def image(self) -> Tensor:
        """(B, C, H, W), without a copy: in memory the channels come last."""
        return self.rows.view(self.batch, self.height, self.width, -1).permute(0, 3, 1, 2)

    def patches(self, size: int, stride: int, before: int, after: int) -> Tensor:
        """The neighbourhood of each place, (B*H'*W', size*size*C), padded with zeros."""
        x = self.rows.view(self.batch, self.height, self.width, -1)
        x = F.pad(x, (0, 0, before, after, before, after))
        s = x.stride()
        high, wide = ((n - size) // stride + 1 for n in x.shape[1:3])
        shape = (self.batch, high, wide, size, size, x.shape[3])
        strides = (s[0], stride * s[1], stride * s[2], s[1], s[2], s[3])
        return x.as_strided(shape, strides).reshape(self.batch * high * wide, -1)


def rows_of(image: Tensor) -> Map:
    """(B, C, H, W) as rows."""
    batch, channels, height, width = image.shape
    return Map(image.permute(0, 2, 3, 1).reshape(-1, channels), batch, height, width)


class Norm:
    """GroupNorm over a map, with SiLU where it is asked for."""

    def __init__(self, norm: nn.GroupNorm, silu: bool = True) -> None:
        self.norm, self.silu = norm, silu

    def __call__(self, x: Map) -> Map:
        n = self.norm
        y = F.group_norm(x.image(), n.num_groups, n.weight, n.bias, n.eps)
        y = F.silu(y, inplace=True) if self.silu else y
        return x.like(y.permute(0, 2, 3, 1).reshape(x.rows.shape))


class Conv3x3:
    """A 3x3 convolution; with stride 2 it halves the map."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.stride = conv.stride[0]
        self.product = Product(conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias)

    def __call__(self, x: Map, bias: Tensor | None = None) -> Map:
        rows = self.product(x.patches(3, self.stride, 1, 1), bias)
        s = self.stride
        return Map(rows, x.batch, (x.height - 1) // s + 1, (x.width - 1) // s + 1)


class DoubleAndConv:
    """Each pixel becomes 2x2, then a 3x3 convolution.

    Three neighbours of the doubled map are two of the small one: for the upper pixel of a pair the
    kernel's first row falls on the pixel above and the other two on the pixel itself, for the lower
    one the first two on itself and the last on the pixel below. So each of the four corners sees a
    2x2 neighbourhood of the small map, with 4 of 9 as many products.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        w = conv.weight  # (C', C, 3, 3)
        fold = torch.tensor([[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])  # corner, 2, 3
        w = torch.einsum("aik,bjl,ockl->abijoc", fold, fold, w)  # (2, 2, 2, 2, C', C)
        self.products = [
            [Product(w[a, b].permute(2, 0, 1, 3).flatten(1), conv.bias) for b in (0, 1)]
            for a in (0, 1)
        ]

    def __call__(self, x: Map) -> Map:
        batch, high, wide = x.batch, x.height, x.width
        all_places = Map(x.patches(2, 1, 1, 1), batch, high + 1, wide + 1)
        places = all_places.rows.view(batch, high + 1, wide + 1, -1)
        out = None
        for a in (0, 1):
            for b in (0, 1):
                mine = places[:, a : a + high, b : b + wide].reshape(batch * high * wide, -1)
                corner = self.products[a][b](mine)
                if out is None:
                    out = corner.new_empty(batch, high, 2, wide, 2, corner.shape[1])
                out[:, :, a, :, b] = corner.view(batch, high, wide, -1)
        assert out is not None
        return Map(out.view(4 * batch * high * wide, -1), batch, 2 * high, 2 * wide)


class Residual:
    """`ResnetBlock2D`; what the time adds is in the bias of its first convolution."""

    def __init__(self, block: ResnetBlock2D, place: slice) -> None:
        self.norm1, self.norm2 = Norm(block.norm1), Norm(block.norm2)
        self.conv1, self.conv2 = Conv3x3(block.conv1), Conv3x3(block.conv2)
        short = block.conv_shortcut
        self.shortcut = None if short is None else Product(short.weight.flatten(1), short.bias)
        self.place = place  # of its bias among those of all blocks

    def __call__(self, x: Map, added: Tensor) -> Map:
        h = self.conv2(self.norm2(self.conv1(self.norm1(x), added[self.place])))
        h.rows += x.rows if self.shortcut is None else self.shortcut(x.rows)
        return h


class Attend:
    """`Transformer2D` with one block."""

    def __init__(self, block: Transformer2D, number: int) -> None:
        self.number = number  # of its keys and values among those of all blocks
        inner: Any = block.transformer_blocks[0]
        own, cross = inner.attn1, inner.attn2
        self.norm = Norm(block.norm, silu=False)
        self.proj_in = Product(block.proj_in.weight.flatten(1), block.proj_in.bias)
        self.proj_out = Product(block.proj_out.weight.flatten(1), block.proj_out.bias)
        self.heads, self.norms = own.heads, (inner.norm1, inner.norm2, inner.norm3)
        self.qkv = Product(torch.cat([own.to_q.weight, own.to_k.weight, own.to_v.weight]))
        self.out1 = Product(own.to_out[0].weight, own.to_out[0].bias)
        self.q = Product(cross.to_q.weight)
        self.kv = Product(torch.cat([cross.to_k.weight, cross.to_v.weight]))
        self.out2 = Product(cross.to_out[0].weight, cross.to_out[0].bias)
        self.gated = Product(inner.ff.net[0].proj.weight, inner.ff.net[0].proj.bias)
        self.ff = Product(inner.ff.net[2].weight, inner.ff.net[2].bias)

    def split(self, rows: Tensor, batch: int, parts: int) -> tuple[Tensor, ...]:
        """(B*L, parts*h*d) -> `parts` times (B, h, L, d)."""
        split = rows.view(batch, len(rows) // batch, parts, self.heads, -1)
        return split.permute(2, 0, 3, 1, 4).unbind()

    def keys_and_values(self, text_states: Tensor) -> tuple[Tensor, ...]:
        """Of the text, (B, h, L, d) each."""
        return self.split(self.kv(text_states.flatten(0, 1)), len(text_states), 2)

    def __call__(self, x: Map, texts: list[tuple[Tensor, ...]]) -> Map:
        h = self.proj_in(self.norm(x).rows)
        q, k, v = self.split(self.qkv(self.layer_norm(0, h)), x.batch, 3)
        h += self.out1(self.joined(F.scaled_dot_product_attention(q, k, v)))
        (q,), (k, v) = self.split(self.q(self.layer_norm(1, h)), x.batch, 1), texts[self.number]
        h += self.out2(self.joined(F.scaled_dot_product_attention(q, k, v)))
        value, gate = self.gated(self.layer_norm(2, h)).chunk(2, dim=-1)
        h += self.ff(value * F.gelu(gate))
        out = self.proj_out(h)
        out += x.rows
        return x.like(out)

    def layer_norm(self, number: int, rows: Tensor) -> Tensor:
        """The norm before self-attention (0), cross-attention (1), or the feed-forward part (2)."""
        n = self.norms[number]
        return F.layer_norm(rows, n.normalized_shape, n.weight, n.bias, n.eps)

    @staticmethod
    def joined(heads: Tensor) -> Tensor:
        """(B, h, L, d) -> (B*L, h*d)."""
        return heads.transpose(1, 2).reshape(heads.shape[0] * heads.shape[2], -1)


class FastUNet:
    """What `prepare` makes; called like the `UNet` that it stands for."""

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """None: a copied network prepares a copy of its own, from its own weights."""

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # nor is it kept in a pickled network

    def __init__(self, unet: UNet) -> None:
        self.unet, self.signature, self.parts = unet, signature(unet), list(unet.modules())
        self.residuals: list[Residual] = []
        self.attends: list[Attend] = []
        self.width = 0  # of all blocks' biases side by side
        weights: list[Tensor] = []
        biases: list[Tensor] = []

        def level(block: Any) -> list[tuple[Residual, Attend | None]]:
            made = []
            for i, resnet in enumerate(block.resnets):
                end = self.width + resnet.conv1.out_channels
                self.residuals.append(Residual(resnet, slice(self.width, end)))
                self.width = end
                weights.append(resnet.time_emb_proj.weight)
                biases.append(resnet.time_emb_proj.bias + resnet.conv1.bias)
                attend = None
                if i < len(getattr(block, "attentions", ())):
                    attend = Attend(block.attentions[i], len(self.attends))
                    self.attends.append(attend)
                made.append((self.residuals[-1], attend))
            return made

        blocks: Any = unet
        self.conv_in, self.conv_out = Conv3x3(unet.conv_in), Conv3x3(unet.conv_out)
        self.norm_out = Norm(unet.conv_norm_out)
        self.down = [
            (level(b), Conv3x3(b.downsamplers[0].conv) if hasattr(b, "downsamplers") else None)
            for b in blocks.down_blocks
        ]
        self.mid = level(blocks.mid_block)
        self.up = [
            (level(b), DoubleAndConv(b.upsamplers[0].conv) if hasattr(b, "upsamplers") else None)
            for b in blocks.up_blocks
        ]
        self.time = Product(torch.cat(weights), torch.cat(biases), rows=1)
        self.added: dict[int, Tensor] = {}
        self.texts: tuple[Tensor, int, list[tuple[Tensor, ...]]] | None = None

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: Tensor | int, text_states: Tensor) -> Tensor:
        """As `UNet.forward`: (B, C, H, W), (B,) or a number, (B, L, D) -> (B, C, H, W)."""
        added, texts = self._added(t), self._texts(text_states)
        x = self.conv_in(rows_of(x_t))
        skips = [x]
        for level, halve in self.down:
            for residual, attend in level:
                x = residual(x, added)
                x = x if attend is None else attend(x, texts)
                skips.append(x)
            if halve is not None:
                x = halve(x)
                skips.append(x)
        for residual, attend in self.mid:
            x = residual(x, added)
            x = x if attend is None else attend(x, texts)
        for level, double in self.up:
            for residual, attend in level:
                x = residual(x.like(torch.cat([x.rows, skips.pop().rows], dim=1)), added)
                x = x if attend is None else attend(x, texts)
            x = x if double is None else double(x)
        return self.conv_out(self.norm_out(x)).image().contiguous()

    def can_take(self, x_t: Tensor, t: Tensor | int) -> bool:
        """Whether the copy gives what the network would: see the head of this file."""
        smallest = 2 ** (len(self.down) - 1)  # an odd map is halved, but not doubled, to the same
        return (
            not torch.is_grad_enabled()
            and x_t.dtype == torch.float32
            and x_t.shape[-1] % smallest == 0
            and x_t.shape[-2] % smallest == 0
            and (isinstance(t, int) or bool((t == t.flatten()[0]).all()))
            and not any(part._forward_hooks or part._forward_pre_hooks for part in self.parts)
        )

    def _added(self, t: Tensor | int) -> Tensor:
        """The first bias of every block at this timestep, (width,)."""
        timestep = t if isinstance(t, int) else int(t.flatten()[0])
        if timestep not in self.added:
            c = self.unet.config
            waves = timestep_embedding(
                torch.tensor([timestep]), c.block_out_channels[0], c.flip_sin_to_cos, c.freq_shift
            )
            if len(self.added) >= KEPT_TIMESTEPS:
                self.added = {}
            self.added[timestep] = self.time(F.silu(self.unet.time_embedding(waves)))[0]
        return self.added[timestep]

    def _texts(self, text_states: Tensor) -> list[tuple[Tensor, ...]]:
        """Each block's keys and values of the text; those of the last text are kept."""
        kept = self.texts
        if kept is None or kept[0] is not text_states or kept[1] != text_states._version:
            found = [attend.keys_and_values(text_states) for attend in self.attends]
            kept = self.texts = (text_states, text_states._version, found)
        return kept[2]


def prepare(unet: nn.Module) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A denoiser like `unet`, which draws with the prepared copy wherever that may be done.

    The copy is made at the first call, kept, and made anew when the weights have changed.

    Args:
        unet: any denoiser; a `UNet` of at most `LARGEST` parameters in float32 on a CPU is copied.

    Returns:
        (x_t, t, text_states) -> output, equal to `unet`'s to 1e-5.
    """
    if not is_copied(unet):
        return unet
    assert isinstance(unet, UNet)
    fast = vars(unet).get(COPY)
    if fast is None or fast.signature != signature(unet):
        with torch.no_grad():
            fast = vars(unet)[COPY] = FastUNet(unet)
    copy = fast

    def denoise(x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
        return (copy if copy.can_take(x_t, t) else unet)(x_t, t, text_states)

    return denoise


COPY = "_prepared_copy"  # where a network keeps its copy, so that the two go together


def is_copied(unet: nn.Module) -> bool:
    """Whether `prepare` makes a copy: every part is one that this file knows, and small enough."""
    return (
        type(unet) is UNet
        and all(type(part) in KNOWN and "forward" not in vars(part) for part in unet.modules())
        and all(p.dtype == torch.float32 and p.device.type == "cpu" for p in unet.parameters())
        and sum(p.numel() for p in unet.parameters()) <= LARGEST
    )


def signature(unet: nn.Module) -> tuple[tuple[int, int], ...]:
    """What changes whenever a weight does: where each lies, and how often it was written to."""
    return tuple((p.data_ptr(), p._version) for p in unet.parameters())
