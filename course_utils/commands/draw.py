"""`course draw`: a picture from a prompt."""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.files import write_atomically

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from course_utils.pipeline import Pictures, Pipeline
    from course_utils.samplers import Step

FOLDER = Path("outputs")
MOST = 64  # pictures on one sheet
SCALE_UP_TO = 128  # pictures up to this side are written larger
# The pipeline's name for a setting, and the option that sets it.
OPTIONS = {
    "num_steps": "--steps",
    "guidance_scale": "--guidance",
    "guidance_rescale": "--rescale",
    "sampler": "--sampler",
    "seed": "--seed",
    "count": "--count",
}
# What a picture must say to be drawn again.
NEEDED = {
    "prompt",
    "seed",
    "num_steps",
    "guidance_scale",
    "guidance_rescale",
    "sampler",
    "model",
}


def register(subparsers: Any) -> None:
    """Add `draw` to the commands of `course`."""
    parser = subparsers.add_parser(
        "draw",
        description="Draw a picture from a prompt. What you type is read first: it becomes a "
        "caption that the model was taught, and the command says how it read you.",
        epilog='Example: course draw "a cat face, 3d style, on a blue background" --count 4',
    )
    parser.add_argument("prompt", nargs="*", help="what to draw, in quotes")
    parser.add_argument(
        "--literal", action="store_true", help="give the model the prompt as it stands"
    )
    parser.add_argument(
        "--negative", default="", metavar="TEXT", help="what not to draw, never read"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="predictions of the denoiser")
    parser.add_argument(
        "--guidance", type=float, metavar="W", help="how loudly the prompt speaks; 1 is off"
    )
    parser.add_argument(
        "--rescale", type=float, default=0.0, metavar="PHI", help="against oversaturation, 0 to 1"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="another number, another picture")
    parser.add_argument("--sampler", metavar="NAME", help="ddpm, ddim, euler or dpm++2m")
    parser.add_argument(
        "--count", type=int, default=1, metavar="N", help="pictures, seeds counting up"
    )
    parser.add_argument(
        "--strip", action="store_true", help="also write the way from noise to picture"
    )
    parser.add_argument("--out", metavar="FILE", help="PNG file, or a folder for it")
    parser.add_argument(
        "--model", metavar="NAME", help="bundled weights, a diffusers folder, or a hub id"
    )
    parser.add_argument("--revision", metavar="COMMIT", help="of a hub id")
    parser.add_argument(
        "--size-scale",
        type=int,
        metavar="N",
        help=f"enlarge N times (default: 4 for pictures up to {SCALE_UP_TO} pixels wide, else 1)",
    )
    parser.add_argument("--info", metavar="FILE", help="print how a picture was made; draw nothing")
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class Drawing:
    """What is to be written, and what to say of it."""

    files: dict[Path, Image.Image]
    metadata: dict[str, str]
    summary: str
    replaces: bool  # whether --out named a file that exists


def run(args: argparse.Namespace) -> int:
    """Draw, write, and say where and how long it took.

    Raises:
        ValueError, OSError: with the sentence to print; nothing half-written is left.
    """
    if args.info is not None:
        return print_info(Path(args.info))
    try:
        drawing = make(args)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped by Ctrl-C; nothing was written.") from None
    for path, image in drawing.files.items():
        write_png(image, path, drawing.metadata)
        print(f"{path}{' (replaced)' if drawing.replaces else ''}")
    print(drawing.summary)
    return 0


def make(args: argparse.Namespace) -> Drawing:
    """Everything but writing: check the arguments, load, draw.

    Raises:
        ValueError: by the name of the option that is wrong.
    """
    typed = one_prompt(args.prompt)
    for name, value, most in (("--count", args.count, MOST), ("--size-scale", args.size_scale, 16)):
        if value is not None and not 1 <= value <= most:
            raise ValueError(f"{name} is {value}; expected a whole number from 1 to {most}")
    check_out(args.out)

    began = time.perf_counter()
    from course_utils import pipeline as p

    settings = {
        "num_steps": p.DEFAULT_STEPS if args.steps is None else args.steps,
        "guidance_scale": p.DEFAULT_GUIDANCE if args.guidance is None else args.guidance,
        "guidance_rescale": args.rescale,
        "sampler": args.sampler or p.DEFAULT_SAMPLER,
    }
    seed = p.DEFAULT_SEED if args.seed is None else args.seed
    p.check_prompt(typed)
    p.check_prompt(args.negative)
    with named_options():
        p.check_settings(**settings)
        p.check_int("seed", seed, 0, p.MAX_SEED - MOST)
    pipe = p.Pipeline.load(args.model or p.DEFAULT_MODEL, revision=args.revision)
    prompt = understand(pipe, typed, args.literal)
    give_notes(pipe, args.negative, settings["guidance_scale"])

    loaded = time.perf_counter()
    with named_options():
        pictures, kept = draw(pipe, prompt, args, settings, seed)
    drawn = time.perf_counter()

    height, width = pictures.pixels.shape[-2:]
    scale = args.size_scale or (4 if width <= SCALE_UP_TO else 1)
    path, replaces = out_path(args.out, typed, seed)
    files = {path: sheet(pictures.pixels, scale)}
    if args.strip:
        from course_utils.strip import step_strip

        beside = path.with_name(f"{path.stem}-strip.png")
        strip = step_strip(pipe, kept, side=width * scale * 3 // 4)
        files[free_path(beside, may_replace=args.out is not None)] = strip
    what = f"{width}x{height} pixels, seed {seed}"
    if args.count > 1:
        last = seed + args.count - 1
        what = f"{args.count} of {width}x{height} pixels, row by row seeds {seed} to {last}"
    steps = f"{settings['num_steps']} step{'' if settings['num_steps'] == 1 else 's'}"
    return Drawing(
        files=files,
        metadata=pictures.metadata()
        | ({} if args.size_scale is None else {"size_scale": str(args.size_scale)})
        | {"typed": typed, "software": "Sculpting Noise, course draw"},
        summary=f"{what}: {steps} in {drawn - loaded:.1f} s, after {loaded - began:.1f} s to load",
        replaces=replaces,
    )


def one_prompt(words: Sequence[str]) -> str:
    """The prompt, which a shell hands over as one word if it stands in quotes.

    Raises:
        ValueError: none, or several words, with the command that was meant.
    """
    if not words:
        raise ValueError('a prompt is missing: course draw "a cat face, 3d style"')
    if len(words) > 1:
        meant = " ".join(words)
        quoted = shell_word(meant) if re.search(r'["$`!\\]', meant) else f'"{meant}"'
        raise ValueError(
            f"the prompt is {len(words)} words without quotes; try: course draw {quoted}"
        )
    return words[0]


def draw(
    pipe: Pipeline, prompt: str, args: argparse.Namespace, settings: dict[str, Any], seed: int
) -> tuple[Pictures, list[Step]]:
    """Draw with a progress bar; returns the pictures and the steps that the strip shows."""
    from tqdm import tqdm

    from course_utils.strip import frame_numbers

    shown = set(frame_numbers(settings["num_steps"])) if args.strip else set()
    kept: list[Step] = []
    loops = math.ceil(args.count / pipe.batch_size)
    total = settings["num_steps"] * loops
    # Without a terminal on stderr (disable=None) there is nobody to watch the bar.
    with tqdm(total=total, desc="drawing", unit="step", leave=False, disable=None) as bar:

        def on_step(step: Step) -> None:
            bar.update(step.step > 0)
            if step.step in shown:
                kept.append(step)
                shown.discard(step.step)

        pictures = pipe.draw(
            prompt, args.negative, seed=seed, count=args.count, on_step=on_step, **settings
        )
    return pictures, kept


def understand(pipe: Pipeline, typed: str, literal: bool) -> str:
    """The prompt that the model is given; says on stderr how the typed text was read."""
    from course_utils.reader import read

    if literal or pipe.vocabulary is None or not pipe.vocabulary.is_read:
        say(f"note: {note}" for note in pipe.notes(typed))
        return typed
    reading = read(typed, pipe.vocabulary)
    say([reading.describe()])
    return reading.caption


def give_notes(pipe: Pipeline, negative: str, guidance_scale: float) -> None:
    """Say on stderr what of the negative prompt the model will not understand."""
    if negative.strip():
        say(f"note: --negative: {note}" for note in pipe.notes(negative))
        if guidance_scale == 1:
            say(["note: --negative changes nothing at --guidance 1, which is off"])


def say(sentences: Iterable[str]) -> None:
    """Print sentences on stderr, before the time that drawing takes."""
    for sentence in sentences:
        print(f"{sentence}.", file=sys.stderr, flush=True)


@contextlib.contextmanager
def named_options() -> Any:
    """Errors that begin with a setting's name begin with its option instead."""
    try:
        yield
    except (TypeError, ValueError) as error:
        text = re.sub(r"^\w+", lambda match: OPTIONS.get(match[0], match[0]), str(error))
        raise ValueError(text.replace("expected an int", "expected a whole number")) from error


# --- files -------------------------------------------------------------------------------------


def check_out(out: str | None) -> None:
    """Find out before drawing that a picture could not be written.

    Raises:
        ValueError: not a PNG file, or a folder that is missing or may not be written to.
    """
    if out is None:
        return
    path = Path(out)
    if not path.is_dir() and path.suffix.lower() != ".png":
        raise ValueError(f"--out is {out}; expected a file name that ends in .png, or a folder")
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise ValueError(f"--out is {out}, but there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"--out is {out}, and the folder {folder} may not be written to")


def out_path(out: str | None, prompt: str, seed: int) -> tuple[Path, bool]:
    """Where to write, and whether that replaces a file, which only a file named by --out does."""
    if out is not None and not Path(out).is_dir():
        return Path(out), Path(out).exists()
    folder = FOLDER if out is None else Path(out)
    words = re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")[:48].rstrip("-")
    return free_path(folder / f"{words or 'picture'}-seed{seed}.png"), False


def free_path(path: Path, may_replace: bool = False) -> Path:
    """The path, or the first of path-2, path-3, ... that does not exist."""
    if may_replace or not path.exists():
        return path
    names = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in itertools.count(2))
    return next(name for name in names if not name.exists())


def sheet(pixels: Tensor, scale: int) -> Image.Image:
    """Pictures (N, 3, H, W), enlarged smoothly, in rows with white gaps; one alone has none."""
    from PIL import Image

    from course_utils.images import to_pil

    count, _, height, width = pixels.shape
    height, width = height * scale, width * scale
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    gap = 2 * scale
    size = (columns * (width + gap) - gap, rows * (height + gap) - gap)
    page = Image.new("RGB", size, "white")
    for i, picture in enumerate(pixels):
        image = to_pil(picture).resize((width, height), Image.Resampling.LANCZOS)
        page.paste(image, (i % columns * (width + gap), i // columns * (height + gap)))
    return page


def write_png(image: Image.Image, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a PNG file in one step, with text entries.

    Raises:
        OSError: with a sentence that names the file and the reason.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in metadata.items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OSError(f"{path} was not written: {reason}.") from error


def print_info(path: Path) -> int:
    """Print the text entries of a picture that `course draw` wrote, and how to draw it again.

    Raises:
        ValueError: not a picture of this command.
    """
    from PIL import Image, UnidentifiedImageError

    from course_utils.grading.answers.text import printable

    try:
        with Image.open(path) as image:
            found = getattr(image, "text", {})
            entries = {key: str(value) for key, value in found.items()}
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not a picture") from None
    except (ValueError, SyntaxError, OSError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise  # not there, or not to be read
        raise ValueError(f"{path} is damaged, or no picture to trust: {error}") from None
    seeds = entries.get("seed", "").split()
    if not entries.keys() >= NEEDED or not seeds or not all(map(str.isdecimal, seeds)):
        raise ValueError(f"{path} does not say how it was made; `course draw` did not write it")
    width = max(map(len, map(printable, entries)))
    for key, value in entries.items():
        print(f"{printable(key):<{width}}  {printable(value)}")
    print(f"\n{' '.join(map(shell_word, command(entries)))}")
    return 0


def command(entries: Mapping[str, str]) -> Sequence[str]:
    """The command line that draws a picture again: it gives the model the very same words."""
    seeds = entries["seed"].split()
    options = {"--seed": seeds[0]}
    if len(seeds) > 1:
        options["--count"] = str(len(seeds))
    if entries.get("negative_prompt"):
        options["--negative"] = entries["negative_prompt"]
    for key in ("num_steps", "guidance_scale", "guidance_rescale", "sampler"):
        options[OPTIONS[key]] = entries[key]
    if "size_scale" in entries:
        options["--size-scale"] = entries["size_scale"]
    options["--model"] = entries["model"]
    words = ["--literal"]
    for option, value in options.items():
        words += [f"{option}={value}"] if value.startswith("-") else [option, value]
    prompt = entries["prompt"]
    if prompt.startswith("-"):  # behind two dashes nothing is an option
        return ["course", "draw", *words, "--", prompt]
    return ["course", "draw", prompt, *words]


def shell_word(word: str) -> str:
    """A word as a shell reads it; what does not print is written as its escape."""
    from course_utils.grading.answers.text import printable

    if printable(word) == word:
        return shlex.quote(word)
    signs = ("\\" + sign if sign in "\\'" else printable(sign) for sign in word)
    return f"$'{''.join(signs)}'"
