"""What is measured: the bundled pipeline, or one of its size with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from course_utils.hub import DEFAULT_MODEL, SCHEDULERS, bundled_folder
from course_utils.models import VAE, TextEncoder, Tokenizer, UNet
from course_utils.pipeline import DEFAULT_SAMPLER, Pipeline
from course_utils.schedules import NoiseSchedule

PROMPT = "a cat face, 3d style, on a blue background"
STEPS, GUIDANCE, SEED = 25, 2.5, 7


@dataclass(frozen=True)
class Subject:
    """A pipeline folder, opened by both sides.

    Attributes:
        folder: in diffusers' layout.
        weights: a sentence that says what the weights are.
        ours: opened by this course.
        device: where it runs.
    """

    folder: Path
    weights: str
    ours: Pipeline
    device: torch.device

    def theirs(self) -> Any:
        """`StableDiffusionPipeline` of the same folder, walking as our default sampler does."""
        import diffusers
        import transformers

        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(self.folder, dtype=torch.float32)
        kind = SCHEDULERS[DEFAULT_SAMPLER]
        config = self.ours.schedule.to_config(kind)
        pipe.scheduler = getattr(diffusers, kind).from_config(config)
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(self.device)


def find_subject(scratch: Path, device: torch.device) -> Subject:
    """The bundled weights; where they are missing, random ones of their size in `scratch`."""
    folder = bundled_folder(DEFAULT_MODEL)
    weights = f"bundled weights {DEFAULT_MODEL}"
    if not (folder / "model_index.json").is_file():
        folder = random_pipeline().save(scratch / "random")
        weights = "random weights (the bundled ones are missing) of the cpu preset's size"
    return Subject(folder, weights, Pipeline.load(folder, device), device)


def random_pipeline() -> Pipeline:
    """Networks of the `cpu` preset's size that were never trained."""
    torch.manual_seed(0)
    words = Tokenizer.train([PROMPT], vocab_size=600, model_max_length=32)
    text = TextEncoder(
        vocab_size=len(words),
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=32,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.eos_token_id,
    )
    unet = UNet(
        sample_size=8,
        block_out_channels=(96, 192),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        cross_attention_dim=192,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    vae = VAE(
        block_out_channels=(16, 32, 64, 128),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=1.0,
    )
    schedule = NoiseSchedule.scaled_linear(
        0.00085, 0.012, prediction_type="v_prediction", timestep_spacing="trailing"
    ).rescale_zero_terminal_snr()
    return Pipeline(unet, vae, text, words, schedule, name="random")
