"""Sizes and settings of every recipe, for seconds, hours on a CPU, minutes on a GPU; and paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils.models.clip import ConvConfig
from course_utils.training.loop import Settings

JUDGE_SEED = 1000  # the judge's own: weights, batches, captions and augmentation all differ


@dataclass(frozen=True)
class ScenePreset:
    """What `scenes-64` knows, and the sizes of its networks.

    Attributes:
        subset: the things.
        vocab_size: tokens of the byte-pair vocabulary.
        text: fields of `TextConfig` that differ from its defaults.
        unet_channels: widths of the levels.
        unet_heads, unet_groups: attention heads; groups of the normalisations.
        bank_size: pictures that it learns from.
        captions: true captions for each.
        wrong_captions: share of captions that are vague or belong to another picture.
    """

    subset: str
    vocab_size: int
    text: Mapping[str, Any]
    unet_channels: tuple[int, ...]
    unet_heads: int
    unet_groups: int
    bank_size: int
    captions: int = 4
    wrong_captions: float = 0.3


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
        scenes: what `scenes-decoder` and `scenes` teach.
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
    scenes: ScenePreset
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
        "scenes-decoder": Settings(6000, 16, 6e-4, 50, 0.5, 0.0, ema_decay=0.998, sample_every=500),
        "scenes": Settings(60_000, 32, 1e-3, 200, 0.3, 0.01, ema_decay=0.999, sample_every=2000),
    },
    scenes=ScenePreset("scenes", 2048, _text(160, 3), (80, 160), 4, 8, 98_304),
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
        "scenes-decoder": Settings(2, 4, 1e-3, 2, log_every=2),
        "scenes": Settings(6, 8, 1e-3, 2, log_every=2),
    },
    scenes=ScenePreset("smoke", 600, _text(32, 1), (8, 16), 2, 4, 64, captions=2),
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
        "scenes-decoder": Settings(4_000, 128, 7e-4, 200, 0.5, 0.0, ema_decay=0.998, compile=True),
        "scenes": Settings(
            9_000, 1024, 1e-3, 500, 0.4, 0.01, ema_decay=0.9995, log_every=50, compile=True
        ),
    },
    scenes=ScenePreset("everyday", 4096, _text(192, 4), (96, 192), 4, 8, 200_000, captions=3),
)

PRESETS: dict[str, Preset] = {"smoke": SMOKE, "cpu": CPU, "gpu": GPU}


@dataclass(frozen=True)
class Paths:
    """Where a run keeps checkpoints and logs, and where finished weights go.

    Attributes:
        runs: checkpoints and logs, a folder for each recipe.
        pipeline: finished weights of `emoji-64`.
        judge: of the judge.
        scenes: of `scenes-64`.
        start: a pipeline's folder whose weights `scenes` goes on from, instead of random ones.
    """

    runs: Path
    pipeline: Path
    judge: Path
    scenes: Path
    start: Path | None = None

    @classmethod
    def under(cls, runs: str | Path, weights: str | Path, start: Path | None = None) -> Paths:
        """The usual names below two folders."""
        weights = Path(weights)
        pipeline, judge, scenes = (weights / n for n in ("emoji-64", "judge", "scenes-64"))
        return cls(Path(runs), pipeline, judge, scenes, start)
