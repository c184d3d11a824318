"""What is read in scenes, on real ones, against scipy and numpy."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch.testing import assert_close

from course_utils.data.captions import BACKGROUNDS
from course_utils.data.places import LIGHTS
from course_utils.data.scenes import Scene, Thing, World, size_name, turn_name, zone
from course_utils.evaluation.judge import Judge
from course_utils.evaluation.scene_checks import (
    PlaceReader,
    box_of,
    cut_out,
    foreground,
    frame_colour,
    pieces,
    read_plain,
    sharpness,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World("scenes")


@pytest.fixture(scope="module")
def judge(world: World) -> Judge:
    return Judge.load().among([concept.name for concept in world.concepts])


@pytest.fixture(scope="module")
def plain(world: World) -> tuple[list[Scene], torch.Tensor]:
    rng = Random(4)
    scenes = [
        replace(s, place=rng.choice(list(BACKGROUNDS)), light="plain", damage="none")
        for s in world.draw(120, rng)
    ]
    return scenes, world.render(scenes, torch.Generator().manual_seed(0))


def test_pieces_are_those_that_scipy_labels() -> None:
    mask = torch.rand(6, 48, 48, generator=torch.Generator().manual_seed(3)) < 0.04
    mask = torch.nn.functional.max_pool2d(mask[:, None].float(), 5, 1, 2)[:, 0] > 0
    for own, picture in zip(pieces(mask), mask.numpy(), strict=True):
        grown = scipy.ndimage.binary_dilation(picture, np.ones((3, 3)))
        labels, count = scipy.ndimage.label(grown, np.ones((3, 3)))
        areas = sorted(((labels == n) & picture).sum() for n in range(1, count + 1))[::-1]
        least = max(24, 0.22 * areas[0])
        assert [int(p.sum()) for p in own] == [a for a in areas if a >= least]


def test_the_frame_decides_what_is_background() -> None:
    x = torch.full((1, 3, 32, 32), -0.5)
    x[:, :, 10:20, 5:30] = 0.7
    x[:, :, :6, :3] = 0.9  # reaches into the frame, and is outvoted
    assert_close(frame_colour(x), torch.full((1, 3), -0.5))
    assert int(foreground(x).sum()) == 10 * 25 + 6 * 3
    box = box_of(pieces(foreground(x))[0][0])
    assert (box.x, box.y, box.size) == (17.5 / 32, 15 / 32, 25 / 32)


def test_cutting_out_undoes_turn_place_and_size(world: World) -> None:
    generator = torch.Generator().manual_seed(0)
    upright, turned = (Thing(13, 0.5, 0.5, 0.9), Thing(13, 0.4, 0.56, 0.6, 180))
    pictures = world.render([Scene((t,), "flat", "teal") for t in (upright, turned)], generator)
    boxes = [box_of(parts[0]) for parts in pieces(foreground(pictures))]
    same, back = cut_out(pictures[0], boxes[0]), cut_out(pictures[1], boxes[1], 180.0)
    wrong = cut_out(pictures[1], boxes[1])
    assert float((same - back).abs().mean()) < 0.12 < 0.2 < float((same - wrong).abs().mean())


def test_real_scenes_are_read_right(world: World, judge: Judge, plain) -> None:
    """The shares are the ceiling of what a drawn picture can reach."""
    scenes, pixels = plain
    readings = read_plain(
        pixels,
        judge,
        [s.things[0].concept for s in scenes],
        [turn_name(s.things[0]) != "upright" for s in scenes],
    )
    both = list(zip(scenes, readings, strict=True))
    alone = [(s.things[0], r) for s, r in both if len(s.things) == 1]

    def share(right: list[bool]) -> float:
        return sum(right) / len(right)

    assert share([len(s.things) == r.number for s, r in both]) > 0.93
    assert share([r.things[:1] == (t.concept,) for t, r in alone]) > 0.9
    assert share([zone(t.x, t.y) == r.zone for t, r in alone]) > 0.8
    assert share([size_name(t.size) == r.size for t, r in alone]) > 0.8
    assert share([turn_name(t) == r.turn for t, r in alone]) > 0.85


def test_an_empty_picture_shows_nothing(judge: Judge) -> None:
    reading = read_plain(torch.zeros(1, 3, 64, 64), judge, [0])[0]
    assert reading.number == 0 and reading.things == ()


def test_places_and_lights_are_read_right(world: World) -> None:
    reader, rng = PlaceReader(), Random(8)
    lights = [rng.choice(list(LIGHTS)) for _ in range(300)]
    scenes = [
        replace(s, damage="none", light=light)
        for s, light in zip(world.draw(300, rng), lights, strict=True)
        if s.place not in ("night sky", "space")  # dark already
    ]
    read = reader.read(world.render(scenes, torch.Generator().manual_seed(1)))
    places = [s.place == place for s, (place, _) in zip(scenes, read, strict=True)]
    lit = [s.light == light for s, (_, light) in zip(scenes, read, strict=True)]
    assert sum(places) / len(places) > 0.9
    assert sum(lit) / len(lit) > 0.9


def test_blur_is_less_sharp(world: World) -> None:
    scenes = [Scene((Thing(i, 0.5, 0.5, 0.6),), "flat", "white") for i in range(12)]
    blurred = [replace(s, damage="blur") for s in scenes]
    x, y = (world.render(s, torch.Generator().manual_seed(0)) for s in (scenes, blurred))
    assert (sharpness(y) < 0.6 * sharpness(x)).all()
    assert_close(sharpness(torch.zeros(2, 3, 64, 64)), torch.zeros(2))
