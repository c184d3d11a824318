"""The subcommands of `course`: each module has `register(subparsers)` and `run(args) -> int`.

`course_utils.cli` imports only the one that was asked for. Modules here that need torch import it
inside `run`: it takes two seconds, and `--help` and a wrong option are answered before that.
"""
