"""From `solutions/` to `notebooks/`: the same lesson, with blanks where the learner works.

A solution notebook marks what a learner writes with nbgrader's two comments::

    ### BEGIN SOLUTION
    return x.flip(0)
    ### END SOLUTION

The learner's version has a stub there: nbgrader's own, which raises `NotImplementedError`, or, in a
cell that must run while it is empty, the text of the region's `### STUB:` comments::

    ### BEGIN SOLUTION
    ### STUB: my_prompts = []  # write here
    my_prompts = ["a red apple"]
    ### END SOLUTION

Everything else is the same in both, except that the learner's version holds no outputs.

Source: nbgrader's preprocessor `ClearSolutions` and cell metadata of schema version 3. A cell that
needs no `### STUB:` comes out as nbgrader itself would write it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils.files import write_atomically

BEGIN, END, STUB = "### BEGIN SOLUTION", "### END SOLUTION", "### STUB:"
CODE_STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")
TEXT_STUB = ("YOUR ANSWER HERE",)
MAX_BYTES = 1_500_000  # of a solution notebook with its outputs, so that web pages show it
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}
# What tools leave in a cell's metadata and nobody wrote.
VOLATILE = ("ExecuteTime", "collapsed", "execution", "scrolled", "trusted")
WIDGET = "application/vnd.jupyter.widget-view+json"

Notebook = dict[str, Any]
Cell = dict[str, Any]


class AuthoringError(ValueError):
    """Something in a notebook that its author must mend; names the notebook and the cell."""


@dataclass(frozen=True)
class Difference:
    """One place where a learner's notebook is not what its solution makes of it."""

    notebook: str
    cell: str  # "cell 7 (id three-prompts)", or "" for the notebook as a whole
    problem: str

    def __str__(self) -> str:
        return f"{self.notebook}{', ' if self.cell else ''}{self.cell}: {self.problem}"


# --- one notebook --------------------------------------------------------------------------------


def learner_version(solution: Notebook, name: str = "notebook") -> Notebook:
    """The learner's notebook that belongs to a solution.

    Args:
        solution: a notebook of format 4.5 as a dictionary; it is not changed.
        name: for messages.

    Returns:
        A new notebook: stubs for solutions, no outputs, no execution counts; cell ids, nbgrader's
        metadata and everything else as in the solution.

    Raises:
        AuthoringError: a region without its end, a solution in a cell that nbgrader does not know
            as one, a `### STUB:` outside a region, cell ids that are missing or used twice.
    """
    notebook: Notebook = json.loads(json.dumps(solution))
    check_cells(notebook, name)
    notebook["metadata"] = {"kernelspec": KERNEL, "language_info": LANGUAGE}
    for number, cell in enumerate(notebook["cells"], 1):
        source = stub_source(_text(cell), cell["cell_type"], f"{name}, {where(number, cell)}")
        cell["source"] = source.splitlines(keepends=True)
        cell["metadata"] = {k: v for k, v in cell["metadata"].items() if k not in VOLATILE}
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return notebook


def stub_source(source: str, cell_type: str = "code", place: str = "cell") -> str:
    """Put stubs where solutions stand.

    Args:
        source: the text of a cell.
        cell_type: "code" or "markdown", which decides what the usual stub is.
        place: for messages.

    Raises:
        AuthoringError: BEGIN without END, END without BEGIN, one region in another, or a
            `### STUB:` outside a region.
    """
    out: list[str] = []
    stub: list[str] | None = None  # lines of the open region's stub; None outside
    indent = ""
    for line in source.split("\n"):
        text = line.strip()
        if BEGIN in line:
            if stub is not None:
                raise AuthoringError(f"{place}: '{BEGIN}' inside another solution; end that first.")
            stub, indent = [], line[: len(line) - len(line.lstrip())]
        elif END in line:
            if stub is None:
                raise AuthoringError(f"{place}: '{END}' without '{BEGIN}' before it.")
            usual = CODE_STUB if cell_type == "code" else TEXT_STUB
            out += [f"{indent}{part}".rstrip() for part in stub or usual]
            stub = None
        elif text.startswith(STUB):
            if stub is None:
                raise AuthoringError(f"{place}: '{STUB}' outside a solution; move it inside.")
            stub.append(text.removeprefix(STUB).removeprefix(" "))
        elif stub is None:
            out.append(line)
    if stub is not None:
        raise AuthoringError(f"{place}: '{BEGIN}' without '{END}' after it.")
    return "\n".join(out)


def check_cells(notebook: Notebook, name: str = "notebook") -> None:
    """Say what nbgrader or this course could not read in a solution notebook.

    Raises:
        AuthoringError: the first such cell.
    """
    if notebook.get("nbformat") != 4 or notebook.get("nbformat_minor", 0) < 5:
        raise AuthoringError(f"{name}: expected notebook format 4.5 or newer, which has cell ids.")
    ids: set[str] = set()
    grade_ids: set[str] = set()
    for number, cell in enumerate(notebook["cells"], 1):
        place = f"{name}, {where(number, cell)}"
        if not cell.get("id"):
            raise AuthoringError(f"{place}: the cell has no id.")
        if cell["id"] in ids:
            raise AuthoringError(f"{place}: an earlier cell has the same id.")
        ids.add(cell["id"])
        meta = cell["metadata"].get("nbgrader")
        is_solution = meta is not None and bool(meta.get("solution"))
        if BEGIN in _text(cell) and not is_solution:
            raise AuthoringError(
                f"{place}: a solution needs nbgrader metadata: schema_version 3, solution true, "
                "and a grade_id."
            )
        if meta is None:
            continue
        if meta.get("schema_version") != 3:
            raise AuthoringError(
                f"{place}: nbgrader metadata has schema_version {meta.get('schema_version')!r}; "
                "expected 3."
            )
        if is_solution and BEGIN not in _text(cell):
            raise AuthoringError(f"{place}: nbgrader calls it a solution; it has no '{BEGIN}'.")
        if not meta.get("grade_id") or meta["grade_id"] in grade_ids:
            raise AuthoringError(
                f"{place}: grade_id is {meta.get('grade_id')!r}; expected one of its own."
            )
        grade_ids.add(meta["grade_id"])


def where(number: int, cell: Cell) -> str:
    """A cell's name in messages: its place, counted from 1, and its id."""
    return f"cell {number} (id {cell.get('id', 'missing')})"


def differences(name: str, expected: Notebook, found: Notebook) -> Iterator[Difference]:
    """Where a learner's notebook is not the expected one, in the order of the notebook."""
    ids = [cell.get("id") for cell in found["cells"]]
    cells = {cell.get("id"): (i, cell) for i, cell in enumerate(found["cells"], 1)}
    wanted = [cell["id"] for cell in expected["cells"]]
    for number, cell in enumerate(expected["cells"], 1):
        if cell["id"] not in cells:
            yield Difference(name, where(number, cell), "missing here; the solution has it")
            continue
        position, other = cells[cell["id"]]
        problem = _cell_difference(cell, other)
        if problem:
            yield Difference(name, where(position, other), problem)
    for number, cell in enumerate(found["cells"], 1):
        if cell.get("id") not in wanted:
            yield Difference(name, where(number, cell), "the solution has no such cell")
        elif cell["id"] in ids[: number - 1]:
            yield Difference(name, where(number, cell), "an earlier cell has the same id")
    common = [cell_id for cell_id in wanted if cell_id in cells]
    order = [cell_id for cell_id in dict.fromkeys(ids) if cell_id in wanted]
    for a, b in zip(common, order, strict=True):
        if a != b:
            number, cell = cells[b]
            yield Difference(name, where(number, cell), "stands at another place in the solution")
            break
    for key in ("metadata", "nbformat", "nbformat_minor"):
        if expected[key] != found.get(key):
            yield Difference(name, "", f"{key} is {found.get(key)}; expected {expected[key]}")


def _cell_difference(expected: Cell, found: Cell) -> str | None:
    """What is wrong with a cell; None if nothing is."""
    if expected["cell_type"] != found["cell_type"]:
        return f"is a {found['cell_type']} cell; expected {expected['cell_type']}"
    want, have = _text(expected), _text(found)
    if want != have:
        for i, (a, b) in enumerate(zip(want.split("\n"), have.split("\n"), strict=False), 1):
            if a != b:
                return f"source differs in line {i}: {_short(b)}; expected {_short(a)}"
        lines = want.count("\n") + 1, have.count("\n") + 1
        return f"source has {lines[1]} lines; expected {lines[0]}"
    if expected["metadata"] != found["metadata"]:
        return f"metadata is {found['metadata']}; expected {expected['metadata']}"
    if found.get("outputs") or found.get("execution_count") is not None:
        return "holds outputs; the learner's version has none"
    return None


def _short(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:57] + "...")


def _text(cell: Cell) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


# --- folders -------------------------------------------------------------------------------------


def release(
    solutions_dir: str | Path, notebooks_dir: str | Path, force: bool = False
) -> dict[Path, bool]:
    """Write the learner's version of every solution notebook.

    Either all of them can be made, or nothing is written; each file is whole or not there.

    Args:
        solutions_dir: the complete notebooks.
        notebooks_dir: where the learner's versions go; made if it is missing.
        force: also write over a notebook in which somebody has worked.

    Returns:
        The path of each learner's notebook, and whether it had to be written.

    Raises:
        AuthoringError: a notebook that cannot be made, or one with outputs in the way.
        OSError: no space, no permission.
    """
    notebooks_dir = Path(notebooks_dir)
    ready: dict[Path, bytes] = {}
    for path in solution_paths(solutions_dir):
        target = notebooks_dir / path.name
        ready[target] = to_bytes(learner_version(read(path), shown(path)))
        if target.exists() and not force and _was_used(read(target)):
            raise AuthoringError(
                f"{shown(target)} holds outputs, so somebody has worked in it. Move it away, or "
                "write over it with --force."
            )
    written = {}
    for target, data in ready.items():
        written[target] = not target.exists() or target.read_bytes() != data
        if written[target]:
            write_atomically(target, data)
    return written


def check(solutions_dir: str | Path, notebooks_dir: str | Path) -> list[Difference]:
    """Everything that keeps `notebooks/` from being what `solutions/` makes of it.

    Also a solution that is too large, failed when it was run, or was saved without its outputs.

    Raises:
        AuthoringError: a solution notebook from which no learner's version can be made.
    """
    found: list[Difference] = []
    paths = solution_paths(solutions_dir)
    for path in paths:
        solution = read(path)
        found += _check_outputs(path, solution)
        target = Path(notebooks_dir) / path.name
        if not target.exists():
            found.append(Difference(shown(target), "", "missing; `course release` writes it"))
            continue
        found += differences(shown(target), learner_version(solution, shown(path)), read(target))
    names = {path.name for path in paths}
    for path in _notebook_paths(notebooks_dir):
        if path.name not in names:
            found.append(Difference(shown(path), "", f"has no solution in {solutions_dir}"))
    return found


def _check_outputs(path: Path, solution: Notebook) -> Iterator[Difference]:
    """A solution is committed with its outputs, and they are small."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        yield Difference(
            shown(path), "", f"has {size / 1e6:.1f} MB; expected at most {MAX_BYTES / 1e6} MB"
        )
    for number, cell in enumerate(solution["cells"], 1):
        if cell["cell_type"] != "code" or not _text(cell).strip():
            continue
        if cell.get("execution_count") is None:
            problem = "was saved without being run; `course release --execute` runs it"
            yield Difference(shown(path), where(number, cell), problem)
        for output in cell.get("outputs", ()):
            if output["output_type"] == "error":
                problem = f"failed with {output['ename']}: {output['evalue']}"
                yield Difference(shown(path), where(number, cell), problem)


def solution_paths(solutions_dir: str | Path) -> list[Path]:
    """The notebooks of a folder, sorted by name.

    Raises:
        AuthoringError: no such folder, or no notebook in it.
    """
    paths = _notebook_paths(solutions_dir)
    if not paths:
        raise AuthoringError(f"There is no notebook in {solutions_dir}.")
    return paths


def _notebook_paths(folder: str | Path) -> list[Path]:
    return sorted(p for p in Path(folder).glob("*.ipynb") if not p.name.startswith("."))


def _was_used(notebook: Notebook) -> bool:
    return any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"])


def shown(path: Path) -> str:
    """A path for messages: the folder's name and the file's."""
    return f"{path.parent.name}/{path.name}"


# --- files ---------------------------------------------------------------------------------------


def read(path: str | Path) -> Notebook:
    """Read a notebook as a dictionary.

    Raises:
        AuthoringError: the file is no notebook.
    """
    path = Path(path)
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = notebook["cells"]
        assert all(isinstance(cell["metadata"], dict) and "source" in cell for cell in cells)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise AuthoringError(f"{shown(path)} is not a notebook ({error!r}).") from None
    return notebook


def to_bytes(notebook: Notebook) -> bytes:
    """A notebook as Jupyter itself writes it: one space, sorted keys, a list of lines."""
    return (json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def execute(path: str | Path, timeout: float = 120.0) -> None:
    """Run a notebook from top to bottom and save it with its outputs, in one step.

    What changes from run to run without a meaning (timings, the kernel's version, widgets that
    only live with a kernel) is not saved. If a cell fails, the file stays as it was.

    Args:
        path: the notebook; it runs in its own folder.
        timeout: seconds for each cell.

    Raises:
        AuthoringError: a cell failed or took too long.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    path = Path(path)
    read(path)  # says what is wrong in fewer words than nbformat
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=int(timeout),
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.absolute().parent)}},
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as error:
        raise AuthoringError(f"{shown(path)} did not run: {_plain(str(error))}") from None
    notebook["metadata"] = {"kernelspec": KERNEL, "language_info": LANGUAGE}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET, None)
    nbformat.validate(notebook)
    write_atomically(path, (nbformat.writes(notebook) + "\n").encode())


def _plain(text: str) -> str:
    """Without the colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
