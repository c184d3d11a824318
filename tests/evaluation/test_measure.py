"""The nearest training picture: found by brute force, and never among another set's."""

from __future__ import annotations

from typing import Any

import torch
from torch.testing import assert_close

from course_utils.data.emoji import CaptionedEmoji
from course_utils.evaluation import measure
from course_utils.evaluation.measure import Scene


def make_scene() -> Scene:
    data = CaptionedEmoji("smoke", split="all")
    judge: Any = None  # `nearest` does not ask it
    return Scene(judge, "smoke", tuple(c.name for c in data.concepts), data.pairs[:10])


def by_hand(scene: Scene, pixels: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
    rows = []
    for picture, colour in zip(pixels, background, strict=True):
        every = scene.render_pairs(scene.training, colour.expand(len(scene.training)))
        rows.append((every - picture).square().mean(dim=(1, 2, 3)).sqrt().min())
    return torch.stack(rows)


def test_the_nearest_is_that_of_brute_force(monkeypatch: Any) -> None:
    scene = make_scene()
    background = torch.tensor([0, 3, 3, 7])
    pixels = scene.render_pairs(torch.tensor([[0, 0], [1, 2], [5, 1], [7, 3]]), background)
    pixels = pixels + 0.3 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    expected = by_hand(scene, pixels, background)
    for _ in range(2):  # the second time from what was kept
        assert_close(scene.nearest(pixels, background)[1], expected)
    monkeypatch.setattr(measure, "KEEP", 0)
    assert_close(make_scene().nearest(pixels, background)[1], expected)


def test_another_set_of_trained_pairs_is_searched_itself() -> None:
    """What a scene keeps of its own pairs is not taken for those of a scene made from it."""
    scene = make_scene()
    new = torch.tensor([[7, 3]])
    colour = torch.tensor([4])
    picture = scene.render_pairs(new, colour)
    assert float(scene.nearest(picture, colour)[1]) > 0.05
    wider = scene.with_training(torch.cat([scene.training, new]))
    pair, distance = wider.nearest(picture, colour)
    assert pair.tolist() == new.tolist()
    assert float(distance) < 1e-4
    assert float(scene.nearest(picture, colour)[1]) > 0.05, "the first scene is as it was"
