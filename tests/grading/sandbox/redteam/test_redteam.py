"""Every attack ends in the right verdict and in bounded time, with the rest of the batch graded.

Attacks and honest controls are mixed, and graded as a class is: by `grade_cohort`, in sandboxes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from attacks import ATTACKS, Attack
from controls import CONTROLS, DAMAGED, HONEST_CONTROL, NOTEBOOK, Handed, answered
from tiny_challenge import declared, grade_tiny

from course_utils.grading.answers.memory import descendants
from course_utils.grading.cohort.attempts import FAULT, Attempt
from course_utils.grading.cohort.gradebook import Gradebook
from course_utils.grading.cohort.run import GradingSettings, Tally, grade_cohort, secret_of
from course_utils.grading.cohort.submissions import Submission

ROOT = Path(__file__).resolve().parents[4]
SLACK = 40.0  # seconds, for a machine that has other things to do
WHEN = datetime(2026, 3, 2, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Graded:
    """What came of all that was handed in."""

    attempts: Mapping[str, Attempt]
    tally: Tally
    folder: Path
    left: frozenset[int]
    canary: bytes


def handed_in(words: Mapping[str, str]) -> list[Submission]:
    """All attacks and controls, mixed in the same way each time."""
    found = []
    for attack in ATTACKS:
        cells = dict(attack.cells)
        for id, text in cells.items():
            for word, value in words.items():
                text = text.replace(f"${word}", value)
            cells[id] = text
        data = answered(cells, attack.challenge)
        found.append(Submission(attack.name, attack.challenge, attack.name, data, WHEN))
    for each in (*DAMAGED, *CONTROLS):
        found.append(Submission(each.name, each.challenge, each.name, each.make(), WHEN))
    Random(6).shuffle(found)
    return found


@pytest.fixture(scope="module")
def graded(sandboxed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graded]:
    folder = tmp_path_factory.mktemp("redteam")
    results, submissions = folder / "results", folder / "submissions"
    submissions.mkdir()
    canary = folder / "canary"
    canary.write_text("untouched")
    os.environ["COURSE_RED_TEAM"] = word = "a-word-in-the-environment"
    abstract = f"course red team {os.getpid()}"
    attempts: dict[str, Attempt] = {}
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as unix,
        declared(),
        Gradebook(results / "gradebook.sqlite") as book,
    ):
        unix.bind(f"\0{abstract}")
        unix.listen()
        words = {
            "ROOT": str(ROOT),
            "RESULTS": str(results),
            "SUBMISSIONS": str(submissions),
            "CANARY": str(canary),
            "WORD": word,
            "PORT": str(server.getsockname()[1]),
            "ABSTRACT": abstract,
            "PID": str(os.getpid()),
            "UID": str(os.getuid()),
        }
        before = set(descendants(os.getpid()))
        tally = grade_cohort(
            handed_in(words),
            book,
            GradingSettings(secret_of(results), jobs=2),
            lambda attempt: attempts.update({attempt.student: attempt}),
            grade_tiny,
        )
        kept = {attempt.student: attempt for attempt in book.attempts()}
    del os.environ["COURSE_RED_TEAM"]
    assert kept == attempts
    time.sleep(0.5)
    left = frozenset(set(descendants(os.getpid())) - before - trackers())
    yield Graded(attempts, tally, folder, left, canary.read_bytes())


def trackers() -> set[int]:
    """Processes that Python itself starts beside a pool, and keeps."""
    found = set()
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def message_of(attempt: Attempt) -> str:
    texts = [attempt.message]
    for part in attempt.parts:
        texts += [part.message, part.advice, *part.notes]
    return " ".join(texts)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_gains_nothing(attack: Attack, graded: Graded) -> None:
    attempt = graded.attempts[attack.name]
    said = message_of(attempt)
    assert "GOT THROUGH" not in said, said
    assert attempt.verdict in attack.verdicts, (attempt.verdict, said, attempt.record)
    assert attempt.points is not None and attempt.points <= attack.points
    assert not attempt.passed and attempt.sandboxed
    assert attack.words in said, said
    assert attempt.record["seconds"] < attack.seconds + SLACK


@pytest.mark.parametrize("case", DAMAGED, ids=lambda case: case.name)
def test_a_damaged_notebook_gets_a_sentence(case: Handed, graded: Graded) -> None:
    attempt = graded.attempts[case.name]
    assert (attempt.verdict, attempt.points) == (case.verdict, 0), attempt
    assert len(attempt.message) < 600 and "Traceback" not in attempt.message


@pytest.mark.parametrize("case", CONTROLS, ids=lambda case: case.name)
def test_an_honest_answer_gets_full_marks(case: Handed, graded: Graded) -> None:
    attempt = graded.attempts[case.name]
    assert (attempt.verdict, attempt.points) == (case.verdict, case.points), attempt
    assert attempt.passed and attempt.points == attempt.most


def test_the_whole_batch_is_graded(graded: Graded) -> None:
    names = [each.name for each in (*ATTACKS, *DAMAGED, *CONTROLS)]
    assert len(names) == len(set(names)) == sum(graded.tally.graded.values())
    assert len(ATTACKS) >= 45 and FAULT not in graded.tally.graded


def test_nothing_outside_was_touched(graded: Graded) -> None:
    assert graded.canary == b"untouched"
    assert list((graded.folder / "submissions").iterdir()) == []
    names = {path.name for path in (graded.folder / "results").iterdir()}
    assert names <= {"secret", "gradebook.sqlite", "gradebook.sqlite-wal", "gradebook.sqlite-shm"}
    changed = subprocess.run(
        ["find", str(ROOT), "-name", "evil*", "-o", "-name", "written"], capture_output=True
    )
    assert changed.stdout == b""


def test_nothing_is_left_running(graded: Graded) -> None:
    assert not graded.left


def table(graded: Graded) -> str:
    """All that was handed in, as Markdown: family, name, verdict, seconds."""
    families = {attack.name: attack.family for attack in ATTACKS}
    families |= {case.name: NOTEBOOK for case in DAMAGED}
    lines = ["| family | what was handed in | verdict | seconds |", "|---|---|---|---|"]
    for name, family in (families | {case.name: HONEST_CONTROL for case in CONTROLS}).items():
        found = graded.attempts[name]
        lines.append(f"| {family} | {name} | {found.verdict} | {found.record['seconds']:.1f} |")
    return "\n".join(lines) + "\n"


def test_the_table_has_a_line_for_each(graded: Graded) -> None:
    """COURSE_ATTACK_TABLE names a file to write it to."""
    text = table(graded)
    assert text.count("\n") == 2 + len(graded.attempts)
    if path := os.environ.get("COURSE_ATTACK_TABLE"):
        Path(path).write_text(text)
