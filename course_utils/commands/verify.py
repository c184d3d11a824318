"""`course verify challenges/01_noise_to_order.ipynb`: points, measurements, what to try next."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from course_utils.challenges.declare import find_challenge
from course_utils.grading.answers.notebooks import answers_of, challenge_in, read_notebook
from course_utils.grading.answers.process import OtherProcess
from course_utils.grading.answers.verify import remember, verify
from course_utils.grading.cohort.layouts import split_name
from course_utils.grading.sandbox.bubblewrap import Sandbox
from course_utils.grading.sandbox.probe import require


def register(subparsers: Any) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "verify",
        description="Runs the answer cells of a challenge's notebook in another process, with the "
        "challenge's limits, on fresh inputs, and says what they are worth. Outputs and all "
        "other cells of the notebook are ignored. Exit status 0 only for a pass.",
    )
    parser.add_argument("notebook", type=Path, help="such as challenges/01_noise_to_order.ipynb")
    parser.add_argument("--seed", help="repeat the inputs of an earlier run, which printed it")
    parser.add_argument(
        "--sandbox", action="store_true", help="in the sandbox that grading uses (Linux)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify one notebook.

    Raises:
        ValueError: it is no notebook of a challenge, or an answer cell is missing.
        SandboxError: there is no sandbox here.
    """
    notebook = read_notebook(args.notebook)
    number = challenge_in(notebook) or split_name(args.notebook.stem)[0]
    challenge = find_challenge(number or args.notebook.name)
    answers = answers_of(notebook, challenge)

    def tell(number: int, part: Any) -> None:
        if sys.stderr.isatty():
            print(f"part {part.id} of {len(challenge.parts)} ...", end="\r", file=sys.stderr)

    start = None
    if args.sandbox:
        require()
        start = Sandbox.for_challenge(challenge).starter()
    with OtherProcess(challenge, answers, start) as caller:
        result = verify(challenge, caller, args.seed, tell)
    if args.json:
        print(json.dumps(result.to_json(), indent=1))
    else:
        print(result.table())
        for note in (*answers.notes, *caller.notes):
            print(note)
        print(f"The same inputs again: --seed {result.seed}")
    remember(challenge, result)
    return 0 if result.passed else 1
