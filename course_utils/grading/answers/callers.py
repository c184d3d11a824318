"""How a learner's function is called: here, for a quick look; `process` does it in another process.

Both ways send the inputs through the boundary and take back what comes through it, so a function
that works one way works the other way too.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from course_utils.blanks import is_blank, is_stub_line
from course_utils.challenges.declare import Limits, Oracle, Refused
from course_utils.checks.guard import TimeLimit, leash
from course_utils.grading.answers.boundary import from_bytes, to_bytes, to_tensors
from course_utils.grading.answers.text import printable

Status = Literal["value", "open", "error", "refused", "timeout", "out of time", "memory", "killed"]


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


class Counter:
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
        candidate = self.names.get(function)
        if not callable(candidate) or is_blank(candidate):
            return Outcome("open")
        counter = Counter(oracles, limits)

        def oracle(name: str) -> Any:
            def ask(*args: Any, **kwargs: Any) -> Any:
                sent = from_bytes(to_bytes([list(args), kwargs]))
                return _crossed(counter.ask(name, *sent))

            return ask

        sent = _crossed(dict(arguments))
        sent |= {name: oracle(name) for name in oracles}
        started = time.monotonic()
        status: Status = "value"
        value, text, line, printed = None, "", "", ""
        try:
            with leash(limits.seconds) as caught:
                value = from_bytes(to_bytes(candidate(**sent)))
            printed = caught.text
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit: nothing of an answer stops a notebook
            over = isinstance(error, TimeLimit) and time.monotonic() - started >= limits.seconds
            status = "timeout" if over else "error"
            text, line = error_text(error), _cell_line(error)
        if counter.refusal:
            status, text = "refused", counter.refusal
        seconds = time.monotonic() - started
        return Outcome(status, value, text, line, printed, seconds, counter.calls)


def crossing(function: Callable[..., Any]) -> Callable[..., Any]:
    """A learner's function as the verifier sees it: what goes in and comes back crosses over.

    So a look in the notebook accepts what the verifier accepts, such as NumPy's arrays for tensors.

    Args:
        function: called with keyword arguments.
    """

    @functools.wraps(function)
    def call(**arguments: Any) -> Any:
        return _crossed(function(**_crossed(arguments)))

    return call


def _crossed(value: Any) -> Any:
    return to_tensors(from_bytes(to_bytes(value)))


@contextlib.contextmanager
def report_errors(answers: str) -> Iterator[None]:
    """Run lines of a notebook that call answers; where one fails, say so and go on.

    So that a mistake in an answer stops neither the notebook nor the verification at its end, and
    is told in two lines that name the place.

    Args:
        answers: names of what is called, for the sentence about an answer that is not written.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        frames = _own_frames(error)
        if frames and is_stub_line(frames[-1].line or ""):
            print(f"{answers} is not written yet.")
            return
        print(f"Here it stops: {error_text(error)}")
        if frames:
            last = frames[-1]
            where = "this cell" if last.name == "<module>" else last.name
            print(f"  in {where}, line {last.lineno}: {last.line}")
        if "NoneType" in str(error):
            print("  A function without `return` gives None: does an answer of yours?")


def error_text(error: BaseException) -> str:
    """An exception in words: its kind, and what it says if it says anything."""
    said = printable(" ".join(str(error).split()))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _cell_line(error: BaseException) -> str:
    frames = _own_frames(error)
    return f"line {frames[-1].lineno}: {frames[-1].line}" if frames else ""


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Where an error went through cells, and not through the course or a library."""
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "course_utils" not in frame.filename and "site-packages" not in frame.filename
    ]
