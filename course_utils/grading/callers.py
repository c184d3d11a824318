"""How a learner's function is called: here, for a quick look; `process` does it in another process.

Both ways send the inputs through the boundary and take back what comes through it, so a function
that works one way works the other way too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from course_utils.grading.boundary import from_bytes, to_bytes, to_tensors
from course_utils.grading.challenge import Limits, Oracle, Refused

Status = Literal["value", "open", "error", "refused", "timeout", "memory", "killed"]


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
        from course_utils.checks.guard import TimeLimit, leash

        candidate = self.names.get(function)
        if not callable(candidate):
            return Outcome("open")
        counter = Counter(oracles, limits)

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
