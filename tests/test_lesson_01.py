"""What lesson 01 rests on: the references, the helpers that its cells define, and its drawings."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler

from course_utils.authoring import check_cells, learner_version, read
from course_utils.checks import exercises
from course_utils.checks.lesson_01 import (
    add_noise,
    forward_step,
    snr,
)
from course_utils.checks.lesson_01_tables import (
    betas_from_alpha_bar,
    cosine_alpha_bar,
    linear_betas,
)
from course_utils.lessons import find_lesson
from course_utils.plots import Curve, forward
from course_utils.schedules import NoiseSchedule

SOLUTION = Path(__file__).resolve().parents[1] / "solutions" / "01_forward_noising.ipynb"
SCHEDULES = {
    "linear": (NoiseSchedule.linear(), DDPMScheduler(beta_start=1e-4, beta_end=0.02)),
    "scaled_linear": (
        NoiseSchedule.scaled_linear(),
        DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    ),
    "cosine": (NoiseSchedule.cosine(), DDPMScheduler(beta_schedule="squaredcos_cap_v2")),
}


def our_betas(name: str) -> torch.Tensor:
    if name == "linear":
        return linear_betas(1e-4, 0.02, 1000)
    if name == "scaled_linear":
        return linear_betas(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return betas_from_alpha_bar(cosine_alpha_bar(1000))


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    return read(SOLUTION)


@pytest.fixture(scope="module")
def cells(notebook: dict[str, Any]) -> dict[str, str]:
    return {cell["id"]: "".join(cell["source"]) for cell in notebook["cells"]}


def helper(source: str, name: str, **names: Any) -> Any:
    """A function that a cell defines, made in a namespace of its own."""
    found = [x for x in ast.parse(source).body if isinstance(x, ast.FunctionDef) and x.name == name]
    names = {"torch": torch, "F": F, "math": math, **names}
    found[0].args.defaults = []
    exec(compile(ast.Module(found, []), "cell", "exec"), names)
    return names[name]


# --- the references ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_references_equal_the_course_and_diffusers(name: str) -> None:
    course, diffusers = SCHEDULES[name]
    betas = our_betas(name)
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    x0, epsilon = torch.randn(2, 6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 1, 300, 640, 998, 999])
    mine = add_noise(x0, epsilon, alpha_bar, t)
    for other in (course, diffusers):
        torch.testing.assert_close(betas, other.betas, rtol=0, atol=1e-6)
        torch.testing.assert_close(mine, other.add_noise(x0, epsilon, t), rtol=0, atol=1e-5)
    torch.testing.assert_close(snr(alpha_bar), course.snr(), rtol=1e-3, atol=0)


def test_steps_and_jump_have_the_same_weights() -> None:
    betas = linear_betas(1e-4, 0.02, 1000).double()
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    one, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    picture, variance = one, none
    for t, beta in enumerate(betas):
        picture = forward_step(picture, none, beta)
        variance = (1 - beta) * variance + forward_step(none, one, beta) ** 2
        if t in (0, 10, 999):
            torch.testing.assert_close(picture, add_noise(one, none, alpha_bar, torch.tensor([t])))
            noise = add_noise(none, one, alpha_bar, torch.tensor([t]))
            torch.testing.assert_close(variance, noise**2)


def test_the_clip_changes_the_last_row_alone() -> None:
    plan = cosine_alpha_bar(1000)
    clipped = torch.cumprod(1 - betas_from_alpha_bar(plan), dim=0)
    torch.testing.assert_close(clipped[:-1], plan[:-1], rtol=1e-3, atol=1e-6)
    assert plan[-1] < 1e-30 < 1e-10 < clipped[-1]


def test_plan_and_steps_undo_each_other() -> None:
    betas = 0.01 + 0.5 * torch.rand(50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(betas_from_alpha_bar(torch.cumprod(1 - betas, 0)), betas)


def test_last_weights_are_those_of_the_paper() -> None:
    """Lin et al. 2024, table 1."""
    paper = {"linear": 0.006353, "scaled_linear": 0.068265, "cosine": 4.928220e-05}
    for name, weight in paper.items():
        alpha_bar = torch.cumprod(1 - our_betas(name), dim=0)
        assert float(alpha_bar[-1].sqrt()) == pytest.approx(weight, rel=2e-4)


# --- what the cells define -----------------------------------------------------------------------


def test_zero_terminal_equals_the_course(cells: dict[str, str]) -> None:
    zero_terminal = helper(cells["terminal"], "zero_terminal")
    betas = zero_terminal(our_betas("scaled_linear"))
    wanted = NoiseSchedule.scaled_linear().rescale_zero_terminal_snr()
    torch.testing.assert_close(betas, wanted.betas, rtol=0, atol=1e-6)
    assert torch.cumprod(1 - betas, dim=0)[-1] == 0


def test_ideal_reader_is_bayes_rule(cells: dict[str, str]) -> None:
    ideal_reader = helper(cells["ideal-reader"], "ideal_reader")
    generator = torch.Generator().manual_seed(0)
    library = torch.randn(6, 3, 4, 4, generator=generator)
    things = torch.tensor([0, 0, 1, 1, 2, 2])
    alpha_bar_t = torch.tensor(0.02)
    epsilon = torch.randn(6, 3, 4, 4, generator=generator)
    x_t = alpha_bar_t.sqrt() * library + (1 - alpha_bar_t).sqrt() * epsilon
    found = ideal_reader(x_t, alpha_bar_t, library, things)
    for picture, chances in zip(x_t.double(), found, strict=True):
        weights = [
            math.exp(-float((picture - 0.02**0.5 * known).square().sum()) / (2 * 0.98))
            for known in library.double()
        ]
        exact = [sum(weights[2 * i : 2 * i + 2]) / sum(weights) for i in range(3)]
        torch.testing.assert_close(chances, torch.tensor(exact), rtol=1e-3, atol=1e-4)
    nothing = ideal_reader(epsilon, torch.tensor(0.0), library, things)
    torch.testing.assert_close(nothing, torch.full((6, 3), 1 / 3))
    clear = ideal_reader(library, torch.tensor(0.9999), library, things)
    assert torch.equal(clear.argmax(dim=1), things)


def test_crossing(cells: dict[str, str]) -> None:
    from itertools import pairwise

    crossing = helper(cells["experiment"], "crossing", pairwise=pairwise)
    assert crossing([0, 10, 20], [1.0, 0.75, 0.25], 0.5) == pytest.approx(15)
    assert crossing([3.0, 1.0], [1.0, 0.0], 0.25) == pytest.approx(1.5)
    assert math.isnan(crossing([0, 10], [1.0, 0.9], 0.5))


# --- the notebook --------------------------------------------------------------------------------


def test_exercises_stand_in_the_notebook(notebook: dict[str, Any], cells: dict[str, str]) -> None:
    check_cells(notebook)
    for exercise in exercises("01"):
        name, id = exercise.name, exercise.name.replace("_", "-")
        assert f'{name} = check("{exercise.id}")' in cells[f"check-{id}"]
        row = f"| `{name}` |"
        line = next(line for line in cells["intro"].splitlines() if line.startswith(row))
        assert line.endswith(f"| {exercise.difficulty} | {exercise.minutes} |")
        assert f"(difficulty {exercise.difficulty}, {exercise.minutes} minutes)" in "".join(
            cells.values()
        )
    assert sum(e.minutes for e in exercises("01")) < find_lesson("01").minutes


def test_learners_version_has_blanks(notebook: dict[str, Any]) -> None:
    blank = learner_version(notebook)
    text = "".join("".join(cell["source"]) for cell in blank["cells"])
    assert text.count("raise NotImplementedError()") == len(exercises("01"))


def test_every_figure_has_alt_text(cells: dict[str, str]) -> None:
    figures = re.compile(
        r"\b(forward_strip|schedule_curves|compared_values|clouds|backward_densities|"
        r"brightness_leak|reading_curves|shares|curves|picture_grid)\("
    )
    called = [id for id, source in cells.items() if figures.search(source)]
    assert len(called) >= 10
    assert all("alt=" in cells[id] for id in called)


# --- the drawings --------------------------------------------------------------------------------


def test_drawings() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 3, 8, 8, generator=generator)
    numbers = torch.randn(40, generator=generator)
    table = torch.linspace(0.99, 0.01, 100)
    drawn = [
        forward.forward_strip({"a": pixels, "b": pixels}, ["t = 0", "t = 1"], alt="a strip"),
        forward.schedule_curves({"one": table, "two": table**2}, alt="two curves"),
        forward.compared_values({"t": (numbers, numbers)}, ("a", "b"), "value", alt="bars"),
        forward.clouds({"t": torch.randn(20, 2, generator=generator)}, alt="a cloud"),
        forward.backward_densities(table, {"t": (table, table)}, alt="a bump"),
        forward.brightness_leak({"t": (numbers, numbers)}, alt="dots"),
        forward.reading_curves([Curve("a", [0, 1], [9, 5], [1, 1])], "t", alt="a", chance=2.5),
        forward.shares({"one": (0.5, 0.3, 0.2)}, ("a", "b", "c"), alt="a bar"),
    ]
    for image in drawn:
        assert image.png.startswith(b"\x89PNG") and image.alt


def test_strip_refuses_rows_of_another_length() -> None:
    with pytest.raises(ValueError, match="expected 3 in each"):
        forward.forward_strip({"": torch.zeros(2, 3, 8, 8)}, ["0", "1", "2"], alt="a strip")
