"""The command `course`: one subcommand for each module in `course_utils.commands`.

Whatever goes wrong ends in one sentence on stderr and an exit status that is not 0; with
`COURSE_DEBUG=1` in the environment it ends in a traceback.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

# Name and, for `course --help`, what it does; the rest is in `course_utils.commands`.
COMMANDS = {
    "draw": "draw a picture from a prompt",
    "doctor": "say what the course runs on, how fast it is, and what is wrong",
    "evaluate": "measure how well a model draws what it is asked for",
    "train": "train the models, or go on training them",
    "progress": "what you have done, what is open, what is next",
    "next": "what to do next; --open opens it",
    "reset": "a fresh copy of a lesson or a challenge; yours is kept beside it",
    "verify": "verify your answer to a challenge",
    "demo": "the interactive views as one page, for a projector",
    "playground": "a web page that draws what you type, without Python",
    "grade": "grade the challenges of a class",
    "release": "for authors: write notebooks/ from solutions/",
    "new": "for authors: the skeleton of a lesson or a challenge",
}


class Parser(argparse.ArgumentParser):
    """argparse, with one sentence for a wrong argument in place of the whole usage."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        """Print the sentence and exit with status 2."""
        self.exit(2, f"{self.prog}: {message} (see `{self.prog} --help`)\n")


class Version(argparse.Action):
    """`--version`; looks the version up only when asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(f"Sculpting Noise {version()}")
        parser.exit()


def version() -> str:
    """The version of the installed course."""
    from importlib import metadata

    try:
        return metadata.version("sculpting-noise")
    except metadata.PackageNotFoundError:
        return "(not installed, run from its sources)"


def build_parser(wanted: str | None = None) -> argparse.ArgumentParser:
    """The parser of `course`.

    Args:
        wanted: the command whose own arguments it knows, and whose module it imports; of the others
            it knows the names.
    """
    parser = Parser(
        prog="course",
        description="Sculpting Noise: a course on diffusion models that you run.",
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, does in COMMANDS.items():
        if name == wanted:
            importlib.import_module(f"course_utils.commands.{name}").register(subparsers)
        else:
            subparsers.add_parser(name, help=does)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; those of the process by default.

    Returns:
        The exit status: 0 done, 1 not done, 2 wrong arguments, 130 stopped by Ctrl-C.
    """
    name = "course"
    for stream in (sys.stdout, sys.stderr):  # what a terminal can't show is written as an escape
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = sys.argv[1:] if argv is None else list(argv)
        parser = build_parser(arguments[0] if arguments else None)
        args = parser.parse_args(arguments)
        if args.command is None:
            parser.print_help()
            return 0
        name = f"course {args.command}"
        return int(args.run(args))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:  # `course ... | head`: the reader has what it wanted
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - nothing more can be flushed
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("COURSE_DEBUG", "0") not in {"", "0"}:
            raise
        print(f"{name}: {sentence(error)}", file=sys.stderr, flush=True)
        return 130 if isinstance(error, KeyboardInterrupt) else 1


def sentence(error: BaseException) -> str:
    """What went wrong, in one line for the person who typed the command."""
    text = " ".join(str(error).split())
    kind = type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        return text or "stopped by Ctrl-C."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}." if error.filename else f"{error.strerror}."
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name} is missing from {sys.executable}; `make env` installs it."
    if isinstance(error, MemoryError) or "OutOfMemory" in kind or "allocate memory" in text:
        return "there is not enough memory for this; close other programs or ask for less at once."
    if isinstance(error, ValueError | TypeError | ArithmeticError | OSError) and text:
        return text if text.endswith((".", "?", ")")) else f"{text}."
    return f"something unexpected: {kind}: {text} (COURSE_DEBUG=1 shows where)"


if __name__ == "__main__":
    sys.exit(main())
