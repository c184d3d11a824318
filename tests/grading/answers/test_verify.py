"""Answers are called here or in another process, with the same result; nothing escapes."""

from __future__ import annotations

import json
import linecache
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from forked import forked

from course_utils import cli
from course_utils.challenges import declare as challenges
from course_utils.challenges.declare import Band, Challenge, Limits, Measurement, Part, Refused
from course_utils.grading.answers.boundary import BoundaryError
from course_utils.grading.answers.callers import InKernel, crossing, report_errors
from course_utils.grading.answers.notebooks import NotebookError, read_answers
from course_utils.grading.answers.process import OtherProcess
from course_utils.grading.answers.verify import Result, quick_look, verify

GOOD = "def twice(x, ask=None):\n    return 2 * x"


def measure(inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Any]) -> Measurement:
    errors = []
    for given, value in zip(inputs, outputs, strict=True):
        if not isinstance(value, np.ndarray) or value.shape != given["x"].shape:
            raise Refused("twice gives another shape than it got.")
        errors.append(float(np.abs(value - given["_expected"]).max()))
    return Measurement(max(errors), details={"calls": len(inputs)})


def inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    every = [random.standard_normal(n) for n in (2, 3)]
    return [{"x": x, "_expected": 2 * x} for x in every]


def part(**changes: Any) -> Part:
    settings: dict[str, Any] = {
        "id": "a",
        "title": "doubling",
        "function": "twice",
        "inputs": inputs,
        "measure": measure,
        "bands": (Band(1e-6, 4), Band(1.0, 1)),
        "quantity": "largest error",
        "better": "less",
        "advice": "Multiply by two.",
        "limits": Limits(seconds=3, megabytes=1500),
    }
    return Part(**(settings | changes))


def challenge(**changes: Any) -> Challenge:
    return Challenge("01", "Test", ("answer",), (part(**changes),), pass_points=4)


def elsewhere(source: str, **changes: Any) -> Result:
    asked = challenge(**changes)
    with OtherProcess(asked, [("answer", source)], forked(asked)) as caller:
        return verify(asked, caller, "seed")


def here(source: str, **changes: Any) -> Result:
    names: dict[str, Any] = {}
    text = f"import torch\n{source}"
    linecache.cache["<a cell>"] = (len(text), None, text.splitlines(keepends=True), "<a cell>")
    exec(compile(text, "<a cell>", "exec"), names)
    return verify(challenge(**changes), InKernel(names), "seed")


BOTH = {
    "right": (GOOD, "pass", 4, "Full marks"),
    "near": ("def twice(x):\n    return 2 * x + 0.5", "partial", 1, "At most 1e-06 gives 4"),
    "far": ("def twice(x):\n    return x + 50", "wrong", 0, "At most 1 gives 1 point"),
    "nan": ("def twice(x):\n    return x * float('nan')", "wrong", 0, "largest error: nan"),
    "shape": ("def twice(x):\n    return x[:1]", "wrong", 0, "another shape"),
    "none": ("def twice(x):\n    pass", "wrong", 0, "another shape"),
    "stub": ("def twice(x):\n    raise NotImplementedError()", "not attempted", 0, "Not attempted"),
    "absent": ("y = 3", "not attempted", 0, "not written yet"),
    "raises": ("def twice(x):\n    return x / undefined", "error", 0, "NameError"),
    "torch's own error": (
        "def twice(x):\n    return torch.arange(3).softmax(0)",
        "error",
        0,
        "NotImplementedError: ",
    ),
    "an error of a stub": (
        "def twice(x):\n    if len(x): raise NotImplementedError()\n    return x",
        "error",
        0,
        "NotImplementedError",
    ),
    "the end of a file": ("def twice(x):\n    return input()", "error", 0, "in line "),
    "an EOFError": ("def twice(x):\n    raise EOFError", "error", 0, "EOFError"),
    "an exit": ("def twice(x):\n    raise SystemExit(0)", "error", 0, "SystemExit: 0"),
    "another exit": ("def twice(x):\n    import sys; sys.exit()", "error", 0, "SystemExit"),
    "a refusal of its own": (
        "class Refused(ValueError): pass\ndef twice(x):\n    raise Refused('1 point')",
        "error",
        0,
        "Refused: 1 point",
    ),
    "no memory, it says": ("def twice(x):\n    raise MemoryError", "error", 0, "MemoryError"),
    "no time, it says": (
        "class TimeLimit(BaseException): pass\ndef twice(x):\n    raise TimeLimit",
        "error",
        0,
        "TimeLimit",
    ),
    "object": ("def twice(x):\n    return object()", "error", 0, "a value is a object"),
    "loops": ("def twice(x):\n    while True: pass", "timeout", 0, "within 3 seconds"),
    "prints": ("def twice(x):\n    print('x' * 10**7)\n    return 2 * x", "pass", 4, "Full"),
}


@pytest.mark.parametrize("run", [here, elsewhere])
@pytest.mark.parametrize("case", BOTH.values(), ids=list(BOTH))
def test_both_ways_of_calling_agree(run: Any, case: tuple[str, str, float, str]) -> None:
    source, verdict, points, words = case
    (found,) = run(source).parts
    assert (found.verdict, found.points) == (verdict, points), found
    assert words in found.message, found
    assert bool(found.advice) == (verdict not in ("pass", "not attempted"))


ALONE = {
    "syntax": ("def twice(x:", "error", "SyntaxError"),
    "exits": ("def twice(x):\n    import os; os._exit(0)", "killed", "ended before it gave"),
    "exit at once": ("import os\nos._exit(0)", "killed", "ended before it gave"),
    "signal": ("def twice(x):\n    import os; os.kill(os.getpid(), 9)", "killed", "ended before"),
    "memory": (
        "def twice(x):\n    held = [torch.ones(10**8) for _ in range(40)]\n    return 2 * x",
        "memory",
        "more than 1,500 MB",
    ),
    "writes to the pipe": (
        "def twice(x):\n    import os\n    for n in range(3, 20):\n"
        "        try: os.write(n, b'junk' * 9)\n        except OSError: pass\n    return 2 * x",
        "killed",
        "ended before",
    ),
    "recursion": ("def twice(x):\n    return twice(x)", "error", "RecursionError"),
}


@pytest.mark.parametrize("case", ALONE.values(), ids=list(ALONE))
def test_what_only_another_process_survives(case: tuple[str, str, str]) -> None:
    source, verdict, words = case
    (found,) = elsewhere(source, limits=Limits(seconds=90, megabytes=1500)).parts
    assert (found.verdict, found.points) == (verdict, 0), found
    assert words in found.message, found


def test_a_part_goes_on_after_a_part_that_was_killed() -> None:
    first, second = part(), part(id="b", function="again")
    asked = Challenge("01", "Test", ("answer",), (first, second), pass_points=4)
    source = "def twice(x):\n    while True: pass\ndef again(x):\n    return 2 * x"
    with OtherProcess(asked, [("answer", source)]) as caller:
        result = verify(asked, caller, "seed")
    assert [p.verdict for p in result.parts] == ["timeout", "pass"]


def test_children_die_with_the_answer() -> None:
    source = (
        "import subprocess\nchild = subprocess.Popen(['sleep', '987'], start_new_session=True)\n"
        "def twice(x):\n    while True: pass"
    )
    assert elsewhere(source).parts[0].verdict == "timeout"
    time.sleep(0.3)
    lines = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"])]
    assert ["sleep", "987"] not in lines


# --- hidden inputs and oracles -------------------------------------------------------------------


@pytest.mark.parametrize("run", [here, elsewhere])
def test_hidden_inputs_stay_with_us(run: Any) -> None:
    source = "def twice(**given):\n    assert set(given) == {'x'}\n    return 2 * given['x']"
    assert run(source).passed


@pytest.mark.parametrize("run", [here, elsewhere])
def test_oracles_run_on_our_side_and_are_counted(run: Any) -> None:
    seen: list[Any] = []

    def oracles(given: Mapping[str, Any]) -> dict[str, Any]:
        def ask(y: Any, plus: float = 0.0) -> Any:
            seen.append(y)
            return 2 * y + plus

        return {"ask": ask}

    settings: dict[str, Any] = {
        "oracles": oracles,
        "limits": Limits(seconds=20, oracle_calls={"ask": 2}),
    }
    good = "def twice(x, ask):\n    ask(x)\n    return ask(x, plus=0.0)"
    (found,) = run(good, **settings).parts
    assert found.verdict == "pass" and found.oracle_calls == {"ask": 2}
    assert all(isinstance(y, np.ndarray) for y in seen)
    greedy = "def twice(x, ask):\n    for _ in range(3):\n        y = ask(x)\n    return y"
    (found,) = run(greedy, **settings).parts
    assert found.verdict == "refused" and "more than 2 times" in found.message
    sly = (
        "def twice(x, ask):\n    for _ in range(9):\n        try: y = ask(x)\n"
        "        except Exception: pass\n    return y"
    )
    assert run(sly, **settings).parts[0].verdict == "refused"
    confused = "def twice(x, ask):\n    return ask(x, y=3)"
    (found,) = run(confused, **settings).parts
    assert found.verdict == "error" and "ask" in found.message


# --- the declaration -----------------------------------------------------------------------------


def test_inputs_follow_from_the_seed() -> None:
    def values(seed: str) -> list[float]:
        kept: list[float] = []

        def keep(given: Sequence[Mapping[str, Any]], outputs: Sequence[Any]) -> Measurement:
            kept.extend(given[0]["x"])
            return Measurement(0.0)

        verify(challenge(measure=keep), InKernel({"twice": lambda x: x}), seed)
        return kept

    assert values("1") == values("1") != values("2")


def test_bands_must_come_best_first() -> None:
    with pytest.raises(ValueError, match="the best comes first"):
        part(bands=(Band(1.0, 1), Band(1e-6, 4)))
    with pytest.raises(ValueError, match="the best comes first"):
        part(bands=(Band(1.0, 4), Band(1e-6, 1)))
    found = part(better="more", bands=(Band(0.9, 4), Band(0.5, 1)))
    points = [band.points if (band := found.band(v)) else 0 for v in (1, 0.9, 0.89, 0.5, 0.4)]
    assert points == [4, 4, 1, 1, 0]
    assert found.band(math.nan) is None


# --- notebooks and the command -------------------------------------------------------------------


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}


def code(id: str, source: Any, **more: Any) -> dict[str, Any]:
    outputs: dict[str, Any] = {"outputs": [], "execution_count": None}
    return {"cell_type": "code", "id": id, "metadata": {}, "source": source, **outputs, **more}


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Challenge]:
    """Challenge 01 is this file's."""
    found = challenge()
    challenges.find_challenge.cache_clear()
    module = type(json)("course_utils.challenges.noise_to_order.ask")
    module.CHALLENGE = found  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    yield found
    challenges.find_challenge.cache_clear()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (notebook(code("other", "1")), "'answer' of challenge 01 is missing"),
        (notebook(code("answer", "1"), code("answer", "2")), "there 2 times"),
        (notebook(code("answer", "1", cell_type="markdown")), "is markdown; expected code"),
        (notebook(code("answer", "x" * 300_000)), "that is no answer"),
        (notebook(code("answer", [1, 2])), "not a notebook of format 4"),
        ({"nbformat": 3, "cells": []}, "not a notebook of format 4"),
        (notebook(code("answer", "x = 1"), code("answer", "x = 2")), "and they differ"),
        ([1, 2], "not a notebook of format 4"),
        ("{", "is cut off"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("<html>", "is a web page"),
        ("x = 1", "does not hold JSON"),
        ("[" * 100_000, "not a notebook of format 4"),
        (b"\xff\xfe\x00", "may be UTF-16"),
        (b"{\x00}\x00", "may be UTF-16"),
        ({"nbformat": 3, "worksheets": []}, "is a notebook of format 3"),
    ],
)
def test_damaged_notebooks_get_one_sentence(
    content: Any, words: str, tmp_path: Path, declared: Challenge
) -> None:
    path = tmp_path / "01_noise_to_order.ipynb"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(NotebookError, match=words):
        read_answers(path, declared)


def test_the_command_says_what_an_answer_is_worth(
    tmp_path: Path,
    declared: Challenge,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "01_noise_to_order.ipynb"
    elsewhere = code("cheat", "raise RuntimeError('other cells are never run')")
    path.write_text(json.dumps(notebook(elsewhere, code("answer", GOOD.splitlines(True)))))
    assert cli.main(["verify", str(path), "--seed", "5"]) == 0
    out = capsys.readouterr().out
    assert "4 of 4 points: passed." in out and "--seed 5" in out
    path.write_text(json.dumps(notebook(code("answer", "def twice(x):\n    return x + 50"))))
    assert cli.main(["verify", str(path), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["points"] == 0 and result["parts"][0]["verdict"] == "wrong"
    assert cli.main(["verify", str(tmp_path / "01_gone.ipynb")]) == 1
    assert "can't be read" in capsys.readouterr().err
    other = tmp_path / "99_other.ipynb"
    other.write_text(json.dumps(notebook(elsewhere)))
    assert cli.main(["verify", str(other)]) == 1
    assert "expected one of 01_noise_to_order" in capsys.readouterr().err


def test_a_look_in_the_notebook_tells_of_mistakes_and_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def open_answer() -> None:
        raise NotImplementedError

    def wrong(x: Any) -> Any:
        return x + None

    with report_errors("twice"):
        open_answer()
    assert capsys.readouterr().out == "twice is not written yet.\n"
    with report_errors("twice"):
        wrong(torch.ones(2))
    out = capsys.readouterr().out
    assert out.startswith("Here it stops: TypeError: ") and "in wrong, line " in out
    assert "return x + None\n" in out and out.endswith("does an answer of yours?\n")
    with report_errors("twice"):
        raise ValueError("x has\n  no rows")
    first, where = capsys.readouterr().out.splitlines()
    assert first == "Here it stops: ValueError: x has no rows" and "raise ValueError" in where
    with report_errors("twice"):
        print("fine")
    assert capsys.readouterr().out == "fine\n"
    with pytest.raises(KeyboardInterrupt), report_errors("twice"):
        raise KeyboardInterrupt


def test_a_look_takes_what_the_verifier_takes() -> None:
    seen: list[Any] = []

    def answer(x: Any, more: Any) -> Any:
        seen.extend([x, more])
        return {"x": x.numpy(), "pair": (1, 2)}

    back = crossing(answer)(x=torch.ones(2), more=[np.zeros(3)])
    assert isinstance(seen[0], torch.Tensor) and isinstance(seen[1][0], torch.Tensor)
    assert torch.equal(back["x"], torch.ones(2)) and back["pair"] == [1, 2]
    with pytest.raises(BoundaryError):
        crossing(lambda: object())()


def test_the_quick_look_keeps_the_notebooks_promise(
    declared: Challenge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    monkeypatch.setenv("COURSE_EXPECT", "open")
    quick_look("01", names)
    assert "not attempted" in capsys.readouterr().out
    exec(GOOD, names)
    with pytest.raises(AssertionError):
        quick_look("01", names)
    monkeypatch.setenv("COURSE_EXPECT", "solved")
    assert quick_look("01", names).passed
    names["twice"] = lambda x: x
    with pytest.raises(AssertionError):
        quick_look("01", names)
