"""Grades a class: many submissions at once, on this machine or on a Dask cluster.

The process that runs `grade_cohort` alone writes the gradebook. An attempt is written as soon as it
is graded; whatever stops the run, the next one goes on with what is missing. A process of the
grader that dies takes nothing with it: what it was grading is tried again, alone, and is a grader
fault if that happens twice.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import secrets
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from course_utils.challenges.declare import find_challenge
from course_utils.grading.cohort.attempts import FAULT, Attempt
from course_utils.grading.cohort.gradebook import Gradebook
from course_utils.grading.cohort.grader import FAULT_MESSAGE, Job, conditions, grade
from course_utils.grading.cohort.submissions import Ignored, Notice, Submission
from course_utils.grading.sandbox.bubblewrap import SandboxError
from course_utils.grading.sandbox.probe import require

TRIES = 2  # of a job whose process died
PATIENCE_SECONDS = 3600.0  # without any result before what runs is given up
SECRET_BYTES = 32


class CohortError(RuntimeError):
    """Nothing could be graded; the message says why and what to do."""


@dataclass
class Tally:
    """What a run did.

    Attributes:
        graded: how many submissions, by verdict.
        before: how many were graded by an earlier run.
        ignored: files that are no submission, and why.
        notices: what was taken, and a person should look at.
        students: who has handed in something that is graded.
        sources: where that was found.
    """

    graded: dict[str, int] = field(default_factory=dict)
    before: int = 0
    ignored: list[Ignored] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    students: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)

    @property
    def faults(self) -> int:
        """How many the grader failed at."""
        return self.graded.get(FAULT, 0)


@dataclass(frozen=True)
class GradingSettings:
    """How a class is graded.

    Attributes:
        secret: of the course; hidden inputs are derived from it.
        jobs: processes at once on this machine.
        scheduler: address of a Dask scheduler; None grades on this machine.
        sandboxed: False only for one's own notebooks; every result is marked.
        threads: of torch in each sandbox.
    """

    secret: bytes
    jobs: int = 1
    scheduler: str | None = None
    sandboxed: bool = True
    threads: int = 1


def secret_of(folder: Path) -> bytes:
    """The secret of a results folder; made once, readable by its owner alone.

    Raises:
        CohortError: the file is there and holds no secret.
    """
    path = folder / "secret"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(SECRET_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
    try:
        found = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (ValueError, OSError):
        found = b""
    if len(found) < 16:
        raise CohortError(
            f"{path} holds no secret. If it was cut off, delete it; a new one gives new inputs."
        )
    return found


def grade_cohort(
    submissions: Iterable[Submission | Ignored | Notice],
    book: Gradebook,
    settings: GradingSettings,
    on_attempt: Callable[[Attempt], object] | None = None,
    grader: Callable[[Job], Attempt] = grade,
) -> Tally:
    """Grade what is not graded yet.

    Args:
        submissions: as `find_submissions` gives them; read one after another.
        book: gets every attempt as soon as it is there.
        settings: how.
        on_attempt: told of each.
        grader: grades one job in another process.

    Returns:
        What was done.

    Raises:
        CohortError: Dask is not installed or the scheduler does not answer.
        SandboxError: the sandbox is not in force here, or on a machine of the cluster.
    """
    tally = Tally()
    waiting = _wanted(submissions, book, settings, tally)
    if settings.scheduler is None:
        if settings.sandboxed:
            require()
        attempts = _on_this_machine(waiting, settings, grader)
    else:
        attempts = _on_a_cluster(waiting, settings, grader)
    with contextlib.closing(attempts):
        for attempt in attempts:
            book.add(attempt)
            tally.graded[attempt.verdict] = tally.graded.get(attempt.verdict, 0) + 1
            if on_attempt is not None:
                on_attempt(attempt)
    return tally


def _wanted(
    submissions: Iterable[Submission | Ignored | Notice],
    book: Gradebook,
    settings: GradingSettings,
    tally: Tally,
) -> Iterator[Job]:
    """The jobs for what is not graded yet under the same conditions."""
    keys: dict[str, str] = {}
    names: dict[str, str] = {}
    asked: set[tuple[str, str, str]] = set()
    for found in submissions:
        if isinstance(found, Ignored):
            tally.ignored.append(found)
            continue
        if isinstance(found, Notice):
            tally.notices.append(found)
            continue
        if found.challenge is None:
            why = "neither its name nor its cells say which challenge it answers"
            tally.ignored.append(Ignored(found.source, why))
            continue
        job = Job(
            found.student,
            found.challenge,
            found.data,
            found.submitted.isoformat(timespec="seconds"),
            settings.secret,
            settings.sandboxed,
            settings.threads,
        )
        if job.challenge not in keys:
            try:
                names[job.challenge] = find_challenge(job.challenge).name
            except ValueError as error:
                tally.ignored.append(Ignored(found.source, f"is not graded: {error}"))
                continue
            keys[job.challenge] = conditions(job)["key"]
        tally.students.add(job.student)
        tally.sources.add(found.source)
        name, key = names[job.challenge], keys[job.challenge]
        same = (job.student, name, job.submission)
        if same in asked or book.graded(*same, key) is not None:
            tally.before += 1
            continue
        asked.add(same)
        yield job


def faulty(job: Job, why: str) -> Attempt:
    """The attempt for a job that no process came back from."""
    challenge = find_challenge(job.challenge)
    return Attempt(
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
        record={
            "key": "unknown",
            "sandboxed": job.sandboxed,
            "seed": job.seed,
            "fault": why,
        },
    )


# --- this machine --------------------------------------------------------------------------------


def _prepare(parent: int, threads: int, jobs: int, started: Any) -> None:
    """In a grader's process: die with the parent, and keep to a share of the cores.

    What is started here stays on these cores too, so that no answer, with whatever it starts, takes
    the processor from another one.
    """
    if sys.platform == "linux":
        with started.get_lock():
            number, started.value = started.value, started.value + 1
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number % jobs :: jobs] or {cores[number % len(cores)]})
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)
    torch.set_num_threads(threads)


def _pool(jobs: int, threads: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    arguments = (os.getpid(), threads, jobs, context.Value("i", 0))
    return ProcessPoolExecutor(jobs, context, _prepare, arguments)


def _on_this_machine(
    waiting: Iterator[Job], settings: GradingSettings, grader: Callable[[Job], Attempt]
) -> Generator[Attempt, None, None]:
    """Attempts as they come; at most twice as many jobs as processes are held at once."""
    pool = _pool(settings.jobs, settings.threads)
    running: dict[Future[Attempt], Job] = {}
    suspects: list[Job] = []  # their process died; each is tried again, alone
    hurried: list[Job] = []  # ran into a limit of time while others ran
    more = True
    try:
        while more or running:
            broken = False
            while more and not broken and len(running) < 2 * settings.jobs:
                job = next(waiting, None)
                if job is None:
                    more = False
                    continue
                try:
                    running[pool.submit(grader, job)] = job
                except BrokenProcessPool:  # a process has died since the last look
                    broken = True
                    suspects.append(job)
            done, _ = wait(running, PATIENCE_SECONDS, return_when=FIRST_COMPLETED)
            broken = broken or (not done and bool(running))
            for future in done:
                job = running.pop(future)
                try:
                    attempt = future.result()
                    if settings.jobs > 1 and _ran_out_of_time(attempt):
                        hurried.append(job)
                    else:
                        yield attempt
                except BrokenProcessPool:
                    broken = True
                    suspects.append(job)
                except Exception as error:  # the attempt could not be sent back
                    yield faulty(job, f"{type(error).__name__}: {error}"[:1000])
            if broken:
                suspects += running.values()
                running.clear()
                _end_pool(pool)
                for job in suspects:
                    yield _alone(job, settings, grader)
                suspects.clear()
                pool = _pool(settings.jobs, settings.threads)
        for job in hurried:
            yield _alone(job, settings, grader)
    finally:
        _end_pool(pool)


def _ran_out_of_time(attempt: Attempt) -> bool:
    return any(part.verdict in ("timeout", "out of time") for part in attempt.parts)


def _alone(job: Job, settings: GradingSettings, grader: Callable[[Job], Attempt]) -> Attempt:
    """Try a job by itself, in a process of its own."""
    why = "the grader's process ended"
    for _ in range(TRIES):
        pool = _pool(1, settings.threads)
        try:
            return pool.submit(grader, job).result(PATIENCE_SECONDS)
        except BrokenProcessPool:
            why = "the grader's process ended, more than once"
        except TimeoutError:
            why = f"the grader did not come back within {PATIENCE_SECONDS:g} s"
        except Exception as error:  # the attempt could not be sent back
            return faulty(job, f"{type(error).__name__}: {error}"[:1000])
        finally:
            _end_pool(pool)
    return faulty(job, why)


def _end_pool(pool: ProcessPoolExecutor) -> None:
    """End a pool at once; sandboxes die with the processes that started them."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
    for process in processes:
        process.join(10)


# --- a cluster -----------------------------------------------------------------------------------


def _holds() -> str:
    """On a machine of the cluster: whether the sandbox is in force; what is wrong, or nothing."""

    try:
        require()
    except SandboxError as error:
        return str(error)
    return ""


def _on_a_cluster(
    waiting: Iterator[Job], settings: GradingSettings, grader: Callable[[Job], Attempt]
) -> Generator[Attempt, None, None]:
    """Attempts as a Dask cluster gives them; Dask moves what a lost worker had to another one."""

    try:
        from distributed import Client, as_completed
    except ModuleNotFoundError:
        raise CohortError(
            "grading on a cluster needs Dask: `pip install 'sculpting-noise[cluster]'`"
        ) from None
    try:
        client = Client(settings.scheduler, timeout=20, set_as_default=False)
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())[:300]
        raise CohortError(f"no Dask scheduler answers at {settings.scheduler}: {why}") from None
    try:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            raise CohortError(f"the Dask scheduler at {settings.scheduler} has no workers")
        if settings.sandboxed:
            states: Mapping[str, str] = client.run(_holds)
            wrong = [f"{worker}: {why}" for worker, why in states.items() if why]
            if wrong:
                raise SandboxError(" ".join(wrong))
        room = 4 * sum(each["nthreads"] for each in workers.values())
        running: dict[Any, Job] = {}

        def submit() -> Any | None:
            job = next(waiting, None)
            if job is None:
                return None
            future = client.submit(grader, job, pure=False, retries=TRIES)
            running[future.key] = job
            return future

        first = [future for _ in range(room) if (future := submit()) is not None]
        completed = as_completed(first, loop=client.loop)
        for future in completed:
            job = running.pop(future.key)
            if future.status == "finished":
                yield future.result()
            else:
                failed = future.exception()
                yield faulty(job, f"{type(failed).__name__}: {failed}"[:1000])
            future.release()
            following = submit()
            if following is not None:
                completed.add(following)
    finally:
        client.close()
