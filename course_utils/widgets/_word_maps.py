"""What the cross-attention view computes: a picture with its maps, and the picture without a word.

drawn = draw(pipeline, "a rocket on a yellow background", seed=7)
drawn.heat(word=2, step=3)            # (8, 8): the share of attention at the third prediction
without(drawn, word=2)                # the prompt without that word
change(drawn, other)                  # (64, 64): which pixels that moved, and how far
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.attention_maps import (
    PADDING,
    START,
    AttentionMaps,
    Word,
    find_words,
    inside_and_outside,
    object_mask,
    record,
)
from course_utils.models import UNet
from course_utils.pipeline import DEFAULT_GUIDANCE, DEFAULT_STEPS, Pipeline

Report = Callable[..., object]
NO_OBJECT = 0.02  # less than this share of the pixels is no object


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture, how it came about, and where each word was looked at.

    Attributes:
        prompt, seed: what it was drawn from.
        guesses: (steps, 3, H, W) in [-1, 1], what the network believed the end would look like,
            after each prediction. The last one is the finished picture.
        maps: one picture's, with as many steps.
        seconds: how long it took.
    """

    prompt: str
    seed: int
    guesses: Tensor
    maps: AttentionMaps
    seconds: float

    @property
    def words(self) -> tuple[Word, ...]:
        """The prompt's words, with the start before and the end after them."""
        return self.maps.words[0]

    @property
    def num_steps(self) -> int:
        """Predictions."""
        return len(self.guesses)

    @property
    def finished(self) -> Tensor:
        """The picture, (3, H, W)."""
        return self.guesses[-1]

    def t(self, step: int) -> int:
        """The timestep of prediction `step`, from 1, as papers count: T is pure noise."""
        return self.maps.timesteps[step - 1] + 1

    def pixels(self, step: int) -> Tensor:
        """The guess after prediction `step`, from 1; the finished picture for 0. (3, H, W)."""
        return self.guesses[step - 1]  # -1 is the last one

    def heat(self, word: int, step: int = 0, side: int | None = None) -> Tensor:
        """The share of attention of a word at each place.

        Args:
            word: index into `words`.
            step: which prediction, from 1; 0 is the mean over all.
            side: of the map; the largest if None.

        Returns:
            (side, side), each from 0 to 1. Over all words they sum to 1.

        Raises:
            ValueError: no such step or side.
            IndexError: no such word.
        """
        return self.maps.of(self.words[word], step=step - 1 if step else None, side=side)

    def most(self, word: int, side: int | None = None) -> float:
        """The largest share of a word at any place of any step: the end of its scale."""
        return float(self._of_token(side)[:, list(self.words[word].tokens)].sum(dim=1).max())

    def shares(self, step: int = 0, side: int | None = None) -> list[float]:
        """The share of each word, the mean over all places; they sum to 1."""
        mean = self._of_token(side).mean(dim=(2, 3))  # (steps, L)
        row = mean[step - 1] if step else mean.mean(dim=0)  # (L,)
        return [float(row[list(word.tokens)].sum()) for word in self.words]

    def _of_token(self, side: int | None) -> Tensor:
        """The maps of every token, (steps, L, side, side)."""
        return self.maps.by_size[self.maps.sides[0] if side is None else side][:, 0]

    def on_object(self, heat: Tensor) -> tuple[float, float] | None:
        """Mean of a map (h, w) on the object of the finished picture, and beside it.

        Returns:
            Two numbers; None if the picture is all object or all background.
        """
        return _split(heat, object_mask(self.finished))


def draw(
    pipeline: Pipeline,
    prompt: str,
    seed: int,
    num_steps: int = DEFAULT_STEPS,
    guidance_scale: float = DEFAULT_GUIDANCE,
    report: Report | None = None,
    text: str = "drawing",
) -> Drawn:
    """Draw a picture and keep its cross-attention maps.

    The pipeline's U-Net is left alone: a twin that shares its weights is listened to, so that
    others may use the pipeline at the same time.

    Args:
        pipeline: that draws.
        prompt, seed, num_steps, guidance_scale: as for `Pipeline.steps`; not scale 0, where no row
            of the batch sees the prompt.
        report: called with the share that is done, 0 to 1, and words for it; what it raises ends
            the drawing.
        text: what is being done, for `report`.

    Raises:
        TypeError, ValueError: as `Pipeline.steps`, or at guidance scale 0.
    """
    if guidance_scale == 0:
        raise ValueError("guidance_scale is 0; expected another: at 0 the prompt is not looked at")
    say = report or (lambda *_: None)
    start = time.perf_counter()
    twin = dataclasses.replace(pipeline, unet=_twin(pipeline.unet))
    guesses, timesteps = [], []
    with torch.no_grad(), record(twin.unet) as recording:
        for step in twin.steps(
            prompt, num_steps=num_steps, guidance_scale=guidance_scale, seed=seed
        ):
            say(0.8 * step.step / num_steps, f"{text}: step {step.step} of {num_steps}")
            timesteps.append(step.t)  # what the network is asked for next
            if step.x0 is not None:
                guesses.append(step.x0)
    pixels = []
    for i, guess in enumerate(guesses):
        say(0.8 + 0.2 * i / num_steps, f"{text}: decoding {i + 1} of {num_steps}")
        pixels.append(pipeline.decode(guess).cpu())
    words = find_words(pipeline.tokenizer, prompt)
    maps = AttentionMaps(recording.by_size(last=1), (words,), tuple(timesteps[:num_steps]))
    return Drawn(prompt, seed, torch.cat(pixels), maps, time.perf_counter() - start)


def is_word(word: Word) -> bool:
    """Whether it is a word of the prompt, and not what stands before or after it."""
    return word.text not in (START, PADDING)


def without(drawn: Drawn, word: int) -> str:
    """The prompt without one of its words.

    Raises:
        ValueError: it is the start or the end, which every prompt has.
    """
    if not is_word(drawn.words[word]):
        raise ValueError(f"word is {drawn.words[word].text}; expected one that the prompt holds")
    return " ".join(each.text for i, each in enumerate(drawn.words) if i != word and is_word(each))


def change(drawn: Drawn, other: Tensor) -> Tensor:
    """How far each pixel moved, (H, W): mean over colours, in levels of 0 to 255.

    Args:
        drawn: the picture.
        other: (3, H, W) in [-1, 1].
    """
    return (drawn.finished - other).abs().mean(dim=0) * 127.5


def change_on_object(drawn: Drawn, other: Tensor) -> tuple[float, float] | None:
    """Mean change on the object of either picture, and beside it; None if one of them is empty."""
    mask = torch.maximum(object_mask(drawn.finished), object_mask(other))
    return _split(change(drawn, other), mask)


def _split(values: Tensor, mask: Tensor) -> tuple[float, float] | None:
    area = float(mask.mean())
    if not NO_OBJECT < area < 1 - NO_OBJECT:
        return None
    inside, outside = inside_and_outside(values, mask)
    return float(inside), float(outside)


def _twin(unet: UNet) -> UNet:
    """The same network with the same weights in memory, whose modules are its own."""
    shared = {id(tensor): tensor for tensor in (*unet.parameters(), *unet.buffers())}
    return copy.deepcopy(unet, shared)
