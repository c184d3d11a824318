"""What lesson 08 rests on: its functions against the course's and diffusers', closed forms."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ClassifierFreeGuidance
from diffusers.guiders.guider_utils import rescale_noise_cfg

from course_utils import guidance
from course_utils.authoring import check_cells, learner_version, read
from course_utils.checks import find_exercise
from course_utils.checks.lesson_08 import (
    drop_conditions,
    guide,
    negative_prompt,
    toy_denoiser,
)
from course_utils.checks.lesson_08_limits import interval, rescale
from course_utils.evaluation import Estimate
from course_utils.evaluation.sweep_results import VARIANTS, Point, Sweep, SweepSettings
from course_utils.guidance import Conditioning
from course_utils.plots.guidance import arrows, pareto, plane, sweep_panels

ROOT = Path(__file__).resolve().parent.parent
SOLUTION = ROOT / "solutions" / "08_guidance.ipynb"
SCALES = (0.0, 0.5, 1.0, 3.0, 7.5, 20.0)


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    cond, uncond = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    return cond, uncond


# --- the references are what everybody else computes ---------------------------------------------


@pytest.mark.parametrize("w", SCALES)
def test_guide_equals_the_course_and_both_conventions_of_diffusers(w: float) -> None:
    cond, uncond = pair()
    ours = guide(cond, uncond, w)
    assert torch.equal(ours, guidance.combine(cond, uncond, w))
    native = ClassifierFreeGuidance(guidance_scale=w).forward(cond, uncond).pred
    torch.testing.assert_close(ours, native, rtol=1e-5, atol=1e-5)
    other = ClassifierFreeGuidance(guidance_scale=w - 1, use_original_formulation=True)
    torch.testing.assert_close(ours, other.forward(cond, uncond).pred, rtol=1e-5, atol=1e-4)


def test_guide_at_its_ends() -> None:
    cond, uncond = pair()
    assert torch.equal(guide(cond, uncond, 0.0), uncond)
    torch.testing.assert_close(guide(cond, uncond, 1.0), cond)


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.7, 1.0])
def test_rescale_equals_the_course_and_diffusers(phi: float) -> None:
    cond, uncond = pair()
    guided = guide(cond, uncond, 7.5)
    ours = rescale(guided, cond, phi)
    assert torch.equal(ours, guidance.rescale_guided(guided, cond, phi))
    torch.testing.assert_close(ours, rescale_noise_cfg(guided, cond, phi))
    if phi == 1:
        torch.testing.assert_close(ours.std(dim=(1, 2, 3)), cond.std(dim=(1, 2, 3)))


@pytest.mark.parametrize("w", SCALES)
def test_negative_prompt_and_interval_equal_the_course(w: float) -> None:
    x_t, _ = pair(1)
    text, negative = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(2))
    t = torch.tensor([100, 400, 700])
    words = Conditioning(text, negative)
    course = guidance.guide(toy_denoiser, w)(x_t, t, words)
    torch.testing.assert_close(negative_prompt(toy_denoiser, x_t, t, text, negative, w), course)
    cond, uncond = toy_denoiser(x_t, t, text), toy_denoiser(x_t, t, negative)
    limited = guidance.guide(toy_denoiser, w, interval=(100, 700))(x_t, t, words)
    torch.testing.assert_close(interval(cond, uncond, t, w, 100, 700), limited)


def test_drop_conditions_draws_as_training_does() -> None:
    """`DenoiserTask.loss`: the states of `dropped` rows are overwritten with the empty prompt's."""
    states = torch.randn(64, 5, 6, generator=torch.Generator().manual_seed(0))
    empty = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    ours = drop_conditions(states, empty, 0.1, torch.Generator().manual_seed(7))
    theirs = states.clone()
    theirs[torch.rand(64, generator=torch.Generator().manual_seed(7)) < 0.1] = empty
    assert torch.equal(ours, theirs) and not torch.equal(ours, states)


def test_a_still_empty_sweet_spot_is_open_and_not_wrong() -> None:
    from course_utils.checks import examine
    from course_utils.checks.claims_08 import SweetSpot

    exercise = find_exercise("08.sweet_spot")
    for empty in (None, SweetSpot(None, 0.8, 0.7)):
        assert examine(exercise, empty).state == "open"
    assert isinstance(exercise.reference.scale, float)


# --- figures -------------------------------------------------------------------------------------


def small_sweep() -> Sweep:
    settings = SweepSettings(scales=(0, 1, 20))
    names = ("alignment", "saturation", "diversity", "frechet", "saturation_excess")
    points = tuple(
        Point(kind, w, {name: Estimate(0.3 + w / 40, 0.2, 0.9) for name in names})
        for kind in VARIANTS
        for w in settings.scales
    )
    return Sweep(settings, "", "", points, {"real": {"alignment": Estimate(0.9, 0.8, 1.0)}})


def test_figures_are_pictures_with_words() -> None:
    from PIL import Image

    found = small_sweep()
    centres = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    metrics = ("alignment", "saturation", "diversity", "frechet")
    figures = [
        arrows((0, 1, 4, 7.5)),
        plane({"one": torch.randn(9, 2), "two": torch.randn(9, 2)}, centres, 0.5, alt="two clouds"),
        sweep_panels(found, found, metrics, alt="four panels"),
        sweep_panels(None, found, metrics[:2], alt="two panels"),
        pareto(found, "alignment", {"saturation_excess": False, "diversity": True}, alt="a front"),
    ]
    for figure in figures:
        data, metadata = figure._repr_mimebundle_()
        assert metadata["image/png"]["alt"]
        assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 400


# --- the page ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def solution() -> dict[str, Any]:
    return read(SOLUTION)


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_the_page_keeps_to_the_course_s_form(solution: dict[str, Any]) -> None:
    check_cells(solution, "solution")
    found = json.loads((ROOT / "notebooks" / SOLUTION.name).read_text(encoding="utf-8"))
    assert found == learner_version(solution)
    for cell in solution["cells"]:
        if cell["cell_type"] == "markdown":
            assert "!" not in text(cell), cell["id"]
            for path in re.findall(r"`(course_utils/[\w/.]*)`", text(cell)):
                assert (ROOT / path).exists(), path


def test_no_measured_number_of_ours_stands_in_the_text(solution: dict[str, Any]) -> None:
    """Numbers in prose are settings, claims to test, and what papers report."""
    for cell in solution["cells"]:
        if cell["cell_type"] == "markdown" and cell["id"] not in ("why", "sources", "formula"):
            assert not re.search(r"\b0\.\d{3,}\b", text(cell)), cell["id"]
