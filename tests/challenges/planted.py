"""A challenge refuses its planted wrong answers with the fitting words, and accepts right ones.

A challenge's test file derives `TestAnswers` from `PlantedAnswers` and names its answers, each
{cell id: source}; cells that are left out are those of the solution. Where a name ends in "with
nothing withheld", the answer finds all of the course, and the checks alone must refuse it.
"""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from forked import forked
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from course_utils.challenges.declare import Challenge, find_challenge
from course_utils.challenges.names import NAMES
from course_utils.grading.answers.notebooks import read_answers
from course_utils.grading.answers.process import OtherProcess
from course_utils.grading.answers.verify import Result, generator, verify, verify_part

ROOT = Path(__file__).resolve().parents[2]
SEED = "a test"
Answer = dict[str, str]
Expected = Mapping[str, tuple[float, str]]


class PlantedAnswers:
    """The tests; a challenge's own class says what is planted.

    Attributes:
        number: of the challenge.
        wrong: (name, answer, {part id: (most points, "a part of the message")}), at least 8.
        right: (name, answer), at least 2.
        half_wrong: the name of a wrong answer that would stop a notebook, if a look at it could.
    """

    number: ClassVar[str]
    wrong: ClassVar[Sequence[tuple[str, Answer, Expected]]]
    right: ClassVar[Sequence[tuple[str, Answer]]]
    half_wrong: ClassVar[str]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        for kind, planted in (("wrong", self.wrong), ("right", self.right)):
            if f"{kind}_answer" in metafunc.fixturenames:
                names = [case[0][:56] for case in planted]
                metafunc.parametrize(f"{kind}_answer", planted, ids=names)

    def test_enough_answers_are_planted(self) -> None:
        assert len(self.wrong) >= 8 and len(self.right) >= 2
        assert sum("cheat" in name for name, *_ in self.wrong) >= 2

    def test_wrong_answers_end_in_the_right_band(
        self, wrong_answer: tuple[str, Answer, Expected]
    ) -> None:
        name, answer, expected = wrong_answer
        result = run(self.number, answer, name)
        assert not result.passed, result.table()
        hold(result.to_json()["parts"], expected)

    def test_right_answers_get_full_marks(self, right_answer: tuple[str, Answer]) -> None:
        result = run(self.number, right_answer[1])
        assert result.points == result.most, result.table()

    def test_the_graders_own_answers_are_withheld(self) -> None:
        challenge = find_challenge(self.number)
        module = f"course_utils.challenges.{NAMES[self.number]}.contestants"
        take = (
            f"from {module} import CONTESTANTS\n"
            "globals().update(next(f for n, f in CONTESTANTS.items() if n[:9] == 'reference'))"
        )
        result = run(self.number, dict.fromkeys(challenge.answers, take))
        assert result.points == 0, result.table()
        for part in result.parts:
            assert "challenges is withheld where answers are verified" in part.message

    def test_the_untouched_challenge_is_not_attempted(self) -> None:
        challenge = find_challenge(self.number)
        path = ROOT / "challenges" / f"{challenge.name}.ipynb"
        with OtherProcess(challenge, read_answers(path, challenge)) as caller:
            result = verify(challenge, caller)
        assert {part.verdict for part in result.parts} == {"not attempted"}, result.table()
        assert not result.passed and not result.attempted

    def test_a_wrong_answer_does_not_stop_the_notebook(self) -> None:
        """No cell fails, as in the untouched notebook, and the quick look gives the same band."""
        challenge = find_challenge(self.number)
        ((answer, expected),) = [
            (answer, expected) for name, answer, expected in self.wrong if name == self.half_wrong
        ]
        notebook = json.loads((ROOT / "challenges" / f"{challenge.name}.ipynb").read_text())
        cells = solution_of(challenge) | answer
        by_id = {f"challenge-{self.number}-{id}": source for id, source in cells.items()}
        shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                id = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
                ran = shell.run_cell(by_id.pop(id, "".join(cell["source"])))
                assert ran.success, (cell["id"], ran.error_in_exec)
        assert not by_id, "an answer names a cell that is none"
        hold(shell.user_ns["result"].to_json()["parts"], expected)


def hold(every: Sequence[Mapping[str, Any]], expected: Expected) -> None:
    """Parts have at most these points, and say these words."""
    parts = {part["id"]: part for part in every}
    for id, (most, words) in expected.items():
        part = parts[id]
        assert part["points"] <= most, part
        assert words in " ".join([part["message"], *part["notes"]]), part


def solution_of(challenge: Challenge) -> Answer:
    """The cells of the solution."""
    path = ROOT / "solutions" / "challenges" / f"{challenge.name}.ipynb"
    return dict(read_answers(path, challenge))


def run(number: str, answer: Answer, name: str = "") -> Result:
    """Verify an answer; parts that it does not touch are those of the solution, measured once."""
    challenge = find_challenge(number)
    cells = solution_of(challenge) | answer
    assert set(cells) == set(challenge.answers), "an answer names a cell that is none"
    start = forked(challenge, sees_all=name.endswith("with nothing withheld"))
    changed = touched(cells, answer)
    results = []
    with OtherProcess(challenge, [(id, cells[id]) for id in challenge.answers], start) as caller:
        for part in challenge.parts:
            if changed.isdisjoint(part.functions):
                results.append(solved(number).parts[challenge.parts.index(part)])
            else:
                results.append(verify_part(part, caller, generator(SEED, number, part.id)))
    points = sum(result.points for result in results)
    return Result(challenge.name, SEED, tuple(results), points >= challenge.pass_points)


@functools.cache
def solved(number: str) -> Result:
    """What the solution gives."""
    challenge = find_challenge(number)
    cells = list(solution_of(challenge).items())
    with OtherProcess(challenge, cells, forked(challenge)) as caller:
        return verify(challenge, caller, SEED)


def touched(cells: Answer, answer: Answer) -> set[str]:
    """The functions that may do something else than the solution's.

    Those are the functions that an answer defines, and what uses such a name. An answer that does
    more than define may touch everything.

    Args:
        cells: all of the notebook, with the answer among them.
        answer: the cells that are not the solution's.
    """
    names: set[str] = set()
    uses: dict[str, set[str]] = {}
    plain = True
    for id, source in cells.items():
        try:
            body = ast.parse(source).body
        except SyntaxError:
            body, plain = [], False
        for node in body:
            inside = list(ast.walk(node))
            bound: set[str] = set()
            if isinstance(node, ast.FunctionDef):
                bound = {node.name}
                uses[node.name] = {each.id for each in inside if isinstance(each, ast.Name)}
            elif isinstance(node, ast.Import | ast.ImportFrom):
                bound = {each.asname or each.name.split(".")[0] for each in node.names}
            elif isinstance(node, ast.Assign) and not any(isinstance(x, ast.Call) for x in inside):
                bound = {each.id for each in node.targets if isinstance(each, ast.Name)}
                plain &= len(bound) == len(node.targets)
            elif id in answer:
                plain = False
            if id in answer:
                names |= bound
    if not plain:
        every = [part for number in NAMES for part in find_challenge(number).parts]
        return {name for part in every for name in part.functions}
    while more := {name for name, used in uses.items() if used & names} - names:
        names |= more
    return names
