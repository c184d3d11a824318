"""What lesson 04 claims rests on: its steps, its loops, its perfect guess and its yardsticks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from course_utils import samplers
from course_utils.checks import lesson_04
from course_utils.data.toy import gaussian_ring
from course_utils.plots import Curve, DescribedImage
from course_utils.plots.paths import clouds, held_guesses, log_curves, paths, posterior
from course_utils.schedules import NoiseSchedule

SOLUTION = Path(__file__).resolve().parent.parent / "solutions" / "04_samplers.ipynb"
CELLS = ("world", "ddpm-walk", "ddim-walk", "dpm-walk", "claim", "order", "model-measure")
SCHEDULE = NoiseSchedule.scaled_linear(
    prediction_type="sample", timestep_spacing="trailing"
).rescale_zero_terminal_snr()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def definitions(source: str) -> str:
    """The functions, the imports and the constants of a cell, without what it runs."""
    import ast

    kept: list[ast.stmt] = []
    for node in ast.parse(source).body:
        constant = isinstance(node, ast.Assign) and all(
            name.id.isupper() for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)
        )
        angles = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "angles"
        if isinstance(node, ast.FunctionDef | ast.Import | ast.ImportFrom) or constant or angles:
            kept.append(node)
    return ast.unparse(ast.Module(kept, []))


@pytest.fixture(scope="module")
def lesson() -> dict[str, Any]:
    """The names that the notebook defines, with the reference answers."""
    cells = json.loads(SOLUTION.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"torch": torch, "math": math, "schedule": SCHEDULE, "Tensor": Tensor}
    for exercise in lesson_04.EXERCISES:
        names[exercise.name] = exercise.reference
    for cell in cells:
        if cell["id"] in (*CELLS, "route", "parity"):
            exec(definitions("".join(cell["source"])), names)
    return names


def levels(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    a, b, c = torch.rand(3, generator=seeded(seed)).mul(0.9).add(0.05).sort().values
    return a, b, c


@pytest.mark.parametrize("seed", range(5))
def test_references_equal_the_course(seed: int) -> None:
    x, x0, other = torch.randn(3, 2, 3, 4, 4, generator=seeded(seed))
    a, b, c = levels(seed)
    close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
    for noise in (other, None):
        mine = lesson_04.ddpm_step(x, x0, a, b, noise)
        torch.testing.assert_close(mine, samplers.ddpm_step(x, x0, a, b, noise), **close)
    for eta, noise in ((0.0, None), (0.6, other), (1.0, other)):
        mine = lesson_04.ddim_step(x0, x, a, b, eta, noise)
        torch.testing.assert_close(mine, samplers.ddim_step(x0, x, a, b, eta, noise), **close)
    s, t, u = (((1 - level) / level) ** 0.5 for level in (a, b, c))
    for arguments in ((x, x0, t, u), (x, x0, t, u, other, s), (x, x0, t, torch.zeros(()))):
        mine = lesson_04.dpm_solver_pp_2m_step(*arguments)
        torch.testing.assert_close(mine, samplers.dpm_solver_pp_2m_step(*arguments), **close)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 20, 30, 50, 300, 1000])
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_timesteps_equal_the_schedule(count: int, spacing: Any) -> None:
    expected = SCHEDULE.timesteps(count, spacing, steps_offset=0)
    assert torch.equal(lesson_04.timesteps(count, 1000, spacing), expected)


def test_last_dpm_step_gives_the_guess() -> None:
    x, x0 = torch.randn(2, 5, 2, generator=seeded(0))
    found = lesson_04.dpm_solver_pp_2m_step(x, x0, torch.tensor(0.3), torch.zeros(()))
    torch.testing.assert_close(found, x0)


@pytest.mark.parametrize("count", [1, 2, 5, 20, 50])
def test_loops_equal_course_and_diffusers(lesson: dict[str, Any], count: int) -> None:
    guess = lesson["perfect_guess"]
    x_T = torch.randn(6, 2, generator=seeded(1))
    route = lesson["make_route"](lesson["timesteps"](count))
    mine = {
        "ddpm": lesson["walk_ddpm"](guess, x_T, route, seeded(2)),
        "ddim": lesson["walk_ddim"](guess, x_T, route),
        "dpm++2m": lesson["walk_dpm"](guess, x_T, route),
    }
    classes: dict[str, Callable[..., Any]] = {
        "ddpm": DDPMScheduler,
        "ddim": DDIMScheduler,
        "dpm++2m": DPMSolverMultistepScheduler,
    }

    def ask(x: Tensor, t: Tensor, cond: Any, least: float) -> Tensor:
        return guess(x, t, SCHEDULE.alpha_bar[t[0]].clamp(min=least))

    for name, path in mine.items():
        # What stands for pure noise in DPM-Solver++, whose lambda would be infinite there.
        denoiser = partial(ask, least=2.0**-24 if name == "dpm++2m" else 0.0)
        steps = samplers.SAMPLERS[name](denoiser, x_T, SCHEDULE, None, count, generator=seeded(2))
        ours = torch.stack([step.x for step in steps])
        torch.testing.assert_close(path, ours, rtol=1e-4, atol=1e-4)
        scheduler = classes[name].from_config(SCHEDULE.to_config(classes[name].__name__))
        scheduler.set_timesteps(count)
        x, options = x_T, {"generator": seeded(2)} if name == "ddpm" else {}
        for t in scheduler.timesteps:
            x = scheduler.step(denoiser(x, t[None], None), t, x, **options).prev_sample
        torch.testing.assert_close(path[-1], x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("alpha_bar_t", [0.0, 0.1, 0.6, 0.98])
def test_perfect_guess_is_the_posterior_mean(lesson: dict[str, Any], alpha_bar_t: float) -> None:
    """Against a sum over a fine grid of x0, by Bayes' rule."""
    line = torch.linspace(-2.5, 2.5, 501, dtype=torch.float64)
    x0 = torch.cartesian_prod(line, line)  # (N, 2)
    centres, width = lesson["CENTRES"].double(), lesson["WIDTH"]
    prior = (-torch.cdist(x0, centres).square() / (2 * width**2)).exp().sum(1)
    level = torch.tensor(alpha_bar_t, dtype=torch.float64)
    x = torch.randn(5, 2, generator=seeded(3), dtype=torch.float64)
    fit = -(x[:, None] - level.sqrt() * x0).square().sum(2) / (2 * (1 - level))
    weights = prior * (fit - fit.max(dim=1, keepdim=True).values).exp()
    expected = (weights @ x0) / weights.sum(1, keepdim=True)
    found = lesson["perfect_guess"](x, None, level)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_ring_is_the_one_of_the_data(lesson: dict[str, Any]) -> None:
    points = gaussian_ring(40_000, seeded(4))
    off, nearest = torch.cdist(points, lesson["CENTRES"]).min(dim=1)
    assert abs(float(off.square().mean().sqrt()) / (2**0.5 * lesson["WIDTH"]) - 1) < 0.02
    assert nearest.bincount(minlength=8).min() > 4500


def test_sliced_distance_of_a_shift(lesson: dict[str, Any]) -> None:
    points = torch.randn(500, 2, generator=seeded(5))
    distance = lesson["sliced_distance"]
    assert distance(points, points[torch.randperm(500, generator=seeded(6))]) < 1e-6
    shifted = distance(points, points + torch.tensor([0.3, 0.4]))
    assert shifted == pytest.approx(0.5 * 2 / math.pi, rel=1e-3)  # the mean of |cos|


def test_orders_one_and_two(lesson: dict[str, Any]) -> None:
    guess, build = lesson["perfect_guess"], lesson["lambda_route"]
    x = torch.randn(50, 2, generator=seeded(7)).double()
    truth = lesson["walk_dpm"](guess, x, build(600))[-1]
    counts = (16, 32, 64)
    for walk, order in (("walk_ddim", 1), ("walk_dpm", 2)):
        errors = [float((lesson[walk](guess, x, build(n))[-1] - truth).norm()) for n in counts]
        assert -lesson["slope"](counts, errors) == pytest.approx(order, abs=0.2)
    assert lesson["slope"]((1, 2, 4), (1.0, 0.25, 0.0625)) == pytest.approx(-2)


def test_eta_one_is_ddpm_and_eta_zero_is_euler() -> None:
    x, x0, noise = torch.randn(3, 9, 2, generator=seeded(8), dtype=torch.float64)
    a, b, _ = (level.double() for level in levels(9))
    epsilon = (x - a.sqrt() * x0) / (1 - a).sqrt()
    torch.testing.assert_close(
        lesson_04.ddim_step(x0, epsilon, a, b, 1.0, noise),
        lesson_04.ddpm_step(x, x0, a, b, noise),
    )
    s, t = ((1 - a) / a).sqrt(), ((1 - b) / b).sqrt()
    torch.testing.assert_close(
        b.sqrt() * samplers.euler_step(x / a.sqrt(), x0, s, t),
        lesson_04.ddim_step(x0, epsilon, a, b),
    )
    torch.testing.assert_close(
        lesson_04.dpm_solver_pp_2m_step(x, x0, s, t), lesson_04.ddim_step(x0, epsilon, a, b)
    )


@pytest.mark.parametrize("count", [5, 10, 20, 40])
def test_even_rows_fall_and_never_repeat(lesson: dict[str, Any], count: int) -> None:
    alpha_bar = SCHEDULE.alpha_bar.clamp(min=2.0**-24)
    lesson["half_log_snr"] = -lesson["ratio"](alpha_bar).log()
    rows = lesson["even_rows"](count)
    assert len(rows) == count and rows[0] == 999
    assert bool((rows.diff() < 0).all())


def test_figures_say_what_they_show() -> None:
    points = torch.randn(50, 2, generator=seeded(10))
    path = torch.randn(5, 3, 2, generator=seeded(11))
    line = Curve("a line", [1, 10, 100], [1.0, 0.1, 0.01], [0.1, 0.2, 0.001])
    curve = torch.linspace(0, 1, 31)
    for found in (
        paths({"one": path, "two": path.repeat(20, 1, 1)}, points, alt="ways"),
        clouds({"a": {1: points, 10: points}}, points, alt="ways"),
        posterior(2.0, 0.0, 0.5, 0.7, alt="ways"),
        held_guesses(curve, curve**2, range(0, 31, 10), alt="ways"),
        log_curves({"left": [line], "": [line]}, "steps", "error", "ways", (1, 10), {"level": 0.1}),
    ):
        assert isinstance(found, DescribedImage) and found.alt == "ways"
        assert found.png.startswith(b"\x89PNG")
