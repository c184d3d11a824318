"""Lesson 03, the U-Net: what is right, and what people get wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.checks.exercise import Case, Exercise, Mistake, ModuleCase, StateMismatch
from course_utils.models import blocks
from course_utils.predictions import training_target
from course_utils.schedules import NoiseSchedule

# --- the time as waves ---------------------------------------------------------------------------


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    """cos(t w_i), then sin(t w_i), with w_i = 10000^(-i / half)."""
    half = dim // 2
    i = torch.arange(half, device=t.device)  # (half,)
    frequencies = torch.exp(-math.log(10_000) * i / half)  # 10000^(-i / half)
    angles = t[:, None].float() * frequencies  # (B, half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)  # (B, dim)


def _embedding_cases(generator: torch.Generator) -> Iterator[Case]:
    yield Case((torch.tensor([0, 1, 7]), 4))
    yield Case((torch.tensor([0, 500, 999]), 8))
    for count, dim in ((6, 12), (4, 96)):
        yield Case((torch.randint(1000, (count,), generator=generator), dim))
    yield Case((1000 * torch.rand(3, generator=generator), 32), label="t with fractions, dim = 32")


def _waves(
    t: Tensor,
    dim: int,
    exponent: Callable[[Tensor, int], Tensor] = lambda i, half: -math.log(10_000) * i / half,
    join: Callable[[Tensor], Tensor] = lambda a: torch.cat([a.cos(), a.sin()], dim=-1),
    scale: float = 1.0,
) -> Tensor:
    """`timestep_embedding` with a slip in it."""
    half = dim // 2
    i = torch.arange(half, device=t.device).float()
    return join(scale * t[:, None].float() * torch.exp(exponent(i, half)))


def _embedding_error(error: Exception, case: Case) -> str | None:
    if isinstance(error, RuntimeError) and "size of tensor a" in str(error):
        return (
            "t has shape (B,) and the frequencies have shape (half,). Each t meets each frequency: "
            "t[:, None] has shape (B, 1), and (B, 1) times (half,) broadcasts to (B, half)."
        )
    return None


TIMESTEP_EMBEDDING = Exercise(
    "03.timestep_embedding",
    timestep_embedding,
    _embedding_cases,
    hints=(
        "Four lines: half = dim // 2 frequencies; every t times every frequency; the cosines; the "
        "sines behind them.",
        "10000^(-i / half) is exp(-log(10000) * i / half) with the natural logarithm, i = 0, 1, "
        ".., half - 1. `t[:, None] * frequencies` gives the angles, one row for each t.",
        "frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) / half); "
        "angles = t[:, None].float() * frequencies; cosines and sines of them, side by side.",
    ),
    difficulty=2,
    minutes=8,
    mistakes=(
        Mistake(
            "The sines come first. Here the cosines fill the first half and the sines the second, "
            "as in Stable Diffusion (flip_sin_to_cos=True).",
            partial(_waves, join=lambda a: torch.cat([a.sin(), a.cos()], dim=-1)),
        ),
        Mistake(
            "Cosines and sines take turns: cos, sin, cos, sin. Here all cosines come first, then "
            "all sines: torch.cat along the last dimension.",
            partial(_waves, join=lambda a: torch.stack([a.cos(), a.sin()], dim=-1).flatten(-2)),
        ),
        Mistake(
            "Sines and cosines take turns, as in the formula of Vaswani et al. Here all cosines "
            "come first, then all sines: torch.cat along the last dimension.",
            partial(_waves, join=lambda a: torch.stack([a.sin(), a.cos()], dim=-1).flatten(-2)),
        ),
        Mistake(
            "The exponent is divided by half - 1, so that the last frequency is 1 / 10000. DDPM's "
            "code does that; here it is divided by half (downscale_freq_shift=0).",
            partial(_waves, exponent=lambda i, half: -math.log(10_000) * i / (half - 1)),
        ),
        Mistake(
            "The exponent is i / dim; expected i / half. So the frequencies fall only half as far.",
            partial(_waves, exponent=lambda i, half: -math.log(10_000) * i / (2 * half)),
        ),
        Mistake(
            "The frequencies grow: 10000^(+i / half). A minus belongs into the exponent, so that "
            "they fall from 1 to nearly 1 / 10000.",
            partial(_waves, exponent=lambda i, half: math.log(10_000) * i / half),
        ),
        Mistake(
            "The base is e and not 10000: exp(-i / half). Multiply the exponent by log(10000).",
            partial(_waves, exponent=lambda i, half: -i / half),
        ),
        Mistake(
            "t is divided by 1000 first. The waves take t as it is, from 0 to 999: that is why "
            "their lengths reach from 6 to 60000 timesteps.",
            partial(_waves, scale=1e-3),
        ),
        Mistake(
            "All numbers are cosines. The second half holds the sines of the same angles.",
            partial(_waves, join=lambda a: torch.cat([a.cos(), a.cos()], dim=-1)),
        ),
    ),
    on_error=_embedding_error,
    keeps_device=True,
    rtol=1e-3,
    seconds=30.0,
)


# --- the residual block --------------------------------------------------------------------------


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
    sizes = ((2, 4, 4, 6, 6, 6), (3, 4, 6, 4, 5, 5), (1, 8, 4, 6, 2, 16))
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
            },
            seed=seed,
        )


class _ResnetSlip(ResnetBlock2D):
    """`ResnetBlock2D` in small steps: subclasses change one."""

    def first(self, x: Tensor) -> Tensor:
        return self.conv1(F.silu(self.norm1(x)))

    def time(self, temb: Tensor) -> Tensor:
        return self.time_emb_proj(F.silu(temb))[:, :, None, None]

    def second(self, h: Tensor) -> Tensor:
        return self.conv2(F.silu(self.norm2(h)))

    def shortcut(self, x: Tensor) -> Tensor:
        return x if self.conv_shortcut is None else self.conv_shortcut(x)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return self.shortcut(x) + self.second(self.first(x) + self.time(temb))


class _NoShortcut(_ResnetSlip):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return self.second(self.first(x) + self.time(temb))


class _PlainShortcut(_ResnetSlip):
    def shortcut(self, x: Tensor) -> Tensor:
        return x


class _RawTime(_ResnetSlip):
    def time(self, temb: Tensor) -> Tensor:
        return self.time_emb_proj(temb)[:, :, None, None]


class _NoTime(_ResnetSlip):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return self.shortcut(x) + self.second(self.first(x))


class _TimeAfterNorm(_ResnetSlip):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.norm2(self.first(x)) + self.time(temb)
        return self.shortcut(x) + self.conv2(F.silu(h))


class _TimeAtTheEnd(_ResnetSlip):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return self.shortcut(x) + self.second(self.first(x)) + self.time(temb)


class _NoActivations(_ResnetSlip):
    def first(self, x: Tensor) -> Tensor:
        return self.conv1(self.norm1(x))

    def second(self, h: Tensor) -> Tensor:
        return self.conv2(self.norm2(h))


class _OneActivation(_ResnetSlip):
    def second(self, h: Tensor) -> Tensor:
        return self.conv2(self.norm2(h))


class _NoNorms(_ResnetSlip):
    def first(self, x: Tensor) -> Tensor:
        return self.conv1(F.silu(x))

    def second(self, h: Tensor) -> Tensor:
        return self.conv2(F.silu(h))


class _NormAfterActivation(_ResnetSlip):
    def first(self, x: Tensor) -> Tensor:
        return self.conv1(self.norm1(F.silu(x)))

    def second(self, h: Tensor) -> Tensor:
        return self.conv2(self.norm2(F.silu(h)))


class _Relu(_ResnetSlip):
    def first(self, x: Tensor) -> Tensor:
        return self.conv1(F.relu(self.norm1(x)))

    def second(self, h: Tensor) -> Tensor:
        return self.conv2(F.relu(self.norm2(h)))


class _ActivationAtTheEnd(_ResnetSlip):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return F.silu(super().forward(x, temb))


class _NormedShortcut(_ResnetSlip):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return self.shortcut(self.norm1(x)) + self.second(self.first(x) + self.time(temb))


def _resnet_error(error: Exception, case: Case) -> str | None:
    text = str(error)
    if isinstance(error, StateMismatch) and "it has conv_shortcut" in text:
        return (
            "conv_shortcut is there although the number of channels does not change. Where "
            "in_channels equals out_channels it is None, and x itself is the shortcut."
        )
    if not isinstance(error, RuntimeError | IndexError):
        return None
    _, temb = case.args
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
        "h = self.conv1(F.silu(self.norm1(x))); h = h + self.time_emb_proj(F.silu(temb))"
        "[:, :, None, None]; h = self.conv2(F.silu(self.norm2(h))); then add x, or "
        "self.conv_shortcut(x) where there is one.",
    ),
    difficulty=3,
    minutes=15,
    mistakes=(
        Mistake(
            "The shortcut is missing. The block returns the shortcut plus what the convolutions "
            "found; without it, it is no residual block.",
            _NoShortcut,
        ),
        Mistake(
            "x is added as it is, also where the number of channels changes. There it goes through "
            "the 1x1 convolution conv_shortcut first.",
            _PlainShortcut,
        ),
        Mistake(
            "The time is not used. time_emb_proj(silu(temb)) is added between the convolutions.",
            _NoTime,
        ),
        Mistake(
            "temb goes into time_emb_proj as it is. SiLU comes first: time_emb_proj(F.silu(temb)).",
            _RawTime,
        ),
        Mistake(
            "The time is added after norm2. It belongs before it: conv1, add the time, then norm2. "
            "(Other U-Nets scale and shift after the norm; this one adds before it.)",
            _TimeAfterNorm,
        ),
        Mistake(
            "The time is added at the very end. It belongs between conv1 and norm2, so that conv2 "
            "can make something of it.",
            _TimeAtTheEnd,
        ),
        Mistake(
            "There is no SiLU before the convolutions: norm, then SiLU, then convolution, twice.",
            _NoActivations,
        ),
        Mistake(
            "SiLU is missing after norm2: norm, then SiLU, then convolution, twice.",
            _OneActivation,
        ),
        Mistake(
            "The normalisations are not used: norm1 comes before the first SiLU, norm2 before the "
            "second.",
            _NoNorms,
        ),
        Mistake(
            "SiLU comes before the norm. The order is norm, SiLU, convolution, twice.",
            _NormAfterActivation,
        ),
        Mistake("The activation is ReLU; expected SiLU, F.silu.", _Relu),
        Mistake(
            "There is one SiLU too many, at the very end. The sum leaves the block as it is, so "
            "that the next shortcut carries it on unchanged.",
            _ActivationAtTheEnd,
        ),
        Mistake(
            "The shortcut takes the normalised x. It takes x itself.",
            _NormedShortcut,
        ),
    ),
    on_error=_resnet_error,
    gradients=("x", "temb"),
    seconds=30.0,
)


# --- attention -----------------------------------------------------------------------------------


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


class _AttentionSlip(Attention):
    """`Attention` in small steps: subclasses change one."""

    def split(self, y: Tensor) -> Tensor:
        return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def scale(self, q: Tensor) -> float:
        return math.sqrt(q.shape[-1])

    def weights(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=-1)

    def merge(self, out: Tensor) -> Tensor:
        return out.transpose(1, 2).flatten(-2)

    def finish(self, out: Tensor) -> Tensor:
        return self.to_out[0](out)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = map(self.split, (self.to_q(x), self.to_k(context), self.to_v(context)))
        scores = q @ k.transpose(-2, -1) / self.scale(q)
        return self.finish(self.merge(self.weights(scores) @ v))


class _NoScale(_AttentionSlip):
    def scale(self, q: Tensor) -> float:
        return 1.0


class _ScaleWithoutRoot(_AttentionSlip):
    def scale(self, q: Tensor) -> float:
        return float(q.shape[-1])


class _ScaleOfAllHeads(_AttentionSlip):
    def scale(self, q: Tensor) -> float:
        return math.sqrt(self.heads * q.shape[-1])


class _TimesRoot(_AttentionSlip):
    def scale(self, q: Tensor) -> float:
        return 1 / math.sqrt(q.shape[-1])


class _OneHead(_AttentionSlip):
    def split(self, y: Tensor) -> Tensor:
        return y[:, None]


class _OneHeadScaledAsMany(_OneHead):
    def scale(self, q: Tensor) -> float:
        return math.sqrt(q.shape[-1] // self.heads)


class _HeadsInterleaved(_AttentionSlip):
    def split(self, y: Tensor) -> Tensor:
        return y.unflatten(-1, (-1, self.heads)).permute(0, 3, 1, 2)


class _HeadsInterleavedBothWays(_HeadsInterleaved):
    def merge(self, out: Tensor) -> Tensor:
        return out.permute(0, 2, 3, 1).flatten(-2)


class _SplitWithoutTranspose(_AttentionSlip):
    def split(self, y: Tensor) -> Tensor:
        return y.reshape(len(y), self.heads, y.shape[1], -1)


class _SplitAndMergeWithoutTranspose(_SplitWithoutTranspose):
    def merge(self, out: Tensor) -> Tensor:
        return out.reshape(len(out), out.shape[2], -1)


class _MergeWithoutTranspose(_AttentionSlip):
    def merge(self, out: Tensor) -> Tensor:
        return out.reshape(len(out), out.shape[2], -1)


class _SoftmaxOverQueries(_AttentionSlip):
    def weights(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=-2)


class _SoftmaxOverHeads(_AttentionSlip):
    def weights(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=1)


class _NoSoftmax(_AttentionSlip):
    def weights(self, scores: Tensor) -> Tensor:
        return scores


class _NoOutput(_AttentionSlip):
    def finish(self, out: Tensor) -> Tensor:
        return out


class _KeysAsValues(_AttentionSlip):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k = map(self.split, (self.to_q(x), self.to_k(context)))
        scores = q @ k.transpose(-2, -1) / self.scale(q)
        return self.finish(self.merge(self.weights(scores) @ k))


class _SelfOnly(_AttentionSlip):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(x)


class _AddsX(_AttentionSlip):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return x + super().forward(x, context)


def _attention_error(error: Exception, case: Case) -> str | None:
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
        "scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]); out = scores.softmax(dim=-1) "
        "@ v; return self.to_out[0](out.transpose(1, 2).flatten(-2))",
    ),
    difficulty=4,
    minutes=15,
    mistakes=(
        Mistake("The scores are not divided by sqrt(d), d = channels of one head.", _NoScale),
        Mistake(
            "The scores are divided by d; expected its square root, sqrt(d).", _ScaleWithoutRoot
        ),
        Mistake(
            "The scores are divided by sqrt(h * d), the width of all heads together. Each score is "
            "a sum over the d channels of one head, so expected sqrt(d).",
            _ScaleOfAllHeads,
        ),
        Mistake("The scores are multiplied by sqrt(d); expected division.", _TimesRoot),
        Mistake(
            "There is only one head: q, k and v are not split. Each head makes its own softmax "
            "over its own d channels.",
            _OneHead,
        ),
        Mistake(
            "There is only one head: q, k and v are not split. Each head makes its own softmax "
            "over its own d channels; the scale sqrt(d) alone is not enough.",
            _OneHeadScaledAsMany,
        ),
        Mistake(
            "The channels are dealt out to the heads one by one, like cards. Head 0 has the first "
            "d channels in a row: unflatten(-1, (heads, d)), not (d, heads).",
            _HeadsInterleaved,
        ),
        Mistake(
            "The channels are dealt out to the heads one by one, like cards, and collected in the "
            "same way. Head 0 has the first d channels in a row: unflatten(-1, (heads, d)).",
            _HeadsInterleavedBothWays,
        ),
        Mistake(
            "(B, L, h*d) is reshaped straight to (B, h, L, d), which mixes positions and channels. "
            "First (B, L, h, d), then transpose(1, 2).",
            _SplitWithoutTranspose,
        ),
        Mistake(
            "(B, L, h*d) is reshaped straight to (B, h, L, d) and back, which mixes positions and "
            "channels. First (B, L, h, d), then transpose(1, 2), and the same on the way back.",
            _SplitAndMergeWithoutTranspose,
        ),
        Mistake(
            "On the way back (B, h, L, d) is reshaped without transpose(1, 2), which mixes heads "
            "and positions. First (B, L, h, d), then flatten the last two.",
            _MergeWithoutTranspose,
        ),
        Mistake(
            "The softmax runs over the queries. Each query shares out its attention among the "
            "keys, so it runs over the last dimension, dim=-1.",
            _SoftmaxOverQueries,
        ),
        Mistake(
            "The softmax runs over the heads. Each query shares out its attention among the keys, "
            "so it runs over the last dimension, dim=-1.",
            _SoftmaxOverHeads,
        ),
        Mistake("There is no softmax: scores become weights through softmax(dim=-1).", _NoSoftmax),
        Mistake(
            "The last layer is missing: to_out[0] mixes what the heads found.",
            _NoOutput,
        ),
        Mistake("The weighted mean is taken over the keys; expected the values v.", _KeysAsValues),
        Mistake(
            "context is not used: where it is given, keys and values come from it, the queries "
            "still from x.",
            _SelfOnly,
        ),
        Mistake(
            "x is added to the result. That is right in a transformer block, but it happens "
            "outside, in the line that calls this.",
            _AddsX,
        ),
    ),
    on_error=_attention_error,
    gradients=("x",),
    seconds=30.0,
)


# --- down and up ---------------------------------------------------------------------------------


def unet_forward(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    """Down, across the middle, and up again; each layer on the way up takes the newest skip."""
    temb = unet.embed_time(t)  # (B, temb_channels)
    x = unet.conv_in(x_t)
    skips = [x]
    for level in unet.down_blocks:
        for i in range(len(level.resnets)):
            x = level.layer(i, x, temb, text_states)
            skips.append(x)
        if level.resize is not None:
            x = level.resize(x)
            skips.append(x)
    x = unet.mid_block(x, temb, text_states)
    for level in unet.up_blocks:
        for i in range(len(level.resnets)):
            x = torch.cat([x, skips.pop()], dim=1)
            x = level.layer(i, x, temb, text_states)
        if level.resize is not None:
            x = level.resize(x)
    return unet.conv_out(F.silu(unet.conv_norm_out(x)))


class PracticeLevel(nn.Module):
    """A level of a practice U-Net: residual blocks that also hear the mean of the text states."""

    def __init__(self, ins: list[int], width: int, resize: nn.Module | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(blocks.ResnetBlock2D(c, width, 6, groups=2) for c in ins)
        self.words = nn.ModuleList(nn.Linear(3, width) for _ in ins)
        self.resize = resize

    def layer(self, i: int, x: Tensor, temb: Tensor, text_states: Tensor) -> Tensor:
        """Layer i, from 0 on."""
        return self.resnets[i](x, temb) + self.words[i](text_states.mean(1))[:, :, None, None]

    def forward(self, x: Tensor, temb: Tensor, text_states: Tensor) -> Tensor:
        """All layers, without skips: the middle."""
        for i in range(len(self.resnets)):
            x = self.layer(i, x, temb, text_states)
        return x


class PracticeUNet(nn.Module):
    """What `unet_forward` is tried on: the parts of a U-Net, tiny, with random weights."""

    def __init__(self, widths: tuple[int, ...], layers: int) -> None:
        super().__init__()
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(2, widths[0], 3, padding=1)
        self.time = nn.Linear(1, 6)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        before, skips = widths[0], [widths[0]]
        for i, width in enumerate(widths):
            resize = None if i == last else blocks.Downsample2D(width)
            self.down_blocks.append(PracticeLevel([before] + [width] * (layers - 1), width, resize))
            skips += [width] * (layers if i == last else layers + 1)
            before = width
        self.mid_block = PracticeLevel([before], before, None)
        for i, width in enumerate(reversed(widths)):
            ins = [(before if j == 0 else width) + skips.pop() for j in range(layers + 1)]
            up = None if i == last else blocks.Upsample2D(width)
            self.up_blocks.append(PracticeLevel(ins, width, up))
            before = width
        self.conv_norm_out = nn.GroupNorm(2, widths[0])
        self.conv_out = nn.Conv2d(widths[0], 2, 3, padding=1)

    def embed_time(self, t: Tensor) -> Tensor:
        """(B,) -> (B, 6)."""
        return self.time(t[:, None].float() / 1000)


def _forward_cases(generator: torch.Generator) -> Iterator[Case]:
    for widths, layers, size in (((4,), 1, 4), ((4, 4), 1, 4), ((4, 6), 2, 8), ((4, 4, 8), 1, 8)):
        unet = PracticeUNet(widths, layers)
        with torch.no_grad():
            for parameter in unet.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
        yield Case(
            (
                unet,
                torch.randn(2, 2, size, size, generator=generator),
                torch.randint(1000, (2,), generator=generator),
                torch.randn(2, 5, 3, generator=generator),
            ),
            label=f"a U-Net with levels of {' and '.join(map(str, widths))} channels and "
            f"{layers} layer{'s' * (layers > 1)} each, on maps of {size} x {size}",
        )


def _walks(
    unet: Any,
    x_t: Tensor,
    t: Tensor,
    text_states: Tensor,
    first: bool = True,
    inputs: bool = False,
    middle: bool = True,
    take: Callable[[list[Tensor]], Tensor] = lambda skips: skips.pop(),
    join: Callable[[Tensor, Tensor], Tensor] = lambda x, skip: torch.cat([x, skip], dim=1),
    finish: Callable[[Any, Tensor], Tensor] = lambda unet, x: F.silu(unet.conv_norm_out(x)),
) -> Tensor:
    """`unet_forward` with a slip in it."""
    temb = unet.embed_time(t)
    x = unet.conv_in(x_t)
    skips = [x] if first else []
    for level in unet.down_blocks:
        for i in range(len(level.resnets)):
            before, x = x, level.layer(i, x, temb, text_states)
            skips.append(before if inputs else x)
        if level.resize is not None:
            x = level.resize(x)
            skips.append(x)
    if middle:
        x = unet.mid_block(x, temb, text_states)
    for level in unet.up_blocks:
        for i in range(len(level.resnets)):
            x = level.layer(i, join(x, take(skips)), temb, text_states)
        if level.resize is not None:
            x = level.resize(x)
    return unet.conv_out(finish(unet, x))


def _forward_error(error: Exception, case: Case) -> str | None:
    text = str(error)
    if isinstance(error, IndexError) and "pop from empty list" in text:
        return (
            "The list of skips is empty too early: the way up takes more than the way down put "
            "there. Three kinds of maps belong on it: that of conv_in, one after each layer, and "
            "one after each change of size."
        )
    if isinstance(error, RuntimeError) and "except in dimension 1" in text:
        return (
            "A map is joined with a skip of another height and width. Is the newest skip taken "
            "first, with pop(), and was every map of the way down put on the list, those after a "
            "change of size too? And does the size change after a level's layers, on both ways?"
        )
    if isinstance(error, TypeError) and "'NoneType' object is not callable" in text:
        return (
            "level.resize is None where a level has no change of size, as in the last one. Ask for "
            "that before you call it: if level.resize is not None."
        )
    if isinstance(error, TypeError) and "cannot be interpreted as an integer" in text:
        return (
            "level.layer takes the number of a layer. Count them: for i in "
            "range(len(level.resnets))."
        )
    if isinstance(error, NotImplementedError | RuntimeError) and "Long" in text:
        return (
            "The layers get the timesteps t, whole numbers. They want the time embedding: temb = "
            "unet.embed_time(t), once at the beginning."
        )
    if isinstance(error, RuntimeError | ValueError) and "channels" in text:
        return (
            "A layer gets a map with another number of channels than it was made for. On the way "
            "up its input is the map and the skip side by side: torch.cat([x, skip], dim=1), not a "
            "sum; and the newest skip comes first."
        )
    return None


UNET_FORWARD = Exercise(
    "03.unet_forward",
    unet_forward,
    _forward_cases,
    hints=(
        "The skips are a pile of plates: the way down puts a plate on top after each module, the "
        "way up takes the top plate before each layer. temb comes from unet.embed_time(t).",
        "skips = [x] after conv_in. Then append x after each level.layer and after each resize. On "
        "the way up: x = torch.cat([x, skips.pop()], dim=1) before each level.layer. The end is "
        "conv_norm_out, SiLU, conv_out.",
        "for level in unet.up_blocks: for i in range(len(level.resnets)): x = level.layer(i, "
        "torch.cat([x, skips.pop()], dim=1), temb, text_states); after the inner loop, if "
        "level.resize is not None: x = level.resize(x)",
    ),
    difficulty=4,
    minutes=15,
    mistakes=(
        Mistake(
            "The map of conv_in is not on the list of skips: start with skips = [x] after conv_in. "
            "The last layer of the way up takes it, so the list ran empty one too early.",
            partial(_walks, first=False),
        ),
        Mistake(
            "Each skip is the input of a layer; expected its output: first x = level.layer(...), "
            "then skips.append(x).",
            partial(_walks, inputs=True),
        ),
        Mistake(
            "The oldest skip is taken first. The way up begins at the smallest maps, and those "
            "were put on the list last: skips.pop() takes from the end.",
            partial(_walks, take=lambda skips: skips.pop(0)),
        ),
        Mistake(
            "The newest skip is looked at but stays on the list, so that every layer gets the same "
            "one. skips.pop() takes it away.",
            partial(_walks, take=lambda skips: skips[-1]),
        ),
        Mistake(
            "The skip is joined in front of the map. The channels have an order that the weights "
            "know: torch.cat([x, skip], dim=1).",
            partial(_walks, join=lambda x, skip: torch.cat([skip, x], dim=1)),
        ),
        Mistake(
            "The skip brings no channels: it is added to the map, or joined along its height or "
            "width. This U-Net sets the channels side by side: torch.cat([x, skip], dim=1).",
            partial(_walks, join=lambda x, skip: x + skip),
        ),
        Mistake("The middle is left out: unet.mid_block.", partial(_walks, middle=False)),
        Mistake(
            "SiLU is missing at the end: conv_norm_out, SiLU, conv_out.",
            partial(_walks, finish=lambda unet, x: unet.conv_norm_out(x)),
        ),
        Mistake(
            "conv_norm_out is missing at the end: conv_norm_out, SiLU, conv_out.",
            partial(_walks, finish=lambda unet, x: F.silu(x)),
        ),
        Mistake(
            "conv_norm_out and SiLU are missing at the end: conv_norm_out, SiLU, conv_out.",
            partial(_walks, finish=lambda unet, x: x),
        ),
    ),
    on_error=_forward_error,
    gradients=("x_t",),
    rtol=1e-3,
    seconds=30.0,
)


# --- one step of training ------------------------------------------------------------------------


def training_step(
    unet: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: NoiseSchedule,
    x0: Tensor,
    text_states: Tensor,
    t: Tensor,
    epsilon: Tensor,
) -> Tensor:
    """Noise x0, let the U-Net answer, compare, and move the weights a little."""
    x_t = schedule.add_noise(x0, epsilon, t)
    target = training_target(x0, epsilon, schedule.alpha_bar[t], schedule.prediction_type)
    loss = F.mse_loss(unet(x_t, t, text_states), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


class PracticeDenoiser(nn.Module):
    """What `training_step` is tried on: one convolution that hears the time and the text."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(1, channels)
        self.words = nn.Linear(3, channels)

    def forward(self, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
        """(B, C, H, W), (B,), (B, L, 3) -> (B, C, H, W)."""
        side = self.time(t[:, None].float() / 1000) + self.words(text_states.mean(1))
        return self.conv(x_t) + side[:, :, None, None]


def _step_cases(generator: torch.Generator) -> Iterator[Case]:
    for kind in ("v_prediction", "epsilon"):
        schedule = NoiseSchedule.cosine(num_train_timesteps=100, prediction_type=kind)
        for shape in ((2, 1, 3, 3), (4, 3, 4, 5)):
            unet = PracticeDenoiser(shape[1])
            with torch.no_grad():
                for parameter in unet.parameters():
                    parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
            x0, epsilon = torch.randn(2, *shape, generator=generator)
            text_states = torch.randn(shape[0], 2, 3, generator=generator)
            t = torch.randint(5, 95, (shape[0],), generator=generator)
            yield Case(
                (unet, schedule, x0, text_states, t, epsilon),
                label=f"two steps of SGD, x0 of shape {shape}, prediction_type {kind!r}",
            )


def _two_steps(candidate: Callable[..., Any], case: Case) -> dict[str, Any]:
    """Two steps, so that gradients which pile up show."""
    unet, schedule, *rest = case.args
    optimizer = torch.optim.SGD(unet.parameters(), lr=0.05)
    with torch.enable_grad():
        losses = [candidate(unet, optimizer, schedule, *rest) for _ in range(2)]
    weights = torch.cat([p.detach().flatten() for p in unet.parameters()])
    return {"first loss": losses[0], "second loss": losses[1], "weights": weights}


def _steps(
    unet: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: NoiseSchedule,
    x0: Tensor,
    text_states: Tensor,
    t: Tensor,
    epsilon: Tensor,
    see: Callable[[Tensor, Tensor], Tensor] = lambda x0, x_t: x_t,
    kind: str = "",
    sign: float = 1.0,
    error: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
    zero: bool = True,
    move: bool = True,
) -> Tensor:
    """`training_step` with a slip in it."""
    x_t = schedule.add_noise(x0, epsilon, t)
    kind = kind or schedule.prediction_type
    target = sign * training_target(x0, epsilon, schedule.alpha_bar[t], kind)
    loss = error(unet(see(x0, x_t), t, text_states), target)
    if zero:
        optimizer.zero_grad()
    loss.backward()
    if move:
        optimizer.step()
    return loss.detach()


def _step_extra(candidate: Callable[..., Any]) -> str | None:
    case = next(_step_cases(torch.Generator().manual_seed(0)))
    loss = _two_steps(candidate, case)["first loss"]
    if isinstance(loss, Tensor) and loss.requires_grad:
        return (
            "The numbers are right, but the loss comes back with its whole graph attached: a list "
            "of losses would keep every step in memory. Return loss.detach()."
        )
    return None


TRAINING_STEP = Exercise(
    "03.training_step",
    training_step,
    _step_cases,
    hints=(
        "Two halves: the loss (noise the pictures, ask the U-Net, compare with the target), then "
        "the usual three lines of every PyTorch training loop.",
        "schedule.add_noise makes x_t; training_target(x0, epsilon, schedule.alpha_bar[t], "
        "schedule.prediction_type) says what the U-Net should answer. The loss is the mean squared "
        "error. The old gradients go before backward().",
        "loss = F.mse_loss(unet(x_t, t, text_states), target); optimizer.zero_grad(); "
        "loss.backward(); optimizer.step(); return loss.detach()",
    ),
    difficulty=2,
    minutes=8,
    mistakes=(
        Mistake(
            "The weights do not change. After zero_grad() comes loss.backward(), then "
            "optimizer.step(), and nothing in between that clears the gradients.",
            partial(_steps, move=False),
        ),
        Mistake(
            "The gradients of the first step are still there in the second: backward() adds to "
            "what it finds. optimizer.zero_grad() clears it, before backward().",
            partial(_steps, zero=False),
        ),
        Mistake(
            "The U-Net is shown the clean picture x0. It is asked about the noisy one, x_t.",
            partial(_steps, see=lambda x0, x_t: x0),
        ),
        Mistake(
            "The target is always epsilon. What the U-Net should answer is the schedule's choice: "
            "training_target(..., schedule.prediction_type).",
            partial(_steps, kind="epsilon"),
        ),
        Mistake(
            "The target is always v. What the U-Net should answer is the schedule's choice: "
            "training_target(..., schedule.prediction_type).",
            partial(_steps, kind="v_prediction"),
        ),
        Mistake(
            "The target is the clean picture x0. What the U-Net should answer is the schedule's "
            "choice: training_target(..., schedule.prediction_type).",
            partial(_steps, kind="sample"),
        ),
        Mistake(
            "The squared errors are summed; expected their mean, F.mse_loss. A sum makes the steps "
            "grow with the size of the pictures.",
            partial(_steps, error=lambda a, b: (a - b).square().sum()),
        ),
        Mistake(
            "The loss is the mean absolute error; expected the mean squared error, F.mse_loss.",
            partial(_steps, error=F.l1_loss),
        ),
        Mistake("The target has the opposite sign.", partial(_steps, sign=-1.0)),
    ),
    call=_two_steps,
    extra=_step_extra,
    rtol=1e-3,
    seconds=30.0,
)


# --- the moving average --------------------------------------------------------------------------


def ema_update(
    average: dict[str, Tensor], weights: dict[str, Tensor], step: int, decay: float = 0.999
) -> dict[str, Tensor]:
    """d * average + (1 - d) * weights, name by name, with d = min(decay, (1 + n) / (10 + n))."""
    d = min(decay, (1 + step) / (10 + step))
    return {name: d * average[name] + (1 - d) * weights[name].detach() for name in average}


def _ema_cases(generator: torch.Generator) -> Iterator[Case]:
    for step, decay in ((0, 0.999), (3, 0.9), (40, 0.99), (5000, 0.99)):
        average, weights = (
            {
                "bias": torch.randn(3, generator=generator),
                "weight": torch.randn(2, 4, generator=generator),
            }
            for _ in range(2)
        )
        weights = {name: value.requires_grad_() for name, value in weights.items()}
        yield Case(
            (average, weights, step, decay), label=f"two weights, step = {step}, decay = {decay}"
        )


def _averages(
    average: dict[str, Tensor],
    weights: dict[str, Tensor],
    step: int,
    decay: float = 0.999,
    d: Callable[[int, float], float] = lambda n, decay: min(decay, (1 + n) / (10 + n)),
    mix: Callable[[float, Tensor, Tensor], Tensor] = lambda d, a, w: d * a + (1 - d) * w,
) -> dict[str, Tensor]:
    """`ema_update` with a slip in it."""
    share = d(step, decay)
    return {name: mix(share, average[name], weights[name].detach()) for name in average}


def _ema_extra(candidate: Callable[..., Any]) -> str | None:
    average = {"weight": torch.zeros(3)}
    found = candidate(average, {"weight": torch.ones(3).requires_grad_()}, 7, 0.9)
    if found["weight"].requires_grad:
        return (
            "The numbers are right, but the average hangs on the graph of the weights: step by "
            "step it would keep all of training in memory. Use weights[name].detach()."
        )
    return None


EMA_UPDATE = Exercise(
    "03.ema_update",
    ema_update,
    _ema_cases,
    hints=(
        "First the share d that the old average keeps, then one dictionary comprehension.",
        "d = min(decay, (1 + step) / (10 + step)): small at first, so that the random start is "
        "soon forgotten. The new average is d times the old one plus (1 - d) times the weight.",
        "{name: d * average[name] + (1 - d) * weights[name].detach() for name in average}",
    ),
    difficulty=2,
    minutes=6,
    mistakes=(
        Mistake(
            "The shares are swapped: d belongs to the old average and 1 - d to the new weights. "
            "With a d near 1 the average moves slowly.",
            partial(_averages, mix=lambda d, a, w: d * w + (1 - d) * a),
        ),
        Mistake(
            "decay is used from the first step on. At the beginning d is smaller, (1 + n) / (10 + "
            "n), so that the random start is soon forgotten: d is the smaller of the two.",
            partial(_averages, d=lambda n, decay: decay),
        ),
        Mistake(
            "d is the larger of the two; expected the smaller one, min(...).",
            partial(_averages, d=lambda n, decay: max(decay, (1 + n) / (10 + n))),
        ),
        Mistake(
            "d is always (1 + n) / (10 + n), which goes to 1: late in training the average stands "
            "still. decay is its upper limit: min(decay, ...).",
            partial(_averages, d=lambda n, decay: (1 + n) / (10 + n)),
        ),
        Mistake(
            "The new weights are added in full. The shares add up to 1: d and 1 - d.",
            partial(_averages, mix=lambda d, a, w: d * a + w),
        ),
        Mistake(
            "The old average is not used; the result is the weights themselves, or a share of "
            "them.",
            partial(_averages, mix=lambda d, a, w: w),
        ),
    ),
    extra=_ema_extra,
    seconds=30.0,
)


EXERCISES = (
    TIMESTEP_EMBEDDING,
    RESNET_BLOCK,
    ATTENTION,
    UNET_FORWARD,
    TRAINING_STEP,
    EMA_UPDATE,
)
