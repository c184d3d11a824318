"""The command line itself: help, exit statuses, errors in one sentence."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from course_utils import cli

ROOT = Path(__file__).resolve().parents[1]


def run_python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter on this repository."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        timeout=300,
    )


def test_without_arguments_it_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert "usage: course" in out
    assert "draw a picture from a prompt" in out


def test_help_and_version_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("Sculpting Noise ")
    for command in ("draw", "doctor"):
        assert cli.main([command, "--help"]) == 0
        assert f"usage: course {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["drwa"], ["draw", "--nonsense"], ["draw", "a cat", "--steps", "many"], ["doctor", "extra"]],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("course")
    assert err.count("\n") == 1


def test_python_m_course_utils_is_the_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from course_utils.cli import main; main([]); "
        "print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    )
    assert run_python("-c", code).stdout.endswith("[]\n")
    done = run_python("-m", "course_utils", "--version")
    assert done.returncode == 0
    assert done.stdout.startswith("Sculpting Noise")


class Fails:
    """A command that raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def register(self, subparsers: Any) -> None:
        parser = subparsers.add_parser("fail")
        parser.set_defaults(run=self.run)

    def run(self, args: Any) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("steps is 0;\n expected 1"), 1, "steps is 0; expected 1."),
        (OSError(28, "No space left", "x.png"), 1, "No space left: x.png."),
        (FloatingPointError("the loss is nan"), 1, "the loss is nan."),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C."),
        (KeyboardInterrupt("stopped after step 3."), 130, "stopped after step 3."),
        (MemoryError(), 1, "there is not enough memory for this; close other programs or"),
        (RuntimeError("boom"), 1, "something unexpected: RuntimeError: boom (COURSE_DEBUG=1"),
    ],
)
def test_errors_are_one_sentence(
    error: BaseException,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = importlib.import_module
    monkeypatch.setattr(cli, "COMMANDS", {"fail": "fails"})
    monkeypatch.setattr(
        importlib,
        "import_module",
        lambda name, *rest: Fails(error) if name.endswith(".fail") else real(name, *rest),
    )
    monkeypatch.delenv("COURSE_DEBUG", raising=False)
    assert cli.main(["fail"]) == status
    out, err = capsys.readouterr()
    assert err.startswith(f"course fail: {line}")
    assert err.count("\n") == 1
    assert out == ""
    monkeypatch.setenv("COURSE_DEBUG", "1")
    with pytest.raises(type(error)):
        cli.main(["fail"])


def test_the_table_names_every_command_and_each_knows_its_arguments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = ROOT / "course_utils" / "commands"
    assert {module.name for module in pkgutil.iter_modules([str(folder)])} == set(cli.COMMANDS)
    listing = " ".join(cli.build_parser().format_help().split())
    for name, does in cli.COMMANDS.items():
        assert f"{name} {does}" in listing
        assert cli.main([name, "--help"]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"usage: course {name} [-h]") and len(out.splitlines()) > 6, out


def test_help_imports_no_command_and_a_command_only_itself() -> None:
    code = (
        "import sys; from course_utils.cli import main; main(sys.argv[1:]); "
        "print(*(m.split('.')[-1] for m in sys.modules if m.startswith('course_utils.commands.')))"
    )
    assert run_python("-c", code, "--help").stdout.splitlines()[-1] == ""
    assert run_python("-c", code, "draw", "--help").stdout.splitlines()[-1] == "draw"
