"""The whole evaluation, on generators whose quality is known beforehand."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.data import (
    BACKGROUNDS,
    HELD_OUT_TEMPLATES,
    STYLES,
    CaptionedEmoji,
    full_caption,
    held_out_caption,
    held_out_pairs,
    load_concepts,
)
from course_utils.evaluation import Judge, Report, Settings, Verdicts, evaluate
from course_utils.evaluation.evaluate import choose_prompts
from course_utils.evaluation.grid import caption_lines, save_grid

SETTINGS = Settings(pairs=24, seeds=2, batch_size=7)
HELD = sorted(held_out_pairs("core"))
DATA = CaptionedEmoji("core", split="all")
# Six concepts with a held-out style and two without.
WITH = [concept for concept, _ in HELD][:6]
CHOSEN = sorted([*WITH, *[c.index for c in DATA.concepts if c.index not in WITH][:2]])
NAMES = tuple(DATA.concepts[i].name for i in CHOSEN)
COLOURS = list(BACKGROUNDS)


class TemplateJudge(Judge):
    """Knows every real picture and picks the nearest: perfect on real ones, without training."""

    def __init__(self, concepts: Sequence[str] = NAMES) -> None:
        self.concepts, self.sha256 = tuple(concepts), ""
        place = {c.name: c.index for c in DATA.concepts}
        ids = itertools.product((place[name] for name in concepts), range(4), range(10))
        concept, style, background = torch.tensor(list(ids)).T
        self.templates = DATA.render_batch(concept, style, background).flatten(1)

    def among(self, concepts: Sequence[str]) -> TemplateJudge:
        return TemplateJudge(concepts)

    def features(self, pixels: Tensor) -> Tensor:
        return F.normalize(F.avg_pool2d(pixels, 16).flatten(1), dim=1)

    def classify(self, pixels: Tensor, asked: Tensor | Sequence[int] | None = None) -> Verdicts:
        distance = torch.cdist(pixels.flatten(1), self.templates)
        joint = (-distance).log_softmax(dim=1).view(len(pixels), len(self.concepts), 4, 10)
        by_style = joint.logsumexp(dim=3)
        own = by_style[torch.arange(len(pixels)), torch.as_tensor(asked)]
        return Verdicts(self.features(pixels), by_style.logsumexp(dim=2), own.log_softmax(dim=1))


class Stub:
    """Draws each prompt with a function of (concept, style, background, seed)."""

    name = "stub"

    def __init__(self, draw: Callable[[int, int, int, int], Tensor]) -> None:
        self.paint = draw
        self.asked = {}
        for c, s, b in itertools.product(CHOSEN, range(4), range(10)):
            words = DATA.concepts[c].name, STYLES[s], COLOURS[b]
            self.asked[full_caption(*words)] = (c, s, b)
            for template in range(len(HELD_OUT_TEMPLATES)):
                self.asked[held_out_caption(template, *words)] = (c, s, b)
        self.seeds: list[int] = []

    def draw(self, prompts: Sequence[str], *, seed: Sequence[int], **settings: object):
        self.seeds += seed
        ids = zip(prompts, seed, strict=True)
        return SimpleNamespace(
            pixels=torch.stack([self.paint(*self.asked[text], seed) for text, seed in ids])
        )


def value(report: Report, split: str, metric: str, column: str = "drawn") -> float:
    return report.splits[split].metrics[metric][column].value


@pytest.fixture(scope="module")
def judge() -> TemplateJudge:
    return TemplateJudge()


@pytest.fixture(scope="module")
def perfect(judge: TemplateJudge) -> Report:
    return evaluate(Stub(lambda c, s, b, seed: DATA.render(c, s, b)), judge, SETTINGS)


@pytest.fixture(scope="module")
def noise(judge: TemplateJudge) -> Report:
    def paint(c: int, s: int, b: int, seed: int) -> Tensor:
        return torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(seed))

    return evaluate(Stub(paint), judge, SETTINGS)


# --- generators of known quality ---------------------------------------------------------------


def test_a_generator_of_real_pictures_reaches_the_ceiling(perfect: Report) -> None:
    for split in ("seen", "held_out"):
        measured = perfect.splits[split].metrics
        for metric, columns in measured.items():
            if "real" in columns:  # the same pictures, measured twice
                assert columns["drawn"].value == pytest.approx(columns["real"].value), metric
        for metric in ("object_top1", "object_top5", "style", "background", "nearest_is_asked"):
            assert value(perfect, split, metric) == 1.0, metric
            assert 0.5 < measured[metric]["drawn"].low < 1.0, metric  # but nobody is certain
        assert value(perfect, split, "frechet") == pytest.approx(0, abs=0.2)
        assert value(perfect, split, "kernel") == pytest.approx(0, abs=1e-6)
        assert value(perfect, split, "diversity") == pytest.approx(0, abs=1e-5)
        assert value(perfect, split, "background_error") == pytest.approx(0, abs=1)
    assert value(perfect, "seen", "near_copy") == 1.0
    assert value(perfect, "seen", "nearest_rmse") == pytest.approx(0, abs=1e-6)
    # The held-out originals were never trained on: to draw them is no copy.
    assert value(perfect, "held_out", "near_copy") < 0.5
    assert value(perfect, "held_out", "nearest_rmse") > 0.1


def test_a_generator_of_noise_is_at_chance(noise: Report, perfect: Report) -> None:
    for split in ("seen", "held_out"):
        measured = noise.splits[split].metrics
        for metric, chance in {"object_top1": 1 / 8, "style": 1 / 4, "background": 1 / 10}.items():
            assert measured[metric]["drawn"].value <= 2.5 * chance, metric
        assert value(noise, split, "near_copy") == 0.0
        for metric in ("frechet", "kernel", "diversity", "pixel_diversity", "nearest_rmse"):
            assert value(noise, split, metric) > 2 * value(perfect, split, metric), metric
    assert value(noise, "seen", "nearest_is_asked") < 0.1
    # Surely not the distribution of the data; six held-out pairs are too few to be sure of it.
    assert noise.splits["seen"].metrics["kernel"]["drawn"].low > 0


def test_the_wrong_background_scores_nothing_on_background_alone(judge: TemplateJudge) -> None:
    report = evaluate(Stub(lambda c, s, b, seed: DATA.render(c, s, (b + 1) % 10)), judge, SETTINGS)
    for split in ("seen", "held_out"):
        assert value(report, split, "background") == 0.0
        assert report.splits[split].metrics["background"]["drawn"].high < 0.5
        assert value(report, split, "object_top1") == value(report, split, "style") == 1.0
        for verdict in report.splits[split].verdicts:
            assert verdict.mistakes() == [f"background: {verdict.measured_background}"]
    # A copy on another background is still found out.
    assert value(report, "seen", "near_copy") == value(report, "seen", "nearest_is_asked") == 1.0


def test_a_generator_that_draws_another_artists_picture_is_found_out(judge: TemplateJudge) -> None:
    """It knows the object but cannot compose: for a held-out pair it copies a trained style."""

    def paint(c: int, s: int, b: int, seed: int) -> Tensor:
        style = next(i for i in range(4) if i != s and (c, i) not in HELD)
        return DATA.render(c, style, b)

    report = evaluate(Stub(paint), judge, SETTINGS)
    assert value(report, "held_out", "object_top1") == 1.0
    assert value(report, "held_out", "style") == 0.0
    assert value(report, "held_out", "near_copy") == 1.0
    assert value(report, "held_out", "nearest_other_style") == 1.0
    assert value(report, "held_out", "nearest_is_asked") == 0.0


def test_a_vae_sets_the_second_ceiling_and_the_scale_of_copies(judge: TemplateJudge) -> None:
    """A VAE that darkens: a copy of what it makes of a training picture is a copy too."""
    stub = Stub(lambda c, s, b, seed: DATA.render(c, s, b) * 0.8 - 0.1)
    stub.vae = SimpleNamespace(  # type: ignore[attr-defined]
        parameters=lambda: iter([torch.zeros(1)]),
        to_latents=lambda x: x * 0.8,
        to_pixels=lambda z: z - 0.1,
    )
    report = evaluate(stub, judge, SETTINGS)
    for columns in report.splits["seen"].metrics.values():
        if "round_trip" in columns:
            expected = pytest.approx(columns["round_trip"].value, rel=0.02, abs=1e-4)
            assert columns["drawn"].value == expected
    assert value(report, "seen", "nearest_rmse") > 0.1
    assert value(report, "seen", "near_copy") == 1.0
    assert "real, through VAE" in report.table()


# --- what is asked for -------------------------------------------------------------------------


def test_prompts_spread_over_concepts_styles_and_backgrounds() -> None:
    settings = Settings(pairs=20)
    pairs = [(c, s) for c in range(10) for s in range(4)]
    names = [f"thing {i}" for i in range(10)]
    prompts = choose_prompts(pairs, names, settings, "seen")
    assert len({p.text for p in prompts}) == 20
    assert sorted(p.concept for p in prompts) == sorted([*range(10)] * 2)
    assert len({(p.concept, p.style) for p in prompts}) == 20
    assert sorted(p.background for p in prompts) == sorted([*range(10)] * 2)
    assert prompts == choose_prompts(pairs, names, settings, "seen")
    other = dataclasses.replace(settings, seed=1)
    assert prompts != choose_prompts(pairs, names, other, "seen")
    # Few pairs come on several backgrounds, each at most once.
    few = choose_prompts(pairs[:3], names, settings, "held_out")
    assert len(few) == len({p.text for p in few}) == 20
    assert len(choose_prompts(pairs[:1], names, settings, "held_out")) == 10
    assert choose_prompts([], names, settings, "held_out") == []


def test_a_generator_that_knows_full_captions_only_is_found_out(judge: TemplateJudge) -> None:
    class Literal(Stub):
        def draw(self, prompts: Sequence[str], *, seed: Sequence[int], **settings: object):
            drawn = super().draw(prompts, seed=seed)
            for i, prompt in enumerate(prompts):
                if ", on a" not in prompt:  # not the wording of `full_caption`
                    drawn.pixels[i] = torch.randn(3, 64, 64)
            return drawn

    report = evaluate(Literal(lambda c, s, b, seed: DATA.render(c, s, b)), judge, SETTINGS)
    assert value(report, "seen", "object_top1") == 1.0
    assert value(report, "phrasings", "object_top1") < 0.5
    assert value(report, "phrasings", "object_top1", "real") == 1.0


def test_the_splits_are_the_datas(perfect: Report) -> None:
    held = {(DATA.concepts[c].name, STYLES[s]) for c, s in HELD}
    seen, unseen, reworded = (
        {(v.concept, v.style) for v in perfect.splits[name].verdicts} for name in perfect.splits
    )
    assert not seen & held and unseen <= held and reworded == seen
    texts = [{v.prompt for v in split.verdicts} for split in perfect.splits.values()]
    assert not texts[0] & texts[2], "the phrasings are others than those of training"
    assert unseen == {pair for pair in held if pair[0] in NAMES}
    assert perfect.splits["held_out"].pairs == len(unseen)
    assert perfect.splits["seen"].prompts == perfect.splits["seen"].pictures // 2 == 24


def test_the_same_evaluation_gives_the_same_report(judge: TemplateJudge, noise: Report) -> None:
    stub = Stub(
        lambda c, s, b, seed: torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(seed))
    )
    done: list[tuple[int, int]] = []
    other_batches = dataclasses.replace(SETTINGS, batch_size=50)
    again = evaluate(stub, judge, other_batches, lambda *progress: done.append(progress))
    assert again.to_dict()["splits"] == noise.to_dict()["splits"]
    assert done == [(50, 144), (100, 144), (144, 144)]
    assert len(set(stub.seeds)) == 144 and min(stub.seeds) == SETTINGS.seed
    # Each verdict names the seed that its picture was drawn with.
    verdict = again.splits["held_out"].verdicts[5]
    expected = stub.paint(0, 0, 0, verdict.seed).clamp(-1, 1)
    assert torch.equal(again.splits["held_out"].pixels[5], expected)


def test_what_cannot_be_evaluated_is_refused(judge: TemplateJudge) -> None:
    stub = Stub(lambda c, s, b, seed: torch.zeros(3, 64, 64))
    concepts = [SimpleNamespace(name=name) for name in ("cat face", "flying saucer of tea")]
    stub.vocabulary = SimpleNamespace(concepts=concepts, held_out=())  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="'flying saucer of tea'"):
        evaluate(stub, judge, SETTINGS)
    for name in ("pairs", "seeds", "batch_size"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            Settings(**{name: 0})


# --- what is shown -----------------------------------------------------------------------------


def test_report_as_json_and_as_table(perfect: Report) -> None:
    data = json.loads(perfect.to_json())
    metrics = data["splits"]["held_out"]["metrics"]
    assert set(metrics["style"]["drawn"]) == {"value", "low", "high"}
    assert data["judge"] == {"sha256": "", "pinned": False, "concepts": 8}
    table = perfect.table()
    assert "object, first of 8, %" in table and "Held-out pairs" in table
    line = next(x for x in table.splitlines() if x.strip().startswith("style, of 4"))
    assert line.count("100.0 [") == 2  # drawn and real
    assert max(map(len, table.splitlines())) <= 110
    broken = dataclasses.replace(perfect, settings={"guidance_scale": float("nan")})
    assert json.loads(broken.to_json())["settings"]["guidance_scale"] is None


def test_mistakes_are_named_in_words(noise: Report, perfect: Report, tmp_path: Path) -> None:
    from PIL import Image

    assert all(caption_lines(v)[2:] == ["ok"] for v in perfect.splits["seen"].verdicts)
    wrong = next(v for v in noise.splits["seen"].verdicts if len(v.mistakes()) == 3)
    assert caption_lines(wrong)[2] == f"X object: {wrong.objects[0]}"
    assert "most often missed" in noise.table() and "most often missed" not in perfect.table()
    save_grid(noise, tmp_path / "grid.png", columns=3, rows=2)
    with Image.open(tmp_path / "grid.png") as sheet:
        assert sheet.width > 3 * 192 and sheet.height > 4 * 192
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]


def test_concepts_without_held_out_pairs_are_noted(judge: TemplateJudge) -> None:
    stub = Stub(lambda c, s, b, seed: DATA.render(c, s, b))
    concepts = [SimpleNamespace(name=name) for name in NAMES]
    stub.vocabulary = SimpleNamespace(concepts=concepts, held_out=())  # type: ignore[attr-defined]
    report = evaluate(stub, judge, Settings(pairs=4, seeds=1))
    assert list(report.splits) == ["seen", "phrasings"] and "no held-out pairs" in report.table()
    assert "diversity" not in report.splits["seen"].metrics
    assert load_concepts("core")  # the names are those of the data
