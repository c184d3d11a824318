"""What a drawn scene shows, read from its pixels: things, number, place, size, turn, light.

On a plain colour the colour of the frame is known, and what differs from it is a thing: its pieces
are counted, its middle and its width give place and size, and the judge looks at it once it is cut
out, turned upright and laid on the same colour. Place and light are those whose empty scenes look
most alike. None of it saw a drawn picture, so the share that it reads right on real scenes is the
ceiling for drawn ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.data.concepts import SIZE
from course_utils.data.places import LIGHTS, PLACES, light_up, paint_places
from course_utils.data.scenes import TURNS, size_name, zone
from course_utils.evaluation.judge import Judge

APART = 0.13
"""How far from the frame's colour a thing's pixel is: root mean square over channels in [0, 1]."""
LEAST = 24  # pixels of a piece that counts as a thing
PART = 0.22  # ... and at least this share of the largest piece
FILL = 0.92  # share of the side that a thing takes when the judge looks at it


def frame_colour(pixels: Tensor) -> Tensor:
    """The commonest colour along the edge of each picture: (B, 3, H, W) -> (B, 3).

    The edge pixel with the most others near it decides, so things that reach the edge are outvoted.
    """
    rows, columns = pixels, pixels[:, :, 2:-2]
    sides = (rows[:, :, :2], rows[:, :, -2:], columns[:, :, :, :2], columns[:, :, :, -2:])
    edge = torch.cat([part.flatten(2) for part in sides], dim=2).mT  # (B, P, 3)
    near = torch.cdist(edge, edge) < 2 * APART
    best = near.sum(dim=2).argmax(dim=1)  # (B,)
    rows = torch.arange(len(edge))
    votes = near[rows, best].unsqueeze(2)  # (B, P, 1)
    return (edge * votes).sum(dim=1) / votes.sum(dim=1)


def foreground(pixels: Tensor) -> Tensor:
    """Which pixels of pictures on a plain colour belong to things: (B, H, W) bool.

    Args:
        pixels: (B, 3, H, W) in [-1, 1].
    """
    x = (pixels.clamp(-1, 1) + 1) / 2
    away = x - frame_colour(x)[:, :, None, None]
    return away.square().mean(dim=1).sqrt() > APART


def pieces(mask: Tensor) -> list[list[Tensor]]:
    """Connected pieces of each mask, the largest first; specks are left out.

    Pieces that lie within two pixels of each other count as one: a face's eye is no thing.

    Args:
        mask: (B, H, W) bool.

    Returns:
        For each picture its pieces, each (H, W) bool.
    """
    batch, height, width = mask.shape
    grown = F.max_pool2d(mask[:, None].float(), 3, stride=1, padding=1)
    label = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, 1, height, width)
    label = label * grown
    while True:  # the largest number of a piece spreads over all of it
        spread = F.max_pool2d(label, 3, stride=1, padding=1) * grown
        if torch.equal(spread, label):
            break
        label = spread
    found = []
    for i in range(batch):
        own = label[i, 0] * mask[i]
        names, areas = own[own > 0].unique(return_counts=True)
        order = areas.argsort(descending=True)
        least = max(LEAST, PART * float(areas.max())) if len(areas) else 0
        found.append([own == names[j] for j in order.tolist() if areas[j] >= least])
    return found


@dataclass(frozen=True)
class Box:
    """Where a piece is: its middle and the longer side of its box, as shares of the picture."""

    x: float
    y: float
    size: float


def box_of(piece: Tensor) -> Box:
    """The box of a piece (H, W) bool that is not empty."""
    side = piece.shape[0]
    rows, columns = (piece.any(dim=d).nonzero().flatten() for d in (1, 0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    size = max(bottom - top, right - left) / side
    return Box((left + right) / (2 * side), (top + bottom) / (2 * side), size)


def cut_out(picture: Tensor, box: Box, turn: float = 0.0) -> Tensor:
    """Bring what is in a box to the middle, turn it back and let it fill the picture.

    Args:
        picture: (3, H, W) in [-1, 1], on a plain colour.
        box: of the thing.
        turn: degrees clockwise that it was turned by.

    Returns:
        (3, H, W) on the same colour.
    """
    colour = frame_colour(picture[None])[0][:, None, None]
    angle = torch.deg2rad(torch.tensor(turn))
    scale = box.size / FILL
    cos, sin = (float(f(angle)) * scale for f in (torch.cos, torch.sin))
    theta = torch.tensor([[cos, -sin, 2 * box.x - 1], [sin, cos, 2 * box.y - 1]])
    size = [1, 3, *picture.shape[1:]]
    grid = F.affine_grid(theta[None], size, align_corners=False)
    # Zero outside: so the colour is taken away first and added afterwards.
    moved = F.grid_sample((picture - colour)[None], grid, mode="bilinear", align_corners=False)[0]
    return moved + colour


@dataclass(frozen=True)
class Reading:
    """What was read in one picture on a plain colour.

    Attributes:
        number: of pieces.
        things: the judge's concept for each piece, largest first.
        zone: ("left", "middle" or "right", "top", "middle" or "bottom") of the largest piece.
        size: "small", "medium" or "large", of the largest piece.
        turn: one of `TURNS`, of the largest piece; read for the thing that was asked for.
    """

    number: int
    things: tuple[int, ...]
    zone: tuple[str, str]
    size: str
    turn: str


def read_plain(
    pixels: Tensor, judge: Judge, asked: list[int], turned: list[bool] | None = None
) -> list[Reading]:
    """Read pictures on plain colours.

    Args:
        pixels: (B, 3, 64, 64) in [-1, 1].
        judge: chooses among the world's concepts.
        asked: (B) index of the thing asked for; decides which turn fits best.
        turned: (B) whether to look for a turn at all; where not, the thing is taken as it stands.

    Returns:
        A `Reading` for each picture.
    """
    found = pieces(foreground(pixels))
    looks, owners = [], []
    for i, parts in enumerate(found):
        seek = turned is None or turned[i]
        for n, part in enumerate(parts[:4]):
            box = box_of(part)
            for name, degrees in TURNS.items() if seek and n == 0 else (("upright", 0.0),):
                looks.append(cut_out(pixels[i], box, degrees))
                owners.append((i, n, name))
    scores = judge.object_scores(torch.stack(looks)) if looks else torch.empty(0, 0)  # (looks, C)
    readings = []
    for i, parts in enumerate(found):
        rows = [(r, n, name) for r, (who, n, name) in enumerate(owners) if who == i]
        if not rows:
            readings.append(Reading(0, (), ("middle", "middle"), "small", "upright"))
            continue
        best = max((r for r, n, _ in rows if n == 0), key=lambda r: float(scores[r, asked[i]]))
        turn = owners[best][2]
        things = [int(scores[best].argmax())]
        things += [int(scores[r].argmax()) for r, n, _ in rows if n > 0]
        box = box_of(parts[0])
        readings.append(
            Reading(len(parts), tuple(things), zone(box.x, box.y), size_name(box.size), turn)
        )
    return readings


class PlaceReader:
    """Tells place and light from a picture averaged down to 8x8 cells.

    Each (place, light) has a mean layout of empty scenes. A picture is held against all of them:
    what counts is the mean distance over the half of the cells that fit best, since things cover
    some of the others.

    Args:
        paintings: empty scenes of each painted place that the layouts are means of.
    """

    def __init__(self, paintings: int = 24) -> None:
        generator = torch.Generator().manual_seed(2024)
        self.names = [(place, light) for place in PLACES for light in LIGHTS]
        layouts = []
        for place in PLACES:
            empty = paint_places([place] * paintings, SIZE, generator)
            for light in LIGHTS:
                lit = light_up(empty, [light] * paintings)
                layouts.append(F.adaptive_avg_pool2d(lit, 8).mean(dim=0))
        self.layouts = torch.stack(layouts).flatten(2)  # (51, 3, 64)

    def read(self, pixels: Tensor) -> list[tuple[str, str]]:
        """(place, light) of each picture (B, 3, 64, 64) in [-1, 1]."""
        cells = F.adaptive_avg_pool2d((pixels.clamp(-1, 1) + 1) / 2, 8).flatten(2)  # (B, 3, 64)
        away = (cells[:, None] - self.layouts).square().sum(dim=2).sqrt()  # (B, 51, 64)
        best = away.topk(32, dim=2, largest=False).values.mean(dim=2).argmin(dim=1)
        return [self.names[i] for i in best.tolist()]


def sharpness(pixels: Tensor) -> Tensor:
    """How much neighbouring pixels differ where they differ most: (B,) in [0, 1].

    The mean of the 2 % largest differences between neighbours, over channels in [0, 1]. Blur lowers
    it; the size of the thing hardly matters.
    """
    x = (pixels.clamp(-1, 1) + 1) / 2
    across = x.diff(dim=3).abs().mean(dim=1).flatten(1)
    down = x.diff(dim=2).abs().mean(dim=1).flatten(1)
    every = torch.cat([across, down], dim=1)
    return every.topk(every.shape[1] // 50, dim=1).values.mean(dim=1)
