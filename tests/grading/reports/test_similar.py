"""Copies are found through what copiers change; answers of people who think alike are not."""

from __future__ import annotations

import importlib
import itertools
import json
import random
import re
import time
from pathlib import Path

import pytest

from course_utils.challenges.names import NAMES
from course_utils.grading.reports import similar
from course_utils.grading.reports.similar import Alike, compare, groups, text_tokens, tree_tokens

ROOT = Path(__file__).resolve().parents[3]
NUMBERS = ("01", "02", "03", "04")
RIGHT = {n: importlib.import_module(f"test_{NAMES[n]}").RIGHT for n in NUMBERS}

SOURCE = '''
def sample(x_T, alpha_bar, denoise):
    """Draw."""
    a = alpha_bar.double()
    clock = (a / (1 - a)).log() / 2
    marks = (-1.9, -1.3, -0.65, 0.0, 0.65, 1.3, 1.95)
    steps = [999] + [int((clock > m).nonzero().max()) for m in marks]
    level = ((1 - a[steps]) / a[steps].clamp(min=2.0**-24)).sqrt().tolist()
    y, old = x_T.double() * (1 + level[0] ** 2) ** 0.5, None
    for i, t in enumerate(steps):
        s = level[i]
        x0 = denoise((y / (1 + s * s) ** 0.5).float(), t).double()
        if i == 7:
            return x0.float()
        ratio = level[i + 1] / s
        ahead = x0
        if old is not None:
            slope = math.log(ratio) / math.log(s / level[i - 1]) / 2
            ahead = (1 + slope) * x0 - slope * old
        y = ratio * y + (1 - ratio) * ahead
        old = x0
'''
OTHER = """
def sample(x_T, alpha_bar, denoise):
    times = torch.linspace(999, 0, 8).long().tolist()
    x = x_T
    for now, then in zip(times, times[1:] + [None]):
        guess = denoise(x, now)
        if then is None:
            break
        signal, noise = alpha_bar[now].sqrt(), (1 - alpha_bar[now]).sqrt()
        epsilon = (x - signal * guess) / noise
        x = alpha_bar[then].sqrt() * guess + (1 - alpha_bar[then]).sqrt() * epsilon
    return guess
"""


def renamed(source: str, seed: int = 0) -> str:
    """Other names for all that the source names itself."""
    random_ = random.Random(seed)
    own = ("clock", "marks", "steps", "level", "old", "ratio", "ahead", "slope", "x0", "x_T", "y")
    for name in own:
        new = "".join(random_.choice("abcdefghij") for _ in range(6))
        source = re.sub(rf"\b{name}\b", new, source)
    return source


def commented(source: str) -> str:
    """Comments, blank lines and docstrings come and go."""
    lines = source.replace('"""Draw."""', '"""My very own idea.\n\n    It is new."""').split("\n")
    return "\n".join(
        f"{line}  # I thought of this"
        if line.strip().endswith("2")
        else f"{line}\n"
        if i % 4
        else line
        for i, line in enumerate(lines)
    )


def laid_out(source: str) -> str:
    """Parentheses, line breaks, annotations, other ways to write a number."""
    source = source.replace("0.65", "6.5e-1").replace(
        "(1 - ratio) * ahead", "((1 -\n ratio)) * (ahead)"
    )
    return source.replace(
        "(x_T, alpha_bar, denoise)", "(x_T: Tensor, alpha_bar: Tensor, denoise) -> Tensor"
    )


def padded(source: str) -> str:
    """Unneeded statements at both ends, and a helper before."""
    helper = "def helper(a, b):\n    return [a[i] * b[i] for i in range(len(a))]\n"
    return (
        helper
        + source.replace("    clock =", "    unused = torch.zeros(3)\n    clock =")
        + "\nDONE = True\n"
    )


CHANGES = {
    "as it is": lambda s: s,
    "renamed": renamed,
    "comments": commented,
    "layout": laid_out,
    "padded": padded,
    "all of it": lambda s: renamed(commented(laid_out(padded(s)))),
}


def pairs(answers: dict[str, str], **more) -> dict[tuple[str, str], Alike]:
    found = compare({name: {"sample": source} for name, source in answers.items()}, **more)
    return {(pair.first, pair.second): pair for pair in found}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_through_what_copiers_change(change: str) -> None:
    copy = CHANGES[change](SOURCE)
    found = pairs({"ada": SOURCE, "bela": copy, "chen": OTHER})
    assert list(found) == [("ada", "bela")]
    pair = found["ada", "bela"]
    assert pair.share > 0.75 and pair.cell == "sample"
    assert pair.identical == (change not in ("padded", "all of it"))


def test_the_lines_that_both_have_are_told() -> None:
    copy = "# new\n" * 30 + OTHER.replace("def sample", "def other") + SOURCE
    (pair,) = pairs({"ada": SOURCE, "bela": copy}).values()
    ours, theirs = pair.lines[0]["sample"], pair.lines[1]["sample"]
    shift = copy.count("\n") - SOURCE.count("\n")
    start = SOURCE.split("\n").index("    a = alpha_bar.double()") + 2
    assert set(range(start, start + 14)) <= ours
    assert {line + shift for line in ours if line > start} <= theirs
    assert min(theirs) > 30 and len(theirs) < len(ours) + 8


@pytest.mark.parametrize("number", NUMBERS)
def test_independent_right_answers_are_not_alike(number: str) -> None:
    answers = {name: dict(answer) for name, answer in RIGHT[number]}
    path = next((ROOT / "solutions" / "challenges").glob(f"{number}_*.ipynb"))
    cells = {cell for answer in answers.values() for cell in answer}
    code = {c["id"]: "".join(c["source"]) for c in json.loads(path.read_text("utf-8"))["cells"]}
    answers["our own"] = {cell: code[cell] for cell in cells}
    if number == "03":  # both have the same `train`, word for word but for one number
        (same,) = compare(answers)
        assert same.cell == "train" and same.share > 0.8
        for answer in answers.values():
            answer.pop("train")
    assert compare(answers) == []


def test_answers_to_different_challenges_are_not_alike() -> None:
    answers = {
        f"{n} {i}": {"x": "\n".join(RIGHT[n][i][1].values())} for n in NUMBERS for i in (0, 1)
    }
    assert compare(answers) == []


def test_one_copied_cell_of_several_is_found() -> None:
    long = "\n".join(
        f"def f{i}(a, b):\n    return a[{i}:] @ b - torch.ones({i})" for i in range(60)
    )
    other = "\n".join(f"def g{i}(p):\n    yield p.sum(dim={i}).exp(), {i}" for i in range(60))
    answers = {
        "ada": {"sample": SOURCE, "fit": long},
        "bela": {"sample": renamed(SOURCE), "fit": other},
        "chen": {"sample": OTHER, "fit": "def fit(): return {}"},
    }
    (pair,) = compare(answers)
    assert (pair.first, pair.second, pair.cell, pair.identical) == ("ada", "bela", "sample", True)
    # And of answers that are alike as a whole it says so.
    answers["chen"] = {cell: renamed(source) for cell, source in answers["ada"].items()}
    whole = {(p.first, p.second): p.cell for p in compare(answers)}
    assert whole["ada", "chen"] == ""


def test_what_was_handed_out_counts_for_nothing() -> None:
    found = pairs({"ada": SOURCE, "bela": renamed(SOURCE)}, given=[commented(SOURCE)])
    assert found == {}
    mine = SOURCE + OTHER.replace("def sample", "def own")
    found = pairs({"ada": mine, "bela": renamed(SOURCE)}, given=[SOURCE])
    assert found == {}
    stub = 'def sample(x_T):\n    """Long.\n\n    Text."""\n    raise NotImplementedError()\n'
    assert pairs(dict.fromkeys("abc", stub), given=[stub]) == {}


def test_what_much_of_the_class_has_counts_for_nothing() -> None:
    answers = {f"student {i:02}": SOURCE + unlike(i) for i in range(20)}
    assert pairs(answers) == {}
    answers["student 03"] = renamed(answers["student 07"])
    assert list(pairs(answers)) == [("student 03", "student 07")]


def test_a_large_ring_does_not_hide_in_its_size() -> None:
    answers = {f"student {i:02}": unlike(i) for i in range(20)}
    answers |= {f"ring {i:02}": renamed(SOURCE, seed=i) for i in range(16)}
    found = pairs(answers)
    assert groups(found.values()) == [tuple(f"ring {i:02}" for i in range(16))]
    assert all(pair.identical for pair in found.values()) and len(found) < 40


def unlike(i: int) -> str:
    """Code that nobody else has."""
    random_ = random.Random(i)
    words = ("exp", "log", "sin", "tanh", "sqrt", "abs", "relu", "floor")
    lines = [
        f"    v{k} = torch.{random_.choice(words)}(u{k % 4}[{random_.randint(0, 99)}:] "
        f"{random_.choice('+-*/')} {random_.random():.3f}).{random_.choice(words)}()"
        for k in range(12)
    ]
    return f"\ndef own_{i}(u0, u1, u2, u3):\n" + "\n".join(lines) + "\n    return v3\n"


def test_short_answers_are_never_flagged() -> None:
    short = "def betas_for(snr):\n    a = snr / (1 + snr)\n    return 1 - a / torch.roll(a, 1)\n"
    assert pairs({"ada": short, "bela": renamed(short), "chen": short}) == {}


def test_sources_that_python_can_not_read_are_compared_as_text() -> None:
    broken = renamed(SOURCE) + "\n    return )\n%matplotlib inline\n"
    assert tree_tokens(broken) is None
    found = pairs({"ada": SOURCE, "bela": broken, "chen": OTHER, "dana": OTHER + "!ls ("})
    assert sorted(found) == [("ada", "bela"), ("chen", "dana")]
    assert max(found["ada", "bela"].lines[1]["sample"]) <= broken.count("\n")


@pytest.mark.parametrize(
    "source",
    [
        "x = " + "-" * 50_000 + "1",
        "a" + ".b" * 50_000,
        "(" * 50_000,
        "lambda:" * 30_000 + "1",
        "x = " + "9" * 100_000,
        "x = 1e999j",
        "x=1;" * 5_000,
        'f"' + "{x}" * 3_000 + '"',
        "a\x00b",
        "x = '\ud800'",
        "\\",
        "'" * 99_999,
        "",
        "\n" * 100_000,
    ],
    ids=range(14),
)
def test_no_source_is_too_odd(source: str) -> None:
    started = time.process_time()
    assert len(text_tokens(source)) <= similar.MOST_TOKENS
    compare({"ada": {"c": source}, "bela": {"c": source}, "chen": {"c": OTHER}})
    assert time.process_time() - started < 20


def test_groups_join_through_others() -> None:
    def pair(first: str, second: str) -> Alike:
        return Alike(first, second, "", 1.0, True, ({}, {}))

    found = groups([pair("a", "b"), pair("c", "d"), pair("e", "f"), pair("b", "e")])
    assert found == [("a", "b", "e", "f"), ("c", "d")]
    assert groups([]) == []


def test_three_hundred_answers_take_seconds() -> None:
    sources = list(
        itertools.chain.from_iterable(answer.values() for n in NUMBERS for _, answer in RIGHT[n])
    )
    answers = {f"student {i:03}": {"sample": unlike(i) + unlike(1000 + i)} for i in range(300)}
    answers["student 111"] = {
        cell: renamed(source) for cell, source in answers["student 007"].items()
    }
    started = time.process_time()
    found = compare(answers, given=sources)
    assert time.process_time() - started < 10
    assert [(pair.first, pair.second) for pair in found] == [("student 007", "student 111")]
