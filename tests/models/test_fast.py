"""The prepared copy of the U-Net: the network's numbers, and the network wherever it can't be."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from course_utils.guidance import Conditioning, guide
from course_utils.models import UNet
from course_utils.models import fast as module
from course_utils.models.fast import FastUNet, Product, prepare
from course_utils.samplers import SAMPLERS
from course_utils.schedules import NoiseSchedule

FIELDS: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 12,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
SHAPES: dict[str, dict[str, Any]] = {
    "the course's": {},
    "two layers": {"layers_per_block": 2},
    "no attention above": {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    },
    "three levels": {
        "block_out_channels": (4, 8, 8),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": (1, 2, 4),
    },
    "sines first": {"flip_sin_to_cos": False, "freq_shift": 1, "out_channels": 8},
}


def make(seed: int = 0, **fields: Any) -> UNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(**{**FIELDS, **fields}).eval()


def inputs(batch: int = 2, height: int = 8, width: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x_t = torch.randn(batch, 4, height, width, generator=generator)
    return x_t, torch.full((batch,), 321), torch.randn(batch, 5, 12, generator=generator)


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls the copy answered."""
    calls: list[int] = []
    real = FastUNet.__call__

    def counting(self: FastUNet, *args: Any) -> Tensor:
        calls.append(len(args[0]))
        return real(self, *args)

    monkeypatch.setattr(FastUNet, "__call__", counting)
    return calls


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("size", [(8, 8), (4, 12)])
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_it_equals_the_network(
    shape: str,
    size: tuple[int, int],
    packed: bool,
    copied: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not packed:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    unet = make(**SHAPES[shape])
    denoiser = prepare(unet)
    for batch in (1, 3):
        x_t, t, states = inputs(batch, *size)
        before = x_t.clone()
        for timestep in (t, 700, t):  # the additions of t are kept meanwhile
            expected = unet(x_t, timestep, states)
            assert_close(denoiser(x_t, timestep, states), expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(x_t, before)
    assert copied == [1] * 3 + [3] * 3


@torch.no_grad()
def test_the_course_s_own_weights_give_the_same(copied: list[int]) -> None:
    from course_utils.hub import bundled_folder

    unet = UNet.from_pretrained(bundled_folder() / "unet").eval()
    generator = torch.Generator().manual_seed(3)
    for batch, timestep in ((2, 999), (2, 40), (16, 500)):
        x_t = torch.randn(batch, 4, 8, 8, generator=generator)
        states = torch.randn(batch, 32, 256, generator=generator)
        found = prepare(unet)(x_t, timestep, states)
        assert_close(found, unet(x_t, timestep, states), atol=1e-5, rtol=1e-5)
    assert copied == [2, 2, 16]


@torch.no_grad()
def test_another_text_or_a_text_written_over_is_read_anew() -> None:
    unet = make()
    denoiser, (x_t, t, states) = prepare(unet), inputs()
    for _ in range(2):
        assert_close(denoiser(x_t, t, states), unet(x_t, t, states), atol=1e-5, rtol=1e-5)
        states += 1.0  # the same tensor
        assert_close(denoiser(x_t, t, states), unet(x_t, t, states), atol=1e-5, rtol=1e-5)
        states = states.flip(0)
        assert_close(denoiser(x_t, t, states), unet(x_t, t, states), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("change", ["in place", "loaded", "replaced"])
@torch.no_grad()
def test_changed_weights_are_copied_anew(change: str) -> None:
    unet, (x_t, t, states) = make(), inputs()
    before = prepare(unet)(x_t, t, states)
    if change == "in place":
        unet.conv_in.weight *= 2
    elif change == "loaded":
        unet.load_state_dict(make(seed=5).state_dict())
    else:
        unet.mid_block.resnets[0].conv1.weight = nn.Parameter(torch.zeros(16, 16, 3, 3))
    after = prepare(unet)(x_t, t, states)
    assert_close(after, unet(x_t, t, states), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(after, before, atol=1e-4)
    assert prepare(unet)(x_t, t, states).equal(after)


def test_text_and_time_are_worked_out_once_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    unet = make()
    schedule = NoiseSchedule.scaled_linear(timestep_spacing="trailing")
    x_T, _, states = inputs(1)
    cond = Conditioning(states, -states)
    denoiser = guide(prepare(unet), 3.0)
    prepared = vars(unet)[module.COPY]
    read: list[Tensor] = []
    for attend in prepared.attends:
        real = attend.kv

        def counting(x: Tensor, real: Product = real) -> Tensor:
            read.append(x)
            return real(x)

        monkeypatch.setattr(attend, "kv", counting)
    list(SAMPLERS["ddim"](denoiser, x_T, schedule, cond, 10))
    assert len(read) == len(prepared.attends) == 7  # and not ten times as many
    assert sorted(prepared.added) == [99 + 100 * i for i in range(10)]


# --- what the network answers itself -------------------------------------------------------------


def test_gradients_hooks_and_mixed_timesteps_go_to_the_network(copied: list[int]) -> None:
    unet, (x_t, t, states) = make(), inputs()
    denoiser = prepare(unet)
    assert denoiser(x_t, t, states).requires_grad
    with torch.no_grad():
        mixed = torch.tensor([3, 900])
        assert torch.equal(denoiser(x_t, mixed, states), unet(x_t, mixed, states))
        odd = torch.randn(1, 4, 7, 8)
        assert torch.equal(denoiser(odd, 5, states[:1]), unet(odd, 5, states[:1]))
        heard: list[tuple[int, ...]] = []
        attention: Any = unet.mid_block.attentions[0]
        handle = attention.register_forward_hook(lambda m, args, out: heard.append(out.shape))
        denoiser(x_t, t, states)
        assert heard == [(2, 16, 4, 4)] and copied == []
        handle.remove()
        denoiser(x_t, t, states)
        assert copied == [2]


class OwnUNet(UNet):
    """What a learner may hand over."""


class OwnConv(nn.Conv2d):
    """A part that a learner may put in."""


def test_networks_that_are_not_known_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    other = make()
    other.conv_in = OwnConv(4, 8, 3, padding=1)
    patched = make()
    patched.mid_block.forward = lambda x, temb, text: x  # type: ignore[method-assign]
    for unet in (OwnUNet(**FIELDS), other, patched, make().double(), make().to("meta"), abs):
        assert prepare(unet) is unet  # type: ignore[arg-type]
    monkeypatch.setattr(module, "LARGEST", 1000)
    large = make()
    assert prepare(large) is large


def test_networks_and_their_copies_go_together() -> None:
    """No copy outlives its network, and a copied or pickled network takes none along."""
    unet = make()
    prepare(unet)
    twin, again = copy.deepcopy(unet), pickle.loads(pickle.dumps(unet))
    assert vars(twin)[module.COPY] is None is vars(again)[module.COPY]
    prepare(twin)
    assert vars(twin)[module.COPY] is not vars(unet)[module.COPY]
    kept = weakref.ref(vars(unet)[module.COPY])
    del unet
    gc.collect()
    assert kept() is None
