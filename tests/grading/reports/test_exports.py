"""What other systems read of our exports, read by them or by their rules."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from made_up_class import DUE, HOSTILE, attempt, part

from course_utils.grading.cohort.gradebook import Gradebook, Late, Policy
from course_utils.grading.reports import exports
from course_utils.grading.reports.exports import LTI_SCORE, cell, gradescope_result
from course_utils.grading.reports.people import Person, Roster, safe_name

SCHEMAS = Path(__file__).parent / "schemas"
NOW = datetime(2026, 3, 9, 12, 30, 15, 250_000, tzinfo=UTC)
POLICY = Policy("best", {"01_first": DUE}, Late(percent_a_day=10))
ROSTER = """student,id,email,first_name,last_name,login,sis_id,section,lti_user_id,favourite colour
ada,1001,ada@uni.example,Ada,Okafor,aokafor,S-1,Monday,lti-a,green
bela,1002,bela@uni.example,Bela,Novak,bnovak,S-2,Monday,,blue
chen,1003,chen@uni.example,Chen,Ng,cng,S-3,Tuesday,lti-c,
dana,1004,dana@uni.example,Dana,Haddad,dhaddad,S-4,Tuesday,lti-d,red
"""


@pytest.fixture
def book(tmp_path: Path) -> Gradebook:
    """ada and chen have grades, the grader failed on bela, dana did nothing, emil is unknown."""
    book = Gradebook(tmp_path / "grades.sqlite")
    two = (part("a", 2.0), part("b", 4.0, notes=("Well done.",)))
    book.add(attempt("ada", "01_first", 6.0, parts=two, submitted=DUE + timedelta(hours=1)))
    book.add(attempt("ada", "02_second", 9.5))
    book.add(attempt("bela", "01_first", None))
    book.add(attempt("chen", "02_second", 0.0, verdict="wrong"))
    book.add(attempt("emil", "01_first", 10.0))
    return book


@pytest.fixture
def roster(tmp_path: Path) -> Path:
    path = tmp_path / "roster.csv"
    path.write_bytes(ROSTER.encode("utf-8-sig"))
    return path


def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def write(kind: str, book: Gradebook, path: Path, roster: Any = None, **more: Any):
    return exports.write(kind, book, POLICY, path, roster, now=NOW, **more)


# --- nbgrader ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Object of type")  # nbgrader's own, of SQLAlchemy
def test_nbgrader_reads_and_writes_the_same_table(
    book: Gradebook, roster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours goes into nbgrader's own database; what nbgrader exports of it is ours again."""
    api = pytest.importorskip("nbgrader.api")
    from nbgrader.plugins.export import CsvExportPlugin
    from nbgrader.utils import parse_utc

    # It would start a process to find the version of its own schema.
    monkeypatch.setattr(api, "get_alembic_version", lambda: "any")
    ours = tmp_path / "ours.csv"
    assert write("nbgrader", book, ours, roster).left_out == (("emil", "is not in the roster"),)
    with open(ours, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows, columns = list(reader), reader.fieldnames
    with api.Gradebook("sqlite:///:memory:") as theirs:
        for row in rows:
            name, student = row["assignment"], row["student_id"]
            due = parse_utc(row["duedate"]) if row["duedate"] else None
            theirs.update_or_create_assignment(name, duedate=due)
            if not theirs.find_assignment(name).notebooks:
                theirs.add_notebook("notebook", name)
                theirs.add_grade_cell(
                    "cell", "notebook", name, max_score=float(row["max_score"]), cell_type="code"
                )
            names = {key: row[key] for key in ("first_name", "last_name", "email")}
            theirs.update_or_create_student(student, **names)
        for row in rows:
            if row["score"]:
                found = theirs.update_or_create_submission(
                    row["assignment"], row["student_id"], timestamp=parse_utc(row["timestamp"])
                )
                found.notebooks[0].late_submission_penalty = float(row["late_submission_penalty"])
                found.notebooks[0].grades[0].manual_score = float(row["raw_score"])
        theirs.db.commit()
        CsvExportPlugin(to=str(tmp_path / "theirs.csv")).export(theirs)
    with open(tmp_path / "theirs.csv", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        again, their_columns = list(reader), reader.fieldnames
    assert columns == their_columns
    key = ("assignment", "student_id")
    numbers = ("raw_score", "late_submission_penalty", "score", "max_score")
    by_key = {tuple(row[k] for k in key): row for row in again}
    assert len(by_key) == len(rows) == 8
    for row in rows:
        back = by_key[tuple(row[k] for k in key)]
        for column in columns or ():
            if column in numbers and row[column]:
                assert float(row[column]) == pytest.approx(float(back[column]), abs=1e-3)
            elif row["score"] or column not in (*numbers, "timestamp"):
                assert row[column] == back[column]
    wanted = {(row["assignment"], row["student_id"]): row["score"] for row in rows}
    assert wanted["01_first", "1001"] == "5.4" and wanted["02_second", "1003"] == "0"
    assert wanted["01_first", "1002"] == wanted["01_first", "1004"] == ""  # a fault, nothing


# --- Canvas --------------------------------------------------------------------------------------


def canvas(path: Path) -> tuple[dict[str, float], dict[str, dict[str, str]], list[str]]:
    """Read as Canvas does: instructure/canvas-lms, lib/gradebook_importer.rb.

    Returns:
        Points possible by assignment, grades by student's id and assignment, and the titles.
    """
    lines = path.read_text(encoding="utf-8").splitlines()[:3]
    widths = {len(next(csv.reader([line], delimiter=";"))) for line in lines}
    assert widths == {1} or len(widths) > 1, "Canvas would take semicolons for the separator"
    rows = [row for row in rows_of(path) if not re.fullmatch(r"[;, ]+", ",".join(row))]
    head = rows[0]
    assert len(head) > 3 and "Student" in head[0] and "ID" in head[1]
    assert re.search(r"SIS\s+User\s+ID", head[2]) and re.search(r"SIS\s+Login\s+ID", head[3])
    assert "Section" in head[4]
    titles = head[5:]
    possible: dict[str, float] = {}
    grades: dict[str, dict[str, str]] = {}
    for row in rows[1:]:
        assert len(row) == len(head)
        if "Points Possible" in row[0]:
            assert not possible, "a second row of possible points"
            possible = dict(zip(titles, map(float, row[5:]), strict=True))
        else:
            grades[row[1] or row[2] or row[3] or row[0]] = dict(zip(titles, row[5:], strict=True))
    return possible, grades, titles


def test_canvas_reads_points_and_gaps(book: Gradebook, roster: Path, tmp_path: Path) -> None:
    path = tmp_path / "canvas.csv"
    write("canvas", book, path, roster, assignment_ids={"01_first": "4711"})
    possible, grades, titles = canvas(path)
    assert titles == ["01_first (4711)", "02_second"]
    assert re.fullmatch(r"(.*)\s\((\d+)\)", titles[0])  # Assignment.title_and_id
    assert possible == {"01_first (4711)": 10, "02_second": 10}
    assert grades == {
        "1001": {"01_first (4711)": "5.4", "02_second": "9.5"},
        "1002": {"01_first (4711)": "", "02_second": ""},
        "1003": {"01_first (4711)": "", "02_second": "0"},
        "1004": {"01_first (4711)": "", "02_second": ""},
    }
    assert rows_of(path)[2][:5] == ["Ada Okafor", "1001", "S-1", "aokafor", "Monday"]


def test_no_student_is_taken_for_the_row_of_possible_points(tmp_path: Path) -> None:
    book = Gradebook(tmp_path / "grades.sqlite")
    for student in ("Points Possible", "    Points Possible", "Muted", "ada"):
        book.add(attempt(student, points=1.0))
    write("canvas", book, tmp_path / "canvas.csv")
    possible, grades, _ = canvas(tmp_path / "canvas.csv")
    assert possible == {"99_made_up": 10} and len(grades) == 4


def test_a_canvas_id_that_is_none_is_refused(book: Gradebook, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="digits"):
        write("canvas", book, tmp_path / "x.csv", assignment_ids={"01_first": "1) =x"})


# --- Moodle --------------------------------------------------------------------------------------


def moodle(path: Path, users: set[str]) -> dict[str, dict[str, float | None]]:
    """Read as Moodle does: grade/import/csv/classes/load_data.php, with new grade items.

    Its traps are in here: a row without a user goes to the user before, an empty new grade is
    stored as 0, an unknown user ends the import.
    """
    rows = rows_of(path)
    found: dict[str, dict[str, float | None]] = {}
    user = ""
    for row in rows[1:]:
        assert len(row) == len(rows[0])
        name = row[0].strip()
        if name not in ("", "0"):
            assert name in users, f"no user {name!r}: Moodle ends the whole import"
            user = name
        assert user
        for title, value in zip(rows[0][3:], row[3:], strict=True):
            grade = None if value.strip() == "-" else float(value or 0)
            assert grade is None or grade <= 100
            found.setdefault(user, {})[title] = grade
    return found


@pytest.mark.parametrize(
    ("identifier", "ada"),
    [("Email address", "ada@uni.example"), ("ID number", "1001"), ("Username", "aokafor")],
)
def test_moodle_reads_points_and_gaps(
    book: Gradebook, roster: Path, tmp_path: Path, identifier: str, ada: str
) -> None:
    path = tmp_path / "moodle.csv"
    write("moodle", book, path, roster, identifier=identifier)
    fields = {"Email address": "email", "ID number": "id", "Username": "login"}
    users = {getattr(person, fields[identifier]) for person in Roster.read(roster)}
    grades = moodle(path, users)
    assert rows_of(path)[0][0] == identifier
    assert grades[ada] == {"01_first": 5.4, "02_second": 9.5}
    assert list(grades.values())[1:] == [
        {"01_first": None, "02_second": None},
        {"01_first": None, "02_second": 0},
        {"01_first": None, "02_second": None},
    ]


def test_moodle_never_gets_a_row_without_a_user(book: Gradebook, tmp_path: Path) -> None:
    people = [Person("ada", email="ada@uni.example"), Person("chen"), Person("bela", email="0")]
    path = tmp_path / "moodle.csv"
    left_out = write("moodle", book, path, Roster(people)).left_out
    assert list(moodle(path, {"ada@uni.example"})) == ["ada@uni.example"]
    assert {student for student, _ in left_out} == {"chen", "bela", "emil"}


# --- Gradescope and LTI --------------------------------------------------------------------------


def schema(name: str) -> jsonschema.protocols.Validator:
    found = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def test_gradescope_results_follow_its_specification(book: Gradebook, tmp_path: Path) -> None:
    done = write("gradescope", book, tmp_path / "out")
    assert done.left_out == (("bela", "waits for the grader in 01_first"),)
    assert len(done.paths) == 4 and {path.name for path in done.paths} == {"results.json"}
    validator = schema("gradescope_results.json")
    for path in done.paths:
        validator.validate(json.loads(path.read_bytes()))
    (path,) = (tmp_path / "out").glob("01_first-*/ada-*/results.json")
    result = json.loads(path.read_bytes())
    assert result["score"] == 5.4 and "10 percent" in result["output"]
    assert [test["status"] for test in result["tests"]] == ["failed", "passed"]
    assert [(test["score"], test["max_score"]) for test in result["tests"]] == [(2, 4), (4, 4)]
    assert "Look at the last timestep." in result["tests"][0]["output"]
    assert "Well done." in result["tests"][1]["output"]


def test_gradescope_never_renders_a_learners_text(tmp_path: Path) -> None:
    book = Gradebook(tmp_path / "grades.sqlite")
    evil = "<img src=x onerror=alert(1)>"
    parts = (part("a", 1.0, title=evil, message=evil, notes=(evil,), advice=evil),)
    book.add(attempt("ada", points=1.0, message=evil, parts=parts))
    (path,) = write("gradescope", book, tmp_path / "out").paths
    result = json.loads(path.read_bytes())
    assert result["output_format"] == "text"  # by default it is HTML
    for test in result["tests"]:
        assert test["name_format"] == test["output_format"] == "text"
    assert "424242" not in path.read_text()  # what is for instructors alone


def test_no_gradescope_score_stands_for_a_fault(book: Gradebook) -> None:
    (fault,) = [grade for grade in book.grades() if grade.points is None]
    with pytest.raises(ValueError, match="no points"):
        gradescope_result(fault)
    for odd in ({}, {"output": "x"}, {"tests": []}, {"tests": [{"name": "x"}]}, {"score": None}):
        assert not schema("gradescope_results.json").is_valid(odd)  # as if there were no result


def test_lti_scores_follow_the_specification(book: Gradebook, roster: Path, tmp_path: Path) -> None:
    done = write("lti", book, tmp_path / "out", roster)
    first, second = (json.loads(path.read_bytes()) for path in done.paths)
    for score in (*first, *second):
        schema("lti_ags_score.json").validate(score)
    assert first == [
        {
            "userId": "lti-a",
            "timestamp": "2026-03-09T12:30:15.250+00:00",
            "scoreGiven": 5.4,
            "scoreMaximum": 10.0,
            "activityProgress": "Completed",
            "gradingProgress": "FullyGraded",
            "comment": "a 2 of 4, b 4 of 4. Handed in 1 day late, which costs 10 percent of the "
            "points reached.",
        },
        {
            "userId": "1002",
            "timestamp": "2026-03-09T12:30:15.250+00:00",
            "activityProgress": "Submitted",
            "gradingProgress": "PendingManual",
            "comment": "Not graded yet: the grader failed, and not your answer.",
        },
    ]
    assert [(s["userId"], s["scoreGiven"]) for s in second] == [("lti-a", 9.5), ("lti-c", 0)]


def test_an_lti_tool_sends_the_same(book: Gradebook, roster: Path, tmp_path: Path) -> None:
    """PyLTI1p3, a tool's side of LTI, makes the same body and media type; run where installed."""
    pytest.importorskip("pylti1p3")
    from pylti1p3.assignments_grades import AssignmentsGradesService
    from pylti1p3.grade import Grade

    sent = []

    class Connector:
        def make_service_request(self, scopes: Any, url: str, **request: Any) -> dict:
            sent.append((url, request["content_type"], json.loads(request["data"])))
            return {"headers": {}, "body": None}

    url = "https://lms.example/lineitems/7"
    scope = ["https://purl.imsglobal.org/spec/lti-ags/scope/score"]
    service = AssignmentsGradesService(Connector(), {"scope": scope, "lineitem": url})
    for path in write("lti", book, tmp_path / "out", roster).paths:
        for score in json.loads(path.read_bytes()):
            grade = Grade()
            grade.set_user_id(score["userId"]).set_timestamp(score["timestamp"])
            grade.set_activity_progress(score["activityProgress"])
            grade.set_grading_progress(score["gradingProgress"]).set_comment(score["comment"])
            if "scoreGiven" in score:
                grade.set_score_given(score["scoreGiven"])
                grade.set_score_maximum(score["scoreMaximum"])
            service.put_grade(grade)
            assert sent.pop() == (f"{url}/scores", LTI_SCORE, score)


def test_an_lti_comment_has_no_word_of_a_learner(tmp_path: Path) -> None:
    book = Gradebook(tmp_path / "grades.sqlite")
    evil = "<img src=x onerror=alert(1)>"
    parts = (part("a", 1.0, title=evil, message=evil, notes=(evil,)),)
    book.add(attempt("ada", points=1.0, message=evil, parts=parts))
    (path,) = write("lti", book, tmp_path / "out").paths
    assert "<" not in path.read_text()


# --- cells, names, rosters -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\u00a0=1", "\ufeff=1",
        "\u200b=1", "\x00=1", "\u202e=1", "＝1", "＋1", "－1+1", "＠x", "=", "@", " \t -x", "-",
        "+", '=HYPERLINK("http://x","y")', "\t", "\r\n",
    ],
)  # fmt: skip
def test_no_cell_starts_a_formula(text: str) -> None:
    shown = cell(text)
    assert not shown.startswith(("\t", "\r", "\n"))
    bare = "".join(c for c in shown if not c.isspace() and unicodedata.category(c)[0] != "C")
    assert bare == "-" or not unicodedata.normalize("NFKC", bare[:1]).startswith(tuple("=+-@"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (7.0, "7"), (0.0, "0"), (-2.5, "-2.5"), (1 / 3, "0.3333"), (None, ""), ("", ""),
        (100, "100"), ("    Points", "    Points"),
        ("Ada", "Ada"), ("-12.5", "-12.5"), ("+3", "+3"), ("007", "007"),
        ("O'Neil", "O'Neil"), ("a=b", "a=b"), ("Anne-Marie", "Anne-Marie"), ("a\nb", "a b"),
    ],
)  # fmt: skip
def test_plain_cells_stay_as_they_are(value: object, shown: str) -> None:
    assert cell(value) == shown


@pytest.mark.parametrize("kind", ["nbgrader", "canvas", "moodle"])
def test_hostile_names_stay_in_their_cells(kind: str, tmp_path: Path) -> None:
    book = Gradebook(tmp_path / "grades.sqlite")
    for i, student in enumerate(HOSTILE):
        book.add(attempt(student, points=i % 10 + 0.5))
    rows = rows_of(write(kind, book, tmp_path / "x.csv").paths[0])
    first = 2 if kind == "canvas" else 1
    assert len(rows) == len(HOSTILE) + first and {len(row) for row in rows} == {len(rows[0])}
    for row in rows[first:]:
        for text in row:
            bare = text.strip()
            assert not bare.startswith(tuple("=+@\t\r")) and not re.match(r"-\D", bare)
        numbers = [text for text in row if re.fullmatch(r"\d\.5", text)]
        assert numbers, "a number became a text"


def test_hostile_names_stay_in_their_folders(tmp_path: Path) -> None:
    book = Gradebook(tmp_path / "grades.sqlite")
    for student in HOSTILE:
        book.add(attempt(student))
    before = set(tmp_path.rglob("*"))
    done = write("gradescope", book, tmp_path / "out")
    assert len({str(path).lower() for path in done.paths}) == len(HOSTILE)
    after = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(tmp_path / "out") for path in after)
    for path in done.paths:
        assert re.fullmatch(r"[A-Za-z0-9_]+-[0-9a-f]{12}", path.parent.name)
        assert len(path.parent.name) < 64
    (path,) = write("lti", book, tmp_path / "lti").paths
    for score in json.loads(path.read_bytes()):
        schema("lti_ags_score.json").validate(score)


def test_names_of_files_do_not_collide() -> None:
    names = (
        "a/b",
        "a_b",
        "a b",
        "A_b",
        "",
        ".",
        "..",
        "CON",
        "é",
        "e\u0301",
        "🦊",
        "🐱",
        "x" * 300,
    )
    assert len({safe_name(name).lower() for name in names}) == len(names)


def test_a_roster_finds_names_however_they_are_encoded(tmp_path: Path) -> None:
    path = tmp_path / "roster.csv"
    path.write_text("Student,ID,First Name\nChloe\u0301,7,Chloé\n,8,nobody\n", encoding="utf-8")
    roster = Roster.read(path)
    found = roster.find("Chlo\u00e9")
    assert found is not None and (found.id, found.first_name) == ("7", "Chloé")
    assert roster.find("Chloe") is None and len(list(roster)) == 1
    book = Gradebook(tmp_path / "grades.sqlite")
    book.add(attempt("Chlo\u00e9", points=5.0))
    done = write("canvas", book, tmp_path / "x.csv", roster)
    assert done.left_out == () and canvas(done.paths[0])[1] == {"7": {"99_made_up": "5"}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,id\nada,1\n", "no column 'student'"),
        ("", "no students below its heading"),
        ("student,id\nada,1\nada,2\n", "'ada' twice"),
        ("student,id\nada,1\nbela,1\n", "id '1' twice"),
    ],
)
def test_a_wrong_roster_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "roster.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        Roster.read(path)


@pytest.mark.parametrize("kind", exports.KINDS)
def test_every_kind_writes_an_empty_gradebook(kind: str, tmp_path: Path, roster: Path) -> None:
    book = Gradebook(tmp_path / "grades.sqlite")
    write(kind, book, tmp_path / "none")
    assert write(kind, book, tmp_path / "some", roster).left_out == ()


def test_unknown_kinds_and_identifiers_are_refused(book: Gradebook, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of nbgrader, canvas"):
        write("excel", book, tmp_path / "x")
    with pytest.raises(ValueError, match="Email address"):
        write("moodle", book, tmp_path / "x", identifier="shoe size")
    assert not (tmp_path / "x").exists()
