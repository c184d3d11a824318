"""Files as people really hand them in: nobody is mixed up, nothing is lost, every refusal is told.

The names are made up; their shapes are those of Canvas, Moodle, Gradescope, nbgrader, otter, Colab
and of file managers.
"""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from course_utils import cli
from course_utils.challenges.declare import find_challenge
from course_utils.grading.cohort.gradebook import Gradebook
from course_utils.grading.cohort.submissions import (
    Ignored,
    Notice,
    Submission,
    find_submissions,
)
from course_utils.grading.reports.people import Roster
from course_utils.lessons import ROOT

N = "02_denoise_on_a_budget"
STUB = "def {name}(*given):\n    raise NotImplementedError()"


def notebook(number: str = "02", ids: bool = True, **changes: Any) -> bytes:
    """A notebook whose answers are blank."""
    cells = []
    for id in find_challenge(number).answers:
        nbgrader = {"grade_id": f"challenge-{number}-{id}", "solution": True}
        cell: dict[str, Any] = {
            "cell_type": "code",
            "metadata": {"nbgrader": nbgrader},
            "source": STUB.format(name=id.replace("-", "_")),
            "outputs": [],
            "execution_count": None,
        }
        cells.append(cell | ({"id": id} if ids else {}))
    made = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells} | changes
    return json.dumps(made).encode()


def zipped(**entries: bytes) -> bytes:
    """A zip of files; `__` in a keyword stands for a slash."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "/"), content)
    return data.getvalue()


def zip_of(entries: dict[str, bytes]) -> bytes:
    return zipped(**entries)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def people(path: Path) -> list[str]:
    return sorted(e.student for e in find_submissions(path) if isinstance(e, Submission))


def told(path: Path) -> dict[str, str]:
    return {e.source: e.why for e in find_submissions(path) if isinstance(e, Ignored)}


ALICE_AND_BOB = ["alice", "bob"]
LAYOUTS: dict[str, tuple[list[str], list[str]]] = {
    "a folder each": ([f"alice/{N}.ipynb", f"bob/{N}.ipynb"], ALICE_AND_BOB),
    "a wrapper": ([f"handed-in/alice/{N}.ipynb", f"handed-in/bob/{N}.ipynb"], ALICE_AND_BOB),
    "a wrapper of any name": ([f"cs 101/alice/{N}.ipynb", f"cs 101/bob/{N}.ipynb"], ALICE_AND_BOB),
    "two wrappers": ([f"x/y/alice/{N}.ipynb", f"x/y/bob/{N}.ipynb"], ALICE_AND_BOB),
    "a class of one": ([f"submitted/alice/{N}.ipynb"], ["alice"]),
    "one folder": ([f"alice/{N}.ipynb"], ["alice"]),
    "two assignments of one": (["alice/01/a.ipynb", "alice/02/b.ipynb"], ["alice", "alice"]),
    "two files of one": (["alice/a.ipynb", "alice/b.ipynb"], ["alice", "alice"]),
    "nbgrader's folder": ([f"submitted/alice/ps1/{N}.ipynb", "submitted/bob/ps1/x.ipynb"],
                          ALICE_AND_BOB),
    "assignments first": ([f"ps1/alice/{N}.ipynb", f"ps2/bob/{N}.ipynb"], ALICE_AND_BOB),
    "a wrapper and flat names": ([f"w/alice_{N}.ipynb", f"w/bob_{N}.ipynb"], ALICE_AND_BOB),
    "flat names": ([f"alice_{N}.ipynb", f"bob-{N} (1).ipynb"], ALICE_AND_BOB),
    "a date": (["alice_2024-11-01.ipynb", "bob 20241101.ipynb"], ALICE_AND_BOB),
    "folders and flat names": ([f"alice/{N}.ipynb", f"bob_{N}.ipynb"], ALICE_AND_BOB),
    "a stray file in the wrapper": (
        [f"submissions/alice/{N}.ipynb", f"submissions/bob/{N}.ipynb",
         f"submissions/cy_{N}.ipynb"], [*ALICE_AND_BOB, "cy"]),
    "Canvas, handed in twice": (
        [f"muellermax_12345_678901_{N}.ipynb", f"muellermax_12345_678955_{N}-1.ipynb"],
        ["muellermax_12345"] * 2),
    "Canvas, late": ([f"muellermax_LATE_12345_678901_{N}.ipynb"], ["muellermax_12345"]),
    "Canvas, two of one name": (
        [f"muellermax_1_5_{N}.ipynb", f"muellermax_2_6_{N}.ipynb"],
        ["muellermax_1", "muellermax_2"]),
    "Canvas, a name of the learner's own": (["eve_12_34_final version.ipynb"], ["eve_12"]),
    "Moodle's folders": (
        [f"Max Müller_99_assignsubmission_file_/{N}.ipynb",
         f"Eve Ö_100_assignsubmission_file_/{N}.ipynb"], ["Eve Ö_100", "Max Müller_99"]),
    "Moodle, flat": ([f"Max Müller_99_assignsubmission_file_{N}.ipynb"], ["Max Müller_99"]),
    "Moodle in a wrapper": (
        [f"CS-Task 1-55/Max_9_assignsubmission_file_/{N}.ipynb"], ["Max_9"]),
    "Gradescope": (
        [f"assignment_5_export/submission_7/{N}.ipynb",
         f"assignment_5_export/submission_8/{N}.ipynb"], ["submission_7", "submission_8"]),
    "nbgrader's exchange": (
        [f"inbound/alice+ps1+2024-01-30 15:30:10 UTC+h/{N}.ipynb",
         f"inbound/bob+ps1+2024-01-31 15:30:10 UTC+k/{N}.ipynb"], ALICE_AND_BOB),
    "nbgrader's zip collector": (
        ["alice_ps1_attempt_2018-01-30-15-30-10_x.ipynb",
         "bob_ps1_attempt_2018-01-30-15-31-10_y.ipynb"], ALICE_AND_BOB),
    "Colab's copy": ([f"alice/Copy of {N}.ipynb", f"bob/{N} (2).ipynb"], ALICE_AND_BOB),
    "capital letters": ([f"alice/{N.upper()}.IPYNB", f"bob/{N}.Ipynb"], ALICE_AND_BOB),
}  # fmt: skip


@pytest.mark.parametrize("inside", ["folder", "zip", "zip in a folder"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_everybody_is_who_they_are(name: str, inside: str, tmp_path: Path) -> None:
    names, expected = LAYOUTS[name]
    files = {each: notebook() for each in names}
    if inside == "folder":
        path = write(tmp_path / "in", files)
    else:
        path = tmp_path / "in" / "export.zip" if "in a" in inside else tmp_path / "in.zip"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zip_of(files))
        path = path.parent if "in a" in inside else path
    found = [e for e in find_submissions(path) if isinstance(e, Submission)]
    assert sorted(e.student for e in found) == expected
    assert {e.challenge for e in found} == {"02"}
    assert not told(path)


@pytest.mark.parametrize(
    "names", [["x/y/a.ipynb"], ["class/alice/a.ipynb", "class/alice/b.ipynb", "class/x.ipynb"]]
)
def test_what_stays_ambiguous_is_refused_with_what_is_understood(
    names: list[str], tmp_path: Path
) -> None:
    folder = write(tmp_path / "in", {name: notebook() for name in names[:1]})
    if len(names) == 1:
        (why,) = told(folder).values()
        assert why.startswith("says not whose it is (x/y)") and "`student/notebook.ipynb`" in why
        assert people(folder) == []
    else:
        assert people(write(folder, {n: notebook() for n in names})) == ["alice", "alice", "x"]


def test_gradescope_says_who_handed_in(tmp_path: Path) -> None:
    metadata = (
        "---\nsubmission_7.zip:\n  :submitters:\n  - :name: Ada Ünal\n    :sid: '31'\n"
        "    :email: a@x.org\n  - :name: Bo\n    :email: b@x.org\n  :created_at: 2024-11-01\n"
    )
    folder = write(
        tmp_path / "in",
        {f"a/submission_7/{N}.ipynb": notebook(), "a/submission_metadata.yml": metadata.encode()},
    )
    assert people(folder) == ["Ada Ünal_31", "Bo"]


# --- zips ----------------------------------------------------------------------------------------


def test_a_zip_in_a_zip_is_read(tmp_path: Path) -> None:
    inner = zip_of({f"{N}.ipynb": notebook()})
    outer = zip_of({"alice_1_2_work.zip": inner, "bob_3_4_work.zip": inner})
    path = tmp_path / "canvas.zip"
    path.write_bytes(outer)
    assert people(path) == ["alice_1", "bob_3"] and not told(path)
    deep = inner
    for number in range(4):
        deep = zip_of({f"{number}.zip": deep})
    path.write_bytes(zip_of({"alice/work.zip": deep, f"bob/{N}.ipynb": notebook()}))
    assert people(path) == ["bob"]
    assert "is a zip in 3 zips" in next(iter(told(path).values()))


OTHERS = {
    "cy/work.rar": (b"Rar!", "is an archive that is not read"),
    "dee/work.tar.gz": (b"\x1f\x8b", "is an archive that is not read"),
    "eve/work.7z": (b"7z", "is an archive that is not read"),
    "fay/page.html": (b"<html>", "is no notebook"),
    "gil/answer.txt": (b"x", "is no notebook"),
    "hal/answer.py": (b"x", "is no notebook"),
    "ida/work.zip": (b"no zip", "is no zip, whatever its name says"),
    "jo.pdf": (b"%PDF", "is no notebook"),
}


def test_every_file_that_is_not_taken_is_named(tmp_path: Path) -> None:
    files = {f"alice/{N}.ipynb": notebook(), **{name: data for name, (data, _) in OTHERS.items()}}
    quiet = {"alice/.DS_Store": b"", "__MACOSX/alice/._x.ipynb": b"", "Thumbs.db": b""}
    folder = write(tmp_path / "in", files | quiet)
    found = told(folder)
    assert people(folder) == ["alice"] and set(found) == set(OTHERS)
    assert all(found[name].startswith(why) for name, (_, why) in OTHERS.items())
    path = tmp_path / "in.zip"
    path.write_bytes(zip_of(files | quiet))
    assert {name.split(":")[1] for name in told(path)} == set(OTHERS)


def test_names_in_zips_are_utf_8_where_they_can_be(tmp_path: Path) -> None:
    """As programs write them that set no mark: the letters are UTF-8, or some code page's."""
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in (1, 2):
            archive.writestr(f"name{number}ae/{N}.ipynb", notebook())
    data = path.read_bytes()
    data = data.replace(b"name1ae", "Zoë ü"[:5].encode()).replace(b"name2ae", b"M\xfcller!")
    path.write_bytes(data)
    every = list(find_submissions(path))
    names = [e.student for e in every if isinstance(e, Submission)]
    assert "Zoë ü" in names
    (notice,) = [e for e in every if isinstance(e, Notice)]
    assert "not UTF-8" in notice.text and notice.source.startswith("in.zip:M")


def test_the_time_of_a_student_s_own_zip_is_that_of_the_zip(tmp_path: Path) -> None:
    long_ago = zipfile.ZipInfo(f"{N}.ipynb", (1999, 1, 1, 0, 0, 0))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(long_ago, notebook())
    folder = write(tmp_path / "in", {"alice/work.zip": data.getvalue(), "bob.zip": data.getvalue()})
    moment = datetime(2024, 11, 1, tzinfo=UTC)
    for path in folder.rglob("*.zip"):
        os.utime(path, (moment.timestamp(),) * 2)
    found = [e for e in find_submissions(folder) if isinstance(e, Submission)]
    assert {e.student: e.submitted for e in found} == {"alice": moment, "bob": moment}
    with zipfile.ZipFile(tmp_path / "platform.zip", "w") as archive:
        entry = zipfile.ZipInfo("alice/work.zip", (2024, 11, 2, 12, 0, 0))
        archive.writestr(entry, data.getvalue())
    (one,) = [e for e in find_submissions(tmp_path / "platform.zip") if isinstance(e, Submission)]
    assert one.submitted == datetime(2024, 11, 2, 12).astimezone(UTC)


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["bob\u00a0", "bob ", " bob", "bo\u200bb", "bob\n", "Bob"])
def test_names_that_look_alike_are_two_and_it_is_said(other: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", {f"bob/{N}.ipynb": notebook(), f"{other}/{N}.ipynb": b"{}"})
    every = list(find_submissions(folder))
    assert len({e.student for e in every if isinstance(e, Submission)}) == 2
    (notice,) = [e for e in every if isinstance(e, Notice)]
    assert "another student; is it the same person?" in notice.text


def test_two_spaces_are_not_one() -> None:
    from course_utils.grading.cohort.submissions import clean

    names = ["a b", "a  b", "a   b", "a\u00a0b", "a\tb", "a b "]
    assert len({clean(name) for name in names}) == len(names)
    assert clean("a b") == "a b" and all(clean(name).isprintable() for name in names)


# --- rosters -------------------------------------------------------------------------------------

ROSTERS = {
    "commas": "student,id\nMüller,1\nbob,2\n".encode(),
    "a mark of UTF-8": "student,id\nMüller,1\nbob,2\n".encode("utf-8-sig"),
    "semicolons in cp1252": "student;id\r\nMüller;1\r\nbob;2\r\n".encode("cp1252"),
    "tabs in UTF-16": "student\tid\nMüller\t1\nbob\t2\n".encode("utf-16"),
    "UTF-16 without a mark": "student,id\nMüller,1\nbob,2\n".encode("utf-16-le"),
    "Canvas": (
        "Student,ID,SIS User ID\n    Points Possible,,\nMüller,1,x\nbob,2,y\n".encode()
    ),
    "empty lines and cells": "student,id,,\n\nMüller,1,,\n,,,\nbob,2,,\n".encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", ROSTERS)
def test_rosters_are_read_as_spreadsheets_write_them(name: str, tmp_path: Path) -> None:
    path = tmp_path / "roster.csv"
    path.write_bytes(ROSTERS[name])
    assert [(p.student, p.id) for p in Roster.read(path)] == [("Müller", "1"), ("bob", "2")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('student,id\n"ada,1\nbo,2\n', "line 2: unexpected end of data; is a quote left open"),
        ('student,id\n"ada,1\nbo",2\n', "line 2: has a cell of several lines"),
        ("student,id\nada,1\nbo,2\nada,3\n", "line 4: the roster has the student 'ada' twice"),
        ("student,id\nada,1\nbo,1\n", "line 3: the roster has the id '1' twice"),
        ("student,id\nada,1,2,3\n", "line 2: has 4 cells in a table of 2 columns"),
        ("name,id\nada,1\n", "line 1: has no column 'student'"),
        ("student,id\n", "has no students below its heading"),
        ("", "has no students below its heading"),
    ],
)
def test_a_wrong_roster_is_refused_before_grading(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roster = tmp_path / "roster.csv"
    roster.write_text(text)
    folder = write(tmp_path / "in", {f"alice/{N}.ipynb": notebook()})
    out = tmp_path / "out"
    asked = ["grade", str(folder), "--out", str(out), "--unsafe-no-sandbox"]
    assert cli.main([*asked, "--roster", str(roster)]) == 1
    error = capsys.readouterr().err
    assert words in error and str(roster) in error
    assert not (out / "gradebook.sqlite").exists()


def test_canvas_and_moodle_ids_find_people() -> None:
    from course_utils.grading.reports.people import Person

    roster = Roster([Person("Müller, Max", id="12345"), Person("Eve", id="7")])
    assert roster.find("muellermax_12345") == Person("Müller, Max", id="12345")
    assert roster.find("muellermax_1234") is None and roster.find("Eve") is not None


# --- all of it, by the commands ------------------------------------------------------------------


def class_folder(folder: Path) -> dict[str, str]:
    """A class that hands in everything there is; returns students and their verdicts."""
    good = notebook()
    differ = json.loads(good)
    differ["cells"] += [{**differ["cells"][0], "source": "def sample(): pass"}]
    double = json.loads(good)
    double["cells"] *= 2
    text = json.loads(good)
    text["cells"][0]["cell_type"] = "markdown"
    cases: dict[str, tuple[bytes, str]] = {
        "blank": (good, "not attempted"),
        "no ids, as Colab saves": (notebook(ids=False), "not attempted"),
        "old minor format": (notebook(ids=False, nbformat_minor=4), "not attempted"),
        "a cell doubled": (json.dumps(double).encode(), "not attempted"),
        "a cell doubled and changed": (json.dumps(differ).encode(), "unreadable"),
        "a cell made text": (json.dumps(text).encode(), "tampered"),
        "a mark of UTF-8": (b"\xef\xbb\xbf" + good, "not attempted"),
        "empty": (b"", "unreadable"),
        "spaces": (b" \n\n", "unreadable"),
        "a web page": (b"<!DOCTYPE html><html></html>", "unreadable"),
        "cut off": (good[: len(good) // 2], "unreadable"),
        "UTF-16": (good.decode().encode("utf-16"), "unreadable"),
        "format 3": (json.dumps({"nbformat": 3, "worksheets": []}).encode(), "unreadable"),
        "a list": (b"[]", "unreadable"),
        "no JSON": (b"sample = 3", "unreadable"),
        "deep": (b"[" * 100_000, "unreadable"),
        "no answers": (notebook(cells=[]), "unreadable"),
        "an answer of 60,000 letters": (
            good.replace(b"raise", b"x = '" + b"y" * 60_000 + b"'; raise"), "unreadable"),
    }  # fmt: skip
    write(folder, {f"{name}/{N}.ipynb": data for name, (data, _) in cases.items()})
    return {name: verdict for name, (_, verdict) in cases.items()}


WORDS = {
    "a cell doubled": "is there 2 times, all alike",
    "a cell doubled and changed": "is there 2 times, and they differ",
    "empty": "is empty",
    "spaces": "is empty",
    "a web page": "is a web page",
    "cut off": "is cut off",
    "UTF-16": "may be UTF-16",
    "format 3": "of format 3",
    "no JSON": "does not hold JSON",
    "no answers": "is missing",
    "an answer of 60,000 letters": "that is no answer",
}


def test_a_class_goes_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    expected = class_folder(folder)
    write(folder, {name: data for name, (data, _) in OTHERS.items()})
    roster = tmp_path / "roster.csv"
    roster.write_text("student\nblank\nnobody\n")
    out = tmp_path / "out"
    asked = ["grade", str(folder), "--out", str(out), "--unsafe-no-sandbox", "--jobs", "1"]
    assert cli.main([*asked, "--roster", str(roster), "--challenge", "02"]) == 1  # some have none
    said = capsys.readouterr().err
    with Gradebook(out / "gradebook.sqlite") as book:
        attempts = {attempt.student: attempt for attempt in book.attempts()}
    assert {name: attempts[name].verdict for name in expected} == expected
    for name, words in WORDS.items():
        assert words in attempts[name].message, attempts[name].message
        assert "\n" not in attempts[name].message
    page = (out / "reports" / "index.html").read_text()
    for name, (_, why) in OTHERS.items():
        assert f"{name} was not graded: it {why}" in said and name in page
    assert "nobody is in the roster and has no file" in said and "no file" in page
    assert "empty has a file and is not in the roster" in said
    assert "Nothing was graded of: cy, dee, eve, fay, gil, hal, ida, jo.pdf." in said


@pytest.mark.parametrize(
    "name", ["Copy of 01_noise_to_order.ipynb", "01_noise_to_order (1).ipynb", "Untitled3.ipynb"]
)
def test_verify_knows_what_grade_knows(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook_ = json.loads((ROOT / "challenges" / "01_noise_to_order.ipynb").read_text())
    for cell in notebook_["cells"]:
        del cell["id"]
    path = tmp_path / name
    path.write_text(json.dumps(notebook_))
    started = time.monotonic()
    assert cli.main(["verify", str(path)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("Challenge 01_noise_to_order") and "Not attempted" in out
    assert time.monotonic() - started < 60
