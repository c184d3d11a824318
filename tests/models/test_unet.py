"""The U-Net against diffusers' `UNet2DConditionModel`."""

import math
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from parity import SD15_UNET, TOLERANCE, assert_same_function, fill_full_size, noise, shapes
from torch import Tensor
from torch.testing import assert_close

from course_utils.models import UNet
from course_utils.models.unet import UNetConfig, timestep_embedding

DOWN, CROSS_DOWN = "DownBlock2D", "CrossAttnDownBlock2D"
UP, CROSS_UP = "UpBlock2D", "CrossAttnUpBlock2D"

CONFIGS: dict[str, dict[str, Any]] = {
    "two levels, one layer": {
        "block_out_channels": (8, 16),
        "down_block_types": (DOWN, CROSS_DOWN),
        "up_block_types": (CROSS_UP, UP),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        "cross_attention_dim": 12,
    },
    "three levels, two layers, heads by level": {
        "block_out_channels": (8, 12, 16),
        "down_block_types": (CROSS_DOWN, DOWN, CROSS_DOWN),
        "up_block_types": (CROSS_UP, UP, CROSS_UP),
        "layers_per_block": 2,
        "attention_head_dim": (1, 3, 4),
        "norm_num_groups": 4,
        "cross_attention_dim": 6,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
    },
    "attends on one way only": {
        "block_out_channels": (8, 16),
        "down_block_types": (CROSS_DOWN, DOWN),
        "up_block_types": (UP, UP),
        "layers_per_block": 2,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
        "cross_attention_dim": 5,
        "freq_shift": 1,
    },
    "attends on the way up only, widths fall": {
        "block_out_channels": (16, 8),
        "down_block_types": (DOWN, DOWN),
        "up_block_types": (CROSS_UP, CROSS_UP),
        "layers_per_block": 1,
        "attention_head_dim": (4, 2),
        "norm_num_groups": 2,
        "cross_attention_dim": 9,
        "norm_eps": 1e-3,
        "flip_sin_to_cos": False,
    },
    "one level, three layers, other channels": {
        "block_out_channels": (8,),
        "down_block_types": (CROSS_DOWN,),
        "up_block_types": (CROSS_UP,),
        "layers_per_block": 3,
        "attention_head_dim": 1,
        "norm_num_groups": 1,
        "cross_attention_dim": 4,
        "in_channels": 5,
        "out_channels": 8,
    },
    "four levels as in Stable Diffusion": {
        "block_out_channels": (4, 8, 8, 12),
        "down_block_types": (CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, DOWN),
        "up_block_types": (UP, CROSS_UP, CROSS_UP, CROSS_UP),
        "layers_per_block": 2,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        "cross_attention_dim": 7,
    },
}
SMALL = CONFIGS["two levels, one layer"]


@pytest.mark.parametrize("name", CONFIGS)
def test_agrees_both_ways(name: str) -> None:
    fields = CONFIGS[name]
    theirs = UNet2DConditionModel(**fields)
    ours = UNet.from_config(dict(theirs.config))  # as diffusers writes it
    for field, value in fields.items():
        assert getattr(ours.config, field) == value
    t = torch.tensor([3, 981])
    text_states = noise(2, 5, fields["cross_attention_dim"], seed=1).requires_grad_()
    even, odd = (
        noise(2, fields.get("in_channels", 4), *size).requires_grad_() for size in ((8, 8), (7, 9))
    )

    def run_ours(model: Any) -> Tensor:
        return torch.cat([model(x_t, t, text_states).flatten() for x_t in (even, odd)])

    def run_theirs(model: Any) -> Tensor:
        return torch.cat([model(x_t, t, text_states).sample.flatten() for x_t in (even, odd)])

    assert_same_function(ours, theirs, run_ours, run_theirs)
    by_input, expected = (
        torch.autograd.grad(out.square().mean(), (even, odd, text_states))
        for out in (run_ours(ours), run_theirs(theirs))
    )
    assert_close(by_input, expected, **TOLERANCE)


@pytest.mark.parametrize("name", CONFIGS)
def test_diffusers_builds_from_the_configuration_that_we_write(name: str) -> None:
    with torch.device("meta"):
        ours = UNet(**CONFIGS[name])
        theirs = UNet2DConditionModel.from_config(ours.to_config())
    assert shapes(theirs) == shapes(ours)
    for field, value in CONFIGS[name].items():
        assert theirs.config[field] == value
    assert UNet.from_config(ours.to_config()).config == ours.config


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 16), (13, 1)])
def test_any_size_of_latents(size: tuple[int, int]) -> None:
    fields = CONFIGS["three levels, two layers, heads by level"]
    theirs, ours = UNet2DConditionModel(**fields), UNet(**fields)
    ours.load_state_dict(theirs.state_dict())
    x_t, t, text_states = noise(1, 4, *size), torch.tensor([500]), noise(1, 3, 6)
    with torch.no_grad():
        assert_close(ours(x_t, t, text_states), theirs(x_t, t, text_states).sample, **TOLERANCE)


def test_one_timestep_for_all() -> None:
    unet = UNet(**SMALL).eval()
    x_t, text_states = noise(3, 4, 8, 8), noise(3, 5, 12)
    with torch.no_grad():
        expected = unet(x_t, torch.tensor([250, 250, 250]), text_states)
        for t in (250, torch.tensor(250), torch.tensor([250])):
            assert_close(unet(x_t, t, text_states), expected)


def test_rows_of_a_batch_do_not_mix() -> None:
    unet = UNet(**SMALL).eval()
    x_t, t, text_states = noise(3, 4, 8, 8), torch.tensor([1, 400, 999]), noise(3, 5, 12)
    with torch.no_grad():
        together = unet(x_t, t, text_states)
        alone = [unet(x_t[i : i + 1], t[i : i + 1], text_states[i : i + 1]) for i in range(3)]
    assert_close(together, torch.cat(alone), **TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_floating_types(dtype: torch.dtype) -> None:
    theirs, ours = UNet2DConditionModel(**SMALL).to(dtype), UNet(**SMALL).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    x_t, text_states = noise(2, 4, 8, 8).to(dtype), noise(2, 5, 12).to(dtype)
    t = torch.tensor([10, 900])
    with torch.no_grad():
        out = ours(x_t, t, text_states)
        assert out.dtype == dtype
        assert_close(out, theirs(x_t, t, text_states).sample)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("shift", [0, 1])
def test_timestep_embedding_is_the_papers_formula(flip: bool, shift: int) -> None:
    dim, t = 12, 731
    half = dim // 2
    angles = [t / 10_000 ** (i / (half - shift)) for i in range(half)]
    sines, cosines = [math.sin(a) for a in angles], [math.cos(a) for a in angles]
    expected = torch.tensor([*cosines, *sines] if flip else [*sines, *cosines])
    out = timestep_embedding(torch.tensor([t]), dim, flip, shift)
    assert_close(out[0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("act_fn", "gelu"),
        ("addition_embed_type", "text"),
        ("attention_type", "gated"),
        ("center_input_sample", True),
        ("class_embed_type", "timestep"),
        ("conv_in_kernel", 5),
        ("cross_attention_norm", "layer_norm"),
        ("down_block_types", ["DownBlock2D", "AttnDownBlock2D"]),
        ("downsample_padding", 0),
        ("dual_cross_attention", True),
        ("encoder_hid_dim", 8),
        ("mid_block_type", None),
        ("mid_block_type", "UNetMidBlock2D"),
        ("num_attention_heads", 4),
        ("only_cross_attention", True),
        ("resnet_skip_time_act", True),
        ("resnet_time_scale_shift", "scale_shift"),
        ("time_cond_proj_dim", 16),
        ("time_embedding_type", "fourier"),
        ("transformer_layers_per_block", [1, 2]),
        ("up_block_types", ["UpBlock2D", "AttnUpBlock2D"]),
        ("upcast_attention", True),
        ("use_linear_projection", True),
        ("a_field_of_tomorrow", 3),
    ],
)
def test_what_is_not_built_is_refused_by_name(field: str, value: Any) -> None:
    config = dict(UNet2DConditionModel(**SMALL).config) | {field: value}
    with pytest.raises(ValueError, match=field):
        UNet.from_config(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layers_per_block", (1, 2)),
        ("layers_per_block", None),
        ("layers_per_block", 0),
        ("cross_attention_dim", (12, 12)),
        ("norm_num_groups", None),
        ("norm_num_groups", 3),
        ("attention_head_dim", 3),  # 8 and 16 channels have no 3 equal heads
        ("attention_head_dim", (2, 2, 2)),
        ("in_channels", 0),
        ("block_out_channels", (8, 16, 32)),
        ("down_block_types", ("DownBlock2D",)),
        ("up_block_types", ("DownBlock2D", "UpBlock2D")),
    ],
)
def test_values_that_make_no_model_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        UNet.from_config({**SMALL, field: value})


def test_an_unknown_argument_lists_the_known_ones() -> None:
    with pytest.raises(TypeError, match=r"'chanels'.*block_out_channels"):
        UNet(chanels=(8, 16))


def test_stable_diffusion_names_and_shapes() -> None:
    with torch.device("meta"):
        ours, theirs = UNet.from_config(SD15_UNET), UNet2DConditionModel.from_config(SD15_UNET)
    assert shapes(ours) == shapes(theirs)
    assert list(ours.state_dict()) != []
    assert sum(p.numel() for p in ours.parameters()) == 859_520_964
    assert ours.config == UNetConfig()


def test_stable_diffusion_forward() -> None:
    with torch.device("meta"):
        ours, theirs = UNet.from_config(SD15_UNET), UNet2DConditionModel.from_config(SD15_UNET)
    fill_full_size(ours, theirs)
    x_t, t, text_states = noise(1, 4, 8, 8), torch.tensor([321]), noise(1, 9, 768)
    with torch.no_grad():
        out = ours(x_t, t, text_states)
        assert out.std() > 1e-2
        assert_close(out, theirs(x_t, t, text_states).sample, **TOLERANCE)
