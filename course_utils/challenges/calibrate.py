"""What known contestants score in a challenge: `python -m course_utils.challenges.calibrate 02`.

Contestants are declared in the challenge's `contestants.py`: noise, a naive answer, the reference,
real pictures, whatever a band must tell apart. Each is verified on many seeds; the table says what
was measured, with 95 % intervals, how many points it gave, and how often it passed. Written to
`challenges/NN_name/calibration.md` and `calibration.json`, after every seed, and continued there,
unless the weights that it was measured with have changed: then it starts anew.

Points are given when the table is written, so that other bands need no new measurement. Where a
check that refuses has changed, remove the file.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from course_utils.challenges.declare import Challenge, find_challenge
from course_utils.challenges.names import NAMES
from course_utils.evaluation.intervals import student_t
from course_utils.files import write_atomically
from course_utils.grading.answers.callers import InKernel
from course_utils.grading.answers.verify import Result, verify

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "course_utils" / "weights"
Functions = Mapping[str, Callable[..., Any]]
Contestants = Mapping[str, Functions]


class SeeingCaller(InKernel):
    """Runs a contestant that may see everything, so that real pictures can be scored too."""

    sees_hidden = True


def contestants(challenge: Challenge) -> Contestants:
    """The contestants of a challenge: a name in words, and their functions by name.

    A function takes the same arguments as a learner's, and `**hidden` for what begins with an
    underscore.
    """
    module = importlib.import_module(
        f"course_utils.challenges.{NAMES[challenge.number]}.contestants"
    )
    found: Contestants = module.CONTESTANTS
    return found


def calibrate(
    challenge: Challenge, seeds: int, path: Path, only: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Verify every contestant on seeds 0 to `seeds` - 1, going on where an earlier run stopped.

    Seed by seed, so that what the contestants share (a finished picture) is made once. What an
    earlier run measured with other weights, or of contestants that are gone, is dropped.

    Args:
        challenge: which.
        seeds: how many.
        path: of the JSON file; written after every seed.
        only: some contestants.

    Returns:
        By contestant and seed, what `summary` keeps of a result.

    Raises:
        ValueError: for a contestant that the challenge doesn't have.
    """
    known = contestants(challenge)
    if unknown := [name for name in only if name not in known]:
        raise ValueError(f"no contestant {unknown[0]!r} in {challenge.name}: {', '.join(known)}")
    chosen = {name: functions for name, functions in known.items() if not only or name in only}
    found: dict[str, dict[str, Any]] = {}
    weights = weights_sha256(challenge)
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept.get("weights", "") == weights:
            found = {name: kept["runs"][name] for name in known if kept["runs"].get(name)}
    for seed, (name, functions) in itertools.product(range(seeds), chosen.items()):
        runs = found.setdefault(name, {})
        if str(seed) in runs:
            continue
        started = time.monotonic()
        runs[str(seed)] = summary(verify(challenge, SeeingCaller(functions), f"calibration {seed}"))
        runs[str(seed)]["seconds"] = round(time.monotonic() - started, 2)
        _keep(path, weights, found)
        print(f"{name}, seed {seed}: {runs[str(seed)]['points']:g} points", file=sys.stderr)
    found = {name: found[name] for name in known if name in found}
    _keep(path, weights, found)
    return found


def _keep(path: Path, weights: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a JSON file with one run a line, contestants in the order in which they came."""
    groups = []
    for name, runs in found.items():
        rows = ",\n".join(f'  "{seed}": {json.dumps(run)}' for seed, run in runs.items())
        groups.append(f" {json.dumps(name)}: {{\n{rows}\n }}")
    body = ",\n".join(groups)
    text = f'{{"weights": {json.dumps(weights)}, "runs": {{\n{body}\n}}}}\n'
    write_atomically(path, text.encode())


def weights_sha256(challenge: Challenge) -> str:
    """One digest for all tensors that a challenge measures with; "" where there are none."""
    digest = hashlib.sha256()
    folders = challenge.rests_on
    for path in sorted(p for folder in folders for p in (WEIGHTS / folder).rglob("*.safetensors")):
        digest.update(path.relative_to(WEIGHTS).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest() if folders else ""


def points_of(challenge: Challenge, run: Mapping[str, Any]) -> float:
    """What a run's values are worth with the bands as they are now."""
    found = [(part, run["values"].get(part.id)) for part in challenge.parts]
    bands = [part.band(value) for part, value in found if value is not None]
    return sum(band.points for band in bands if band is not None)


def summary(result: Result) -> dict[str, Any]:
    """What is kept of one result."""
    return {
        "points": result.points,
        "passed": result.passed,
        "values": {p.id: _short(p.value) for p in result.parts},
        "verdicts": {p.id: p.verdict for p in result.parts},
        "details": {
            p.id: {name: _short(value) for name, value in p.details.items()}
            for p in result.parts
            if p.details
        },
    }


def _short(value: float | None) -> float | None:
    """To nine digits: more were not measured."""
    return None if value is None else float(f"{value:.9g}")


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval of the mean (Student's t)."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan, math.nan
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    half = student_t(0.975, len(values) - 1) * deviation / math.sqrt(len(values))
    return mean, mean - half, mean + half


def share_interval(successes: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Clopper and Pearson 1934: exact, by the binomial)."""

    def share_where(reached: int, probability: float) -> float:
        """The share for which this many successes or more have a probability."""
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            tail = math.fsum(
                math.comb(count, k) * middle**k * (1 - middle) ** (count - k)
                for k in range(reached, count + 1)
            )
            low, high = (middle, high) if tail < probability else (low, middle)
        return (low + high) / 2

    low = share_where(successes, 0.025) if successes else 0.0
    high = share_where(successes + 1, 0.975) if successes < count else 1.0
    return low, high


def table(challenge: Challenge, found: Mapping[str, Mapping[str, Any]]) -> str:
    """The calibration as Markdown."""
    lines = [
        f"# Calibration of challenge {challenge.number}, {challenge.title}",
        "",
        f"Made by `python -m course_utils.challenges.calibrate {challenge.number}`. Each "
        "contestant was verified on fresh inputs from each seed. In brackets: 95 % intervals "
        "of the mean, and of the share that passes (exact). "
        f"{challenge.pass_points:g} of {challenge.points:g} points pass.",
        "",
    ]
    for part in challenge.parts:
        bands = ", ".join(
            f"{'at least' if part.better == 'more' else 'at most'} {band.limit:g}: {band.points:g}"
            for band in part.bands
        )
        lines += [f"- Part {part.id}, {part.title}: {part.quantity}. Points for {bands}."]
    titles = [f"{part.id}: {part.title}" for part in challenge.parts]
    lines += [
        "",
        "| contestant | seeds | " + " | ".join(titles) + " | points | passed |",
        "|---|---|" + "---|" * len(titles) + "---|---|",
    ]
    for name, runs in found.items():
        every = list(runs.values())
        cells = [_cell([run["values"].get(part.id) for run in every]) for part in challenge.parts]
        scores = [points_of(challenge, run) for run in every]
        points, low, high = interval(scores)
        passed = sum(score >= challenge.pass_points for score in scores)
        share = share_interval(passed, len(every))
        lines.append(
            f"| {name} | {len(every)} | "
            + " | ".join(cells)
            + f" | {points:.2f}{_between(low, high, '.2f')} | {passed} of {len(every)} "
            f"({share[0]:.0%} to {share[1]:.0%}) |"
        )
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float | None]) -> str:
    numbers = [v for v in values if v is not None and math.isfinite(v)]
    if not numbers:
        return "refused"
    mean, low, high = interval(numbers)
    refused = len(values) - len(numbers)
    more = f", {refused} refused" if refused else ""
    return f"{mean:.3g}{_between(low, high, '.3g')}{more}"


def _between(low: float, high: float, form: str) -> str:
    """The interval in brackets; nothing where one seed gives none."""
    return f" ({low:{form}} to {high:{form}})" if math.isfinite(low) else ""


def main() -> int:
    """Calibrate from the command line."""
    parser = argparse.ArgumentParser(description="What known contestants score in a challenge.")
    parser.add_argument("challenge")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--only", nargs="*", default=[], help="some contestants")
    parser.add_argument("--out", type=Path, help="folder; default: challenges/NN_name")
    args = parser.parse_args()
    challenge = find_challenge(args.challenge)
    folder = args.out or ROOT / "challenges" / challenge.name
    found = calibrate(challenge, args.seeds, folder / "calibration.json", args.only)
    text = table(challenge, found)
    write_atomically(folder / "calibration.md", text.encode())
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
