"""Point sets in the plane."""

from __future__ import annotations

import math

import pytest
import torch

from course_utils.data.toy import TOY_DATA, checkerboard, gaussian_ring


@pytest.mark.parametrize("name", TOY_DATA)
def test_shape_scale_and_seed(name: str) -> None:
    draw = TOY_DATA[name]
    points = draw(20_000, torch.Generator().manual_seed(1))
    assert points.shape == (20_000, 2) and points.dtype == torch.float32
    torch.testing.assert_close(points.mean(dim=0), torch.zeros(2), rtol=0, atol=0.04)
    torch.testing.assert_close(points.std(dim=0), torch.ones(2), rtol=0, atol=0.03)
    torch.testing.assert_close(points, draw(20_000, torch.Generator().manual_seed(1)))
    assert draw(1, torch.Generator().manual_seed(1)).shape == (1, 2)
    assert not torch.equal(points[:5], draw(5, torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_bad_counts(n: object) -> None:
    with pytest.raises(ValueError, match=rf"n={n}: expected a whole number"):
        checkerboard(n, torch.Generator())  # type: ignore[arg-type]


def test_ring_has_eight_centres() -> None:
    points = gaussian_ring(8_000, torch.Generator().manual_seed(0))
    sector = (torch.atan2(points[:, 1], points[:, 0]) / (math.tau / 8)).round().long() % 8
    assert sector.bincount(minlength=8).min() > 850
    assert abs(points.norm(dim=1).mean() - 1.40) < 0.02


def test_checkerboard_is_half_empty() -> None:
    points = checkerboard(50_000, torch.Generator().manual_seed(0))
    cell = ((points - points.amin(0)) / (points.amax(0) - points.amin(0)) * 3.9999).floor().long()
    counts = (cell[:, 0] * 4 + cell[:, 1]).bincount(minlength=16).sort().values
    assert counts[:8].max() < 60 and counts[8:].min() > 5_500
