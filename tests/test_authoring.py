"""From solutions to learners' notebooks: what is replaced, what stays, what nbgrader does."""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import pytest

from course_utils import authoring
from course_utils.authoring import AuthoringError, check, learner_version, release, stub_source
from course_utils.commands import release as command

NBGRADER = {
    "grade": False,
    "grade_id": "double",
    "locked": False,
    "schema_version": 3,
    "solution": True,
    "task": False,
}
ANSWER = """def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


print(double(3))"""
STUB = """def double(x):
    # YOUR CODE HERE
    raise NotImplementedError()


print(double(3))"""


def markdown(cell_id: str, source: str, **metadata: Any) -> dict[str, Any]:
    lines = source.splitlines(keepends=True)
    return {"cell_type": "markdown", "id": cell_id, "metadata": metadata, "source": lines}


def code(cell_id: str, source: str, **metadata: Any) -> dict[str, Any]:
    output = {"output_type": "stream", "name": "stdout", "text": ["6\n"]}
    cell = markdown(cell_id, source, **metadata)
    return {**cell, "cell_type": "code", "execution_count": 3, "outputs": [output]}


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    metadata = {"kernelspec": authoring.KERNEL, "language_info": {"name": "python"}, "widgets": {}}
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def lesson() -> dict[str, Any]:
    return notebook(
        markdown("title", "# A lesson"),
        code("exercise", ANSWER, nbgrader=dict(NBGRADER)),
        code("after", "x = 1\nx", scrolled=True, jupyter={"source_hidden": True}),
    )


@pytest.fixture
def folders(tmp_path: Path, lesson: dict[str, Any]) -> tuple[Path, Path]:
    solutions, notebooks = tmp_path / "solutions", tmp_path / "notebooks"
    solutions.mkdir()
    (solutions / "00_lesson.ipynb").write_bytes(authoring.to_bytes(lesson))
    return solutions, notebooks


def mend(path: Path, change: Any) -> None:
    """Change a notebook on disk."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# --- one cell ------------------------------------------------------------------------------------


def test_a_solution_becomes_the_usual_stub() -> None:
    assert stub_source(ANSWER) == STUB


def test_a_cell_may_bring_its_own_stub() -> None:
    source = """### BEGIN SOLUTION
### STUB: prompts = [
### STUB:     "",  # yours
### STUB:
### STUB: ]
prompts = ["a cat"]
### END SOLUTION"""
    assert stub_source(source) == 'prompts = [\n    "",  # yours\n\n]'


def test_the_stub_is_indented_like_the_region() -> None:
    source = "if a:\n    ### BEGIN SOLUTION\n    ### STUB: b = 0\n    b = 1\n    ### END SOLUTION"
    assert stub_source(source) == "if a:\n    b = 0"


def test_several_regions_and_text_between_them() -> None:
    region = "### BEGIN SOLUTION\n### STUB: {0} = 0\n{0} = 1\n### END SOLUTION\n"
    source = region.format("a") + "between = 2\n" + region.format("b")
    assert stub_source(source) == "a = 0\nbetween = 2\nb = 0\n"


def test_a_text_cell_gets_a_text_stub() -> None:
    source = "Why?\n\n### BEGIN SOLUTION\nBecause.\n### END SOLUTION"
    assert stub_source(source, "markdown") == "Why?\n\nYOUR ANSWER HERE"


@pytest.mark.parametrize(
    "source", ["", "x = 1", "print('BEGIN')\n\n", "# BEGIN the END\n\tx", "\n\n  ", "a\\\nb"]
)
def test_other_cells_stay_as_they_are(source: str) -> None:
    assert stub_source(source) == source


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("### BEGIN SOLUTION\nx", "without '### END SOLUTION' after it"),
        ("x\n### END SOLUTION", "without '### BEGIN SOLUTION' before it"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", "inside another solution"),
        ("### STUB: x = 1", "outside a solution"),
    ],
)
def test_broken_regions_are_named(source: str, message: str) -> None:
    with pytest.raises(AuthoringError, match=f"lesson, cell 3: .*{message}"):
        stub_source(source, place="lesson, cell 3")


# --- one notebook --------------------------------------------------------------------------------


def test_the_learner_gets_everything_but_solutions_and_outputs(lesson: dict[str, Any]) -> None:
    before = copy.deepcopy(lesson)
    learner = learner_version(lesson)
    assert lesson == before
    assert [cell["id"] for cell in learner["cells"]] == ["title", "exercise", "after"]
    title, exercise, after = learner["cells"]
    assert title == lesson["cells"][0]
    assert "".join(exercise["source"]) == STUB
    assert exercise["metadata"] == {"nbgrader": NBGRADER}
    assert after["source"] == ["x = 1\n", "x"]
    assert after["metadata"] == {"jupyter": {"source_hidden": True}}
    for cell in (exercise, after):
        assert cell["outputs"] == [] and cell["execution_count"] is None
    assert set(learner["metadata"]) == {"kernelspec", "language_info"}


def test_it_is_a_valid_notebook(lesson: dict[str, Any]) -> None:
    import nbformat

    nbformat.validate(nbformat.from_dict(learner_version(lesson)))


def test_nbgrader_makes_the_same_of_it(lesson: dict[str, Any]) -> None:
    import nbformat
    from nbgrader.preprocessors import ClearOutput, ClearSolutions

    theirs = nbformat.reads(json.dumps(lesson), as_version=4)
    for preprocessor in (ClearSolutions(), ClearOutput()):
        theirs, _ = preprocessor.preprocess(theirs, {})
    for cell, ours in zip(theirs["cells"], learner_version(lesson)["cells"], strict=True):
        assert cell["source"] == "".join(ours["source"])
        assert cell.get("outputs") == ours.get("outputs")
        assert cell["metadata"].get("nbgrader") == ours["metadata"].get("nbgrader")


def test_nbgrader_accepts_the_metadata(lesson: dict[str, Any]) -> None:
    import nbformat
    from nbgrader.nbgraderformat import MetadataValidator

    for content in (lesson, learner_version(lesson)):
        MetadataValidator().validate_nb(nbformat.from_dict(content))


@pytest.mark.parametrize("folder", ["solutions", "notebooks"])
def test_nbgrader_accepts_the_course_s_own_notebooks(folder: str) -> None:
    from nbgrader.nbgraderformat import SCHEMA_VERSION, read
    from nbgrader.preprocessors import ClearSolutions

    paths = authoring.solution_paths(Path(__file__).resolve().parent.parent / folder)
    for path in paths:
        content = read(str(path), as_version=4)  # validates against its schema
        exercises = [cell["metadata"].get("nbgrader") for cell in content["cells"]]
        assert {meta["schema_version"] for meta in exercises if meta} <= {SCHEMA_VERSION}
        if folder == "solutions":
            cleared, _ = ClearSolutions().preprocess(content, {})
            assert not any(authoring.BEGIN in cell["source"] for cell in cleared["cells"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cell: cell["metadata"].clear(), "cell 2 .* a solution needs nbgrader metadata"),
        (lambda cell: cell["metadata"]["nbgrader"].update(solution=False), "needs nbgrader"),
        (lambda cell: cell["metadata"]["nbgrader"].update(schema_version=2), "expected 3"),
        (lambda cell: cell["metadata"]["nbgrader"].update(grade_id=""), "one of its own"),
        (lambda cell: cell.update(source=["x = 1"]), "it has no '### BEGIN SOLUTION'"),
        (lambda cell: cell.update(id="title"), "an earlier cell has the same id"),
        (lambda cell: cell.pop("id"), "has no id"),
    ],
)
def test_what_an_author_must_mend_is_named(lesson: dict[str, Any], change, message: str) -> None:
    change(lesson["cells"][1])
    with pytest.raises(AuthoringError, match=message):
        learner_version(lesson, "solutions/00.ipynb")


def test_old_formats_are_refused(lesson: dict[str, Any]) -> None:
    lesson["nbformat_minor"] = 4
    with pytest.raises(AuthoringError, match=r"format 4\.5"):
        learner_version(lesson)


# --- folders -------------------------------------------------------------------------------------


def test_release_writes_what_changed(folders: tuple[Path, Path]) -> None:
    solutions, notebooks = folders
    target = notebooks / "00_lesson.ipynb"
    assert release(solutions, notebooks) == {target: True}
    assert release(solutions, notebooks) == {target: False}
    mend(solutions / target.name, lambda content: content["cells"][0].update(source=["# New"]))
    assert release(solutions, notebooks) == {target: True}
    assert authoring.read(target)["cells"][0]["source"] == ["# New"]
    assert [path.name for path in notebooks.iterdir()] == [target.name]


def test_release_writes_all_or_nothing(folders: tuple[Path, Path], lesson: dict[str, Any]) -> None:
    solutions, notebooks = folders
    lesson["cells"][1]["source"] = ["### BEGIN SOLUTION"]
    (solutions / "01_broken.ipynb").write_bytes(authoring.to_bytes(lesson))
    with pytest.raises(AuthoringError, match=r"solutions/01_broken\.ipynb, cell 2 \(id exercise\)"):
        release(solutions, notebooks)
    assert not notebooks.exists()


def test_release_spares_a_notebook_in_which_somebody_worked(folders: tuple[Path, Path]) -> None:
    solutions, notebooks = folders
    (target,) = release(solutions, notebooks)
    mend(target, lambda content: content["cells"][2].update(execution_count=1))
    worked = target.read_bytes()
    with pytest.raises(AuthoringError, match="somebody has worked in it"):
        release(solutions, notebooks)
    assert target.read_bytes() == worked
    assert release(solutions, notebooks, force=True) == {target: True}


@pytest.mark.parametrize(
    "content", ["", "{}", '{"cells": 3}', '{"cells": [{"source": "x"}]}', "[]"]
)
def test_files_that_are_no_notebooks_are_named(folders: tuple[Path, Path], content: str) -> None:
    solutions, notebooks = folders
    (solutions / "02.ipynb").write_text(content)
    with pytest.raises(AuthoringError, match=r"solutions/02\.ipynb is not a notebook"):
        release(solutions, notebooks)


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AuthoringError, match="no notebook in"):
        release(tmp_path, tmp_path / "notebooks")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda cells: cells[0].update(source=["# My lesson"]),
            "cell 1 (id title): source differs",
        ),
        (lambda cells: cells[1].update(source=["x"]), "cell 2 (id exercise): source differs"),
        (lambda cells: cells[2].update(source=["x = 1"]), "has 1 lines; expected 2"),
        (lambda cells: cells[2].update(execution_count=1), "(id after): holds outputs"),
        (lambda cells: cells[2]["metadata"].clear(), "cell 3 (id after): metadata is {}"),
        (lambda cells: cells[0].update(cell_type="raw"), "is a raw cell; expected markdown"),
        (lambda cells: cells.pop(1), "cell 2 (id exercise): missing here"),
        (lambda cells: cells.append(markdown("new", "")), "cell 4 (id new): the solution has no"),
        (lambda cells: cells.append(cells[0]), "an earlier cell has the same id"),
        (lambda cells: cells.insert(0, cells.pop()), "cell 1 (id after): stands at another place"),
    ],
)
def test_check_names_the_cell_that_differs(folders: tuple[Path, Path], change, message) -> None:
    solutions, notebooks = folders
    (target,) = release(solutions, notebooks)
    assert check(solutions, notebooks) == []
    mend(target, lambda content: change(content["cells"]))
    problems = [str(difference) for difference in check(solutions, notebooks)]
    assert any(message in problem for problem in problems), problems
    assert all(problem.startswith("notebooks/00_lesson.ipynb") for problem in problems)


def test_check_names_missing_and_stray_notebooks(folders: tuple[Path, Path]) -> None:
    solutions, notebooks = folders
    assert "missing" in str(check(solutions, notebooks)[0])
    (target,) = release(solutions, notebooks)
    target.rename(notebooks / "09_other.ipynb")
    problems = " ".join(str(difference) for difference in check(solutions, notebooks))
    assert "00_lesson.ipynb: missing" in problems
    assert "09_other.ipynb: has no solution" in problems


def test_check_looks_at_the_outputs_of_solutions(folders: tuple[Path, Path], monkeypatch) -> None:
    solutions, notebooks = folders
    release(solutions, notebooks)
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}

    def spoil(content: dict[str, Any]) -> None:
        content["cells"][1].update(outputs=[error])
        content["cells"][2].update(outputs=[], execution_count=None)

    mend(solutions / "00_lesson.ipynb", spoil)
    monkeypatch.setattr(authoring, "MAX_BYTES", 100)
    problems = " ".join(str(difference) for difference in check(solutions, notebooks))
    assert "cell 2 (id exercise): failed with ValueError: no" in problems
    assert "cell 3 (id after): was saved without being run" in problems
    assert "expected at most" in problems


# --- the command ---------------------------------------------------------------------------------


def run(folders: tuple[Path, Path], *options: str) -> int:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    where = ["--solutions", str(folders[0]), "--notebooks", str(folders[1])]
    args = parser.parse_args(["release", *where, *options])
    return args.run(args)


def test_the_command_releases_and_checks(folders: tuple[Path, Path], capsys) -> None:
    assert run(folders, "--check") == 1
    assert "notebooks/00_lesson.ipynb: missing" in capsys.readouterr().err
    assert run(folders) == 0
    assert "notebooks/00_lesson.ipynb: written" in capsys.readouterr().out
    assert run(folders, "--check") == 0
    assert run(folders, "--check", "--force") == 2
    (folders[0] / "01.ipynb").write_text("")
    assert run(folders) == 1
    assert "is not a notebook" in capsys.readouterr().err


def test_execute_saves_outputs_or_leaves_the_file_alone(folders: tuple[Path, Path], capsys) -> None:
    path = folders[0] / "00_lesson.ipynb"
    assert run(folders, "--execute") == 0
    _, exercise, after = authoring.read(path)["cells"]
    assert exercise["outputs"][0]["text"] == ["6\n"]
    assert after["outputs"][0]["data"] == {"text/plain": ["1"]}
    assert "execution" not in after["metadata"]
    assert "widgets" not in authoring.read(path)["metadata"]
    again = path.read_bytes()
    mend(path, lambda content: content["cells"][2].update(source=["1 / 0"]))
    broken = path.read_bytes()
    assert run(folders, "--execute") == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert path.read_bytes() == broken != again
