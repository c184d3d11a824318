"""`course evaluate`: measure a model with the judge, beside real pictures."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from course_utils.files import write_atomically


def register(subparsers: Any) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "evaluate",
        description="Draws seen and held-out pairs of object and style, and measures object, "
        "style, background, distance to real pictures, saturation, diversity and copying. A model "
        "of scenes is asked for numbers, positions, sizes, places and lights instead.",
    )
    parser.add_argument(
        "--model", metavar="NAME", help="bundled weights or a diffusers folder; default: emoji-64"
    )
    parser.add_argument(
        "--pairs", type=int, default=64, help="prompts of each split; default: 64", metavar="N"
    )
    parser.add_argument(
        "--seeds", type=int, default=4, help="pictures of each prompt; default: 4", metavar="K"
    )
    parser.add_argument("--seed", type=int, default=0, help="the first seed; default: 0")
    parser.add_argument("--steps", type=int, default=25, help="default: 25")
    parser.add_argument("--guidance", type=float, help="1 is off; default: as `course draw`")
    parser.add_argument("--sampler", help="default: as `course draw`")
    parser.add_argument("--batch", type=int, default=16, help="pictures side by side; default: 16")
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("evaluation.json"),
        metavar="FILE",
        help="where the numbers go; default: evaluation.json",
    )
    parser.add_argument("--grid", type=Path, metavar="FILE.png", help="also a sheet of pictures")
    parser.add_argument(
        "--judge", type=Path, metavar="FOLDER", help="another judge than the pinned one"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, write the files, and print the table.

    Raises:
        ValueError, OSError: with the sentence to print; no file is left half written.
    """
    check_arguments(args)
    from course_utils import pipeline as p
    from course_utils.commands.draw import named_options
    from course_utils.evaluation.evaluate import Settings, evaluate
    from course_utils.evaluation.judge import Judge
    from course_utils.evaluation.report import Report
    from course_utils.evaluation.scene_evaluate import (
        SceneReport,
        SceneSettings,
        evaluate_scenes,
    )

    guidance = p.DEFAULT_GUIDANCE if args.guidance is None else args.guidance
    sampler = args.sampler or p.DEFAULT_SAMPLER
    with named_options():
        p.check_settings(args.steps, guidance, 0.0, sampler)
    judge = Judge.load() if args.judge is None else Judge.load(args.judge, sha256=None)
    pipeline = p.Pipeline.load(args.model or p.DEFAULT_MODEL)
    judge.to(pipeline.device)
    common = {
        "seeds": args.seeds,
        "seed": args.seed,
        "num_steps": args.steps,
        "sampler": sampler,
        "batch_size": args.batch,
    }
    scenes = pipeline.vocabulary is not None and pipeline.vocabulary.kind == "scenes"
    if scenes and args.grid is not None:
        raise ValueError("--grid is for models of single things; this one draws scenes")
    try:
        with _bar(args.quiet) as bar:
            report: Report | SceneReport
            if scenes:
                if args.guidance is not None:
                    common["guidance_scale"] = guidance
                chosen = SceneSettings(prompts=args.pairs, **common)
                report = evaluate_scenes(pipeline, judge, chosen, bar.update)
            else:

                def show(done: int, total: int) -> None:
                    bar.total = total
                    bar.update(done - bar.n)

                settings = Settings(pairs=args.pairs, guidance_scale=guidance, **common)
                report = evaluate(pipeline, judge, settings, show)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped by Ctrl-C; nothing was written.") from None

    written = [f"The numbers are in {args.json}"]
    write_atomically(args.json, report.to_json().encode())
    if args.grid is not None and isinstance(report, Report):
        from course_utils.evaluation.grid import save_grid

        save_grid(report, args.grid)
        written.append(f"the pictures in {args.grid}")
    print(report.table())
    print("\n" + ", ".join(written))
    return 0


def _bar(quiet: bool) -> Any:
    from tqdm import tqdm

    return tqdm(desc="drawing", unit="picture", disable=quiet, file=sys.stderr, leave=False)


def check_arguments(args: argparse.Namespace) -> None:
    """Find out what is wrong before anything is loaded or drawn.

    Raises:
        ValueError: by the name of the option.
    """
    for name, least in {"pairs": 1, "seeds": 1, "seed": 0, "batch": 1}.items():
        value = getattr(args, name)
        if value < least:
            raise ValueError(f"--{name} is {value}; expected a whole number of at least {least}")
    if args.grid is not None and args.grid.suffix.lower() != ".png":
        raise ValueError(f"--grid is {args.grid}; expected a file name that ends in .png")
    for name in ("json", "grid"):
        path = getattr(args, name)
        if path is None:
            continue
        folder = next(p for p in path.absolute().parents if p.exists())
        if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ValueError(f"--{name} is {path}, which cannot be written")
