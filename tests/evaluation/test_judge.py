"""The judge: its pin, its probabilities, and what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from course_utils.data import BACKGROUNDS, STYLES, CaptionedEmoji, full_caption
from course_utils.evaluation import Judge, folder_sha256
from course_utils.evaluation.judge import (
    CAPTIONS,
    FILES,
    FOLDER,
    JUDGE_SHA256,
    read_captions,
    write_captions,
)
from course_utils.models.base import WeightsError


def pictures(count: int = 6) -> torch.Tensor:
    return CaptionedEmoji("core").sample_batch(count, torch.Generator().manual_seed(0)).images


# --- the pin -----------------------------------------------------------------------------------


def test_the_pinned_judge_loads(judge_folder: Path, concepts: tuple[str, ...]) -> None:
    judge = Judge.load(judge_folder, sha256=folder_sha256(judge_folder))
    assert judge.concepts == concepts and judge.sha256 == folder_sha256(judge_folder)


@pytest.mark.parametrize("name", FILES)
def test_any_file_that_differs_is_another_judge(judge_folder: Path, name: str) -> None:
    pinned = folder_sha256(judge_folder)
    path = judge_folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WeightsError, match=r"not the pinned one: its files hash to \w{12}"):
        Judge.load(judge_folder, sha256=pinned)


def test_another_judge_must_be_asked_for(judge_folder: Path, concepts: tuple[str, ...]) -> None:
    with pytest.raises(WeightsError, match="not the pinned one"):
        Judge.load(judge_folder)
    assert Judge.load(judge_folder, sha256=None).concepts == concepts


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(judge_folder: Path, name: str) -> None:
    (judge_folder / name).unlink()
    with pytest.raises(WeightsError, match=name):
        Judge.load(judge_folder, sha256=None)


# --- what it says of captions is kept ------------------------------------------------------------


def test_the_shipped_text_features_are_those_of_the_text_tower() -> None:
    judge = Judge.load()
    kept = read_captions(FOLDER, JUDGE_SHA256)
    assert kept is not None, "the shipped file is not the pinned one"
    few = (0, 39, len(judge.concepts) - 1)
    fresh = Judge(judge.clip, judge.tokenizer, [judge.concepts[i] for i in few]).text_features()
    torch.testing.assert_close(kept[list(few)], fresh, atol=1e-3, rtol=0)


def test_text_features_are_written_and_read(
    judge_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Judge.load(judge_folder, sha256=None).text_features()
    write_captions(judge_folder)
    judge = Judge.load(judge_folder, sha256=None)
    monkeypatch.setattr(judge.clip, "embed_text", None)  # not asked again
    torch.testing.assert_close(judge.text_features(), before, atol=1e-3, rtol=0)
    chosen = judge.among(["frog", "cat face"])
    assert torch.equal(chosen.text_features(), judge.text_features()[[7, 0]])
    assert chosen.classify(pictures(2)).objects.shape == (2, 2)


@pytest.mark.parametrize("damage", ["another judge's", "half a file", "no file"])
def test_text_features_that_do_not_belong_are_computed_anew(
    judge_folder: Path, tmp_path: Path, make_judge: Callable[..., Path], damage: str
) -> None:
    expected = Judge.load(judge_folder, sha256=None).text_features()
    path = write_captions(judge_folder)
    if damage == "another judge's":
        other = write_captions(make_judge(tmp_path / "other", seed=1))
        path.write_bytes(other.read_bytes())
    elif damage == "half a file":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.unlink()
    assert torch.equal(Judge.load(judge_folder, sha256=None).text_features(), expected)


def test_text_features_of_the_pinned_judge_are_pinned_too(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "judge")
    assert read_captions(folder, JUDGE_SHA256) is not None
    content = bytearray((folder / CAPTIONS).read_bytes())
    content[-1] ^= 1
    (folder / CAPTIONS).write_bytes(content)
    assert read_captions(folder, JUDGE_SHA256) is None


def test_line_ends_do_not_change_the_hash(
    judge_folder: Path, tmp_path: Path, make_judge: Callable[..., Path]
) -> None:
    copy = shutil.copytree(judge_folder, tmp_path / "copy")
    for name in FILES:
        if not name.endswith(".safetensors"):
            path = copy / name
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert folder_sha256(copy) == folder_sha256(judge_folder)
    assert folder_sha256(make_judge(tmp_path / "other", seed=1)) != folder_sha256(judge_folder)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the judge's weights are not here")
def test_the_shipped_judge_is_the_pinned_one() -> None:
    assert folder_sha256(FOLDER) == JUDGE_SHA256


def test_damaged_files_give_one_sentence(
    judge_folder: Path, make_judge: Callable[..., Path]
) -> None:
    (judge_folder / "concepts.json").write_text('{"subset": "core"}')
    with pytest.raises(WeightsError, match=r"concepts\.json is not a list"):
        Judge.load(judge_folder, sha256=None)
    make_judge(judge_folder)
    weights = judge_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="damaged or cut short"):
        Judge.load(judge_folder, sha256=None)


# --- what it says ------------------------------------------------------------------------------


def test_probabilities_are_the_softmax_over_every_caption(
    judge_folder: Path, concepts: tuple[str, ...]
) -> None:
    """Against the model's own forward pass, caption by caption, padded as the tokenizer pads."""
    judge = Judge.load(judge_folder, sha256=None)
    pixels = pictures()
    with torch.no_grad():
        captions = [full_caption(c, s, b) for c in concepts for s in STYLES for b in BACKGROUNDS]
        joint = judge.clip(judge.tokenizer(captions), pixels).softmax(dim=1)
        joint = joint.view(len(pixels), len(concepts), len(STYLES), len(BACKGROUNDS))
    torch.testing.assert_close(judge.object_scores(pixels).exp(), joint.sum((2, 3)))
    torch.testing.assert_close(judge.style_scores(pixels).exp(), joint.sum((1, 3)))
    asked = torch.tensor([3, 1, 4, 1, 5, 7])
    own = joint[torch.arange(6), asked].sum(dim=2)  # (B, 4)
    expected = own / own.sum(dim=1, keepdim=True)
    torch.testing.assert_close(judge.style_scores(pixels, asked).exp(), expected)
    verdicts = judge.classify(pixels, asked)
    assert torch.equal(verdicts.top(5)[:, 0], verdicts.concept)
    assert verdicts.top(50).shape == (6, len(concepts))


def test_features_are_unit_vectors_whatever_the_batch(judge_folder: Path) -> None:
    judge = Judge.load(judge_folder, sha256=None)
    pixels = pictures(70)  # more than one batch
    features = judge.features(pixels)
    assert features.shape == (70, 12) and features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=1), torch.ones(70))
    torch.testing.assert_close(features[65:], judge.features(pixels[65:]))
    assert judge.features(pixels[:0]).shape == (0, 12)
    # A picture of twice the size is averaged down.
    twice = pixels[:2].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(judge.features(twice), features[:2], rtol=1e-4, atol=1e-5)


def test_among_chooses_from_fewer(judge_folder: Path) -> None:
    judge = Judge.load(judge_folder, sha256=None)
    few = judge.among(["star", "cat face"])
    pixels = pictures()
    both = judge.object_scores(pixels)[:, [6, 0]]
    torch.testing.assert_close(few.object_scores(pixels), both.log_softmax(dim=1))
    with pytest.raises(ValueError, match="'zebra'"):
        judge.among(["star", "zebra"])


def test_bad_pictures_are_refused(judge_folder: Path) -> None:
    judge = Judge.load(judge_folder, sha256=None)
    for shape in ((3, 64, 64), (1, 1, 64, 64), (1, 3, 32, 32)):
        with pytest.raises(ValueError, match="pixels has shape"):
            judge.features(torch.zeros(shape))
    with pytest.raises(ValueError, match="asked"):
        judge.classify(pictures(), [0])
