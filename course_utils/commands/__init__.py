"""The subcommands of `course`, one file each."""
