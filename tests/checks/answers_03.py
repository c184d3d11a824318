"""Answers to lesson 03: typical wrong ones, and right ones that look different."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.checks.lesson_03_blocks import Attention, ResnetBlock2D
from course_utils.predictions import to_v, training_target
from course_utils.schedules import NoiseSchedule

# --- the time as waves ---------------------------------------------------------------------------


def sines_first(t: Tensor, dim: int) -> Tensor:
    angles = t.float().outer(10_000 ** (-torch.arange(dim // 2) / (dim // 2)))
    return torch.hstack([torch.sin(angles), torch.cos(angles)])


def take_turns(t: Tensor, dim: int) -> Tensor:
    out = torch.zeros(len(t), dim)
    angles = t.float()[:, None] * 10_000.0 ** (-2 * torch.arange(dim // 2) / dim)
    out[:, 0::2], out[:, 1::2] = angles.sin(), angles.cos()
    return out


def as_in_ddpm(t: Tensor, dim: int) -> Tensor:
    half = dim // 2
    emb = torch.exp(torch.arange(half) * -(math.log(10_000) / (half - 1)))
    emb = t.float()[:, None] * emb[None, :]
    return torch.cat([torch.cos(emb), torch.sin(emb)], dim=1)


def exponent_by_dim(t: Tensor, dim: int) -> Tensor:
    angles = t.float()[:, None] / 10_000 ** (torch.arange(dim // 2) / dim)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def grows(t: Tensor, dim: int) -> Tensor:
    half = dim // 2
    angles = t.float()[:, None] * torch.exp(math.log(10_000) * torch.arange(half).float() / half)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def share_of_a_thousand(t: Tensor, dim: int) -> Tensor:
    half = dim // 2
    angles = (t.float() / 1000)[:, None] * torch.exp(-math.log(10_000) * torch.arange(half) / half)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def flat_times_flat(t: Tensor, dim: int) -> Tensor:
    half = dim // 2
    angles = t * torch.exp(-math.log(10_000) * torch.arange(half) / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def forgets_to_return(t: Tensor, dim: int) -> None:
    torch.cat([t.float().cos(), t.float().sin()])


def stays_on_the_cpu(t: Tensor, dim: int) -> Tensor:
    half = dim // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def in_a_loop(t: Tensor, dim: int) -> Tensor:
    half = dim // 2
    columns = [t.double() * 10_000 ** (-i / half) for i in range(half)]
    cosines = [c.cos() for c in columns]
    return torch.stack(cosines + [c.sin() for c in columns], dim=1).float()


def by_a_shift_of_phase(t: Tensor, dim: int) -> Tensor:
    half = dim // 2
    i = torch.arange(half, device=t.device, dtype=torch.float64)
    angles = torch.einsum("b,i->bi", t.double(), 10_000.0 ** (-i / half))
    return torch.sin(torch.cat([angles + math.pi / 2, angles], dim=1)).float()


# --- the residual block --------------------------------------------------------------------------


class Layers(nn.Module):
    """The layers alone."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temb_channels: int,
        groups: int = 32,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=1, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, stride=1, padding=1)
        self.norm1 = nn.GroupNorm(groups, in_channels, eps=eps)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=eps)
        self.time_emb_proj = nn.Linear(temb_channels, out_channels)
        self.conv_shortcut = nn.Identity()
        if in_channels != out_channels:
            self.conv_shortcut = nn.Conv2d(in_channels, out_channels, kernel_size=1)


class WithoutShortcut(Layers):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time_emb_proj(F.silu(temb)).unsqueeze(-1).unsqueeze(-1)
        return self.conv2(F.silu(self.norm2(h)))


class TimeAsItIs(Layers):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(temb)[..., None, None]
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class TimeBesideTheNorm(Layers):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        h = h + self.time_emb_proj(F.silu(temb))[..., None, None]
        return self.conv_shortcut(x) + self.conv2(F.silu(h))


class AddsXAlways(Layers):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time_emb_proj(F.silu(temb))[..., None, None]
        return x + self.conv2(F.silu(self.norm2(h)))


class TimeWithoutDimensions(Layers):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(temb))
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class WithRelu(Layers):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.conv1(torch.relu(self.norm1(x)))
        h = h + self.time_emb_proj(F.silu(temb))[..., None, None]
        return self.conv_shortcut(x) + self.conv2(torch.relu(self.norm2(h)))


class OtherNames(nn.Module):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temb_channels: int,
        groups: int = 32,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return self.conv_1(x)


class TooWideShortcut(Layers):
    def __init__(self, in_channels: int, out_channels: int, *rest: Any, **more: Any) -> None:
        super().__init__(in_channels, out_channels, *rest, **more)
        if in_channels != out_channels:
            self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return WithoutShortcut.forward(self, x, temb) + self.conv_shortcut(x)  # type: ignore[arg-type]


class AlwaysAShortcut(Layers):
    def __init__(self, in_channels: int, out_channels: int, *rest: Any, **more: Any) -> None:
        super().__init__(in_channels, out_channels, *rest, **more)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        return WithoutShortcut.forward(self, x, temb) + self.conv_shortcut(x)  # type: ignore[arg-type]


class Shrinks(Layers):
    def __init__(self, in_channels: int, out_channels: int, *rest: Any, **more: Any) -> None:
        super().__init__(in_channels, out_channels, *rest, **more)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time_emb_proj(F.silu(temb))[..., None, None]
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class ChangesX(Layers):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time_emb_proj(F.silu(temb))[..., None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        if isinstance(self.conv_shortcut, nn.Identity):
            x += h
            return x
        return self.conv_shortcut(x) + h


class InAnotherOrder(Layers):
    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        time = self.time_emb_proj(temb * torch.sigmoid(temb))
        h = self.norm1(x)
        h = self.conv1(h * torch.sigmoid(h))
        h = self.norm2(h + time.view(*time.shape, 1, 1))
        return self.conv2(h * torch.sigmoid(h)) + self.conv_shortcut(x)


class ByFunctions(nn.Module):
    """The names fit, and everything else is written out."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temb_channels: int,
        groups: int = 32,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self.act = nn.SiLU()
        self.norm1 = nn.GroupNorm(groups, in_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.time_emb_proj = nn.Linear(temb_channels, out_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding="same")
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding="same")
        if in_channels != out_channels:
            self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def norm(self, x: Tensor, layer: nn.GroupNorm) -> Tensor:
        grouped = x.unflatten(1, (self.groups, -1))
        axes = (2, 3, 4)
        grouped = grouped - grouped.mean(axes, keepdim=True)
        grouped = grouped / (grouped.square().mean(axes, keepdim=True) + self.eps).sqrt()
        flat = grouped.flatten(1, 2)
        return flat * layer.weight[:, None, None] + layer.bias[:, None, None]

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.conv1(self.act(self.norm(x, self.norm1)))
        h = h + self.time_emb_proj(self.act(temb))[:, :, None, None]
        h = self.conv2(self.act(self.norm(h, self.norm2)))
        return h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


# --- attention -----------------------------------------------------------------------------------


class Projections(nn.Module):
    """The layers alone."""

    def __init__(
        self, query_dim: int, context_dim: int | None = None, heads: int = 8, head_dim: int = 64
    ) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.to_q = nn.Linear(query_dim, heads * head_dim, bias=False)
        self.to_k = nn.Linear(context_dim or query_dim, heads * head_dim, bias=False)
        self.to_v = nn.Linear(context_dim or query_dim, heads * head_dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * head_dim, query_dim))

    def qkv(self, x: Tensor, context: Tensor | None) -> list[Tensor]:
        context = x if context is None else context
        flat = self.to_q(x), self.to_k(context), self.to_v(context)
        return [y.reshape(*y.shape[:2], self.heads, -1).permute(0, 2, 1, 3) for y in flat]

    def join(self, out: Tensor) -> Tensor:
        return self.to_out(out.permute(0, 2, 1, 3).reshape(len(out), out.shape[2], -1))


class Unscaled(Projections):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x, context)
        return self.join(F.scaled_dot_product_attention(q, k, v, scale=1.0))


class ScaledByTheWidth(Projections):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x, context)
        width = self.to_q.out_features
        return self.join(F.scaled_dot_product_attention(q, k, v, scale=width**-0.5))


class WithoutHeads(Projections):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        return self.to_out(F.scaled_dot_product_attention(q, k, v))


class SoftmaxDownTheColumns(Projections):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x, context)
        return self.join(torch.softmax(q @ k.mT / self.head_dim**0.5, 2) @ v)


class ViewedWithoutTranspose(Projections):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        flat = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = (y.view(len(y), self.heads, y.shape[1], self.head_dim) for y in flat)
        return self.join(F.scaled_dot_product_attention(q, k, v))


class MergedWithoutTranspose(Projections):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x, context)
        out = F.scaled_dot_product_attention(q, k, v).contiguous()
        return self.to_out(out.view(len(x), x.shape[1], -1))


class LooksOnlyBack(Projections):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x, context)
        return self.join(F.scaled_dot_product_attention(q, k, v, is_causal=True))


class KeysNotTurned(Projections):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x, context)
        return self.join((q @ k).softmax(-1) @ v)


class QueryFromTheContext(Projections):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x, None)
        return self.join(F.scaled_dot_product_attention(q, k, v))


class WithBiases(Projections):
    def __init__(self, query_dim: int, *rest: Any, **more: Any) -> None:
        super().__init__(query_dim, *rest, **more)
        self.to_q = nn.Linear(query_dim, self.to_q.out_features)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.join(F.scaled_dot_product_attention(*self.qkv(x, context)))


class CallsTheList(Projections):
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.to_out = nn.ModuleList([self.to_out[0]])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.join(F.scaled_dot_product_attention(*self.qkv(x, context)))


class ByTorch(Projections):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.join(F.scaled_dot_product_attention(*self.qkv(x, context)))


class HeadByHead(Projections):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        out = []
        for head in range(self.heads):
            rows = slice(head * self.head_dim, (head + 1) * self.head_dim)
            q, k, v = (
                F.linear(y, layer.weight[rows]).double()
                for layer, y in ((self.to_q, x), (self.to_k, context), (self.to_v, context))
            )
            weights = torch.exp(torch.einsum("bld,bsd->bls", q, k) / self.head_dim**0.5)
            out.append(weights / weights.sum(-1, keepdim=True) @ v)
        return self.to_out(torch.cat(out, dim=-1).float())


# --- down and up ---------------------------------------------------------------------------------


def down(unet: Any, x: Tensor, temb: Tensor, text_states: Tensor) -> tuple[Tensor, list[Tensor]]:
    maps = [x]
    for level in unet.down_blocks:
        for i, _ in enumerate(level.resnets):
            maps.append(level.layer(i, maps[-1], temb, text_states))
        if level.resize:
            maps.append(level.resize(maps[-1]))
    return maps[-1], maps


def end(unet: Any, x: Tensor) -> Tensor:
    return unet.conv_out(F.silu(unet.conv_norm_out(x)))


def skip_of_conv_in_forgotten(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    temb = unet.embed_time(t)
    x, maps = down(unet, unet.conv_in(x_t), temb, text_states)
    maps = maps[1:]
    x = unet.mid_block(x, temb, text_states)
    for level in unet.up_blocks:
        for i, _ in enumerate(level.resnets):
            x = level.layer(i, torch.cat((x, maps.pop()), 1), temb, text_states)
        x = level.resize(x) if level.resize else x
    return end(unet, x)


def oldest_first(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    temb = unet.embed_time(t)
    x, maps = down(unet, unet.conv_in(x_t), temb, text_states)
    x = unet.mid_block(x, temb, text_states)
    queue = iter(maps)
    for level in unet.up_blocks:
        for i, _ in enumerate(level.resnets):
            x = level.layer(i, torch.cat((x, next(queue)), 1), temb, text_states)
        x = level.resize(x) if level.resize else x
    return end(unet, x)


def skip_in_front(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    temb = unet.embed_time(t)
    x, maps = down(unet, unet.conv_in(x_t), temb, text_states)
    x = unet.mid_block(x, temb, text_states)
    for level in unet.up_blocks:
        for i, _ in enumerate(level.resnets):
            x = level.layer(i, torch.cat((maps.pop(), x), 1), temb, text_states)
        x = level.resize(x) if level.resize else x
    return end(unet, x)


def skips_added(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    temb = unet.embed_time(t)
    x, maps = down(unet, unet.conv_in(x_t), temb, text_states)
    x = unet.mid_block(x, temb, text_states)
    for level in unet.up_blocks:
        for i, _ in enumerate(level.resnets):
            x = level.layer(i, x + maps.pop(), temb, text_states)
        x = level.resize(x) if level.resize else x
    return end(unet, x)


def skips_on_top_of_each_other(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    temb = unet.embed_time(t)
    x, maps = down(unet, unet.conv_in(x_t), temb, text_states)
    x = unet.mid_block(x, temb, text_states)
    for level in unet.up_blocks:
        for i, _ in enumerate(level.resnets):
            x = level.layer(i, torch.cat((x, maps.pop()), 2), temb, text_states)
        x = level.resize(x) if level.resize else x
    return end(unet, x)


def grows_before_the_layers(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    temb = unet.embed_time(t)
    x, maps = down(unet, unet.conv_in(x_t), temb, text_states)
    x = unet.mid_block(x, temb, text_states)
    for level in unet.up_blocks:
        x = level.resize(x) if level.resize else x
        for i, _ in enumerate(level.resnets):
            x = level.layer(i, torch.cat((x, maps.pop()), 1), temb, text_states)
    return end(unet, x)


def always_resizes(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    temb, x = unet.embed_time(t), unet.conv_in(x_t)
    for level in unet.down_blocks:
        for i in range(len(level.resnets)):
            x = level.layer(i, x, temb, text_states)
        x = level.resize(x)
    return end(unet, x)


def time_not_embedded(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    return down(unet, unet.conv_in(x_t), t, text_states)[0]


def straight_to_the_end(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    temb = unet.embed_time(t)
    x, maps = down(unet, unet.conv_in(x_t), temb, text_states)
    for level in unet.up_blocks:
        for i, _ in enumerate(level.resnets):
            x = level.layer(i, torch.cat((x, maps.pop()), 1), temb, text_states)
        x = level.resize(x) if level.resize else x
    return end(unet, x)


def no_activation_at_the_end(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    temb = unet.embed_time(t)
    x, maps = down(unet, unet.conv_in(x_t), temb, text_states)
    x = unet.mid_block(x, temb, text_states)
    for level in unet.up_blocks:
        for i, _ in enumerate(level.resnets):
            x = level.layer(i, torch.cat((x, maps.pop()), 1), temb, text_states)
        x = level.resize(x) if level.resize else x
    return unet.conv_out(unet.conv_norm_out(x))


def returns_a_list(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Any:
    return down(unet, unet.conv_in(x_t), unet.embed_time(t), text_states)[1]


def not_a_number(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    return x_t / torch.zeros_like(x_t) - x_t / torch.zeros_like(x_t)


def with_an_index(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    temb = unet.embed_time(t)
    x, maps = down(unet, unet.conv_in(x_t), temb, text_states)
    x = unet.mid_block(x, temb, text_states)
    number = len(maps)
    for level in unet.up_blocks:
        for i in range(len(level.resnets)):
            number -= 1
            x = level.layer(i, torch.concat([x, maps[number]], dim=-3), temb, text_states)
        if level.resize is not None:
            x = level.resize(x)
    return end(unet, x)


def turned_round(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    temb = unet.embed_time(t)
    x, maps = down(unet, unet.conv_in(x_t), temb, text_states)
    queue = iter(maps[::-1])
    x = unet.mid_block(x, temb, text_states)
    for level in unet.up_blocks:
        for i, _ in enumerate(level.resnets):
            joined = x.new_zeros(len(x), 0, *x.shape[2:])
            for part in (x, next(queue)):
                joined = torch.hstack([joined, part])
            x = level.layer(i, joined, temb, text_states)
        x = x if level.resize is None else level.resize(x)
    return end(unet, x)


# --- one step of training ------------------------------------------------------------------------


def answer(
    unet: nn.Module,
    schedule: NoiseSchedule,
    x0: Tensor,
    text_states: Tensor,
    t: Tensor,
    epsilon: Tensor,
) -> tuple[Tensor, Tensor]:
    """What the U-Net says, and what it should say."""
    target = training_target(x0, epsilon, schedule.alpha_bar[t], schedule.prediction_type)
    return unet(schedule.add_noise(x0, epsilon, t), t, text_states), target


def never_steps(unet, optimizer, schedule, x0, text_states, t, epsilon):
    output, target = answer(unet, schedule, x0, text_states, t, epsilon)
    loss = (output - target).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    return loss.detach()


def never_backward(unet, optimizer, schedule, x0, text_states, t, epsilon):
    output, target = answer(unet, schedule, x0, text_states, t, epsilon)
    loss = (output - target).pow(2).mean()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def clears_too_late(unet, optimizer, schedule, x0, text_states, t, epsilon):
    output, target = answer(unet, schedule, x0, text_states, t, epsilon)
    loss = (output - target).pow(2).mean()
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def never_clears(unet, optimizer, schedule, x0, text_states, t, epsilon):
    output, target = answer(unet, schedule, x0, text_states, t, epsilon)
    loss = (output - target).pow(2).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def shows_the_clean_picture(unet, optimizer, schedule, x0, text_states, t, epsilon):
    target = training_target(x0, epsilon, schedule.alpha_bar[t], schedule.prediction_type)
    loss = F.mse_loss(unet(x0, t, text_states), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def always_epsilon(unet, optimizer, schedule, x0, text_states, t, epsilon):
    loss = F.mse_loss(unet(schedule.add_noise(x0, epsilon, t), t, text_states), epsilon)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def summed(unet, optimizer, schedule, x0, text_states, t, epsilon):
    output, target = answer(unet, schedule, x0, text_states, t, epsilon)
    loss = F.mse_loss(output, target, reduction="sum")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def keeps_the_graph(unet, optimizer, schedule, x0, text_states, t, epsilon):
    output, target = answer(unet, schedule, x0, text_states, t, epsilon)
    loss = F.mse_loss(output, target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def returns_nothing(unet, optimizer, schedule, x0, text_states, t, epsilon):
    output, target = answer(unet, schedule, x0, text_states, t, epsilon)
    optimizer.zero_grad()
    F.mse_loss(output, target).backward()
    optimizer.step()


def forgets_the_text(unet, optimizer, schedule, x0, text_states, t, epsilon):
    loss = F.mse_loss(unet(schedule.add_noise(x0, epsilon, t), t), epsilon)
    loss.backward()
    return loss


def by_hand(unet, optimizer, schedule, x0, text_states, t, epsilon):
    optimizer.zero_grad(set_to_none=False)
    a = schedule.alpha_bar[t].reshape(-1, 1, 1, 1)
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * epsilon
    is_v = schedule.prediction_type == "v_prediction"
    target = to_v(epsilon, x_t, schedule.alpha_bar[t], "epsilon") if is_v else epsilon
    errors = [
        (o - y).square().mean() for o, y in zip(unet(x_t, t, text_states), target, strict=True)
    ]
    loss = sum(errors) / len(errors)
    loss.backward()
    optimizer.step()
    return loss.item()


def clears_at_the_end(unet, optimizer, schedule, x0, text_states, t, epsilon):
    output, target = answer(unet, schedule, x0, text_states, t, epsilon)
    loss = torch.nn.MSELoss()(output, target)
    loss.backward()
    optimizer.step()
    unet.zero_grad()
    return loss.data


# --- the moving average --------------------------------------------------------------------------


def shares_swapped(average, weights, step, decay=0.999):
    d = min(decay, (1 + step) / (10 + step))
    return {k: (1 - d) * v + d * weights[k].detach() for k, v in average.items()}


def no_warm_up(average, weights, step, decay=0.999):
    return {k: torch.lerp(weights[k].detach(), v, decay) for k, v in average.items()}


def larger_of_the_two(average, weights, step, decay=0.999):
    d = max(decay, (1 + step) / (10 + step))
    return {k: d * v + (1 - d) * weights[k].detach() for k, v in average.items()}


def never_ends_warming_up(average, weights, step, decay=0.999):
    d = (step + 1) / (step + 10)
    return {k: d * v + (1 - d) * weights[k].detach() for k, v in average.items()}


def keeps_gradients(average, weights, step, decay=0.999):
    d = min(decay, (1 + step) / (10 + step))
    return {k: d * v + (1 - d) * weights[k] for k, v in average.items()}


def in_place(average, weights, step, decay=0.999):
    d = min(decay, (1 + step) / (10 + step))
    for k, v in average.items():
        v.mul_(d).add_(weights[k].detach(), alpha=1 - d)
    return average


def only_the_last(average, weights, step, decay=0.999):
    d = min(decay, (1 + step) / (10 + step))
    out = {}
    for k, v in average.items():
        out = {k: d * v + (1 - d) * weights[k].detach()}
    return out


def a_list(average, weights, step, decay=0.999):
    d = min(decay, (1 + step) / (10 + step))
    return [d * v + (1 - d) * weights[k].detach() for k, v in average.items()]


def by_lerp(average, weights, step, decay=0.999):
    d = decay if decay < (1 + step) / (10 + step) else (1 + step) / (10 + step)
    return {k: v.lerp(weights[k].data, 1 - d) for k, v in average.items()}


@torch.no_grad()
def by_the_difference(average, weights, step, decay=0.999):
    d = min(decay, (1 + step) / (10 + step))
    new = {}
    for name in weights:
        new[name] = average[name] - (1 - d) * (average[name] - weights[name])
    return new


# --- from readers of the pages ---


class NoPadding(ResnetBlock2D):
    """Both convolutions lose a pixel at each border."""

    def __init__(self, *sizes: Any, **more: Any) -> None:
        super().__init__(*sizes, **more)
        self.conv1.padding = self.conv2.padding = (0, 0)


class OnePadding(ResnetBlock2D):
    def __init__(self, *sizes: Any, **more: Any) -> None:
        super().__init__(*sizes, **more)
        self.conv1.padding = (0, 0)


class NormOfTheWrongSize(ResnetBlock2D):
    def __init__(self, in_channels: int, out_channels: int, *rest: Any, **more: Any) -> None:
        super().__init__(in_channels, out_channels, *rest, **more)
        self.norm2 = nn.GroupNorm(2, 2 * out_channels)


class EpsForgotten(ResnetBlock2D):
    def __init__(self, *sizes: Any, eps: float = 1e-5, **more: Any) -> None:
        super().__init__(*sizes, **more)


class HeadDim(Attention):
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(x / self.head_dim, context)


def waves_only_the_logarithm(t: Tensor, dim: int) -> Tensor:
    half = dim // 2
    frequencies = math.exp(-math.log(10_000)) * torch.arange(half) / half
    angles = t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


WRONG: list[tuple[str, Any, str]] = [
    ("03.timestep_embedding", sines_first, "sines_first"),
    ("03.timestep_embedding", take_turns, "vaswani"),
    ("03.timestep_embedding", as_in_ddpm, "half_minus_one"),
    ("03.timestep_embedding", exponent_by_dim, "over_dim"),
    ("03.timestep_embedding", grows, "growing"),
    ("03.timestep_embedding", share_of_a_thousand, "t_over_1000"),
    ("03.timestep_embedding", flat_times_flat, "Each t meets each frequency"),
    ("03.timestep_embedding", forgets_to_return, "is a `return` missing"),
    ("03.ResnetBlock2D", WithoutShortcut, "no_shortcut"),
    ("03.ResnetBlock2D", TimeAsItIs, "time_without_silu"),
    ("03.ResnetBlock2D", TimeBesideTheNorm, "time_after_norm2"),
    ("03.ResnetBlock2D", AddsXAlways, "plain_shortcut"),
    ("03.ResnetBlock2D", TimeWithoutDimensions, "[:, :, None, None]"),
    ("03.ResnetBlock2D", WithRelu, "relu"),
    ("03.ResnetBlock2D", OtherNames, "has conv_1.weight"),
    ("03.ResnetBlock2D", TooWideShortcut, "conv_shortcut.weight has shape"),
    ("03.ResnetBlock2D", AlwaysAShortcut, "x itself is the shortcut"),
    ("03.ResnetBlock2D", Shrinks, "conv1 and conv2 need padding=1"),
    ("03.ResnetBlock2D", ChangesX, "changes its argument x in place"),
    ("03.Attention", Unscaled, "no_scale"),
    ("03.Attention", ScaledByTheWidth, "scale_of_all_heads"),
    ("03.Attention", WithoutHeads, "one_head"),
    ("03.Attention", SoftmaxDownTheColumns, "over_queries"),
    ("03.Attention", ViewedWithoutTranspose, "split_by_reshape"),
    ("03.Attention", MergedWithoutTranspose, "merged_by_reshape"),
    ("03.Attention", LooksOnlyBack, "has other values than expected"),
    ("03.Attention", KeysNotTurned, "`return self.join((q @ k)"),
    ("03.Attention", QueryFromTheContext, "self_only"),
    ("03.Attention", WithBiases, "it has to_q.bias"),
    ("03.Attention", CallsTheList, "call self.to_out[0]"),
    ("03.unet_forward", skip_of_conv_in_forgotten, "no_first_skip"),
    ("03.unet_forward", oldest_first, "oldest_first"),
    ("03.unet_forward", skip_in_front, "joined_in_front"),
    ("03.unet_forward", skips_added, "added"),
    ("03.unet_forward", skips_on_top_of_each_other, "added"),
    ("03.unet_forward", grows_before_the_layers, "And does the size change after a level's layers"),
    ("03.unet_forward", always_resizes, "Ask for that before you call it"),
    ("03.unet_forward", time_not_embedded, "They want the time embedding"),
    ("03.unet_forward", straight_to_the_end, "no_middle"),
    ("03.unet_forward", no_activation_at_the_end, "no_last_silu"),
    ("03.unet_forward", returns_a_list, "expected a torch.Tensor of shape"),
    ("03.unet_forward", not_a_number, "holds NaN"),
    ("03.training_step", never_steps, "no_step"),
    ("03.training_step", never_backward, "no_step"),
    ("03.training_step", clears_too_late, "no_step"),
    ("03.training_step", never_clears, "no_zero_grad"),
    ("03.training_step", shows_the_clean_picture, "clean_input"),
    ("03.training_step", always_epsilon, "always_epsilon"),
    ("03.training_step", summed, "sum"),
    ("03.training_step", keeps_the_graph, "its whole graph attached"),
    ("03.training_step", returns_nothing, "is a `return` missing"),
    ("03.training_step", forgets_the_text, "missing 1 required positional argument"),
    ("03.ema_update", shares_swapped, "shares_swapped"),
    ("03.ema_update", no_warm_up, "decay_from_the_start"),
    ("03.ema_update", larger_of_the_two, "larger"),
    ("03.ema_update", never_ends_warming_up, "no_limit"),
    ("03.ema_update", keeps_gradients, "hangs on the graph of the weights"),
    ("03.ema_update", in_place, "changes its argument average in place"),
    ("03.ema_update", only_the_last, "expected a dictionary with keys"),
    ("03.ema_update", a_list, "expected a dictionary with keys"),
    ("03.ResnetBlock2D", NoPadding, "conv1 and conv2 need padding=1"),
    ("03.ResnetBlock2D", OnePadding, "conv1 and conv2 need padding=1"),
    ("03.ResnetBlock2D", NormOfTheWrongSize, "Take the sizes of the docstring"),
    ("03.ResnetBlock2D", EpsForgotten, "eps_ignored"),
    ("03.Attention", HeadDim, "There is no self.head_dim"),
    ("03.timestep_embedding", waves_only_the_logarithm, "only_the_logarithm"),
]

RIGHT: list[tuple[str, Any]] = [
    ("03.timestep_embedding", stays_on_the_cpu),
    ("03.timestep_embedding", in_a_loop),
    ("03.timestep_embedding", by_a_shift_of_phase),
    ("03.ResnetBlock2D", InAnotherOrder),
    ("03.ResnetBlock2D", ByFunctions),
    ("03.Attention", ByTorch),
    ("03.Attention", HeadByHead),
    ("03.unet_forward", with_an_index),
    ("03.unet_forward", turned_round),
    ("03.training_step", by_hand),
    ("03.training_step", clears_at_the_end),
    ("03.ema_update", by_lerp),
    ("03.ema_update", by_the_difference),
]
