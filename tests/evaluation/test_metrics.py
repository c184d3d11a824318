"""Each measurement against an implementation that is not ours, or a closed form."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from course_utils.data import BACKGROUNDS, CaptionedEmoji
from course_utils.evaluation import (
    background_colour,
    clipped_share,
    diversity,
    frechet_distance,
    kernel_distance,
    nearest_training,
    pixel_diversity,
    saturation,
)
from course_utils.images import from_pil


def gaussian(count: int, width: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64) / width**0.5
    return torch.randn(count, width, generator=generator, dtype=torch.float64) @ mix + shift


def moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return features.mean(dim=0), torch.from_numpy(np.cov(features.numpy(), rowvar=False))


# --- Fréchet distance and KID ------------------------------------------------------------------


@pytest.mark.parametrize(("count", "width"), [(200, 12), (40, 30), (16, 24)])
def test_frechet_distance_is_that_of_torchmetrics(count: int, width: int) -> None:
    compute_fid = pytest.importorskip("torchmetrics.image.fid")._compute_fid
    a, b = gaussian(count, width, 0), gaussian(count + 7, width, 1, shift=0.3)
    theirs = float(compute_fid(*moments(a), *moments(b)))
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-4)


def test_frechet_distance_is_that_of_scipy() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    a, b = gaussian(150, 10, 2), gaussian(90, 10, 3, shift=0.5)
    (mu_a, s_a), (mu_b, s_b) = moments(a), moments(b)
    root = linalg.sqrtm((s_a @ s_b).numpy()).real
    theirs = float((mu_a - mu_b).square().sum() + s_a.trace() + s_b.trace()) - 2 * np.trace(root)
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-8)


def test_frechet_distance_closed_forms() -> None:
    a = gaussian(50, 6, 4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2.0) == pytest.approx(6 * 4.0)  # only the means differ
    # Scaled by 3 about its mean: tr(S) + 9 tr(S) - 2 * 3 tr(S) = 4 tr(S)
    scaled = (a - a.mean(0)) * 3 + a.mean(0)
    assert frechet_distance(a, scaled) == pytest.approx(4 * float(moments(a)[1].trace()))


@pytest.mark.parametrize("width", [8, 64])
def test_kernel_distance_is_that_of_torchmetrics(width: int) -> None:
    poly_mmd = pytest.importorskip("torchmetrics.image.kid").poly_mmd
    a, b = gaussian(60, width, 5), gaussian(60, width, 6, shift=0.2)
    assert kernel_distance(a, b) == pytest.approx(float(poly_mmd(a, b)), rel=1e-9)


def test_kernel_distance_of_unequal_sets_by_hand() -> None:
    a, b = gaussian(5, 3, 7), gaussian(4, 3, 8)

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return (float(x @ y) / 3 + 1) ** 3

    aa = [k(a[i], a[j]) for i in range(5) for j in range(5) if i != j]
    bb = [k(b[i], b[j]) for i in range(4) for j in range(4) if i != j]
    ab = [k(x, y) for x in a for y in b]
    expected = sum(aa) / len(aa) + sum(bb) / len(bb) - 2 * sum(ab) / len(ab)
    assert kernel_distance(a, b) == pytest.approx(expected)


def test_kernel_distance_is_unbiased() -> None:
    pool = torch.randn(400, 20, 4, generator=torch.Generator().manual_seed(0))
    same = [kernel_distance(x[:10], x[10:]) for x in pool]
    assert abs(float(np.mean(same))) < 4 * float(np.std(same)) / math.sqrt(len(same))


def test_kernel_distance_of_pairs_that_belong_together() -> None:
    """Drawn and real pictures of one prompt are alike; that must not count as agreement."""
    real = gaussian(12, 4, 0)
    groups = torch.arange(12)
    assert kernel_distance(real, real) < -0.1  # each is compared with itself
    assert kernel_distance(real, real, groups, groups) == pytest.approx(0, abs=1e-12)
    twice = real.repeat_interleave(2, dim=0)
    both = groups.repeat_interleave(2)
    assert kernel_distance(twice, real, both, groups) == pytest.approx(0, abs=1e-12)
    # One picture a group: equation 4 of Gretton et al. 2012.
    a, b = gaussian(6, 3, 1), gaussian(6, 3, 2)

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return (float(x @ y) / 3 + 1) ** 3

    h = [
        k(a[i], a[j]) + k(b[i], b[j]) - k(a[i], b[j]) - k(a[j], b[i])
        for i in range(6)
        for j in range(6)
        if i != j
    ]
    ours = kernel_distance(a, b, torch.arange(6), torch.arange(6))
    assert ours == pytest.approx(sum(h) / len(h))
    with pytest.raises(ValueError, match="both or none"):
        kernel_distance(a, b, groups_a=torch.arange(6))
    with pytest.raises(ValueError, match="no two pictures"):
        kernel_distance(a, b, torch.zeros(6), torch.zeros(6))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_distances_refuse_what_they_cannot_measure(distance) -> None:
    good = gaussian(5, 3, 0)
    for bad in (good[:1], good[:, :2], good[0], good * math.nan):
        with pytest.raises(ValueError, match="features_b"):
            distance(good, bad)


# --- single pictures ---------------------------------------------------------------------------


def test_saturation_is_that_of_colorsys() -> None:
    pixels = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pixels[0, :, 0, 0] = -1  # black
    expected = [
        np.mean([colorsys.rgb_to_hsv(*((p + 1) / 2).tolist())[1] for p in x.flatten(1).T])
        for x in pixels
    ]
    torch.testing.assert_close(saturation(pixels).tolist(), [float(e) for e in expected])


def test_saturation_of_known_colours() -> None:
    colours = {"white": 0.0, "black": 0.0, "gray": 0.0, "red": 1.0, "#804040": 0.5}
    for colour, expected in colours.items():
        pixels = from_pil(Image.new("RGB", (8, 8), colour))[None]
        assert float(saturation(pixels)) == pytest.approx(expected, abs=0.004)


def test_clipped_share_counts_bytes_at_the_ends() -> None:
    image = Image.new("RGB", (4, 4), (255, 0, 7))  # two of three channels
    assert float(clipped_share(from_pil(image)[None])) == pytest.approx(2 / 3)
    assert float(clipped_share(torch.full((1, 3, 4, 4), 5.0))) == 1.0  # beyond the range


def test_background_colour_of_pictures_drawn_with_pillow() -> None:
    for index, (name, rgb) in enumerate(BACKGROUNDS.items()):
        image = Image.new("RGB", (64, 64), tuple(max(0, c - 10) for c in rgb))
        ImageDraw.Draw(image).ellipse((4, -6, 60, 70), fill="black")  # cuts two edges
        found, distance = background_colour(from_pil(image)[None])
        assert list(BACKGROUNDS)[int(found)] == name and int(found) == index
        off = math.sqrt(sum(min(c, 10) ** 2 for c in rgb) / 3)
        assert float(distance) == pytest.approx(off, abs=0.01)


def test_background_colour_is_right_on_real_pictures() -> None:
    data = CaptionedEmoji("starter", split="all")
    pairs = torch.tensor(data.pairs[::9])
    for colour in range(len(BACKGROUNDS)):
        asked = torch.full((len(pairs),), colour)
        found, distance = background_colour(data.render_batch(pairs[:, 0], pairs[:, 1], asked))
        assert (found == colour).all() and distance.max() < 1


def test_nearest_training_is_that_of_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    training = torch.rand(30, 3, 8, 8, generator=generator) * 2 - 1
    pictures = training[[4, 17]] + 0.05 * torch.randn(2, 3, 8, 8, generator=generator)
    index, distance = nearest_training(pictures, training)
    table = [
        [float(np.sqrt(((p - t) ** 2).mean())) for t in training.numpy()] for p in pictures.numpy()
    ]
    assert index.tolist() == [4, 17] == np.argmin(table, axis=1).tolist()
    np.testing.assert_allclose(distance, np.min(table, axis=1), rtol=1e-5)
    index, distance = nearest_training(training[:5], training)
    assert index.tolist() == [0, 1, 2, 3, 4] and distance.max() == 0


def test_nearest_training_by_cosine_is_that_of_scipy() -> None:
    cdist = pytest.importorskip("scipy.spatial.distance").cdist
    a, b = gaussian(6, 9, 0), gaussian(20, 9, 1)
    index, distance = nearest_training(a, b, measure="cosine")
    table = cdist(a.numpy(), b.numpy(), "cosine")
    assert index.tolist() == table.argmin(axis=1).tolist()
    np.testing.assert_allclose(distance, table.min(axis=1), rtol=1e-4)
    with pytest.raises(ValueError, match="measure"):
        nearest_training(a, b, measure="manhattan")
    with pytest.raises(ValueError, match="training"):
        nearest_training(a, b[:, :3])


# --- several pictures of one prompt ------------------------------------------------------------


def test_diversity_is_the_mean_of_scipys_pairwise_distances() -> None:
    pdist = pytest.importorskip("scipy.spatial.distance").pdist
    features = gaussian(3 * 5, 7, 0).view(3, 5, 7)
    expected = [float(pdist(x.numpy(), "cosine").mean()) for x in features]
    torch.testing.assert_close(diversity(features).tolist(), expected, rtol=1e-5, atol=1e-6)
    assert diversity(features[:, :1].expand(3, 4, 7)).abs().max() < 1e-6
    with pytest.raises(ValueError, match="K >= 2"):
        diversity(features[:, :1])


def test_pixel_diversity_is_numpys_standard_deviation() -> None:
    pixels = torch.rand(2, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = np.sqrt(pixels.numpy().var(axis=1, ddof=1).mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(pixel_diversity(pixels), expected, rtol=1e-5)
    noise = torch.randn(1, 50, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.3
    assert float(pixel_diversity(noise)) == pytest.approx(0.3, rel=0.01)
