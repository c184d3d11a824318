"""Cross-attention maps: to which words each place of a picture listens.

    pictures, maps = draw_with_maps(pipeline, "a rocket on a yellow background", seed=7)
    maps.words[0]                    # what the prompt's tokens spell, start and padding included
    maps.of(maps.find("rocket"))     # (side, side): the share of attention that "rocket" gets

In each cross-attention layer every place of the picture shares out its attention among all tokens
of the prompt: softmax(q k^T / sqrt(d)), whose entries over the tokens sum to 1. A map is that share
for one word (the sum over its tokens), averaged over heads and over the layers of one size.

Source: Hertz et al. 2022, "Prompt-to-prompt image editing with cross attention control", section 3
(the maps); Tang et al. 2023, "What the DAAM: interpreting Stable Diffusion using cross attention"
(sums over heads, layers and steps). A map says where a word is looked at. It does not say what
would change without the word; only an experiment does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.models.tokenizer import WORD_END, Tokenizer
from course_utils.pipeline import (
    DEFAULT_GUIDANCE,
    DEFAULT_SAMPLER,
    DEFAULT_SEED,
    Pictures,
    Pipeline,
)

START, PADDING = "[start]", "[end]"
"""Names of the places of a row that hold no word: its start, and its end with all padding."""

CROSS_ATTENTION = "attn2"  # what diffusers calls the cross-attention of a transformer block


@dataclass(frozen=True)
class Word:
    """A word of a prompt.

    Attributes:
        text: as the tokenizer reads it, in lower case; `START` or `PADDING` for what is no word.
        tokens: its places in the row of ids.
    """

    text: str
    tokens: tuple[int, ...]


def find_words(tokenizer: Tokenizer, prompt: str) -> tuple[Word, ...]:
    """Which places of a row of ids spell which word.

    Args:
        tokenizer: that makes the row.
        prompt: a text.

    Returns:
        `START`, the prompt's words in their order, `PADDING`; together they are every place of the
        row once. Words that do not fit into the row are not there; one that is cut has fewer
        tokens.
    """
    length = tokenizer.model_max_length
    words, place = [Word(START, (0,))], 1
    for text, tokens in tokenizer.words(prompt):
        end = min(place + len(tokens), length - 1)
        if end > place:
            words.append(Word(text.removesuffix(WORD_END), tuple(range(place, end))))
        place = end
    return (*words, Word(PADDING, tuple(range(place, length))))


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) over the keys (Vaswani et al. 2017, equation 1).

    Args:
        q: queries (..., P, d).
        k: keys (..., L, d).

    Returns:
        (..., P, L); each row sums to 1.
    """
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)


# --- listening to a network ----------------------------------------------------------------------


@dataclass(eq=False)
class Recording:
    """What the cross-attention layers of a network did, one entry a forward pass.

    Attributes:
        passes: layer name -> (B, P, L) on the CPU, the mean over heads, for each pass; P places in
            rows from the top left, L tokens.
    """

    passes: list[dict[str, Tensor]] = field(default_factory=list)

    def _add(self, layer: str, weights: Tensor) -> None:
        if not self.passes or layer in self.passes[-1]:
            self.passes.append({})
        self.passes[-1][layer] = weights

    def by_size(self, last: int | None = None) -> dict[int, Tensor]:
        """The passes as maps, averaged over the layers of each size.

        Args:
            last: keep only so many rows at the end of each batch. With guidance these are the
                rows with the prompt; those before have the negative prompt.

        Returns:
            Side of the maps -> (passes, B, L, side, side), the largest side first.

        Raises:
            ValueError: nothing was recorded, or a layer's places are no square.
        """
        if not self.passes:
            raise ValueError("nothing was recorded; expected a forward pass inside `record`")
        found: dict[int, list[Tensor]] = {}
        for layer in self.passes[0]:
            rows = torch.stack([each[layer] for each in self.passes])  # (passes, B, P, L)
            rows = rows if last is None else rows[:, -last:]
            side = math.isqrt(rows.shape[-2])
            if side**2 != rows.shape[-2]:
                raise ValueError(
                    f"{layer} has {rows.shape[-2]} places; expected a square, as of square pictures"
                )
            found.setdefault(side, []).append(rows.transpose(-2, -1).unflatten(-1, (side, side)))
        return {side: torch.stack(found[side]).mean(dim=0) for side in sorted(found, reverse=True)}


@contextmanager
def record(unet: nn.Module) -> Iterator[Recording]:
    """Keep the attention weights of every cross-attention layer while the `with` block runs.

    The network computes what it always does; the weights are computed beside it, from the same
    queries and keys. It works for the course's `UNet` and for diffusers' `UNet2DConditionModel`.

    Args:
        unet: its cross-attention layers are the modules called `attn2`.

    Raises:
        ValueError: there is no such layer.
    """
    recording = Recording()
    layers = {
        name: module
        for name, module in unet.named_modules()
        if name.split(".")[-1] == CROSS_ATTENTION
    }
    if not layers:
        raise ValueError(f"the network has no module called {CROSS_ATTENTION}; expected a U-Net")

    def keep(name: str) -> Any:
        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            x = args[0] if args else kwargs["hidden_states"]  # (B, P, C)
            context = args[1] if len(args) > 1 else kwargs["encoder_hidden_states"]  # (B, L, D)
            with torch.no_grad():
                q, k = (
                    y.unflatten(-1, (module.heads, -1)).transpose(1, 2)  # (B, h, P or L, d)
                    for y in (module.to_q(x), module.to_k(context))
                )
                recording._add(name, attention_weights(q, k).mean(dim=1).cpu())

        return hook

    handles = [
        module.register_forward_hook(keep(name), with_kwargs=True)
        for name, module in layers.items()
    ]
    try:
        yield recording
    finally:
        for handle in handles:
            handle.remove()


# --- maps of drawn pictures ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The cross-attention maps of N pictures.

    Attributes:
        by_size: side of the maps -> (steps, N, L, side, side), the largest side first; over the L
            tokens they sum to 1.
        words: of each picture's prompt, see `find_words`.
        timesteps: t of each step.
    """

    by_size: Mapping[int, Tensor]
    words: tuple[tuple[Word, ...], ...]
    timesteps: tuple[int, ...]

    @property
    def sides(self) -> tuple[int, ...]:
        """The sizes that there are, the largest first."""
        return tuple(self.by_size)

    def find(self, text: str, picture: int = 0) -> Word:
        """The first word of a picture's prompt that reads like this.

        Raises:
            ValueError: there is none; names those that there are.
        """
        for word in self.words[picture]:
            if word.text == text.lower():
                return word
        known = ", ".join(word.text for word in self.words[picture])
        raise ValueError(f"word is {text!r}; expected one of {known}")

    def of(
        self, word: Word | str, picture: int = 0, step: int | None = None, side: int | None = None
    ) -> Tensor:
        """The share of attention that a word gets at each place.

        Args:
            word: of `words`, or its text. A word of several tokens gets the sum of their shares.
            picture: which one.
            step: which prediction, from 0; the mean over all if None.
            side: of the map; the largest if None.

        Returns:
            (side, side), each from 0 to 1. Over all words of a prompt, `START` and `PADDING`
            included, they sum to 1.

        Raises:
            ValueError: no such word, step or side.
        """
        word = self.find(word, picture) if isinstance(word, str) else word
        side = self.sides[0] if side is None else side
        if side not in self.by_size:
            raise ValueError(f"side is {side}; expected one of {', '.join(map(str, self.sides))}")
        if step is not None and not 0 <= step < len(self.timesteps):
            raise ValueError(f"step is {step}; expected 0 to {len(self.timesteps) - 1}, or None")
        maps = self.by_size[side][:, picture, list(word.tokens)].sum(dim=1)  # (steps, side, side)
        return maps.mean(dim=0) if step is None else maps[step]


def draw_with_maps(
    pipeline: Pipeline,
    prompts: str | Sequence[str],
    *,
    num_steps: int = 25,
    guidance_scale: float = DEFAULT_GUIDANCE,
    seed: int | Sequence[int] = DEFAULT_SEED,
    sampler: str = DEFAULT_SAMPLER,
    count: int = 1,
) -> tuple[Pictures, AttentionMaps]:
    """Draw pictures as `Pipeline.draw` does, and keep their cross-attention maps.

    Args:
        pipeline, prompts, num_steps, guidance_scale, seed, sampler, count: as for `Pipeline.draw`.

    Returns:
        The pictures, and the maps of the rows that saw the prompt.

    Raises:
        TypeError, ValueError: as for `Pipeline.draw`; also at guidance scale 0, where no row sees
            the prompt.
    """
    if guidance_scale == 0:
        raise ValueError("maps are not kept for guidance_scale 0; expected one above it")
    timesteps: list[int] = []  # what the U-Net is asked for: a step's t belongs to the next one
    settings: dict[str, Any] = {
        "num_steps": num_steps,
        "guidance_scale": guidance_scale,
        "sampler": sampler,
        "on_step": lambda step: timesteps.append(step.t) if step.step < num_steps else None,
    }
    with record(pipeline.unet) as recording:
        pictures = pipeline.draw(prompts, seed=seed, count=count, **settings)
    parts: list[dict[int, Tensor]] = []
    for start in range(0, len(pictures), pipeline.batch_size):  # `draw` walks batch by batch
        first = len(parts) * num_steps
        part = Recording(recording.passes[first : first + num_steps])
        parts.append(part.by_size(last=min(pipeline.batch_size, len(pictures) - start)))
    maps = {side: torch.cat([part[side] for part in parts], dim=1) for side in parts[0]}
    words = tuple(find_words(pipeline.tokenizer, prompt) for prompt in pictures.prompts)
    return pictures, AttentionMaps(maps, words, tuple(timesteps[:num_steps]))


# --- how much of it falls on the object ----------------------------------------------------------


def object_mask(pixels: Tensor, threshold: float = 40.0) -> Tensor:
    """Where a picture shows something other than its plain background.

    Args:
        pixels: (..., 3, H, W) in [-1, 1].
        threshold: the least difference in some colour channel, in levels of 0 to 255, from the
            median colour of a frame two pixels wide.

    Returns:
        (..., H, W) float32, 1 on the object and 0 elsewhere.
    """
    sides = (pixels[..., :2, :], pixels[..., -2:, :], pixels[..., :2], pixels[..., -2:])
    frame = torch.cat([side.flatten(-2) for side in sides], dim=-1)  # (..., 3, its pixels)
    background = frame.median(dim=-1).values[..., None, None]  # (..., 3, 1, 1)
    return ((pixels - background).abs().amax(dim=-3) * 127.5 > threshold).float()


def inside_and_outside(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of a map on the object and beside it.

    Args:
        values: (..., h, w).
        mask: (..., H, W) from 0 to 1, with H and W multiples of h and w; averaged down to them, so
            that a place on the edge counts for both in its parts.

    Returns:
        Two tensors (...); NaN where a picture is all object or all background.
    """
    height, width = values.shape[-2:]
    mask = mask.unflatten(-1, (width, -1)).unflatten(-3, (height, -1)).mean(dim=(-3, -1))
    inside = (values * mask).sum(dim=(-2, -1)) / mask.sum(dim=(-2, -1))
    outside = (values * (1 - mask)).sum(dim=(-2, -1)) / (1 - mask).sum(dim=(-2, -1))
    return inside, outside
