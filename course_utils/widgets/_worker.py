"""The thread in which a view computes: one job at a time, the last that was handed in."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

REPORT_EVERY = 0.08  # seconds between two messages on progress: a page shows no more

Report = Callable[..., None]
Work = Callable[[Report, Callable[[], bool]], Any]


class Owner(Protocol):
    """What a worker needs of its view."""

    label: str
    lock: threading.RLock
    progress: Any

    def fail(self, error: BaseException) -> None:
        """Show an exception that nobody expected."""
        ...


class Cancelled(Exception):
    """Raised by `report` in a worker whose work is no longer wanted."""


class Job:
    """Work for the worker thread, and whether it is still wanted."""

    def __init__(
        self,
        work: Work,
        done: Callable[[Any], object] | None,
        stopped: Callable[[], object] | None,
        text: str,
        quiet: bool,
    ) -> None:
        self.work, self.done, self.stopped, self.text = work, done, stopped, text
        self.quiet, self.cancelled = quiet, threading.Event()


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register
def _stop_workers() -> None:
    """Let no thread compute while the interpreter ends: torch's threads would abort it."""
    for worker in list(_workers):
        worker.close()


class Worker:
    """One thread a view, started with its first work: runs the last job that was handed in."""

    def __init__(self, owner: Owner) -> None:
        self.owner, self.idle = owner, threading.Event()
        self.idle.set()
        self._more = threading.Condition()
        self._next: Job | None = None
        self._now: Job | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        _workers.add(self)

    @property
    def working(self) -> bool:
        return not self.idle.is_set()

    def start(self, job: Job, cancel: bool) -> None:
        with self._more:
            if self._closed:
                return
            if cancel and self._now is not None:
                self._now.cancelled.set()
            self._next = job
            self.idle.clear()
            if self._thread is None:
                name = f"view: {self.owner.label}"
                self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
                self._thread.start()
            self._more.notify()

    def cancel(self) -> None:
        with self._more:
            waiting, self._next = self._next, None
            if self._now is not None:
                self._now.cancelled.set()
            elif waiting is not None:
                self.idle.set()
        if waiting is not None:
            self._stopped(waiting)

    def close(self) -> None:
        self.cancel()
        with self._more:
            self._closed = True
            self._more.notify()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    def _loop(self) -> None:
        while True:
            with self._more:
                while self._next is None and not self._closed:
                    self._more.wait()
                if self._closed:
                    return
                self._now, self._next = self._next, None
            assert self._now is not None
            try:
                self._run(self._now)
            except Exception as error:  # shown and kept: the thread goes on for the next work
                self._stopped(self._now)
                self._fail(error)
            # Not under `_more`: who holds the view's lock may wait for it.
            self._progress(False, 0.0, "")
            with self._more:
                self._now = None
                if self._next is None:
                    self.idle.set()

    def _run(self, job: Job) -> None:
        import torch  # two seconds: a view stands on the page before its first work

        last = 0.0

        def report(fraction: float | None = None, text: str | None = None) -> None:
            nonlocal last
            if job.cancelled.is_set():
                raise Cancelled
            now = time.monotonic()
            if not job.quiet and now - last >= REPORT_EVERY:
                last = now
                self._progress(True, fraction, job.text if text is None else text)

        if not job.quiet:
            self._progress(True, None, job.text)
        try:
            with torch.no_grad():
                result = job.work(report, job.cancelled.is_set)
        except Cancelled:
            job.cancelled.set()
        with self.owner.lock:
            if not job.cancelled.is_set():
                if job.done is not None:
                    job.done(result)
                return
        self._stopped(job)

    def _stopped(self, job: Job) -> None:
        """Tell whoever started it that work will not come to its end."""
        if job.stopped is not None and not self._closed:
            with self.owner.lock:
                job.stopped()

    def _progress(self, running: bool, fraction: float | None, text: str) -> None:
        if self._closed:
            return
        with self.owner.lock:
            self.owner.progress = {"running": running, "fraction": fraction, "text": text}

    def _fail(self, error: Exception) -> None:
        if not self._closed:
            self.owner.fail(error)
