"""What is trained, on what, for how long: the recipes behind the shipped weights.

    clip      pictures and captions -> text tower (the conditioner), kept whole for the lessons
    judge     another CLIP, of another shape and seed, that only ever evaluates
    vae       pictures -> latents -> pictures
    decoder   goes on with the vae's decoder, from the same latents
    denoiser  needs clip and vae: noisy latents and words -> latents
    scenes-decoder, scenes   the same for `scenes-64`, see `scenes_recipes.py`

Presets: `smoke` proves in seconds that the chain holds together; `cpu` teaches 40 concepts in two
hours on two cores; `gpu` made the weights of `emoji-64`, 804 concepts, in minutes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from course_utils.data.captions import STYLES
from course_utils.data.emoji import BACKGROUND_NAMES, CaptionedEmoji
from course_utils.files import write_json
from course_utils.hub import model_index
from course_utils.models import CLIP, VAE, TextEncoder, Tokenizer, UNet
from course_utils.models.clip import CLIPConfig, ConvConfig, TextConfig
from course_utils.training.bank import CaptionBank
from course_utils.training.clip import CLIPTask
from course_utils.training.denoiser import DenoiserTask, build_bank, preview_prompts
from course_utils.training.init import keep_signal
from course_utils.training.loop import Settings, train
from course_utils.training.presets import Paths, Preset
from course_utils.training.processes import shares_cpu
from course_utils.training.scenes_recipes import (
    build_scenes,
    build_scenes_decoder,
    finish_scenes,
    finish_scenes_decoder,
)
from course_utils.training.schedule import make_schedule
from course_utils.training.vae import DecoderTask, VAETask

RECIPES = ("clip", "judge", "vae", "decoder", "denoiser", "scenes-decoder", "scenes")


def train_recipe(
    recipe: str,
    preset: Preset,
    paths: Paths,
    overrides: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train one recipe, or go on with it, and write its finished weights.

    Args:
        recipe: one of `RECIPES`; `denoiser` needs finished `clip` and `vae`.
        preset: sizes and settings.
        paths: where things go.
        overrides: fields of `Settings` that differ from the preset's.
        progress: show a progress bar.

    Returns:
        The figures of `course_utils.training.loop.train`; empty in processes other than the first.

    Raises:
        ValueError: no such recipe.
        WeightsError: weights that this recipe needs are missing.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe is {recipe!r}; expected one of {', '.join(RECIPES)}.")
    settings = dataclasses.replace(preset.settings[recipe], **(overrides or {}))
    settings = split_batch(settings)
    task = BUILDERS[recipe](preset, paths, settings)
    result = train(task, settings, paths.runs / recipe, progress)
    if result:
        FINISHERS[recipe](task, preset, paths)
    return result


def split_batch(settings: Settings) -> Settings:
    """The part of the batch that one of several processes works on."""
    from accelerate import PartialState

    processes = PartialState(cpu=shares_cpu()).num_processes
    if settings.batch_size % processes:
        raise ValueError(
            f"batch_size is {settings.batch_size}; expected a multiple of {processes} processes."
        )
    return dataclasses.replace(settings, batch_size=settings.batch_size // processes)


# --- clip and judge --------------------------------------------------------------------------


def make_tokenizer(preset: Preset) -> Tokenizer:
    """Learn a vocabulary from 20,000 captions; the CPU's also knows the words of `core`."""
    subset = "core" if preset.clip_subset == "iconic" else preset.clip_subset
    captions = CaptionedEmoji(subset).sample_captions(20_000, torch.Generator().manual_seed(0))
    return Tokenizer.train(captions, preset.vocab_size, model_max_length=32)


def _build_clip(preset: Preset, paths: Paths, settings: Settings) -> CLIPTask:
    return _clip_task("clip", preset, preset.text, preset.tower, 0.3, settings)


def _build_judge(preset: Preset, paths: Paths, settings: Settings) -> CLIPTask:
    return _clip_task("judge", preset, preset.judge_text, preset.judge_tower, 0.7, settings)


def _clip_task(
    name: str,
    preset: Preset,
    text: Mapping[str, Any],
    tower: ConvConfig,
    strength: float,
    settings: Settings,
) -> CLIPTask:
    tokenizer = make_tokenizer(preset)
    torch.manual_seed(settings.seed)
    config = TextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        **text,
    )
    clip = CLIP(CLIPConfig(config, tower, config.projection_dim))
    is_judge = name == "judge"
    subset = preset.judge_subset if is_judge else preset.clip_subset
    bank = None
    if preset.caption_bank:
        data = CaptionedEmoji(subset)
        bank = CaptionBank(data, tokenizer, preset.caption_bank, settings.seed)
    batch_size = settings.batch_size
    return CLIPTask(clip, tokenizer, subset, batch_size, strength, name, is_judge, bank)


def _finish_clip(task: CLIPTask, preset: Preset, paths: Paths) -> None:
    """The text tower goes into the pipeline; the whole CLIP goes beside it, for the lessons."""
    assert isinstance(task.model, CLIP)
    task.model.text_model.save_pretrained(paths.pipeline / "text_encoder", torch.float16)
    task.tokenizer.save_pretrained(paths.pipeline / "tokenizer")
    folder = paths.pipeline.with_name("clip")
    task.model.save_pretrained(folder, torch.float16)
    task.tokenizer.save_pretrained(folder / "tokenizer")
    write_json(folder / "concepts.json", describe_data(preset.clip_subset))


def _finish_judge(task: CLIPTask, preset: Preset, paths: Paths) -> None:
    assert isinstance(task.model, CLIP)
    task.model.save_pretrained(paths.judge, torch.float16)
    task.tokenizer.save_pretrained(paths.judge / "tokenizer")
    write_json(paths.judge / "concepts.json", describe_data(preset.judge_subset))


# --- vae -------------------------------------------------------------------------------------


def _build_vae(preset: Preset, paths: Paths, settings: Settings) -> VAETask:
    torch.manual_seed(settings.seed)
    levels = len(preset.vae_channels)
    vae = VAE(
        block_out_channels=preset.vae_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        norm_num_groups=preset.vae_groups,
        sample_size=64,
        scaling_factor=1.0,  # measured when the weights are finished
    )
    keep_signal(vae)
    return VAETask(vae, preset.subset, settings.batch_size, preset.vae_whole_from)


@torch.no_grad()
def _finish_vae(task: VAETask, preset: Preset, paths: Paths) -> None:
    """Measure `scaling_factor` = 1 / standard deviation of the latents, and save."""
    vae = task.model
    assert isinstance(vae, VAE)
    data, generator = task.data, torch.Generator().manual_seed(0)
    latents = torch.cat(
        [
            vae.encode(data.sample_batch(64, generator).images.to(vae.device)).mode()
            for _ in range(8)
        ]
    )
    factor = round(1.0 / float(latents.std()), 5)
    vae.config = dataclasses.replace(vae.config, scaling_factor=factor)
    vae.save_pretrained(paths.pipeline / "vae", torch.float16)


def _build_decoder(preset: Preset, paths: Paths, settings: Settings) -> DecoderTask:
    vae = VAE.from_pretrained(paths.pipeline / "vae")
    return DecoderTask(vae, preset.subset, settings.batch_size)


def _finish_decoder(task: DecoderTask, preset: Preset, paths: Paths) -> None:
    """Save the VAE; encoder and `scaling_factor` are as they were."""
    assert isinstance(task.model, VAE)
    task.model.save_pretrained(paths.pipeline / "vae", torch.float16)


# --- denoiser --------------------------------------------------------------------------------


def _build_denoiser(preset: Preset, paths: Paths, settings: Settings) -> DenoiserTask:
    vae = VAE.from_pretrained(paths.pipeline / "vae")
    encoder = TextEncoder.from_pretrained(paths.pipeline / "text_encoder")
    tokenizer = Tokenizer.from_pretrained(paths.pipeline / "tokenizer")
    if torch.cuda.is_available():
        vae, encoder = vae.cuda(), encoder.cuda()
    data = CaptionedEmoji(preset.subset)
    if torch.cuda.is_available():
        data.to("cuda")
    cache = paths.runs / "captions.safetensors"
    bank = build_bank(data, vae, encoder, tokenizer, preset.bank_size, settings.seed, cache)
    with torch.no_grad():
        prompts = preview_prompts(data, 16)
        states = encoder(tokenizer(prompts).to(encoder.device))
    torch.manual_seed(settings.seed)
    unet = UNet(
        sample_size=8,
        block_out_channels=preset.unet_channels,
        down_block_types=("CrossAttnDownBlock2D",) * len(preset.unet_channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(preset.unet_channels),
        layers_per_block=1,
        cross_attention_dim=encoder.config.hidden_size,
        attention_head_dim=preset.unet_heads,
        norm_num_groups=preset.unet_groups,
    )
    return DenoiserTask(unet, bank, make_schedule(), settings.batch_size, preview=(vae, states))


def _finish_denoiser(task: DenoiserTask, preset: Preset, paths: Paths) -> None:
    """Save the U-Net, the schedule and what makes the folder a pipeline."""
    assert isinstance(task.model, UNet)
    task.model.save_pretrained(paths.pipeline / "unet", torch.float16)
    make_schedule().save(paths.pipeline / "scheduler")
    write_json(paths.pipeline / "concepts.json", describe_data(preset.subset))
    write_json(paths.pipeline / "model_index.json", model_index("DDIMScheduler"))


def describe_data(subset: str) -> dict[str, Any]:
    """What the weights know: concepts, styles, backgrounds, held-out pairs, words."""
    data = CaptionedEmoji(subset)
    held_out = CaptionedEmoji(subset, split="held_out")
    captions = data.sample_captions(20_000, torch.Generator().manual_seed(0))
    words = {w for caption in captions for w in re.findall(r"\w+", caption)}
    concepts = data.concepts
    return {
        "subset": subset,
        "concepts": [{"name": c.name, "synonyms": list(c.synonyms)} for c in concepts],
        "styles": list(STYLES),
        "backgrounds": list(BACKGROUND_NAMES),
        "held_out": [[concepts[c].name, STYLES[s]] for c, s in held_out.pairs],
        "words": sorted(words),
    }


def sha256(path: str | Path) -> str:
    """Hexadecimal digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


BUILDERS: dict[str, Callable[[Preset, Paths, Settings], Any]] = {
    "clip": _build_clip,
    "judge": _build_judge,
    "vae": _build_vae,
    "decoder": _build_decoder,
    "denoiser": _build_denoiser,
    "scenes-decoder": build_scenes_decoder,
    "scenes": build_scenes,
}
FINISHERS: dict[str, Callable[[Any, Preset, Paths], None]] = {
    "clip": _finish_clip,
    "judge": _finish_judge,
    "vae": _finish_vae,
    "decoder": _finish_decoder,
    "denoiser": _finish_denoiser,
    "scenes-decoder": finish_scenes_decoder,
    "scenes": finish_scenes,
}
