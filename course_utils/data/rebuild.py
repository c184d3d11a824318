"""Rebuild the sprite sheets and the word list from the artists' npm packages.

Nobody needs this to use the course: its output is in the repository. Run it to check where the
pictures come from, or to move to newer versions of the packages::

    python -m course_utils.data.rebuild                   # fetches the pinned packages with npm
    python -m course_utils.data.rebuild --npm-dir DIR     # DIR holds node_modules already
    python -m course_utils.data.rebuild --contact-sheet   # redraws the picture of the data card

It needs `resvg-py` (for the SVG styles) and, without ``--npm-dir``, `npm` and a network.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from PIL import Image

from course_utils.files import write_atomically

from .captions import BACKGROUNDS, STYLES
from .concepts import load_art

ART = Path(__file__).parent / "art"
CONTACT_SHEET = Path(__file__).parent / "contact_sheet.webp"
TILE = 64  # side of a shipped picture in pixels
RENDER = 256  # side at which an SVG is drawn before it is averaged down: 4x4 samples a pixel
COLUMNS = 41  # 41 x 41 tiles hold 1,681 pictures in a square of 2,624 pixels

PACKAGES = {
    "@lobehub/fluent-emoji-3d": "1.1.0",
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/twemoji": "1.2.5",
    "emojibase-data": "17.0.0",
    "emojilib": "4.0.3",
}
WEBP_PACKAGE = {"3d": "@lobehub/fluent-emoji-3d"}
SVG_PACKAGES = {
    "flat": "@iconify-json/fluent-emoji-flat",
    "noto": "@iconify-json/noto",
    "twemoji": "@iconify-json/twemoji",
}
SKIPPED_GROUPS = ("component", "flags")


def codepoints(hexcode: str) -> str:
    """Return the one spelling of a code point sequence that all packages can be matched by.

    Args:
        hexcode: Code points in hexadecimal joined by "-", in any case, with or without the
            variation selector U+FE0F and leading zeros.

    Returns:
        Lower case, no leading zeros, no U+FE0F: ``"0023-FE0F-20E3"`` becomes ``"23-20e3"``.
    """
    points = (int(part, 16) for part in hexcode.split("-"))
    return "-".join(f"{point:x}" for point in points if point != 0xFE0F)


def plain_words(text: str) -> str:
    """Return `text` in lower case ASCII with typographic quotes and underscores made plain."""
    text = text.replace("’", "'").replace("_", " ").replace("“", "").replace("”", "")
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"\s+", " ", text).strip().lower()


def read_words(npm_dir: Path) -> list[dict[str, Any]]:
    """Read the concepts and their words: every emoji but flags, components and skin tones.

    Args:
        npm_dir: Folder that holds `node_modules`.

    Returns:
        One record a concept in Unicode order: hexcode, char, name, keywords, group, subgroup.
    """
    modules = npm_dir / "node_modules"
    emojis = json.loads((modules / "emojibase-data/en/data.json").read_text("utf-8"))
    names = json.loads((modules / "emojibase-data/meta/groups.json").read_text("utf-8"))
    keywords = json.loads((modules / "emojilib/dist/emoji-en-US.json").read_text("utf-8"))
    by_codepoints = {
        "-".join(f"{ord(c):x}" for c in char if ord(c) != 0xFE0F): words
        for char, words in keywords.items()
    }
    concepts = []
    for emoji in sorted(emojis, key=lambda e: e.get("order", 0)):
        group = names["groups"].get(str(emoji.get("group")))
        if group is None or group in SKIPPED_GROUPS:
            continue
        raw = emoji.get("tags", []) + by_codepoints.get(codepoints(emoji["hexcode"]), [])
        words = [plain_words(word) for word in raw]
        words = [word for word in words if re.fullmatch(r"[a-z0-9][a-z0-9 '&.-]+", word)]
        concepts.append(
            {
                "hexcode": emoji["hexcode"],
                "char": emoji["emoji"],
                "name": emoji["label"],
                "keywords": sorted(set(words) - {plain_words(emoji["label"])}),
                "group": group,
                "subgroup": names["subgroups"][str(emoji["subgroup"])],
            }
        )
    return concepts


def shrink(picture: Image.Image) -> Image.Image:
    """Average a picture down to one tile.

    A box filter on premultiplied alpha: a pixel is the mean of what it covers. Filters with
    negative lobes (Lanczos, bicubic) ring at the hard edges of flat art.

    Args:
        picture: Any size and mode; a picture that is not square is centred on a clear square.

    Returns:
        RGBA picture of TILE x TILE pixels with straight alpha.
    """
    picture = picture.convert("RGBA")
    side = max(picture.size)
    if picture.size != (side, side):
        square = Image.new("RGBA", (side, side))
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        picture = square
    # Pillow's resize premultiplies RGBA itself (RGBA -> RGBa -> RGBA).
    return picture.resize((TILE, TILE), Image.Resampling.BOX)


def draw_svg(svg: str) -> bytes:
    """Render one SVG and return its tile as TILE * TILE * 4 RGBA bytes."""
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=svg, width=RENDER, height=RENDER, skip_system_fonts=True)
    return shrink(Image.open(io.BytesIO(bytes(png)))).tobytes()


def read_webp(path: Path) -> bytes:
    """Read one picture file and return its tile as TILE * TILE * 4 RGBA bytes."""
    with Image.open(path) as picture:
        return shrink(picture).tobytes()


def svg_sources(package: Path) -> dict[str, str]:
    """Return a whole SVG document for each code point sequence of an iconify package."""
    icons = json.loads((package / "icons.json").read_text("utf-8"))
    chars = json.loads((package / "chars.json").read_text("utf-8"))
    sources = {}
    for hexcode, name in chars.items():
        chain: dict[str, Any] = {}  # an alias takes its parent's body and may override its size
        while name not in icons["icons"]:
            alias = icons["aliases"][name]
            if alias.get("rotate") or alias.get("hFlip") or alias.get("vFlip"):
                raise ValueError(f"{package.name}: icon {name!r} is a transformed alias")
            chain = {**alias, **chain}
            name = alias["parent"]
        icon: Mapping[str, Any] = {**icons, **icons["icons"][name], **chain}
        box = (
            icon.get("left", 0),
            icon.get("top", 0),
            icon.get("width", 16),
            icon.get("height", 16),
        )
        sources[codepoints(hexcode)] = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{" ".join(map(str, box))}">{icon["body"]}</svg>'
        )
    return sources


def read_style(
    style: str, npm_dir: Path, wanted: list[str], pool: ProcessPoolExecutor
) -> Iterator[tuple[int, bytes]]:
    """Yield (concept number, tile bytes) for each wanted concept that an artist drew.

    Args:
        style: "3d", "flat", "noto" or "twemoji".
        npm_dir: Folder that holds `node_modules`.
        wanted: `codepoints` spelling of each concept, in order.
        pool: Where the rendering runs.
    """
    modules = npm_dir / "node_modules"
    sources: Mapping[str, Any]
    if style in WEBP_PACKAGE:
        files = (modules / WEBP_PACKAGE[style] / "assets").glob("*.webp")
        sources = {codepoints(f.stem): f for f in files if re.fullmatch(r"[0-9a-f-]+", f.stem)}
        reader: Any = read_webp
    else:
        sources = svg_sources(modules / SVG_PACKAGES[style])
        reader = draw_svg
    found = [i for i, key in enumerate(wanted) if key in sources]
    tiles = pool.map(reader, [sources[wanted[i]] for i in found], chunksize=32)
    yield from zip(found, tiles, strict=True)


def install_packages(folder: Path, packages: Mapping[str, str] = PACKAGES) -> None:
    """Install packages, by default the artists' ones, at their versions into `folder` with npm."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit(
            "rebuild needs npm to fetch its packages: install Node.js, or pass --npm-dir"
        )
    specs = [f"{name}@{version}" for name, version in packages.items()]
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    subprocess.run([npm, "install", *options, *specs], check=True)


def check_packages(npm_dir: Path, packages: Mapping[str, str] = PACKAGES) -> dict[str, str]:
    """Return the installed version of each package; stop with one sentence if one is missing."""
    versions = {}
    for name, pinned in packages.items():
        manifest = npm_dir / "node_modules" / name / "package.json"
        if not manifest.is_file():
            raise SystemExit(f"rebuild: no package {name} in {npm_dir / 'node_modules'}")
        versions[name] = json.loads(manifest.read_text("utf-8"))["version"]
        if versions[name] != pinned:
            print(f"note: {name} is {versions[name]}, the course ships {pinned}", file=sys.stderr)
    return versions


def build(npm_dir: Path, out: Path = ART, workers: int | None = None) -> None:
    """Write one lossless WebP sheet a style and `words.json` into `out`.

    Tile i of every sheet (row i // COLUMNS, column i % COLUMNS) is concept i, and is clear where
    that artist did not draw it.

    Args:
        npm_dir: Folder that holds `node_modules` with the packages.
        out: Folder to write to.
        workers: Rendering processes; None for one a core.
    """
    versions = check_packages(npm_dir)
    concepts = read_words(npm_dir)
    wanted = [codepoints(concept["hexcode"]) for concept in concepts]
    rows = -(-len(concepts) // COLUMNS)
    styles: list[list[str]] = [[] for _ in concepts]
    owners: defaultdict[tuple[str, bytes], list[int]] = defaultdict(list)
    counts = {}
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for style in (*WEBP_PACKAGE, *SVG_PACKAGES):
            sheet = Image.new("RGBA", (COLUMNS * TILE, rows * TILE))
            for i, tile in read_style(style, npm_dir, wanted, pool):
                picture = Image.frombytes("RGBA", (TILE, TILE), tile)
                sheet.paste(picture, (i % COLUMNS * TILE, i // COLUMNS * TILE))
                styles[i].append(style)
                owners[style, tile].append(i)
            content = io.BytesIO()
            sheet.save(content, "WEBP", lossless=True, quality=80, method=4)
            write_atomically(out / f"{style}.webp", content.getvalue())
            counts[style] = sum(style in drawn for drawn in styles)
            print(f"{style}: {counts[style]} pictures, {content.tell() / 1e6:.1f} MB")
    copied: list[list[str]] = [[] for _ in concepts]
    for (style, _), same in owners.items():
        for i in same if len(same) > 1 else ():
            copied[i].append(style)
    records = [
        {"tile": i, **concept, "styles": drawn, "copied": copied[i]}
        for i, (concept, drawn) in enumerate(zip(concepts, styles, strict=True))
    ]
    lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    header = {"tile_size": TILE, "columns": COLUMNS, "packages": versions, "pictures": counts}
    head = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in header.items())
    words = f'{{\n{head},\n"concepts": [\n{lines}\n]\n}}\n'
    write_atomically(out / "words.json", words.encode())
    print(f"words.json: {len(records)} concepts, {sum(counts.values())} pictures")


def draw_contact_sheet(path: Path = CONTACT_SHEET, tile: int = 48, columns: int = 6) -> None:
    """Draw the core subset from the shipped sheets: each concept in all four styles, side by side.

    Args:
        path: WebP file to write.
        tile: Side of one picture in pixels.
        columns: Concepts in a row.
    """
    art = load_art("core")
    colours = list(BACKGROUNDS.values())
    width = len(STYLES) * tile + tile // 4
    rows = -(-len(art) // columns)
    sheet = Image.new("RGB", (columns * width - tile // 4, rows * tile), "white")
    for i, drawings in enumerate(art):
        # The next colour in turn that stands out from the drawings' mean colour.
        weight = drawings[..., 3:].astype(float)
        mean = (drawings[..., :3] * weight).sum((0, 1, 2)) / weight.sum()
        turn = [colours[(3 * i + i // columns + k) % len(colours)] for k in range(len(colours))]
        colour = next(c for c in turn if sum((c - mean) ** 2) > 140**2)
        for style, drawing in enumerate(drawings):
            picture = Image.new("RGBA", (TILE, TILE), colour)
            picture.alpha_composite(Image.fromarray(drawing))
            small = picture.convert("RGB").resize((tile, tile), Image.Resampling.LANCZOS)
            sheet.paste(small, (i % columns * width + style * tile, i // columns * tile))
    content = io.BytesIO()
    sheet.save(content, "WEBP", quality=80, method=6)
    write_atomically(path, content.getvalue())
    print(f"{path.name}: {sheet.width} x {sheet.height} pixels, {content.tell() / 1e3:.0f} kB")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="rebuild", description="Rebuild the emoji art.")
    parser.add_argument("--npm-dir", type=Path, help="folder with node_modules (else: npm install)")
    parser.add_argument("--out", type=Path, default=ART, help="folder to write to")
    parser.add_argument("--workers", type=int, help="rendering processes (default: one a core)")
    parser.add_argument("--contact-sheet", action="store_true", help="only redraw that picture")
    options = parser.parse_args(arguments)
    if options.contact_sheet:
        draw_contact_sheet()
    elif options.npm_dir is not None:
        build(options.npm_dir, options.out, options.workers)
    else:
        with tempfile.TemporaryDirectory() as folder:
            install_packages(Path(folder))
            build(Path(folder), options.out, options.workers)


if __name__ == "__main__":
    main()
