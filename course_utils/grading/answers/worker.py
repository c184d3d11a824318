"""The process that runs a learner's answers: it reads messages, calls functions, sends values.

It imports the boundary and nothing else of ours before the answers run. It is not trusted: whatever
it sends is data, and the other side measures it. Messages come on stdin and go to stdout; what the
answers print is caught.
"""

from __future__ import annotations

import dis
import importlib.abc
import linecache
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from course_utils.grading.answers.boundary import (
    BoundaryError,
    Closed,
    read_message,
    reading,
    to_bytes,
    to_tensors,
)

MOST_TEXT = 2_000  # characters of an error or of what was printed


class Printed:
    """Keeps the beginning of what is printed."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        """Take some text."""
        if len(self.text) < MOST_TEXT:
            self.text += _clean(str(text)[: MOST_TEXT - len(self.text)])
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        """It is no terminal."""
        return False


class Withheld(importlib.abc.MetaPathFinder):
    """Says why a module is not there; a sandbox does not have it in the first place."""

    def __init__(self, names: str) -> None:
        self.names = tuple(name for name in names.split(",") if name)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Refuse what is withheld, and what is in it."""
        if any(name == each or name.startswith(f"{each}.") for each in self.names):
            raise ModuleNotFoundError(
                f"{name} is withheld where answers are verified; your answer does without it",
                name=name,
            )


def serve() -> None:
    """Answer messages until the other side closes the pipe."""
    incoming = os.fdopen(os.dup(0), "rb", buffering=0)
    outgoing = os.fdopen(os.dup(1), "wb", buffering=0)
    with open(os.devnull, "r+b") as nothing:  # what C code prints goes nowhere
        for number in (0, 1, 2):
            os.dup2(nothing.fileno(), number)

    read = reading(incoming.read)

    def send(message: dict[str, Any]) -> None:
        data = memoryview(to_bytes(message))
        while data:
            data = data[outgoing.write(data) :]

    printed = Printed()
    sys.stdout = sys.stderr = printed  # type: ignore[assignment]
    names: dict[str, Any] = {"__name__": "__main__", "display": lambda *args, **more: None}
    sys.meta_path.insert(0, Withheld(os.environ.get("COURSE_WITHHELD", "")))

    def oracle(name: str) -> Callable[..., Any]:
        def ask(*args: Any, **kwargs: Any) -> Any:
            send({"op": "oracle", "name": name, "args": list(args), "kwargs": kwargs})
            answer = read_message(read)
            if "refused" in answer:
                raise RuntimeError(answer["refused"])
            return to_tensors(answer["value"])

        ask.__name__ = name
        return ask

    while True:
        try:
            request = read_message(read)
        except Closed:
            return
        try:
            if request["op"] == "define":
                for cell, source in request["cells"]:
                    place = f"<answer {cell}>"
                    lines = source.splitlines(keepends=True)
                    linecache.cache[place] = (len(source), None, lines, place)  # torch.jit reads it
                    exec(compile(source, place, "exec"), names)
                value = [name for name in request["functions"] if callable(names.get(name))]
            else:
                function = names[request["function"]]
                arguments = to_tensors(request["arguments"])
                arguments |= {name: oracle(name) for name in request["oracles"]}
                value = function(**arguments)
            reply = {"op": "value", "value": value, "printed": printed.text}
            try:
                send(reply)
            except BoundaryError as error:
                send({"op": "error", "kind": "BoundaryError", "text": str(error), "line": ""})
        except BaseException as error:
            send({"op": "error", **_describe(error), "printed": printed.text})


def _describe(error: BaseException) -> dict[str, Any]:
    """The error, and the last line of the answer that it came through."""
    line = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename.startswith("<answer "):
            line = f"line {frame.lineno} of cell {frame.filename[8:-1]}"
    if isinstance(error, SyntaxError) and error.lineno is not None:
        line = f"line {error.lineno} of cell {str(error.filename)[8:-1]}"
    text = _clean(" ".join(str(error).split())[:MOST_TEXT])
    return {
        "kind": type(error).__name__,
        "text": text,
        "line": _clean(line),
        "raised": _raised_by_answer(error),
    }


def _raised_by_answer(error: BaseException) -> bool:
    """Whether a `raise` of the answer itself made it, and no library."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return False
    code = place.tb_frame.f_code
    raised = code.co_code[place.tb_lasti] in (dis.opmap["RAISE_VARARGS"], dis.opmap["RERAISE"])
    return raised and code.co_filename.startswith("<answer ")


def _clean(text: str) -> str:
    """What can't be sent is written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


if __name__ == "__main__":
    serve()
