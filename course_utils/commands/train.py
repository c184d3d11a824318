"""`course train`: run the recipes behind the shipped weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from course_utils.cli import sentence
from course_utils.training.processes import free_port, join

RECIPES = ("clip", "judge", "vae", "decoder", "denoiser", "scenes-decoder", "scenes")
OVERRIDES = ("steps", "seconds", "batch_size", "learning_rate", "seed", "mixed_precision")


def register(subparsers: Any) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "train",
        description="Train one recipe or all. A run that was stopped goes on where it stopped.",
    )
    parser.add_argument("recipe", choices=(*RECIPES, "all"))
    parser.add_argument("--preset", choices=("smoke", "cpu", "gpu"), default="cpu")
    parser.add_argument("--steps", type=int, help="optimiser steps; default: the preset's")
    parser.add_argument(
        "--seconds", type=float, help="end each recipe after about so long, with fewer steps"
    )
    parser.add_argument("--batch-size", type=int, help="samples a step, over all processes")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--mixed-precision", choices=("auto", "no", "bf16"))
    parser.add_argument("--runs", type=Path, help="checkpoints and logs; default: runs/PRESET")
    parser.add_argument(
        "--weights",
        type=Path,
        help="finished weights; default: RUNS/weights, never the shipped ones",
    )
    parser.add_argument(
        "--start-from",
        type=Path,
        metavar="FOLDER",
        help="scenes: go on from the weights of this pipeline's folder",
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="share each batch (CPU: 1 thread each)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train; returns the exit status.

    Raises:
        ValueError: an option out of range, weights missing, a foreign checkpoint.
        KeyboardInterrupt: Ctrl-C, once the checkpoint is written.
    """
    check(args)
    if args.processes == 1:
        train(args)
        return 0
    import torch.multiprocessing as mp

    port = free_port()
    try:
        mp.spawn(_work, args=(args, port), nprocs=args.processes)
    except mp.ProcessExitedException as error:
        return error.exit_code or 1
    return 0


def check(args: argparse.Namespace) -> None:
    """Say what is wrong with the options before anything is computed."""
    for name in ("steps", "batch_size", "processes"):
        value = getattr(args, name)
        if value is not None and value < 1:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} is {value}; expected a whole number of at least 1")
    if args.seconds is not None and not args.seconds > 0:
        raise ValueError(f"--seconds is {args.seconds}; expected a time above 0")
    if args.learning_rate is not None and not 0 < args.learning_rate < 1:
        raise ValueError(f"--learning-rate is {args.learning_rate}; expected one between 0 and 1")
    if args.seed is not None and not 0 <= args.seed < 2**16:
        raise ValueError(f"--seed is {args.seed}; expected a whole number from 0 to 65535")


def train(args: argparse.Namespace) -> None:
    """Train in this process; the first of several prints the figures."""
    from course_utils.training.presets import PRESETS, Paths
    from course_utils.training.recipes import train_recipe

    preset = PRESETS[args.preset]
    runs = args.runs or Path("runs") / args.preset
    paths = Paths.under(runs, args.weights or runs / "weights", args.start_from)
    overrides = {k: getattr(args, k) for k in OVERRIDES if getattr(args, k) is not None}
    for recipe in RECIPES if args.recipe == "all" else (args.recipe,):
        figures = train_recipe(recipe, preset, paths, overrides, progress=not args.quiet)
        if figures:
            shown = {k: v for k, v in figures.items() if isinstance(v, int | float)}
            print(f"{recipe}: " + ", ".join(f"{k} {v:.4g}" for k, v in shown.items()))


def _work(rank: int, args: argparse.Namespace, port: int) -> None:
    """One of several processes: what goes wrong is said by the first one only."""
    join(rank, args.processes, port)
    try:
        train(args)
    except (Exception, KeyboardInterrupt) as error:
        if rank == 0:
            print(f"course train: {sentence(error)}", file=sys.stderr)
        sys.exit(130 if isinstance(error, KeyboardInterrupt) else 1)
