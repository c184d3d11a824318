"""Challenge 04: calls that follow each other, what may come back, and a bound on what can."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from course_utils.challenges.declare import (
    Band,
    Challenge,
    FollowUp,
    Limits,
    Measurement,
    Part,
    Refused,
)
from course_utils.challenges.squeeze import ask as challenge_04
from course_utils.grading.answers.callers import Caller, InKernel
from course_utils.grading.answers.process import OtherProcess
from course_utils.grading.answers.verify import PartResult, verify

ANSWER = """
SEEN = []


def first(x):
    SEEN.append(x)
    return x + 1


def second(x):
    return x * 10 + len(SEEN)
"""


def following(inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Any]) -> list[dict[str, Any]]:
    if outputs[0] > 5:
        raise Refused("first gives too much.")
    return [{"x": outputs[0], "_hidden": 1}, {"x": 2 * outputs[0], "_hidden": 2}]


def measured(inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Any]) -> Measurement:
    assert [given["x"] for given in inputs[1:]] == [outputs[0], 2 * outputs[0]]
    assert [given["_hidden"] for given in inputs[1:]] == [1, 2]
    return Measurement(sum(outputs))


def chain(forget: bool, x: int = 2) -> Challenge:
    part = Part(
        id="a",
        title="two functions",
        function="first",
        inputs=lambda random: [{"x": x}],
        measure=measured,
        bands=(Band(1, 1),),
        quantity="sum",
        limits=Limits(seconds=20, megabytes=1500),
        then=(FollowUp("second", following, forget),),
    )
    return Challenge("04", "Test", ("answer",), (part,), pass_points=1, setup="")


def run(asked: Challenge, caller: Caller) -> PartResult:
    return verify(asked, caller, "seed").parts[0]


@pytest.mark.parametrize(("forget", "value"), [(False, 3 + 31 + 61), (True, 3 + 30 + 60)])
def test_a_step_gets_what_came_back_and_may_come_to_a_new_process(
    forget: bool, value: float
) -> None:
    asked = chain(forget)
    with OtherProcess(asked, [("answer", ANSWER)]) as caller:
        assert run(asked, caller).value == value


def test_in_the_kernel_nothing_is_forgotten() -> None:
    names: dict[str, Any] = {}
    exec(ANSWER, names)
    assert run(chain(True), InKernel(names)).value == 3 + 31 + 61


def test_failures_name_the_function_of_their_step() -> None:
    names: dict[str, Any] = {"first": lambda x: x + 1}
    result = run(chain(False), InKernel(names))
    assert result.verdict == "not attempted" and "second is not written" in result.message
    names["second"] = lambda x: 1 / 0
    result = run(chain(False), InKernel(names))
    assert result.verdict == "error" and result.message.startswith("second fails")
    result = run(chain(False, 10), InKernel(names))
    assert result.verdict == "wrong" and result.message == "first gives too much."


def test_water_filling_in_closed_form() -> None:
    assert math.isclose(challenge_04.water_filling(np.full(7, 3.0), 14), 3 / 16, rel_tol=1e-6)
    # 2 bits of 16 and 1: all go to the first, whose error falls to 1; a third bit is shared.
    assert math.isclose(challenge_04.water_filling(np.array([16.0, 1.0]), 2), 1.0, rel_tol=1e-6)
    assert math.isclose(challenge_04.water_filling(np.array([16.0, 1.0]), 3), 0.5, rel_tol=1e-6)
    errors = [challenge_04.water_filling(np.array([4.0, 1.0, 0.1]), bits) for bits in range(9)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing"),
        (np.zeros((64, 96), dtype=np.int64), "int64; expected uint8"),
        (np.zeros((64, 97), dtype=np.uint8), "97 bytes a picture; the budget is 96"),
        (np.zeros((65, 96), dtype=np.uint8), "one row a picture"),
        (np.zeros(64 * 96, dtype=np.uint8), "expected (64, 96)"),
    ],
)
def test_what_is_no_row_of_bytes_is_refused(value: Any, words: str) -> None:
    with pytest.raises(Refused, match="encode gives") as refusal:
        challenge_04._data(value, 96)
    assert words in str(refusal.value)


def test_every_byte_of_parameters_counts() -> None:
    parameters = {"a": np.zeros(10, dtype=np.float32), "b": ["text", 2**800, {"c": None}]}
    assert challenge_04._bytes_in(parameters) == 1 + 40 + 1 + 4 + 101 + 1 + 8
