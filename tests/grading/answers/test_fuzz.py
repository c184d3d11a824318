"""Whatever an answer gives, measuring refuses it or measures it: no value makes the grader fail.

Values are made at random from a seed, and go through the boundary as an answer's values do.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from course_utils.challenges.declare import NAMES, Limits, Part, Refused, find_challenge
from course_utils.grading.answers.boundary import DTYPES, BoundaryError, from_bytes, to_bytes
from course_utils.grading.answers.callers import Counter
from course_utils.grading.answers.process import _answer
from course_utils.grading.answers.verify import _can_be_sent, generator, verify_part, visible

Random = np.random.Generator
Array = np.ndarray[Any, Any]
TRIALS = 60  # for each part
SPECIAL = (0.0, -0.0, 1.0, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 1e19, 999.0)
TEXTS = ("", "a cat", "x" * 5000, "\x00", "☃ " * 40, "<b>", "=1+1", "\x1b[2J", "a\n" * 300, "🦊")


def number(random: Random) -> Any:
    return [
        lambda: None,
        lambda: bool(random.integers(2)),
        lambda: int(random.integers(-3, 70)),
        lambda: int(random.choice([2**63, 2**64 - 1, -(2**63), 10**18, 10**9])),
        lambda: float(random.choice(SPECIAL)),
        lambda: str(random.choice(TEXTS)),
    ][random.integers(6)]()


def array(random: Random, shapes: Sequence[tuple[int, ...]]) -> Array:
    if random.random() < 0.6 and shapes:
        shape = list(shapes[random.integers(len(shapes))])
        change = random.integers(6)
        if change == 0 and shape:
            shape[random.integers(len(shape))] += int(random.choice([-1, 1]))
        elif change == 1:
            shape.insert(0, 1)
        elif change == 2 and shape:
            shape.pop()
        shape = [max(0, n) for n in shape][:6]
    else:
        shape = random.integers(0, 5, random.integers(0, 6)).tolist()
    if math.prod(shape) > 300_000:
        shape = shape[-1:]
    dtype = np.dtype(str(random.choice(sorted(DTYPES))))
    with np.errstate(all="ignore"):
        found = (random.standard_normal(shape) * random.choice([0, 1, 300])).astype(dtype)
        if found.size and dtype.kind == "f" and random.random() < 0.5:
            found.flat[random.integers(found.size)] = random.choice(SPECIAL)
    return found


def value(random: Random, shapes: Sequence[tuple[int, ...]], depth: int = 0) -> Any:
    kind = random.integers(4 if depth < 3 else 2)
    if kind == 0:
        return number(random)
    if kind == 1:
        return array(random, shapes)
    count = int(random.choice([0, 1, 2, 3, 30]))
    if depth and count > 3:
        count = 3
    parts = [value(random, shapes, depth + 1) for _ in range(count)]
    if kind == 2:
        return parts
    return {str(random.choice(TEXTS))[:9] + str(n): part for n, part in enumerate(parts)}


def near(random: Random, good: Any) -> Any:
    """Something like a good value, with one thing changed."""
    if isinstance(good, list) and good:
        place = random.integers(len(good))
        change = random.integers(4)
        if change == 0:
            return good[:-1]
        if change == 1:
            return [*good, good[0]]
        return [near(random, part) if n == place else part for n, part in enumerate(good)]
    if isinstance(good, np.ndarray):
        change = random.integers(6)
        if change == 0:
            return good.tolist() if good.size < 5000 else good.astype(bool)
        if change == 1:
            return good.astype(str(random.choice(sorted(DTYPES))))
        if change == 2:
            return good.T
        if change == 3:
            return good[None]
        changed = good.copy()
        if changed.size:
            with np.errstate(all="ignore"):
                special = np.array(SPECIAL).astype(changed.dtype)
            changed.flat[random.integers(changed.size)] = random.choice(special)
        return changed
    return number(random)


# --- what good values look like ------------------------------------------------------------------

Good = Callable[[Mapping[str, Any]], Any]
GOOD: dict[str, Good] = {
    "betas_for": lambda g: np.full(len(g["snr"]), 0.1),
    "rescale": lambda g: np.full(len(g["betas"]), 0.1),
    "timesteps_for": lambda g: np.linspace(len(g["alpha_bar"]) - 1, 0, g["num_steps"]).astype(int),
    "sample": lambda g: np.zeros_like(g["x_T"]),
    "contrastive_loss": lambda g: np.array(1.0, np.float32),
    "train": lambda g: [np.ones((g[f"{k}_width"], g["dim"]), "f4") for k in ("image", "text")],
    "fit": lambda g: {"mean": np.zeros(4), "bits": [1, 2], "name": "x"},
    "encode": lambda g: np.zeros((64, g["num_bytes"]), np.uint8),
    "decode": lambda g: np.zeros((len(g["data"]), 4, 8, 8), np.float32),
    "write_prompt": lambda g: ["a cat", "a dog"],
    "token_ids": lambda g: np.zeros((len(g["prompts"]), g["max_length"]), np.int64),
    "from_v": lambda g: [np.zeros_like(g["v"]), np.zeros_like(g["v"])],
    "step": lambda g: np.zeros_like(g["x_t"] if "x_t" in g else next(iter(arrays(g)))),
    "guide": lambda g: np.zeros_like(g["with_prompt"]),
}
SLOW = {("02", "b"), ("02", "c"), ("04", "a"), ("04", "b"), ("04", "c"), ("05", "b"), ("05", "c")}
"""Parts where measuring something that can be measured takes seconds."""


def arrays(given: Mapping[str, Any]) -> list[Array]:
    return [v for v in given.values() if isinstance(v, np.ndarray)]


def draw(given: Mapping[str, Any]) -> Any:
    """Two challenges have this function: one gives latents, the other one pictures."""
    x_T = given["x_T"]
    return np.zeros_like(x_T) if "negative_prompts" in given else np.zeros((len(x_T), 3, 64, 64))


class Fuzz:
    """Calls a part's function on nothing: it gives good values, and a bad one at one place.

    Args:
        random: makes the bad value.
        place: of which call, from 0 on.
        every: bad values from there on.
    """

    def __init__(self, random: Random, place: int, every: bool) -> None:
        self.random, self.place, self.every, self.calls = random, place, every, 0
        self.given: Any = None

    def call(self, function: str, arguments: Any, oracles: Any, limits: Limits) -> Any:
        from course_utils.grading.answers.callers import Outcome

        number, self.calls = self.calls, self.calls + 1
        good = {**GOOD, "draw": draw}[function](arguments)
        if number == self.place or (self.every and number > self.place):
            shapes = [a.shape for a in [*arrays(arguments), *_parts(good)]]
            bad = near(self.random, good) if self.random.random() < 0.5 else None
            good = value(self.random, shapes) if bad is None else bad
        try:
            self.given = from_bytes(to_bytes({"op": "value", "value": good}))["value"]
        except BoundaryError:
            return Outcome("error")
        return Outcome("value", self.given)


def _parts(good: Any) -> list[Array]:
    every = good if isinstance(good, list) else [good]
    return [part for part in every if isinstance(part, np.ndarray)]


PARTS = [(number, part.id) for number in NAMES for part in find_challenge(number).parts]


@pytest.fixture(scope="module")
def inputs() -> dict[tuple[str, str], Any]:
    """The inputs of parts, made once."""
    return {}


def part_of(number: str, id: str, inputs: dict[tuple[str, str], Any]) -> Part:
    """A part whose inputs are made once."""
    from dataclasses import replace

    (part,) = [part for part in find_challenge(number).parts if part.id == id]
    if (number, id) not in inputs:
        inputs[number, id] = part.inputs(generator("fuzz", number, id))
    return replace(part, inputs=lambda random: inputs[number, id])


@pytest.mark.parametrize(("number", "id"), PARTS)
def test_no_value_makes_measuring_fail(
    number: str, id: str, inputs: dict[tuple[str, str], Any]
) -> None:
    _fuzz(number, id, inputs, 6 if (number, id) in SLOW else TRIALS)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "id"), sorted(SLOW))
def test_no_value_makes_measuring_fail_many_times(
    number: str, id: str, inputs: dict[tuple[str, str], Any]
) -> None:
    _fuzz(number, id, inputs, 200)


def _fuzz(number: str, id: str, inputs: dict[tuple[str, str], Any], trials: int) -> None:
    part = part_of(number, id, inputs)
    first = len(inputs[number, id])
    last = first + 2 * len(part.then)
    for trial in range(trials):
        random = np.random.default_rng([zlib.crc32(f"{number}{id}".encode()), trial])
        place = int(random.integers(last)) if trial % 3 else 0
        fuzz = Fuzz(random, place, bool(trial % 2))
        result = verify_part(part, fuzz, np.random.default_rng(0))
        assert result.verdict not in ("refused", "timeout", "killed", "memory")
        assert 0 <= result.points <= part.points and len(result.message) < 2000, result
        assert isinstance(result.message, str) and result.message.encode()


@pytest.mark.parametrize(("number", "id"), [(n, i) for n, i in PARTS if n in ("02", "03", "06")])
def test_no_question_makes_an_oracle_fail(
    number: str, id: str, inputs: dict[tuple[str, str], Any]
) -> None:
    part = part_of(number, id, inputs)
    if part.oracles is None:
        pytest.skip("this part has no oracle")
    given = dict(inputs[number, id][0])
    oracles = part.oracles(given)
    shapes = [a.shape for a in arrays(given)]
    counter = Counter(oracles, Limits(oracle_calls=dict.fromkeys(oracles, 10**6)))
    for trial in range(TRIALS):
        random = np.random.default_rng([1, trial])
        name = str(random.choice(list(oracles)))
        args = [value(random, shapes) for _ in range(random.integers(0, 4))]
        kwargs = {str(n): number for n in random.integers(0, 3, random.integers(0, 2))}
        question: dict[str, Any] = {"name": name, "args": args, "kwargs": kwargs}
        if trial % 5 == 0:
            question["args"] = value(random, shapes)
        if trial % 7 == 0:
            question["kwargs"] = value(random, shapes)
        try:
            question = from_bytes(to_bytes(question))
        except BoundaryError:
            continue
        answer = _answer(counter, question)
        assert set(answer) in ({"value"}, {"refused"})
        assert isinstance(answer.get("refused", ""), str)


def test_nothing_hidden_is_ever_sent(inputs: dict[tuple[str, str], Any]) -> None:
    for number, id in PARTS:
        part_of(number, id, inputs)
        for given in inputs[number, id]:
            sent = visible(given)
            assert not any(key.startswith("_") for key in sent)
            _can_be_sent([given], "nothing", id)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (10**300, "64"),
        ({"a": "\ud800"}, "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        ({"__array__": 0, "x": 1}, "taken"),
    ],
)
def test_what_has_no_place_in_a_message_is_refused(given: Any, words: str) -> None:
    with pytest.raises(BoundaryError, match=words):
        to_bytes(given)
    with pytest.raises(Refused, match=words):
        _can_be_sent([{"x": given}], "f", "g")
