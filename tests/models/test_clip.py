"""The text tower and CLIP against transformers' `CLIPTextModel` and `CLIPModel`."""

import math
from typing import Any

import pytest
import torch
from parity import SD15_TEXT, TOLERANCE, assert_same_function, fill_full_size, noise, shapes
from torch.testing import assert_close
from transformers import CLIPConfig as TheirConfig
from transformers import CLIPModel, CLIPTextConfig, CLIPTextModel

from course_utils.models import CLIP, ConvImageEncoder, TextEncoder
from course_utils.models.clip import ConvConfig, contrastive_loss

TEXT: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 8,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 7,
    "projection_dim": 6,
    "bos_token_id": 48,
    "eos_token_id": 49,
}
TEXTS = {
    "small": TEXT,
    "gelu, one head": TEXT | {"hidden_act": "gelu", "num_attention_heads": 1},
    "odd sizes": TEXT | {"hidden_size": 15, "num_attention_heads": 5, "layer_norm_eps": 1e-3},
    "old end token": TEXT | {"eos_token_id": 2, "num_hidden_layers": 1},
}
VISION: dict[str, Any] = {
    "hidden_size": 12,
    "intermediate_size": 18,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 12,
    "patch_size": 4,
    "projection_dim": 6,
}
VISIONS = {
    "small": VISION,
    "gelu, grey": VISION | {"hidden_act": "gelu", "num_channels": 1},
    "ragged patches": VISION | {"image_size": 15, "num_attention_heads": 1},
}


def prompts(length: int = 7, end: int = 49) -> torch.Tensor:
    """Three rows of ids with the end token at different places, and again as padding."""
    ids = torch.randint(3, 48, (3, length), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = 48
    for row, stop in enumerate((2, length - 1, 4)):
        ids[row, min(stop, length - 1) :] = end
    return ids


@pytest.mark.parametrize("name", TEXTS)
def test_text_states_and_pool_agree_both_ways(name: str) -> None:
    theirs = CLIPTextModel(CLIPTextConfig(**TEXTS[name]))
    ours = TextEncoder(**TEXTS[name])
    ids = prompts()

    def run_ours(model: Any) -> torch.Tensor:
        states = model(ids)
        return torch.cat([states, model.pool(states, ids)[:, None]], dim=1)

    def run_theirs(model: Any) -> torch.Tensor:
        out = model(input_ids=ids)
        return torch.cat([out.last_hidden_state, out.pooler_output[:, None]], dim=1)

    assert_same_function(ours, theirs, run_ours, run_theirs)


@pytest.mark.parametrize("length", [1, 3])
def test_short_rows(length: int) -> None:
    theirs, ours = CLIPTextModel(CLIPTextConfig(**TEXT)), TextEncoder(**TEXT)
    ours.load_state_dict(theirs.state_dict())
    ids = prompts()[:, :length]
    assert_close(ours(ids), theirs(input_ids=ids).last_hidden_state, **TOLERANCE)


def test_a_state_does_not_see_what_comes_later() -> None:
    encoder = TextEncoder(**TEXT).eval()
    ids = prompts()
    changed = ids.clone()
    changed[:, 4:] = 7
    before, after = encoder(ids), encoder(changed)
    assert_close(before[:, :4], after[:, :4])
    assert (before[:, 5:] - after[:, 5:]).abs().max() > 1e-4


def test_too_many_tokens() -> None:
    with pytest.raises(ValueError, match=r"8 tokens.*at most 7"):
        TextEncoder(**TEXT)(torch.zeros(1, 8, dtype=torch.int64))


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("text", ["small", "old end token"])
def test_clip_agrees_both_ways(text: str, vision: str) -> None:
    fields = {"text_config": TEXTS[text], "vision_config": VISIONS[vision], "projection_dim": 5}
    theirs = CLIPModel(TheirConfig(**fields))
    ours = CLIP.from_config(theirs.config.to_dict())
    ids = prompts()
    pixels = noise(3, VISIONS[vision].get("num_channels", 3), 12, 12)
    if vision == "ragged patches":
        pixels = noise(3, 3, 15, 15)

    def run_ours(model: Any) -> torch.Tensor:
        return torch.cat([model.embed_text(ids), model.embed_image(pixels), model(ids, pixels)], 1)

    def run_theirs(model: Any) -> torch.Tensor:
        out = model(input_ids=ids, pixel_values=pixels)
        return torch.cat([out.text_embeds, out.image_embeds, out.logits_per_image], 1)

    assert_same_function(ours, theirs, run_ours, run_theirs)
    loss = contrastive_loss(ours(ids, pixels))
    expected = theirs(input_ids=ids, pixel_values=pixels, return_loss=True).loss
    assert_close(loss, expected, **TOLERANCE)


def test_each_tower_alone() -> None:
    """The towers of `CLIPModel` are `CLIPTextModel` and `CLIPVisionModel`."""
    fields = {"text_config": TEXT, "vision_config": VISION}
    theirs = CLIPModel(TheirConfig(**fields))
    ours = CLIP.from_config(theirs.config.to_dict())
    ours.load_state_dict(theirs.state_dict())
    ids, pixels = prompts(), noise(2, 3, 12, 12)
    states = ours.text_model(ids)
    assert_close(states, theirs.text_model(input_ids=ids).last_hidden_state, **TOLERANCE)
    assert_close(
        ours.vision_model(pixels),
        theirs.vision_model(pixel_values=pixels).pooler_output,
        **TOLERANCE,
    )
    alone = TextEncoder.from_config(theirs.config.text_config.to_dict())
    alone.load_state_dict(theirs.text_model.state_dict())
    assert_close(alone(ids), states)


def test_builds_from_the_configuration_that_transformers_writes() -> None:
    theirs = CLIPTextConfig(**TEXT)
    ours = TextEncoder.from_config(theirs.to_dict())
    assert shapes(ours) == shapes(CLIPTextModel(theirs))
    for field, value in TEXT.items():
        assert getattr(ours.config, field) == value
    assert TextEncoder.from_config(ours.to_config()).config == ours.config
    both = {"text_config": TEXT, "vision_config": VISION, "logit_scale_init_value": 1.5}
    clip = CLIP.from_config(TheirConfig(**both).to_dict())
    assert CLIP.from_config(clip.to_config()).config == clip.config
    assert clip.logit_scale.item() == 1.5
    assert shapes(CLIPModel(TheirConfig(**clip.to_config()))) == shapes(clip)


def test_conv_tower() -> None:
    config = ConvConfig(channels=(8, 12), blocks=2, hidden_size=10, norm_num_groups=4)
    tower = ConvImageEncoder(config)
    pixels = noise(2, 3, 16, 16)
    out = tower(pixels)
    assert out.shape == (2, 10)
    assert_close(tower(pixels[1:]), out[1:], **TOLERANCE)
    out.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in tower.parameters())
    clip = CLIP.from_config(
        {"text_config": TEXT, "vision_config": {"channels": [8, 12], "norm_num_groups": 4}}
    )
    assert isinstance(clip.vision_model, ConvImageEncoder)
    assert CLIP.from_config(clip.to_config()).config == clip.config


def test_embeddings_are_unit_vectors() -> None:
    clip = CLIP.from_config({"text_config": TEXT, "vision_config": VISION})
    ids, pixels = prompts(), noise(3, 3, 12, 12)
    for vectors in (clip.embed_text(ids), clip.embed_image(pixels)):
        assert_close(vectors.norm(dim=1), torch.ones(3))
    cosines = clip.embed_image(pixels) @ clip.embed_text(ids).T
    assert_close(clip(ids, pixels), cosines / 0.07, atol=1e-3, rtol=1e-4)


def test_contrastive_loss_of_known_tables() -> None:
    assert_close(contrastive_loss(torch.zeros(4, 4)), torch.tensor(math.log(4)))
    assert contrastive_loss(50.0 * torch.eye(3)) < 1e-6
    assert_close(contrastive_loss(torch.zeros(1, 1)), torch.tensor(0.0))


@pytest.mark.parametrize(("field", "value"), [("hidden_act", "relu"), ("num_attention_heads", 3)])
def test_what_is_not_built_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        TextEncoder.from_config(TEXT | {field: value})
    with pytest.raises(ValueError, match=field):
        CLIP.from_config({"text_config": TEXT | {field: value}, "vision_config": VISION})
    with pytest.raises(ValueError, match="hidden_act"):
        CLIP.from_config({"text_config": TEXT, "vision_config": VISION | {"hidden_act": "relu"}})


def test_an_unknown_argument_lists_the_known_ones() -> None:
    with pytest.raises(TypeError, match=r"'width'.*hidden_size"):
        TextEncoder(width=8)


def test_stable_diffusion_names_and_shapes() -> None:
    with torch.device("meta"):
        ours = TextEncoder.from_config(SD15_TEXT)
        theirs = CLIPTextModel(CLIPTextConfig(**SD15_TEXT))
    assert shapes(ours) == shapes(theirs)
    assert sum(p.numel() for p in ours.parameters()) == 123_060_480


def test_stable_diffusion_forward() -> None:
    with torch.device("meta"):
        ours = TextEncoder.from_config(SD15_TEXT)
        theirs = CLIPTextModel(CLIPTextConfig(**SD15_TEXT))
    fill_full_size(ours, theirs)
    # A buffer that is not saved: what the meta device left empty is filled in by hand.
    theirs.embeddings.position_ids = torch.arange(77)[None]
    ids = torch.randint(0, 49406, (1, 11), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, 8:] = 49406, 49407
    with torch.no_grad():
        out, expected = ours(ids), theirs(input_ids=ids)
        assert_close(out, expected.last_hidden_state, **TOLERANCE)
        assert_close(ours.pool(out, ids), expected.pooler_output, **TOLERANCE)
    assert out.std() > 1e-2
