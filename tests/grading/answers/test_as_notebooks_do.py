"""What works in a notebook works where it is verified, or is said to be of notebooks alone."""

from __future__ import annotations

import time

import pytest
from forked import forked
from test_verify import GOOD, challenge, elsewhere, part

from course_utils.challenges.declare import Challenge, Limits
from course_utils.grading.answers import verify as verifying
from course_utils.grading.answers.process import OtherProcess
from course_utils.grading.answers.syntax import as_python
from course_utils.grading.answers.verify import verify

MAGICS = {
    "a magic": ("%matplotlib inline\n" + GOOD, "%matplotlib inline"),
    "a cell magic": ("%%time\n" + GOOD, "%%time"),
    "a shell command": ("!pip install torch\n" + GOOD, "!pip install torch"),
    "a question": (GOOD + "\ntwice?", "twice?"),
    "in a function": ("def twice(x):\n    %time\n    return 2 * x", "%time"),
    "a bell in it": ("%echo \x1b[31m\n" + GOOD, "%echo \\x1b[31m"),
}


@pytest.mark.parametrize("name", MAGICS)
def test_magics_are_left_out_and_it_is_said(name: str) -> None:
    source, words = MAGICS[name]
    asked = challenge()
    with OtherProcess(asked, [("answer", source)], forked(asked)) as caller:
        assert verify(asked, caller, "seed").passed
    (note,) = caller.notes
    assert words in note and "only Python counts" in note


@pytest.mark.parametrize(
    "source", ["%a\n" * 3000, "!x\n" * 101, "%%time\n" + "(" * 5000, "%a\n" + "(" * 9000]
)
def test_sources_that_no_reader_likes_come_back_as_they_are(source: str) -> None:
    text, _ = as_python(source)
    assert text.replace("%%time", "") == source.replace("%%time", "")


LIKE_IN_A_NOTEBOOK = {
    "display": "def twice(x):\n    display(x)\n    return 2 * x",
    "a script": "@torch.jit.script\ndef twice(x: torch.Tensor):\n    return 2 * x",
    "its own source": "import inspect\ndef twice(x):\n"
    "    assert 'getsource' in inspect.getsource(twice)\n    return 2 * x",
    "a percent sign": 'x = """\n%d\n"""\ndef twice(x):\n    return (2 * x\n    - 7 % 7)',
}


@pytest.mark.parametrize("name", LIKE_IN_A_NOTEBOOK)
def test_what_works_in_a_notebook_works_here(name: str) -> None:
    (found,) = elsewhere(LIKE_IN_A_NOTEBOOK[name], limits=Limits(60, 1500)).parts
    assert found.verdict == "pass", found


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def twice(x):\n    return np.asarray(x) * 2", "Only answer cells count"),
        ("%%bash\nls", "not written yet"),
        ("def twice(x):\n    return 2 * x\n$ ls", "commands of notebooks"),
        ("def twice(x):\n    raise ValueError('\\x1b[31mred\\x07')", "\\x1b[31mred\\x07"),
    ],
)
def test_errors_say_what_they_often_come_from(source: str, words: str) -> None:
    (found,) = elsewhere(source).parts
    assert words in found.message and found.message.isprintable()


@pytest.mark.parametrize(
    "broken", ["def half(x:", "import nothing_like_it\ndef half(x): return x", "def half(x): $"]
)
def test_a_cell_that_fails_costs_its_own_parts_alone(broken: str) -> None:
    asked = Challenge(
        "01", "Test", ("one", "two"), (part(), part(id="b", function="half")), pass_points=8
    )
    for cells in ([("one", GOOD), ("two", broken)], [("two", broken), ("one", GOOD)]):
        with OtherProcess(asked, cells, forked(asked)) as caller:
            good, bad = verify(asked, caller, "seed").parts
        assert (good.verdict, bad.verdict) == ("pass", "error"), (good, bad)
        assert "of cell two" in bad.message


def test_a_submission_has_an_end_of_its_own() -> None:
    parts = tuple(part(id=id, limits=Limits(60, 1500)) for id in "abc")
    asked = Challenge("01", "Test", ("answer",), parts, pass_points=12)
    slow = "import time\ndef twice(x):\n    time.sleep(3)\n    return 2 * x"
    with OtherProcess(asked, [("answer", slow)], forked(asked)) as caller:
        found = verify(asked, caller, "seed", seconds=10)
    verdicts = [each.verdict for each in found.parts]
    assert verdicts[-1] == "out of time" and set(verdicts) <= {"pass", "out of time"}
    assert "All parts together took more than 10 seconds" in found.parts[-1].message


def test_what_a_part_gives_in_all_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "MOST_RETURNED", 50)
    (found,) = elsewhere(GOOD).parts  # 16 bytes, then 24: enough
    assert found.verdict == "pass"
    (found,) = elsewhere("def twice(x):\n    return x.repeat(9)").parts
    assert found.verdict == "refused" and "in all its calls" in found.message


def test_lists_without_end_are_refused_before_they_are_read() -> None:
    started = time.process_time()
    source = "def twice(x):\n    return [[] for _ in range(300_000)]"
    (found,) = elsewhere(source, limits=Limits(60, 1500)).parts
    assert found.verdict in ("killed", "error") and time.process_time() - started < 5, found
