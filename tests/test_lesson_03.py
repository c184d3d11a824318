"""What lesson 03 rests on: its U-Net is the course's and diffusers', and its exercises fit it."""

from __future__ import annotations

import json
import linecache
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from course_utils.authoring import check_cells, learner_version, read
from course_utils.checks import examine, exercises, find_exercise, lesson_03_blocks, practice
from course_utils.checks import lesson_03 as lesson
from course_utils.hub import bundled_folder
from course_utils.models import blocks
from course_utils.models import unet as course_unet
from course_utils.models.unet import UNetConfig
from course_utils.plots.unet import picture_rows, run_dots, trace, unet_drawing
from course_utils.predictions import training_target
from course_utils.schedules import NoiseSchedule
from course_utils.training import lesson_03 as longer_runs
from course_utils.training.ema import EMA

ROOT = Path(__file__).resolve().parent.parent
SOLUTION = ROOT / "solutions" / "03_unet.ipynb"
ANSWERS = {
    "ex-timestep-embedding": "timestep_embedding",
    "ex-resnet": "ResnetBlock2D",
    "ex-attention": "Attention",
    "ex-forward": "unet_forward",
    "ex-training-step": "training_step",
    "ex-ema": "ema_update",
}
IMPORTED: dict[str, Any] = {  # by the page's first cells
    "torch": torch,
    "nn": nn,
    "Tensor": Tensor,
    "F": F,
    "math": math,
    "training_target": training_target,
    "NoiseSchedule": NoiseSchedule,
}
PARTS = (
    "ex-timestep-embedding",
    "given-small-parts",
    "ex-resnet",
    "ex-attention",
    "given-transformer",
    "given-levels",
    "ex-forward",
    "given-unet",
)
SMALL = UNetConfig(
    sample_size=8,
    block_out_channels=(8, 12, 16),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=2,
    cross_attention_dim=6,
    attention_head_dim=2,
    norm_num_groups=4,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sources(notebook: dict[str, Any]) -> dict[str, str]:
    return {c["id"]: "".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"}


@pytest.fixture(scope="module")
def solution() -> dict[str, Any]:
    return read(SOLUTION)


@pytest.fixture(scope="module")
def page(solution: dict[str, Any]) -> dict[str, Any]:
    """The names that the page defines up to its U-Net, and `cut`."""
    names = dict(IMPORTED)
    cells = sources(solution)
    for cell in PARTS:
        exec(cells[cell], names)
    exec(cells["cut"].split("def draw_with_cut")[0], names)
    exec(cells["ex-training-step"], names)
    return names


# --- the pieces ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [2, 8, 96, 320])
def test_the_waves_are_the_course_s_and_diffusers(dim: int) -> None:
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.tensor([0, 1, 17, 500, 999])
    found = lesson.timestep_embedding(t, dim)
    assert torch.equal(found, course_unet.timestep_embedding(t, dim))
    theirs = get_timestep_embedding(t, dim, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert_close(found, theirs, atol=1e-6, rtol=1e-6)
    assert_close(
        found[:, : dim // 2].square() + found[:, dim // 2 :].square(), torch.ones(5, dim // 2)
    )


@pytest.mark.parametrize("width", [8, 12])
def test_the_residual_block_is_the_course_s_and_diffusers(width: int) -> None:
    from diffusers.models.resnet import ResnetBlock2D

    theirs = ResnetBlock2D(in_channels=8, out_channels=width, temb_channels=5, groups=4, eps=1e-5)
    ours = lesson_03_blocks.ResnetBlock2D(8, width, 5, groups=4)
    course = blocks.ResnetBlock2D(8, width, 5, groups=4, eps=1e-5)
    for model in (ours, course):
        model.load_state_dict(theirs.state_dict(), strict=True)
    x, temb = noise(2, 8, 5, 6), noise(2, 5, seed=1)
    assert_close(ours(x, temb), theirs(x, temb), atol=1e-5, rtol=1e-5)
    assert_close(ours(x, temb), course(x, temb), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("context_dim", [None, 7])
def test_attention_is_the_course_s_and_diffusers(context_dim: int | None) -> None:
    from diffusers.models.attention_processor import Attention

    theirs = Attention(query_dim=6, cross_attention_dim=context_dim, heads=3, dim_head=4)
    ours = lesson_03_blocks.Attention(6, context_dim, heads=3, head_dim=4)
    course = blocks.Attention(6, context_dim, heads=3, head_dim=4)
    for model in (ours, course):
        model.load_state_dict(theirs.state_dict(), strict=True)
    x = noise(2, 5, 6)
    context = None if context_dim is None else noise(2, 3, context_dim, seed=1)
    assert_close(ours(x, context), theirs(x, context), atol=1e-5, rtol=1e-5)
    assert_close(ours(x, context), course(x, context), atol=1e-6, rtol=1e-6)


def test_the_moving_average_is_the_course_s() -> None:
    model = nn.Linear(3, 2)
    ema = EMA(decay=0.9)
    average = {k: v.detach().clone() for k, v in model.named_parameters()}
    for step in range(100):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(noise(*parameter.shape, seed=step), alpha=0.1)
        if step == 0:  # the course's starts from the weights that it first sees
            average = {k: v.detach().clone() for k, v in model.named_parameters()}
        average = lesson.ema_update(average, dict(model.named_parameters()), step, 0.9)
        ema.update(model, step)
    assert_close(average, ema.average, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
def test_a_training_step_goes_down_the_gradient_of_the_mean_squared_error(kind: str) -> None:
    schedule = NoiseSchedule.cosine(prediction_type=kind)
    unet = practice.PracticeDenoiser(2)
    before = {k: v.detach().clone() for k, v in unet.named_parameters()}
    x0, epsilon, text_states = noise(3, 2, 4, 4), noise(3, 2, 4, 4, seed=1), noise(3, 2, 3, seed=2)
    t = torch.tensor([10, 400, 900])
    a = schedule.alpha_bar[t][:, None, None, None]
    v = a.sqrt() * epsilon - (1 - a).sqrt() * x0
    output = unet(a.sqrt() * x0 + (1 - a).sqrt() * epsilon, t, text_states)
    expected = (output - (v if kind == "v_prediction" else epsilon)).square().mean()
    gradients = torch.autograd.grad(expected, list(unet.parameters()))
    optimizer = torch.optim.SGD(unet.parameters(), lr=0.1)
    loss = lesson.training_step(unet, optimizer, schedule, x0, text_states, t, epsilon)
    assert_close(loss, expected.detach())
    for (name, new), gradient in zip(unet.named_parameters(), gradients, strict=True):
        assert_close(new.detach(), before[name] - 0.1 * gradient, atol=1e-6, rtol=1e-5)


# --- the page's U-Net ----------------------------------------------------------------------------


def test_the_page_s_unet_is_the_course_s_with_the_same_gradients(page: dict[str, Any]) -> None:
    course = course_unet.UNet(SMALL)
    mine = page["UNet"](SMALL)
    mine.load_state_dict(course.state_dict(), strict=True)
    x_t, t, text_states = noise(2, 4, 8, 12), torch.tensor([3, 981]), noise(2, 5, 6, seed=1)
    found, expected = mine(x_t, t, text_states), course(x_t, t, text_states)
    assert_close(found, expected, atol=1e-5, rtol=1e-5)
    ours = torch.autograd.grad(found.square().mean(), mine.conv_in.weight)
    theirs = torch.autograd.grad(expected.square().mean(), course.conv_in.weight)
    assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_it_takes_the_shipped_weights_and_equals_diffusers(page: dict[str, Any]) -> None:
    from diffusers import UNet2DConditionModel

    folder = bundled_folder() / "unet"
    mine = page["UNet"].from_pretrained(folder)
    theirs = UNet2DConditionModel.from_pretrained(folder).float().eval()
    assert sorted(mine.state_dict()) == sorted(theirs.state_dict())
    x_t, t = noise(2, 4, 8, 8), torch.tensor([0, 999])
    text_states = noise(2, 32, mine.config.cross_attention_dim, seed=1)
    with torch.no_grad():
        found = mine(x_t, t, text_states)
        expected = theirs(x_t, t, text_states).sample
    assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert found.std() > 0.1


def test_stable_diffusion_s_unet_has_859_5_million_numbers(page: dict[str, Any]) -> None:
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        mine = page["UNet"](UNetConfig())
        theirs = UNet2DConditionModel.from_config(course_unet.UNet(UNetConfig()).to_config())
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (mine, theirs)]
    assert shapes[0] == shapes[1]
    assert sum(p.numel() for p in theirs.parameters()) == 859_520_964
    assert len(mine.skip_channels) == 12
    assert theirs.config.cross_attention_dim == 768 and theirs.config.sample_size == 64


def test_cutting_a_skip_changes_the_answer_and_can_be_undone(page: dict[str, Any]) -> None:
    torch.manual_seed(0)
    unet = page["UNet"](SMALL).eval().requires_grad_(False)
    assert unet.skip_channels == [8, 8, 8, 8, 12, 12, 12, 16, 16]
    x_t, t, text_states = noise(1, 4, 8, 8), torch.tensor([300]), noise(1, 5, 6, seed=1)
    whole = unet(x_t, t, text_states)
    answers = []
    for number in range(len(unet.skip_channels)):
        handles = page["cut"](unet, [number])
        assert len(handles) == 1
        answers.append(unet(x_t, t, text_states))
        for handle in handles:
            handle.remove()
    assert torch.equal(unet(x_t, t, text_states), whole)
    assert all((answer - whole).abs().max() > 1e-4 for answer in answers)
    assert len({round(float(answer.sum()), 4) for answer in answers}) == len(answers)


def test_without_skips_only_the_middle_tells_of_the_input(page: dict[str, Any]) -> None:
    unet = page["UNet"](SMALL).eval()
    page["cut"](unet, range(len(unet.skip_channels)))
    x_t, t, text_states = noise(1, 4, 8, 8), torch.tensor([300]), noise(1, 5, 6, seed=1)
    unet.mid_block.register_forward_hook(lambda _, __, output: torch.zeros_like(output))
    with torch.no_grad():
        assert_close(unet(x_t, t, text_states), unet(noise(1, 4, 8, 8, seed=5), t, text_states))


def test_the_longer_runs_fit_the_small_unet(page: dict[str, Any], solution: dict[str, Any]) -> None:
    from safetensors.torch import load_file

    config = re.search(r"SMALL = (UNetConfig\(.*?\n\))", sources(solution)["experiment-data"], re.S)
    assert config is not None
    unet = page["UNet"](eval(config[1], {"UNetConfig": UNetConfig, "things": range(8)}))
    file = load_file(bundled_folder().parent / "lesson_03.safetensors")
    sets = {name.rsplit(".average.")[0].rsplit(".last.")[0] for name in file}
    assert sets == {
        f"{kind}.{seed}" for kind in ("whole", "no skips", "no time") for seed in (0, 1)
    }
    for start in [f"{name}.average." for name in sets] + ["whole.0.last.", "whole.1.last."]:
        state = {k.removeprefix(start): v for k, v in file.items() if k.startswith(start)}
        unet.load_state_dict(state, strict=True)
        assert all(torch.isfinite(value).all() for value in state.values())


def test_the_longer_runs_belong_to_the_shipped_vae() -> None:
    from safetensors import safe_open

    with safe_open(longer_runs.FILE, "pt") as file:
        found = file.metadata()["vae_sha256"]
    assert found == longer_runs.vae_sha256(), (
        "weights/lesson_03.safetensors was trained on another VAE's latents; make it anew with "
        "python -m course_utils.training.lesson_03"
    )


def test_the_command_finds_what_it_needs_on_the_page(page: dict[str, Any]) -> None:
    """One step of each kind, with the cells that the command itself reads."""
    names = longer_runs.page()
    assert list(names["KINDS"]) == ["whole", "no skips", "no time"]
    for change in names["KINDS"].values():
        run = names["train"](0, 1, change, longer_runs.DECAY)
        assert run.average.keys() == run.last.keys()
        page["UNet"](names["SMALL"]).load_state_dict(run.average, strict=True)


# --- the exercises on the page -------------------------------------------------------------------


def run_answers(notebook: dict[str, Any]) -> dict[str, Any]:
    names = dict(IMPORTED)
    cells = sources(notebook)
    for cell in ANSWERS:
        linecache.cache[cell] = (0, None, cells[cell].splitlines(keepends=True), cell)
        exec(compile(cells[cell], cell, "exec"), names)  # with lines, as a kernel has them
    return {f"03.{name}": names[name] for name in ANSWERS.values()}


def test_the_page_has_all_exercises_in_their_order() -> None:
    assert [exercise.name for exercise in exercises("03")] == list(ANSWERS.values())


def test_the_solutions_of_the_page_pass(solution: dict[str, Any]) -> None:
    for id, answer in run_answers(solution).items():
        assert examine(find_exercise(id), answer, seed=0).state == "passed", id


def test_the_empty_page_is_open(solution: dict[str, Any]) -> None:
    for id, answer in run_answers(learner_version(solution)).items():
        assert examine(find_exercise(id), answer, seed=0).state == "open", id


# --- pictures ------------------------------------------------------------------------------------


def test_the_drawing_shows_every_map_and_every_skip() -> None:
    unet = course_unet.UNet(SMALL).eval()
    stages = trace(unet, noise(1, 4, 8, 8), torch.tensor([5]), noise(1, 5, 6))
    assert [s.side for s in stages].count("down") == [s.side for s in stages].count("up") == 10
    assert stages[0].name == "x_t" and stages[-1].map.shape == (4, 8, 8)
    up = [stage for stage in stages if stage.joined]
    assert [stage.joined for stage in up][:3] == [32, 32, 28]
    assert not unet.conv_in._forward_hooks, "the hooks must be gone"
    drawing = unet_drawing(stages, note="a note")
    assert "9 arrows" in drawing.alt and "a note" in drawing.alt and drawing.png[:4] == b"\x89PNG"


def test_dots_and_rows_are_pictures_with_words() -> None:
    dots = run_dots({"whole": [0.1, 0.2], "one": [0.3]}, "loss", alt="two kinds", hollow=["one"])
    rows = picture_rows({"a": torch.zeros(2, 3, 4, 4), "b": torch.ones(2, 3, 4, 4)}, alt="two rows")
    assert dots.png[:4] == rows.png[:4] == b"\x89PNG" and dots.alt == "two kinds"


# --- what every page must have -------------------------------------------------------------------


def test_nbgrader_reads_it_and_the_prose_keeps_to_the_style(solution: dict[str, Any]) -> None:
    check_cells(solution, "solution")
    for cell in solution["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            assert "!" not in text.replace("\\!", ""), cell["id"]
            assert not re.search(r"\b[A-Z]+_[A-Z]+\b(?!`)", re.sub(r"`[^`]*`", "", text)), cell[
                "id"
            ]


def test_the_learners_version_is_what_the_solution_makes_of_it(solution: dict[str, Any]) -> None:
    found = json.loads((ROOT / "notebooks" / SOLUTION.name).read_text(encoding="utf-8"))
    assert found == learner_version(solution)
