"""The sweep over guidance scales: its numbers, its file, and what is read off it."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from course_utils.checks.claims_08 import best_scale, follows_half, oversaturates
from course_utils.evaluation import Estimate, Judge
from course_utils.evaluation.judge import JUDGE_SHA256
from course_utils.evaluation.sweep import SweepBench, main, pipeline_draw, sweep, weights_sha256
from course_utils.evaluation.sweep_results import (
    FILE,
    VARIANTS,
    Line,
    Point,
    Sweep,
    SweepSettings,
    pareto_front,
)
from course_utils.models.base import WeightsError
from course_utils.pipeline import Pipeline
from course_utils.vocabulary import Concept

TINY = SweepSettings(
    scales=(0, 1, 4), variants=("plain", "interval"), prompts=3, seeds=2, num_steps=4, batch_size=4
)


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Pipeline:
    """A pipeline with random weights that knows three concepts of the data."""
    pipeline = Pipeline.load(tiny_folder, device="cpu")
    assert pipeline.vocabulary is not None
    names = ("cat face", "rocket", "star")
    vocabulary = dataclasses.replace(
        pipeline.vocabulary, concepts=tuple(Concept(n) for n in names), held_out=()
    )
    pipeline.vocabulary = vocabulary
    return pipeline


@pytest.fixture(scope="module")
def judge(make_judge: Any, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge.load(make_judge(tmp_path_factory.mktemp("judge")), sha256=None)


@pytest.fixture(scope="module")
def found(model: Pipeline, judge: Judge) -> Sweep:
    return sweep(model, judge, TINY)


def measured(values: dict[str, list[tuple[float, float, float]]], scales: list[float]) -> Sweep:
    """A sweep with given numbers."""
    points = [
        Point("plain", scale, {name: Estimate(*row[i]) for name, row in values.items()})
        for i, scale in enumerate(scales)
    ]
    settings = SweepSettings(scales=tuple(scales), variants=("plain",))
    return Sweep(settings, "m", "j", tuple(points))


# --- making one ----------------------------------------------------------------------------------


def test_every_scale_and_variant_is_measured(found: Sweep) -> None:
    assert [(p.variant, p.scale) for p in found.points] == [
        (name, scale) for name in ("plain", "interval") for scale in (0.0, 1.0, 4.0)
    ]
    for point in found.points:
        shares = [point.metrics[name].value for name in ("object", "style", "background")]
        assert point.metrics["alignment"].value == pytest.approx(sum(shares) / 3, abs=1e-6)
        for name in ("probability", "saturation", "clipped"):
            assert 0 <= point.metrics[name].value <= 1
        assert point.metrics["diversity"].value >= 0
    assert set(found.references) == {"real", "round_trip"}
    assert found.references["real"]["saturation_excess"].value == 0
    assert found.judge_sha256 and found.model_sha256


def test_scale_1_is_the_same_for_every_variant(found: Sweep) -> None:
    plain, inside = (found.line("saturation", name).values[1] for name in ("plain", "interval"))
    assert plain == inside
    assert found.line("saturation").values[2] != found.line("saturation", "interval").values[2]


def test_excess_is_drawn_minus_real(found: Sweep) -> None:
    real = found.references["real"]["saturation"].value
    for drawn, more in zip(
        found.line("saturation").values, found.line("saturation_excess").values, strict=True
    ):
        assert more == pytest.approx(drawn - real, abs=1e-5)


def test_it_goes_on_where_it_stopped(model: Pipeline, judge: Judge, found: Sweep) -> None:
    half = dataclasses.replace(found, points=found.points[:3])
    asked: list[float] = []
    course = pipeline_draw(model, TINY)

    def draw(prompts: Any, seeds: Any, scale: float, variant: Any) -> Tensor:
        asked.append(scale)
        return course(prompts, seeds, scale, variant)

    again = sweep(model, judge, TINY, draw=draw, start=half)
    assert sorted(set(asked)) == [0.0, 1.0, 4.0] and len(asked) == 6  # two batches each
    assert again.points == found.points
    for other in (
        dataclasses.replace(half, settings=dataclasses.replace(TINY, seed=1)),
        dataclasses.replace(half, judge_sha256="another"),
    ):
        with pytest.raises(ValueError, match="start was made with"):
            sweep(model, judge, TINY, start=other)


def test_pipeline_draw_is_pipeline_draw(model: Pipeline) -> None:
    prompts, seeds = ["a rocket", "a star"], [3, 8]
    for scale in (0.0, 1.0, 5.0):
        ours = pipeline_draw(model, TINY)(prompts, seeds, scale, VARIANTS["rescale"])
        theirs = model.draw(
            prompts, guidance_scale=scale, guidance_rescale=0.7, num_steps=4, seed=seeds
        )
        torch.testing.assert_close(ours.clamp(-1, 1), theirs.pixels.clamp(-1, 1))


def test_the_concepts_come_from_a_subset_of_the_data(model: Pipeline, judge: Judge) -> None:
    assert model.vocabulary is not None
    names = ("cat face", "rocket", "star", "grinning face")  # the last one is not in `core`
    judge = Judge(judge.clip, judge.tokenizer, (*judge.concepts, "grinning face"))
    vocabulary = dataclasses.replace(model.vocabulary, concepts=tuple(map(Concept, names)))
    more = dataclasses.replace(model, vocabulary=vocabulary)

    def asked(subset: str | None) -> set[str]:
        settings = dataclasses.replace(TINY, subset=subset, prompts=24)
        bench = SweepBench(more, judge, settings)
        assert set(bench.scene.names) == set(bench.scene.judge.concepts)
        return {bench.scene.names[prompt.concept] for prompt in bench.prompts}

    assert asked("everyday") == asked(None) == set(names)
    assert asked("core") == set(names) - {"grinning face"}
    alone = dataclasses.replace(vocabulary, concepts=(Concept("grinning face"),))
    with pytest.raises(ValueError, match="subset is 'core', of which the model knows no"):
        sweep(dataclasses.replace(model, vocabulary=alone), judge, TINY)


# --- the file ------------------------------------------------------------------------------------


def test_json_and_back(found: Sweep, tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(found.to_json(), encoding="utf-8")
    again = Sweep.load(path)
    assert again.settings == found.settings and again.model_sha256 == found.model_sha256
    for metric in found.points[0].metrics:
        for a, b in zip(found.line(metric).values, again.line(metric).values, strict=True):
            assert b == pytest.approx(a, abs=1e-6) or (math.isnan(a) and math.isnan(b))
    assert json.loads(found.to_json())["size"] == TINY.size


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"settings": {"scales": []}}', "nonsense"])
def test_a_damaged_file_is_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    with pytest.raises(WeightsError, match="There is no sweep"):
        Sweep.load(path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match="is not a sweep"):
        Sweep.load(path)


def test_the_shipped_file_says_what_it_is() -> None:
    shipped = Sweep.load()
    data = json.loads(FILE.read_text(encoding="utf-8"))
    assert data["size"] == shipped.settings.size
    assert "course_utils.evaluation.sweep" in data["made"]["command"]
    assert len(shipped.points) == len(shipped.settings.scales) * len(shipped.settings.variants)
    assert shipped.settings.subset == "core" and "concepts of core" in shipped.settings.size
    here = Sweep(shipped.settings, weights_sha256("emoji-64"), JUDGE_SHA256)
    again = "make it anew: python -m course_utils.evaluation.sweep --new --seeds 2 --out FILE"
    assert not shipped.made_with_other_weights(here), again
    assert shipped.settings.scales[0] == 0 and shipped.settings.scales[-1] == 20
    assert 1.0 in shipped.settings.scales
    for name in shipped.settings.variants:
        for test in (follows_half, best_scale, oversaturates):
            assert test(shipped, name).because
    assert len(FILE.read_bytes()) < 200_000


def test_the_hash_of_a_model_ignores_line_ends(tiny_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_folder, tmp_path / "copy")
    assert weights_sha256(str(copy)) == weights_sha256(str(tiny_folder))
    words = copy / "concepts.json"
    words.write_bytes(words.read_bytes().replace(b"\n", b"\r\n"))
    assert weights_sha256(str(copy)) == weights_sha256(str(tiny_folder))
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"x")
    assert weights_sha256(str(copy)) != weights_sha256(str(tiny_folder))
    assert weights_sha256("no such model") == ""


def test_the_command(
    model: Pipeline, judge_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = model.save(tmp_path / "model", torch.float32), tmp_path / "sweep.json"
    words = ["--out", str(out), "--model", str(folder), "--judge", str(judge_folder)]
    words += ["--prompts", "3", "--seeds", "2", "--steps", "1", "--variants", "plain", "--scales"]
    assert main([*words, "0", "2"]) == 0
    assert "2/2 plain 2: alignment" in capsys.readouterr().out
    data = json.loads(out.read_text(encoding="utf-8"))
    assert data["made"]["judge_pinned"] is False
    assert "--out sweep.json --model" in data["made"]["command"]
    assert main([*words, "0", "2"]) == 0  # finished already
    assert not capsys.readouterr().out
    assert main([*words, "0", "3"]) == 1
    assert "start was made with other settings" in capsys.readouterr().err
    assert main([*words, "2", "0"]) == 1
    assert "scales is (2.0, 0.0); expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scales": ()}, "scales is"),
        ({"scales": (1, 1)}, "rising"),
        ({"scales": (-1,)}, "guidance_scale is -1"),
        ({"variants": ("loud",)}, "variants is"),
        ({"seeds": 1}, "seeds is 1; expected at least 2"),
        ({"prompts": 2}, "prompts is 2; expected at least 3"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SweepSettings(**settings)


# --- reading it ----------------------------------------------------------------------------------


def test_a_line_between_its_points() -> None:
    line = Line((0.0, 2.0, 10.0), (0.0, 1.0, 0.5), (0.0,) * 3, (1.0,) * 3)
    assert [line.at(x) for x in (0, 1, 2, 6, 10)] == [0.0, 0.5, 1.0, 0.75, 0.5]
    for beyond in (-0.1, 10.5):
        with pytest.raises(ValueError, match="expected 0 to 10"):
            line.at(beyond)


def test_an_unknown_metric_names_the_known_ones(found: Sweep) -> None:
    with pytest.raises(ValueError, match=r"'beauty' of .* was not measured.*alignment"):
        found.line("beauty")


def test_pareto_front() -> None:
    costs, gains = [1.0, 2.0, 2.0, 3.0, 1.0], [1.0, 3.0, 2.0, 3.0, 1.0]
    assert pareto_front(costs, gains) == [True, True, False, False, True]
    assert pareto_front([], []) == []


def sure(*values: float, by: float = 0.01) -> list[tuple[float, float, float]]:
    return [(value, value - by, value + by) for value in values]


def test_a_model_to_which_the_popular_rule_fits() -> None:
    scales = [0.0, 1.0, 2.0, 7.0, 9.0, 16.0, 20.0]
    fits = measured(
        {
            "alignment": sure(0.1, 0.2, 0.3, 0.895, 0.9, 0.9, 0.9),
            "frechet": sure(9, 8, 5, 3, 2, 5, 7),
            "saturation_excess": sure(-0.1, -0.1, -0.1, -0.05, 0.0, 0.1, 0.2),
            "clipped_excess": sure(-0.1, -0.1, -0.1, -0.05, -0.02, 0.0, 0.0),
        },
        scales,
    )
    assert all(test(fits).holds for test in (follows_half, best_scale, oversaturates))
    assert "first at 16" in oversaturates(fits).because


def test_a_model_to_which_it_does_not() -> None:
    scales = [0.0, 1.0, 2.0, 7.0, 9.0, 16.0, 20.0]
    other = measured(
        {
            "alignment": sure(0.1, 0.8, 0.9, 0.9, 0.8, 0.6, 0.5),
            "frechet": sure(9, 3, 2, 3, 4, 5, 7),
            "saturation_excess": sure(-0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
            "clipped_excess": sure(-0.1, 0.0, 0.02, 0.05, 0.1, 0.1, 0.2),
        },
        scales,
    )
    assert not any(test(other).holds for test in (follows_half, best_scale, oversaturates))
    assert "88% of the way is done at 1, at most 100%" in follows_half(other).because
    assert "from scale 2 on" in best_scale(other).because
    assert "nearest to the data at 2" in best_scale(other).because
    assert "surely more first at 2" in oversaturates(other).because
