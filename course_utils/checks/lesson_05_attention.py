"""Lesson 05, attention: what is right, and what people get wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from course_utils.checks.exercise import Case, Exercise, ModuleCase
from course_utils.checks.mistakes import slips


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


def _attention_page(generator: torch.Generator) -> Case:
    q, k, v = torch.randn(3, 32, 4, 20, 16, generator=generator)
    return Case((q, k, v), label="a batch of 32 texts of 20 tokens, 4 heads")


CAUSAL_ATTENTION = Exercise(
    "05.causal_attention",
    causal_attention,
    _attention_cases,
    hints=(
        "Three steps: scores of every query with every key; hide what comes later; weights from a "
        "softmax, and with them a weighted mean of the values.",
        "What is to be hidden gets the score minus infinity before the softmax, because exp(-inf) "
        "is 0. `triu(1)` gives the part of a matrix above its diagonal.",
        "scores = q @ k.transpose(-2, -1) / d**0.5; later = torch.ones(L, L, "
        "dtype=torch.bool, device=q.device).triu(1); scores.masked_fill(later, ...), then"
        " softmax(dim=-1) and @ v.",
    ),
    difficulty=3,
    minutes=12,
    mistakes=slips(
        """
        no_mask: `    scores = scores.masked_fill(later, -torch.inf)\\n` -> ``
            The mask is missing: every token also looks at those that come after it.
        wrong_side: `triu(1)` -> `tril(-1)`
            The mask hides the wrong side: a token now sees what comes after it, and not what came
            before. Hide what lies above the diagonal, `triu(1)`.
        hides_itself: `triu(1)` -> `triu(0)`
            The mask hides the token from itself too. The first token then has nothing to look at,
            and its softmax is 0 / 0. The diagonal stays open: `triu(1)`, not `triu(0)`.
        zeros: `-torch.inf` -> `0.0`
            The hidden scores are set to 0, but the softmax of 0 is not 0: exp(0) = 1. Set them to
            minus infinity.
        after_softmax: `    scores = scores.masked_fill(later, -torch.inf)\\n` -> ``
            `softmax(dim=-1)` -> `softmax(dim=-1).masked_fill(later, 0.0)`
            The mask comes after the softmax, so the weights of a token no longer add up to 1. Hide
            the scores before the softmax.
        no_scale: ` / math.sqrt(d)` -> ``
            The scores are not divided by sqrt(d), where d is the size of a query.
        scale_without_root: `math.sqrt(d)` -> `d`
            The scores are divided by d; expected its square root.
        scale_of_length: `math.sqrt(d)` -> `math.sqrt(length)`
            The scores are divided by sqrt(L), the number of tokens; expected sqrt(d), where d is
            the last dimension of q.
        over_queries: `dim=-1` -> `dim=-2`
            The softmax runs over the queries. Each query shares out its attention among the keys,
            so it runs over the last dimension, dim=-1.
        zero_times_infinity:
            `scores.masked_fill(later, -torch.inf)` -> `scores + later * -torch.inf`
            It holds NaN: where the mask is 0, 0 times minus infinity is not a number. Choose with
            masked_fill or torch.where, and multiply nothing by infinity.
        one_ahead: `triu(1)` -> `triu(2)`
            Each token also looks at the one that comes right after it. The diagonal stays open, and
            nothing above it: `triu(1)`.
        """
    ),
    gradients=("q", "k", "v"),
    page=_attention_page,
    keeps_dtype=True,
    keeps_device=True,
)


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
        "x = x + out_proj(attention of layer_norm1(x)), then h = fc1(...), then return x "
        "+ fc2(h * torch.sigmoid(1.702 * h)).",
    ),
    difficulty=4,
    minutes=18,
    mistakes=slips(
        """
        no_additions: `x = x + self` -> `x = self`
            `return x + self` -> `return self`
            Both additions are missing: the block replaces x where it should add to it. Write x = x
            + ... twice.
        no_first_addition: `x = x + self` -> `x = self`
            The first addition is missing: what attention gives is added to x.
        no_second_addition: `return x + self` -> `return self`
            The second addition is missing: what the two-layer network gives is added to x.
        post_norm: `h = self.layer_norm1(x)` -> `h = x`
            `x + self.self_attn["out_proj"](heard)`
            -> `self.layer_norm1(x + self.self_attn["out_proj"](heard))`
            `self.layer_norm2(x)` -> `x`
            `x + self.mlp["fc2"](h * torch.sigmoid(1.702 * h))`
            -> `self.layer_norm2(x + self.mlp["fc2"](h * torch.sigmoid(1.702 * h)))`
            The normalisation comes after each addition. In CLIP it comes before attention and
            before the network, and the stream x itself is never normalised (pre-norm).
        no_norms: `self.layer_norm1(x)` -> `x`
            `self.layer_norm2(x)` -> `x`
            Neither layer_norm1 nor layer_norm2 is used.
        normed_stream: `h = self.layer_norm1(x)` -> `h = x = self.layer_norm1(x)`
            `h = self.mlp["fc1"](self.layer_norm2(x))`
            -> `x = self.layer_norm2(x)\\n        h = self.mlp["fc1"](x)`
            The normalised copy becomes the stream: x = layer_norm1(x). Keep x, and give the copy to
            attention only.
        one_norm_twice: `self.layer_norm2(x)` -> `self.layer_norm1(x)`
            layer_norm1 is used twice; the network comes after layer_norm2.
        parallel: `self.layer_norm2(x)` -> `self.layer_norm2(start)`
            `h = self.layer_norm1(x)` -> `start = x\\n        h = self.layer_norm1(x)`
            The network looks at the x from before attention. It comes second: it looks at x with
            what attention has added.
        no_mask: `causal_attention(` -> `nn.functional.scaled_dot_product_attention(`
            The attention has no mask: tokens see what comes after them. Use your causal_attention.
        gelu: `h * torch.sigmoid(1.702 * h)` -> `nn.functional.gelu(h)`
            The bend is the usual GELU. CLIP's is the quick one: h * sigmoid(1.702 * h). They are
            close, and still weights trained for one do not fit the other.
        silu: `1.702 * h` -> `h`
            The 1.702 is missing: h * sigmoid(1.702 * h).
        no_bend: `h * torch.sigmoid(1.702 * h)` -> `h`
            Nothing bends between fc1 and fc2. Two linear layers in a row are one linear layer; h *
            sigmoid(1.702 * h) belongs between them.
        one_head: `.unflatten(-1, (self.heads, -1)).transpose(1, 2)` -> `[:, None]`
            All channels are one head. Split the width into self.heads parts before attention.
        interleaved:
            `.unflatten(-1, (self.heads, -1)).transpose(1, 2)`
            -> `.unflatten(-1, (-1, self.heads)).permute(0, 3, 1, 2)`
            `.transpose(1, 2).flatten(-2)` -> `.permute(0, 2, 3, 1).flatten(-2)`
            The heads are taken from every h-th channel. Each head is a run of neighbouring
            channels: .unflatten(-1, (self.heads, -1)), heads first.
        joined_by_reshape: `.transpose(1, 2).flatten(-2)` -> `.reshape(x.shape)`
            After attention the heads are joined without a transpose, which mixes up tokens and
            heads: .transpose(1, 2) before .flatten(-2).
        split_by_reshape:
            `.unflatten(-1, (self.heads, -1)).transpose(1, 2)`
            -> `.reshape(len(x), self.heads, x.shape[1], -1)`
            Before attention the heads are split by a reshape alone, which mixes up tokens and
            heads: first .unflatten(-1, (self.heads, -1)), then .transpose(1, 2).
        no_out_proj: `self.self_attn["out_proj"](heard)` -> `heard`
            out_proj is not used: it mixes what the heads have heard.
        relu: `h * torch.sigmoid(1.702 * h)` -> `nn.functional.relu(h)`
            The bend is ReLU; CLIP's is h * sigmoid(1.702 * h).
        added_to_the_normed: `x = x + self.self_attn` -> `x = h + self.self_attn`
            What attention gives is added to the normalised copy. It is added to the stream x
            itself.
        """
    ),
    on_error=_block_error,
    gradients=("x",),
)


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
        "heads: y.unflatten(-1, (self.heads, -1)).transpose(1, 2); weights: (q @ "
        "k.transpose(-2, -1) / ...).softmax(dim=-1); the heads come together again by "
        ".transpose(1, 2).flatten(-2), before to_out[0].",
    ),
    difficulty=4,
    minutes=15,
    mistakes=slips(
        """
        self_attention: `self.to_k(context), self.to_v(context)` -> `self.to_k(x), self.to_v(x)`
            Keys and values come from x, so the picture looks at itself. That is self-attention;
            here the picture looks at the words: self.to_k(context), self.to_v(context).
        values_from_x: `self.to_v(context)` -> `self.to_v(x)`
            The values come from x. What a place takes home are the words' values:
            self.to_v(context).
        roles_swapped:
            `self.to_q(x), self.to_k(context), self.to_v(context)`
            -> `self.to_q(context), self.to_k(x), self.to_v(x)`
            The roles are swapped: the words ask and the picture answers. The queries come from x,
            one for each place, and so does the shape of the result.
        keys_as_values: `self.to_v(context)` -> `self.to_k(context)`
            The values are made by to_k; expected to_v.
        keys_and_values_swapped:
            `self.to_k(context), self.to_v(context)` -> `self.to_v(context), self.to_k(context)`
            The keys are made by to_v and the values by to_k: they are swapped.
        over_places: `dim=-1` -> `dim=-2`
            The softmax runs over the places, so each word shares itself out among them. Each place
            shares out its attention among the words: dim=-1.
        over_heads: `dim=-1` -> `dim=1`
            The softmax runs over the heads; expected over the words, dim=-1.
        no_scale: ` / math.sqrt(q.shape[-1])` -> ``
            The scores are not divided by sqrt(head_dim).
        scale_of_all_heads: `q.shape[-1]` -> `self.heads * q.shape[-1]`
            The scores are divided by the root of the whole width. Each head has its own scores, of
            head_dim products each: divide by sqrt(head_dim).
        scale_without_root: `math.sqrt(q.shape[-1])` -> `q.shape[-1]`
            The scores are divided by head_dim; expected its square root.
        still_causal:
            `scores.softmax`
            -> `scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf).softmax`
            There is still a causal mask. Words have an order, places and words have none between
            them: every place may look at every word.
        one_head: `y.unflatten(-1, (self.heads, -1)).transpose(1, 2)` -> `y[:, None]`
            All channels are one head. Split them into self.heads parts before the scores.
        joined_by_reshape:
            `heard.transpose(1, 2).flatten(-2)` -> `heard.reshape(len(x), x.shape[1], -1)`
            The heads are joined without a transpose, which mixes up places and heads: .transpose(1,
            2) before .flatten(-2).
        adds_x: `return self` -> `return x + self`
            x is added to the result. That is done by the transformer block around this module (x =
            x + attn2(...)), so it would be added twice.
        split_by_reshape:
            `y.unflatten(-1, (self.heads, -1)).transpose(1, 2)`
            -> `y.reshape(len(y), self.heads, y.shape[1], -1)`
            The heads are split by a reshape alone, which mixes up positions and channels: first
            .unflatten(-1, (self.heads, -1)), then .transpose(1, 2).
        """
    ),
    on_error=_cross_error,
    gradients=("x", "context"),
)
