"""Lesson 07: its references equal the course's and diffusers', and its cells open real folders.

The cells that open a model folder run here on one that diffusers wrote, with the block types of
Stable Diffusion 1.5 and small random networks.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tiny_pipeline import tiny_pipeline
from torch.testing import assert_close
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from course_utils.authoring import check_cells, learner_version, read
from course_utils.checks.lesson_07 import (
    DRAW_MISTAKES,
    broken_draw,
    draw,
    predict,
)
from course_utils.checks.lesson_07_training import finetune_step, nearest_training_picture
from course_utils.evaluation import nearest_training
from course_utils.guidance import Conditioning, guide
from course_utils.pipeline import Pipeline
from course_utils.plots.dots import dot_rows
from course_utils.training.denoiser import Bank, DenoiserTask

ROOT = Path(__file__).resolve().parent.parent
SOLUTION = ROOT / "solutions" / "07_text_to_image.ipynb"
PROMPTS = ["a cat face, 3d style, on a blue background", "dog"]


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; returns the value of its last line, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
        return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    exec(compile(tree, "cell", "exec"), names)
    return None


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def solution() -> dict[str, Any]:
    return read(SOLUTION)


@pytest.fixture(scope="module")
def cells(solution: dict[str, Any]) -> dict[str, str]:
    """The source of each code cell, by its id."""
    return {c["id"]: text(c) for c in solution["cells"] if c["cell_type"] == "code"}


@pytest.fixture(scope="module")
def tiny() -> Pipeline:
    return tiny_pipeline(timestep_spacing="trailing")


def parts(pipeline: Pipeline) -> tuple[Any, ...]:
    p = pipeline
    return p.tokenizer, p.text_encoder, p.unet, p.vae, p.schedule


# --- the references ------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0])
@torch.no_grad()
def test_predict_is_the_course_s_guidance(tiny: Pipeline, scale: float) -> None:
    x_t = torch.randn(2, 4, 8, 8, generator=seeded())
    states, empty = tiny.encode_prompt(PROMPTS), tiny.encode_prompt(["", ""])
    expected = guide(tiny.unet, scale)(x_t, torch.tensor([500, 500]), Conditioning(states, empty))
    assert_close(predict(tiny.unet, x_t, 500, states, empty, scale), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon", "sample"])
def test_draw_is_the_course_s_pipeline(kind: str) -> None:
    pipeline = tiny_pipeline(1, kind, timestep_spacing="trailing")
    options: dict[str, Any] = {"num_steps": 5, "guidance_scale": 3.0}
    expected = pipeline.draw(PROMPTS[0], seed=7, sampler="ddim", **options).pixels
    drawn = draw(PROMPTS[:1], *parts(pipeline), seeded(), **options)
    assert_close(drawn, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_draw_is_diffusers_pipeline(tiny_folder: Path, scale: float) -> None:
    pipeline = Pipeline.load(tiny_folder, "cpu")
    theirs = StableDiffusionPipeline.from_pretrained(tiny_folder, dtype=torch.float32)
    theirs.scheduler = DDIMScheduler.from_config(pipeline.schedule.to_config())
    theirs.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 5, "guidance_scale": scale, "output_type": "pt"}
    expected = 2 * theirs(PROMPTS, generator=seeded(), **settings).images - 1
    drawn = draw(PROMPTS, *parts(pipeline), seeded(), 5, scale)
    assert_close(drawn, expected, rtol=1e-4, atol=1e-4)


def test_every_broken_loop_draws_another_picture(tiny: Pipeline) -> None:
    vague = {"always_v"}  # the same where the network predicts v
    right = draw(PROMPTS[:1], *parts(tiny), seeded(), 4)
    for name in {mistake.id for mistake in DRAW_MISTAKES} - vague:
        wrong = broken_draw(PROMPTS[:1], *parts(tiny), seeded(), 4, mistake=name)
        assert wrong.shape == right.shape
        assert float((wrong - right).abs().max()) > 1e-3 or name == "no_clamp", name


def test_the_search_is_the_course_s() -> None:
    pictures, data = torch.randn(5, 30, generator=seeded()), torch.randn(9, 30, generator=seeded(1))
    index, distance = nearest_training_picture(pictures, data)
    expected_index, expected = nearest_training(pictures, data)
    assert torch.equal(index, expected_index)
    assert_close(distance, expected)
    # The lesson's formula from a distance of unit vectors to 1 - cosine.
    a, b = torch.nn.functional.normalize(pictures), torch.nn.functional.normalize(data)
    index, distance = nearest_training_picture(a, b)
    assert_close(30 / 2 * distance**2, nearest_training(a, b, "cosine")[1])


def test_the_training_step_is_the_recipe_s(tiny: Pipeline, monkeypatch) -> None:
    """On the recipe's own draws both have the same loss; one step moves the weights."""
    import copy

    unet = copy.deepcopy(tiny.unet)
    latents = torch.randn(4, 4, 8, 8, generator=seeded())
    states, empty = tiny.encode_prompt(PROMPTS * 2), tiny.encode_prompt("")
    bank = Bank(latents, states, torch.tensor([[i, i] for i in range(4)]), empty[0])
    task = DenoiserTask(unet, bank, tiny.schedule, batch_size=4, condition_dropout=0.0)
    rows, t = torch.arange(4), torch.tensor([100, 400, 600, 900])
    epsilon = torch.randn(latents.shape, generator=seeded(2))
    draws = iter([rows, t])
    monkeypatch.setattr(torch, "randint", lambda *a, **k: next(draws))
    monkeypatch.setattr(torch, "randn", lambda *a, **k: epsilon)
    # (arange + u) * T / B is t
    u = iter([torch.ones(4), (t + 0.5) * 4 / 1000 - torch.arange(4), torch.ones(4)])
    monkeypatch.setattr(torch, "rand", lambda *a, **k: next(u))
    expected = float(task.loss(unet, 0, seeded())["loss"].detach())
    before = unet.conv_in.weight.detach().clone()
    optimizer = torch.optim.SGD(unet.parameters(), lr=1e-2)
    u = iter([torch.ones(4)])
    arguments = (unet, optimizer, latents, states, empty, tiny.schedule, seeded())
    assert finetune_step(*arguments, drop=0.0) == pytest.approx(expected, rel=1e-4)
    assert not torch.equal(unet.conv_in.weight, before)


# --- the cells that open a folder ----------------------------------------------------------------


@pytest.fixture(scope="module", params=[None, "fp16"])
def stable_diffusion(request: Any, tmp_path_factory: Any, tiny_folder: Path) -> Path:
    """A folder as Stable Diffusion 1.5's, written by diffusers; its networks are small."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=8,
    )
    assert unet.config.down_block_types == (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D")
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        sample_size=64,
    )
    tokenizer = CLIPTokenizer.from_pretrained(tiny_folder / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        eos_token_id=tokenizer.eos_token_id,
    )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        steps_offset=1,
    )
    folder = tmp_path_factory.mktemp("hub") / "stable-diffusion"
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(config),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, variant=request.param)
    # The hub's index names parts that drawing does not need and that are not downloaded.
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    index["requires_safety_checker"] = True
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def opened(cells: dict[str, str], model: str, **names: Any) -> dict[str, Any]:
    """The names after the cell that opens the parts, with another `MODEL`."""
    source, count = re.subn(
        r'^MODEL = "emoji-64"', f"MODEL = {model!r}", cells["parts-open"], flags=re.MULTILINE
    )
    assert count == 1
    names = {"torch": torch, "Pipeline": Pipeline, "SEED": 7, **names}
    run_cell(source, names)
    return names


def test_the_learner_s_networks_open_stable_diffusion(
    stable_diffusion: Path, cells: dict[str, str], capsys: Any
) -> None:
    names = opened(cells, str(stable_diffusion))
    assert "every name and shape fits" in capsys.readouterr().out
    assert names["schedule"].prediction_type == "epsilon"
    theirs = StableDiffusionPipeline.from_pretrained(
        stable_diffusion,
        dtype=torch.float32,
        variant="fp16" if list(stable_diffusion.glob("unet/*.fp16.*")) else None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for name in ("unet", "vae", "text_encoder"):
        state = getattr(theirs, name).state_dict()
        own = names[name].state_dict()
        strip = "text_model."
        state = {k.removeprefix(strip): v for k, v in state.items() if "position_ids" not in k}
        assert state.keys() == own.keys()
        assert all(torch.equal(state[key].float(), own[key]) for key in own)


def test_the_comparison_runs_on_stable_diffusion(
    stable_diffusion: Path, cells: dict[str, str], capsys: Any
) -> None:
    """The very cells of the page: the course's loop and diffusers' draw the same pictures."""
    names = opened(cells, str(stable_diffusion), draw=draw, prompts=PROMPTS)
    names["pictures"] = torch.zeros(2, 3, 64, 64)
    names["parts"] = tuple(
        names[key] for key in ("tokenizer", "text_encoder", "unet", "vae", "schedule")
    )
    run_cell(cells["parity-run"].replace("STEPS, SCALE = 10,", "STEPS, SCALE = 2,"), names)
    assert "Equal" in capsys.readouterr().out
    assert max(names["gaps"].values()) < 1e-3


def test_half_precision_stays_near_full_precision(
    stable_diffusion: Path, cells: dict[str, str]
) -> None:
    """What `paint` does on a GPU, on the CPU."""
    names = opened(cells, str(stable_diffusion))
    own = [names[key] for key in ("tokenizer", "text_encoder", "unet", "vae", "schedule")]
    full = draw(PROMPTS[:1], *own, seeded(), 2)
    with torch.autocast("cpu", torch.float16):
        half = draw(PROMPTS[:1], *own, seeded(), 2).float()
    assert float((full - half).abs().max()) < 0.1


@pytest.mark.parametrize("gpu", [False, True])
def test_without_network_or_gpu_the_lesson_goes_on(
    gpu: bool, cells: dict[str, str], capsys: Any, monkeypatch: Any
) -> None:
    from course_utils import hub
    from course_utils.models import WeightsError

    def unreachable(repo_id: str, revision: str | None) -> Path:
        assert revision == hub.PINNED[repo_id], "the revision is pinned"
        raise WeightsError(f"{repo_id} is not on this machine and the hub cannot be reached")

    monkeypatch.setattr(hub, "fetch", unreachable)
    names = opened(cells, "emoji-64")
    assert capsys.readouterr().out.startswith("emoji-64: every name")
    names["device"] = torch.device("cuda" if gpu else "cpu")
    folder = names["choose_folder"]("stable-diffusion-v1-5/stable-diffusion-v1-5")
    assert folder.name == "emoji-64"
    said = capsys.readouterr().out
    assert ("cannot be reached" if gpu else "needs a GPU") in said
    assert "goes on with emoji-64" in said


def test_a_network_that_does_not_fit_is_refused(tiny_folder: Path, cells: dict[str, str]) -> None:
    """`strict=True` is what the page promises: a missing name stops it."""
    from safetensors.torch import load_file, save_file

    names = opened(cells, "emoji-64")
    file = next((tiny_folder / "vae").glob("*.safetensors"))
    state = load_file(file)
    short = tiny_folder.parent / "short"
    short.mkdir(exist_ok=True)
    (short / "config.json").write_bytes((tiny_folder / "vae" / "config.json").read_bytes())
    state.pop("quant_conv.bias")
    save_file(state, short / file.name)
    with pytest.raises(RuntimeError, match=r"quant_conv\.bias"):
        names["open_part"](names["VAE"], short)


# --- the page ------------------------------------------------------------------------------------


def test_the_panel_draws_and_survives_bad_input(cells: dict[str, str], tiny: Pipeline) -> None:
    asked = []

    def paint(prompts: list[str], seed: int, num_steps: int, guidance_scale: float) -> Any:
        asked.extend(prompts)
        options = {"num_steps": num_steps, "guidance_scale": guidance_scale}
        return draw(prompts, *parts(tiny), seeded(seed), **options)

    names = {"PROMPT": PROMPTS[0], "SEED": 7, "pictures": torch.zeros(1, 3, 64, 64)}
    names |= {"paint": paint, "pipeline": tiny, "folder": Path("emoji-64")}
    run_cell(cells["panel"], names)
    names["steps_box"].value = 2
    for prompt in ("dog", "", "猫", "word " * 300):
        names["prompt_box"].value = prompt
        names["button"].click()
        assert not names["button"].disabled
        assert bytes(names["frame"].value).startswith(b"\x89PNG")
        assert asked[-1] == prompt


def test_dot_rows_has_words_and_refuses_nonsense() -> None:
    figure = dot_rows({"d": {"a": [0.1, 0.2], "b": [0.3]}}, alt="two groups", accent="b")
    assert figure.alt == "two groups" and figure.png.startswith(b"\x89PNG")
    for panels in ({}, {"d": {}}, {"d": {"a": []}}, {"d": {"a": [1.0]}, "e": {"b": [1.0]}}):
        with pytest.raises(ValueError, match="expected"):
            dot_rows(panels, alt="x")


def test_the_prose_keeps_to_the_course_s_style(solution: dict[str, Any]) -> None:
    check_cells(solution, "solution")
    for cell in solution["cells"]:
        if cell["cell_type"] == "markdown":
            assert "!" not in text(cell), cell["id"]


def test_the_learners_version_is_what_the_solution_makes_of_it(solution: dict[str, Any]) -> None:
    found = json.loads((ROOT / "notebooks" / SOLUTION.name).read_text(encoding="utf-8"))
    assert found == learner_version(solution)
