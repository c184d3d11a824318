"""What is measured on pictures and on features, each in a function that shows its formula.

Pictures are float (B, 3, H, W) in [-1, 1]; features are float (B, D). The judge's features are unit
vectors. Nothing here knows a model, and whatever is random takes a generator.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.data.captions import BACKGROUNDS
from course_utils.data.emoji import nearest_background
from course_utils.images import to_uint8

# --- distance between two sets of pictures ------------------------------------------------------


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features.

    d^2 = |mu_a - mu_b|^2 + tr(S_a) + tr(S_b) - 2 tr((S_a S_b)^(1/2)), with S the covariances. If A
    and B hold the centred features divided by sqrt(n - 1), so that S_a = A^T A, then the last trace
    is the sum of the singular values of A B^T: exact, also where there are fewer pictures than
    dimensions.

    Source: Heusel et al. 2017, "GANs trained by a two time-scale update rule", equation 6, with
    other features than theirs, so the values do not compare with published FIDs. It is biased
    upwards for few pictures: compare values of equal numbers only.

    Args:
        features_a, features_b: (Na, D) and (Nb, D), at least two rows each.

    Returns:
        d^2, at least 0.

    Raises:
        ValueError: shapes that do not fit, or numbers that are not finite.
    """
    a, b = _check_features(features_a, features_b)
    gap = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    a, b = _root_covariance(a), _root_covariance(b)
    cross = torch.linalg.svdvals(a @ b.T).sum()
    return max(0.0, float(gap + a.square().sum() + b.square().sum() - 2 * cross))


def _root_covariance(features: Tensor) -> Tensor:
    """R with R^T R = covariance, of at most D rows."""
    centred = (features - features.mean(dim=0)) / math.sqrt(len(features) - 1)
    if len(centred) <= centred.shape[1]:
        return centred
    return torch.linalg.qr(centred, mode="r").R


def kernel_distance(
    features_a: Tensor,
    features_b: Tensor,
    groups_a: Tensor | None = None,
    groups_b: Tensor | None = None,
) -> float:
    """Kernel distance (KID): squared maximum mean discrepancy with k(x, y) = (x.y / D + 1)^3.

    MMD^2 = mean of k(a, a') over a != a' + mean of k(b, b') over b != b' - 2 mean of k(a, b).
    Unbiased: 0 on average for two independent samples of one distribution, so it can be below 0.

    Pictures of one prompt are not independent, neither two drawn ones nor a drawn and a real one.
    Where groups are given, only pictures of different groups are compared, in all three means,
    which keeps it unbiased; with one picture a group and set it is Gretton's statistic.

    Source: Binkowski et al. 2018, "Demystifying MMD GANs", section 4 and equation 4; Gretton et al.
    2012, "A kernel two-sample test", equation 4.

    Args:
        features_a, features_b: (Na, D) and (Nb, D), at least two rows each.
        groups_a, groups_b: (Na,) and (Nb,) whole numbers that tell what belongs together, in both
            sets; None: nothing does.

    Raises:
        ValueError: shapes that do not fit, groups for one set only, or no two different groups.
    """
    a, b = _check_features(features_a, features_b)
    if (groups_a is None) != (groups_b is None):
        raise ValueError("groups_a or groups_b is missing; expected both or none")
    if groups_a is None or groups_b is None:
        groups_a, groups_b = torch.arange(len(a)), -1 - torch.arange(len(b))

    def mean(x: Tensor, y: Tensor, groups_x: Tensor, groups_y: Tensor) -> float:
        apart = groups_x.cpu()[:, None] != groups_y.cpu()  # (Nx, Ny)
        if not bool(apart.any()):
            raise ValueError("groups hold no two pictures of different groups to compare")
        return float(((x @ y.T / x.shape[1] + 1) ** 3)[apart].mean())

    own = mean(a, a, groups_a, groups_a) + mean(b, b, groups_b, groups_b)
    return own - 2 * mean(a, b, groups_a, groups_b)


def _check_features(*sets: Tensor) -> list[Tensor]:
    for name, x in zip("ab", sets, strict=True):
        if x.ndim != 2 or len(x) < 2 or x.shape[1] != sets[0].shape[-1]:
            raise ValueError(
                f"features_{name} has shape {tuple(x.shape)}; expected (N, D) with at least two "
                "rows, and the same D in both"
            )
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"features_{name} holds numbers that are not finite")
    return [x.detach().cpu().double() for x in sets]


# --- single pictures ---------------------------------------------------------------------------


def saturation(pixels: Tensor) -> Tensor:
    """Mean saturation of each picture, (B,) in [0, 1].

    Of a pixel with channels scaled to [0, 1]: (max - min) / max, and 0 for black. Grey, white and
    black have 0, pure colours 1. Too much guidance drives it up.

    Source: Smith 1978, "Color gamut transform pairs": the S of HSV.
    """
    rgb = (_check_pixels(pixels).clamp(-1, 1) + 1) / 2
    most, least = rgb.amax(dim=1), rgb.amin(dim=1)  # (B, H, W)
    return ((most - least) / most.clamp_min(1e-12)).mean(dim=(1, 2))


def clipped_share(pixels: Tensor) -> Tensor:
    """Share of each picture's channel values that are 0 or 255 once they are bytes, (B,) in [0, 1].

    Real pictures have some as well, white backgrounds above all: what tells is the difference.
    """
    values = to_uint8(_check_pixels(pixels))
    return ((values == 0) | (values == 255)).float().mean(dim=(1, 2, 3))


def background_colour(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Which palette colour each picture's background is, and how far off.

    The pixels of a frame two wide vote for their nearest palette colour, corners twice as loud:
    `course_utils.data.nearest_background`, which is right on every picture of the data. (The median
    of the corners is not: some objects reach into them.) The distance is from the winner to the
    median colour of the pixels that voted for it.

    Args:
        pixels: (B, 3, H, W) in [-1, 1].

    Returns:
        index: (B,) int64 into `BACKGROUNDS`.
        distance: (B,) root mean square over the channels, in units of 0 to 255.
    """
    pixels = _check_pixels(pixels)
    index = nearest_background(pixels)
    palette = torch.tensor(list(BACKGROUNDS.values()), device=pixels.device) / 127.5 - 1  # (10, 3)
    inner = torch.zeros(pixels.shape[2:], dtype=torch.bool, device=pixels.device)
    inner[2:-2, 2:-2] = True
    frame = pixels[:, :, ~inner].mT  # (B, P, 3)
    votes = torch.cdist(frame, palette).argmin(dim=2) == index[:, None]  # (B, P)
    medians = torch.stack(
        [colours[vote].median(dim=0).values for colours, vote in zip(frame, votes, strict=True)]
    )
    return index, (medians - palette[index]).square().mean(dim=1).sqrt() * 127.5


def nearest_training(
    pictures: Tensor, training: Tensor, measure: str = "rmse"
) -> tuple[Tensor, Tensor]:
    """The training picture nearest to each picture, and how near it is.

    Args:
        pictures: (B, ...) pixels in [-1, 1] or features.
        training: (T, ...) of the same kind.
        measure: "rmse", the root mean square difference of all values (0 to 2 for pixels); or
            "cosine", 1 - cosine (0 to 2), for features.

    Returns:
        index: (B,) int64 into `training`.
        distance: (B,).

    Raises:
        ValueError: shapes that do not fit, no training pictures, or an unknown measure.
    """
    if pictures.shape[1:] != training.shape[1:] or pictures.ndim < 2 or not len(training):
        raise ValueError(
            f"pictures has shape {tuple(pictures.shape)} and training {tuple(training.shape)}; "
            "expected (B, ...) and (T, ...) with the same rest, and T > 0"
        )
    if measure not in ("rmse", "cosine"):
        raise ValueError(f"measure is {measure!r}; expected 'rmse' or 'cosine'")
    a, b = pictures.float().flatten(1), training.float().flatten(1)
    if measure == "cosine":
        a, b = (torch.nn.functional.normalize(x, dim=1) for x in (a, b))
        best = (a @ b.T).max(dim=1)
        return best.indices, 1 - best.values
    index = torch.cat([torch.cdist(part, b).argmin(dim=1) for part in a.split(256)])
    # Again without the shortcut through dot products, which is coarse near 0.
    return index, rmse(a, b[index])


def rmse(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square difference of each pair of pictures, (B, ...) and (B, ...) -> (B,)."""
    return (a.float() - b.float()).flatten(1).square().mean(dim=1).sqrt()


# --- several pictures of one prompt ------------------------------------------------------------


def diversity(features: Tensor) -> Tensor:
    """How far apart the pictures of one prompt are: mean of 1 - cosine over all pairs of seeds.

    Args:
        features: (P, K, D), K >= 2 seeds of each of P prompts.

    Returns:
        (P,), 0 where all seeds give the same features.
    """
    if features.ndim != 3 or features.shape[1] < 2:
        raise ValueError(f"features has shape {tuple(features.shape)}; expected (P, K >= 2, D)")
    units = torch.nn.functional.normalize(features.float(), dim=-1)
    seeds = units.shape[1]
    # |sum of u_i|^2 = K + sum over i != j of u_i . u_j
    others = units.sum(dim=1).square().sum(dim=-1) - seeds
    return 1 - others / (seeds * (seeds - 1))


def pixel_diversity(pixels: Tensor) -> Tensor:
    """Standard deviation of a pixel over the seeds of one prompt: root of the mean variance.

    Args:
        pixels: (P, K, 3, H, W) in [-1, 1], K >= 2 seeds of each of P prompts.

    Returns:
        (P,) in the units of the pixels.
    """
    if pixels.ndim != 5 or pixels.shape[1] < 2:
        raise ValueError(f"pixels has shape {tuple(pixels.shape)}; expected (P, K >= 2, 3, H, W)")
    return pixels.float().var(dim=1).mean(dim=(1, 2, 3)).sqrt()


def _check_pixels(pixels: Tensor) -> Tensor:
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ValueError(f"pixels has shape {tuple(pixels.shape)}; expected (B, 3, H, W)")
    return pixels.detach().float()
