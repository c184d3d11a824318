"""The subcommands of `course`: each module has `register(subparsers)` and `run(args) -> int`.

Modules here import nothing heavy at the top, so that `course --help` answers at once.
"""
