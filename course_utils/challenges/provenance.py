"""Where latents come from: whether a chain holds anything but its noise and the network's answers.

A network that has learned its pictures well draws them as near to the data set as a copy would
come, so the distance to the data does not tell a copy. Where the latents came from does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


def share_from_elsewhere(x_T: Array, trace: Sequence[Mapping[str, Any]]) -> float:
    """How much of a picture's latents came from elsewhere: the largest share, 0 to 1.

    Everything that is used must be a weighted sum of the picture's x_T and of what the network has
    answered for it so far. The share is the length of the rest.

    Args:
        x_T: (N, C, h, w).
        trace: what was used, in order: each with "used", (m * N, C, h, w), all N pictures once or
            several times one after the other, and "answer" of the same shape where the network
            answered.
    """
    count = len(x_T)
    basis = torch.from_numpy(x_T).double().view(count, 1, -1)
    worst = 0.0
    for event in trace:
        worst = max(worst, _outside(_by_picture(event["used"], count), basis))
        if "answer" in event:
            basis = torch.cat([basis, _by_picture(event["answer"], count)], dim=1)
    return worst


def _by_picture(rows: Array, count: int) -> Tensor:
    """(m * N, C, h, w) -> (N, m, C * h * w): the pictures once, or twice one after the other."""
    return torch.from_numpy(rows).double().view(-1, count, rows[0].size).transpose(0, 1)


def _outside(vectors: Tensor, basis: Tensor) -> float:
    """The largest share of vectors (N, m, D) that lies outside the span of a basis (N, k, D)."""
    _, size, rows = torch.linalg.svd(basis, full_matrices=False)  # (N, r), (N, r, D)
    rows = rows * (size > 1e-6 * size[:, :1])[..., None]
    rest = vectors - (vectors @ rows.transpose(1, 2)) @ rows
    return float((rest.norm(dim=2) / vectors.norm(dim=2).clamp(min=1e-9)).max())
