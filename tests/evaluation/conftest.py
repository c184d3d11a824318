"""A judge that is small enough for tests, with random weights."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from course_utils.data import BACKGROUNDS, STYLES, full_caption
from course_utils.models import CLIP, Tokenizer
from course_utils.models.clip import CLIPConfig, ConvConfig, TextConfig

CONCEPTS = ("cat face", "dog face", "red heart", "pizza", "rocket", "red apple", "star", "frog")


@functools.cache
def tiny_tokenizer() -> Tokenizer:
    captions = [full_caption(c, s, b) for c in CONCEPTS for s in STYLES for b in BACKGROUNDS]
    return Tokenizer.train(captions, vocab_size=560, model_max_length=24)


def tiny_clip(seed: int = 0) -> tuple[CLIP, Tokenizer]:
    tokenizer = tiny_tokenizer()
    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=24,
        projection_dim=12,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = CLIP(CLIPConfig(text, ConvConfig((8, 8), 1, 16), 12))
    return clip, tokenizer


def save_judge(folder: Path, seed: int = 0) -> Path:
    clip, tokenizer = tiny_clip(seed)
    clip.save_pretrained(folder)
    tokenizer.save_pretrained(folder / "tokenizer")
    concepts = {"subset": "core", "concepts": [{"name": name, "synonyms": []} for name in CONCEPTS]}
    (folder / "concepts.json").write_text(json.dumps(concepts), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def concepts() -> tuple[str, ...]:
    """What the judges of these tests know."""
    return CONCEPTS


@pytest.fixture(scope="session")
def make_judge() -> Callable[..., Path]:
    """Writes a judge with random weights: `make_judge(folder, seed=0) -> folder`."""
    return save_judge


@pytest.fixture
def judge_folder(tmp_path: Path) -> Path:
    """The folder of a judge with random weights."""
    return save_judge(tmp_path / "judge")
