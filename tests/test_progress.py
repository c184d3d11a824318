"""Progress: states follow from events, and no accident with the file stops a lesson."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from course_utils import cli, lessons
from course_utils.checks import exercises, panel
from course_utils.lessons import find_lesson
from course_utils.progress import Progress, Standing, next_exercise, standing, standings

NOW = {"01.a": "v1"}


def states(progress: Progress, current: dict[str, str] = NOW) -> dict[str, str]:
    return {id: entry.state for id, entry in progress.entries(current).items()}


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "open"),
        (["open", "wrong", "hint"], "open"),
        (["wrong", "passed"], "done"),
        (["passed", "wrong"], "done"),
        (["passed", "shown"], "done"),
        (["shown"], "shown"),
        (["shown", "passed"], "shown"),
    ],
)
def test_states_follow_from_events(tmp_path: Path, events: list[str], state: str) -> None:
    progress = Progress(tmp_path / "p.sqlite")
    for event in events:
        assert progress.record("01.a", event, "v1")
    assert states(Progress(tmp_path / "p.sqlite"))["01.a"] == state


def test_a_changed_exercise_is_stale_until_it_is_solved_again(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "p.sqlite")
    progress.record("01.a", "passed", "v1")
    assert states(progress, {"01.a": "v2"})["01.a"] == "stale"
    progress.record("01.a", "passed", "v2")
    assert states(progress, {"01.a": "v2"})["01.a"] == "done"


def test_tries_and_hints_are_counted(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "p.sqlite")
    for event in ("wrong", "hint", "wrong", "hint", "passed", "open"):
        progress.record("01.a", event, "v1")
    entry = progress.entries(NOW)["01.a"]
    assert (entry.tries, entry.hints) == (3, 2) and entry.at.endswith("+00:00")


def test_an_unknown_event_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'solved'; expected one of passed"):
        Progress(tmp_path / "p.sqlite").record("01.a", "solved")


def test_reading_makes_no_file(tmp_path: Path) -> None:
    assert states(Progress(tmp_path / "none" / "p.sqlite")) == {"01.a": "open"}
    assert not (tmp_path / "none").exists()


def test_nothing_is_kept_when_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    assert Progress.default().path is None
    assert Progress.default().record("01.a", "passed") is False


def test_the_user_s_folder_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COURSE_PROGRESS")
    path = Progress.default().path
    assert path is not None and path.parent.name == "sculpting-noise"


def test_a_folder_that_cannot_be_written_warns_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    progress = Progress(tmp_path / "file" / "p.sqlite")
    with pytest.warns(UserWarning, match="can't be kept") as caught:
        assert progress.record("01.a", "passed") is False
        assert progress.record("01.a", "passed") is False
    assert len(caught) == 1


def test_a_locked_file_does_not_stop_a_lesson(tmp_path: Path) -> None:
    path = tmp_path / "p.sqlite"
    Progress(path).record("01.a", "passed", "v1")
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.warns(UserWarning, match="locked"):
        assert Progress(path).record("01.a", "wrong", "v1") is False
    other.rollback()
    other.close()
    assert states(Progress(path))["01.a"] == "done"


def test_a_damaged_file_is_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "p.sqlite"
    path.write_bytes(b"this is no database, and it is long enough to be taken for one" * 40)
    with pytest.warns(UserWarning, match="a new one was begun"):
        assert Progress(path).record("01.a", "passed", "v1")
    assert states(Progress(path))["01.a"] == "done"
    assert [p for p in tmp_path.iterdir() if "damaged" in p.name]


def write_for_ever(path: str) -> None:
    progress = Progress(path)
    while True:
        progress.record("01.a", "passed", "v1")


@pytest.mark.skipif(sys.platform == "win32", reason="kills with SIGKILL")
def test_a_kernel_killed_while_it_writes_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "p.sqlite"
    for pause in (0.02, 0.05, 0.1):
        process = multiprocessing.get_context("fork").Process(
            target=write_for_ever, args=(str(path),)
        )
        process.start()
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(pause)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        progress = Progress(path)
        assert progress.record("01.a", "passed", "v1")
        assert states(progress)["01.a"] == "done"
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- lessons and commands ------------------------------------------------------------------------


def lesson_01(progress: Progress) -> Standing:
    return standing(find_lesson("01"), exercises("01"), progress)


def test_the_panel_says_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "p.sqlite"))
    progress = Progress.default()
    before = lesson_01(progress)
    assert before.minutes_left >= sum(e.minutes for e in before.exercises) > 0
    first = before.exercises[0]
    progress.record(first.id, "passed", first.fingerprint)
    after = lesson_01(progress)
    assert first not in after.open and after.minutes_left < before.minutes_left
    text = str(panel("01"))
    assert f"1 of {len(after.exercises)} exercises" in text
    assert not after.open or f"Next: {after.open[0].name}" in text


def test_next_names_the_first_open_exercise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "p.sqlite"))
    progress = Progress.default()
    seen = []
    while (following := next_exercise(standings(exercises, progress))) is not None:
        _, exercise = following
        seen.append(exercise.id)
        progress.record(exercise.id, "passed", exercise.fingerprint)
    assert seen == sorted(seen, key=lambda id: id[:2]) and len(seen) == len(set(seen)) > 4
    assert cli.main(["progress", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert all(e["state"] == "done" for row in table["lessons"] for e in row["exercises"].values())
    assert table["challenges"] and not any(row["passed"] for row in table["challenges"])
    for row in table["challenges"]:  # challenges come after the lessons, in their order
        assert cli.main(["next"]) == 0
        assert f"challenges/{row['name']}.ipynb" in capsys.readouterr().out
        progress.record(f"challenge.{row['number']}", "passed", "8/10")
    assert cli.main(["next"]) == 0
    assert "Everything that is written is done" in capsys.readouterr().out


def test_challenges_are_shown_with_their_best_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "p.sqlite"))
    progress = Progress.default()
    for event, points in (("wrong", "4/10"), ("passed", "9/10"), ("wrong", "6.5/10")):
        progress.record("challenge.01", event, points)
    progress.record("challenge.02", "wrong", "3/10")
    assert cli.main(["progress"]) == 0
    out = capsys.readouterr().out
    assert "[x] 01 Noise to order" in out and "passed, 9 of 10 points at best, 3 tries" in out
    assert "[~] 02 Denoise on a budget" in out and "not passed yet, 3 of 10" in out
    assert "[ ] 03 Teach it to read" in out and "Challenges: 1 of " in out


def test_progress_of_one_lesson(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "p.sqlite"))
    assert cli.main(["progress", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("01 Forward noising: 0 of") and "Next:" in out
    assert cli.main(["progress", "99"]) == 1
    assert "expected a number from 00 to 12" in capsys.readouterr().err


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the solutions and nothing else."""
    (tmp_path / "solutions").symlink_to(lessons.ROOT / "solutions")
    monkeypatch.setattr(lessons, "ROOT", tmp_path)
    return tmp_path


def test_reset_keeps_the_old_file_beside_the_fresh_one(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["reset", "0"]) == 0
    fresh = copy / "notebooks" / "00_start_here.ipynb"
    original = fresh.read_bytes()
    assert original == (Path(__file__).parents[1] / "notebooks" / fresh.name).read_bytes()
    mine = original.replace(b"my_prompts = []", b'my_prompts = ["mine"]')
    fresh.write_bytes(mine)
    assert cli.main(["reset", "00"]) == 0
    assert "is kept as" in capsys.readouterr().out
    others = [p for p in fresh.parent.iterdir() if p != fresh]
    assert fresh.read_bytes() == original and [p.read_bytes() for p in others] == [mine]
    assert cli.main(["reset", "00"]) == 0  # already fresh: nothing to keep
    assert len(list(fresh.parent.iterdir())) == 2


def test_a_challenge_is_reset_by_its_name(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reset", "challenges/04_squeeze.ipynb"]) == 0
    fresh = copy / "challenges" / "04_squeeze.ipynb"
    assert (
        fresh.read_bytes() == (Path(__file__).parents[1] / "challenges" / fresh.name).read_bytes()
    )
    fresh.write_text("mine")
    assert cli.main(["reset", "04_squeeze"]) == 0
    assert "is kept as" in capsys.readouterr().out
    assert sorted(p.read_text() == "mine" for p in fresh.parent.iterdir()) == [False, True]


def test_a_lesson_that_is_not_there_cannot_be_reset(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["reset", "12"]) == 1
    assert "12_frontier.ipynb is missing" in capsys.readouterr().err
