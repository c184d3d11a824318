"""Lesson 05, CLIP conditioning: what is right, and what people get wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.lesson_05_attention import CAUSAL_ATTENTION, CAUSAL_BLOCK, CROSS_ATTENTION
from course_utils.checks.mistakes import slips

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
        "while i < len(symbols): if symbols[i : i + 2] == pair, append pair[0] + pair[1] "
        "and do i += ...; else append symbols[i] and go on one place. A tuple is "
        "returned.",
    ),
    difficulty=2,
    minutes=8,
    mistakes=slips(
        """
        nothing_merged: `== pair` -> `== list(pair)`
            Nothing is merged: the symbols come back as they were. Is a list compared with the tuple
            `pair`? A slice of a tuple is a tuple, a slice of a list is not.
        first_only: `i = 0\\n` -> `i = joined = 0\\n`
            `if symbols` -> `if not joined and symbols`
            `i += 2` -> `i, joined = i + 2, 1`
            Only the first occurrence is merged. The walk must go on behind it, to the end.
        one_place_on: `i += 2` -> `i += 1`
            After a merge it goes on one place, so the right half of the pair is used again. A merge
            takes up two symbols: i += 2.
        last_lost: `len(symbols):` -> `len(symbols) - 1:`
            The last symbol gets lost where it is not part of a merge: the loop ends one place too
            early. Let it run while i < len(symbols).
        either_order: `== pair` -> `in (pair, pair[::-1])`
            `pair[0] + pair[1]` -> `"".join(symbols[i : i + 2])`
            It also merges the pair in the opposite order. (a, b) and (b, a) are two pairs.
        inside_symbols:
            It merges inside symbols too: as text, 'xa b' holds 'a b', but the symbol 'xa' is not
            'a'. Compare whole symbols.
        from_the_right:
            It merges from right to left. In a, a, a with the pair (a, a) the first two belong
            together: aa, a.
        only_merged:
            Only merged symbols are left. What is not part of the pair stays as it is.
        """,
        inside_symbols=_merge_in_text,
        from_the_right=_merge_from_the_right,
        only_merged=_merge_drops_the_rest,
    ),
    on_error=_merge_error,
    extra=_merge_extra,
    seconds=4.0,
)


# --- attention that looks back only --------------------------------------------------------------


# --- the block that is stacked -------------------------------------------------------------------


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
        "logits = ... * F.normalize(image_vectors, dim=-1) @ F.normalize(text_vectors, "
        "dim=-1).T; the loss is the mean of two cross entropies, with target = "
        "torch.arange(B).",
    ),
    difficulty=3,
    minutes=12,
    mistakes=slips(
        """
        pictures_only:
            `(F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2`
            -> `F.cross_entropy(logits, target)`
            Only the pictures choose among the texts. The texts choose too: add the cross entropy of
            the columns, logits.T, and take the mean.
        texts_only:
            `(F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2`
            -> `F.cross_entropy(logits.T, target)`
            Only the texts choose among the pictures. The pictures choose too: add the cross entropy
            of the rows, and take the mean.
        added_up: ` / 2` -> ``
            The two cross entropies are added up; expected their mean.
        not_normalised: `F.normalize(image_vectors, dim=-1)` -> `image_vectors`
            `F.normalize(text_vectors, dim=-1)` -> `text_vectors`
            The vectors are not normalised, so long vectors win. A cosine needs vectors of length 1:
            F.normalize(..., dim=-1).
        columns_normalised: `image_vectors, dim=-1` -> `image_vectors, dim=0`
            `text_vectors, dim=-1` -> `text_vectors, dim=0`
            Each column is normalised, and not each vector: F.normalize(..., dim=-1) makes the rows
            (B, D) vectors of length 1.
        no_exp: `logit_scale.exp()` -> `logit_scale`
            The cosines are multiplied by logit_scale itself. It is learned as a logarithm, so that
            it stays positive: multiply by logit_scale.exp().
        divided: `logit_scale.exp()` -> `(-logit_scale).exp()`
            The cosines are divided by exp(logit_scale). It is a scale, one over the temperature:
            multiply by it.
        no_scale: `logit_scale.exp() * ` -> ``
            The cosines are not multiplied by exp(logit_scale). They lie between -1 and 1, too close
            together for a softmax to be sure of anything.
        softmax_twice: `F.cross_entropy(logits, ` -> `F.cross_entropy(logits.softmax(dim=1), `
            `F.cross_entropy(logits.T, ` -> `F.cross_entropy(logits.T.softmax(dim=1), `
            There is a softmax too many: F.cross_entropy takes logits and does the softmax itself.
        sum: `return (` -> `return len(logits) * (`
            The losses of the batch are summed. Take their mean, so that the loss does not grow with
            the batch.
        sigmoid:
            `(F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2`
            -> `F.binary_cross_entropy_with_logits(logits, torch.eye(len(logits)).to(logits))`
            Each pair is judged alone by a sigmoid (that is SigLIP's loss). Here every row and every
            column is one question with B answers: a softmax, F.cross_entropy.
        """
    ),
    gradients=("image_vectors", "text_vectors", "logit_scale"),
    keeps_dtype=True,
    keeps_device=True,
)


# --- cross-attention -----------------------------------------------------------------------------


EXERCISES = (MERGE_PAIR, CAUSAL_ATTENTION, CAUSAL_BLOCK, CONTRASTIVE_LOSS, CROSS_ATTENTION)
