"""What is trained, on what, for how long: the recipes behind the shipped weights.

    clip      pictures and captions -> text tower (the conditioner), kept whole for the lessons
    judge     another CLIP, of another shape and seed, that only ever evaluates
    vae       pictures -> latents -> pictures
    decoder   goes on with the vae's decoder, from the same latents
    denoiser  needs clip and vae: noisy latents and words -> latents

Presets: `smoke` proves in seconds that the chain holds together; `cpu` teaches 40 concepts in two
hours on two cores; `gpu` made the shipped weights, 804 concepts, in minutes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from course_utils.data.captions import STYLES
from course_utils.data.emoji import BACKGROUND_NAMES, CaptionedEmoji
from course_utils.files import write_atomically
from course_utils.hub import model_index
from course_utils.models import CLIP, VAE, TextEncoder, Tokenizer, UNet
from course_utils.models.clip import CLIPConfig, ConvConfig, TextConfig
from course_utils.schedules import NoiseSchedule
from course_utils.training.bank import CaptionBank
from course_utils.training.clip import CLIPTask
from course_utils.training.denoiser import DenoiserTask, build_bank, preview_prompts
from course_utils.training.init import keep_signal
from course_utils.training.loop import Settings, train
from course_utils.training.processes import shares_cpu
from course_utils.training.vae import DecoderTask, VAETask

RECIPES = ("clip", "judge", "vae", "decoder", "denoiser")
JUDGE_SEED = 1000  # the judge's own: weights, batches, captions and augmentation all differ


@dataclass(frozen=True)
class Preset:
    """Sizes and settings of one way to train everything.

    Attributes:
        subset: the concepts of vae and denoiser, see `course_utils/data/subsets`.
        clip_subset: the concepts of clip; more, where that is cheap.
        judge_subset: the concepts of the judge.
        vocab_size: tokens of the byte-pair vocabulary.
        text, judge_text: fields of `TextConfig` that differ from its defaults.
        tower, judge_tower: image towers.
        vae_channels, unet_channels: widths of the levels.
        vae_groups, unet_groups: groups of their normalisations.
        vae_whole_from: the step from which the VAE sees whole pictures and no crops.
        unet_heads: attention heads.
        bank_size: captioned pictures that the denoiser learns from.
        settings: how each recipe is trained.
        caption_bank: captions that clip and judge cut into tokens beforehand, for each picture; 0
            draws new ones at every step.
    """

    subset: str
    clip_subset: str
    judge_subset: str
    vocab_size: int
    text: Mapping[str, Any]
    judge_text: Mapping[str, Any]
    tower: ConvConfig
    judge_tower: ConvConfig
    vae_channels: tuple[int, ...]
    unet_channels: tuple[int, ...]
    vae_groups: int
    vae_whole_from: int
    unet_heads: int
    unet_groups: int
    bank_size: int
    settings: Mapping[str, Settings]
    caption_bank: int = 0


def _text(width: int, layers: int, act: str = "quick_gelu") -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "hidden_act": act,
        "max_position_embeddings": 32,
        "projection_dim": 128,
    }


CPU = Preset(
    subset="starter",
    clip_subset="iconic",
    judge_subset="core",
    vocab_size=1024,
    text=_text(192, 3),
    judge_text=_text(128, 2, "gelu"),
    tower=ConvConfig((32, 64, 128, 192), 1, 192),
    judge_tower=ConvConfig((48, 96, 128, 160), 1, 256),
    vae_channels=(16, 32, 64, 128),
    unet_channels=(96, 192),
    vae_groups=4,
    vae_whole_from=2800,
    unet_heads=4,
    unet_groups=8,
    bank_size=40_000,
    settings={
        "clip": Settings(500, 96, 1e-3, 50, 0.4, 0.05, ema_decay=0.99, log_every=10),
        "judge": Settings(
            1300, 128, 1e-3, 50, 0.4, 0.05, ema_decay=0.99, log_every=10, seed=JUDGE_SEED
        ),
        "vae": Settings(3300, 16, 1e-3, 100, 0.4, 0.0, ema_decay=0.998, sample_every=500),
        "decoder": Settings(500, 16, 5e-4, 50, 0.4, 0.0, ema_decay=0.995),
        "denoiser": Settings(3800, 32, 1e-3, 100, 0.3, 0.01, ema_decay=0.998, sample_every=500),
    },
)

SMOKE = Preset(
    subset="smoke",
    clip_subset="smoke",
    judge_subset="smoke",
    vocab_size=600,
    text=_text(32, 1) | {"projection_dim": 16},
    judge_text=_text(16, 1, "gelu") | {"projection_dim": 16},
    tower=ConvConfig((8, 8, 16), 1, 16),
    judge_tower=ConvConfig((8, 16), 1, 16),
    vae_channels=(4, 4, 8, 8),
    unet_channels=(8, 16),
    vae_groups=2,
    vae_whole_from=3,
    unet_heads=2,
    unet_groups=4,
    bank_size=64,
    settings={
        "clip": Settings(6, 8, 1e-3, 2, log_every=2),
        "judge": Settings(6, 8, 1e-3, 2, log_every=2, seed=JUDGE_SEED),
        "vae": Settings(6, 4, 1e-3, 2, log_every=2),
        "decoder": Settings(2, 4, 1e-3, 2, log_every=2),
        "denoiser": Settings(6, 8, 1e-3, 2, log_every=2),
    },
)

GPU = Preset(
    subset="everyday",
    clip_subset="everyday",
    judge_subset="everyday",
    vocab_size=3072,
    text=_text(256, 4),
    judge_text=_text(128, 2, "gelu"),
    tower=ConvConfig((32, 64, 128, 256), 1, 256),
    judge_tower=ConvConfig((48, 96, 160, 224), 1, 256),
    vae_channels=(32, 64, 128, 128),
    unet_channels=(128, 256),
    vae_groups=8,
    vae_whole_from=0,
    unet_heads=4,
    unet_groups=8,
    bank_size=500_000,
    caption_bank=12,
    settings={
        "clip": Settings(4_324, 512, 1e-3, 300, 0.4, 0.05, ema_decay=0.998, compile=True),
        "judge": Settings(
            5_208, 512, 1e-3, 300, 0.4, 0.05, ema_decay=0.998, seed=JUDGE_SEED, compile=True
        ),
        "vae": Settings(3_009, 128, 1e-3, 300, 0.4, 0.0, ema_decay=0.999, compile=True),
        "decoder": Settings(6_832, 128, 7e-4, 200, 0.5, 0.0, ema_decay=0.998, compile=True),
        "denoiser": Settings(
            7_104, 1024, 1e-3, 500, 0.4, 0.01, ema_decay=0.9995, log_every=50, compile=True
        ),
    },
)

PRESETS: dict[str, Preset] = {"smoke": SMOKE, "cpu": CPU, "gpu": GPU}


@dataclass(frozen=True)
class Paths:
    """Where a run keeps checkpoints and logs, and where finished weights go."""

    runs: Path
    pipeline: Path
    judge: Path

    @classmethod
    def under(cls, runs: str | Path, weights: str | Path) -> Paths:
        """The usual names below two folders."""
        return cls(Path(runs), Path(weights) / "emoji-64", Path(weights) / "judge")


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
    _write_json(folder / "concepts.json", describe_data(preset.clip_subset))


def _finish_judge(task: CLIPTask, preset: Preset, paths: Paths) -> None:
    assert isinstance(task.model, CLIP)
    task.model.save_pretrained(paths.judge, torch.float16)
    task.tokenizer.save_pretrained(paths.judge / "tokenizer")
    _write_json(paths.judge / "concepts.json", describe_data(preset.judge_subset))


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


def make_schedule() -> NoiseSchedule:
    """Stable Diffusion's betas with zero terminal SNR, and v prediction.

    With a terminal SNR of zero the first step starts from pure noise in training as in sampling, so
    that plain backgrounds come out in their colour (Lin et al. 2024, "Common diffusion noise
    schedules and sample steps are flawed"); epsilon cannot be predicted there, v can (Salimans and
    Ho 2022).
    """
    schedule = NoiseSchedule.scaled_linear(
        0.00085, 0.012, prediction_type="v_prediction", timestep_spacing="trailing"
    )
    return schedule.rescale_zero_terminal_snr()


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
    _write_json(paths.pipeline / "concepts.json", describe_data(preset.subset))
    _write_json(paths.pipeline / "model_index.json", model_index("DDIMScheduler"))


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


def _write_json(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())


BUILDERS: dict[str, Callable[[Preset, Paths, Settings], Any]] = {
    "clip": _build_clip,
    "judge": _build_judge,
    "vae": _build_vae,
    "decoder": _build_decoder,
    "denoiser": _build_denoiser,
}
FINISHERS: dict[str, Callable[[Any, Preset, Paths], None]] = {
    "clip": _finish_clip,
    "judge": _finish_judge,
    "vae": _finish_vae,
    "decoder": _finish_decoder,
    "denoiser": _finish_denoiser,
}
