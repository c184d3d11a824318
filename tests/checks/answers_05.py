"""Answers to lesson 05 as people write them: wrong ones with what they must be told, right ones."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Symbols = tuple[str, ...]
Pair = tuple[str, str]


# --- merge_pair, wrong ---------------------------------------------------------------------------


def compares_a_list(symbols: Any, pair: Any) -> Any:
    symbols, out, i = list(symbols), [], 0
    while i < len(symbols):
        if symbols[i : i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return tuple(out)


def first_only(symbols: Any, pair: Any) -> Any:
    for i in range(len(symbols) - 1):
        if symbols[i] == pair[0] and symbols[i + 1] == pair[1]:
            return (*symbols[:i], "".join(pair), *symbols[i + 2 :])
    return symbols


def reuses_the_right_half(symbols: Any, pair: Any) -> Any:
    out = []
    for i in range(len(symbols)):
        follows = i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair
        out.append("".join(pair) if follows else symbols[i])
    return tuple(out)


def stops_early(symbols: Any, pair: Any) -> Any:
    out, skip = [], False
    for a, b in itertools.pairwise(symbols):
        if skip:
            skip = False
        elif (a, b) == pair:
            out.append(a + b)
            skip = True
        else:
            out.append(a)
    return tuple(out)


def any_order(symbols: Any, pair: Any) -> Any:
    out, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and {symbols[i], symbols[i + 1]} == set(pair):
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return tuple(out)


def text_replace(symbols: Any, pair: Any) -> Any:
    text = " ".join(symbols)
    return tuple(text.replace(f"{pair[0]} {pair[1]}", pair[0] + pair[1]).split())


def looks_past_the_end(symbols: Any, pair: Any) -> Any:
    out, i = [], 0
    while i < len(symbols):
        if symbols[i] == pair[0] and symbols[i + 1] == pair[1]:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return tuple(out)


def gives_a_list(symbols: Any, pair: Any) -> Any:
    return list(loop_with_flags(symbols, pair))


def one_text(symbols: Any, pair: Any) -> Any:
    return "".join(symbols)


def merge_returns_nothing(symbols: Any, pair: Any) -> Any:
    loop_with_flags(symbols, pair)


# --- merge_pair, right ---------------------------------------------------------------------------


def loop_with_flags(symbols: Any, pair: Any) -> Any:
    out: list[str] = []
    done = False
    for i, symbol in enumerate(symbols):
        if done:
            done = False
            continue
        if i < len(symbols) - 1 and symbol == pair[0] and symbols[i + 1] == pair[1]:
            out.append(symbol + symbols[i + 1])
            done = True
        else:
            out.append(symbol)
    return tuple(out)


def recursive(symbols: Any, pair: Any) -> Any:
    if len(symbols) < 2:
        return tuple(symbols)
    if symbols[:2] == pair:
        return ("".join(pair), *recursive(symbols[2:], pair))
    return (symbols[0], *recursive(symbols[1:], pair))


# --- causal_attention, wrong ---------------------------------------------------------------------


def no_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def hides_the_past(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    n = q.size(2)
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / q.size(-1) ** 0.5
    past = torch.arange(n)[:, None] > torch.arange(n)[None, :]
    return scores.masked_fill(past, float("-inf")).softmax(-1) @ v


def hides_itself(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    scores = scores + torch.full(scores.shape[-2:], float("-inf")).triu(0)
    return F.softmax(scores, dim=-1) @ v


def zeros_for_minus_infinity(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).tril()
    return scores.softmax(dim=-1) @ v


def masks_the_weights(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = F.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1)
    return torch.tril(weights) @ v


def unscaled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.mT
    return scores.masked_fill(torch.ones_like(scores).triu(1) == 1, -1e9).softmax(-1) @ v


def softmax_over_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf).softmax(2) @ v


def weights_and_no_values(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf).softmax(-1)


def attention_detached(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with torch.no_grad():
        weights = with_a_bias_matrix(q, k, torch.eye(k.shape[2]).expand(*k.shape[:3], -1))
    return weights @ v


def attention_in_double(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q.double(), k.double(), v.double(), is_causal=True)


def transposes_all(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.T).softmax(-1) @ v


# --- causal_attention, right ---------------------------------------------------------------------


def with_a_bias_matrix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    n = q.shape[-2]
    bias = torch.full((n, n), -math.inf, device=q.device, dtype=q.dtype).triu(1)
    return torch.softmax(torch.einsum("bhqd,bhkd->bhqk", q, k) / q.shape[-1] ** 0.5 + bias, -1) @ v


def torchs_own(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def query_by_query(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = []
    for i in range(q.shape[2]):
        weights = (q[:, :, i : i + 1] @ k[:, :, : i + 1].mT * q.shape[-1] ** -0.5).softmax(-1)
        out.append(weights @ v[:, :, : i + 1])
    return torch.cat(out, dim=2)


# --- CausalBlock ---------------------------------------------------------------------------------


class BlockParts(nn.Module):
    """The constructor that the lesson gives."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.layer_norm1 = nn.LayerNorm(width)
        self.self_attn = nn.ModuleDict(
            {name: nn.Linear(width, width) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        )
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})

    def hear(self, h: Tensor, mask: bool = True, swap: bool = True) -> Tensor:
        a, (batch, length, width) = self.self_attn, h.shape
        q, k, v = (
            a[name](h).view(batch, length, self.heads, -1).permute(0, 2, 1, 3)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        out = F.scaled_dot_product_attention(q, k, v, is_causal=mask)
        out = out.permute(0, 2, 1, 3) if swap else out
        return a["out_proj"](out.reshape(batch, length, width))

    def network(self, h: Tensor) -> Tensor:
        h = self.mlp["fc1"](h)
        return self.mlp["fc2"](h * torch.sigmoid(1.702 * h))


class ForgetsToAdd(BlockParts):
    def forward(self, x: Tensor) -> Tensor:
        x = self.hear(self.layer_norm1(x))
        return self.network(self.layer_norm2(x))


class AddsOnlyOnce(BlockParts):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.hear(self.layer_norm1(x))
        return self.network(self.layer_norm2(x))


class NormsAfter(BlockParts):
    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_norm1(self.hear(x) + x)
        return self.layer_norm2(self.network(x) + x)


class OverwritesX(BlockParts):
    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_norm1(x)
        x = x + self.hear(x)
        x = self.layer_norm2(x)
        return x + self.network(x)


class SeesTheFuture(BlockParts):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.hear(self.layer_norm1(x), mask=False)
        return x + self.network(self.layer_norm2(x))


class UsualGelu(BlockParts):
    def network(self, h: Tensor) -> Tensor:
        return self.mlp["fc2"](F.gelu(self.mlp["fc1"](h)))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.hear(self.layer_norm1(x))
        return x + self.network(self.layer_norm2(x))


class ForgetsToSwap(BlockParts):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.hear(self.layer_norm1(x), swap=False)
        return x + self.network(self.layer_norm2(x))


class NetworkSeesTheOldX(BlockParts):
    def forward(self, x: Tensor) -> Tensor:
        heard = self.hear(self.layer_norm1(x))
        return x + heard + self.network(self.layer_norm2(x))


class AddsInPlace(BlockParts):
    def forward(self, x: Tensor) -> Tensor:
        x += self.hear(self.layer_norm1(x))
        x += self.network(self.layer_norm2(x))
        return x


class OtherNames(nn.Module):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return x


class Tidy(BlockParts):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.hear(self.layer_norm1(x))
        return x + self.network(self.layer_norm2(x))


class HeadByHead(BlockParts):
    def forward(self, x: Tensor) -> Tensor:
        h, heard = self.layer_norm1(x), []
        q, k, v = (self.self_attn[f"{name}_proj"](h).chunk(self.heads, dim=-1) for name in "qkv")
        for one_q, one_k, one_v in zip(q, k, v, strict=True):
            scores = one_q @ one_k.mT / one_q.shape[-1] ** 0.5
            hidden = torch.ones_like(scores).triu(1).bool()
            heard.append(scores.masked_fill(hidden, -torch.inf).softmax(-1) @ one_v)
        x = self.self_attn["out_proj"](torch.cat(heard, dim=-1)) + x
        return self.network(self.layer_norm2(x)) + x


# --- contrastive_loss, wrong ---------------------------------------------------------------------


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def rows_only(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits = scale.exp() * unit(images) @ unit(texts).T
    return -logits.log_softmax(dim=1).diagonal().mean()


def columns_only(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits = scale.exp() * unit(images) @ unit(texts).T
    return -logits.log_softmax(dim=0).diagonal().mean()


def sum_of_both(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    return rows_only(images, texts, scale) + columns_only(images, texts, scale)


def raw_products(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits = images @ texts.T * scale.exp()
    target = torch.arange(len(images))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def no_exp(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits = scale * unit(images) @ unit(texts).T
    target = torch.arange(len(images))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def no_temperature(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits = unit(images) @ unit(texts).T
    target = torch.arange(len(images))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def softmax_twice(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits = scale.exp() * unit(images) @ unit(texts).T
    target = torch.arange(len(images))
    a = F.cross_entropy(F.softmax(logits, dim=-1), target)
    return (a + F.cross_entropy(F.softmax(logits.T, dim=-1), target)) / 2


def summed_over_the_batch(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits = scale.exp() * unit(images) @ unit(texts).T
    rows, columns = logits.log_softmax(1).diagonal(), logits.log_softmax(0).diagonal()
    return -(rows + columns).sum() / 2


def one_loss_each(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits = scale.exp() * unit(images) @ unit(texts).T
    return -(logits.log_softmax(1).diagonal() + logits.log_softmax(0).diagonal()) / 2


def a_python_number(images: Tensor, texts: Tensor, scale: Tensor) -> Any:
    return by_log_softmax(images, texts, scale).item()


def no_transpose(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    return (scale.exp() * unit(images) @ unit(texts)).diagonal().mean()


# --- contrastive_loss, right ---------------------------------------------------------------------


def by_log_softmax(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    return (rows_only(images, texts, scale) + columns_only(images, texts, scale)) / 2


def pair_by_pair(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    total = torch.zeros((), dtype=images.dtype, device=images.device)
    table = torch.cosine_similarity(images[:, None], texts[None], dim=-1) * torch.exp(scale)
    for i in range(len(table)):
        total = total + torch.logsumexp(table[i], 0) - table[i, i]
        total = total + torch.logsumexp(table[:, i], 0) - table[i, i]
    return total / (2 * len(table))


# --- CrossAttention ------------------------------------------------------------------------------


class CrossParts(nn.Module):
    """A constructor with diffusers' names."""

    def __init__(self, query_dim: int, context_dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads, self.head_dim = heads, head_dim
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, query_dim), nn.Dropout(0.0))

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, self.head_dim).transpose(1, 2)


class LooksAtItself(CrossParts):
    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = self.split(self.to_q(x)), self.split(self.to_k(x)), self.split(self.to_v(x))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class WordsAsk(CrossParts):
    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (self.split(layer) for layer in (self.to_q(context), self.to_k(x), self.to_v(x)))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class WordsShareThemselves(CrossParts):
    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k = self.split(self.to_q(x)), self.split(self.to_k(context))
        v = self.split(self.to_v(context))
        weights = F.softmax(q @ k.mT / self.head_dim**0.5, dim=2)
        return self.to_out((weights @ v).transpose(1, 2).flatten(2))


class NoRoot(CrossParts):
    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k = self.split(self.to_q(x)), self.split(self.to_k(context))
        v = self.split(self.to_v(context))
        return self.to_out(((q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2))


class RootOfTheWhole(CrossParts):
    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k = self.split(self.to_q(x)), self.split(self.to_k(context))
        v = self.split(self.to_v(context))
        scores = q @ k.mT / math.sqrt(self.to_q.out_features)
        return self.to_out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class MaskLeftIn(CrossParts):
    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k = self.split(self.to_q(x)), self.split(self.to_k(context))
        v = self.split(self.to_v(context))
        scores = q @ k.mT / self.head_dim**0.5
        later = torch.ones(scores.shape[-2:]).triu(1).bool()
        return self.to_out(
            (scores.masked_fill(later, -torch.inf).softmax(-1) @ v).transpose(1, 2).flatten(2)
        )


class OwnResidual(CrossParts):
    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k = self.split(self.to_q(x)), self.split(self.to_k(context))
        v = self.split(self.to_v(context))
        heard = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.to_out(heard) + x


class TorchsAttention(CrossParts):
    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = map(self.split, (self.to_q(x), self.to_k(context), self.to_v(context)))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class WithBiases(TorchsAttention):
    def __init__(self, query_dim: int, context_dim: int, heads: int, head_dim: int) -> None:
        super().__init__(query_dim, context_dim, heads, head_dim)
        self.to_q = nn.Linear(query_dim, heads * head_dim)


class KeysOfPixelWidth(TorchsAttention):
    def __init__(self, query_dim: int, context_dim: int, heads: int, head_dim: int) -> None:
        super().__init__(query_dim, context_dim, heads, head_dim)
        self.to_k = nn.Linear(query_dim, heads * head_dim, bias=False)


class PlainOut(TorchsAttention):
    def __init__(self, query_dim: int, context_dim: int, heads: int, head_dim: int) -> None:
        super().__init__(query_dim, context_dim, heads, head_dim)
        self.to_out = nn.Linear(heads * head_dim, query_dim)  # type: ignore[assignment]


class ForwardGivesNone(CrossParts):
    def forward(self, x: Tensor, context: Tensor) -> Any:
        self.to_out(self.to_q(x))


class Einsum(CrossParts):
    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            y.reshape(*y.shape[:2], self.heads, -1)
            for y in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        weights = torch.einsum("bphd,blhd->bhpl", q / self.head_dim**0.5, k).exp()
        weights = weights / weights.sum(dim=-1, keepdim=True)
        return self.to_out[0](torch.einsum("bhpl,blhd->bphd", weights, v).flatten(2))


# --- from readers of the pages ---


def causal_infinite(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    mask = torch.ones(q.shape[-2], q.shape[-2]).triu(1) * float("-inf")
    return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5 + mask).softmax(-1) @ v


def causal_one_ahead(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    later = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).triu(2)
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.masked_fill(later, float("-inf")).softmax(-1) @ v


def causal_on_the_cpu(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    later = torch.ones(q.shape[-2], q.shape[-2]).triu(1).bool()
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.masked_fill(later, float("-inf")).softmax(-1) @ v


def loss_on_the_cpu(image_vectors: Tensor, text_vectors: Tensor, logit_scale: Tensor) -> Tensor:
    images, texts = F.normalize(image_vectors), F.normalize(text_vectors)
    logits = logit_scale.exp() * images @ texts.T
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


WRONG = [
    ("05.merge_pair", compares_a_list, "nothing_merged"),
    ("05.merge_pair", first_only, "first_only"),
    ("05.merge_pair", reuses_the_right_half, "one_place_on"),
    ("05.merge_pair", stops_early, "last_lost"),
    ("05.merge_pair", any_order, "either_order"),
    ("05.merge_pair", text_replace, "inside_symbols"),
    ("05.merge_pair", looks_past_the_end, "past the end of `symbols`"),
    ("05.merge_pair", gives_a_list, "come as a list"),
    ("05.merge_pair", one_text, "expected a tuple"),
    ("05.merge_pair", merge_returns_nothing, "is a `return` missing"),
    ("05.causal_attention", no_mask, "no_mask"),
    ("05.causal_attention", hides_the_past, "wrong_side"),
    ("05.causal_attention", hides_itself, "hides_itself"),
    ("05.causal_attention", zeros_for_minus_infinity, "zeros"),
    ("05.causal_attention", masks_the_weights, "after_softmax"),
    ("05.causal_attention", unscaled, "no_scale"),
    ("05.causal_attention", softmax_over_queries, "over_queries"),
    ("05.causal_attention", weights_and_no_values, "has shape"),
    ("05.causal_attention", attention_detached, "no gradient flows back to q"),
    ("05.causal_attention", attention_in_double, "dtype float64"),
    ("05.causal_attention", transposes_all, "It raises RuntimeError in line"),
    ("05.CausalBlock", ForgetsToAdd, "no_additions"),
    ("05.CausalBlock", AddsOnlyOnce, "no_second_addition"),
    ("05.CausalBlock", NormsAfter, "post_norm"),
    ("05.CausalBlock", OverwritesX, "normed_stream"),
    ("05.CausalBlock", SeesTheFuture, "no_mask"),
    ("05.CausalBlock", UsualGelu, "gelu"),
    ("05.CausalBlock", ForgetsToSwap, "joined_by_reshape"),
    ("05.CausalBlock", NetworkSeesTheOldX, "parallel"),
    ("05.CausalBlock", AddsInPlace, "changes its argument x in place"),
    ("05.CausalBlock", OtherNames, "other names"),
    ("05.contrastive_loss", rows_only, "pictures_only"),
    ("05.contrastive_loss", columns_only, "texts_only"),
    ("05.contrastive_loss", sum_of_both, "added_up"),
    ("05.contrastive_loss", raw_products, "not_normalised"),
    ("05.contrastive_loss", no_exp, "no_exp"),
    ("05.contrastive_loss", no_temperature, "no_scale"),
    ("05.contrastive_loss", softmax_twice, "softmax_twice"),
    ("05.contrastive_loss", summed_over_the_batch, "sum"),
    ("05.contrastive_loss", one_loss_each, "the mean or the sum over all dimensions"),
    ("05.contrastive_loss", a_python_number, "no gradient"),
    ("05.contrastive_loss", no_transpose, "The shapes don't fit"),
    ("05.CrossAttention", LooksAtItself, "self_attention"),
    ("05.CrossAttention", WordsAsk, "roles_swapped"),
    ("05.CrossAttention", WordsShareThemselves, "over_places"),
    ("05.CrossAttention", NoRoot, "no_scale"),
    ("05.CrossAttention", RootOfTheWhole, "scale_of_all_heads"),
    ("05.CrossAttention", MaskLeftIn, "still_causal"),
    ("05.CrossAttention", OwnResidual, "adds_x"),
    ("05.CrossAttention", WithBiases, "to_q has a bias"),
    ("05.CrossAttention", KeysOfPixelWidth, "to_k takes context_dim"),
    ("05.CrossAttention", PlainOut, "called to_out.0"),
    ("05.CrossAttention", ForwardGivesNone, "is a `return` missing"),
    ("05.causal_attention", causal_infinite, "zero_times_infinity"),
    ("05.causal_attention", causal_one_ahead, "one_ahead"),
]
RIGHT = [
    ("05.merge_pair", loop_with_flags),
    ("05.merge_pair", recursive),
    ("05.causal_attention", with_a_bias_matrix),
    ("05.causal_attention", torchs_own),
    ("05.causal_attention", query_by_query),
    ("05.CausalBlock", Tidy),
    ("05.CausalBlock", HeadByHead),
    ("05.contrastive_loss", by_log_softmax),
    ("05.contrastive_loss", pair_by_pair),
    ("05.CrossAttention", TorchsAttention),
    ("05.CrossAttention", Einsum),
    ("05.causal_attention", causal_on_the_cpu),
    ("05.contrastive_loss", loss_on_the_cpu),
]
