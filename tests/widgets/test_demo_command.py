"""`course demo` without a browser: its options, its server's command line, its tabs."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from course_utils import cli, widgets
from course_utils.commands import demo
from course_utils.widgets.demo import VIEWS, Tabs, page


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """What would be started, in place of a server."""
    calls: list = []

    class Done:
        def wait(self, timeout: float | None = None) -> int:
            return 0

    def popen(command: list[str], env: dict[str, str]) -> Done:
        calls.append((command, env))
        return Done()

    monkeypatch.setattr(subprocess, "Popen", popen)
    yield calls


def test_the_command_and_the_page_know_the_same_views() -> None:
    assert tuple(VIEWS) == demo.NAMES
    assert {name for _, name in VIEWS.values()} == set(widgets.__all__)


def test_what_it_starts(started: list, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "guidance", "--dark", "--no-browser"]) == 0
    (command, environment) = started[0]
    assert command[:3] == [sys.executable, "-m", "voila"] and Path(command[3]).is_file()
    assert {"--theme=dark", "--no-browser", "--Voila.ip=127.0.0.1"} <= set(command)
    assert environment["COURSE_DEMO_VIEW"] == "guidance"
    assert str(demo.NOTEBOOK.parents[2]) in environment["PYTHONPATH"]
    said = capsys.readouterr().out
    port = next(option for option in command if option.startswith("--port=")).partition("=")[2]
    assert f"http://127.0.0.1:{port}/" in said and "Ctrl-C" in said


def test_ports(started: list, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind((demo.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["demo", "--port", str(port)]) == 1
        assert f"--port is {port}, which another program uses" in capsys.readouterr().err
    assert cli.main(["demo", "--port", "70000"]) == 1
    assert "expected a number from 1 to 65535" in capsys.readouterr().err
    assert not started
    assert 1 <= demo.find_port(None) <= 65_535


def test_a_view_that_is_not_there(started: list, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "nothing"]) == 2
    assert "architecture" in capsys.readouterr().err and not started


def test_the_notebook_is_one_clean_cell() -> None:
    notebook = nbformat.read(demo.NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) == 1 and not notebook.cells[0].outputs
    assert (demo.TEMPLATES / "voila" / "templates" / "course" / "index.html.j2").is_file()


def test_views_are_made_when_their_tab_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_DEMO_VIEW", "prompts")
    whole = page()
    tabs = whole.children[0]
    assert isinstance(tabs, Tabs) and set(tabs._made) == {"prompts"}
    tabs._moved("tab", "guidance")
    assert [type(view).__name__ for view in tabs.stage.children] == ["GuidanceExplorer"]
    guidance = tabs.stage.children[0]
    tabs._moved("tab", "prompts")
    tabs._moved("tab", "guidance")
    assert tabs.stage.children[0] is guidance, "a view keeps its state"
    assert "Guidance" in tabs.describe() and tabs.error is None
    tabs.close()
    with pytest.raises(ValueError, match="expected one of"):
        page("nothing")
