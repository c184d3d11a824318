"""Pictures, splits and the dataset that puts them together."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils.data import concepts as concepts_module
from course_utils.data.captions import BACKGROUNDS, STYLES, full_caption
from course_utils.data.concepts import held_out_pairs, load_art, load_concepts, subsets
from course_utils.data.emoji import BACKGROUND_NAMES, CaptionedEmoji, compose, nearest_background


@pytest.fixture(scope="module")
def core() -> CaptionedEmoji:
    return CaptionedEmoji("core")


@pytest.fixture(scope="module")
def everything() -> CaptionedEmoji:
    return CaptionedEmoji("all", split="all")


def test_counts(everything: CaptionedEmoji) -> None:
    concepts = load_concepts()
    assert len(concepts) == 1644
    assert {style: sum(style in c.styles for c in concepts) for style in STYLES} == {
        "3d": 1599,
        "flat": 1586,
        "noto": 1644,
        "twemoji": 1644,
    }
    assert len(everything) == 6473
    assert [concept.index for concept in concepts] == list(range(1644))
    assert len({concept.hexcode for concept in concepts}) == 1644
    assert all(len(concept.styles) >= 2 for concept in concepts)


def test_core_is_complete(core: CaptionedEmoji) -> None:
    assert len(core.concepts) == 120
    assert core.concepts[0].name == "cat face"
    assert all(concept.styles == STYLES for concept in core.concepts)


@pytest.mark.parametrize("subset", subsets())
def test_subsets_are_well_formed(subset: str) -> None:
    concepts = load_concepts(subset)
    assert len({concept.hexcode for concept in concepts}) == len(concepts) > 0
    assert [concept.index for concept in concepts] == list(range(len(concepts)))
    synonyms = [synonym for concept in concepts for synonym in concept.synonyms]
    assert len(set(synonyms)) == len(synonyms)


def test_pictures_are_where_the_words_say() -> None:
    art = load_art()
    assert art.shape == (1644, 4, 64, 64, 4) and art.dtype == np.uint8
    covered = (art[..., 3] > 0).mean(axis=(2, 3))  # (concepts, styles)
    for concept in load_concepts():
        for style_i, style in enumerate(STYLES):
            assert (covered[concept.index, style_i] > 0.02) == (style in concept.styles)


def test_load_art_takes_subset_and_styles() -> None:
    everything, cat = load_art(), load_concepts("core")[0]
    some = load_art("core", styles=("twemoji", "3d"))
    assert some.shape == (120, 2, 64, 64, 4)
    np.testing.assert_array_equal(some[0, 0], everything[cat.tile, 3])
    np.testing.assert_array_equal(some[0, 1], everything[cat.tile, 0])


def test_known_pictures_look_right(core: CaptionedEmoji) -> None:
    """A red heart is red, a frog is green, a droplet is blue: tiles and names are not shifted."""
    names = [concept.name for concept in core.concepts]
    for name, channel in [("red heart", 0), ("frog", 1), ("droplet", 2), ("rose", 0), ("fish", 2)]:
        for style in range(4):
            rgba = core._art[names.index(name), style].double()
            weight = rgba[..., 3:]
            mean = (rgba[..., :3] * weight).sum((0, 1)) / weight.sum()
            assert mean.argmax() == channel, (name, STYLES[style])


def test_compose_equals_pillow_and_the_formula(core: CaptionedEmoji) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        rgba = core._art[rng.integers(120), rng.integers(4)].numpy()
        rgb = BACKGROUNDS[BACKGROUND_NAMES[rng.integers(10)]]
        out = compose(rgba, rgb)
        assert out.shape == (3, 64, 64) and out.dtype == torch.float32
        alpha = rgba[..., 3:].astype(np.float64) / 255
        expected = (alpha * rgba[..., :3] + (1 - alpha) * np.array(rgb)) / 127.5 - 1
        np.testing.assert_allclose(out.permute(1, 2, 0), expected, atol=1e-6)
        pillow = Image.new("RGBA", (64, 64), rgb)
        pillow.alpha_composite(Image.fromarray(rgba))
        pixels = (out.permute(1, 2, 0).double().numpy() + 1) * 127.5
        assert np.abs(pixels - np.asarray(pillow)[..., :3]).max() <= 1.0  # Pillow rounds


def test_compose_broadcasts() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 4), dtype=np.uint8)
    colours = torch.tensor([[255.0, 0, 0], [0, 255, 0], [0, 0, 255]])
    out = compose(rgba, colours)
    assert out.shape == (2, 3, 3, 8, 8)
    torch.testing.assert_close(out[1, 2], compose(rgba[1, 2], (0, 0, 255)))
    assert out.min() >= -1 and out.max() <= 1


def test_clear_and_solid_pixels_are_exact() -> None:
    rgba = np.zeros((1, 2, 4), np.uint8)
    rgba[0, 0] = 10, 20, 30, 255
    rgba[0, 1] = 99, 99, 99, 0  # hidden colour must not show
    out = compose(rgba, (200, 100, 50))
    expected = torch.tensor([[10, 200], [20, 100], [30, 50]]) / 127.5 - 1
    torch.testing.assert_close(out[:, 0], expected)


def test_batch_equals_single_and_item(core: CaptionedEmoji) -> None:
    batch = core.sample_batch(16, torch.Generator().manual_seed(3))
    assert batch.images.shape == (16, 3, 64, 64) and batch.images.dtype == torch.float32
    assert len(batch.captions) == 16
    for k in range(16):
        ids = int(batch.concept[k]), int(batch.style[k]), int(batch.background[k])
        torch.testing.assert_close(batch.images[k], core.render(*ids), rtol=0, atol=0)
    item = core[7]
    assert (item.concept, item.style) == core.pairs[7]
    torch.testing.assert_close(
        item.image, core.render(item.concept, item.style, item.background), rtol=0, atol=0
    )


def test_same_seed_same_pictures(core: CaptionedEmoji) -> None:
    one = core.sample_batch(32, torch.Generator().manual_seed(5))
    two = core.sample_batch(32, torch.Generator().manual_seed(5))
    other = core.sample_batch(32, torch.Generator().manual_seed(6))
    assert one.captions == two.captions != other.captions
    torch.testing.assert_close(one.images, two.images, rtol=0, atol=0)


def test_items_depend_on_seed_and_epoch_alone(core: CaptionedEmoji) -> None:
    torch.manual_seed(1)  # no global state may matter
    data = CaptionedEmoji("core", seed=4)
    before = [(data[i].caption, data[i].background) for i in range(50)]
    torch.manual_seed(2)
    again = CaptionedEmoji("core", seed=4)
    assert [(again[i].caption, again[i].background) for i in reversed(range(50))] == before[::-1]
    data.set_epoch(1)
    assert [(data[i].caption, data[i].background) for i in range(50)] != before
    data.set_epoch(0)
    assert [(data[i].caption, data[i].background) for i in range(50)] == before
    assert data[-1].caption == data[len(data) - 1].caption
    with pytest.raises(IndexError, match="out of range"):
        data[len(data)]


def test_works_in_loader_workers(core: CaptionedEmoji) -> None:
    subset = torch.utils.data.Subset(core, range(6))
    loader = torch.utils.data.DataLoader(
        subset, batch_size=2, num_workers=1, collate_fn=lambda items: [i.caption for i in items]
    )
    assert [caption for batch in loader for caption in batch] == [core[i].caption for i in range(6)]
    assert pickle.loads(pickle.dumps(core.concepts[0])) == core.concepts[0]


@pytest.mark.parametrize("subset", ["core", "all"])
def test_splits_partition_the_pairs(subset: str) -> None:
    train, held, both = (
        set(CaptionedEmoji(subset, split).pairs) for split in ("train", "held_out", "all")
    )
    assert train | held == both and not train & held
    assert held == set(held_out_pairs(subset))
    assert len({concept for concept, _ in held}) == len(held)  # one style a concept at most
    assert 0.07 < len(held) / len(both) < 0.09
    # Every held-out thing is trained on in another style, every style on other things.
    assert {concept for concept, _ in held} <= {concept for concept, _ in train}
    assert {style for _, style in held} == {0, 1, 2, 3}


def test_a_pair_is_held_out_in_every_subset() -> None:
    everything, core = load_concepts(), load_concepts("core")
    in_all = {(everything[c].hexcode, s) for c, s in held_out_pairs("all")}
    in_core = {(core[c].hexcode, s) for c, s in held_out_pairs("core")}
    names = {concept.hexcode for concept in core}
    assert in_core == {pair for pair in in_all if pair[0] in names}


def test_splits_never_change() -> None:
    """Weights are trained on this split. If this fails, every held-out measurement is void."""
    concepts = load_concepts()
    pairs = sorted(f"{concepts[c].hexcode} {STYLES[s]}" for c, s in held_out_pairs())
    assert len(pairs) == 521
    digest = hashlib.sha256("\n".join(pairs).encode()).hexdigest()
    assert digest == "310fc314ca3e1ca8750dfd2a6b100542ba9de18d75475b80de57aec7ea0df36c"
    names = "\n".join(concept.name for concept in load_concepts("core"))
    digest = hashlib.sha256(names.encode()).hexdigest()
    assert digest == "be3892c343c309a2c8ceace7228a8528535927cc7e706a087ca285f05fb7a0ed"


def test_training_never_draws_held_out_pairs_nor_their_pictures(everything: CaptionedEmoji) -> None:
    train, held = CaptionedEmoji("core"), held_out_pairs("core")
    generator = torch.Generator().manual_seed(0)
    drawn = set()
    for _ in range(16):
        batch = train.sample_batch(256, generator)
        drawn |= set(zip(batch.concept.tolist(), batch.style.tolist(), strict=True))
    assert drawn <= set(train.pairs) and len(drawn) > 400 and not drawn & held
    seen = {
        everything._art[c, s].numpy().tobytes()
        for c, s in set(everything.pairs) - held_out_pairs("all")
    }
    assert not any(everything._art[c, s].numpy().tobytes() in seen for c, s in held_out_pairs())


def test_style_subset_keeps_style_ids() -> None:
    data = CaptionedEmoji("core", split="all", styles=("noto",))
    assert len(data) == 120 and {style for _, style in data.pairs} == {STYLES.index("noto")}
    assert data.sample_batch(4, torch.Generator().manual_seed(0)).style.tolist() == [2] * 4


def test_captions_of_batches_belong_to_their_pictures(core: CaptionedEmoji) -> None:
    batch = core.sample_batch(400, torch.Generator().manual_seed(0))
    full = [
        full_caption(core.concepts[c].name, STYLES[s], BACKGROUND_NAMES[b])
        for c, s, b in zip(
            batch.concept.tolist(), batch.style.tolist(), batch.background.tolist(), strict=True
        )
    ]
    shared = sum(a == b for a, b in zip(full, batch.captions, strict=True))
    assert 0.2 < shared / 400 < 0.45


def test_nearest_background(core: CaptionedEmoji, everything: CaptionedEmoji) -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = torch.tensor(CaptionedEmoji("core", "all").pairs)
    for background in range(10):
        ids = torch.full((len(pairs),), background)
        images = core.render_batch(pairs[:, 0], pairs[:, 1], ids)
        noisy = images + 0.1 * torch.randn(images.shape, generator=generator)
        assert (nearest_background(images) == ids).all()
        assert (nearest_background(noisy) == ids).all()
    batch = everything.sample_batch(2000, generator)
    assert (nearest_background(batch.images) == batch.background).float().mean() > 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CaptionedEmoji("cores"), r"subset='cores' .* did you mean 'core'"),
        (lambda: CaptionedEmoji("core", split="test"), r"split='test' .* expected one of 'train'"),
        (lambda: CaptionedEmoji("core", split="heldout"), r"split='heldout' .* 'held_out'"),
        (lambda: CaptionedEmoji("core", styles=("notto",)), r"style='notto' .* 'noto'"),
        (lambda: CaptionedEmoji("core", styles="noto"), r"styles='noto': expected a sequence"),
        (lambda: load_art("core", styles=("oil",)), r"style='oil' .* expected one of '3d'"),
        (lambda: load_concepts("everything"), r"subset='everything' .* expected one of 'all'"),
        (lambda: compose(np.zeros((4, 4, 3), np.uint8), (0, 0, 0)), r"rgba has .* \(4, 4, 3\)"),
        (lambda: compose(np.zeros((4, 4, 4), np.float32), (0, 0, 0)), r"rgba has dtype .*float32"),
        (lambda: compose(np.zeros((4, 4, 4), np.uint8), (0, 0)), r"rgb has shape \(2,\)"),
        (lambda: nearest_background(torch.zeros(3, 64, 64)), r"images has shape \(3, 64, 64\)"),
    ],
)
def test_errors_name_argument_value_and_expected(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_batch_errors(core: CaptionedEmoji) -> None:
    with pytest.raises(ValueError, match=r"n=0: expected at least 1"):
        core.sample_batch(0, torch.Generator())
    with pytest.raises(ValueError, match=r"concept=\[120\]: expected indices from 0 to 119"):
        core.render_batch([120], [0], [0])
    with pytest.raises(ValueError, match=r"background=\[-1\]: expected indices from 0 to 9"):
        core.render(0, 0, -1)


def test_a_typo_in_a_subset_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "subsets").mkdir()
    (tmp_path / "subsets" / "mine.txt").write_text("cat face  # first\ncat fase\n")
    for name in ("art", "aliases.txt"):
        (tmp_path / name).symlink_to(concepts_module.HERE / name)
    monkeypatch.setattr(concepts_module, "HERE", tmp_path)
    with pytest.raises(ValueError, match=r"line of subsets/mine.txt='cat fase' .* 'cat face'"):
        load_concepts("mine")


def test_every_alias_belongs_to_a_concept() -> None:
    names = {concept.name for concept in load_concepts()}
    assert set(concepts_module._aliases()) <= names


def test_words_file_says_where_it_comes_from() -> None:
    words = json.loads((concepts_module.HERE / "art" / "words.json").read_text("utf-8"))
    licences = (concepts_module.HERE / "art" / "LICENSES.md").read_text("utf-8")
    assert words["tile_size"] == 64
    for package, version in words["packages"].items():
        assert f"`{package}` {version}" in licences
