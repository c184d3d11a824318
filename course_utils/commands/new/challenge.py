"""What `course new challenge` writes: the challenge's folder, its two notebooks and its test file.

The skeleton is a whole challenge, so that everything runs from the first minute: `answer(x)` has to
give twice x. Put yours in its place.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from course_utils.authoring import BEGIN, learner_version, to_bytes
from course_utils.challenges.names import NAMES
from course_utils.lessons import ROOT

NAME = "challenge"

INIT = '''"""Challenge @NUMBER@, @TITLE@: what it is about, in one line."""

NUMBER, TITLE = "@NUMBER@", "@TITLE@"
'''
ASK = '''"""Challenge @NUMBER@, @TITLE@: what it is about, and how it is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from course_utils.challenges import validation
from course_utils.challenges.@NAME@ import NUMBER, TITLE
from course_utils.challenges.declare import Band, Challenge, Limits, Measurement, Part

# --- thresholds; each was measured: challenges/@NUMBER@_@NAME@/calibration.md

BANDS = (Band(1e-6, 4, "exact"), Band(0.01, 2, "near"))
PASS_POINTS = 4
LIMITS = Limits(seconds=10.0, megabytes=1500)


def numbers(random: np.random.Generator) -> list[dict[str, Any]]:
    """Some calls; what begins with an underscore stays hidden from answers."""
    return [{"x": random.standard_normal(n).astype(np.float32)} for n in (3, 50)]


def measure(inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Any]) -> Measurement:
    """The largest error over all calls."""
    errors = []
    for given, value in zip(inputs, outputs, strict=True):
        found = validation.tensor("answer", value, given["x"].shape, like="that of x, ")
        errors.append(float(np.abs(found - 2 * given["x"]).max()))
    return Measurement(max(errors))


CHALLENGE = Challenge(
    number=NUMBER,
    title=TITLE,
    answers=("answer",),
    setup="import torch\\nfrom torch import Tensor",
    pass_points=PASS_POINTS,
    minutes=60,
    parts=(
        Part(
            id="a",
            title="twice",
            function="answer",
            inputs=numbers,
            measure=measure,
            bands=BANDS,
            quantity="largest error",
            better="less",
            advice="What to try next when not all points were reached.",
            limits=LIMITS,
        ),
    ),
)
'''
CONTESTANTS = '''"""Contestants of challenge @NUMBER@: the reference, noise, a naive answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Functions = Mapping[str, Callable[..., Any]]


def reference(x: Tensor, **hidden: Any) -> Tensor:
    """Twice x."""
    return 2 * x


def noise(x: Tensor, **hidden: Any) -> Tensor:
    """Numbers that know nothing of x but its shape."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(len(x)))


def naive(x: Tensor, **hidden: Any) -> Tensor:
    """x as it is."""
    return x


CONTESTANTS: Mapping[str, Functions] = {
    "reference: twice x": {"answer": reference},
    "noise: normal numbers": {"answer": noise},
    "naive: x as it is": {"answer": naive},
}
'''
TEST = '''"""Answers to challenge @NUMBER@, wrong and right."""

from __future__ import annotations

from planted import PlantedAnswers


def answer(body: str) -> dict[str, str]:
    """An `answer` with these lines."""
    return {"answer": f"def answer(x):\\n    {body}\\n"}


# At least eight, two of them cheats: (name, answer, {part: (most points, words of the message)}).
WRONG = [
    ("x as it is", answer("return x"), {"a": (0, "largest error")}),
    ("another shape", answer("return x[1:]"), {"a": (0, "expected that of x")}),
]
# At least two that are written otherwise.
RIGHT = [("a sum", answer("return x + x"))]


class TestAnswers(PlantedAnswers):
    number = "@NUMBER@"
    wrong, right = WRONG, RIGHT
    half_wrong = "another shape"
'''
CELLS = (
    (
        "title",
        """# Challenge @NUMBER@: @TITLE@

What it is about, and for whom.

| this challenge | |
|---|---|
| you need | lesson 01 |
| you write | one function: `answer` |
| your time | about 60 minutes |
| to pass | 4 of 4 points |

**Why it matters.** Say it here.""",
    ),
    ("setup", "import torch\nfrom torch import Tensor"),
    ("good-words", "## What good looks like\n\nShow what a good answer reaches, before any rules."),
    (
        "points-words",
        "## Points\n\nEach part has bands. Reach a better one and you get more points.",
    ),
    (
        "points",
        """from IPython.display import Markdown, display

from course_utils.challenges.declare import find_challenge

challenge = find_challenge("@NUMBER@")
lines = ["| part | function | measured | points |", "|---|---|---|---|"]
lines += [
    f"| {part.id}: {part.title} | `{part.function}` | {part.quantity} | "
    + ", ".join(f"{band.limit:g}: **{band.points:g}**" for band in part.bands)
    + " |"
    for part in challenge.parts
]
lines += ["", f"{challenge.pass_points:g} of {challenge.points:g} points pass."]
display(Markdown("\\n".join(lines)))""",
    ),
    ("a-words", "## Part a: twice\n\nWhat is asked, with the equations that it takes."),
    (
        "answer",
        '''def answer(x: Tensor) -> Tensor:
    """Twice x.

    Args:
        x: (N,) float32.

    Returns:
        (N,) float32.
    """
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION''',
    ),
    (
        "try-answer",
        """from course_utils.grading.answers.callers import report_errors

with report_errors("answer"):
    print(answer(torch.arange(3.0)))""",
    ),
    (
        "verify-words",
        """## Verify

The cell below calls your function here, on fresh inputs. For the real thing save the notebook,
and type in a terminal

```
course verify challenges/@NUMBER@_@NAME@.ipynb
```""",
    ),
    (
        "verify",
        "from course_utils.grading.answers.verify import quick_look\n\n"
        'result = quick_look("@NUMBER@", globals())',
    ),
    ("sources", "## Sources\n\n- Who found out what stands here."),
)


def register(kinds: Any) -> None:
    """Add the kind to `course new`."""
    parser = kinds.add_parser(
        NAME,
        help="a challenge: its folder, two notebooks and a test file",
        description="Writes the skeleton of a challenge with the next free number.",
    )
    parser.add_argument("title", help='what it is called, such as "Mix colours"')


def files(args: argparse.Namespace) -> dict[Path, str]:
    """What is written, by path.

    Raises:
        ValueError: the title gives no name, or one that is taken.
    """
    title = " ".join(args.title.split())
    name = re.sub(r"[^a-z0-9]+", "_", title.lower().replace("'", "")).strip("_")
    if not name.isidentifier() or '"' in title or "\\" in title:
        raise ValueError(f"the title is {args.title!r}; expected some words, such as 'Mix colours'")
    if name in NAMES.values():
        raise ValueError(f"a challenge {name} is there already; choose another title")
    number = f"{1 + max(map(int, NAMES)):02}"

    def filled(text: str) -> str:
        for key, value in (("NUMBER", number), ("TITLE", title), ("NAME", name)):
            text = text.replace(f"@{key}@", value)
        return text

    folder = ROOT / "course_utils" / "challenges" / name
    notebook = _notebook([(id, filled(source)) for id, source in CELLS], number)
    file = f"{number}_{name}.ipynb"
    return {
        folder / "__init__.py": filled(INIT),
        folder / "ask.py": _sorted_imports(filled(ASK)),
        folder / "contestants.py": filled(CONTESTANTS),
        ROOT / "solutions" / "challenges" / file: to_bytes(notebook).decode(),
        ROOT / "challenges" / file: to_bytes(learner_version(notebook, file)).decode(),
        ROOT / "tests" / "challenges" / f"test_{name}.py": filled(TEST),
    }


def changes(args: argparse.Namespace) -> dict[Path, str]:
    """Files that change: none, since a challenge is found by its folder."""
    return {}


def _sorted_imports(text: str) -> str:
    """With our own imports in order, wherever the new name belongs among them."""
    lines = text.splitlines(keepends=True)
    places = [i for i, line in enumerate(lines) if line.startswith("from course_utils")]
    for place, line in zip(places, sorted(lines[i] for i in places), strict=True):
        lines[place] = line
    return "".join(lines)


def _notebook(cells: list[tuple[str, str]], number: str) -> dict[str, Any]:
    """A notebook of these cells; what holds a solution is an answer of nbgrader's."""
    found: list[dict[str, Any]] = []
    for id, source in cells:
        is_words = source.startswith("#") or id == "title"
        cell: dict[str, Any] = {"cell_type": "markdown", "id": id, "metadata": {}}
        if not is_words:
            cell |= {"cell_type": "code", "execution_count": None, "outputs": []}
        if BEGIN in source:
            cell["metadata"]["nbgrader"] = {
                "grade": False,
                "grade_id": f"challenge-{number}-{id}",
                "locked": False,
                "schema_version": 3,
                "solution": True,
                "task": False,
            }
        found.append(cell | {"source": source.splitlines(keepends=True)})
    metadata = {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
    }
    return {"cells": found, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
