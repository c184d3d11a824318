"""`course evaluate` on a pipeline and a judge with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from course_utils.cli import main


def course(*words: object) -> int:
    """Run `course evaluate ...`; returns the exit status."""
    return main(["evaluate", *map(str, words), "--quiet"])


@pytest.fixture
def model(tiny_folder: Path, tmp_path: Path) -> Path:
    """A pipeline folder that knows three concepts."""
    folder = shutil.copytree(tiny_folder, tmp_path / "tiny")
    path = folder / "concepts.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    known["concepts"] = [
        c for c in known["concepts"] if c["name"] in {"cat face", "rocket", "star"}
    ]
    path.write_text(json.dumps(known), encoding="utf-8")
    return folder


def test_it_prints_the_table_and_writes_the_files(
    model: Path, judge_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "evaluation.json"
    words = ("--model", model, "--judge", judge_folder, "--pairs", 3, "--seeds", 2, "--steps", 2)
    assert course(*words, "--json", out, "--grid", tmp_path / "grid.png") == 0
    shown = capsys.readouterr()
    assert "tiny: 2 steps of" in shown.out and "not the pinned one" in shown.out
    assert "real, through VAE" in shown.out and str(out) in shown.out
    data = json.loads(out.read_text(encoding="utf-8"))
    assert data["settings"]["num_steps"] == 2 and data["splits"]["seen"]["pictures"] == 6
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    assert list(out.parent.iterdir()) == [out]
    first = out.read_bytes()
    assert course(*words, "--json", out, "--batch", 4) == 0
    again = json.loads(out.read_text(encoding="utf-8"))
    pairs = zip(
        again["splits"]["seen"]["verdicts"],
        json.loads(first)["splits"]["seen"]["verdicts"],
        strict=True,
    )
    for a, b in pairs:  # another batch size adds up in another order
        assert a.pop("nearest_rmse") == pytest.approx(b.pop("nearest_rmse"), abs=1e-4)
        assert a == b


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pairs", "0"), "--pairs is 0"),
        (("--seeds", "-1"), "--seeds is -1"),
        (("--grid", "grid.jpg"), "ends in .png"),
        (("--json", "."), "cannot be written"),
        (("--steps", "10000"), "--steps is 10000"),
        (("--guidance", "nan"), "--guidance"),
        (("--sampler", "dimm"), "did you mean ddim"),
        (("--model", "nothing-here"), "There is no model"),
        (("--judge", "nothing-here"), "has no concepts.json"),
    ],
)
def test_bad_input_is_one_sentence(
    words: tuple[str, ...],
    message: str,
    model: Path,
    judge_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    assert course("--model", model, "--judge", judge_folder, *words) == 1
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.startswith("course evaluate: ")
    assert shown.err.count("\n") == 1 and not shown.out
    assert set(tmp_path.rglob("*")) == before


def test_control_c_leaves_nothing(
    model: Path,
    judge_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from course_utils.pipeline import Pipeline

    def stop(*args: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "draw", stop)
    monkeypatch.chdir(tmp_path)
    assert course("--model", model, "--judge", judge_folder) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "evaluation.json").exists()
