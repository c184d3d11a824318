"""From a prompt to a picture, in one loop that you can read: `Pipeline.steps` and `Pipeline.draw`.

    code            paper       shape            meaning
    text_states     tau(y)      (N, L, D)        the prompt, as the text encoder reads it
    x_T             z_T         (N, 4, h, w)     noise to start from
    step.x          z_t         (N, 4, h, w)     noisy latents on their way
    pixels          D(z)        (N, 3, 8h, 8w)   the finished pictures, in [-1, 1]

Source: Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models",
section 3.3 and figure 3. A pipeline is kept in a folder of diffusers' layout, so that
`diffusers.StableDiffusionPipeline.from_pretrained` opens ours and we open Stable Diffusion 1.x.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_utils.guidance import Conditioning, check_guidance_scale, guide
from course_utils.hub import (
    DEFAULT_MODEL,
    SCHEDULERS,
    PipelineParts,
    find_folder,
    load_parts,
    save_parts,
)
from course_utils.models.clip import TextEncoder
from course_utils.models.fast import prepare
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.unet import UNet
from course_utils.models.vae import VAE
from course_utils.runtime import pick_device
from course_utils.samplers import SAMPLERS, Step
from course_utils.schedules import NoiseSchedule, check_int
from course_utils.vocabulary import UnknownWord, Vocabulary, first_few

DEFAULT_STEPS = 25
DEFAULT_GUIDANCE = 2.5  # Higher is more saturated than the data; see the model card
DEFAULT_SAMPLER = "dpm++2m"
DEFAULT_SEED = 7

MAX_SEED = 2**32 - 1  # a CPU generator looks at 32 bits of its seed
POSITIONS_AT_ONCE = 4096  # latent positions of one batch: 64 pictures of 64x64, or one of 512x512


@dataclass(frozen=True, eq=False)
class Pictures:
    """Finished pictures and how each was made.

    Attributes:
        pixels: (N, 3, H, W) float32 in [-1, 1], on the CPU.
        latents: (N, 4, h, w), what the pictures were decoded from, on the CPU.
        prompts, negatives, seeds: one for each picture.
        settings: what they share: steps, guidance scale and rescale, sampler, model.
    """

    pixels: Tensor
    latents: Tensor
    prompts: tuple[str, ...]
    negatives: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: dict[str, Any]

    def __len__(self) -> int:
        return len(self.pixels)

    def metadata(self) -> dict[str, str]:
        """Everything that is needed to draw them again, as text for a PNG file."""
        return {
            "prompt": "\n".join(dict.fromkeys(self.prompts)),
            "negative_prompt": "\n".join(dict.fromkeys(self.negatives)),
            "seed": " ".join(str(seed) for seed in self.seeds),
            **{key: str(value) for key, value in self.settings.items()},
        }


@dataclass(eq=False)
class Pipeline:
    """The four parts of a text-to-image system, a noise schedule, and the words it was taught.

    Args:
        unet: the denoiser, works on latents.
        vae: latents to pixels and back.
        text_encoder, tokenizer: prompt to text states.
        schedule: what the denoiser was trained with. Its `steps_offset` becomes 1, the only one
            that diffusers' Stable Diffusion pipeline accepts; it matters with "leading" spacing.
        vocabulary: which words and concepts the model has met; None where nobody wrote that down.
        name: for file names and metadata.
    """

    unet: UNet
    vae: VAE
    text_encoder: TextEncoder
    tokenizer: Tokenizer
    schedule: NoiseSchedule
    vocabulary: Vocabulary | None = None
    name: str = "unnamed"

    def __post_init__(self) -> None:
        self.schedule = dataclasses.replace(self.schedule, steps_offset=1)
        for part in (self.unet, self.vae, self.text_encoder):
            part.eval()

    # --- drawing -----------------------------------------------------------------------------

    def steps(
        self,
        prompts: str | Sequence[str],
        negative: str | Sequence[str] = "",
        *,
        num_steps: int = DEFAULT_STEPS,
        guidance_scale: float = DEFAULT_GUIDANCE,
        guidance_rescale: float = 0.0,
        seed: int | Sequence[int] = DEFAULT_SEED,
        sampler: str = DEFAULT_SAMPLER,
        count: int = 1,
    ) -> Iterator[Step]:
        """Walk from noise to latents, all pictures side by side.

        Args:
            prompts: one text, or one for each of several sets of pictures.
            negative: what the pictures should not show, for all or one for each prompt.
            num_steps: predictions of the denoiser, from 1 to the schedule's T.
            guidance_scale: how loudly the prompt speaks; 1 is off.
            guidance_rescale: share of the rescaled prediction, see `guidance.rescale_guided`.
            seed: fixes the noise, for all prompts or one for each. Picture i of a prompt has a
                generator of its own, seeded with `seed + i`, so that it does not depend on how
                many are drawn. diffusers draws the same noise from a CPU generator of that seed.
            sampler: a name in `SAMPLERS`.
            count: pictures a prompt. There are N = prompts x count pictures, prompt by prompt.

        Returns:
            An iterator over `Step`: the noise, then one after each prediction; `x` and `x0` are
            (N, 4, h, w) latents.

        Raises:
            TypeError, ValueError: an argument of the wrong type or out of range, by its name.
        """
        check_settings(num_steps, guidance_scale, guidance_rescale, sampler, self.schedule)
        rows = _rows(prompts, negative, seed, count)

        text_states = self.encode_prompt([row.prompt for row in rows])  # (N, L, D)
        negative_states = self.encode_prompt([row.negative for row in rows])  # (N, L, D)
        cond = Conditioning(text_states, negative_states)
        denoiser = guide(prepare(self.unet), guidance_scale, guidance_rescale)

        generators = [torch.Generator().manual_seed(row.seed) for row in rows]
        x_T = self.noise(generators)  # (N, 4, h, w)
        return SAMPLERS[sampler](
            denoiser, x_T, self.schedule, cond, num_steps, generator=generators
        )

    def draw(
        self,
        prompts: str | Sequence[str],
        negative: str | Sequence[str] = "",
        *,
        num_steps: int = DEFAULT_STEPS,
        guidance_scale: float = DEFAULT_GUIDANCE,
        guidance_rescale: float = 0.0,
        seed: int | Sequence[int] = DEFAULT_SEED,
        sampler: str = DEFAULT_SAMPLER,
        count: int = 1,
        on_step: Callable[[Step], object] | None = None,
    ) -> Pictures:
        """Draw pictures: the loop of `steps` to its end, then the VAE's decoder.

        Args:
            on_step: called with every `Step`, for a progress bar or a player. Pictures are drawn in
                batches of `self.batch_size`, one loop each.

        The other arguments and the errors are those of `steps`.

        Raises:
            ValueError: the numbers left the range of floating point on the way.
        """
        settings: dict[str, Any] = {
            "num_steps": num_steps,
            "guidance_scale": guidance_scale,
            "guidance_rescale": guidance_rescale,
            "sampler": sampler,
        }
        finished = []
        rows = _rows(prompts, negative, seed, count)
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            texts, negatives = [row.prompt for row in batch], [row.negative for row in batch]
            for step in self.steps(texts, negatives, seed=[row.seed for row in batch], **settings):
                if on_step is not None:
                    on_step(step)
            finished.append(step.x)
        latents = torch.cat(finished)  # (N, 4, h, w)
        if not bool(torch.isfinite(latents).all()):
            raise ValueError(
                "The picture came out as not-a-number. Try a guidance_scale below "
                f"{guidance_scale:g}; if that does not help, the weights of {self.name} are bad."
            )
        return Pictures(
            pixels=self.decode(latents).cpu(),
            latents=latents.cpu(),
            prompts=tuple(row.prompt for row in rows),
            negatives=tuple(row.negative for row in rows),
            seeds=tuple(row.seed for row in rows),
            settings={**settings, "model": self.name},
        )

    @torch.no_grad()
    def encode_prompt(self, prompts: str | Sequence[str]) -> Tensor:
        """Texts to text states (N, L, D); what does not fit into L tokens is cut off."""
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        ids = self.tokenizer(texts)  # (N, L)
        return self.text_encoder(ids.to(self.device))

    def noise(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Standard normal latents (N, 4, h, w), one picture from each CPU generator."""
        size, channels = self.unet.config.sample_size, self.unet.config.in_channels
        each = [torch.randn((1, channels, size, size), generator=g) for g in generators]
        return torch.cat(each).to(self.device)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (N, 4, h, w) to pictures (N, 3, 8h, 8w) in [-1, 1], a batch at a time."""
        parts = latents.to(self.device).split(self.batch_size)
        return torch.cat([self.vae.to_pixels(part) for part in parts])

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.unet.device

    @property
    def batch_size(self) -> int:
        """How many pictures `draw` makes side by side."""
        return max(1, POSITIONS_AT_ONCE // self.unet.config.sample_size**2)

    # --- words -------------------------------------------------------------------------------

    def unknown_words(self, prompt: str) -> list[UnknownWord]:
        """The prompt's words that no training caption held; empty where nobody knows them."""
        return [] if self.vocabulary is None else self.vocabulary.unknown_words(prompt)

    def dropped_words(self, prompt: str) -> list[str]:
        """The words at the end of a long prompt that the text encoder does not see in full."""
        room = self.tokenizer.model_max_length - 2  # start and end take one place each
        words = self.tokenizer.words(prompt)
        for i, (_, tokens) in enumerate(words):
            room -= len(tokens)
            if room < 0:
                return [word for word, _ in words[i:]]
        return []

    def notes(self, prompt: str) -> list[str]:
        """What a person should know about this prompt before the picture: a sentence each."""
        if not prompt.strip():
            return ["the prompt is empty, so this is drawn without words (unconditionally)"]
        notes = []
        dropped = self.dropped_words(prompt)
        if dropped:
            notes.append(
                f"the prompt is longer than the {self.tokenizer.model_max_length - 2} tokens that "
                f"the model reads; it does not see: {first_few(dropped, 12)}"
            )
        if self.vocabulary is not None:
            notes += self.vocabulary.notes(prompt)
        return notes

    # --- files -------------------------------------------------------------------------------

    @classmethod
    def load(
        cls,
        name_or_folder: str | Path = DEFAULT_MODEL,
        device: torch.device | str | None = None,
        revision: str | None = None,
    ) -> Pipeline:
        """Read a pipeline.

        Args:
            name_or_folder: the name of bundled weights, a folder in diffusers' layout, or a hub id
                "owner/name". Only the last touches the network, and says so first.
            device: where to run; by default a GPU if there is one, else the CPU.
            revision: of a hub id, a commit.

        Raises:
            WeightsError: there is no such model, or something in its folder is missing, damaged
                or of a kind that this course does not build.
        """
        folder = find_folder(str(name_or_folder), revision)
        pipeline = cls(**vars(load_parts(folder)), name=str(name_or_folder))
        return pipeline.to(pick_device() if device is None else device)

    def save(self, folder: str | Path, dtype: torch.dtype = torch.float16) -> Path:
        """Write the folder that `load` and diffusers read; each file is whole or not there.

        Args:
            folder: made if it is missing.
            dtype: of the weights in the files.

        Returns:
            The folder.

        Raises:
            OSError: no space, no permission.
        """
        folder = Path(folder)
        parts = {item.name: getattr(self, item.name) for item in dataclasses.fields(PipelineParts)}
        save_parts(folder, PipelineParts(**parts), dtype, SCHEDULERS[DEFAULT_SAMPLER])
        return folder

    def to(self, device: torch.device | str) -> Pipeline:
        """Move the networks; returns the pipeline itself."""
        for part in (self.unet, self.vae, self.text_encoder):
            part.to(device)
        return self


# --- arguments ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """What makes one picture differ from its neighbours."""

    prompt: str
    negative: str
    seed: int


def _rows(
    prompts: str | Sequence[str],
    negative: str | Sequence[str],
    seed: int | Sequence[int],
    count: int,
) -> list[_Row]:
    """One row for each picture, prompt by prompt."""
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise ValueError("prompts is empty; expected one text or more ('' draws without words)")
    check_int("count", count, 1, 10_000)
    negatives = [negative] * len(texts) if isinstance(negative, str) else list(negative)
    seeds = [seed] * len(texts) if isinstance(seed, int) else list(seed)
    for name, values in (("negative", negatives), ("seed", seeds)):
        if len(values) != len(texts):
            raise ValueError(
                f"{name} has {len(values)} entries; expected one, or {len(texts)}, one a prompt"
            )
    for text in (*texts, *negatives):
        check_prompt(text)
    for value in seeds:
        check_int("seed", value, 0, MAX_SEED - count)
    return [
        _Row(text, without, first + i)
        for text, without, first in zip(texts, negatives, seeds, strict=True)
        for i in range(count)
    ]


def check_prompt(text: object) -> str:
    """Return a prompt unchanged.

    Raises:
        TypeError: not a text.
        ValueError: bytes that came from a terminal and are no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"a prompt is {text!r}; expected a text")
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError(f"the prompt {text!a} is not valid UTF-8 text")
    return text


def check_settings(
    num_steps: int,
    guidance_scale: float,
    guidance_rescale: float,
    sampler: str,
    schedule: NoiseSchedule | None = None,
) -> None:
    """Say what is wrong with the settings of `Pipeline.steps` before anything is computed.

    Raises:
        TypeError, ValueError: the argument, its value, and what was expected.
    """
    check_int("num_steps", num_steps, 1, schedule.num_train_timesteps if schedule else 1000)
    check_guidance_scale(guidance_scale)
    if not 0 <= guidance_rescale <= 1:  # NaN fails too
        raise ValueError(f"guidance_rescale is {guidance_rescale}; expected a number from 0 to 1")
    if sampler not in SAMPLERS:
        near = difflib.get_close_matches(str(sampler).lower(), SAMPLERS, n=2, cutoff=0.4)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ValueError(f"sampler is {sampler!r}; expected one of {', '.join(SAMPLERS)}{hint}")
