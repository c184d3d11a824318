"""Recipes `scenes-decoder` and `scenes`: the second bundled model, `scenes-64`.

Both start from a VAE of `emoji-64`: the run's own, or the shipped one. `scenes` starts from random
weights, or with `course train scenes --start-from course_utils/weights/emoji-64` from a model that
draws the things already, and learns where and how many. Measured on the 32 things of `scenes`: a
v-loss of 0.45 took about 5,000 samples from there, 55,000 from random weights.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import torch

from course_utils.data.captions import STYLES
from course_utils.data.places import LIGHTS, PLACES
from course_utils.data.scene_captions import nouns, say
from course_utils.data.scenes import World
from course_utils.files import write_json
from course_utils.hub import model_index
from course_utils.models import VAE, TextEncoder, Tokenizer, UNet
from course_utils.models.clip import TextConfig
from course_utils.training.loop import Settings
from course_utils.training.presets import Paths, Preset
from course_utils.training.scenes import (
    Painter,
    SceneDecoderTask,
    SceneTask,
    build_scene_bank,
    preview_scenes,
)
from course_utils.training.schedule import make_schedule

SHIPPED = Path(__file__).resolve().parents[1] / "weights"
CAPTIONS = 24_000  # from which the vocabulary is learnt


def build_scenes_decoder(preset: Preset, paths: Paths, settings: Settings) -> SceneDecoderTask:
    """The VAE with a decoder that goes on training, on scenes."""
    return SceneDecoderTask(_vae(paths), World(preset.scenes.subset), settings.batch_size)


def finish_scenes_decoder(task: SceneDecoderTask, preset: Preset, paths: Paths) -> None:
    """Save the VAE; its encoder and `scaling_factor` are those of `emoji-64`."""
    assert isinstance(task.model, VAE)
    task.model.save_pretrained(paths.scenes / "vae", torch.float16)


def build_scenes(preset: Preset, paths: Paths, settings: Settings) -> SceneTask:
    """A U-Net and its text encoder, on a bank of latents that is made or found in the run."""
    sizes = preset.scenes
    world = World(sizes.subset)
    vae = _vae(paths)
    if torch.cuda.is_available():
        vae, world = vae.cuda(), world.to("cuda")
    tokenizer, painter = _start(preset, paths, world, settings.seed)
    bank = build_scene_bank(
        world,
        vae,
        tokenizer,
        sizes.bank_size,
        sizes.captions,
        settings.seed,
        paths.runs / "scenes-bank.safetensors",
    )
    ids = tokenizer(preview_scenes(world, 32))
    preview = (_vae(paths, finished=True), ids)
    task = SceneTask(
        painter,
        bank,
        make_schedule(),
        settings.batch_size,
        sizes.wrong_captions,
        preview=preview,
    )
    task.tokenizer, task.world = tokenizer, world
    return task


def finish_scenes(task: SceneTask, preset: Preset, paths: Paths) -> None:
    """Save a whole pipeline in diffusers' layout."""
    assert isinstance(task.model, Painter)
    assert task.tokenizer is not None and task.world is not None
    folder = paths.scenes
    task.model.unet.save_pretrained(folder / "unet", torch.float16)
    task.model.text_encoder.save_pretrained(folder / "text_encoder", torch.float16)
    task.tokenizer.save_pretrained(folder / "tokenizer")
    _vae(paths, finished=True).save_pretrained(folder / "vae", torch.float16)
    make_schedule().save(folder / "scheduler")
    write_json(folder / "concepts.json", describe_world(task.world, preset))
    write_json(folder / "model_index.json", model_index("DDIMScheduler"))


def describe_world(world: World, preset: Preset) -> dict[str, Any]:
    """What the weights know: things, places, lights, held-out pairs, words."""
    concepts = world.concepts
    rng = Random("words")
    said = [say(scene, concepts, rng) for scene in world.draw(CAPTIONS, rng)]
    known = {(concepts[c].name, s) for c, s in world.pairs}
    held_out = [
        [c.name, s] for c in concepts for s in STYLES if s in c.styles and (c.name, s) not in known
    ]
    return {
        "subset": world.subset,
        "kind": "scenes",
        "concepts": [{"name": c.name, "synonyms": list(nouns(c))} for c in concepts],
        "styles": list(STYLES),
        "backgrounds": list(PLACES),
        "lights": list(LIGHTS),
        "held_out": held_out,
        "held_out_places": [[concepts[c].name, place] for c, place in world.held_out_places()],
        "wrong_captions": preset.scenes.wrong_captions,
        "mix": asdict(world.mix),
        "words": sorted({word for text in said for word in re.findall(r"\w+", text)}),
    }


def _vae(paths: Paths, finished: bool = False) -> VAE:
    """The VAE of this run: on scenes if that is finished and asked for, else of `emoji-64`."""
    folders = [paths.pipeline / "vae", SHIPPED / "emoji-64" / "vae"]
    if finished:
        folders.insert(0, paths.scenes / "vae")
    folder = next((f for f in folders if (f / "config.json").is_file()), folders[-1])
    return VAE.from_pretrained(folder).eval()


def _start(preset: Preset, paths: Paths, world: World, seed: int) -> tuple[Tokenizer, Painter]:
    """Tokenizer and networks: new, or those of the folder that the run goes on from."""
    sizes = preset.scenes
    if paths.start is not None:
        tokenizer = Tokenizer.from_pretrained(paths.start / "tokenizer")
        encoder = TextEncoder.from_pretrained(paths.start / "text_encoder")
        return tokenizer, Painter(UNet.from_pretrained(paths.start / "unet"), encoder)
    rng = Random(seed)
    said = [say(scene, world.concepts, rng) for scene in world.draw(CAPTIONS, rng)]
    tokenizer = Tokenizer.train(said, sizes.vocab_size, model_max_length=32)
    torch.manual_seed(seed)
    config = TextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        **sizes.text,
    )
    levels = len(sizes.unet_channels)
    unet = UNet(
        sample_size=8,
        block_out_channels=sizes.unet_channels,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        layers_per_block=1,
        cross_attention_dim=config.hidden_size,
        attention_head_dim=sizes.unet_heads,
        norm_num_groups=sizes.unet_groups,
    )
    return tokenizer, Painter(unet, TextEncoder(config))
