"""Grades one submission: the trusted side, in a process that learners' code never enters."""

from __future__ import annotations

import functools
import hashlib
import hmac
import importlib
import json
import platform
import site
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from course_utils.challenges.declare import Challenge, find_challenge
from course_utils.challenges.names import NAMES
from course_utils.grading.answers.notebooks import (
    MOST_BYTES,
    NotebookError,
    answers_of,
    parse_notebook,
)
from course_utils.grading.answers.process import OtherProcess
from course_utils.grading.answers.verify import Result, verify
from course_utils.grading.cohort.attempts import FAULT, Attempt, PartRecord
from course_utils.grading.sandbox.bubblewrap import PACKAGE, Sandbox

WEIGHTS = PACKAGE / "weights"
NO_PART_OF_A_GRADE = (
    "bench",
    "checks",
    "commands",
    "grading/reports",
    "plots",
    "training",
    "widgets",
)
"""Folders of the package that no grade depends on. All others count, also those that come later."""
MOST_SECONDS = 1800.0  # of one submission, whatever its parts may take
FAULT_MESSAGE = (
    "The grader failed, and not your answer. It costs you nothing; it will be graded again."
)
# What a whole attempt is called, where no part decides: the first of these that a part has.
WORST_FIRST = ("refused", "out of time", "timeout", "memory", "killed", "error", "wrong")


@dataclass(frozen=True)
class Job:
    """One submission to grade; goes to another process or machine as it is.

    Attributes:
        student: whose.
        challenge: its number.
        data: the notebook's bytes.
        submitted: when, ISO 8601.
        secret: of the course; the inputs are derived from it.
        sandboxed: False only for `--unsafe-no-sandbox`.
        threads: of torch in the sandbox.
    """

    student: str
    challenge: str
    data: bytes
    submitted: str
    secret: bytes
    sandboxed: bool = True
    threads: int = 1

    @property
    def submission(self) -> str:
        """SHA-256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def seed(self) -> str:
        """New for each submission, and the same whenever it is graded again with this secret."""
        words = f"{self.challenge}\x1f{self.submission}".encode()
        return hmac.new(self.secret, words, hashlib.sha256).hexdigest()[:32]


def grade(job: Job) -> Attempt:
    """Grade one submission; whatever goes wrong on our side is a grader fault, never a zero."""
    started = time.monotonic()
    challenge = find_challenge(job.challenge)
    attempt = Attempt(
        student=job.student,
        challenge=challenge.name,
        submission=job.submission,
        verdict=FAULT,
        points=None,
        most=challenge.points,
        passed=None,
        message=FAULT_MESSAGE,
        parts=(),
        answers={},
        submitted=job.submitted,
        graded=datetime.now(UTC).isoformat(timespec="seconds"),
        record={"key": "unknown", "sandboxed": job.sandboxed, "seed": job.seed},
    )
    try:
        attempt = replace(attempt, record={**attempt.record, **conditions(job)})
        attempt = _graded(job, challenge, attempt)
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"[:1000]
        attempt = replace(attempt, record={**attempt.record, "fault": text})
    seconds = round(time.monotonic() - started, 2)
    return replace(attempt, record={**attempt.record, "seconds": seconds})


def _graded(job: Job, challenge: Challenge, attempt: Attempt) -> Attempt:
    def without_answers(verdict: str, message: str) -> Attempt:
        return replace(attempt, verdict=verdict, points=0.0, passed=False, message=message)

    try:
        if len(job.data) > MOST_BYTES:
            raise NotebookError(
                f"The notebook has more than {MOST_BYTES / 2**20:.0f} MB. Clear its outputs and "
                "hand it in again."
            )
        answers = answers_of(parse_notebook(job.data, "The notebook"), challenge)
    except NotebookError as error:
        return without_answers("tampered" if error.tampering else "unreadable", str(error))
    start = None
    if job.sandboxed:
        start = Sandbox.for_challenge(challenge, job.threads).starter()
    with OtherProcess(challenge, answers, start) as caller:
        result = verify(challenge, caller, job.seed, seconds=MOST_SECONDS)
        notes = [*answers.notes, *caller.notes]
    verdict, message = overall(result)
    message = " ".join([message, *notes])
    return replace(
        attempt,
        verdict=verdict,
        points=result.points,
        passed=result.passed and verdict != "tampered",
        message=message,
        parts=tuple(PartRecord.of(part) for part in result.parts),
        answers=dict(answers),
    )


def overall(result: Result) -> tuple[str, str]:
    """What a whole attempt is called, and a sentence to the learner."""
    worth = f"{result.points:g} of {result.most:g} points"
    found = [part.verdict for part in result.parts]
    if not result.attempted:
        return "not attempted", "No answer is written yet."
    if "tampered" in found:
        part = result.parts[found.index("tampered")]
        return "tampered", f"Part {part.id}: {part.message} A person will look at it."
    if result.passed:
        return "pass", f"{worth}: passed."
    if result.points > 0:
        return "partial", f"{worth}: not passed yet."
    for verdict in WORST_FIRST:
        if verdict in found:
            part = result.parts[found.index(verdict)]
            return verdict, f"{worth}. Part {part.id}: {part.message}"
    return "wrong", f"{worth}: not passed yet."


def conditions(job: Job) -> dict[str, Any]:
    """What a grade depends on, beside the submission; attempts of equal "key" were graded alike."""
    challenge = find_challenge(job.challenge)
    profile: Mapping[str, Any] = {"hash": None}
    if job.sandboxed:
        profile = Sandbox.for_challenge(challenge, job.threads).profile()
    found = {
        "template": template_hash(challenge.number),
        "environment": environment_hash(),
        "weights": weights_hash(),
        "sandbox": profile["hash"],
        "limits": {
            part.id: {
                "seconds": part.limits.seconds,
                "megabytes": part.limits.megabytes,
                "oracle_calls": dict(part.limits.oracle_calls),
            }
            for part in challenge.parts
        },
        "threads": job.threads,
    }
    return {**found, "key": _hash(json.dumps(found, sort_keys=True).encode())}


@functools.cache
def template_hash(number: str) -> str:
    """Of what a challenge asks and how it is measured: all code and data of the course for that."""
    module = importlib.import_module(f"course_utils.challenges.{NAMES[number]}.ask")
    digest = hashlib.sha256(Path(str(module.__file__)).read_bytes())  # may be from elsewhere
    for path in depends_on(number):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(_hash(path.read_bytes()).encode())
    return digest.hexdigest()


def depends_on(number: str) -> list[Path]:
    """The files of the course, weights aside, that a grade in a challenge depends on."""
    others = [f"challenges/{name}" for each, name in NAMES.items() if each != number]
    apart = [PACKAGE / name for name in (*NO_PART_OF_A_GRADE, *others)]
    found = {*PACKAGE.rglob("*.py"), *(p for p in (PACKAGE / "data").rglob("*") if p.is_file())}
    return sorted(
        path
        for path in found
        if "__pycache__" not in path.parts and not any(path.is_relative_to(each) for each in apart)
    )


@functools.cache
def environment_hash() -> str:
    """Of Python, the machine's kind and the versions of all packages that are installed.

    Where packages are looked for (`sys.path`) does not count: imports change it, setuptools for one
    adds the packages that it brings along.
    """
    installed = metadata.distributions(path=site.getsitepackages())
    versions = sorted({f"{d.metadata['Name']} {d.version}" for d in installed})
    return _hash("\n".join([platform.python_version(), platform.machine(), *versions]).encode())


@functools.cache
def weights_hash() -> str:
    """Of all trained weights, the judge's too."""
    digest = hashlib.sha256()
    for path in sorted(WEIGHTS.rglob("*.safetensors")):
        digest.update(path.relative_to(WEIGHTS).as_posix().encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
