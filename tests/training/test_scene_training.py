"""What scenes-64 is trained on and how: shares, sums worked out by hand, and the whole chain."""

import dataclasses
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from course_utils.cli import main
from course_utils.data.scene_captions import describe
from course_utils.data.scenes import World
from course_utils.evaluation.judge import Judge
from course_utils.evaluation.scene_evaluate import SceneBench, SceneSettings, groups_of
from course_utils.models import VAE, TextEncoder, Tokenizer, UNet
from course_utils.pipeline import Pipeline
from course_utils.schedules import NoiseSchedule
from course_utils.training.scenes import (
    Painter,
    SceneBank,
    SceneDecoderTask,
    SceneTask,
    build_scene_bank,
    draw_scenes,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Remembers(torch.nn.Module):
    """A painter that notes what it is shown and answers with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, x_t: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        self.seen.append((x_t, t, ids))
        return torch.zeros_like(x_t) * self.weight


@pytest.fixture(scope="module")
def bank() -> SceneBank:
    """True captions are 100 + picture, vague ones 9, the empty one 0."""
    rows = torch.arange(50, dtype=torch.int16)
    true = (100 + rows)[:, None, None].expand(50, 3, 4).contiguous()
    vague = torch.full((50, 2, 4), 9, dtype=torch.int16)
    latents = torch.randn(50, 4, 8, 8, generator=generator()).half()
    return SceneBank(latents, true, vague, torch.zeros(4, dtype=torch.int16))


@pytest.mark.parametrize("r", [0.0, 0.3, 0.6])
def test_shares_of_captions(bank: SceneBank, r: float) -> None:
    task = SceneTask(Remembers(), bank, NoiseSchedule.linear(), 8, r, condition_dropout=0.1)  # type: ignore[arg-type]
    rows = torch.randint(50, (20_000,), generator=generator(1))
    ids = task.draw_captions(rows, {"generator": generator(2), "device": torch.device("cpu")})
    first = ids[:, 0]
    right, vague, empty = first == 100 + rows, first == 9, first == 0
    foreign = (first >= 100) & ~right
    for found, asked in (
        (empty, 0.1),
        (vague, 0.9 * r / 2),
        (foreign, 0.9 * r / 2 * 49 / 50),
        (right, 0.9 * (1 - r) + 0.9 * r / 2 / 50),
    ):
        assert float(found.float().mean()) == pytest.approx(asked, abs=0.012)


def test_loss_is_the_mean_square_of_v(bank: SceneBank) -> None:
    schedule = NoiseSchedule.scaled_linear(prediction_type="v_prediction")
    model = Remembers()
    task = SceneTask(model, bank, schedule, 16, 0.3)  # type: ignore[arg-type]
    loss = task.loss(model, 0, generator(3))["loss"]
    x_t, t, _ = model.seen[0]
    again = generator(3)
    rows = torch.randint(50, (16,), generator=again)
    x0 = bank.latents[rows].float()
    alpha = schedule.alpha_bar[t].view(-1, 1, 1, 1)
    epsilon = (x_t - alpha.sqrt() * x0) / (1 - alpha).sqrt()
    v = alpha.sqrt() * epsilon - (1 - alpha).sqrt() * x0  # Salimans and Ho 2022, section 4
    assert_close(loss, v.square().mean(), rtol=1e-3, atol=1e-3)
    assert t.tolist() == sorted(t.tolist()) and 0 <= int(t[0]) < int(t[-1]) < 1000


def test_a_share_above_one_is_refused(bank: SceneBank) -> None:
    with pytest.raises(ValueError, match=r"wrong_captions is 1\.5; expected a share from 0 to 1"):
        SceneTask(Remembers(), bank, NoiseSchedule.linear(), 8, 1.5)  # type: ignore[arg-type]


def test_the_text_encoder_learns_with_the_unet(bank: SceneBank) -> None:
    sizes: dict[str, Any] = {"layers_per_block": 1, "norm_num_groups": 4, "sample_size": 8}
    unet = UNet(
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=8,
        attention_head_dim=2,
        **sizes,
    )
    encoder = TextEncoder(
        vocab_size=200,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=4,
        eos_token_id=0,
    )
    painter = Painter(unet, encoder)
    task = SceneTask(painter, bank, NoiseSchedule.linear(), 8)
    task.loss(painter, 0, generator())["loss"].backward()
    gradient = encoder.embeddings.token_embedding.weight.grad
    assert gradient is not None and float(gradient.abs().sum()) > 0


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `course train` leaves after both recipes with preset `smoke`."""
    runs = tmp_path_factory.mktemp("runs")
    for recipe in ("scenes-decoder", "scenes"):
        assert main(["train", recipe, "--preset", "smoke", "--runs", str(runs), "--quiet"]) == 0
    return runs


def test_the_bank_is_kept_and_belongs_to_its_question(tmp_path: Path, smoke: Path) -> None:
    world = World("smoke")
    tokenizer = Tokenizer.from_pretrained(smoke / "weights" / "scenes-64" / "tokenizer")
    vae = VAE.from_pretrained(smoke / "weights" / "scenes-64" / "vae").eval()
    cache = tmp_path / "bank.safetensors"
    first = build_scene_bank(world, vae, tokenizer, 12, 2, 0, cache)
    scenes, pixels = draw_scenes(world, 12, generator(0))
    assert_close(first.latents.float(), vae.to_latents(pixels).float(), atol=0.05, rtol=0.05)
    assert first.true.shape == (12, 2, 32) and first.vague.shape == (12, 1, 32)
    assert len(scenes) == 12
    written = cache.stat().st_mtime_ns
    again = build_scene_bank(world, vae, tokenizer, 12, 2, 0, cache)
    assert_close(again.true, first.true)
    assert cache.stat().st_mtime_ns == written
    build_scene_bank(world, vae, tokenizer, 12, 2, 1, cache)
    assert cache.stat().st_mtime_ns != written


def test_the_encoder_rests(smoke: Path) -> None:
    shipped = VAE.from_pretrained(
        Path(__file__).parents[2] / "course_utils" / "weights" / "emoji-64" / "vae"
    )
    ours = VAE.from_pretrained(smoke / "weights" / "scenes-64" / "vae")
    for (name, a), b in zip(
        shipped.encoder.named_parameters(), ours.encoder.parameters(), strict=True
    ):
        assert_close(a, b, msg=name)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(shipped.decoder.parameters(), ours.decoder.parameters(), strict=True)
    )
    assert shipped.config.scaling_factor == ours.config.scaling_factor


def test_diffusers_draws_what_we_draw(smoke: Path) -> None:
    folder = smoke / "weights" / "scenes-64"
    ours = Pipeline.load(folder)
    theirs = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    theirs.set_progress_bar_config(disable=True)
    prompt = "two cats on grass at night"
    drawn = theirs(
        prompt,
        num_inference_steps=3,
        guidance_scale=3.0,
        generator=generator(4),
        output_type="pt",
    ).images
    mine = ours.draw(prompt, num_steps=3, guidance_scale=3.0, seed=4, sampler="ddim").pixels
    assert_close((mine + 1) / 2, drawn, atol=2e-4, rtol=0)


def test_the_folder_says_what_it_knows(smoke: Path) -> None:
    known = json.loads((smoke / "weights" / "scenes-64" / "concepts.json").read_text())
    assert known["kind"] == "scenes" and known["wrong_captions"] == 0.3
    assert "night sky" in known["backgrounds"] and "warm" in known["lights"]
    world = World("smoke")
    words = set(known["words"])
    for scene in world.draw(50, Random(0)):
        assert set(describe(scene, world.concepts).replace(",", "").split()) <= words | {"3d"}


def test_captions_of_scenes_are_taken_as_typed(
    smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = "2 tiny kitties at night"
    out = tmp_path / "scene.png"
    folder = smoke / "weights" / "scenes-64"
    command = ["draw", typed, "--model", str(folder), "--steps", "1", "--out", str(out)]
    assert main(command) == 0
    assert "read as" not in capsys.readouterr().err
    with Image.open(out) as picture:
        assert picture.info["prompt"] == typed


def test_training_goes_on_from_finished_weights(smoke: Path, tmp_path: Path) -> None:
    start = smoke / "weights" / "scenes-64"
    command = ["train", "scenes", "--preset", "smoke", "--runs", str(tmp_path), "--steps", "1"]
    assert main([*command, "--learning-rate", "1e-9", "--start-from", str(start), "--quiet"]) == 0
    before = UNet.from_pretrained(start / "unet").state_dict()
    after = UNet.from_pretrained(tmp_path / "weights" / "scenes-64" / "unet").state_dict()
    for name, value in before.items():
        assert_close(after[name], value, atol=1e-3, rtol=1e-2, msg=name)


def test_evaluation_reads_what_was_asked(smoke: Path) -> None:
    """Real scenes as the drawn pictures: the shares must then be those of the column "real"."""
    pipeline = Pipeline.load(smoke / "weights" / "scenes-64")
    settings = SceneSettings(prompts=6, seeds=1, num_steps=2)
    bench = SceneBench(pipeline, Judge.load(), settings)
    groups = groups_of(bench.world, settings)
    assert len(groups) == 9 and all(len(asked) == 6 for asked in groups.values())
    for name, asked in groups.items():
        real = bench.real(asked)
        shares = bench.shares(asked, {"drawn": real, "real": real})
        assert set(shares) == set(asked[0].checks)
        for check, columns in shares.items():
            assert columns["drawn"].value == columns["real"].value
            assert columns["real"].value > 0.3, (name, check)
    blank = torch.zeros(6, 3, 64, 64)
    assert not bench.read(groups["one thing"], blank)["thing"].any()
    assert not bench.read(groups["two or three of a kind"], blank)["number"].any()


def test_decoder_task_draws_scenes() -> None:
    vae = VAE.from_pretrained(
        Path(__file__).parents[2] / "course_utils" / "weights" / "emoji-64" / "vae"
    )
    task = SceneDecoderTask(vae, World("smoke"), 3)
    assert_close(task.draw_batch(generator(6)), draw_scenes(World("smoke"), 3, generator(6))[1])
    assert task.draw_batch(generator(6)).shape == (3, 3, 64, 64)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="prompts is 0; expected at least 1"):
        SceneSettings(prompts=0)
    assert dataclasses.replace(SceneSettings(), seeds=3).seeds == 3
