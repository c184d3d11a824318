"""How a learner's function is called: here, for a quick look, or in another process.

Both ways send the inputs through the boundary and take back what comes through it, so a function
that works one way works the other way too.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from course_utils.grading.boundary import (
    BoundaryError,
    from_bytes,
    read_message,
    to_bytes,
    to_tensors,
)
from course_utils.grading.challenge import Challenge, Limits, Oracle, Refused

Status = Literal["value", "open", "error", "refused", "timeout", "memory", "killed"]
START_SECONDS = 120.0  # for importing torch in a new process, which is not the learner's time
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Outcome:
    """What one call gave.

    Attributes:
        status: "value" where a value came back; otherwise why none did.
        value: arrays are NumPy arrays.
        text: of an error, or the reason of a refusal.
        line: where in the answer the error arose.
        printed: the beginning of what was printed.
        seconds: wall time.
        oracle_calls: how often each oracle was asked.
    """

    status: Status
    value: Any = None
    text: str = ""
    line: str = ""
    printed: str = ""
    seconds: float = 0.0
    oracle_calls: Mapping[str, int] = field(default_factory=dict)


class Caller(Protocol):
    """Calls functions of an answer."""

    def call(
        self,
        function: str,
        arguments: Mapping[str, Any],
        oracles: Mapping[str, Oracle],
        limits: Limits,
    ) -> Outcome:
        """Call one function with keyword arguments."""


class _Counter:
    """Runs oracles, counts, and refuses beyond the limits."""

    def __init__(self, oracles: Mapping[str, Oracle], limits: Limits) -> None:
        self.oracles, self.limits = oracles, limits
        self.calls = dict.fromkeys(oracles, 0)
        self.refusal = ""

    def ask(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        most = self.limits.oracle_calls.get(name, math.inf)
        if self.calls[name] >= most:
            self.refusal = (
                f"It calls {name} more than {most:g} times, which is the limit for one call of it."
            )
            raise Refused(self.refusal)
        self.calls[name] += 1
        return self.oracles[name](*args, **kwargs)


class InKernel:
    """Calls functions in this process: quick, friendly, and no proof of anything.

    Args:
        names: where the learner's functions are, such as `globals()`.
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names = names

    def call(
        self,
        function: str,
        arguments: Mapping[str, Any],
        oracles: Mapping[str, Oracle],
        limits: Limits,
    ) -> Outcome:
        """Call one function with keyword arguments."""
        from course_utils.checks.guard import TimeLimit, leash

        candidate = self.names.get(function)
        if not callable(candidate):
            return Outcome("open")
        counter = _Counter(oracles, limits)

        def oracle(name: str) -> Any:
            def ask(*args: Any, **kwargs: Any) -> Any:
                sent = from_bytes(to_bytes([list(args), kwargs]))
                return to_tensors(from_bytes(to_bytes(counter.ask(name, *sent))))

            return ask

        sent = to_tensors(from_bytes(to_bytes(dict(arguments))))
        sent |= {name: oracle(name) for name in oracles}
        started = time.monotonic()
        status: Status = "value"
        value, text, line, printed = None, "", "", ""
        try:
            with leash(limits.seconds) as caught:
                value = from_bytes(to_bytes(candidate(**sent)))
            printed = caught.text
        except TimeLimit:
            status = "timeout"
        except NotImplementedError:
            status = "open"
        except Exception as error:
            status, text = "error", f"{type(error).__name__}: {' '.join(str(error).split())}"
            line = _cell_line(error)
        if counter.refusal:
            status, text = "refused", counter.refusal
        seconds = time.monotonic() - started
        return Outcome(status, value, text, line, printed, seconds, counter.calls)


def _cell_line(error: BaseException) -> str:
    import traceback

    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "course_utils" not in frame.filename and "site-packages" not in frame.filename
    ]
    return f"line {frames[-1].lineno}: {frames[-1].line}" if frames else ""


class OtherProcess:
    """Calls functions in a process that holds the answers and nothing else of the notebook.

    Args:
        challenge: its setup and functions.
        answers: (cell id, source) in their order.
        command: what starts the worker; a sandbox puts itself in front.
        environment: of the worker; by default ours, without the variables of the course.
    """

    def __init__(
        self,
        challenge: Challenge,
        answers: Sequence[tuple[str, str]],
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.challenge, self.answers = challenge, list(answers)
        self.command = list(command or [sys.executable, "-m", "course_utils.grading.worker"])
        ours = {k: v for k, v in os.environ.items() if not k.startswith("COURSE_")}
        self.environment = dict(ours if environment is None else environment)
        self.process: subprocess.Popen[bytes] | None = None
        self.messages: queue.Queue[Any] = queue.Queue()
        self.broken: Outcome | None = None  # the answers themselves can't be run

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
        """Call one function with keyword arguments; starts the process if there is none."""
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
            return Outcome("open")
        return self._ask(request, _Counter(oracles, limits), limits)

    def forget(self) -> None:
        """Let the next call come to a new process, which knows nothing of the earlier calls."""
        self.close()

    def close(self) -> None:
        """End the process and whatever it started."""
        if self.process is None:
            return
        process, self.process = self.process, None
        _kill(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _start(self, limits: Limits) -> None:
        self.messages = queue.Queue()
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            start_new_session=True,
        )
        threading.Thread(
            target=_listen, args=(self.process, self.messages), daemon=True, name="answers"
        ).start()
        functions = sorted({name for part in self.challenge.parts for name in part.functions})
        ready = self._ask(
            {"op": "define", "cells": [["setup", self.challenge.setup]], "functions": []},
            _Counter({}, limits),
            Limits(START_SECONDS, limits.megabytes),
        )
        if ready.status != "value":
            raise RuntimeError(f"the process for answers did not start: {ready}")
        cells = [list(answer) for answer in self.answers]
        found = self._ask(
            {"op": "define", "cells": cells, "functions": functions}, _Counter({}, limits), limits
        )
        if found.status == "value":
            self.defined = set(found.value if isinstance(found.value, list) else [])
        else:
            self.broken = found

    defined: set[str]

    def _ask(self, request: Mapping[str, Any], counter: _Counter, limits: Limits) -> Outcome:
        """Send a request and serve the oracles until an answer comes."""
        assert self.process is not None
        started = time.monotonic()

        def ended(status: Status, text: str = "", **more: Any) -> Outcome:
            if counter.refusal:
                status, text = "refused", counter.refusal
            seconds = time.monotonic() - started
            return Outcome(status, text=text, seconds=seconds, oracle_calls=counter.calls, **more)

        self._send(request)
        while True:
            try:
                message = self.messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if time.monotonic() - started > limits.seconds:
                    self.close()
                    return ended("timeout")
                if _memory(self.process) > limits.megabytes:
                    self.close()
                    return ended("memory")
                continue
            if message is None or isinstance(message, Exception):
                code = self._exit_code()
                self.close()
                why = "" if message is None else f"it sent what is no message ({message}); "
                return ended("killed", f"{why}its process ended with status {code}")
            kind = message.get("op") if isinstance(message, dict) else None
            if kind == "oracle" and message.get("name") in counter.oracles:
                self._send(_answer(counter, message))
            elif kind == "value":
                printed = str(message.get("printed", ""))
                return ended("value", value=message.get("value"), printed=printed)
            elif kind == "open":
                return ended("open")
            elif kind == "error":
                text = f"{message.get('kind')}: {message.get('text')}"
                return ended("error", text[:2000], line=str(message.get("line", ""))[:200])
            else:
                self.close()
                return ended("killed", "it sent a message that nobody asked for")

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self.process is not None and self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, OSError):  # its end shows when we listen
            self.process.stdin.write(to_bytes(dict(message)))
            self.process.stdin.flush()

    def _exit_code(self) -> int | None:
        assert self.process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout=5)
        return None


def _answer(counter: _Counter, message: Mapping[str, Any]) -> dict[str, Any]:
    args, kwargs = message.get("args", []), message.get("kwargs", {})
    try:
        value = counter.ask(str(message["name"]), args, kwargs)
        to_bytes(value)
        return {"value": value}
    except (Refused, BoundaryError) as error:
        return {"refused": str(error)}
    except (TypeError, ValueError, RuntimeError, IndexError) as error:  # it was asked wrongly
        return {"refused": f"{message['name']}: {' '.join(str(error).split())[:500]}"}


def _listen(process: subprocess.Popen[bytes], messages: queue.Queue[Any]) -> None:
    """Put messages into the queue; None at the end, an exception for what is no message."""
    assert process.stdout is not None
    pipe = process.stdout

    def read(count: int) -> bytes:
        parts = []
        while count:
            part = pipe.read(min(count, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    try:
        while True:
            messages.put(read_message(read))
    except (EOFError, OSError, ValueError) as error:
        messages.put(error if isinstance(error, BoundaryError) else None)


def _memory(process: subprocess.Popen[bytes]) -> float:
    """Megabytes that a process and its children hold."""
    import psutil

    total = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(process.pid)
        for each in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
    return total / 2**20


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process, its session and its children."""
    import psutil

    children = []
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
    if hasattr(os, "killpg"):
        import signal

        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    for each in children:
        with contextlib.suppress(psutil.Error):
            each.kill()
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
