"""`python -m course_utils.bench [--json FILE] [--quick]`: measure, print a table, write JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.bench import drawing, grading, playground, training
from course_utils.bench.subject import find_subject
from course_utils.files import write_atomically
from course_utils.runtime import Runtime, pick_device

if TYPE_CHECKING:
    from course_utils.bench.timing import Row

GROUPS = {
    "first": "from a fresh process to the first picture",
    "unet": "one U-Net call",
    "draw": "whole pictures",
    "train": "training steps",
    "grade": "grading a class, beside nbgrader",
    "playground": "the playground's engine in a browser, beside torch",
}


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m course_utils.bench",
        description="Measure speed: this course's code beside diffusers and transformers.",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--quick", action="store_true", help="few repetitions, noisier figures")
    parser.add_argument("--only", choices=GROUPS, nargs="+", help="some groups of measurements")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; returns the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.json is not None and not args.json.parent.is_dir():
        parser.error(f"--json is {args.json}, but there is no folder {args.json.parent}")
    try:
        report = measure(args.only or tuple(GROUPS), args.quick)
        print(f"\n{table(report)}")
        if args.json is not None:
            write_atomically(args.json, (json.dumps(report, indent=1) + "\n").encode())
            print(f"\nwritten to {args.json}")
    except KeyboardInterrupt:
        print("bench: stopped by Ctrl-C; nothing was written.", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"bench: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def measure(groups: Sequence[str], quick: bool) -> dict[str, Any]:
    """Run the groups of measurements one after another.

    Args:
        groups: keys of `GROUPS`.
        quick: few repetitions.

    Returns:
        Plain data: `machine`, `weights` and `rows`, see `Row`.
    """
    quiet()
    with tempfile.TemporaryDirectory(prefix="course-bench-") as name:
        scratch = Path(name)
        say("loading")
        subject = find_subject(scratch, pick_device())
        report: dict[str, Any] = {
            "machine": machine(),
            "weights": subject.weights,
            "quick": quick,
            "rows": [],
        }
        pipe = subject.theirs() if {"unet", "draw"} & set(groups) else None
        runs: dict[str, Callable[[], list[Row]]] = {
            "first": lambda: drawing.first_picture(subject, scratch, 1 if quick else 3),
            "unet": lambda: drawing.unet_call(subject, pipe, 30 if quick else 200),
            "draw": lambda: drawing.pictures_a_minute(subject, pipe, 3 if quick else 11),
            "train": lambda: training.training_steps(subject, 5 if quick else 21),
            "grade": lambda: grading.grading(scratch, 4 if quick else 16, 1 if quick else 3),
            "playground": lambda: playground.beside_torch(3 if quick else 9),
        }
        needs = {"grade": grading.why_not, "playground": playground.why_not}
        for group in GROUPS:
            if group in groups and group in needs and (why := needs[group]()):
                print(f"left out: {GROUPS[group]}: {why}", file=sys.stderr)
            elif group in groups:
                say(GROUPS[group])
                report["rows"] += [dataclasses.asdict(row) for row in runs[group]()]
    return report


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    import torch

    runtime = Runtime.start("bench", minutes=1, seconds=1)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    packages = ("torch", "diffusers", "transformers", "nbgrader")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": runtime.device,
        "device_name": runtime.device_name,
        "cores": runtime.cores,
        "threads": torch.get_num_threads(),
        "precision": "float32",
        "load_before": None if load is None else round(load, 2),
        "versions": {package: version(package) for package in packages if is_there(package)},
    }


def is_there(package: str) -> bool:
    """Whether a package is installed."""
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    where = report["machine"]
    head = ("", "ours", "theirs", "unit", "time ratio", "quartiles", "pairs")
    lines = [head]
    for row in report["rows"]:
        lines.append(
            (
                row["what"],
                f"{row['ours']:.4g}",
                f"{row['theirs']:.4g}",
                row["unit"],
                f"{row['ratio']:.2f}",
                f"{row['low']:.2f} to {row['high']:.2f}",
                str(row["pairs"]),
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    right = (1, 2, 4, 6)
    text = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    text.insert(1, "-" * max(map(len, text)))
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    text += [
        "",
        "time ratio: our time / their time, the median over pairs that ran in turn; below 1 ours "
        "is faster.",
        *(f"{row['what']}: {row['check']}." for row in report["rows"]),
        f"{where['device_name']} ({where['device']}), {where['cores']} cores, "
        f"{where['threads']} threads, {where['precision']}; {versions}; {report['weights']}.",
    ]
    if where["load_before"] is not None and where["load_before"] > 0.5:
        text.append(
            f"Other programs were running (load {where['load_before']}): the ratios are still "
            "taken in pairs, the absolute figures are too slow."
        )
    return "\n".join(text)


def quiet() -> None:
    """No network, and no chatter of libraries while they load; before they are imported."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in ("DIFFUSERS", "TRANSFORMERS"):
        os.environ[f"{name}_VERBOSITY"] = "error"
    warnings.filterwarnings("ignore")


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"measuring: {what} ..." if what != "loading" else "loading ...", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
