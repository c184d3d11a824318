"""What training draws from beforehand, and how long it may take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from course_utils.data.captions import STYLE_WORDS, STYLES, full_caption
from course_utils.data.emoji import BACKGROUND_NAMES, CaptionedEmoji
from course_utils.models import VAE, Tokenizer
from course_utils.training.bank import CaptionBank, generator_on
from course_utils.training.denoiser import draw_captions
from course_utils.training.loop import Pace, Settings, learning_rate
from course_utils.training.vae import DecoderTask, VAETask


@pytest.fixture(scope="module")
def data() -> CaptionedEmoji:
    return CaptionedEmoji("starter")


@pytest.fixture(scope="module")
def tokenizer(data: CaptionedEmoji) -> Tokenizer:
    captions = data.sample_captions(3000, torch.Generator().manual_seed(0))
    return Tokenizer.train(captions, 700, model_max_length=32)


@pytest.fixture(scope="module")
def bank(data: CaptionedEmoji, tokenizer: Tokenizer) -> CaptionBank:
    return CaptionBank(data, tokenizer, captions=3)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures_of(data: CaptionedEmoji, pixels: torch.Tensor) -> list[tuple[int, int]]:
    """(pair, background) of each picture, found by comparing it with all of them."""
    pairs = torch.tensor(data.pairs)
    found: list[tuple[int, int]] = [(-1, -1)] * len(pixels)
    for colour in range(len(BACKGROUND_NAMES)):
        ids = torch.full((len(pairs),), colour)
        everything = data.render_batch(pairs[:, 0], pairs[:, 1], ids).flatten(1)
        for i, picture in enumerate(pixels.flatten(1)):
            same = (everything - picture).abs().amax(dim=1) < 1e-6
            if same.any():
                found[i] = (int(same.int().argmax()), colour)
    return found


# --- the bank --------------------------------------------------------------------------------


def test_each_picture_comes_with_one_of_its_own_captions(
    data: CaptionedEmoji, tokenizer: Tokenizer, bank: CaptionBank
) -> None:
    pixels, ids = bank.sample(24, draws())
    assert pixels.shape == (24, 3, 64, 64)
    assert ids.shape == (24, 32)
    assert ids.dtype == torch.int64
    for (pair, colour), row in zip(pictures_of(data, pixels), ids, strict=True):
        assert pair >= 0
        assert (bank.ids[pair, colour].long() == row).all(dim=1).any()
        words = tokenizer.decode(row.tolist()).split()
        concept, style = data.pairs[pair]
        wrong_styles = {STYLE_WORDS[s][-1] for s in STYLES if s != STYLES[style]}
        assert wrong_styles.isdisjoint(words)
        named = set(BACKGROUND_NAMES) & set(words) - set(data.concepts[concept].name.split())
        said = {word for s in data.concepts[concept].synonyms for word in s.split()}
        assert named - said <= {BACKGROUND_NAMES[colour]}


def test_full_captions_are_those_of_the_data(
    data: CaptionedEmoji, tokenizer: Tokenizer, bank: CaptionBank
) -> None:
    for pair, colour in ((0, 0), (17, 3), (len(data) - 1, 9)):
        concept, style = data.pairs[pair]
        text = full_caption(data.concepts[concept].name, STYLES[style], BACKGROUND_NAMES[colour])
        assert torch.equal(bank.full_ids[pair, colour].long(), tokenizer(text)[0])


def test_siblings_show_a_thing_in_every_style_that_is_trained(
    data: CaptionedEmoji, bank: CaptionBank
) -> None:
    pixels, ids = bank.sample_siblings(40, draws(3))
    assert len(pixels) == len(ids) == 40
    pairs = [data.pairs[pair] for pair, _ in pictures_of(data, pixels)]
    things = set()
    for start in range(0, 40, 4):
        group = pairs[start : start + 4]
        concept = max({c for c, _ in group}, key=[c for c, _ in group].count)
        trained = {style for c, style in data.pairs if c == concept}
        assert trained <= {style for c, style in group if c == concept}
        things.add(concept)
    assert len(things) == 10, "no thing comes twice"
    most = bank.sample_siblings(10_000, draws())[0]
    assert len(most) == 4 * len(data.concepts)


def test_the_bank_is_seeded(data: CaptionedEmoji, tokenizer: Tokenizer, bank: CaptionBank) -> None:
    again = CaptionBank(data, tokenizer, captions=3)
    assert torch.equal(again.ids, bank.ids)
    other = CaptionBank(data, tokenizer, captions=3, seed=1)
    assert not torch.equal(other.ids, bank.ids)
    for first, second in zip(bank.sample(8, draws(5)), again.sample(8, draws(5)), strict=True):
        assert torch.equal(first, second)


def test_a_generator_stays_on_its_device() -> None:
    generator = draws()
    assert generator_on(torch.device("cpu"), generator) is generator


# --- captions that are kept --------------------------------------------------------------------


def test_captions_are_cut_once(data: CaptionedEmoji, tokenizer: Tokenizer, tmp_path: Path) -> None:
    pictures = [(*pair, 2) for pair in data.pairs]
    cache = tmp_path / "captions.safetensors"
    rows, ids = draw_captions(data, tokenizer, pictures, 500, 0, cache)
    assert rows.shape == (500, 2)
    assert rows[:, 0].tolist() == [n % len(pictures) for n in range(500)]
    assert int(rows[:, 1].max()) == len(ids) - 1
    assert len({tuple(row) for row in ids.tolist()}) == len(ids), "each caption is kept once"
    written = cache.stat().st_mtime_ns
    again = draw_captions(data, tokenizer, pictures, 500, 0, cache)
    assert cache.stat().st_mtime_ns == written
    assert torch.equal(again[0], rows)
    assert torch.equal(again[1], ids)
    without = draw_captions(data, tokenizer, pictures, 500, 0)
    assert torch.equal(without[1], ids)


def test_captions_of_another_question_are_not_taken(
    data: CaptionedEmoji, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    pictures = [(*pair, 2) for pair in data.pairs]
    cache = tmp_path / "captions.safetensors"
    _, ids = draw_captions(data, tokenizer, pictures, 100, 0, cache)
    assert not torch.equal(draw_captions(data, tokenizer, pictures, 100, 1, cache)[1], ids)
    assert len(draw_captions(data, tokenizer, pictures, 50, 0, cache)[0]) == 50
    draw_captions(data, tokenizer, pictures, 100, 0, cache)  # differs in the length alone
    shorter = Tokenizer(tokenizer.vocab, tokenizer.merges, model_max_length=20)
    assert draw_captions(data, shorter, pictures, 100, 0, cache)[1].shape[1] == 20


# --- as many steps as there is time for --------------------------------------------------------


def run(pace: Pace, seconds_of_step: dict[int, float], limit: int = 100_000) -> tuple[int, float]:
    """Step until the pace says that it is enough; returns steps and seconds."""
    spent, each, step = 0.0, 0.0, 0
    while step < pace.steps:
        assert step < limit
        each = seconds_of_step.get(step, each)
        pace.look(step, spent)
        spent += each
        step += 1
    return step, spent


def test_without_a_limit_the_steps_are_those_of_the_settings() -> None:
    assert run(Pace(Settings(120, 1, 1.0), 0), {0: 9.0})[0] == 120


@pytest.mark.parametrize("each", [0.01, 0.5])
def test_a_limit_ends_the_run_in_time(each: float) -> None:
    pace = Pace(Settings(10**6, 1, 1.0, seconds=300.0), 0)
    steps, spent = run(pace, {0: 20.0, 1: each})  # the first step compiles
    assert spent == pytest.approx(300.0, rel=0.03)
    assert steps == pytest.approx(280.0 / each, rel=0.03)


def test_a_limit_allows_for_another_pace_and_for_the_fall() -> None:
    settings = Settings(10**6, 1, 1.0, warmup_steps=1, decay_fraction=0.4, seconds=100.0)
    pace = Pace(settings, 0)
    steps, spent = run(pace, {0: 0.05, 800: 0.02})  # another program ends
    assert spent == pytest.approx(100.0, rel=0.05)
    assert learning_rate(pace.settings, steps - 1) < 0.01
    assert learning_rate(pace.settings, 0) == 1.0


def test_a_limit_takes_no_more_steps_than_the_settings() -> None:
    assert run(Pace(Settings(90, 1, 1.0, seconds=1e9), 0), {0: 0.01})[0] == 90


def test_a_limit_that_is_over_ends_the_run_at_the_next_look() -> None:
    steps, _ = run(Pace(Settings(10**6, 1, 1.0, seconds=1.0), 0), {0: 0.5})
    assert steps < 100


# --- the decoder goes on alone -----------------------------------------------------------------


@pytest.fixture()
def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=2,
        sample_size=64,
    )


def test_the_decoder_learns_and_every_latent_stays(vae: VAE) -> None:
    x = CaptionedEmoji("smoke").sample_batch(4, draws()).images
    before = {k: v.clone() for k, v in vae.state_dict().items()}
    with torch.no_grad():
        latents = vae.encode(x).mode()
    task = DecoderTask(vae, "smoke", 4)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3)
    noise = torch.randn(4, 4, 32, 32, generator=draws())
    losses = []
    for _ in range(3):
        loss = task.compute(vae, x, noise)["loss"]
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    changed = {k for k, v in vae.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in changed)
    with torch.no_grad():
        assert torch.equal(vae.encode(x).mode(), latents)


def test_the_decoder_s_loss_is_the_vae_s_without_kl(vae: VAE) -> None:
    x = CaptionedEmoji("smoke").sample_batch(4, draws()).images
    noise = torch.randn(4, 4, 32, 32, generator=draws())
    with torch.no_grad():
        whole = VAETask(vae, "smoke", 4, kl_weight=0.0).compute(vae, x, noise)["loss"]
        alone = DecoderTask(vae, "smoke", 4).compute(vae, x, noise)["loss"]
    assert_close(alone, whole)
