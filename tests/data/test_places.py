"""Places, light and damage, against Pillow, scipy and arithmetic."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch.testing import assert_close

from course_utils.data.captions import BACKGROUNDS
from course_utils.data.places import (
    DAMAGES,
    LIGHTS,
    PLACES,
    SCENERY,
    damage,
    light_up,
    paint_places,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_plain_colours_are_the_palette() -> None:
    names = list(BACKGROUNDS)
    painted = paint_places(names, 16, generator())
    for picture, name in zip(painted, names, strict=True):
        assert_close(
            picture, (torch.tensor(BACKGROUNDS[name]) / 255)[:, None, None].expand(3, 16, 16)
        )


@pytest.mark.parametrize("place", SCENERY)
def test_scenery_differs_each_time_and_repeats_with_its_seed(place: str) -> None:
    first, again, other = (paint_places([place] * 2, 64, generator(s)) for s in (1, 1, 2))
    assert_close(first, again)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first[0], first[1])
    assert 0 <= float(first.min()) <= float(first.max()) <= 1


def test_places_look_unlike_each_other() -> None:
    means = paint_places(PLACES, 64, generator()).mean(dim=(2, 3))  # (17, 3)
    layouts = torch.nn.functional.adaptive_avg_pool2d(paint_places(PLACES, 64, generator()), 4)
    apart = torch.cdist(layouts.flatten(1), layouts.flatten(1)) / 48**0.5
    apart.fill_diagonal_(1)
    assert means.shape == (17, 3)
    assert float(apart.min()) > 0.05


def test_order_of_rows_stays() -> None:
    mixed = paint_places(["blue", "sunset", "red", "blue"], 8, generator())
    assert_close(mixed[0], mixed[3])
    assert_close(mixed[2, :, 0, 0], torch.tensor(BACKGROUNDS["red"]) / 255)
    assert not torch.allclose(mixed[1, :, 0, 0], mixed[1, :, 7, 0])


def test_light_multiplies_each_channel() -> None:
    x = torch.rand(3, 3, 4, 4, generator=generator())
    lit = light_up(x, list(LIGHTS))
    for i, factors in enumerate(LIGHTS.values()):
        for channel, factor in enumerate(factors):
            assert_close(lit[i, channel], x[i, channel] * factor)


def test_blur_is_a_gaussian() -> None:
    x = torch.rand(1, 3, 32, 32, generator=generator())
    theirs = np.stack(
        [
            scipy.ndimage.gaussian_filter(c, 1.8, mode="nearest", truncate=4 / 1.8)
            for c in x[0].numpy()
        ]
    )
    assert_close(damage(x, ["blur"])[0], torch.from_numpy(theirs), atol=1e-5, rtol=0)


def test_blocks_are_means_of_squares_and_clipping_reaches_the_ends() -> None:
    x = torch.rand(2, 3, 16, 16, generator=generator())
    blocky, clipped = damage(x, ["blocks", "clipped"])
    assert_close(
        blocky[:, 4:8, 8:12], x[0, :, 4:8, 8:12].mean((1, 2))[:, None, None].expand(3, 4, 4)
    )
    assert float((clipped == 0).float().mean()) > 0.05 < float((clipped == 1).float().mean())
    assert ((clipped >= 0) & (clipped <= 1)).all()


def test_undamaged_pictures_stay() -> None:
    x = torch.rand(4, 3, 16, 16, generator=generator())
    spoilt = damage(x, list(DAMAGES))
    assert_close(spoilt[0], x[0], atol=0, rtol=0)
    assert all(not torch.allclose(a, b) for a, b in zip(spoilt[1:], x[1:], strict=True))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: paint_places(["forrest"], 8, generator()), "place='forrest' is not known"),
        (lambda: paint_places(["deserts"], 8, generator()), "did you mean 'desert'"),
        (lambda: light_up(torch.zeros(1, 3, 2, 2), ["neon"]), "light='neon'"),
        (lambda: damage(torch.zeros(1, 3, 4, 4), ["burnt"]), "damage='burnt'"),
    ],
)
def test_unknown_names_are_refused(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
