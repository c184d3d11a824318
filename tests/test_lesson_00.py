"""Lesson 00 as a learner meets it: nothing filled in, wrong things filled in, all filled in.

The cells run in this process on a tiny untrained model, so that this takes seconds. nbval runs both
versions of the notebook on the shipped weights, in a kernel of their own.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny_pipeline import tiny_pipeline

from course_utils import checks
from course_utils.authoring import check_cells, learner_version, read

ROOT = Path(__file__).resolve().parent.parent
SOLUTION = ROOT / "solutions" / "00_start_here.ipynb"
EXERCISE, DRAWS = "three-prompts", "draw-prompts"
FIGURES = re.compile(r"\b(picture|picture_grid|step_strip|architecture|curves)\(")


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


@pytest.fixture(scope="module")
def solution() -> dict[str, Any]:
    return read(SOLUTION)


@pytest.fixture(scope="module")
def cells(solution: dict[str, Any]) -> dict[str, str]:
    """The source of each code cell, by its id."""
    return {c["id"]: text(c) for c in solution["cells"] if c["cell_type"] == "code"}


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; returns the value of its last line, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
        return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    exec(compile(tree, "cell", "exec"), names)
    return None


@pytest.fixture(scope="module")
def run_lesson(
    cells: dict[str, str],
) -> Iterator[Callable[..., tuple[dict[str, Any], dict[str, Any]]]]:
    """Run the cells with a tiny model; gives the names and what each cell showed.

    The views of a process share one model, which they read in the background and keep. They get the
    tiny one in place of what is kept, and finish before it goes: none of it outlives a run.
    """
    import torch

    from course_utils.pipeline import Pipeline
    from course_utils.widgets import _base, _course_model

    pipeline = tiny_pipeline(timestep_spacing="trailing")
    views: list[_base.View] = []

    def run(sources: dict[str, str], quick: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
        names: dict[str, Any] = {}
        shown = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Pipeline, "load", lambda *args, **kwargs: pipeline)
            patch.setattr(_course_model, "_load_pipeline", lambda: pipeline)
            patch.chdir(SOLUTION.parent)
            if quick:
                patch.setattr(pipeline, "draw", partial(pipeline.draw, num_steps=2))
            try:
                for name, source in sources.items():
                    shown[name] = run_cell(source, names)
            finally:
                torch.set_grad_enabled(True)
                opened = [view for view in shown.values() if isinstance(view, _base.View)]
                views.extend(opened)
                for view in opened:
                    view.wait()
        return names, shown

    yield run
    for view in views:
        view.close()


@pytest.fixture(scope="module")
def whole(
    cells: dict[str, str], run_lesson: Callable[..., Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    counts = "STEPS = (1, 2, 4, 8, 20, 50)"  # as many as the pictures below the experiment show
    fewer = re.sub(r"^STEPS = \(.*\)", counts, cells["experiment"], flags=re.MULTILINE)
    assert counts in fewer
    return run_lesson({**cells, "experiment": fewer})


# --- the whole page ------------------------------------------------------------------------------


def test_the_solution_runs_and_leaves_nothing_open(whole, capsys) -> None:
    names, _ = whole
    assert names["summary"]("00").title.endswith("1 of 1 exercises done, 0 open.")
    assert len(names["steps"]) == 26 and names["steps"][0].t == 999


def test_every_figure_is_a_picture_with_words_for_it(cells, whole) -> None:
    from PIL import Image

    _, shown = whole
    drawn = [name for name, source in cells.items() if FIGURES.search(source)]
    assert len(drawn) >= 10
    for name in drawn:
        data, metadata = shown[name]._repr_mimebundle_()
        assert len(metadata["image/png"]["alt"].split()) >= 5, name
        assert shown[name].alt in data["text/plain"]
        image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
        assert image.width >= 256, name


def test_the_first_picture_is_drawn_at_four_times_its_size(whole) -> None:
    from PIL import Image

    image = Image.open(io.BytesIO(whole[1]["first-picture"].png))
    assert image.size == (256, 256)


def test_the_views_leave_a_picture_and_words_where_there_is_no_kernel(whole) -> None:
    for name, words in (("panel", "25 steps"), ("map", "U-Net")):
        view = whole[1][name]
        data = view._repr_mimebundle_()
        bundle = data[0] if isinstance(data, tuple) else data
        assert view.error is None
        assert view.fallback().startswith(b"\x89PNG")
        assert words in view.describe() and "text/plain" in bundle


def test_the_views_draw_with_the_tiny_model_and_leave_the_course_s_own_to_others(whole) -> None:
    from course_utils.hub import DEFAULT_MODEL
    from course_utils.widgets._course_model import default_pipeline

    names, shown = whole
    assert all(shown[name]._pipeline is names["pipeline"] for name in ("panel", "map"))
    assert names["pipeline"].name == "tiny" and default_pipeline().name == DEFAULT_MODEL


def test_the_shipped_model_knows_what_the_page_draws_and_not_the_odd_words(cells) -> None:
    from course_utils.vocabulary import Vocabulary

    known = Vocabulary.load(ROOT / "course_utils" / "weights" / "emoji-64")
    assert known is not None
    for id in ("first-picture", "range-pictures", "experiment"):
        for prompt in re.findall(r'"(an? [^"]+)"', cells[id]):
            assert known.unknown_words(prompt) == [], prompt
    odd = re.findall(r'"(a [^"]+)"', cells["unknown-words"])
    assert len(odd) == 2 and all(known.unknown_words(prompt) for prompt in odd)
    assert known.unknown_words("a jaguar")[0].suggestions  # the page says so


def test_the_page_finds_what_the_model_knows(cells, run_lesson, capsys) -> None:
    sources = {name: cells[name] for name in ("first-picture", "vocabulary")}
    names, _ = run_lesson(sources, quick=True)
    said = capsys.readouterr().out
    assert "4 things, among them" in said and "1 pairs never shown" in said
    assert '"walrus": no such thing here' in said
    names["find"]("app")
    assert capsys.readouterr().out == '"app": red apple\n'


# --- the exercise --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filled_in", "said", "drawn"),
    [
        ("my_prompts = []", "my_prompts: open", 3),
        ("my_prompts = ['', '  ']", "my_prompts: open", 3),
        ("my_prompts = None", "my_prompts: open", 3),
        ("my_prompts = 7", "my_prompts is 7; expected a list of texts", 3),
        ("my_prompts = ['a dog', 3]", "holds 3; expected texts in quotes", 1),
        ("my_prompts = [['a dog']]", "expected texts in quotes", 3),
        ("my_prompts = {'a dog': 1}", "expected a list of texts", 3),
        ("my_prompts = ...", "my_prompts: open", 3),
        ("pass", "my_prompts: open", 3),
        ("my_prompts = 'a dog'", "my_prompts is one text", 1),
        ("my_prompts = ['dog'] * 3", "2 of 3 different ones are missing", 3),
        ("my_prompts = ['a dog', 'a cat']", "1 of 3 prompts is missing", 2),
        ("my_prompts = ('dog', 'cat', 'rocket')", "my_prompts: right", 3),
        ("my_prompts = ['dog', '', 'cat', 'rocket']", "my_prompts: right", 3),
        ("my_prompts = ['a walrus', '猫', '$x$ <b>']", "猫: read as: no words", 3),
        ("my_prompts = ['dog ' * 200, 'cat', 'rocket']", "read as: a dog", 3),
        ("my_prompts = [f'dog {i}' for i in range(40)]", "my_prompts: right", 8),
    ],
)
def test_whatever_stands_in_the_blank_the_page_goes_on(
    filled_in: str, said: str, drawn: int, cells, run_lesson, capsys
) -> None:
    sources = {name: cells[name] for name in ("first-picture", "vocabulary")}
    sources |= {EXERCISE: filled_in, DRAWS: cells[DRAWS]}
    names, shown = run_lesson(sources, quick=True)
    assert said in capsys.readouterr().out
    assert len(names["drawn"]) == drawn
    assert shown[DRAWS].png


def test_the_empty_learner_version_runs_to_its_end(solution, run_lesson, capsys) -> None:
    learner = learner_version(solution)
    sources = {c["id"]: text(c) for c in learner["cells"] if c["cell_type"] == "code"}
    slow = {"experiment", "experiment-pictures", "experiment-plot"}  # the same in both versions
    checks._session.clear()
    names, _ = run_lesson({k: v for k, v in sources.items() if k not in slow}, quick=True)
    assert names["my_prompts"] == []
    assert "my_prompts: open" in capsys.readouterr().out
    assert names["summary"]("00").title.endswith("0 of 1 exercises done, 1 open.")


# --- what the page must have ---------------------------------------------------------------------


def test_the_picture_comes_first(solution) -> None:
    title, first, *_ = solution["cells"]
    assert title["cell_type"] == "markdown" and first["cell_type"] == "code"
    assert text(title).count(".") <= 3 and len(text(title).split()) < 50
    assert "a cat face, 3d style, on a blue background" in text(first)
    assert "Pipeline.load()" in text(first)


def test_the_prose_keeps_to_the_course_s_style(solution) -> None:
    for cell in solution["cells"]:
        if cell["cell_type"] == "markdown":
            assert "!" not in text(cell), cell["id"]


def test_nbgrader_reads_it(solution) -> None:
    check_cells(solution, "solution")


def test_links_lead_somewhere(solution) -> None:
    for cell in solution["cells"]:
        for link in re.findall(r"\]\(([^)#:]+)\)", text(cell)):
            assert (SOLUTION.parent / link).exists(), link
        for path in re.findall(r"`(course_utils/[\w/.]*)`", text(cell)):
            assert (ROOT / path).exists() or "weights" in path, path


def test_the_learners_version_is_what_the_solution_makes_of_it(solution) -> None:
    found = json.loads((ROOT / "notebooks" / SOLUTION.name).read_text(encoding="utf-8"))
    assert found == learner_version(solution)
