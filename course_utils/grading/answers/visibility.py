"""What an answer sees of the course where it is verified or graded.

`course verify` and the sandbox ask here, so that what passes the one passes the other. In a sandbox
the rest does not exist; beside a notebook, importing it fails and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
PUBLIC = (
    "files",
    "guidance",
    "images",
    "models",
    "predictions",
    "samplers",
    "scheduler_config",
    "schedules",
)
"""What of `course_utils` an answer may use, unless its challenge withholds it."""
NEEDED = (
    "__init__",
    "grading/__init__",
    "grading/answers/__init__",
    "grading/answers/boundary",
    "grading/answers/worker",
)
"""What runs it."""
WITHHELD_ALWAYS = ("diffusers", "transformers")


def course_files(withheld: Sequence[str] = ()) -> list[Path]:
    """The files of `course_utils` that an answer sees, relative to the package.

    Args:
        withheld: modules of the course, such as "course_utils.models.clip", that are not shown.
    """
    found = [Path(f"{name}.py") for name in NEEDED]
    for name in PUBLIC:
        single = PACKAGE / f"{name}.py"
        every = [single] if single.exists() else sorted((PACKAGE / name).rglob("*.py"))
        found += [path.relative_to(PACKAGE) for path in every]
    hidden = [name.removeprefix("course_utils.") for name in withheld if "course_utils." in name]
    return [path for path in found if not _is_within(path, hidden)]


def hidden_modules(withheld: Sequence[str] = ()) -> tuple[str, ...]:
    """All modules that an answer may not import: those withheld, and what is not public.

    Args:
        withheld: as for `course_files`.
    """
    shown = {*PUBLIC, *NEEDED, "grading", "grading/answers"}
    found = dict.fromkeys((*withheld, *WITHHELD_ALWAYS))
    for prefix in ("", "grading/", "grading/answers/"):
        for path in sorted((PACKAGE / prefix).iterdir()):
            is_module = path.suffix == ".py" or (path / "__init__.py").exists()
            name = f"{prefix}{path.stem}"
            if is_module and name not in shown:
                found[f"course_utils.{name.replace('/', '.')}"] = None
    return tuple(found)


def _is_within(path: Path, modules: Sequence[str]) -> bool:
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    return any(name == module or name.startswith(f"{module}.") for module in modules)
