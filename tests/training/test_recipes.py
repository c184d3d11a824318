"""What each recipe minimises, against the same numbers worked out by hand; and the whole chain."""

import json
import math
import shutil
from collections import Counter
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import CLIPTextModel, CLIPTokenizer

from course_utils.cli import main
from course_utils.data.captions import STYLES, random_caption
from course_utils.data.emoji import BACKGROUND_NAMES, CaptionedEmoji
from course_utils.models import CLIP, VAE, TextEncoder, Tokenizer, UNet
from course_utils.models.clip import CLIPConfig, ConvConfig, TextConfig, contrastive_loss
from course_utils.schedules import NoiseSchedule
from course_utils.training.clip import CLIPTask, augment
from course_utils.training.denoiser import Bank, DenoiserTask, build_bank
from course_utils.training.loop import Settings
from course_utils.training.recipes import RECIPES, make_schedule, split_batch
from course_utils.training.vae import VAETask

WIDTH = 12


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["a cat face, 3d style, on a blue background"], 600, 16)


def text_config(tokenizer: Tokenizer) -> TextConfig:
    return TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        eos_token_id=tokenizer.eos_token_id,
    )


@pytest.fixture(scope="module")
def encoder(tokenizer: Tokenizer) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(text_config(tokenizer)).eval()


@pytest.fixture(scope="module")
def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(
        block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=2, scaling_factor=3.0
    ).eval()


@pytest.fixture(scope="module")
def data() -> CaptionedEmoji:
    return CaptionedEmoji("smoke")


# --- denoiser ---------------------------------------------------------------------------------


class Listener(nn.Module):
    """A denoiser with one weight that remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7))
        self.asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
        self.asked.append((x_t, t, text_states))
        return self.weight * x_t + text_states.mean(dim=(1, 2))[:, None, None, None]


def small_bank() -> Bank:
    rows = torch.stack([torch.arange(20) % 5, torch.arange(20) % 6], dim=1)
    return Bank(noise(5, 4, 2, 2), noise(6, 3, 7, seed=1).half(), rows, noise(3, 7, seed=2).half())


SCHEDULES = {
    "epsilon": NoiseSchedule.linear(),
    "sample": NoiseSchedule.scaled_linear(prediction_type="sample"),
    "v_prediction": NoiseSchedule.scaled_linear(prediction_type="v_prediction"),
    "the recipe's": make_schedule(),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_denoiser_loss_by_hand_with_diffusers(name: str) -> None:
    schedule, bank, count = SCHEDULES[name], small_bank(), 9
    scheduler = DDIMScheduler.from_config(schedule.to_config("DDIMScheduler"))
    model: Any = Listener()
    task = DenoiserTask(model, bank, schedule, count, condition_dropout=0.4)
    losses = task.loss(model, 0, generator())

    draws = generator()
    rows = bank.rows[torch.randint(20, (count,), generator=draws)]
    dropped = torch.rand(count, generator=draws) < 0.4
    t = ((torch.arange(count) + torch.rand(count, generator=draws)) * 1000 / count).long()
    epsilon = torch.randn(count, 4, 2, 2, generator=draws)
    x0 = bank.latents[rows[:, 0]]
    states = torch.where(
        dropped[:, None, None], bank.empty.float(), bank.states[rows[:, 1]].float()
    )
    x_t = scheduler.add_noise(x0, epsilon, t)
    target = {
        "epsilon": epsilon,
        "sample": x0,
        "v_prediction": scheduler.get_velocity(x0, epsilon, t),
    }[scheduler.config.prediction_type]
    with torch.no_grad():
        errors = (Listener()(x_t, t, states) - target).square().mean(dim=(1, 2, 3))
    assert 0 < dropped.sum() < count
    for asked, expected in zip(model.asked[0], (x_t, t, states), strict=True):
        assert_close(asked, expected, atol=1e-5, rtol=1e-5)
    for key, part in (("loss", errors), ("little_noise", errors[:3]), ("much_noise", errors[-3:])):
        assert_close(losses[key].detach(), part.mean(), atol=1e-5, rtol=1e-5)


def test_timesteps_cover_all_noise_levels_evenly() -> None:
    model: Any = Listener()
    task = DenoiserTask(model, small_bank(), SCHEDULES["epsilon"], 8)
    for step in range(50):
        task.loss(model, step, generator(step))
    t = torch.stack([asked[1] for asked in model.asked])  # (50, 8)
    assert torch.equal(t // 125, torch.arange(8).expand(50, 8))
    assert t.min() < 20
    assert t.max() > 980
    assert torch.unique(t[:, 3]).numel() > 30


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_share_of_dropped_captions(share: float) -> None:
    model: Any = Listener()
    task = DenoiserTask(model, small_bank(), SCHEDULES["epsilon"], 4000, share)
    task.loss(model, 0, generator())
    empty = task.bank.empty.float()
    dropped = (model.asked[0][2] == empty).all(dim=(1, 2)).float().mean().item()
    assert abs(dropped - share) <= 4 * math.sqrt(share * (1 - share) / 4000)
    assert torch.equal(task.bank.states, small_bank().states), "the bank was written to"


def test_evaluation_drops_nothing_and_repeats() -> None:
    model: Any = Listener()
    task = DenoiserTask(model, small_bank(), SCHEDULES["epsilon"], 16, 0.5)
    first = task.evaluate(model)
    assert not any(
        (states == task.bank.empty.float()).all(dim=(1, 2)).any() for _, _, states in model.asked
    )
    assert task.condition_dropout == 0.5
    task.loss(model, 0, generator())
    assert task.evaluate(model) == first


def test_gradient_reaches_the_unet() -> None:
    unet = UNet(
        sample_size=2,
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        layers_per_block=1,
        cross_attention_dim=7,
        attention_head_dim=2,
        norm_num_groups=2,
    )
    task = DenoiserTask(unet, small_bank(), make_schedule(), 8)
    task.loss(unet, 0, generator())["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in unet.parameters())


@torch.no_grad()
def test_bank_equals_encoding_each_row(
    data: CaptionedEmoji, vae: VAE, encoder: TextEncoder, tokenizer: Tokenizer
) -> None:
    pictures = len(data.pairs) * len(BACKGROUND_NAMES)
    size = 2 * pictures + 7
    bank = build_bank(data, vae, encoder, tokenizer, size, seed=4)
    assert bank.latents.shape == (pictures, 4, 8, 8)
    assert bank.rows.shape == (size, 2)
    assert set(Counter(bank.rows[:, 0].tolist()).values()) == {2, 3}
    rng = Random(4)
    for n in range(size):
        pair, colour = divmod(n % pictures, len(BACKGROUND_NAMES))
        concept, style = data.pairs[pair]
        caption = random_caption(
            data.concepts[concept], STYLES[style], BACKGROUND_NAMES[colour], rng
        )
        if n % 97:
            continue
        picture, words = bank.rows[n].tolist()
        latent = vae.to_latents(data.render(concept, style, colour)[None])[0]
        assert_close(bank.latents[picture], latent, atol=1e-4, rtol=1e-4)
        assert_close(
            bank.states[words].float(), encoder(tokenizer(caption))[0], atol=2e-3, rtol=2e-3
        )
    assert_close(bank.empty.float(), encoder(tokenizer(""))[0], atol=2e-3, rtol=2e-3)


# --- vae and clip -----------------------------------------------------------------------------


def test_vae_loss_by_hand(vae: VAE) -> None:
    task = VAETask(vae, "smoke", 3, whole_from=2, gradient_weight=0.5, kl_weight=0.1)
    with torch.no_grad():
        losses = task.loss(vae, 2, generator())
        draws = generator()
        pairs = torch.tensor(task.data.pairs)
        pairs = pairs[torch.randint(len(pairs), (3,), generator=draws)]
        colours = torch.randint(len(BACKGROUND_NAMES), (3,), generator=draws)
        x = task.data.render_batch(pairs[:, 0], pairs[:, 1], colours)
        epsilon = torch.randn(3, 4, 8, 8, generator=draws)
        gaussian = vae.encode(x)
        y = vae.decode(gaussian.mean + torch.exp(gaussian.log_var / 2) * epsilon)
        l1 = (x - y).abs().mean()
        across = (x[..., 1:] - x[..., :-1] - y[..., 1:] + y[..., :-1]).abs().mean()
        down = (x[..., 1:, :] - x[..., :-1, :] - y[..., 1:, :] + y[..., :-1, :]).abs().mean()
        kl = gaussian.kl().sum() / (3 * 4 * 8 * 8)
        expected = l1 + (x - y).square().mean() + 0.5 * (across + down) + 0.1 * kl
    assert_close(losses["loss"], expected, atol=1e-5, rtol=1e-5)
    assert_close(losses["l1"], l1, atol=1e-5, rtol=1e-5)
    assert_close(losses["kl"], kl, atol=1e-5, rtol=1e-5)


def test_vae_sees_crops_first(vae: VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    task = VAETask(vae, "smoke", 2, whole_from=3)
    sizes = []
    encode = vae.encode
    monkeypatch.setattr(vae, "encode", lambda x: sizes.append(tuple(x.shape[2:])) or encode(x))
    for step in range(5):
        task.loss(vae, step, generator(step))
    assert sizes == [(32, 32)] * 3 + [(64, 64)] * 2


def test_clip_loss_is_the_contrastive_loss_of_its_batch(tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    tower = ConvConfig((4, 8), 1, 8, norm_num_groups=2)
    clip = CLIP(CLIPConfig(text_config(tokenizer), tower, 6))
    task = CLIPTask(clip, tokenizer, "smoke", 6, augment=0.5)
    with torch.no_grad():
        losses = task.loss(clip, 0, generator())
        draws = generator()
        batch = task.data.sample_batch(6, draws)
        pixels = augment(batch.images, 0.5, draws)
        logits = clip(tokenizer(batch.captions), pixels)
    assert_close(losses["loss"], contrastive_loss(logits), atol=1e-5, rtol=1e-5)
    right = (logits.argmax(dim=1) == torch.arange(6)).float().mean()
    assert_close(losses["accuracy"], right)
    with torch.no_grad():
        clip.logit_scale.fill_(9.0)
    task.loss(clip, 0, generator())
    assert float(clip.logit_scale.exp()) == pytest.approx(100.0)


def test_no_augmentation_changes_nothing() -> None:
    pixels = noise(3, 3, 16, 16)
    assert augment(pixels, 0.0, generator()) is pixels
    assert_close(augment(pixels, 1e-9, generator()), pixels, atol=1e-4, rtol=0)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_augmentation_is_seeded_and_grows_with_strength(strength: float) -> None:
    pixels = CaptionedEmoji("smoke").sample_batch(16, generator()).images
    out = augment(pixels, strength, generator())
    assert out.shape == pixels.shape
    assert out.isfinite().all()
    assert torch.equal(out, augment(pixels, strength, generator()))
    assert not torch.equal(out, augment(pixels, strength, generator(6)))
    changes = F.mse_loss(out, pixels, reduction="none").mean(dim=(1, 2, 3))
    assert changes.unique().numel() == 16, "each picture gets an amount of its own"
    weaker = augment(pixels, strength / 3, generator())
    assert F.mse_loss(weaker, pixels) < F.mse_loss(out, pixels)


def test_batch_is_shared_by_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(steps=1, batch_size=9, learning_rate=1.0)
    assert split_batch(settings).batch_size == 9

    def pretend(processes: int) -> None:
        state = SimpleNamespace(num_processes=processes)
        monkeypatch.setattr("accelerate.PartialState", lambda cpu: state)

    for processes, share in ((3, 3), (9, 1)):
        pretend(processes)
        assert split_batch(settings).batch_size == share
    pretend(2)
    with pytest.raises(ValueError, match="batch_size is 9; expected a multiple of 2 processes"):
        split_batch(settings)


# --- the whole chain --------------------------------------------------------------------------


def train_all(folder: Path, *options: str) -> int:
    arguments = ["--preset", "smoke", "--runs", str(folder), "--quiet", "--mixed-precision", "no"]
    return main(["train", "all", *arguments, *options])


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one `course train all --preset smoke`."""
    folder = tmp_path_factory.mktemp("chain")
    assert train_all(folder) == 0
    return folder


def test_chain_writes_every_part(chain: Path) -> None:
    weights = chain / "weights"
    for name, steps in (("clip", 6), ("judge", 6), ("vae", 6), ("decoder", 2), ("denoiser", 6)):
        figures = json.loads((chain / name / "run.json").read_text())
        assert figures["steps"] == steps
        assert math.isfinite(figures["loss"])
    assert (
        CLIP.from_pretrained(weights / "judge").config
        != CLIP.from_pretrained(weights / "clip").config
    )
    index = json.loads((weights / "emoji-64" / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    known = json.loads((weights / "emoji-64" / "concepts.json").read_text())
    assert len(known["concepts"]) == 8
    assert {"cat", "3d", "blue"} <= set(known["words"])
    left_over = [p for p in chain.rglob("*") if p.suffix in {".part", ".tmp"}]
    assert not left_over


def test_latents_have_unit_variance(chain: Path, data: CaptionedEmoji) -> None:
    vae = VAE.from_pretrained(chain / "weights" / "emoji-64" / "vae")
    with torch.no_grad():
        latents = vae.to_latents(data.sample_batch(128, generator(9)).images)
    assert float(latents.std()) == pytest.approx(1.0, rel=0.15)


def test_judge_and_clip_share_nothing(chain: Path) -> None:
    """Other starting weights; where the shapes agree, no parameter is the same."""
    clip, judge = (
        load_file(chain / "weights" / name / "model.safetensors") for name in ("clip", "judge")
    )
    same = [
        name
        for name in clip.keys() & judge.keys()
        if clip[name].ndim
        and clip[name].shape == judge[name].shape
        and torch.equal(clip[name], judge[name])
    ]
    assert same == []


def test_diffusers_opens_the_result_and_draws(chain: Path) -> None:
    folder = chain / "weights" / "emoji-64"
    parts = {
        "unet": UNet2DConditionModel.from_pretrained(folder / "unet"),
        "vae": AutoencoderKL.from_pretrained(folder / "vae"),
        "text_encoder": CLIPTextModel.from_pretrained(folder / "text_encoder"),
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
    }
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    for name, part in parts.items():
        assert type(getattr(pipe, name)) is type(part)
        if isinstance(part, nn.Module):
            assert part.dtype == getattr(pipe, name).dtype == torch.float32, name
    assert isinstance(pipe.scheduler, DDIMScheduler)
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    pipe.set_progress_bar_config(disable=True)
    latents = noise(1, 4, 8, 8)
    out = pipe(
        "a cat face, 3d style, on a blue background",
        num_inference_steps=3,
        guidance_scale=4.0,
        latents=latents,
        output_type="latent",
    ).images
    assert out.shape == (1, 4, 8, 8)
    assert out.isfinite().all()
    ids = parts["tokenizer"]("a cat", padding="max_length", return_tensors="pt").input_ids
    assert ids.shape == (1, 32)


def test_a_chain_that_was_cut_ends_the_same(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The power failed before the VAE was saved: what was lost is made again, bit by bit.

    What was finished stays as it is.
    """
    folder = tmp_path / "chain"
    shutil.copytree(chain, folder)
    for lost in ("vae", "denoiser", "weights/emoji-64/vae", "weights/emoji-64/unet"):
        shutil.rmtree(folder / lost)
    assert train_all(folder) == 0
    paths = list(chain.rglob("*.safetensors"))
    assert len(paths) == 7 + 8 + 2  # checkpoints, weights, the captions' tokens and the scenes
    for path in paths:
        # Tensor by tensor: a checkpoint's note also holds the seconds that it took.
        again, before = load_file(folder / path.relative_to(chain)), load_file(path)
        assert again.keys() == before.keys(), path
        for name, tensor in before.items():
            assert torch.equal(again[name], tensor), (path, name)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == list(RECIPES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["denoiser", "--preset", "smoke"], "vae"),
        (["clip", "--steps", "0"], "--steps is 0"),
        (["clip", "--learning-rate", "nan"], "--learning-rate is nan"),
        (["clip", "--seed", "-1"], "--seed is -1"),
        (["painter"], "painter"),
    ],
)
def test_bad_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["train", *arguments, "--runs", str(tmp_path / "runs")]) != 0
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs" / "weights").exists()


def test_a_damaged_checkpoint_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "checkpoint.safetensors").write_bytes(b"\x10" * 100)
    arguments = ["clip", "--preset", "smoke", "--runs", str(tmp_path), "--quiet"]
    assert main(["train", *arguments]) == 1
    error = capsys.readouterr().err
    assert "checkpoint.safetensors is damaged" in error
    assert error.count("\n") == 1
