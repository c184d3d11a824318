"""Another process for a learner's answers, and what may go wrong with it.

What comes from there is data and is not believed: messages are capped, only a few wait, and every
wait has an end. A process that loops, floods, falls silent, does not listen, dies or takes too much
memory is ended with all that it started, and the outcome says which it was. Its memory is watched
as long as it lives, also while nobody waits for it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import psutil

from course_utils.blanks import blank_names
from course_utils.challenges.declare import Challenge, Limits, Oracle, Refused
from course_utils.grading.answers.boundary import (
    BoundaryError,
    Closed,
    read_message,
    reading,
    to_bytes,
)
from course_utils.grading.answers.callers import Counter, Outcome, Status
from course_utils.grading.answers.memory import megabytes
from course_utils.grading.answers.syntax import as_python
from course_utils.grading.answers.text import printable
from course_utils.grading.answers.visibility import hidden_modules

START_SECONDS = 120.0  # for importing torch in a new process, which is not the learner's time
POLL_SECONDS = 0.05
MOST_TEXT = 2_000  # characters of an error or of what was printed
MOST_WAITING = 4  # messages; whoever sends more waits until they are read
WORKER = ("-s", "-P", "-m", "course_utils.grading.answers.worker")

Start = Callable[[Limits], "subprocess.Popen[bytes]"]


class GraderFault(RuntimeError):
    """Something of ours failed, and not the answer."""


def unsandboxed(challenge: Challenge, sees_all: bool = False) -> Start:
    """Starts the process as the same user, without a sandbox: for one's own notebook.

    Args:
        challenge: what it withholds is withheld, and what is not public of the course.
        sees_all: nothing is withheld; for tests of what checks refuse by themselves.
    """

    def start(_: Limits) -> subprocess.Popen[bytes]:
        ours = {k: v for k, v in os.environ.items() if not k.startswith("COURSE_")}
        ours["COURSE_WITHHELD"] = "" if sees_all else ",".join(hidden_modules(challenge.withheld))
        return subprocess.Popen(
            [sys.executable, *WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ours,
            start_new_session=True,
        )

    return start


class OtherProcess:
    """Calls functions in a process that holds the answers and nothing else of the notebook.

    Args:
        challenge: its setup and functions.
        answers: (cell id, source) in their order.
        start: starts the worker, with pipes at its input and output; a sandbox has one.
    """

    def __init__(
        self,
        challenge: Challenge,
        answers: Sequence[tuple[str, str]],
        start: Start | None = None,
    ) -> None:
        self.challenge = challenge
        self.answers: list[tuple[str, str]] = []
        self.notes: list[str] = []  # to the learner
        for cell, source in answers:
            text, left_out = as_python(source)
            self.answers.append((cell, text))
            if left_out:
                self.notes.append(
                    f"Left out of the cell {cell!r}, because only Python counts: "
                    f"{printable(', '.join(left_out))[:200]}."
                )
        self.start = start or unsandboxed(challenge)
        self.process: subprocess.Popen[bytes] | None = None
        self.lines: _Lines | None = None
        self.broken: Outcome | None = None  # the answers themselves can't be run
        self.blank = blank_names(source for _, source in self.answers)
        self.defined: set[str] = set()
        self.failed: dict[str, Outcome] = {}  # by cell

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(
        self,
        function: str,
        arguments: Mapping[str, Any],
        oracles: Mapping[str, Oracle],
        limits: Limits,
    ) -> Outcome:
        """Call one function with keyword arguments; starts the process if there is none.

        Raises:
            GraderFault: the process does not start.
        """
        if function in self.blank:
            return Outcome("open")
        if self.broken is None and self.process is None:
            self._start(limits)
        if self.broken is not None:
            return self.broken
        request = {
            "op": "call",
            "function": function,
            "arguments": dict(arguments),
            "oracles": list(oracles),
        }
        if function not in self.defined:
            return self._undefined(function)
        return self._ask(request, Counter(oracles, limits), limits)

    def _undefined(self, function: str) -> Outcome:
        """Why a function is not there: its cell fails, or another does, or it is not written."""
        defines = re.compile(rf"^\s*((async\s+)?def|class)\s+{function}\b|^{function}\s*=", re.M)
        sources = dict(self.answers)
        own = [found for cell, found in self.failed.items() if defines.search(sources[cell])]
        return next(iter([*own, *self.failed.values()]), Outcome("open"))

    def forget(self) -> None:
        """Let the next call come to a new process, which knows nothing of the earlier calls."""
        self.close()

    def close(self) -> None:
        """End the process and whatever it started."""
        if self.process is None:
            return
        process, self.process = self.process, None
        assert self.lines is not None
        self.lines.closed.set()
        end(process)
        self.lines.close()

    def _start(self, limits: Limits) -> None:
        self.process = self.start(limits)
        self.lines = _Lines(self.process, limits.megabytes)
        functions = sorted({name for part in self.challenge.parts for name in part.functions})
        ready = self._ask(
            {"op": "define", "cells": [["setup", self.challenge.setup]], "functions": []},
            Counter({}, limits),
            Limits(START_SECONDS, limits.megabytes),
        )
        if ready.status != "value":
            raise GraderFault(f"the process for answers did not start: {ready}")
        for cell, source in self.answers:
            found = self._ask(
                {"op": "define", "cells": [[cell, source]], "functions": functions},
                Counter({}, limits),
                limits,
            )
            if found.status == "value":
                names = found.value if isinstance(found.value, list) else []
                self.defined |= {name for name in names if isinstance(name, str)}
            elif found.status == "error":
                self.failed[cell] = found
            else:
                self.broken = found
                return

    def _ask(self, request: Mapping[str, Any], counter: Counter, limits: Limits) -> Outcome:
        """Send a request and serve the oracles until an answer comes."""
        assert self.lines is not None
        lines = self.lines
        lines.megabytes = limits.megabytes
        started = time.monotonic()
        deadline = started + limits.seconds

        def ended(status: Status, text: str = "", **more: Any) -> Outcome:
            if counter.refusal:
                status, text = "refused", counter.refusal
            seconds = time.monotonic() - started
            return Outcome(status, text=text, seconds=seconds, oracle_calls=counter.calls, **more)

        def stopped(status: Status, text: str = "") -> Outcome:
            self.close()
            return ended("memory" if lines.overrun.is_set() else status, text)

        listens = lines.send(request, deadline)
        while True:
            if time.monotonic() > deadline or not listens:
                return stopped("timeout")
            try:
                message = lines.messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if message is None or isinstance(message, Exception):
                code = self._exit_code()
                why = "" if message is None else f"it sent what is no message ({message}); "
                return stopped("killed", f"{why}its process ended with status {code}")
            kind = message.get("op") if isinstance(message, dict) else None
            if kind == "oracle" and _known(message.get("name"), counter):
                listens = lines.send(_answer(counter, message), deadline)
            elif kind == "value":
                return ended("value", value=message.get("value"), printed=_text(message, "printed"))
            elif kind == "error":
                text = ": ".join(filter(None, (_text(message, "kind"), _text(message, "text"))))
                full = text.startswith("MemoryError") or "can't allocate memory" in text
                if full and message.get("raised") is not True:
                    return stopped("memory")
                return ended("error", text, line=_text(message, "line")[:200])
            else:
                return stopped("killed", "it sent a message that nobody asked for")

    def _exit_code(self) -> int | None:
        assert self.process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout=0.5)  # it may live on and have closed its pipe
        return None


def _known(name: Any, counter: Counter) -> bool:
    return isinstance(name, str) and name in counter.oracles


def _answer(counter: Counter, message: Mapping[str, Any]) -> dict[str, Any]:
    """Serve one oracle call; whatever is wrong with the question is told to the asker."""
    args, kwargs = message.get("args", []), message.get("kwargs", {})
    name = message["name"]
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        return {"refused": f"{name} was called in a way that nobody can answer"}
    try:
        value = counter.ask(name, args, kwargs)
        to_bytes(value)
        return {"value": value}
    except (Refused, BoundaryError) as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"refused": f"{name}: there is not enough memory for what was asked"}
    except Exception as error:  # the question is the answer's, whatever it makes of the oracle
        return {"refused": f"{name}: {' '.join(str(error).split())[:500]}"}


def _text(message: Mapping[str, Any], name: str) -> str:
    """A text in a message, such that a terminal only shows it; what is none is left out."""
    found = message.get(name)
    return printable(found[:MOST_TEXT]) if isinstance(found, str) else ""


class _Lines:
    """The pipes to a process and from it, and the threads that write, listen and watch.

    Args:
        process: its input and output are pipes.
        megabytes: that it may hold with all that it starts; it is ended where it holds more.
    """

    def __init__(self, process: subprocess.Popen[bytes], megabytes: float) -> None:
        self.process, self.megabytes = process, megabytes
        self.messages: queue.Queue[Any] = queue.Queue(MOST_WAITING)
        self.closed, self.overrun = threading.Event(), threading.Event()
        self.listener = self._thread(self._listen, "answers")
        self.watcher = self._thread(self._watch, "memory of the answers")
        self.writer: threading.Thread | None = None

    def _thread(self, run: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=run, daemon=True, name=name)
        thread.start()
        return thread

    def send(self, message: Mapping[str, Any], deadline: float) -> bool:
        """Send a message; whether it was taken in time, or the process is gone."""
        assert self.process.stdin is not None
        data, pipe = to_bytes(dict(message)), self.process.stdin

        def write() -> None:
            with contextlib.suppress(OSError, ValueError):  # its end shows when we listen
                pipe.write(data)
                pipe.flush()

        # A pipe that nobody empties holds up whoever writes, be the message ever so short.
        self.writer = self._thread(write, "to the answers")
        self.writer.join(max(0.0, deadline - time.monotonic()))
        return not self.writer.is_alive()

    def close(self) -> None:
        """Close the pipes of a process that has ended; one that a thread still holds stays."""
        for thread, pipe in (
            (self.writer, self.process.stdin),
            (self.listener, self.process.stdout),
        ):
            if thread is not None:
                thread.join(5)
            if pipe is not None and (thread is None or not thread.is_alive()):
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()

    def _watch(self) -> None:
        while not self.closed.wait(POLL_SECONDS) and self.process.poll() is None:
            if megabytes(self.process.pid) > self.megabytes:
                self.overrun.set()
                end(self.process)

    def _listen(self) -> None:
        """Put messages into the queue; None at the end, an exception for what is no message."""
        assert self.process.stdout is not None
        pipe = self.process.stdout

        read = reading(pipe.read)

        last: Exception | None = None
        try:
            while not self.closed.is_set():
                self._put(read_message(read))
        except BoundaryError as error:
            last = error
        except (Closed, OSError):
            pass
        except Exception:  # whatever the bytes make of the code that reads them
            last = BoundaryError("it can't be read")
        self._put(last)

    def _put(self, message: Any) -> None:
        while not self.closed.is_set():
            with contextlib.suppress(queue.Full):
                self.messages.put(message, timeout=POLL_SECONDS)
                return


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, its session and its children, and wait until it is gone."""

    children = []
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    for each in children:
        with contextlib.suppress(psutil.Error):
            each.kill()
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
