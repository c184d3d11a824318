"""What lesson 09 rests on: its quantities, its prompts, and what it says of the vocabulary."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from course_utils.authoring import learner_version, read
from course_utils.checks.lesson_09 import (
    ladder,
    negative_problem,
    prompt_problem,
    spread,
    unknown_words,
)
from course_utils.guidance import combine
from course_utils.hub import DEFAULT_MODEL, find_folder
from course_utils.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[1]
SOLUTION = ROOT / "solutions" / "09_prompting.ipynb"


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    found = Vocabulary.load(find_folder(DEFAULT_MODEL))
    assert found is not None
    return found


def test_spread_is_the_mean_of_the_pairwise_distances() -> None:
    from scipy.spatial.distance import pdist

    pictures = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = pdist(pictures.flatten(1).double().numpy()).mean() / (3 * 8 * 8) ** 0.5
    assert float(spread(pictures)) == pytest.approx(expected, rel=1e-6)


def test_spread_of_independent_noise_has_its_closed_form() -> None:
    # x_i - x_j of standard normal pictures has variance 2.
    pictures = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert float(spread(pictures)) == pytest.approx(2**0.5, rel=0.01)


def test_unknown_words_agrees_with_the_pipeline(vocabulary: Vocabulary) -> None:
    for prompt in ("draw a cat", "a Yak, 3d style, on blue", "masterpiece, best quality", ""):
        theirs = [word.word for word in vocabulary.unknown_words(prompt)]
        assert unknown_words(prompt, set(vocabulary.words)) == theirs


@pytest.mark.parametrize("thing", ["cat", "rocket", "panda", "pizza", "frog"])
def test_the_ladder_speaks_in_known_words(thing: str, vocabulary: Vocabulary) -> None:
    vague, *others = ladder(thing, "3d", "blue")
    known = set(vocabulary.words)
    assert [unknown_words(rung, known) for rung in others] == [[], [], []]
    assert set(unknown_words(vague, known)) <= {"draw"}
    assert all(a.split(",")[0] in b for a, b in itertools.pairwise(others))


def test_the_formula_of_the_negative_prompt() -> None:
    prompt, negative = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    for w in (0.0, 1.0, 2.5):
        expected = negative + w * (prompt - negative)
        torch.testing.assert_close(combine(prompt, negative, w), expected)
    torch.testing.assert_close(combine(prompt, negative, 1.0), prompt)


def test_the_examples_of_the_page_pass() -> None:
    assert prompt_problem("a cat face, flat style, on a green background") is None
    assert negative_problem("green background") is None


def test_the_page_keeps_to_the_course_s_style() -> None:
    solution = read(SOLUTION)
    for cell in solution["cells"]:
        if cell["cell_type"] == "markdown":
            assert "!" not in "".join(cell["source"]), cell["id"]
    ids = [cell["id"] for cell in learner_version(solution)["cells"]]
    assert len(ids) == len(set(ids))
