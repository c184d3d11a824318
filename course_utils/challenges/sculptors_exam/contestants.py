"""Contestants of challenge 06: noise, chains with a link that is wrong, the reference."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from course_utils.challenges.network import pipeline
from course_utils.challenges.sculptors_exam.chain import gallery
from course_utils.models.tokenizer import END, START, WORD_END

Functions = Mapping[str, Callable[..., Any]]
Oracle = Callable[..., Tensor]
Rank = Mapping[tuple[str, str], int]


# --- words to ids --------------------------------------------------------------------------------


def merged(word: str, rank: Rank) -> list[str]:
    """Byte-pair encoding: join the pair that was learned first, until none is left."""
    tokens = [*word[:-1], word[-1] + WORD_END]
    while pairs := [p for p in itertools.pairwise(tokens) if p in rank]:
        best, joined, i = min(pairs, key=lambda pair: rank[pair]), list[str](), 0
        while i < len(tokens):
            if tuple(tokens[i : i + 2]) == best:
                joined.append("".join(best))
                i += 2
            else:
                joined.append(tokens[i])
                i += 1
        tokens = joined
    return tokens


def letters(word: str, rank: Rank) -> list[str]:
    """No merges."""
    return [*word[:-1], word[-1] + WORD_END]


def from_the_left(word: str, rank: Rank) -> list[str]:
    """Joins the leftmost pair that is in the list, whatever its place there."""
    tokens, i = [*word[:-1], word[-1] + WORD_END], 0
    while i + 1 < len(tokens):
        if (tokens[i], tokens[i + 1]) in rank:
            tokens[i : i + 2] = ["".join(tokens[i : i + 2])]
            i = 0
        else:
            i += 1
    return tokens


def ids_by(split: Callable[[str, Rank], list[str]], cut: bool = True) -> Callable[..., Tensor]:
    """`token_ids` with this way to take words apart."""

    def token_ids(
        prompts: Sequence[Sequence[str]],
        vocab: Mapping[str, int],
        merges: Sequence[Sequence[str]],
        max_length: int,
        **hidden: Any,
    ) -> Tensor:
        rank = {(a, b): i for i, (a, b) in enumerate(merges)}
        rows = []
        for words in prompts:
            tokens = [vocab[token] for word in words for token in split(word, rank)]
            if cut:
                row = [vocab[START], *tokens[: max_length - 2], vocab[END]]
            else:
                row = [vocab[START], *tokens, vocab[END]][:max_length]
            rows.append(row + [vocab[END]] * (max_length - len(row)))
        return torch.tensor(rows)

    return token_ids


token_ids = ids_by(merged)


# --- between the calls ---------------------------------------------------------------------------


def from_v(v: Tensor, x_t: Tensor, alpha_bar_t: float, **hidden: Any) -> tuple[Tensor, Tensor]:
    alpha, sigma = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5
    return alpha * x_t - sigma * v, sigma * x_t + alpha * v


def v_as_epsilon(
    v: Tensor, x_t: Tensor, alpha_bar_t: float, **hidden: Any
) -> tuple[Tensor, Tensor]:
    """What would be right for a network that predicts the noise."""
    return (x_t - (1 - alpha_bar_t) ** 0.5 * v) / max(alpha_bar_t, 1e-4) ** 0.5, v


def step_with(convert: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., Tensor]:
    """DDIM with this conversion."""

    def step(
        v: Tensor, x_t: Tensor, alpha_bar_t: float, alpha_bar_next: float, **hidden: Any
    ) -> Tensor:
        x0, epsilon = convert(v, x_t, alpha_bar_t)
        return alpha_bar_next**0.5 * x0 + (1 - alpha_bar_next) ** 0.5 * epsilon

    return step


def guide(with_prompt: Tensor, without: Tensor, guidance_scale: float, **hidden: Any) -> Tensor:
    return without + guidance_scale * (with_prompt - without)


def guide_of_ho(
    with_prompt: Tensor, without: Tensor, guidance_scale: float, **hidden: Any
) -> Tensor:
    """The convention in which 0 is off."""
    return with_prompt + guidance_scale * (with_prompt - without)


# --- the chain -----------------------------------------------------------------------------------


def chain(
    calls: int = 20,
    ids: Callable[..., Tensor] = token_ids,
    convert: Callable[..., tuple[Tensor, Tensor]] = from_v,
    mix: Callable[..., Tensor] = guide,
    scaled: bool = True,
    start: float = 1.0,
    size: float = 1.0,
) -> dict[str, Callable[..., Any]]:
    """All functions, with a draw that is made of them.

    Args:
        calls: of predict.
        ids, convert, mix: the pieces.
        scaled: whether latents are divided by the scaling factor.
        start: what x_T is multiplied with.
        size: what the finished latents are multiplied with.
    """
    advance = step_with(convert)

    def draw(
        prompts: Sequence[Sequence[str]],
        vocab: Mapping[str, int],
        merges: Sequence[Sequence[str]],
        max_length: int,
        x_T: Tensor,
        alpha_bar: Tensor,
        guidance_scale: float,
        scaling_factor: float,
        encode_text: Oracle,
        predict: Oracle,
        decode: Oracle,
        **hidden: Any,
    ) -> Tensor:
        states = encode_text(ids(prompts, vocab, merges, max_length))
        empty = encode_text(ids([[]], vocab, merges, max_length)).expand_as(states)
        times = [round(len(alpha_bar) * (1 - i / calls)) - 1 for i in range(calls)]
        levels = [float(alpha_bar[t]) for t in times] + [1.0]
        x = start * x_T
        for t, level, following in zip(times, levels, levels[1:], strict=False):
            if mix is without_guidance:
                v = predict(x, t, states)
            else:
                both = predict(torch.cat([x, x]), t, torch.cat([empty, states]))
                without, with_prompt = both.chunk(2)
                v = mix(with_prompt, without, guidance_scale)
            x = advance(v, x, level, following)
        return decode(size * x / scaling_factor if scaled else size * x)

    return {
        "token_ids": ids,
        "from_v": convert,
        "step": advance,
        "guide": guide if mix is without_guidance else mix,
        "draw": draw,
    }


def without_guidance(*arguments: Any) -> Tensor:
    """Stands for no guidance at all."""
    raise NotImplementedError


def noise() -> dict[str, Callable[..., Any]]:
    """Everything by chance; the pictures are what the decoder makes of x_T."""
    generator = torch.Generator().manual_seed(0)

    def random_ids(prompts: Any, vocab: Any, max_length: int, **hidden: Any) -> Tensor:
        return torch.randint(len(vocab), (len(prompts), max_length), generator=generator)

    def like(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=generator)

    def draw(x_T: Tensor, scaling_factor: float, decode: Oracle, **more: Any) -> Tensor:
        return decode(x_T / scaling_factor)

    return {
        "token_ids": random_ids,
        "from_v": lambda v, **more: (like(v), like(v)),
        "step": lambda v, **more: like(v),
        "guide": lambda without, **more: like(without),
        "draw": draw,
    }


def real() -> dict[str, Callable[..., Any]]:
    """The artists' own pictures of the prompts, through the autoencoder: refused as copies.

    What the judge says of them as they are stands in the details of every run.
    """

    @torch.no_grad()
    def draw(scaling_factor: float, decode: Oracle, **hidden: Any) -> Tensor:
        asked: Tensor = hidden["_asked"]
        pictures = gallery().render_pairs(asked[:, :2], asked[:, 2])
        return decode(pipeline().vae.to_latents(pictures) / scaling_factor)

    return {**chain(), "draw": draw}


CONTESTANTS: Mapping[str, Functions] = {
    "reference: 20 calls of DDIM": chain(),
    "noise": noise(),
    "unguided, the rest right": chain(mix=without_guidance),
    "naive: v taken for the noise, 20 calls": chain(calls=20, convert=v_as_epsilon),
    "naive: latents not divided by the scaling factor": chain(scaled=False),
    "naive: words cut into letters": chain(ids=ids_by(letters)),
    "naive: the pairs joined from the left": chain(ids=ids_by(from_the_left)),
    "naive: guidance where 0 is off": chain(mix=guide_of_ho),
    "4 calls, the rest right": chain(calls=4),
    "12 calls, the rest right": chain(calls=12),
    "one start for all: x_T times 0": chain(start=0.0),
    "latents twice as large": chain(size=2.0),
    "real pictures, through the autoencoder": real(),
}
