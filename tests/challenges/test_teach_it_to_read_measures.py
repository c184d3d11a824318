"""What challenge 03 measures, and the world that it makes."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
import torch
from torch import nn

from course_utils.challenges.declare import Refused
from course_utils.challenges.teach_it_to_read import world as challenge_03
from course_utils.challenges.teach_it_to_read.ask import (
    MISTAKES,
    THINGS,
    extreme_features,
    loss_of,
    measure_loss,
    measure_retrieval,
    ordinary_features,
)
from course_utils.challenges.teach_it_to_read.world import practice, retrieval, world_of


def test_the_loss_of_equal_vectors_is_log_b() -> None:
    ones = np.ones((7, 3), dtype=np.float32)
    given = {"image_features": ones, "text_features": 5 * ones, "log_temperature": np.float32(-2.0)}
    assert loss_of(given) == pytest.approx(math.log(7))


def test_the_loss_of_axes_has_a_closed_form() -> None:
    axes = np.eye(5, dtype=np.float32)
    given = {"image_features": axes, "text_features": axes, "log_temperature": np.log(0.5)}
    assert loss_of(given) == pytest.approx(math.log(1 + 4 * math.exp(-2)))


@pytest.mark.parametrize("make", [ordinary_features, extreme_features])
def test_the_loss_is_torchs_and_no_mistake_comes_near_it(make) -> None:
    for given in make(np.random.default_rng(0)):
        images, texts = (
            nn.functional.normalize(torch.from_numpy(given[name]).double(), dim=-1)
            for name in ("image_features", "text_features")
        )
        logits = images @ texts.T / math.exp(float(given["log_temperature"]))
        target = torch.arange(len(logits))
        both = [nn.functional.cross_entropy(table, target) for table in (logits, logits.T)]
        assert loss_of(given) == pytest.approx(float(sum(both)) / 2, rel=1e-12)
    inputs = make(np.random.default_rng(1))
    for mistake, sentence in MISTAKES:
        found = measure_loss(inputs, [mistake(given) for given in inputs])
        assert found.value > 0.05 and found.notes[-1] == sentence


def test_the_test_is_never_shown_and_shows_each_thing_once() -> None:
    world = world_of(5)
    assert not set(world.tested) & set(world.trained)
    assert len({concept for concept, _ in world.tested}) == len(world.tested) == THINGS
    random = Random(0)
    shown = {(s.concept, s.style) for _ in range(20) for s in world.train_scenes(random)}
    assert shown <= set(world.trained)


def test_every_caption_can_be_read_and_every_word_has_one_number() -> None:
    world, random = world_of(5), Random(1)
    assert sorted(world.vocabulary.values()) == list(range(world.words))
    pairs = world.trained + world.tested
    for _ in range(25):
        scenes = world.scenes(pairs, random)
        counts = world.read([world.caption(scene, random) for scene in scenes])
        assert counts.sum(dim=1).min() >= 1
    assert world.read([world.caption(s) for s in world.scenes(pairs, random)]).sum() > 0


def test_the_lens_keeps_distances_and_small_pictures_are_the_course_s() -> None:
    from course_utils.data import CaptionedEmoji

    world = world_of(5)
    scenes = world.scenes(world.tested[:8], Random(2))
    pixels = challenge_03.pictures(scenes)
    plain, seen = pixels.flatten(1), world.see(scenes)
    torch.testing.assert_close(
        torch.cdist(seen, seen), torch.cdist(plain, plain), atol=1e-3, rtol=0
    )
    assert (seen - plain).abs().mean() > 0.1
    emoji = CaptionedEmoji(challenge_03.SUBSET, split="all")
    whole = torch.stack([emoji.render(s.concept, s.style, s.background) for s in scenes])
    torch.testing.assert_close(nn.functional.avg_pool2d(whole, 4), pixels, atol=1e-5, rtol=0)


def test_worlds_differ_and_batches_repeat() -> None:
    first, again, other = (practice(seed).arguments()["batch"]() for seed in (5, 5, 6))
    assert torch.equal(first["images"], again["images"])
    assert torch.equal(first["words"], again["words"])
    assert not torch.equal(first["images"], other["images"])
    assert world_of(5).vocabulary != world_of(6).vocabulary


def test_ties_are_no_finds_and_a_reader_that_knows_all_is_found() -> None:
    world = world_of(5)
    shapes = (challenge_03.IMAGE_WIDTH, 4), (world.words, 4)
    assert retrieval(world, *(np.ones(shape) for shape in shapes)) == (0.0, 0.0)
    assert retrieval(world, *(np.zeros(shape) for shape in shapes)) == (0.0, 0.0)
    # Least squares on the test itself, which no answer ever sees.
    names, seen = [], []
    for background in range(len(challenge_03.BACKGROUND_NAMES)):
        scenes = [challenge_03.Sight(*pair, background) for pair in world.tested]
        seen.append(world.see(scenes).double())
        names.append(world.read([world.caption(scene) for scene in scenes]).double())
    images, words = torch.cat(seen), torch.cat(names)
    words = nn.functional.normalize(words, dim=-1)
    solved = torch.linalg.lstsq(images, words, driver="gelsd").solution
    shares = retrieval(world, solved.numpy(), np.eye(world.words))
    assert min(shares) > 0.9


def test_what_is_no_pair_of_projections_is_refused() -> None:
    given = {"_seed": 5, **{k: v for k, v in practice(5).arguments().items() if k != "batch"}}
    good = (
        np.ones((given["image_width"], given["dim"])),
        np.ones((given["text_width"], given["dim"])),
    )
    assert measure_retrieval([given], [good]).value == 0.0
    for value in (None, good[0], [good[0]], [good[0], None], [good[0], good[1] * math.nan]):
        with pytest.raises(Refused):
            measure_retrieval([given], [value])
