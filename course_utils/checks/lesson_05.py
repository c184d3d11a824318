"""Lesson 05, CLIP conditioning: what is right, and what people get wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.checks.exercise import Case, Exercise, Mistake, ModuleCase

# --- the tokenizer's merge step ------------------------------------------------------------------

Symbols = tuple[str, ...]
Pair = tuple[str, str]


def merge_pair(symbols: Symbols, pair: Pair) -> Symbols:
    """Join each occurrence of `pair`, from left to right (Sennrich et al. 2016, algorithm 1)."""
    merged: list[str] = []
    i = 0
    while i < len(symbols):
        if symbols[i : i + 2] == pair:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return tuple(merged)


def _merge_cases(generator: torch.Generator) -> Iterator[Case]:
    yield Case((("c", "a", "t</w>"), ("c", "a")))
    yield Case((("a", "a", "a", "b", "a", "b"), ("a", "b")))
    yield Case((("b", "a", "c</w>"), ("a", "b")))
    yield Case((("a", "a", "a", "b</w>"), ("a", "a")))
    yield Case((("b", "xa", "b", "c</w>"), ("a", "b")))
    yield Case((("b", "an", "an", "a</w>"), ("an", "a</w>")))
    yield Case((("a",), ("a", "a")))
    alphabet = ("a", "b", "ab", "a</w>")
    for length in (7, 12):
        picks = torch.randint(3, (length,), generator=generator).tolist()
        yield Case((tuple(alphabet[i] for i in picks), ("a", "b")))


def _joins(
    symbols: Symbols, pair: Pair, step: int = 2, most: int = 99, either_order: bool = False
) -> Symbols:
    """`merge_pair` with a slip in it."""
    merged: list[str] = []
    i = 0
    while i < len(symbols):
        here = tuple(symbols[i : i + 2])
        if most > 0 and (here == pair or (either_order and here == pair[::-1])):
            merged.append("".join(here))
            i, most = i + step, most - 1
        else:
            merged.append(symbols[i])
            i += 1
    return tuple(merged)


def _merge_from_the_right(symbols: Symbols, pair: Pair) -> Symbols:
    turned = _joins(tuple(s[::-1] for s in symbols[::-1]), (pair[1][::-1], pair[0][::-1]))
    return tuple(s[::-1] for s in turned[::-1])


def _merge_in_text(symbols: Symbols, pair: Pair) -> Symbols:
    return tuple(" ".join(symbols).replace(" ".join(pair), "".join(pair)).split(" "))


def _merge_loses_the_last(symbols: Symbols, pair: Pair) -> Symbols:
    merged: list[str] = []
    i = 0
    while i < len(symbols) - 1:
        if symbols[i : i + 2] == pair:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return tuple(merged)


def _merge_drops_the_rest(symbols: Symbols, pair: Pair) -> Symbols:
    return tuple(a + b for a, b in pairwise(symbols) if (a, b) == pair)


def _merge_error(error: Exception, case: Case) -> str | None:
    if isinstance(error, IndexError):
        return (
            "It looks past the end of `symbols`: the last symbol has no right neighbour. The slice "
            "`symbols[i : i + 2]` is simply shorter there, where `symbols[i + 1]` fails."
        )
    return None


def _merge_extra(candidate: Callable[[Symbols, Pair], Any]) -> str | None:
    found = candidate(("a", "b"), ("a", "b"))
    if not isinstance(found, tuple):
        return (
            f"The symbols are right, but they come as a {type(found).__name__}; expected a tuple. "
            "The next merge compares slices of it with the pair, and no list equals a tuple."
        )
    return None


MERGE_PAIR = Exercise(
    "05.merge_pair",
    merge_pair,
    _merge_cases,
    hints=(
        "Walk through the symbols with an index i, and look at two neighbours at a time.",
        "If the two are the pair, append one joined symbol and go on two places; otherwise append "
        "one symbol and go on one place.",
        "while i < len(symbols): if symbols[i : i + 2] == pair, append pair[0] + pair[1] and do "
        "i += 2; else append symbols[i] and do i += 1. Return tuple(merged).",
    ),
    difficulty=2,
    minutes=8,
    mistakes=(
        Mistake(
            "Nothing is merged: the symbols come back as they were. Is a list compared with the "
            "tuple `pair`? A slice of a tuple is a tuple, a slice of a list is not.",
            lambda symbols, pair: symbols,
        ),
        Mistake(
            "Only the first occurrence is merged. The walk must go on behind it, to the end.",
            lambda symbols, pair: _joins(symbols, pair, most=1),
        ),
        Mistake(
            "After a merge it goes on one place, so the right half of the pair is used again. A "
            "merge takes up two symbols: i += 2.",
            lambda symbols, pair: _joins(symbols, pair, step=1),
        ),
        Mistake(
            "The last symbol gets lost where it is not part of a merge: the loop ends one place "
            "too early. Let it run while i < len(symbols).",
            _merge_loses_the_last,
        ),
        Mistake(
            "It also merges the pair in the opposite order. (a, b) and (b, a) are two pairs.",
            lambda symbols, pair: _joins(symbols, pair, either_order=True),
        ),
        Mistake(
            "It merges inside symbols too: as text, 'xa b' holds 'a b', but the symbol 'xa' is "
            "not 'a'. Compare whole symbols.",
            _merge_in_text,
        ),
        Mistake(
            "It merges from right to left. In a, a, a with the pair (a, a) the first two belong "
            "together: aa, a.",
            _merge_from_the_right,
        ),
        Mistake(
            "Only merged symbols are left. What is not part of the pair stays as it is.",
            _merge_drops_the_rest,
        ),
    ),
    on_error=_merge_error,
    extra=_merge_extra,
    seconds=4.0,
)


# --- attention that looks back only --------------------------------------------------------------


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d) + mask) v, where the mask hides what comes later."""
    length, d = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / math.sqrt(d)  # (B, h, L, L)
    later = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)  # (L, L)
    scores = scores.masked_fill(later, -torch.inf)
    return scores.softmax(dim=-1) @ v  # (B, h, L, d)


def _attention_cases(generator: torch.Generator) -> Iterator[Case]:
    for shape in ((1, 1, 3, 2), (2, 3, 5, 4), (2, 2, 8, 3)):
        q, k, v = 1.5 * torch.randn(3, *shape, generator=generator)
        yield Case((q, k, v), label=f"q, k and v of shape {shape}: B, heads, L, d")


def _attends(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    hide: Callable[[Tensor], Tensor] | None = lambda ones: ones.triu(1),
    scale: Callable[[int, int], float] = lambda length, d: math.sqrt(d),
    fill: float = -math.inf,
    dim: int = -1,
) -> Tensor:
    """`causal_attention` with a slip in it."""
    length, d = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / scale(length, d)
    if hide is not None:
        later = hide(torch.ones(length, length, device=q.device)).bool()
        scores = scores.masked_fill(later, fill)
    return scores.softmax(dim=dim) @ v


def _masked_after_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)
    return weights.tril() @ v


CAUSAL_ATTENTION = Exercise(
    "05.causal_attention",
    causal_attention,
    _attention_cases,
    hints=(
        "Three steps: scores of every query with every key; hide what comes later; weights from a "
        "softmax, and with them a weighted mean of the values.",
        "What is to be hidden gets the score minus infinity before the softmax, because exp(-inf) "
        "is 0. `triu(1)` gives the part of a matrix above its diagonal.",
        "scores = q @ k.transpose(-2, -1) / d**0.5; later = torch.ones(L, L, dtype=torch.bool, "
        "device=q.device).triu(1); scores.masked_fill(later, -torch.inf).softmax(dim=-1) @ v",
    ),
    difficulty=3,
    minutes=12,
    mistakes=(
        Mistake(
            "The mask is missing: every token also looks at those that come after it.",
            lambda q, k, v: _attends(q, k, v, hide=None),
        ),
        Mistake(
            "The mask hides the wrong side: a token now sees what comes after it, and not what "
            "came before. Hide what lies above the diagonal, `triu(1)`.",
            lambda q, k, v: _attends(q, k, v, hide=lambda ones: ones.tril(-1)),
        ),
        Mistake(
            "The mask hides the token from itself too. The first token then has nothing to look "
            "at, and its softmax is 0 / 0. The diagonal stays open: `triu(1)`, not `triu(0)`.",
            lambda q, k, v: _attends(q, k, v, hide=lambda ones: ones.triu(0)),
        ),
        Mistake(
            "The hidden scores are set to 0, but the softmax of 0 is not 0: exp(0) = 1. Set them "
            "to minus infinity.",
            lambda q, k, v: _attends(q, k, v, fill=0.0),
        ),
        Mistake(
            "The mask comes after the softmax, so the weights of a token no longer add up to 1. "
            "Hide the scores before the softmax.",
            _masked_after_softmax,
        ),
        Mistake(
            "The scores are not divided by sqrt(d), where d is the size of a query.",
            lambda q, k, v: _attends(q, k, v, scale=lambda length, d: 1.0),
        ),
        Mistake(
            "The scores are divided by d; expected its square root.",
            lambda q, k, v: _attends(q, k, v, scale=lambda length, d: float(d)),
        ),
        Mistake(
            "The scores are divided by sqrt(L), the number of tokens; expected sqrt(d), where d is "
            "the last dimension of q.",
            lambda q, k, v: _attends(q, k, v, scale=lambda length, d: math.sqrt(length)),
        ),
        Mistake(
            "The softmax runs over the queries. Each query shares out its attention among the "
            "keys, so it runs over the last dimension, dim=-1.",
            lambda q, k, v: _attends(q, k, v, dim=-2),
        ),
    ),
    gradients=("q", "k", "v"),
    keeps_dtype=True,
    keeps_device=True,
)


# --- the block that is stacked -------------------------------------------------------------------


class CausalBlock(nn.Module):
    """One layer of CLIP's text tower; parameter names of transformers' `CLIPTextModel`."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.layer_norm1 = nn.LayerNorm(width)
        self.self_attn = nn.ModuleDict(
            {name: nn.Linear(width, width) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        )
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        h = self.layer_norm1(x)
        q, k, v = (
            self.self_attn[name](h).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, L, d)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        heard = causal_attention(q, k, v).transpose(1, 2).flatten(-2)  # (B, L, D)
        x = x + self.self_attn["out_proj"](heard)
        h = self.mlp["fc1"](self.layer_norm2(x))  # (B, L, inner)
        return x + self.mlp["fc2"](h * torch.sigmoid(1.702 * h))


def _block_cases(generator: torch.Generator) -> Iterator[Case]:
    for seed, (shape, heads, inner) in enumerate((((1, 3, 4), 2, 5), ((2, 6, 12), 3, 20))):
        x = torch.randn(shape, generator=generator)
        init = {"width": shape[-1], "heads": heads, "inner": inner}
        yield ModuleCase((x,), init=init, seed=seed)


class _Slip(CausalBlock):
    """`CausalBlock` with a slip in it: subclasses change one thing."""

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(-2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return causal_attention(q, k, v)

    def bend(self, h: Tensor) -> Tensor:
        return h * torch.sigmoid(1.702 * h)

    def listen(self, h: Tensor) -> Tensor:
        a = self.self_attn
        q, k, v = (self.split(a[name](h)) for name in ("q_proj", "k_proj", "v_proj"))
        return a["out_proj"](self.join(self.attend(q, k, v)))

    def think(self, h: Tensor) -> Tensor:
        return self.mlp["fc2"](self.bend(self.mlp["fc1"](h)))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.listen(self.layer_norm1(x))
        return x + self.think(self.layer_norm2(x))


class _NoResiduals(_Slip):
    def forward(self, x: Tensor) -> Tensor:
        return self.think(self.layer_norm2(self.listen(self.layer_norm1(x))))


class _NoFirstResidual(_Slip):
    def forward(self, x: Tensor) -> Tensor:
        x = self.listen(self.layer_norm1(x))
        return x + self.think(self.layer_norm2(x))


class _NoSecondResidual(_Slip):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.listen(self.layer_norm1(x))
        return self.think(self.layer_norm2(x))


class _PostNorm(_Slip):
    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_norm1(x + self.listen(x))
        return self.layer_norm2(x + self.think(x))


class _NoNorms(_Slip):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.listen(x)
        return x + self.think(x)


class _AddsTheNormed(_Slip):
    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_norm1(x)
        x = x + self.listen(x)
        x = self.layer_norm2(x)
        return x + self.think(x)


class _NormedTwiceByOne(_Slip):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.listen(self.layer_norm1(x))
        return x + self.think(self.layer_norm1(x))


class _Parallel(_Slip):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.listen(self.layer_norm1(x)) + self.think(self.layer_norm2(x))


class _NoMask(_Slip):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class _Gelu(_Slip):
    def bend(self, h: Tensor) -> Tensor:
        return F.gelu(h)


class _Silu(_Slip):
    def bend(self, h: Tensor) -> Tensor:
        return F.silu(h)


class _NoBend(_Slip):
    def bend(self, h: Tensor) -> Tensor:
        return h


class _OneHead(_Slip):
    def split(self, x: Tensor) -> Tensor:
        return x[:, None]


class _HeadsLast(_Slip):
    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.heads)).permute(0, 3, 1, 2)

    def join(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(-2)


class _JoinedWithoutTranspose(_Slip):
    def join(self, x: Tensor) -> Tensor:
        batch, heads, length, d = x.shape
        return x.reshape(batch, length, heads * d)


class _SplitWithoutTranspose(_Slip):
    def split(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        return x.reshape(batch, self.heads, length, width // self.heads)


class _NoOutProj(_Slip):
    def listen(self, h: Tensor) -> Tensor:
        a = self.self_attn
        q, k, v = (self.split(a[name](h)) for name in ("q_proj", "k_proj", "v_proj"))
        return self.join(self.attend(q, k, v))


def _block_error(error: Exception, case: Case) -> str | None:
    if isinstance(error, RuntimeError) and "shapes cannot be multiplied" in str(error):
        return (
            f"The shapes don't fit: {error}. After attention the heads must be side by side "
            "again: (B, heads, L, d) becomes (B, L, D) by .transpose(1, 2).flatten(-2)."
        )
    return None


CAUSAL_BLOCK = Exercise(
    "05.CausalBlock",
    CausalBlock,
    _block_cases,
    hints=(
        "Follow the drawing: normalise, attend, add; normalise, think, add. What is added to is "
        "the stream x itself, not its normalised copy.",
        "Heads: .unflatten(-1, (self.heads, -1)).transpose(1, 2) turns (B, L, D) into "
        "(B, heads, L, d); .transpose(1, 2).flatten(-2) turns it back.",
        "x = x + out_proj(attention of layer_norm1(x)), then h = fc1(layer_norm2(x)), then "
        "return x + fc2(h * torch.sigmoid(1.702 * h)).",
    ),
    difficulty=4,
    minutes=18,
    mistakes=(
        Mistake(
            "Both additions are missing: the block replaces x where it should add to it. Write "
            "x = x + ... twice.",
            _NoResiduals,
        ),
        Mistake(
            "The first addition is missing: what attention gives is added to x.",
            _NoFirstResidual,
        ),
        Mistake(
            "The second addition is missing: what the two-layer network gives is added to x.",
            _NoSecondResidual,
        ),
        Mistake(
            "The normalisation comes after each addition. In CLIP it comes before attention and "
            "before the network, and the stream x itself is never normalised (pre-norm).",
            _PostNorm,
        ),
        Mistake("Neither layer_norm1 nor layer_norm2 is used.", _NoNorms),
        Mistake(
            "The normalised copy becomes the stream: x = layer_norm1(x). Keep x, and give the "
            "copy to attention only.",
            _AddsTheNormed,
        ),
        Mistake(
            "layer_norm1 is used twice; the network comes after layer_norm2.", _NormedTwiceByOne
        ),
        Mistake(
            "The network looks at the x from before attention. It comes second: it looks at x "
            "with what attention has added.",
            _Parallel,
        ),
        Mistake(
            "The attention has no mask: tokens see what comes after them. Use your "
            "causal_attention.",
            _NoMask,
        ),
        Mistake(
            "The bend is the usual GELU. CLIP's is the quick one: h * sigmoid(1.702 * h). They are "
            "close, and still weights trained for one do not fit the other.",
            _Gelu,
        ),
        Mistake("The 1.702 is missing: h * sigmoid(1.702 * h).", _Silu),
        Mistake(
            "Nothing bends between fc1 and fc2. Two linear layers in a row are one linear layer; "
            "h * sigmoid(1.702 * h) belongs between them.",
            _NoBend,
        ),
        Mistake(
            "All channels are one head. Split the width into self.heads parts before attention.",
            _OneHead,
        ),
        Mistake(
            "The heads are taken from every h-th channel. Each head is a run of neighbouring "
            "channels: .unflatten(-1, (self.heads, -1)), heads first.",
            _HeadsLast,
        ),
        Mistake(
            "After attention the heads are joined without a transpose, which mixes up tokens and "
            "heads: .transpose(1, 2) before .flatten(-2).",
            _JoinedWithoutTranspose,
        ),
        Mistake(
            "Before attention the heads are split by a reshape alone, which mixes up tokens and "
            "heads: first .unflatten(-1, (self.heads, -1)), then .transpose(1, 2).",
            _SplitWithoutTranspose,
        ),
        Mistake("out_proj is not used: it mixes what the heads have heard.", _NoOutProj),
    ),
    on_error=_block_error,
    gradients=("x",),
)


# --- the contrastive loss ------------------------------------------------------------------------


def contrastive_loss(image_vectors: Tensor, text_vectors: Tensor, logit_scale: Tensor) -> Tensor:
    """Two cross entropies over the table of scaled cosines (Radford et al. 2021, figure 3)."""
    images = F.normalize(image_vectors, dim=-1)  # (B, D), length 1
    texts = F.normalize(text_vectors, dim=-1)  # (B, D), length 1
    logits = logit_scale.exp() * images @ texts.T  # (B, B)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _loss_cases(generator: torch.Generator) -> Iterator[Case]:
    for count, width in ((2, 3), (5, 8), (7, 4)):
        images, texts = torch.randn(2, count, width, generator=generator)
        images = images * torch.linspace(0.5, 2.0, count)[:, None]
        texts = 1.4 * texts + images
        scale = 0.7 + torch.rand((), generator=generator)
        yield Case((images, texts, scale), label=f"{count} pairs of vectors with {width} numbers")


def _logits(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    return scale * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T


def _entropy(logits: Tensor, **options: Any) -> Tensor:
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device), **options)


def _both(logits: Tensor) -> Tensor:
    return (_entropy(logits) + _entropy(logits.T)) / 2


CONTRASTIVE_LOSS = Exercise(
    "05.contrastive_loss",
    contrastive_loss,
    _loss_cases,
    hints=(
        "The table first: entry (i, j) is the cosine of picture i and text j, times the scale. The "
        "right text of picture i stands in column i.",
        "A cosine is the inner product of vectors of length 1: F.normalize. Each row is a question "
        "with B answers, so F.cross_entropy(logits, target) with target 0, 1, ..., B - 1; each "
        "column is one too.",
        "logits = logit_scale.exp() * F.normalize(image_vectors, dim=-1) @ F.normalize("
        "text_vectors, dim=-1).T; the loss is the mean of the cross entropies of logits and of "
        "logits.T, both with target = torch.arange(B).",
    ),
    difficulty=3,
    minutes=12,
    mistakes=(
        Mistake(
            "Only the pictures choose among the texts. The texts choose too: add the cross entropy "
            "of the columns, logits.T, and take the mean.",
            lambda i, t, s: _entropy(_logits(i, t, s.exp())),
        ),
        Mistake(
            "Only the texts choose among the pictures. The pictures choose too: add the cross "
            "entropy of the rows, and take the mean.",
            lambda i, t, s: _entropy(_logits(i, t, s.exp()).T),
        ),
        Mistake(
            "The two cross entropies are added up; expected their mean.",
            lambda i, t, s: 2 * _both(_logits(i, t, s.exp())),
        ),
        Mistake(
            "The vectors are not normalised, so long vectors win. A cosine needs vectors of "
            "length 1: F.normalize(..., dim=-1).",
            lambda i, t, s: _both(s.exp() * i @ t.T),
        ),
        Mistake(
            "Each column is normalised, and not each vector: F.normalize(..., dim=-1) makes the "
            "rows (B, D) vectors of length 1.",
            lambda i, t, s: _both(s.exp() * F.normalize(i, dim=0) @ F.normalize(t, dim=0).T),
        ),
        Mistake(
            "The cosines are multiplied by logit_scale itself. It is learned as a logarithm, so "
            "that it stays positive: multiply by logit_scale.exp().",
            lambda i, t, s: _both(_logits(i, t, s)),
        ),
        Mistake(
            "The cosines are divided by exp(logit_scale). It is a scale, one over the "
            "temperature: multiply by it.",
            lambda i, t, s: _both(_logits(i, t, (-s).exp())),
        ),
        Mistake(
            "The cosines are not multiplied by exp(logit_scale). They lie between -1 and 1, too "
            "close together for a softmax to be sure of anything.",
            lambda i, t, s: _both(_logits(i, t, torch.ones_like(s))),
        ),
        Mistake(
            "There is a softmax too many: F.cross_entropy takes logits and does the softmax "
            "itself.",
            lambda i, t, s: _both_of_softmax(_logits(i, t, s.exp())),
        ),
        Mistake(
            "The losses of the batch are summed. Take their mean, so that the loss does not grow "
            "with the batch.",
            lambda i, t, s: len(i) * _both(_logits(i, t, s.exp())),
        ),
        Mistake(
            "Each pair is judged alone by a sigmoid (that is SigLIP's loss). Here every row and "
            "every column is one question with B answers: a softmax, F.cross_entropy.",
            lambda i, t, s: F.binary_cross_entropy_with_logits(
                _logits(i, t, s.exp()), torch.eye(len(i), device=i.device)
            ),
        ),
    ),
    gradients=("image_vectors", "text_vectors", "logit_scale"),
    keeps_dtype=True,
    keeps_device=True,
)


def _both_of_softmax(logits: Tensor) -> Tensor:
    return (_entropy(logits.softmax(dim=1)) + _entropy(logits.T.softmax(dim=1))) / 2


# --- cross-attention -----------------------------------------------------------------------------


class CrossAttention(nn.Module):
    """Positions of a picture look at words; parameter names of diffusers' `Attention`."""

    def __init__(self, query_dim: int, context_dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(inner, query_dim)])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, P, query_dim), (B, L, context_dim) -> (B, P, query_dim)."""
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, P or L, d)
            for y in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, h, P, L)
        heard = scores.softmax(dim=-1) @ v  # (B, h, P, d)
        return self.to_out[0](heard.transpose(1, 2).flatten(-2))


def _cross_cases(generator: torch.Generator) -> Iterator[Case]:
    sizes = ((1, 2, 3, 4, 4, 2, 2), (2, 6, 5, 6, 8, 3, 4), (2, 9, 4, 8, 5, 2, 3))
    for seed, (count, places, length, query_dim, context_dim, heads, head_dim) in enumerate(sizes):
        x = torch.randn(count, places, query_dim, generator=generator)
        context = torch.randn(count, length, context_dim, generator=generator)
        init = {
            "query_dim": query_dim,
            "context_dim": context_dim,
            "heads": heads,
            "head_dim": head_dim,
        }
        yield ModuleCase((x, context), init=init, seed=seed)


class _CrossSlip(CrossAttention):
    """`CrossAttention` with a slip in it: subclasses change one thing."""

    dim = -1

    def inputs(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.to_q(x), self.to_k(context), self.to_v(context)

    def scale(self, d: int) -> float:
        return math.sqrt(d)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(-2)

    def hide(self, scores: Tensor) -> Tensor:
        return scores

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = map(self.split, self.inputs(x, context))
        scores = self.hide(q @ k.transpose(-2, -1) / self.scale(q.shape[-1]))
        return self.to_out[0](self.join(scores.softmax(dim=self.dim) @ v))


class _AllFromPixels(_CrossSlip):
    def inputs(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.to_q(x), self.to_k(x), self.to_v(x)


class _ValuesFromPixels(_CrossSlip):
    def inputs(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.to_q(x), self.to_k(context), self.to_v(x)


class _QueriesFromText(_CrossSlip):
    def inputs(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.to_q(context), self.to_k(x), self.to_v(x)


class _KeysAreValues(_CrossSlip):
    def inputs(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.to_q(x), self.to_k(context), self.to_k(context)


class _ValuesAreKeys(_CrossSlip):
    def inputs(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.to_q(x), self.to_v(context), self.to_k(context)


class _SoftmaxOverPixels(_CrossSlip):
    dim = -2


class _SoftmaxOverHeads(_CrossSlip):
    dim = 1


class _NoScale(_CrossSlip):
    def scale(self, d: int) -> float:
        return 1.0


class _ScaledByInner(_CrossSlip):
    def scale(self, d: int) -> float:
        return math.sqrt(d * self.heads)


class _ScaledByD(_CrossSlip):
    def scale(self, d: int) -> float:
        return float(d)


class _StillCausal(_CrossSlip):
    def hide(self, scores: Tensor) -> Tensor:
        return scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)


class _CrossOneHead(_CrossSlip):
    def split(self, x: Tensor) -> Tensor:
        return x[:, None]


class _CrossJoined(_CrossSlip):
    def join(self, x: Tensor) -> Tensor:
        batch, heads, places, d = x.shape
        return x.reshape(batch, places, heads * d)


class _AddsX(_CrossSlip):
    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return x + super().forward(x, context)


def _cross_error(error: Exception, case: Case) -> str | None:
    text = str(error)
    bias = re.search(r"it has (to_[qkv])\.bias", text)
    if bias:
        return (
            f"{bias[1]} has a bias; in diffusers the queries, keys and values have none: "
            "nn.Linear(..., bias=False)."
        )
    shape = re.search(r"(to_[kv])\.weight has shape .*; expected", text)
    if shape:
        return (
            f"{text[:1].upper()}{text[1:]}. Keys and values are made from the text states, so "
            f"{shape[1]} takes context_dim numbers; all three give heads * head_dim numbers."
        )
    if "to_out" in text and "lacks" in text:
        return (
            "The parameters have other names: the last layer is called to_out.0, the first entry "
            "of a list: self.to_out = nn.ModuleList([nn.Linear(...)])."
        )
    return None


CROSS_ATTENTION = Exercise(
    "05.CrossAttention",
    CrossAttention,
    _cross_cases,
    hints=(
        "It is your causal_attention with two changes: the queries come from x, the keys and "
        "values from context; and there is no mask, since every place may look at every word.",
        "inner = heads * head_dim. to_q: query_dim to inner; to_k and to_v: context_dim to inner; "
        "these three without a bias; to_out[0]: inner to query_dim. Split into heads before the "
        "scores, join the heads after.",
        "heads: y.unflatten(-1, (self.heads, -1)).transpose(1, 2); weights: (q @ k.transpose(-2, "
        "-1) / head_dim**0.5).softmax(dim=-1); return self.to_out[0]((weights @ v).transpose(1, 2)"
        ".flatten(-2)).",
    ),
    difficulty=4,
    minutes=15,
    mistakes=(
        Mistake(
            "Keys and values come from x, so the picture looks at itself. That is self-attention; "
            "here the picture looks at the words: self.to_k(context), self.to_v(context).",
            _AllFromPixels,
        ),
        Mistake(
            "The values come from x. What a place takes home are the words' values: "
            "self.to_v(context).",
            _ValuesFromPixels,
        ),
        Mistake(
            "The roles are swapped: the words ask and the picture answers. The queries come from "
            "x, one for each place, and so does the shape of the result.",
            _QueriesFromText,
        ),
        Mistake("The values are made by to_k; expected to_v.", _KeysAreValues),
        Mistake(
            "The keys are made by to_v and the values by to_k: they are swapped.", _ValuesAreKeys
        ),
        Mistake(
            "The softmax runs over the places, so each word shares itself out among them. Each "
            "place shares out its attention among the words: dim=-1.",
            _SoftmaxOverPixels,
        ),
        Mistake(
            "The softmax runs over the heads; expected over the words, dim=-1.", _SoftmaxOverHeads
        ),
        Mistake("The scores are not divided by sqrt(head_dim).", _NoScale),
        Mistake(
            "The scores are divided by the root of the whole width. Each head has its own scores, "
            "of head_dim products each: divide by sqrt(head_dim).",
            _ScaledByInner,
        ),
        Mistake("The scores are divided by head_dim; expected its square root.", _ScaledByD),
        Mistake(
            "There is still a causal mask. Words have an order, places and words have none "
            "between them: every place may look at every word.",
            _StillCausal,
        ),
        Mistake(
            "All channels are one head. Split them into self.heads parts before the scores.",
            _CrossOneHead,
        ),
        Mistake(
            "The heads are joined without a transpose, which mixes up places and heads: "
            ".transpose(1, 2) before .flatten(-2).",
            _CrossJoined,
        ),
        Mistake(
            "x is added to the result. That is done by the transformer block around this module "
            "(x = x + attn2(...)), so it would be added twice.",
            _AddsX,
        ),
    ),
    on_error=_cross_error,
    gradients=("x", "context"),
)

EXERCISES = (MERGE_PAIR, CAUSAL_ATTENTION, CAUSAL_BLOCK, CONTRASTIVE_LOSS, CROSS_ATTENTION)
