"""The concepts, their words, their pictures, and which of these are never trained on.

Nothing here needs torch, and the words need not even numpy: `CaptionedEmoji` in `emoji.py` puts it
all together for training.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .captions import STYLES, head_noun, require, spoken_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HERE = Path(__file__).parent
SIZE = 64  # side of a picture in pixels
HELD_OUT_CONCEPTS = 0.32  # share of concepts that hide one of their four styles: 8 % of all pairs


@dataclass(frozen=True)
class Concept:
    """One thing that the artists drew.

    Attributes:
        index: Position within the loaded subset.
        hexcode: Code points in hexadecimal, joined by "-": "1F431".
        char: The emoji itself.
        name: CLDR short name: "cat face".
        synonyms: Words that may stand for the name on their own, best first; none of them names
            another concept of the subset.
        group: Unicode group: "animals-nature".
        subgroup: Unicode subgroup: "animal-mammal".
        styles: Which of `STYLES` exist.
        copied: Styles in which another concept has the very same picture.
        tile: Position on the sprite sheets.
        keywords: All words attached to the emoji, for searching; many are shared.
    """

    index: int
    hexcode: str
    char: str
    name: str
    synonyms: tuple[str, ...]
    group: str
    subgroup: str
    styles: tuple[str, ...]
    copied: tuple[str, ...]
    tile: int
    keywords: tuple[str, ...]


def subsets() -> tuple[str, ...]:
    """Return the names of the subsets: "all" and one for each file in `subsets/`."""
    return ("all", *sorted(path.stem for path in (HERE / "subsets").glob("*.txt")))


@functools.cache
def _words() -> dict[str, Any]:
    return json.loads((HERE / "art" / "words.json").read_text("utf-8"))


def _lines(path: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line]


@functools.cache
def _aliases() -> dict[str, tuple[str, ...]]:
    pairs = (line.split(":", 1) for line in _lines(HERE / "aliases.txt"))
    return {name: tuple(alias.strip() for alias in rest.split(",")) for name, rest in pairs}


def _synonyms(records: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return, for each record, the words that name it alone among `records`."""
    everything = _words()["concepts"]
    shared = Counter(word for record in everything for word in record["keywords"])
    names = {spoken_name(record["name"]) for record in records}
    claimed = Counter(alias for r in records for alias in _aliases().get(r["name"], ()))
    found = []
    for record in records:
        chosen = [a for a in _aliases().get(record["name"], ()) if claimed[a] == 1]
        if not chosen and record["name"] not in _aliases():
            # Without hand-picked aliases: a keyword that no other emoji has and that ends in the
            # same noun ("steam locomotive") names the thing, where others are associations.
            noun = head_noun(spoken_name(record["name"]))
            chosen = [w for w in record["keywords"] if shared[w] == 1 and head_noun(w) == noun]
        found.append(tuple(word for word in dict.fromkeys(chosen) if word not in names))
    return found


@functools.cache
def load_concepts(subset: str = "all") -> tuple[Concept, ...]:
    """Load the concepts of a subset, in the subset's order.

    Args:
        subset: "all" (Unicode order) or the name of a file in `subsets/`, such as "core".

    Returns:
        The concepts; `concepts[i].index == i`.

    Raises:
        ValueError: There is no such subset.
    """
    require("subset", subset, subsets())
    records = _words()["concepts"]
    if subset != "all":
        by_name = {record["name"]: record for record in records}
        records = []
        for name in _lines(HERE / "subsets" / f"{subset}.txt"):
            require(f"a line of subsets/{subset}.txt", name, by_name)
            records.append(by_name[name])
    return tuple(
        Concept(
            index=index,
            hexcode=record["hexcode"],
            char=record["char"],
            name=record["name"],
            synonyms=synonyms,
            group=record["group"],
            subgroup=record["subgroup"],
            styles=tuple(record["styles"]),
            copied=tuple(record["copied"]),
            tile=record["tile"],
            keywords=tuple(record["keywords"]),
        )
        for index, (record, synonyms) in enumerate(zip(records, _synonyms(records), strict=True))
    )


def _tiles(style: str, tiles: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Cut tiles out of one style's sheet: (n, SIZE, SIZE, 4) uint8."""
    import numpy as np
    from PIL import Image

    with Image.open(HERE / "art" / f"{style}.webp") as image:
        sheet = np.asarray(image)
    rows, columns = sheet.shape[0] // SIZE, sheet.shape[1] // SIZE
    grid = sheet.reshape(rows, SIZE, columns, SIZE, 4)  # (rows, y, columns, x, rgba)
    return grid[tiles // columns, :, tiles % columns]  # (n, y, x, rgba)


def load_art(subset: str = "all", styles: Sequence[str] = STYLES) -> NDArray[np.uint8]:
    """Load the pictures of a subset.

    Args:
        subset: "all" or the name of a file in `subsets/`.
        styles: Which of `STYLES` to load, in this order.

    Returns:
        (concepts, styles, 64, 64, 4) uint8, sRGB with straight (not premultiplied) alpha. A
        picture that its artist did not draw is clear: alpha is 0 everywhere.

    Raises:
        ValueError: A subset or style is not known.
    """
    import numpy as np

    for style in styles:
        require("style", style, STYLES)
    tiles = np.array([concept.tile for concept in load_concepts(subset)])
    art = np.empty((len(tiles), len(styles), SIZE, SIZE, 4), np.uint8)

    def fill(column: int) -> None:
        art[:, column] = _tiles(styles[column], tiles)

    with ThreadPoolExecutor(2) as pool:  # Pillow decodes without the GIL
        list(pool.map(fill, range(len(styles))))
    return art


def _held_out_style(concept: Concept) -> str | None:
    """Return the style of a concept that is never trained on, if there is one.

    It depends on the concept alone, so that a pair is held out in every subset and forever. A
    picture that another concept shares is never held out: training would show it all the same.
    """
    digest = hashlib.sha256(f"held out: {concept.hexcode}".encode()).digest()
    if int.from_bytes(digest[:4], "big") >= HELD_OUT_CONCEPTS * 2**32:
        return None
    style = concept.styles[digest[4] % len(concept.styles)]
    return None if style in concept.copied else style


def held_out_pairs(subset: str = "all") -> frozenset[tuple[int, int]]:
    """Return the (concept, style) pairs of a subset that training never sees.

    About 8 % of the pairs, at most one style a concept: the model meets each thing in other styles
    and each style on other things, never the two together.

    Args:
        subset: "all" or the name of a file in `subsets/`.

    Returns:
        Pairs of (index within the subset, index into `STYLES`). A pair that is held out in one
        subset is held out in all.
    """
    held = ((concept.index, _held_out_style(concept)) for concept in load_concepts(subset))
    return frozenset((index, STYLES.index(style)) for index, style in held if style)
