"""Lesson 03, the blocks of a U-Net: what is right, and what people get wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.checks.exercise import Case, Exercise, ModuleCase, StateMismatch
from course_utils.checks.mistakes import slips


class ResnetBlock2D(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the time is added between them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temb_channels: int,
        groups: int = 32,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(temb_channels, out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.conv_shortcut = None if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """(B, in_channels, H, W), (B, temb_channels) -> (B, out_channels, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time_emb_proj(F.silu(temb))[:, :, None, None]  # (B, C, 1, 1)
        h = self.conv2(F.silu(self.norm2(h)))
        shortcut = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return shortcut + h


def _resnet_cases(generator: torch.Generator) -> Iterator[Case]:
    sizes = ((2, 4, 4, 7, 7, 6), (3, 4, 6, 4, 5, 5), (1, 8, 4, 6, 2, 16))
    for seed, (batch, before, after, height, width, temb) in enumerate(sizes):
        yield ModuleCase(
            (
                torch.randn(batch, before, height, width, generator=generator),
                torch.randn(batch, temb, generator=generator),
            ),
            init={
                "in_channels": before,
                "out_channels": after,
                "temb_channels": temb,
                "groups": 2,
                "eps": 1e-5 if seed < 2 else 0.3,
            },
            seed=seed,
        )


def _resnet_error(error: Exception, case: Case) -> str | None:
    text = str(error)
    if isinstance(error, StateMismatch) and "it has conv_shortcut" in text:
        return (
            "conv_shortcut is there although the number of channels does not change. Where "
            "in_channels equals out_channels it is None, and x itself is the shortcut."
        )
    if not isinstance(error, RuntimeError | IndexError):
        return None
    x, temb = case.args
    sizes = set(map(int, re.findall(r"tensor [ab] \((\d+)\)", text)))
    if len(sizes) == 2 and max(sizes) == x.shape[-1] and max(sizes) - min(sizes) in (2, 4):
        return (
            "A map got smaller: a 3x3 convolution without padding loses a pixel at every border. "
            "conv1 and conv2 need padding=1, so that their result can be added to x."
        )
    if "size of tensor a" in text or "must match" in text:
        return (
            "Two tensors of different shape are added. The projected time has shape (B, C): it "
            "needs [:, :, None, None] to meet a map (B, C, H, W). And where the number of channels "
            "changes, the shortcut goes through conv_shortcut."
        )
    if "mat1 and mat2" in text:
        return (
            f"A Linear layer gets rows of another length. time_emb_proj takes temb, "
            f"{tuple(temb.shape)}: apply it to temb alone, and add its result to the map."
        )
    return None


RESNET_BLOCK = Exercise(
    "03.ResnetBlock2D",
    ResnetBlock2D,
    _resnet_cases,
    hints=(
        "Write the layers first, in the order of the drawing; each name in the docstring is one "
        "line. Then `forward` goes down the left side and adds the shortcut at the end.",
        "Three times SiLU: after norm1, on temb before time_emb_proj, after norm2. The time has "
        "shape (B, C) and needs two more dimensions to be added to a map.",
        "h = self.conv1(F.silu(self.norm1(x))); h = h + ...[:, :, None, None], made from "
        "temb; then conv2 of silu of norm2 of h. At the end add x, or "
        "self.conv_shortcut(x) where there is one.",
    ),
    difficulty=3,
    minutes=15,
    mistakes=slips(
        """
        no_shortcut: `shortcut + h` -> `h`
            The shortcut is missing. The block returns the shortcut plus what the convolutions
            found; without it, it is no residual block.
        plain_shortcut: `shortcut + h` -> `x + h`
            x is added as it is, also where the number of channels changes. There it goes through
            the 1x1 convolution conv_shortcut first.
        no_time: ` + self.time_emb_proj(F.silu(temb))[:, :, None, None]` -> ``
            The time is not used. time_emb_proj(silu(temb)) is added between the convolutions.
        time_without_silu: `F.silu(temb)` -> `temb`
            temb goes into time_emb_proj as it is. SiLU comes first: time_emb_proj(F.silu(temb)).
        time_after_norm2: `h = h + self` -> `h = self.norm2(h) + self`
            `F.silu(self.norm2(h))` -> `F.silu(h)`
            The time is added after norm2. It belongs before it: conv1, add the time, then norm2.
            (Other U-Nets scale and shift after the norm; this one adds before it.)
        time_at_the_end: `h = h + self` -> `time = self`
            `shortcut + h` -> `shortcut + h + time`
            The time is added at the very end. It belongs between conv1 and norm2, so that conv2 can
            make something of it.
        no_silu: `F.silu(self.norm1(x))` -> `self.norm1(x)`
            `F.silu(self.norm2(h))` -> `self.norm2(h)`
            There is no SiLU before the convolutions: norm, then SiLU, then convolution, twice.
        one_silu: `F.silu(self.norm2(h))` -> `self.norm2(h)`
            SiLU is missing after norm2: norm, then SiLU, then convolution, twice.
        no_norms: `self.norm1(x)` -> `x`
            `self.norm2(h)` -> `h`
            The normalisations are not used: norm1 comes before the first SiLU, norm2 before the
            second.
        silu_before_norm: `F.silu(self.norm1(x))` -> `self.norm1(F.silu(x))`
            `F.silu(self.norm2(h))` -> `self.norm2(F.silu(h))`
            SiLU comes before the norm. The order is norm, SiLU, convolution, twice.
        relu: `F.silu(self.norm1` -> `F.relu(self.norm1`
            `F.silu(self.norm2` -> `F.relu(self.norm2`
            The activation is ReLU; expected SiLU, F.silu.
        silu_at_the_end: `shortcut + h` -> `F.silu(shortcut + h)`
            There is one SiLU too many, at the very end. The sum leaves the block as it is, so that
            the next shortcut carries it on unchanged.
        normed_shortcut: `shortcut = x if` -> `shortcut = self.norm1(x) if`
            `self.conv_shortcut(x)` -> `self.conv_shortcut(self.norm1(x))`
            The shortcut takes the normalised x. It takes x itself.
        eps_ignored: `nn.GroupNorm(groups, in_channels, eps)` -> `nn.GroupNorm(groups, in_channels)`
            `nn.GroupNorm(groups, out_channels, eps)` -> `nn.GroupNorm(groups, out_channels)`
            The normalisations do not take eps: nn.GroupNorm(groups, channels, eps). With the usual
            eps it makes no difference; models are saved with theirs.
        """
    ),
    on_error=_resnet_error,
    gradients=("x", "temb"),
    seconds=30.0,
)


class Attention(nn.Module):
    """softmax(q k^T / sqrt(d)) v, with h heads of d channels each."""

    def __init__(
        self, query_dim: int, context_dim: int | None = None, heads: int = 8, head_dim: int = 64
    ) -> None:
        super().__init__()
        inner = heads * head_dim  # h * d
        self.heads = heads
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim or query_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim or query_dim, inner, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(inner, query_dim)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, L, query_dim), (B, S, context_dim) -> (B, L, query_dim)."""
        context = x if context is None else context
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, L, h*d) -> (B, h, L, d)
            for y in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, h, L, S)
        out = scores.softmax(dim=-1) @ v  # (B, h, L, d)
        return self.to_out[0](out.transpose(1, 2).flatten(-2))  # (B, L, h*d) -> (B, L, query_dim)


def _attention_cases(generator: torch.Generator) -> Iterator[Case]:
    sizes = ((1, 3, 4, 2, 4), (2, 5, 6, 3, 2), (2, 16, 8, 4, 8))
    for seed, (batch, length, dim, heads, head_dim) in enumerate(sizes):
        yield ModuleCase(
            (1.5 * torch.randn(batch, length, dim, generator=generator),),
            init={"query_dim": dim, "heads": heads, "head_dim": head_dim},
            seed=seed,
        )
    yield ModuleCase(
        (
            torch.randn(2, 4, 6, generator=generator),
            torch.randn(2, 7, 5, generator=generator),
        ),
        init={"query_dim": 6, "context_dim": 5, "heads": 2, "head_dim": 3},
        seed=9,
    )


def _attention_error(error: Exception, case: Case) -> str | None:
    if isinstance(error, AttributeError) and "no attribute 'head_dim'" in str(error):
        return (
            "There is no self.head_dim: __init__ keeps self.heads alone. After the split d is the "
            "last dimension, q.shape[-1]."
        )
    if isinstance(error, NotImplementedError) and "ModuleList" in str(error):
        return "to_out is a list that holds one layer, as in diffusers: call self.to_out[0](...)."
    if isinstance(error, RuntimeError) and "view size is not compatible" in str(error):
        return (
            "After transpose the numbers do not lie in a row any more, so .view fails. Use "
            ".flatten(-2), or .reshape."
        )
    return None


ATTENTION = Exercise(
    "03.Attention",
    Attention,
    _attention_cases,
    hints=(
        "Five steps: q, k, v from the three layers; split each into heads; scores and their "
        "softmax; weighted mean of v; heads side by side again and through to_out[0].",
        "Splitting: y.unflatten(-1, (self.heads, -1)) gives (B, L, h, d), and .transpose(1, 2) "
        "makes it (B, h, L, d). Then `@` works on all heads at once. The way back is "
        ".transpose(1, 2).flatten(-2).",
        "scores = q @ k.transpose(-2, -1) / ...; out = scores.softmax(dim=-1) @ v; the "
        "way back is .transpose(1, 2).flatten(-2), and self.to_out[0] comes last.",
    ),
    difficulty=4,
    minutes=15,
    mistakes=slips(
        """
        no_scale: ` / math.sqrt(q.shape[-1])` -> ``
            The scores are not divided by sqrt(d), d = channels of one head.
        scale_without_root: `math.sqrt(q.shape[-1])` -> `q.shape[-1]`
            The scores are divided by d; expected its square root, sqrt(d).
        scale_of_all_heads: `q.shape[-1]` -> `self.heads * q.shape[-1]`
            The scores are divided by sqrt(h * d), the width of all heads together. Each score is a
            sum over the d channels of one head, so expected sqrt(d).
        times_root: `/ math.sqrt` -> `* math.sqrt`
            The scores are multiplied by sqrt(d); expected division.
        one_head: `y.unflatten(-1, (self.heads, -1)).transpose(1, 2)` -> `y[:, None]`
            There is only one head: q, k and v are not split. Each head makes its own softmax over
            its own d channels.
        one_head_scaled_as_many: `y.unflatten(-1, (self.heads, -1)).transpose(1, 2)` -> `y[:, None]`
            `q.shape[-1]` -> `q.shape[-1] // self.heads`
            There is only one head: q, k and v are not split. Each head makes its own softmax over
            its own d channels; the scale sqrt(d) alone is not enough.
        interleaved:
            `y.unflatten(-1, (self.heads, -1)).transpose(1, 2)`
            -> `y.unflatten(-1, (-1, self.heads)).permute(0, 3, 1, 2)`
            The channels are dealt out to the heads one by one, like cards. Head 0 has the first d
            channels in a row: unflatten(-1, (heads, d)), not (d, heads).
        interleaved_both_ways:
            `y.unflatten(-1, (self.heads, -1)).transpose(1, 2)`
            -> `y.unflatten(-1, (-1, self.heads)).permute(0, 3, 1, 2)`
            `out.transpose(1, 2).flatten(-2)` -> `out.permute(0, 2, 3, 1).flatten(-2)`
            The channels are dealt out to the heads one by one, like cards, and collected in the
            same way. Head 0 has the first d channels in a row: unflatten(-1, (heads, d)).
        split_by_reshape:
            `y.unflatten(-1, (self.heads, -1)).transpose(1, 2)`
            -> `y.reshape(len(y), self.heads, y.shape[1], -1)`
            (B, L, h*d) is reshaped straight to (B, h, L, d), which mixes positions and channels.
            First (B, L, h, d), then transpose(1, 2).
        split_and_merged_by_reshape:
            `y.unflatten(-1, (self.heads, -1)).transpose(1, 2)`
            -> `y.reshape(len(y), self.heads, y.shape[1], -1)`
            `out.transpose(1, 2).flatten(-2)` -> `out.reshape(len(out), out.shape[2], -1)`
            (B, L, h*d) is reshaped straight to (B, h, L, d) and back, which mixes positions and
            channels. First (B, L, h, d), then transpose(1, 2), and the same on the way back.
        merged_by_reshape:
            `out.transpose(1, 2).flatten(-2)` -> `out.reshape(len(out), out.shape[2], -1)`
            On the way back (B, h, L, d) is reshaped without transpose(1, 2), which mixes heads and
            positions. First (B, L, h, d), then flatten the last two.
        over_queries: `softmax(dim=-1)` -> `softmax(dim=-2)`
            The softmax runs over the queries. Each query shares out its attention among the keys,
            so it runs over the last dimension, dim=-1.
        over_heads: `softmax(dim=-1)` -> `softmax(dim=1)`
            The softmax runs over the heads. Each query shares out its attention among the keys, so
            it runs over the last dimension, dim=-1.
        no_softmax: `.softmax(dim=-1)` -> ``
            There is no softmax: scores become weights through softmax(dim=-1).
        no_output: `return self.to_out[0]` -> `return `
            The last layer is missing: to_out[0] mixes what the heads found.
        keys_as_values: `self.to_v(context)` -> `self.to_k(context)`
            The weighted mean is taken over the keys; expected the values v.
        self_only: `x if context is None else context` -> `x`
            context is not used: where it is given, keys and values come from it, the queries still
            from x.
        adds_x: `return self` -> `return x + self`
            x is added to the result. That is right in a transformer block, but it happens outside,
            in the line that calls this.
        """
    ),
    on_error=_attention_error,
    gradients=("x",),
    seconds=30.0,
)
