"""A short leash for a learner's code in the notebook's own process.

It protects the lesson from accidents (endless loops, floods of prints, a changed random state), not
from ill will: grading runs in another process.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import random
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import torch

MOST_PRINTED = 400  # characters that are kept of what the code prints


class TimeLimit(BaseException):
    """The code took too long. Not an `Exception`, so that `except Exception` does not eat it."""


class Printed(io.TextIOBase):
    """Keeps the beginning of what is written, and counts the rest."""

    def __init__(self) -> None:
        self.text, self.count = "", 0

    def write(self, text: str) -> int:
        """Take some text."""
        if len(self.text) < MOST_PRINTED:
            self.text += text[: MOST_PRINTED - len(self.text)]
        self.count += len(text)
        return len(text)

    def writable(self) -> bool:
        """Always."""
        return True


@contextlib.contextmanager
def leash(seconds: float) -> Iterator[Printed]:
    """Run the block with a time limit, with its prints caught, and with random states restored.

    Args:
        seconds: the most that the block may take.

    Yields:
        What was printed.

    Raises:
        TimeLimit: in the block, once the time is over, again and again until it ends.
    """
    printed = Printed()
    with (
        _random_states(),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        _time_limit(seconds),
    ):
        yield printed


@contextlib.contextmanager
def _random_states() -> Iterator[None]:
    python_state, torch_state = random.getstate(), torch.random.get_rng_state()
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy else None
    grad = torch.is_grad_enabled()
    dtype = torch.get_default_dtype()
    try:
        yield
    finally:
        random.setstate(python_state)
        torch.random.set_rng_state(torch_state)
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        if numpy is not None:
            numpy.random.set_state(numpy_state)


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    on_main = threading.current_thread() is threading.main_thread()
    with _by_signal(seconds) if on_main and hasattr(signal, "setitimer") else _by_thread(seconds):
        yield


@contextlib.contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    """An alarm; it also ends a sleep and most waits."""

    def ring(*_: Any) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)
    try:
        yield
    finally:
        _stop_alarm()
        signal.signal(signal.SIGALRM, before)


def _stop_alarm() -> None:
    while True:  # a last alarm may ring while it is being turned off
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return
        except TimeLimit:
            continue


@contextlib.contextmanager
def _by_thread(seconds: float) -> Iterator[None]:
    """Where there are no alarms (Windows, other threads): ends a loop, but not a sleep."""
    target = ctypes.c_ulong(threading.get_ident())
    lock, done = threading.Lock(), threading.Event()

    def watch() -> None:
        pause = seconds
        while not done.wait(pause):
            with lock:
                if not done.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(TimeLimit))
            pause = 0.2

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        with lock:
            done.set()
            # Take back one that was sent and has not arrived.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(target, None)
