"""The challenges by number; found by their folders, so that reading them imports nothing else.

Each folder's `__init__.py` holds `NUMBER` and `TITLE` alone.
"""

from __future__ import annotations

import importlib
import pkgutil

from course_utils import challenges


def _found() -> dict[str, tuple[str, str]]:
    found = {}
    for each in pkgutil.iter_modules(challenges.__path__):
        if each.ispkg:
            facts = importlib.import_module(f"{challenges.__name__}.{each.name}")
            found[facts.NUMBER] = (each.name, facts.TITLE)
    return dict(sorted(found.items()))


_FOUND = _found()
NAMES = {number: name for number, (name, _) in _FOUND.items()}
"""Each one's folder; its notebook is `challenges/NN_name.ipynb`."""
TITLES = {number: title for number, (_, title) in _FOUND.items()}
"""What they are called."""
