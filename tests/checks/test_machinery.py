"""Checks, hints, summaries and the leash: whatever a learner writes, the lesson goes on."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import course_utils.checks as checks
from course_utils import lessons
from course_utils.checks import (
    Case,
    Exercise,
    ModuleCase,
    examine,
    exercises,
    find_exercise,
    slips,
)
from course_utils.checks.guard import TimeLimit, leash
from course_utils.checks.trial import trial_of


def scale(x: Tensor, k: Tensor) -> Tensor:
    """k x, one k for each row."""
    return k[:, None] * x


def cases(generator: torch.Generator) -> Iterator[Case]:
    for shape in ((2, 1), (3, 4)):
        yield Case((torch.randn(shape, generator=generator), torch.rand(shape[0]) + 0.5))


EXERCISE = Exercise(
    "99.scale",
    scale,
    cases,
    hints=("Look at the shapes first.", "Give k another dimension.", "k[:, None] * x"),
    difficulty=1,
    minutes=3,
    mistakes=slips(
        """
        divided: `k[:, None] * x` -> `x / k[:, None]`
            You divide where you should multiply.
        """
    ),
    gradients=("x", "k"),
    keeps_dtype=True,
    seconds=1.0,
)


class Twice(nn.Module):
    """Two linear layers: first, second."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())


def module_cases(generator: torch.Generator) -> Iterator[ModuleCase]:
    for width in (2, 5):
        x = torch.randn(3, width, generator=generator)
        yield ModuleCase((x,), init={"width": width}, seed=width)


MODULE = Exercise(
    "99.Twice", Twice, module_cases, ("one hint here", "two", "three"), difficulty=2, minutes=5
)


@pytest.fixture
def lesson(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Lesson 99 with both exercises; a fresh session; progress in a file of its own."""
    module = type(sys)("course_utils.checks.lesson_99")
    module.EXERCISES = (EXERCISE, MODULE)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "course_utils.checks.lesson_99", module)
    monkeypatch.setattr(lessons, "LESSONS", (lessons.Lesson("99", "99_test", "Test", "Why?", 9),))
    monkeypatch.setattr(checks, "_session", {})
    monkeypatch.setattr(checks, "_hints", {})
    monkeypatch.delenv("COURSE_EXPECT", raising=False)
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.sqlite"))
    return tmp_path / "progress.sqlite"


# --- right answers -------------------------------------------------------------------------------


def by_loop(x: Tensor, k: Tensor) -> Tensor:
    return torch.stack([row * factor for row, factor in zip(x, k, strict=True)])


def in_float64(x: Tensor, k: Tensor) -> Tensor:
    return (k.double()[:, None] * x.double()).to(x.dtype)


def with_noise_and_warning(x: Tensor, k: Tensor) -> Tensor:
    print("shapes", x.shape, k.shape)
    warnings.warn("this is slow", stacklevel=1)
    return k[:, None] * x * (1 + 1e-7)


@pytest.mark.parametrize("answer", [by_loop, in_float64, with_noise_and_warning])
def test_right_answers_written_otherwise(answer: Any) -> None:
    for seed in range(20):
        assert examine(EXERCISE, answer, seed).state == "passed"


class Swapped(nn.Module):
    """The layers in another order of making."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.second = nn.Linear(width, width)
        self.first = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.clamp(x @ self.first.weight.T + self.first.bias, min=0)
        return hidden @ self.second.weight.T + self.second.bias


def test_a_module_is_compared_with_the_same_weights() -> None:
    assert examine(MODULE, Swapped).state == "passed"


# --- wrong answers -------------------------------------------------------------------------------


def raises(x: Tensor, k: Tensor) -> Tensor:
    raise ValueError("I do not like these")


def gives_nan(x: Tensor, k: Tensor) -> Tensor:
    return k[:, None] * x * float("nan")


def changes_x(x: Tensor, k: Tensor) -> Tensor:
    x *= k[:, None]
    return x


def detaches(x: Tensor, k: Tensor) -> Tensor:
    return k[:, None] * x.detach()


def always_float64(x: Tensor, k: Tensor) -> Tensor:
    return k.double()[:, None] * x


def wrong_broadcast(x: Tensor, k: Tensor) -> Tensor:
    return (k * x.T).T[None]


def calls_itself(x: Tensor, k: Tensor) -> Tensor:
    return calls_itself(x, k)


def one_argument(x: Tensor) -> Tensor:
    return x


def unknown_name(x: Tensor, k: Tensor) -> Tensor:
    return kk[:, None] * x  # type: ignore[name-defined]  # noqa: F821


WRONG = {
    "raises": (raises, "raises ValueError in line"),
    "none": (lambda x, k: None, "is a `return` missing"),
    "shape": (wrong_broadcast, "has shape (1, 2, 1); expected (2, 1)"),
    "nan": (gives_nan, "holds NaN"),
    "list": (lambda x, k: scale(x, k).tolist(), "is a list"),
    "integers": (lambda x, k: scale(x, k).long(), "dtype int64"),
    "in place": (changes_x, "changes its argument x in place"),
    "detached": (detaches, "no gradient flows back to x"),
    "float64": (always_float64, "dtype float64; expected float32"),
    "known mistake": (lambda x, k: x / k[:, None], "divide where you should multiply"),
    "sign": (lambda x, k: -k[:, None] * x, "opposite sign"),
    "factor": (lambda x, k: 3 * k[:, None] * x, "3 times the expected one"),
    "recursion": (calls_itself, "calls itself without an end"),
    "arguments": (one_argument, "can't be called as the docstring says, scale(x, k)"),
    "name": (unknown_name, "uses a name that is not defined"),
    "called": (torch.ones(2), "the function itself, not called"),
}


@pytest.mark.parametrize(("answer", "message"), WRONG.values(), ids=list(WRONG))
def test_wrong_answers_get_their_message(answer: Any, message: str) -> None:
    verdict = examine(EXERCISE, answer, seed=0)
    assert verdict.state == "wrong" and message in verdict.message, verdict


def test_the_smallest_failing_case_is_shown() -> None:
    verdict = examine(EXERCISE, lambda x, k: x + k[:, None], seed=0)
    assert "shape (2, 1)" in verdict.case
    assert verdict.expected and verdict.got and verdict.expected != verdict.got


class Renamed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Linear(width, width)
        self.second = nn.Linear(width, width)


class Wider(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width + 1)
        self.second = nn.Linear(width, width)


class Linear(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Renamed, "it lacks first.weight, first.bias"),
        (Wider, "first.weight has shape (3, 2); expected (2, 2)"),
        (Linear, "other values than expected"),
        (lambda width: "no module", "expected an nn.Module"),
    ],
)
def test_wrong_modules_get_their_message(answer: Any, message: str) -> None:
    verdict = examine(MODULE, answer, seed=0)
    assert verdict.state == "wrong" and message in verdict.message, verdict


def on_the_cpu(x: Tensor, k: Tensor) -> Tensor:
    return torch.tensor([1.0] * len(x))[:, None] * k[:, None] * x


def test_a_tensor_left_on_the_cpu_is_found_without_a_gpu() -> None:
    exercise = replace(EXERCISE, keeps_device=True)
    assert examine(exercise, by_loop).state == "passed"
    verdict = examine(exercise, on_the_cpu)
    assert verdict.state == "passed" and "One remark: on a GPU it would fail" in verdict.message
    assert verdict.goes_on == (not torch.cuda.is_available())


def test_an_empty_stub_is_open_and_not_wrong() -> None:
    def stub(x: Tensor, k: Tensor) -> Tensor:
        raise NotImplementedError()

    assert examine(EXERCISE, stub).state == "open"


def test_only_the_stub_s_own_text_is_a_blank() -> None:
    def unfinished(x: Tensor, k: Tensor) -> Tensor:
        raise NotImplementedError("later")

    class Halfway(Twice):
        def forward(self, x: Tensor) -> Tensor:
            raise NotImplementedError()

    verdict = examine(EXERCISE, unfinished)
    assert verdict.state == "wrong" and "raises NotImplementedError in line" in verdict.message
    with pytest.raises(NotImplementedError):  # torch's own, of whole numbers
        torch.nn.functional.silu(torch.ones(2, dtype=torch.long))
    verdict = examine(EXERCISE, lambda x, k: torch.nn.functional.silu(x.long()))
    assert verdict.state == "wrong" and "raises NotImplementedError" in verdict.message
    verdict = examine(MODULE, Halfway)
    assert verdict.state == "open" and verdict.message == "forward is still empty."


class Evil:
    """Raises wherever it is looked at."""

    def __repr__(self) -> str:
        raise ValueError("no text")

    def __eq__(self, other: object) -> bool:
        raise SystemExit("no comparison")

    __hash__ = None  # type: ignore[assignment]


class Leaves(nn.Module):
    def __init__(self, width: int) -> None:
        sys.exit(3)


@pytest.mark.parametrize(
    ("exercise", "answer", "message"),
    [
        (EXERCISE, lambda x, k: sys.exit(), "It ends the program"),
        (EXERCISE, lambda x, k: exec("raise GeneratorExit"), "raises GeneratorExit"),
        (EXERCISE, lambda x, k: Evil(), "expected a torch.Tensor"),
        (EXERCISE, Evil(), "the function itself, not called"),
        (MODULE, Leaves, "It ends the program"),
    ],
)
def test_nothing_that_an_answer_does_leaves_the_check(
    exercise: Exercise, answer: Any, message: str
) -> None:
    verdict = examine(exercise, answer, seed=0)
    assert verdict.state == "wrong" and message in verdict.message, verdict


def test_a_closer_look_that_fails_is_a_verdict() -> None:
    exercise = replace(EXERCISE, extra=lambda candidate: candidate(torch.ones(1, 1))["weight"])
    verdict = examine(exercise, by_loop)
    assert verdict.state == "wrong" and "looking closer fails with TypeError" in verdict.message
    number = replace(EXERCISE, is_value=True, is_open=lambda value: value > 3)
    assert "can't be read" in examine(number, Evil()).message


def test_inputs_of_a_seed_are_made_once_and_survive_answers() -> None:
    def greedy(x: Tensor, k: Tensor) -> Tensor:
        x.zero_()
        return k.zero_()[:, None] * x

    made = trial_of(EXERCISE, 7)
    before = [case.args[0].clone() for case in made.cases]
    assert examine(EXERCISE, greedy, 7).state == "wrong"
    assert trial_of(EXERCISE, 7) is made and trial_of(EXERCISE) is not made
    assert all(torch.equal(a, case.args[0]) for a, case in zip(before, made.cases, strict=True))
    assert examine(EXERCISE, by_loop, 7).state == "passed"


def test_the_reference_that_was_handed_out_counts_for_nothing() -> None:
    assert examine(EXERCISE, scale).state == "open"


# --- the leash -----------------------------------------------------------------------------------


def forever(x: Tensor, k: Tensor) -> Tensor:
    while True:
        pass


def stubborn(x: Tensor, k: Tensor) -> Tensor:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
        except:  # noqa: E722
            continue
        if time.monotonic() > end - 18:
            break
    return forever(x, k)


def sleeps(x: Tensor, k: Tensor) -> Tensor:
    time.sleep(30)
    return x


@pytest.mark.parametrize("answer", [forever, stubborn, sleeps])
def test_what_never_returns_is_stopped(answer: Any) -> None:
    verdict = examine(EXERCISE, answer)
    assert verdict.state == "wrong" and "did not come to an end" in verdict.message


def test_it_is_stopped_in_another_thread_too() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(examine(EXERCISE, forever)), daemon=True)
    thread.start()
    thread.join(60)
    assert found and "did not come to an end" in found[0].message


def test_ten_megabytes_of_prints_are_caught(capsys: pytest.CaptureFixture[str]) -> None:
    def chatty(x: Tensor, k: Tensor) -> Tensor:
        print("words " * 2_000_000)
        return k[:, None] * x

    verdict = examine(EXERCISE, chatty)
    assert verdict.state == "passed"
    assert len(verdict.printed) < 1000 and "characters in all" in verdict.printed
    assert capsys.readouterr().out == ""


def test_random_states_and_settings_are_put_back() -> None:
    torch.manual_seed(1)
    random.seed(1)
    expected = torch.rand(3), random.random()
    torch.manual_seed(1)
    random.seed(1)
    with leash(5):
        torch.manual_seed(99)
        random.seed(99)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.rand(3), expected[0]) and random.random() == expected[1]


def test_ctrl_c_is_not_swallowed() -> None:
    def interrupted(x: Tensor, k: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine(EXERCISE, interrupted)


def test_a_second_leash_works_after_one_that_was_torn() -> None:
    for _ in range(3):
        with pytest.raises(TimeLimit), leash(0.05):
            time.sleep(5)
    with leash(5):
        time.sleep(0.01)
    time.sleep(0.3)  # no late alarm


# --- what a lesson sees --------------------------------------------------------------------------


def test_check_hands_back_what_the_lesson_goes_on_with(
    lesson: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checks.check("99.scale", by_loop) is by_loop
    assert "right. The lesson goes on with yours" in capsys.readouterr().out
    assert checks.check("99.scale", raises) is scale
    shown = capsys.readouterr().out
    assert "not right yet" in shown and "the course's own scale" in shown
    assert 'hint("99.scale")' in shown


def test_check_finds_an_answer_by_its_name(
    lesson: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page: dict[str, Any] = {"check": checks.check}
    exec('scale = check("99.scale")', page)  # its cell did not run: a SyntaxError, say
    assert page["scale"] is scale
    assert "There is no scale yet" in capsys.readouterr().out
    page["scale"] = by_loop
    exec('scale = check("99.scale")', page)
    assert page["scale"] is by_loop and "right" in capsys.readouterr().out


def test_a_right_answer_that_the_page_can_t_use_is_right(
    lesson: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_when_large(x: Tensor, k: Tensor) -> Tensor:
        if len(x) > 100:
            time.sleep(20)
        return k[:, None] * x

    def page(generator: torch.Generator) -> Case:
        return Case((torch.ones(500, 2), torch.ones(500)), label="500 rows")

    large = replace(EXERCISE, page=page, page_seconds=0.1)
    verdict = examine(large, slow_when_large)
    assert verdict.state == "passed" and not verdict.goes_on
    assert "too slow for this page: 500 rows takes it over 0.1 seconds" in verdict.message
    assert examine(large, in_float64).goes_on
    exact = replace(EXERCISE, remark=lambda candidate: "It is right, but rough.")
    monkeypatch.setattr(sys.modules["course_utils.checks.lesson_99"], "EXERCISES", (exact,))
    assert checks.check("99.scale", by_loop) is scale
    shown = capsys.readouterr().out
    assert "right. The lesson goes on with the course's own" in shown and "rough" in shown
    assert "1 of 1 exercises done" in checks.summary("99").title


def test_a_later_slip_takes_nothing_away(lesson: Path) -> None:
    checks.check("99.scale", by_loop)
    checks.check("99.scale", raises)
    assert "1 of 2 exercises done" in checks.summary("99").title
    assert "scale: done" in " ".join(str(checks.panel("99")).split())


def one_row(x: Tensor, k: Tensor) -> Tensor:
    found = k[:, None] * x
    return torch.cat([found[:1] + 0.01, found[1:]])


def clipped(x: Tensor, k: Tensor) -> Tensor:
    return (3 * k[:, None] * x).clamp(-1, 1)


def test_a_sentence_about_all_elements_holds_in_all_of_them() -> None:
    message = examine(EXERCISE, one_row, seed=0).message
    assert "everywhere" not in message and "other values than expected" in message
    plus = examine(EXERCISE, lambda x, k: k[:, None] * x + 0.01, seed=0).message
    assert "plus 0.01, everywhere" in plus
    three = replace(EXERCISE, reference=three_times, mistakes=())
    assert "clipped to [-1, 1]" in examine(three, clipped, seed=0).message


def three_times(x: Tensor, k: Tensor) -> Tensor:
    """3 k x."""
    return 3 * k[:, None] * x


def test_an_unknown_id_names_the_known_ones(lesson: Path) -> None:
    with pytest.raises(ValueError, match=r"'99.scal'.*99.scale, 99.Twice"):
        checks.check("99.scal", by_loop)
    with pytest.raises(ValueError, match="expected one of ids such as"):
        checks.hint("nonsense")


def test_hints_come_one_a_call(lesson: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, words in enumerate([*EXERCISE.hints, EXERCISE.hints[2]], 1):
        checks.hint("99.scale")
        shown = capsys.readouterr().out
        assert words in shown and f"Hint {min(number, 3)} of 3" in shown
    assert 'solution("99.scale")' in shown


def test_the_solution_shows_the_source_and_is_remembered(
    lesson: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks.solution("99.scale")
    assert "return k[:, None] * x" in capsys.readouterr().out
    checks.check("99.scale", by_loop)
    assert dict(checks.summary("99").lines)["shown"] == "scale"
    assert "scale: shown" in " ".join(str(checks.panel("99")).split())


def test_the_summary_tells_open_from_wrong(lesson: Path) -> None:
    assert "2 open" in checks.summary("99").title
    checks.check("99.scale", raises)
    lines = dict(checks.summary("99").lines)
    assert lines == {"not right yet": "scale", "open": "Twice"}
    checks.check("99.scale", by_loop)
    checks.check("99.Twice", Swapped)
    assert "2 of 2 exercises done, 0 open" in checks.summary("99").title


def test_the_summary_holds_notebooks_to_their_promise(
    lesson: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSE_EXPECT", "solved")
    with pytest.raises(AssertionError, match=r"99\.scale"):
        checks.summary("99")
    monkeypatch.setenv("COURSE_EXPECT", "open")
    checks.summary("99")
    checks.check("99.scale", raises)
    with pytest.raises(AssertionError, match=r"99\.scale"):
        checks.summary("99")


def test_what_a_learner_writes_is_never_markup(lesson: Path) -> None:
    def evil(x: Tensor, k: Tensor) -> Tensor:
        raise ValueError("<script>alert(1)</script>")

    note = checks._note(EXERCISE, examine(EXERCISE, evil))
    page = note._repr_mimebundle_()["text/html"]
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_values_are_checked_too() -> None:
    exercise = Exercise(
        "99.number",
        3,
        lambda generator: [],
        ("hint number one", "two", "three"),
        1,
        1,
        is_value=True,
        is_open=lambda value: value is None,
        extra=lambda value: None if 0 <= value <= 5 else "It must lie between 0 and 5.",
    )
    assert examine(exercise, None).state == "open"
    assert examine(exercise, 4).state == "passed"
    assert "between 0 and 5" in examine(exercise, 7).message
    assert "can't be read" in examine(exercise, "seven").message


def test_the_fingerprint_follows_the_exercise() -> None:
    assert EXERCISE.fingerprint == replace(EXERCISE, hints=("a", "b", "c")).fingerprint
    assert EXERCISE.fingerprint == replace(EXERCISE, mistakes=()).fingerprint
    for change in (
        {"reference": by_loop},
        {"cases": module_cases},
        {"call": lambda candidate, case: candidate(*case.args)},
        {"extra": lambda candidate: None},
        {"gradients": ("x",)},
        {"keeps_dtype": False},
        {"keeps_device": True},
        {"rtol": 1e-2},
        {"atol": 1e-2},
    ):
        assert EXERCISE.fingerprint != replace(EXERCISE, **change).fingerprint, change


def test_the_fingerprint_covers_what_the_rules_use(monkeypatch: pytest.MonkeyPatch) -> None:
    from course_utils.checks import lesson_07_training, lesson_08_limits, lesson_09

    prompt = find_exercise("09.my_prompt")
    before = prompt.fingerprint
    monkeypatch.setattr(lesson_09, "_text_problem", lambda name, value: None)
    assert prompt.fingerprint != before
    interval = find_exercise("08.interval").fingerprint
    monkeypatch.setattr(lesson_08_limits, "_rescale_cases", None)  # another exercise's
    assert find_exercise("08.interval").fingerprint == interval
    finetune = find_exercise("07.finetune_step").fingerprint
    monkeypatch.setattr(lesson_07_training, "schedules", tuple)  # of another file
    assert find_exercise("07.finetune_step").fingerprint != finetune


def test_fingerprints_are_the_same_in_another_process() -> None:
    code = (
        "from course_utils.checks import exercises\n"
        "print([e.fingerprint for n in range(10) for e in exercises(f'{n:02d}')])"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = [e.fingerprint for number in range(10) for e in exercises(f"{number:02d}")]
    assert there.stdout.strip() == str(here)


# --- slips ---------------------------------------------------------------------------------------


def test_a_slip_is_the_reference_with_an_edit() -> None:
    (mistake,) = slips("divided: `k[:, None] * x` -> `x / k[:, None]`\n    You divide, `a` / `b`.")
    assert (mistake.id, mistake.message) == ("divided", "You divide, `a` / `b`.")
    x, k = torch.randn(2, 3), torch.tensor([2.0, 4.0])
    assert torch.equal(mistake.made_in(scale)(x, k), x / k[:, None])
    assert mistake.made_in(scale) is mistake.made_in(scale)


def test_slips_take_several_edits_lines_and_functions() -> None:
    several, other = slips(
        """
        twice:
            `super().__init__()` -> `super().__init__()\\n        width = width`
            `.relu()`
            -> `.tanh()`
            A message
            of two lines.
        other:
            A function.
        """,
        other=by_loop,
    )
    assert several.message == "A message of two lines." and len(several.edits) == 2
    assert several.made_in(Twice)(2)(torch.ones(1, 2)).shape == (1, 2)
    assert other.made_in(Twice) is by_loop


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no entry", "`id: edits` and an indented message"),
        ("one: `a` -> `b`", "`id: edits` and an indented message"),
        ("one:\n    Neither edits nor a function.", "either edits or a function"),
        ("one: `a` -> `b`\n    `c` -> `d`", "needs a message"),
    ],
)
def test_a_table_that_can_t_be_read_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        slips(text)


@pytest.mark.parametrize(("find", "count"), [("nowhere", 0), ("x", 2), ("one k for each row", 0)])
def test_an_edit_must_fit_once(find: str, count: int) -> None:
    (mistake,) = slips(f"one: `{find}` -> `y`\n    A message.")
    with pytest.raises(ValueError, match=f"occurs {count} times in scale; expected 1"):
        mistake.made_in(scale)
