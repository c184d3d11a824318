"""Cross-attention maps: softmax(q k^T / sqrt(d)) by hand, sums over words, hooks that leave."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_pipeline import tiny_pipeline
from torch.testing import assert_close

from course_utils.attention_maps import (
    PADDING,
    START,
    AttentionMaps,
    Recording,
    attention_weights,
    draw_with_maps,
    find_words,
    inside_and_outside,
    object_mask,
    record,
)
from course_utils.models import UNet
from course_utils.pipeline import Pipeline

PROMPTS = ["a rocket, flat style, on a blue background", "a dog"]


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def maps(pipeline: Pipeline) -> AttentionMaps:
    return draw_with_maps(pipeline, PROMPTS, num_steps=3, seed=5, count=2)[1]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# --- words ---------------------------------------------------------------------------------------


def test_words_are_every_place_of_the_row_once(pipeline: Pipeline) -> None:
    for prompt in (*PROMPTS, "", "zebra unknowable 3d", "a rocket " * 20):
        words = find_words(pipeline.tokenizer, prompt)
        places = [token for word in words for token in word.tokens]
        assert places == list(range(pipeline.tokenizer.model_max_length))
        assert words[0].text == START and words[-1].text == PADDING


def test_words_are_spelled_by_their_tokens(pipeline: Pipeline) -> None:
    tokenizer, prompt = pipeline.tokenizer, "a cat face, on zebra"
    ids = tokenizer(prompt)[0]
    words = find_words(tokenizer, prompt)
    assert [word.text for word in words[1:-1]] == ["a", "cat", "face", ",", "on", "zebra"]
    for word in words[1:-1]:
        assert tokenizer.decode(ids[list(word.tokens)]) == word.text
    assert len(words[-2].tokens) > 1, "an unknown word has several tokens"
    assert set(ids[list(words[-1].tokens)].tolist()) == {tokenizer.eos_token_id}


# --- recording -----------------------------------------------------------------------------------


def test_weights_are_those_of_attention() -> None:
    q, k, v = noise(2, 3, 5, 4), noise(2, 3, 7, 4) * 2, noise(2, 3, 7, 6)
    weights = attention_weights(q, k)
    assert_close(weights.sum(dim=-1), torch.ones(2, 3, 5))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert_close(weights @ v, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_recorded_maps_are_softmax_of_qk_by_hand(pipeline: Pipeline) -> None:
    unet, inputs = pipeline.unet, {}
    name = "mid_block.attentions.0.transformer_blocks.0.attn2"
    layer = unet.get_submodule(name)
    handle = layer.register_forward_hook(lambda m, args, out: inputs.update(x=args[0], c=args[1]))
    with record(unet) as recording:
        unet(noise(2, 4, 8, 8), 500, noise(2, 5, 16))
    handle.remove()
    heads, found = layer.heads, recording.passes[0][name]
    by_hand = torch.zeros_like(found)
    q, k = layer.to_q(inputs["x"]), layer.to_k(inputs["c"])
    d = q.shape[-1] // heads
    for h in range(heads):
        one_q, one_k = q[..., h * d : (h + 1) * d], k[..., h * d : (h + 1) * d]
        scores = torch.einsum("bpd,bld->bpl", one_q, one_k) / math.sqrt(d)
        by_hand += scores.exp() / scores.exp().sum(-1, keepdim=True) / heads
    assert_close(found, by_hand, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_diffusers_network_gives_the_same_maps(pipeline: Pipeline) -> None:
    from diffusers import UNet2DConditionModel

    theirs = UNet2DConditionModel.from_config(pipeline.unet.to_config()).eval()
    theirs.load_state_dict(pipeline.unet.state_dict())
    x, context = noise(2, 4, 8, 8), noise(2, 5, 16)
    with record(pipeline.unet) as ours, record(theirs) as other:
        pipeline.unet(x, 300, context)
        theirs(x, 300, encoder_hidden_states=context)
    assert ours.passes[0].keys() == other.passes[0].keys()
    for name, weights in ours.passes[0].items():
        assert_close(weights, other.passes[0][name], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_recording_changes_nothing_and_leaves_no_hooks(pipeline: Pipeline) -> None:
    unet, x, context = pipeline.unet, noise(1, 4, 8, 8), noise(1, 5, 16)
    before = unet(x, 10, context)
    with pytest.raises(KeyError), record(unet) as recording:
        assert torch.equal(unet(x, 10, context), before)
        unet(x, 20, context)
        raise KeyError
    assert len(recording.passes) == 2
    unet(x, 10, context)
    assert len(recording.passes) == 2
    assert all(not module._forward_hooks for module in unet.modules())


def test_what_cannot_be_recorded_says_so() -> None:
    with pytest.raises(ValueError, match="attn2"), record(torch.nn.Linear(2, 2)):
        pass
    with pytest.raises(ValueError, match="nothing was recorded"):
        Recording().by_size()
    with pytest.raises(ValueError, match="6 places"):
        Recording([{"attn2": torch.ones(1, 6, 3) / 3}]).by_size()


# --- maps of pictures ----------------------------------------------------------------------------


def test_pictures_are_those_that_draw_gives(pipeline: Pipeline, maps: AttentionMaps) -> None:
    pictures, again = draw_with_maps(pipeline, PROMPTS, num_steps=3, seed=5, count=2)
    plain = pipeline.draw(PROMPTS, num_steps=3, seed=5, count=2)
    assert_close(pictures.pixels, plain.pixels, atol=1e-4, rtol=1e-4)  # `draw` takes a faster copy
    assert all(torch.equal(again.by_size[side], maps.by_size[side]) for side in maps.sides)
    assert maps.timesteps == tuple(pipeline.schedule.timesteps(3).tolist()) or (
        len(maps.timesteps) == 3 and maps.timesteps[0] > maps.timesteps[-1]
    )


def test_maps_of_a_sampler_with_fresh_noise(pipeline: Pipeline) -> None:
    """The maps of a batch are those of its pictures alone, and the pictures those of `draw`."""
    settings = {"num_steps": 3, "sampler": "ddpm"}
    pictures, together = draw_with_maps(pipeline, PROMPTS, seed=[5, 8], **settings)
    plain = pipeline.draw(PROMPTS, seed=[5, 8], **settings)
    assert_close(pictures.pixels, plain.pixels, atol=1e-4, rtol=1e-4)  # `draw` takes a faster copy
    alone = draw_with_maps(pipeline, PROMPTS[1], seed=8, **settings)[1]
    assert together.timesteps == alone.timesteps and len(alone.timesteps) == 3
    for side in alone.sides:
        assert_close(together.by_size[side][:, 1:], alone.by_size[side], atol=1e-5, rtol=1e-4)


def test_maps_sum_to_one_over_words(maps: AttentionMaps) -> None:
    assert maps.sides == (8, 4)
    for side in maps.sides:
        assert maps.by_size[side].shape[:3] == (3, 4, 16)
        for picture in range(4):
            for step in (None, 0, 2):
                parts = [maps.of(word, picture, step, side) for word in maps.words[picture]]
                assert_close(torch.stack(parts).sum(dim=0), torch.ones(side, side))


def test_maps_are_those_of_the_rows_with_the_prompt(pipeline: Pipeline) -> None:
    """At guidance scale 1 there are no other rows, and the first step sees the same noise."""
    guided = draw_with_maps(pipeline, PROMPTS[0], num_steps=2, guidance_scale=4.0)[1]
    plain = draw_with_maps(pipeline, PROMPTS[0], num_steps=2, guidance_scale=1.0)[1]
    assert_close(guided.of("rocket", step=0), plain.of("rocket", step=0))
    negative = draw_with_maps(pipeline, "", num_steps=2, guidance_scale=1.0)[1]
    place = list(guided.find("rocket").tokens)
    other = negative.by_size[8][0, 0, place].sum(0)
    assert (guided.of("rocket", step=0) - other).abs().max() > 1e-5


def test_batches_are_put_together(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [*PROMPTS, "a cat on green"]
    at_once = draw_with_maps(pipeline, prompts, num_steps=2)[1]
    monkeypatch.setattr(Pipeline, "batch_size", 2)
    in_parts = draw_with_maps(pipeline, prompts, num_steps=2)[1]
    for side in at_once.sides:
        assert_close(in_parts.by_size[side], at_once.by_size[side], atol=1e-5, rtol=1e-4)
    assert in_parts.timesteps == at_once.timesteps


def test_errors_name_what_there_is(pipeline: Pipeline, maps: AttentionMaps) -> None:
    with pytest.raises(ValueError, match=r"'zebra'.*rocket"):
        maps.of("zebra")
    with pytest.raises(ValueError, match="side is 5; expected one of 8, 4"):
        maps.of("rocket", side=5)
    with pytest.raises(ValueError, match="step is 3"):
        maps.of("rocket", step=3)
    with pytest.raises(ValueError, match="maps are not kept for guidance_scale 0"):
        draw_with_maps(pipeline, "a", num_steps=2, guidance_scale=0)


# --- objects -------------------------------------------------------------------------------------


def test_mask_finds_the_object_of_real_pictures() -> None:
    from course_utils.data import CaptionedEmoji, load_art

    data = CaptionedEmoji("smoke", split="all")
    concept, style = (torch.tensor(part) for part in zip(*data.pairs, strict=True))
    alpha = torch.from_numpy(load_art("smoke"))[concept, style, ..., 3].float() / 255
    found = object_mask(data.render_batch(concept, style, torch.zeros_like(concept) + 7))
    agree = (found == (alpha > 0.5)).float().mean(dim=(1, 2))
    assert agree.median() > 0.97, agree


def test_inside_and_outside_of_known_maps() -> None:
    mask = torch.zeros(8, 8)
    mask[:4, :4] = 1
    values = torch.tensor([[4.0, 1.0], [1.0, 1.0]])
    assert_close(inside_and_outside(values, mask), (torch.tensor(4.0), torch.tensor(1.0)))
    half = torch.zeros(8, 8)
    half[:, :2] = 1  # half of each left place
    inside, outside = inside_and_outside(values.expand(3, 2, 2), half.expand(3, 8, 8))
    assert_close(inside, torch.full((3,), 2.5))
    assert_close(outside, torch.full((3,), (4 / 2 + 1 / 2 + 1 + 1) / 3))
    assert inside_and_outside(values, torch.ones(8, 8))[1].isnan()


def test_works_for_a_network_of_other_sizes() -> None:
    unet = UNet(
        sample_size=16,
        block_out_channels=(4, 8),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=6,
        attention_head_dim=2,
        norm_num_groups=2,
    )
    with record(unet) as recording:
        unet(noise(1, 4, 16, 16), 3, noise(1, 9, 6))
    assert {side: tuple(x.shape) for side, x in recording.by_size().items()} == {8: (1, 1, 9, 8, 8)}
