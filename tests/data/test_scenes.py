"""Scenes: what they may show, and that pictures show it, against Pillow and arithmetic."""

from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from course_utils.data.captions import BACKGROUNDS, STYLES
from course_utils.data.concepts import held_out_pairs, load_art
from course_utils.data.scenes import (
    LARGE,
    SMALL,
    TURNS,
    Mix,
    Scene,
    Thing,
    World,
    size_name,
    turn_name,
    zone,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World("scenes")


@pytest.fixture(scope="module")
def drawn(world: World) -> list[Scene]:
    return world.draw(6000, Random(1))


def alpha(world: World, thing: Thing, style: str = "flat") -> torch.Tensor:
    return world.pose([thing], [STYLES.index(style)])[0, 3]  # (H, W)


def centroid(mask: torch.Tensor) -> tuple[float, float]:
    at = (torch.arange(64) + 0.5) / 64
    total = float(mask.sum())
    return float((mask.sum(0) * at).sum()) / total, float((mask.sum(1) * at).sum()) / total


def test_upright_full_size_is_the_art_itself(world: World) -> None:
    art = torch.from_numpy(load_art("scenes")).float()[4, 1].movedim(-1, 0) / 255
    posed = world.pose([Thing(4, 0.5, 0.5, 1.0)], [1])[0]
    assert_close(posed[3], art[3], atol=2e-3, rtol=0)
    assert_close(posed[:3], art[:3] * art[3:], atol=2e-3, rtol=0)


@pytest.mark.parametrize("turn", [0.0, 32.0, -32.0, 90.0, 180.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turns_and_mirrors_as_pillow_does(world: World, turn: float, mirrored: bool) -> None:
    whole = alpha(world, Thing(11, 0.5, 0.5, 1.0))
    image = Image.fromarray((whole * 255).byte().numpy())
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    theirs = np.asarray(image.rotate(-turn, resample=Image.Resampling.BILINEAR)) / 255
    ours = alpha(world, Thing(11, 0.5, 0.5, 1.0, turn, mirrored))
    assert float((ours - torch.from_numpy(theirs)).abs().mean()) < 0.01


@pytest.mark.parametrize("size", [0.4, 0.75])
@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (0.3, 0.6), (0.62, 0.4)])
def test_place_and_size_are_where_they_were_asked(
    world: World, size: float, x: float, y: float
) -> None:
    whole, part = alpha(world, Thing(6, 0.5, 0.5, 1.0)), alpha(world, Thing(6, x, y, size))
    cx, cy = centroid(whole)
    assert centroid(part)[0] == pytest.approx(x + (cx - 0.5) * size, abs=0.012)
    assert centroid(part)[1] == pytest.approx(y + (cy - 0.5) * size, abs=0.012)
    assert float(part.sum() / whole.sum()) == pytest.approx(size**2, rel=0.05)


def test_a_scene_is_things_over_place_in_light(world: World) -> None:
    thing = Thing(2, 0.4, 0.4, 0.5)
    scene = Scene((thing,), "noto", "blue", "dark")
    picture = world.render([scene], torch.Generator().manual_seed(0))[0]
    rgba = world.pose([thing], [STYLES.index("noto")])[0]
    blue = torch.tensor(BACKGROUNDS["blue"])[:, None, None] / 255
    dark = torch.tensor((0.48, 0.50, 0.64))[:, None, None]
    assert_close(picture, (rgba[:3] + (1 - rgba[3:]) * blue) * dark * 2 - 1, atol=1e-5, rtol=0)


def test_pictures_of_a_batch_are_those_of_each_alone(world: World, drawn: list[Scene]) -> None:
    plain = [replace(s, place="teal") for s in drawn[:40]]
    generator = torch.Generator().manual_seed(0)
    together = world.render(plain, generator)
    alone = torch.cat([world.render([scene], generator) for scene in plain])
    assert_close(together, alone)
    assert together.shape == (40, 3, 64, 64) and together.abs().max() <= 1


def test_later_things_lie_over_earlier_ones(world: World) -> None:
    back, front = Thing(0, 0.5, 0.5, 0.9), Thing(6, 0.5, 0.5, 0.9)
    generator = torch.Generator().manual_seed(0)
    both, one = world.render(
        [Scene((back, front), "flat", "red"), Scene((front,), "flat", "red")], generator
    )
    solid = alpha(world, front) > 0.999
    assert_close(both[:, solid], one[:, solid], atol=1e-3, rtol=0)


def test_shares_are_those_of_the_mix(drawn: list[Scene]) -> None:
    mix, count = Mix(), len(drawn)
    alone = [s for s in drawn if len(s.things) == 1]
    shares = {
        "one": (len(alone) / count, 1 - mix.same - mix.other),
        "scenery": (sum(s.place not in BACKGROUNDS for s in drawn) / count, mix.scenery),
        "damaged": (sum(s.damage != "none" for s in drawn) / count, mix.damaged),
        "warm": (sum(s.light == "warm" for s in drawn) / count, mix.warm),
        "small": (sum(s.things[0].size < SMALL for s in alone) / len(alone), mix.small),
        "large": (sum(s.things[0].size > LARGE for s in alone) / len(alone), mix.large),
        "turned": (
            sum(turn_name(s.things[0]) != "upright" for s in alone) / len(alone),
            mix.turned,
        ),
    }
    for name, (found, asked) in shares.items():
        assert found == pytest.approx(asked, abs=4 * (asked * (1 - asked) / len(alone)) ** 0.5), (
            name
        )


def test_several_things_do_not_cover_each_other(drawn: list[Scene]) -> None:
    for scene in drawn:
        for i, a in enumerate(scene.things):
            for b in scene.things[:i]:
                assert max(abs(a.x - b.x), abs(a.y - b.y)) > a.size


def test_held_out_pairs_and_places_never_happen(world: World, drawn: list[Scene]) -> None:
    styles = {(i, STYLES[s]) for i, s in held_out_pairs("scenes")}
    places = set(world.held_out_places())
    assert len(styles) >= 4 and len(places) >= 15
    for scene in drawn:
        for thing in scene.things:
            assert (thing.concept, scene.style) not in styles
            assert (thing.concept, scene.place) not in places
    assert len({(t.concept, s.place) for s in drawn for t in s.things}) > 400  # all others do


def test_the_same_seed_draws_the_same_scenes(world: World) -> None:
    assert world.draw(20, Random(3)) == world.draw(20, Random(3)) != world.draw(20, Random(4))


def test_dark_skies_stay_as_they_are(drawn: list[Scene]) -> None:
    lights = Counter((s.place, s.light) for s in drawn)
    assert lights["night sky", "dark"] == lights["space", "dark"] == 0
    assert lights["grass", "dark"] > 0


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0.2, 0.5, ("left", "middle")),
        (0.5, 0.5, ("middle", "middle")),
        (0.9, 0.1, ("right", "top")),
    ],
)
def test_zones(x: float, y: float, expected: tuple[str, str]) -> None:
    assert zone(x, y) == expected


def test_names_of_sizes_and_turns() -> None:
    assert [size_name(s) for s in (0.3, 0.5, 0.9)] == ["small", "medium", "large"]
    for name, degrees in TURNS.items():
        for off in (-8, 0, 8, 360):
            assert turn_name(Thing(0, 0.5, 0.5, 0.5, degrees + off)) == name
