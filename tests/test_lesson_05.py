"""What lesson 05 rests on: its answers equal course_utils, transformers and diffusers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from course_utils.checks.exercise import random_state
from course_utils.checks.lesson_05 import contrastive_loss, merge_pair
from course_utils.checks.lesson_05_attention import CausalBlock, CrossAttention, causal_attention
from course_utils.models import CLIP, Tokenizer, clip, tokenizer
from course_utils.models.blocks import Attention
from course_utils.plots import DescribedImage
from course_utils.plots.attention import bars, map_grid, overlay, table

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- the answers ---------------------------------------------------------------------------------


def test_merge_is_the_tokenizers() -> None:
    alphabet = ("a", "b", "ab")
    for symbols in itertools.product(alphabet, repeat=5):
        for pair in itertools.product(alphabet, repeat=2):
            assert merge_pair(symbols, pair) == tokenizer.merge_pair(symbols, pair)


def test_merges_encode_as_transformers_does(tmp_path) -> None:
    from transformers import CLIPTokenizer

    ours = Tokenizer.train(["a cat on a mat", "a mat, a cat"] * 3, vocab_size=530)
    ours.save_pretrained(tmp_path)
    theirs = CLIPTokenizer.from_pretrained(tmp_path)
    rank = {pair: i for i, pair in enumerate(ours.merges)}
    for text in ("a cat on a mat", "cats", "matmat, 3d!", ""):
        tokens = []
        for word in tokenizer.split_words(text):
            symbols = tokenizer.to_symbols(word)
            while known := [p for p in itertools.pairwise(symbols) if p in rank]:
                symbols = merge_pair(symbols, min(known, key=rank.__getitem__))
            tokens += [ours.vocab[symbol] for symbol in symbols]
        assert [ours.bos_token_id, *tokens, ours.eos_token_id] == theirs(text).input_ids


def test_attention_is_torchs() -> None:
    q, k, v = (noise(2, 3, 6, 4, seed=seed) for seed in range(3))
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert_close(causal_attention(q, k, v), expected, **TOLERANCE)


@torch.no_grad()
def test_block_is_a_layer_of_both_text_towers() -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    block = CausalBlock(12, 3, 20)
    block.load_state_dict(random_state(block, 0))
    fields = {"hidden_size": 12, "intermediate_size": 20, "num_attention_heads": 3}
    ours = clip.TransformerLayer(clip.TextConfig(**fields, projection_dim=4))
    ours.load_state_dict(block.state_dict())
    x = noise(2, 7, 12)
    assert_close(block(x), ours(x, causal=True), **TOLERANCE)

    theirs = CLIPTextModel(
        CLIPTextConfig(**fields, num_hidden_layers=1, vocab_size=30, eos_token_id=29)
    ).eval()
    theirs.encoder.layers[0].load_state_dict(block.state_dict())
    ids = torch.tensor([[3, 9, 4, 29]])
    expected = theirs(input_ids=ids).last_hidden_state
    assert_close(theirs.final_layer_norm(block(theirs.embeddings(ids))), expected, **TOLERANCE)


def test_loss_is_the_courses_and_knows_nothing_at_log_b() -> None:
    images, texts, scale = noise(5, 8), 3 * noise(5, 8, seed=1), torch.tensor(1.3)
    unit = torch.nn.functional.normalize
    table_of_logits = scale.exp() * unit(images, dim=1) @ unit(texts, dim=1).T
    assert_close(contrastive_loss(images, texts, scale), clip.contrastive_loss(table_of_logits))
    same = torch.ones(6, 3)
    assert_close(contrastive_loss(same, same, scale), torch.tensor(math.log(6)))


def test_loss_is_transformers() -> None:
    from transformers import CLIPConfig, CLIPModel

    tower = {
        "hidden_size": 8,
        "intermediate_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    model = CLIPModel(
        CLIPConfig(
            text_config=tower | {"vocab_size": 20, "eos_token_id": 19},
            vision_config=tower | {"image_size": 8, "patch_size": 4},
            projection_dim=6,
        )
    )
    ids = torch.tensor([[1, 2, 19], [4, 5, 19], [3, 3, 19]])
    out = model(input_ids=ids, pixel_values=noise(3, 3, 8, 8), return_loss=True)
    found = contrastive_loss(out.image_embeds, out.text_embeds, model.logit_scale)
    assert_close(found, out.loss, **TOLERANCE)


@torch.no_grad()
def test_cross_attention_is_the_courses_and_diffusers() -> None:
    from diffusers.models.attention_processor import Attention as Theirs

    mine = CrossAttention(6, 10, heads=2, head_dim=4)
    mine.load_state_dict(random_state(mine, 0))
    ours = Attention(6, 10, heads=2, head_dim=4)
    theirs = Theirs(6, 10, heads=2, dim_head=4).eval()
    x, context = noise(2, 9, 6), noise(2, 5, 10)
    for other in (ours, theirs):
        other.load_state_dict(mine.state_dict())
        assert_close(mine(x, context), other(x, context), **TOLERANCE)


# --- the shipped CLIP ----------------------------------------------------------------------------


@torch.no_grad()
def test_shipped_clip_finds_held_out_pictures_far_above_chance() -> None:
    """The lesson says so in a sentence that it computes; here is the least that must hold."""
    import json
    from pathlib import Path

    import course_utils
    from course_utils.data import CaptionedEmoji, held_out_pairs

    folder = Path(course_utils.__file__).parent / "weights" / "clip"
    model, words = CLIP.from_pretrained(folder), Tokenizer.from_pretrained(folder / "tokenizer")
    subset = json.loads((folder / "concepts.json").read_text())["subset"]
    data, pairs = CaptionedEmoji(subset, split="all"), sorted(held_out_pairs(subset))[:12]
    concept, style = [c for c, _ in pairs], [s for _, s in pairs]
    pixels = data.render_batch(concept, style, [i % 10 for i in range(len(pairs))])
    texts = model.embed_text(words([f"a {c.name}" for c in data.concepts]))
    guess = (model.embed_image(pixels) @ texts.T).argmax(dim=1)
    right = (guess == torch.tensor(concept)).float().mean()
    assert right > 10 / len(data.concepts), right
    assert isinstance(model.config.text_config, clip.TextConfig)
    assert model.config.text_config.hidden_act == "quick_gelu", "the lesson's block has it"


def test_prompts_that_exchange_text_states_have_their_words_at_the_same_places() -> None:
    import ast
    from pathlib import Path

    import course_utils
    from course_utils.authoring import read
    from course_utils.vocabulary import Vocabulary

    root = Path(__file__).resolve().parents[1]
    cells = {
        c["id"]: "".join(c["source"]) for c in read(next(root.glob("solutions/05_*")))["cells"]
    }
    lists = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(cells["measure-maps"]).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("THINGS", "COLOURS", "ARTISTS")
    }
    folder = Path(course_utils.__file__).parent / "weights" / "emoji-64"
    words = Tokenizer.from_pretrained(folder / "tokenizer")
    assert len(lists) == 3
    for word in itertools.chain(*lists.values()):
        assert len(words.tokenize(word)) == 1, word
    known = Vocabulary.load(folder)
    assert known is not None
    assert known.knows("rocket") and 'encode_word("rocket"' in cells["tokenize"]
    assert not known.knows("walrus") and 'encode_word("walrus"' in cells["tokenize"]


# --- drawings ------------------------------------------------------------------------------------


def test_overlay_is_darker_where_there_is_more() -> None:
    pixels = noise(3, 16, 16).clamp(-1, 1)
    heat = torch.tensor([[0.0, 1.0], [2.0, 4.0]])
    out = overlay(pixels, heat)
    assert out.shape == pixels.shape and out.abs().max() <= 1
    grey = (out * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    quarters = grey.unflatten(0, (2, 8)).unflatten(2, (2, 8)).mean(dim=(1, 3)).flatten()
    assert quarters.tolist() == sorted(quarters.tolist(), reverse=True)
    assert torch.equal(overlay(pixels, heat, most=4.0), out)
    assert overlay(pixels, heat, smooth=True).shape == pixels.shape
    assert overlay(pixels, torch.zeros(2, 2)).isfinite().all()


def test_drawings_are_described() -> None:
    pixels, heats = noise(3, 16, 16).clamp(-1, 1), torch.rand(2, 3, 4, 4)
    heats[0, 0] = torch.nan
    names, columns = ["one", "two"], ["a", "b", "c"]
    notes = [["1", "2", "3"], ["4", "5", "6"]]
    for drawing in (
        map_grid(pixels, heats, names, columns, "maps", notes),
        map_grid(pixels.expand(3, 3, 16, 16), heats, names, columns, "maps", row_scale=False),
        table(torch.rand(2, 3), names, columns, "a table", numbers=".0%"),
        table(torch.rand(2, 3), names, columns, "a table", pictures=pixels.expand(2, 3, 16, 16)),
        bars(names, {"x": ([1, 2], [0.1, 0.2]), "y": ([2, 1], [0.1, 0.1])}, "x", "bars"),
        bars(names, {"x": ([0.5, 1], [0.1, 0.2])}, "x", "bars", {"chance": 0.2}, percent=True),
    ):
        assert isinstance(drawing, DescribedImage) and len(drawing.png) > 500


def test_drawings_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="expected \\(1, 3\\) maps"):
        map_grid(noise(3, 8, 8), torch.rand(2, 3, 4, 4), ["one"], ["a", "b", "c"], "maps")
    with pytest.raises(ValueError, match="expected \\(2, 2\\)"):
        table(torch.rand(2, 3), ["a", "b"], ["c", "d"], "a table")
    with pytest.raises(ValueError, match="0 series"):
        bars(["a"], {}, "x", "bars")
