"""What was measured is kept while the weights stay, and points follow the bands of today."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course_utils.challenges import calibrate
from course_utils.challenges.declare import (
    NAMES,
    Band,
    Challenge,
    Measurement,
    Part,
    find_challenge,
)

PART = Part(
    id="a",
    title="a number",
    function="answer",
    inputs=lambda random: [{"x": np.zeros(1)}],
    measure=lambda inputs, outputs: Measurement(outputs[0]),
    bands=(Band(2, 3), Band(1, 1)),
    quantity="number",
    better="more",
)
CHALLENGE = Challenge(
    "01", "Test", ("answer",), (PART,), pass_points=3, setup="", rests_on=("net",)
)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Calibrate on so many seeds with weights in a folder; what was called, in words."""
    calls: list[str] = []

    def known(name: str, value: float) -> dict[str, Any]:
        return {"answer": lambda x, **hidden: calls.append(name) or value}

    both = {"good": known("good", 2.0), "naive": known("naive", 1.0)}
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "model.safetensors").write_bytes(b"first")
    monkeypatch.setattr(calibrate, "WEIGHTS", tmp_path)
    monkeypatch.setattr(calibrate, "contestants", lambda challenge: both)

    def run(seeds: int) -> list[str]:
        calls.clear()
        calibrate.calibrate(CHALLENGE, seeds, tmp_path / "calibration.json")
        return list(calls)

    return run


def test_it_goes_on_while_the_weights_stay_and_starts_anew_with_others(
    measured: Callable[[int], list[str]], tmp_path: Path
) -> None:
    assert measured(2) == ["good", "naive", "good", "naive"]
    assert measured(3) == ["good", "naive"]
    (tmp_path / "net" / "model.safetensors").write_bytes(b"second")
    assert measured(1) == ["good", "naive"]
    kept = json.loads((tmp_path / "calibration.json").read_text())
    assert {name: list(runs) for name, runs in kept["runs"].items()} == {
        "good": ["0"],
        "naive": ["0"],
    }
    assert measured(1) == []
    del kept["weights"]  # as it was before weights were recorded
    (tmp_path / "calibration.json").write_text(json.dumps(kept))
    assert measured(1) == ["good", "naive"]


def test_points_follow_the_bands_of_today(
    measured: Callable[[int], list[str]], tmp_path: Path
) -> None:
    measured(2)
    runs = json.loads((tmp_path / "calibration.json").read_text())["runs"]
    assert "| good | 2 | 2 (2 to 2) | 3.00 (3.00 to 3.00) | 2 of 2" in calibrate.table(
        CHALLENGE, runs
    )
    harder = replace(CHALLENGE, parts=(replace(PART, bands=(Band(2.5, 3), Band(1.5, 2))),))
    rows = calibrate.table(harder, runs)
    assert "2.00 (2.00 to 2.00) | 0 of 2" in rows and "0.00 (0.00 to 0.00) | 0 of 2" in rows
    one = {"good": {"0": runs["good"]["0"]}}
    assert "| good | 1 | 2 | 3.00 | 1 of 1" in calibrate.table(CHALLENGE, one), "no interval of one"
    refused = {"good": {"0": {**runs["good"]["0"], "values": {"a": None}}}}
    assert "| refused | 0.00" in calibrate.table(CHALLENGE, refused)


def test_a_contestant_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no contestant 'referee' in 01_noise_to_order: noise"):
        calibrate.calibrate(find_challenge("01"), 1, tmp_path / "calibration.json", ["referee"])


def shipped(number: str) -> tuple[Challenge, Path, dict[str, Any]]:
    challenge = find_challenge(number)
    folder = calibrate.ROOT / "challenges" / challenge.name
    return challenge, folder, json.loads((folder / "calibration.json").read_text())


@pytest.mark.parametrize("number", NAMES)
def test_the_pass_mark_is_in_reach_of_the_reference_alone(number: str) -> None:
    challenge, _, kept = shipped(number)
    runs = kept["runs"]

    def passed(name: str) -> int:
        scores = [calibrate.points_of(challenge, run) for run in runs[name].values()]
        return sum(score >= challenge.pass_points for score in scores)

    (reference,) = (name for name in runs if name.partition(":")[0] == "reference")
    assert len(runs[reference]) >= 100 and passed(reference) >= 0.99 * len(runs[reference])
    weak = [name for name in runs if name.startswith(("noise", "naive", "unguided"))]
    for kind in ("noise", "naive"):
        assert max(len(runs[name]) for name in weak if name.startswith(kind)) >= 40
    for name in weak:
        assert passed(name) == 0, name


@pytest.mark.parametrize("number", NAMES)
def test_the_shipped_table_is_that_of_the_shipped_runs(number: str) -> None:
    challenge, folder, kept = shipped(number)
    assert kept.get("weights", "") == calibrate.weights_sha256(challenge)
    assert set(kept["runs"]) == set(calibrate.contestants(challenge))
    assert (folder / "calibration.md").read_text() == calibrate.table(challenge, kept["runs"])


@pytest.mark.parametrize("number", NAMES)
def test_every_folder_that_a_challenge_rests_on_is_there(number: str) -> None:
    for folder in find_challenge(number).rests_on:
        assert list((calibrate.WEIGHTS / folder).rglob("*.safetensors"))


@pytest.mark.parametrize(("successes", "count"), [(0, 40), (1, 40), (20, 40), (40, 40), (3, 7)])
def test_intervals_of_shares_are_those_of_the_beta_distribution(successes: int, count: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    low = stats.beta.ppf(0.025, successes, count - successes + 1) if successes else 0.0
    high = stats.beta.ppf(0.975, successes + 1, count - successes) if successes < count else 1.0
    assert calibrate.share_interval(successes, count) == pytest.approx((low, high), abs=1e-9)


def test_calibration_needs_nothing_that_learners_lack() -> None:
    """Packages that only tests are given, such as scipy, are not there."""
    code = (
        "import sys\nsys.modules['scipy'] = None\n"
        "from course_utils.challenges import calibrate\n"
        "print(calibrate.interval([1.0, 2.0, 4.0]), calibrate.share_interval(2, 3))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
