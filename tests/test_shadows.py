"""Files beside a notebook with a package's name, against what Python itself imports there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from course_utils.commands import doctor
from course_utils.shadows import importable_names, shadows

ASK = """
import json, sys
from importlib.machinery import PathFinder
print(json.dumps({n: PathFinder.find_spec(n, [".", *sys.path]).origin for n in sys.argv[1:]}))
"""


def test_what_python_would_take(tmp_path: Path) -> None:
    for name in ("torch.py", "PIL.py", "random.py", "numpy/__init__.py", "tqdm/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    for name in ("mine.py", "pil.py", "regex.txt", "sys.py", "utils.py", "conftest.py"):
        (tmp_path / name).write_text("")
    names = importable_names(["torch", "pillow", "numpy", "tqdm", "regex"])
    found = {module: path for path, module in shadows(tmp_path, names)}
    assert set(found) == {"torch", "PIL", "random", "numpy"}
    asked = [*found, "tqdm", "regex"]
    answer = subprocess.run(
        [sys.executable, "-c", ASK, *asked], cwd=tmp_path, capture_output=True, check=True
    )
    origins = json.loads(answer.stdout)
    for module in asked:
        inside = (tmp_path / origins[module]).resolve().is_relative_to(tmp_path.resolve())
        assert inside == (module in found), (module, origins[module])


@pytest.mark.parametrize("where", ["notebooks", "challenges/forger", "", "elsewhere"])
def test_the_doctor_names_the_file(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("notebooks", "challenges/forger", "elsewhere", "course_utils"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "course_utils" / "__init__.py").write_text("")
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch", "pillow"]\n')
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert list(doctor.shadow_problems()) == []
    path = tmp_path / where / "PIL.py"
    path.write_text("")
    (problem,) = doctor.shadow_problems()
    assert str(path) in problem.what
    assert "`import PIL`" in problem.what
    assert "Rename" in problem.remedy


def test_nothing_of_the_course_is_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(doctor.ROOT)
    assert list(doctor.shadow_problems()) == []
