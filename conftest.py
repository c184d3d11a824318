"""For every test run: notebooks keep what their folder promises; no real progress is touched.

A notebook in `solutions/` must end with no exercise open, one in `notebooks/` or `challenges/` with
all open; its last cell fails otherwise (`course_utils.checks.summary`).
"""

from __future__ import annotations

import os

import pytest

os.environ["COURSE_PROGRESS"] = "off"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tell a notebook's kernel, before it starts, what the notebook's folder promises."""
    if item.path.suffix == ".ipynb":
        os.environ["COURSE_EXPECT"] = "solved" if "solutions" in item.path.parts else "open"
    else:
        os.environ.pop("COURSE_EXPECT", None)
