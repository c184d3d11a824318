"""What was handed in is found in every known layout, and nothing that was handed in ends a run."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from course_utils.challenges.declare import find_challenge
from course_utils.grading.answers.notebooks import MOST_BYTES
from course_utils.grading.cohort.layouts import split_name
from course_utils.grading.cohort.submissions import (
    Ignored,
    Submission,
    SubmissionsError,
    clean,
    find_submissions,
)

NAME = "02_denoise_on_a_budget"


def notebook(challenge: str = "02") -> bytes:
    cells = [
        {"cell_type": "code", "id": id, "source": "x"} for id in find_challenge(challenge).answers
    ]
    return json.dumps({"nbformat": 4, "cells": cells}).encode()


def found(path: Path, challenge: str | None = None) -> dict[str, tuple[str, str | None]]:
    """(student, challenge) by source."""
    every = list(find_submissions(path, challenge))
    return {e.source: (e.student, e.challenge) for e in every if isinstance(e, Submission)}


def ignored(path: Path) -> dict[str, str]:
    return {e.source: e.why for e in find_submissions(path) if isinstance(e, Ignored)}


def write(folder: Path, names: dict[str, bytes]) -> Path:
    for name, data in names.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


LAYOUTS = {
    f"ada/{NAME}.ipynb": ("ada", "02"),
    f"bo_{NAME}.ipynb": ("bo", "02"),
    f"cy/ps1/{NAME}.ipynb": ("cy", "02"),
    f"dee-{NAME} (1).ipynb": ("dee", "02"),
    f"eve_123_456_{NAME}-2.ipynb": ("eve_123", "02"),
    "fay/2-denoise_on_a_budget.ipynb": ("fay", "02"),
    "gil/answer.ipynb": ("gil", "02"),
    f"Hö Ünal_99_assignsubmission_file_/{NAME}.IPYNB": ("Hö Ünal_99", "02"),
    "ida-04.ipynb": ("ida", "04"),
}


@pytest.mark.parametrize("kind", ["folder", "zip", "zips in a folder"])
def test_known_layouts(kind: str, tmp_path: Path) -> None:
    noise = {
        "ada/.ipynb_checkpoints/x-checkpoint.ipynb": notebook(),
        f"__MACOSX/ada/._{NAME}.ipynb": b"\x00",
        "ada/data.csv": b"1,2",
        ".DS_Store": b"",
    }
    entries = {name: notebook(number) for name, (_, number) in LAYOUTS.items()}
    if kind == "folder":
        have = found(write(tmp_path / "in", entries | noise))
        assert have == LAYOUTS
    elif kind == "zip":
        have = found(zipped(tmp_path / "in.zip", entries | noise))
        assert {k.split(":", 1)[1]: v for k, v in have.items()} == LAYOUTS
    else:
        zipped(tmp_path / "in" / "jo" / "all.zip", {f"x/{NAME}.ipynb": notebook()} | noise)
        zipped(tmp_path / "in" / "kim.zip", {f"{NAME}.ipynb": notebook()})
        assert {student for student, _ in found(tmp_path / "in").values()} == {"jo", "kim"} | {"jo"}


def test_a_challenge_can_be_given(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", {"ada/x.ipynb": b"no notebook", "bo/y.ipynb": notebook("01")})
    assert {c for _, c in found(folder).values()} == {None, "01"}
    assert {c for _, c in found(folder, "03").values()} == {"03"}


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("02_denoise_on_a_budget", ("02", "")),
        ("alice_02_denoise_on_a_budget", ("02", "alice")),
        ("alice-02", ("02", "alice")),
        ("alice_denoise_on_a_budget", ("02", "alice")),
        ("alice_2024-11-01", (None, "alice")),
        ("alice_20241101_02", ("02", "alice")),
        ("2024-11-01 10.30 bo-03", ("03", "bo")),
        ("notebook", (None, "notebook")),
        ("student102", (None, "student102")),
        ("", (None, "")),
    ],
)
def test_names(stem: str, expected: tuple[str | None, str]) -> None:
    assert split_name(stem) == expected


@pytest.mark.parametrize(
    ("name", "number", "student"),
    [
        ("alice_2024-11-01.ipynb", "02", "alice"),
        ("alice_01_noise_to_order.ipynb", "02", "alice"),
        ("bo-03.ipynb", "04", "bo"),
        ("2024-11-01.ipynb", "02", "2024-11-01"),
        ("cy.ipynb", "06", "cy"),
    ],
)
def test_the_cells_tell_more_than_the_name(
    name: str, number: str, student: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "in", {name: notebook(number)})
    assert list(found(folder).values()) == [(student, number)]


def test_names_are_told_apart_and_can_be_shown() -> None:
    names = ["alice", "al\x00ice", "alice\x1b[2J", "al\udcffice", "alice\u200b", "\n", "", " "]
    cleaned = [clean(name) for name in names]
    assert all(name and name.isprintable() for name in cleaned)
    assert all(name.encode() for name in cleaned)
    assert len({clean(name) for name in names[:4]}) == 4
    assert clean("e\u0301") == clean("é")
    long = [clean("x" * 500 + end) for end in "ab"]
    assert len(set(long)) == 2 and all(len(name) <= 220 for name in long)


# --- what is no submission -----------------------------------------------------------------------


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    secret = write(tmp_path / "elsewhere", {f"{NAME}.ipynb": notebook()})
    folder = tmp_path / "in"
    (folder / "ada").mkdir(parents=True)
    (folder / "ada" / f"{NAME}.ipynb").symlink_to(secret / f"{NAME}.ipynb")
    (folder / "bo").symlink_to(secret)
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / f"cy_{NAME}.ipynb")
    os.mkfifo(folder / "dee.zip")
    (folder / "broken.ipynb").symlink_to("/nowhere")
    assert found(folder) == {}
    assert set(ignored(folder)) == {
        f"ada/{NAME}.ipynb",
        f"cy_{NAME}.ipynb",
        "dee.zip",
        "broken.ipynb",
        "bo",
        "loop",
    }


def test_zip_entries_that_are_links_or_lead_out_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo(f"ada/{NAME}.ipynb")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        for name in ("../../x.ipynb", "/abs/x.ipynb", "a\\..\\..\\x.ipynb"):
            archive.writestr(name, notebook())
        archive.writestr(f"bo/{NAME}.ipynb", notebook())
    assert [s for s, _ in found(path).values()] == ["bo"]
    assert len(ignored(path)) == 4


def test_a_zip_bomb_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "in" / "ada" / "bomb.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(f"{NAME}.ipynb", "w", force_zip64=True) as file:
            for _ in range(200):
                file.write(bytes(2**20))
        archive.writestr("more.ipynb", notebook())
    (large, small) = [e for e in find_submissions(tmp_path / "in") if isinstance(e, Submission)]
    assert len(large.data) == MOST_BYTES + 1 and len(small.data) < 1000


def test_a_zip_of_one_student_has_room_for_a_few_notebooks(tmp_path: Path) -> None:
    many = {f"{n}.ipynb": notebook() + b" " * n for n in range(2000)}
    zipped(tmp_path / "in" / "eve" / "all.zip", many)
    zipped(tmp_path / "in" / "fay.zip", {f"{NAME}.ipynb": notebook()})
    started = time.monotonic()
    every = list(find_submissions(tmp_path / "in"))
    assert [e.student for e in every if isinstance(e, Submission)] == ["fay"]
    assert "2,000" in ignored(tmp_path / "in")["eve/all.zip"]
    assert time.monotonic() - started < 20


def broken_zips() -> dict[str, bytes]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/02.ipynb", notebook())
    good = buffer.getvalue()
    local, central = good.index(b"PK\x03\x04"), good.index(b"PK\x01\x02")

    def changed(offset: int, data: bytes) -> bytes:
        return good[:offset] + data + good[offset + len(data) :]

    name = central + 46
    flagged = bytearray(changed(name, b"\xff\xfe"))
    flagged[central + 8 : central + 10] = struct.pack("<H", 0x800)  # "the name is UTF-8"
    return {
        "cut": good[:-9],
        "no name": bytes(flagged),
        "encrypted": changed(central + 8, struct.pack("<H", 1)),
        "another method": changed(central + 10, struct.pack("<H", 99)),
        "far away": changed(central + 42, struct.pack("<I", 2**31)),
        "wrong sum": changed(central + 16, b"\x00\x00\x00\x00"),
        "wrong size": changed(central + 24, struct.pack("<I", 2**31)),
        "wrong date": changed(central + 12, b"\xff\xff\xff\xff"),
        "local part is gone": changed(local, b"XXXX"),
        "nothing": b"",
        "another thing": b"%PDF",
    }


@pytest.mark.parametrize("name", broken_zips())
def test_a_damaged_zip_ends_nothing(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder, {"ada/a.zip": broken_zips()[name], f"bo/{NAME}.ipynb": notebook()})
    every = list(find_submissions(folder))
    assert [e.student for e in every if isinstance(e, Submission)][-1] == "bo"
    assert len(every) == 2
    for each in every:
        if isinstance(each, Ignored):
            assert each.why.isprintable() and each.source.isprintable()


def test_names_that_terminals_obey_are_made_harmless(tmp_path: Path) -> None:
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\x1b]0;owned\x07/../x.ipynb", notebook())
        archive.writestr(f"\x1b[31mpass\r\n/{NAME}.ipynb", notebook())
        archive.writestr(f"\u202egnp/{NAME}.ipynb", notebook())
    for each in find_submissions(path):
        assert each.source.isprintable(), each
        if isinstance(each, Submission):
            assert each.student.isprintable()


def test_a_folder_that_can_t_be_read_is_said(tmp_path: Path) -> None:
    write(tmp_path / "in", {f"ada/{NAME}.ipynb": notebook(), f"bo/{NAME}.ipynb": notebook()})
    path = tmp_path / "in" / "ada" / f"{NAME}.ipynb"
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read all")
    assert "can't be read" in next(iter(ignored(tmp_path / "in").values()))


@pytest.mark.parametrize("kind", ["missing", "a notebook", "a text"])
def test_what_holds_no_submissions_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / {"missing": "x", "a notebook": "x.ipynb", "a text": "x.txt"}[kind]
    if kind != "missing":
        path.write_text("{}")
    with pytest.raises(SubmissionsError, match="expected a folder or a zip"):
        list(find_submissions(path))


def test_cells_that_are_anything_leave_the_challenge_open(tmp_path: Path) -> None:
    contents: list[Any] = [
        [], {}, {"cells": 3}, {"cells": [3]}, {"cells": [{"id": []}]}, {"cells": [{"id": {}}]},
        {"cells": [None]}, "x", 3, None,
    ]  # fmt: skip
    names = {f"s{n}/x.ipynb": json.dumps(c).encode() for n, c in enumerate(contents)}
    names["deep/x.ipynb"] = b"[" * 10**6
    names["bytes/x.ipynb"] = bytes(range(256))
    names["large/x.ipynb"] = b" " * (MOST_BYTES + 5)
    assert {c for _, c in found(write(tmp_path / "in", names)).values()} == {None}
