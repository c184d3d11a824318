"""Scenes: things at any place, size and turn, in places and lights, composed on the fly.

`emoji.py` shows one centred thing on a plain colour, so a full caption leaves nothing open. Here
words leave much open: where, how large, how many, in which light. That is the world in which
guidance and better prompts have something to decide.

A `Scene` says exactly what a picture shows; `render` makes the picture; `scene_captions.py` says it
in words. A scene is drawn in one artist's style and holds one thing, the same thing two or three
times, or two different things.

Example::

    world = World("scenes")
    scenes = world.draw(64, Random(0))
    pixels = world.render(scenes, torch.Generator().manual_seed(0))   # (64, 3, 64, 64) in [-1, 1]
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from .captions import BACKGROUNDS, STYLES
from .concepts import SIZE, held_out_pairs, load_art, load_concepts
from .places import PLACES, SCENERY, damage, light_up, paint_places

SMALL, LARGE = 0.44, 0.66
"""A side below the first, as a share of the picture's, is called small, above the second large."""

TURNS = {"upright": 0.0, "tilted left": -32.0, "tilted right": 32.0, "upside down": 180.0}
"""Degrees clockwise around which each turn is drawn."""

HELD_OUT_PLACES = 0.06  # share of (concept, place) pairs that training never shows


@dataclass(frozen=True)
class Thing:
    """One thing in a scene.

    Attributes:
        concept: index into the world's concepts.
        x, y: centre, from 0 (left, top) to 1 (right, bottom).
        size: side of its square, as a share of the picture's side.
        turn: degrees clockwise.
        mirrored: whether left and right are swapped, before it is turned.
    """

    concept: int
    x: float
    y: float
    size: float
    turn: float = 0.0
    mirrored: bool = False


@dataclass(frozen=True)
class Scene:
    """Everything that a picture shows.

    Attributes:
        things: one to three, from back to front.
        style: one of `STYLES`.
        place: one of `PLACES`.
        light: one of `LIGHTS`.
        damage: one of `DAMAGES`.
    """

    things: tuple[Thing, ...]
    style: str
    place: str
    light: str = "plain"
    damage: str = "none"


@dataclass(frozen=True)
class Mix:
    """How often a world shows what; each share is of all scenes.

    Attributes:
        scenery: painted places; the rest are plain colours.
        same, other: several times the same thing; two different things.
        turned: tilted or upside down, where there is one thing.
        dark, warm: lights.
        damaged: blurred, blocky or clipped pictures.
        small, large: sizes, where there is one thing.
    """

    scenery: float = 0.4
    same: float = 0.22
    other: float = 0.14
    turned: float = 0.28
    dark: float = 0.1
    warm: float = 0.14
    damaged: float = 0.3
    small: float = 0.3
    large: float = 0.3


class World:
    """The scenes that can happen, and their pictures.

    Args:
        subset: the things, see `course_utils.data.subsets`.
        mix: how often what happens.

    Attributes:
        concepts: the subset's concepts.
        pairs: (concept, style) that scenes show; held-out pairs are not among them.
    """

    def __init__(self, subset: str = "scenes", mix: Mix | None = None) -> None:
        self.subset, self.mix = subset, mix or Mix()
        self.concepts = load_concepts(subset)
        held_out = held_out_pairs(subset)
        self.pairs = [
            (concept.index, style)
            for concept in self.concepts
            for i, style in enumerate(STYLES)
            if style in concept.styles and (concept.index, i) not in held_out
        ]
        art = torch.from_numpy(load_art(subset)).float().movedim(-1, 2) / 255  # (C, 4, 4, H, W)
        art[:, :, :3] *= art[:, :, 3:]  # premultiplied: no fringe when it is resampled
        self._art = art.half()
        self._half = F.avg_pool2d(art.flatten(0, 1), 2).unflatten(0, art.shape[:2]).half()

    def to(self, device: torch.device | str) -> World:
        """Compose pictures on another device from now on; returns itself."""
        self._art, self._half = self._art.to(device), self._half.to(device)
        return self

    # --- what happens --------------------------------------------------------------------------

    def draw(self, n: int, rng: Random) -> list[Scene]:
        """Draw n scenes that training may show.

        Args:
            n: how many.
            rng: the same state gives the same scenes.
        """
        return [self._scene(rng) for _ in range(n)]

    def _scene(self, rng: Random) -> Scene:
        mix = self.mix
        concept, style = rng.choice(self.pairs)
        kinds = [concept]
        chance = rng.random()
        if chance < mix.same:
            kinds *= rng.choice((2, 2, 3))
        elif chance < mix.same + mix.other:
            others = [c for c, s in self.pairs if s == style and c != concept]
            kinds.append(rng.choice(others or [concept]))
        things = self._one(concept, rng) if len(kinds) == 1 else _several(kinds, rng)
        place = self._place(kinds, rng)
        light = "plain"
        chance = rng.random()
        if chance < mix.dark:
            light = "plain" if place in ("night sky", "space") else "dark"
        elif chance < mix.dark + mix.warm:
            light = "warm"
        spoilt = rng.random() < mix.damaged
        kind = rng.choice(("blur", "blur", "blocks", "clipped")) if spoilt else "none"
        return Scene(things, style, place, light, kind)

    def _one(self, concept: int, rng: Random) -> tuple[Thing, ...]:
        chance = rng.random()
        if chance < self.mix.small:
            size = rng.uniform(0.33, SMALL - 0.02)
        elif chance < self.mix.small + self.mix.large:
            size = rng.uniform(LARGE + 0.03, 0.95)
        else:
            size = rng.uniform(SMALL + 0.03, LARGE - 0.03)
        turn = rng.uniform(-8, 8)
        if rng.random() < self.mix.turned:
            turn += rng.choice((*TURNS.values(),)[1:])
        room = 0.5 * size * 0.94  # the edge may cut off a little
        x, y = (rng.uniform(room, 1 - room) for _ in range(2))
        return (Thing(concept, x, y, size, turn, rng.random() < 0.5),)

    def _place(self, kinds: Sequence[int], rng: Random) -> str:
        names = SCENERY if rng.random() < self.mix.scenery else tuple(BACKGROUNDS)
        free = [p for p in names if not any(self.is_held_out(c, p) for c in kinds)]
        return rng.choice(free or names)

    def is_held_out(self, concept: int, place: str) -> bool:
        """Whether training never shows this thing in this place.

        It depends on the thing and the place alone, so it holds in every subset and forever.
        """
        return _never_together(self.concepts[concept].hexcode, place)

    def held_out_places(self) -> list[tuple[int, str]]:
        """All (concept, place) pairs that training never shows."""
        every = [(c.index, place) for c in self.concepts for place in PLACES]
        return [pair for pair in every if self.is_held_out(*pair)]

    # --- pictures --------------------------------------------------------------------------------

    @torch.no_grad()
    def render(self, scenes: Sequence[Scene], generator: torch.Generator) -> Tensor:
        """Make the pictures of scenes.

        Args:
            scenes: B of them.
            generator: of the device of the art; draws stars, waves and dunes.

        Returns:
            (B, 3, 64, 64) float32 in [-1, 1].
        """
        pixels = paint_places([scene.place for scene in scenes], SIZE, generator)
        for layer in range(max(len(scene.things) for scene in scenes)):
            rows = [i for i, scene in enumerate(scenes) if layer < len(scene.things)]
            things = [scenes[i].things[layer] for i in rows]
            styles = [STYLES.index(scenes[i].style) for i in rows]
            picture = self.pose(things, styles)  # (b, 4, H, W), premultiplied
            index = torch.tensor(rows, device=pixels.device)
            pixels[index] = picture[:, :3] + (1 - picture[:, 3:]) * pixels[index]
        pixels = light_up(pixels, [scene.light for scene in scenes])
        pixels = damage(pixels, [scene.damage for scene in scenes])
        return pixels.clamp(0, 1) * 2 - 1

    def pose(self, things: Sequence[Thing], styles: Sequence[int]) -> Tensor:
        """Put each thing in its place on an empty picture.

        Args:
            things: B of them.
            styles: B indices into `STYLES`.

        Returns:
            (B, 4, 64, 64) float32 RGBA in [0, 1], premultiplied.
        """
        device = self._art.device
        which = torch.tensor([thing.concept for thing in things], device=device)
        style = torch.tensor(list(styles), device=device)
        theta = torch.tensor([_affine(thing) for thing in things], device=device)  # (B, 2, 3)
        grid = F.affine_grid(theta, [len(things), 4, SIZE, SIZE], align_corners=False)
        small = torch.tensor([thing.size < 0.6 for thing in things], device=device)
        out = torch.empty(len(things), 4, SIZE, SIZE, device=device)
        for rows, art in ((small, self._half), (~small, self._art)):  # half size: no aliasing
            if bool(rows.any()):
                source = art[which[rows], style[rows]].float()
                out[rows] = F.grid_sample(source, grid[rows], align_corners=False)
        return out


@functools.cache
def _never_together(hexcode: str, place: str) -> bool:
    digest = hashlib.sha256(f"held out place: {hexcode} {place}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_PLACES * 2**32


def _affine(thing: Thing) -> list[list[float]]:
    """Where each pixel of the picture looks into the art: `affine_grid`'s theta, for [-1, 1]^2.

    Picture to art: subtract the centre, turn back, divide by the size, mirror.
    """
    angle = math.radians(thing.turn)
    cos, sin = math.cos(angle) / thing.size, math.sin(angle) / thing.size
    x, y = 2 * thing.x - 1, 2 * thing.y - 1
    rows = [[cos, sin, -cos * x - sin * y], [-sin, cos, sin * x - cos * y]]
    if thing.mirrored:
        rows[0] = [-value for value in rows[0]]
    return rows


def _several(kinds: Sequence[int], rng: Random) -> tuple[Thing, ...]:
    """Two or three things that do not cover each other, upright."""
    size = rng.uniform(0.38, 0.47) if len(kinds) == 2 else rng.uniform(0.34, 0.38)
    room = 0.5 * size * 0.94
    places: list[tuple[float, float]] = []
    while len(places) < len(kinds):
        spot = (rng.uniform(room, 1 - room), rng.uniform(room, 1 - room))
        if all(max(abs(spot[0] - x), abs(spot[1] - y)) > 1.02 * size for x, y in places):
            places.append(spot)
        elif rng.random() < 0.02:
            places.clear()  # no room left: begin again
    mirrored = [rng.random() < 0.5 for _ in kinds]
    return tuple(
        Thing(kind, x, y, size, rng.uniform(-8, 8), flip)
        for kind, (x, y), flip in zip(kinds, places, mirrored, strict=True)
    )


def zone(x: float, y: float) -> tuple[str, str]:
    """Where a point is: ("left", "middle" or "right") and ("top", "middle" or "bottom").

    The middle is the middle 28 % of the width or height.
    """
    across = "left" if x < 0.36 else "right" if x > 0.64 else "middle"
    down = "top" if y < 0.36 else "bottom" if y > 0.64 else "middle"
    return across, down


def size_name(size: float) -> str:
    """ "small", "medium" or "large", for the side of a thing as a share of the picture's."""
    return "small" if size < SMALL else "large" if size > LARGE else "medium"


def turn_name(thing: Thing) -> str:
    """The nearest of `TURNS`."""

    def away(turn: float) -> float:
        return abs((thing.turn - turn + 180) % 360 - 180)

    return min(TURNS, key=lambda name: away(TURNS[name]))
