"""Files that stand in the way of a package: `torch.py` beside a notebook is what it imports."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib import machinery, metadata
from pathlib import Path

# Top-level names that many packages and projects have; nobody imports them from a package.
COMMON = {"conftest", "docs", "examples", "scripts", "setup", "test", "tests", "utils"}


def importable_names(packages: Iterable[str]) -> set[str]:
    """What `import` may be followed by: the standard library and the modules of some packages.

    Args:
        packages: as `pip` names them, in lower case.
    """
    wanted = {_plain(name) for name in packages}
    installed = {
        module
        for module, owners in metadata.packages_distributions().items()
        if any(_plain(owner) in wanted for owner in owners)
    }
    standard = sys.stdlib_module_names - set(sys.builtin_module_names)  # those always win
    return {name for name in standard | installed if name.isidentifier()} - COMMON


def shadows(folder: Path, names: Iterable[str]) -> Iterator[tuple[Path, str]]:
    """The files and packages of a folder that Python would take for a module of another place.

    Args:
        folder: where a notebook lies; Python looks there first.
        names: of modules.

    Yields:
        The path, and the module that it hides.
    """
    names = set(names)
    endings = (*machinery.SOURCE_SUFFIXES, *machinery.EXTENSION_SUFFIXES)
    for path in sorted(folder.glob("*")):
        if path.is_dir():  # without __init__.py it is no package and comes last
            module = path.name if (path / "__init__.py").is_file() else ""
        else:
            module = next(
                (path.name[: -len(end)] for end in endings if path.name.endswith(end)), ""
            )
        if module in names:
            yield path, module


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
