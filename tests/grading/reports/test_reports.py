"""Pages say what happened, and nothing that a learner wrote becomes markup in them."""

from __future__ import annotations

import base64
import hashlib
import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_up_class import COPIED, DUE, HOSTILE, attempt, fill, part

from course_utils.grading import reports
from course_utils.grading.cohort.gradebook import FAULT, Gradebook, Late, Policy
from course_utils.grading.reports.challenge import histogram
from course_utils.grading.reports.markup import tag
from course_utils.grading.reports.mistakes import mistake

VOID = {"meta", "br", "hr"}


class Page(HTMLParser):
    """A page's elements, with their attributes, and its texts.

    Raises:
        AssertionError: elements are not closed in the order in which they were opened.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(data.decode("utf-8"))
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    @property
    def shape(self) -> Counter[tuple[str, tuple[str, ...]]]:
        """Elements with the names of their attributes."""
        return Counter((tag, tuple(sorted(attributes))) for tag, attributes in self.elements)

    @property
    def text(self) -> str:
        return "".join(text for where, text in self.texts if where != "style")

    def all(self, name: str) -> Iterator[dict[str, str | None]]:
        return (attributes for tag, attributes in self.elements if tag == name)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gradebook, reports.Reports]:
    """Of 42 students; the pages are only read."""
    folder = tmp_path_factory.mktemp("cohort")
    book = Gradebook(folder / "grades.sqlite")
    fill(book, 42)
    return book, reports.write(book, folder / "out", Policy("best", {NAME: DUE}, Late(10)))


NAME = "02_denoise_on_a_budget"


def write(tmp_path: Path, *attempts, policy: Policy | None = None) -> reports.Reports:
    book = Gradebook(tmp_path / "grades.sqlite")
    for one in attempts:
        book.add(one)
    return reports.write(book, tmp_path / "out", policy or Policy())


def pages(written: reports.Reports) -> list[bytes]:
    paths = [written.index, written.similar, *written.students.values()]
    return [path.read_bytes() for path in paths]


# --- nothing a learner wrote is markup -----------------------------------------------------------

TEXTS = (*HOSTILE, "<!-- ", "]]>", "&lt;script&gt;", "<p/onclick=x>", "\u2028", "<b")
HARMLESS = tuple("good " + chr(97 + i) * max(len(text), 4) for i, text in enumerate(TEXTS))


def of_two(text: str) -> list:
    """Two students whose names, messages, answers and everything else hold the text."""
    found = []
    for name, points in ((text, 3.0), (f"{text} 2", 0.0)):
        parts = (
            part("a", 1.0, title=text, message=text, notes=(text, text), advice=text),
            part("b", 0.0, message=text, value=None, oracle_calls={text: 3}),
            part("c", 0.0, verdict="error", value=None, message=f"f fails: {text}: {text}"),
        )
        answers = {"sample": f"{COPIED}\nnote = {text!r}\n"}
        for bytes_ in ("first", "again"):
            found.append(
                attempt(
                    name, points=points, bytes_=bytes_, sandboxed=bytes_ == "first", parts=parts,
                    answers=answers, message=text,
                )
            )  # fmt: skip
    found.append(attempt(f"{text} 3", points=None, message=text))
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Page]]:
    """The pages of a harmless class, and of one whose every text is hostile."""
    found = []
    for texts in (HARMLESS, TEXTS):
        folder = tmp_path_factory.mktemp("class")
        written = write(folder, *(one for text in texts for one in of_two(text)))
        pages_ = {name: Page(path.read_bytes()) for name, path in written.students.items()}
        index, similar = (Page(p.read_bytes()) for p in (written.index, written.similar))
        found.append(pages_ | {"": index, "similar": similar})
    return found


@pytest.mark.parametrize("i", range(len(TEXTS)))
def test_no_element_and_no_attribute_comes_from_a_learner(both, i: int) -> None:
    harmless, hostile = both
    escaped = TEXTS[i].encode("utf-8", "backslashreplace").decode()
    for end in ("", " 2", " 3"):
        assert hostile[escaped + end].shape == harmless[HARMLESS[i] + end].shape
        values = [a for page in both[1:] for _, a in page[escaped + end].elements]
        found = " ".join(value or "" for attributes in values for value in attributes.values())
        assert len(escaped) < 5 or escaped not in found


@pytest.mark.parametrize("page", ["", "similar"])
def test_pages_for_instructors_have_the_same_elements_for_any_class(both, page: str) -> None:
    harmless, hostile = (pages_[page].shape for pages_ in both)
    assert hostile == harmless


@pytest.mark.parametrize("text", TEXTS)
def test_what_a_learner_wrote_is_shown_as_they_wrote_it(both, text: str) -> None:
    escaped = text.encode("utf-8", "backslashreplace").decode()
    shown = " ".join(re.sub("[\x00-\x08\x0b-\x1f\x7f]", "\ufffd", escaped).split())
    for page in (both[1][escaped], both[1][""], both[1]["similar"]):
        assert shown in " ".join(page.text.split())


def test_everything_is_forbidden_but_the_style(cohort) -> None:
    for data in pages(cohort[1]):
        page = Page(data)
        (policy,) = (
            a["content"]
            for a in page.all("meta")
            if a.get("http-equiv") == "Content-Security-Policy"
        )
        (style,) = (text for where, text in page.texts if where == "style")
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy is not None and policy.startswith("default-src 'none';")
        assert f"style-src 'sha256-{digest}'" in policy and "unsafe" not in policy
        assert "script" not in policy
        names = {name for _, attributes in page.elements for name in attributes}
        assert not {name for name in names if name.startswith("on")} and "style" not in names
        kinds = {tag for tag, _ in page.elements}
        assert not kinds & {"script", "iframe", "object", "img", "link", "form", "base"}
        for link in page.all("a"):
            to = link["href"] or ""
            assert re.fullmatch(r"similar\.html|students/[A-Za-z0-9_]+-[0-9a-f]{12}\.html", to)


def test_ids_are_there_once_and_what_refers_to_them_finds_them(cohort) -> None:
    for data in pages(cohort[1]):
        page = Page(data)
        ids = [a["id"] for _, a in page.elements if "id" in a]
        assert len(ids) == len(set(ids))
        for _, attributes in page.elements:
            assert set((attributes.get("aria-labelledby") or "").split()) <= set(ids)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (tag("p", "<b>"), "<p>&lt;b&gt;</p>"),
        (tag("p", tag("b", "&")), "<p><b>&amp;</b></p>"),
        (tag("p", [["a", None], (x for x in "bc")], 2.50), "<p>abc2.5</p>"),
        (tag("p", title="\"><i>'"), '<p title="&quot;&gt;&lt;i&gt;&#x27;"></p>'),
        (tag("p", open_=True, hidden=False, id=None), "<p open></p>"),
        (tag("p", "\x00\ud800\ufffe"), "<p>\ufffd\ufffd\ufffd</p>"),
    ],
)
def test_elements_escape_all_but_elements(given: str, made: str) -> None:
    assert given == made


# --- files ---------------------------------------------------------------------------------------


def test_every_learner_has_a_page_of_their_own_inside_the_folder(tmp_path: Path) -> None:
    written = write(tmp_path, *(attempt(student) for student in HOSTILE))
    paths = list(written.students.values())
    assert len({str(path).lower() for path in paths}) == len(HOSTILE)
    for path in paths:
        assert path.parent == tmp_path / "out" / "students" and path.is_file()
    there = {path for path in tmp_path.rglob("*") if path.is_file()} - {tmp_path / "grades.sqlite"}
    made = {*paths, written.index, written.similar}
    assert {path for path in there if "sqlite" not in path.name} == made
    # The name depends on the student alone, so a link that was sent stays good.
    again = write(tmp_path, attempt("someone new"))
    assert again.students.items() >= written.students.items()


def test_a_page_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write(tmp_path, attempt("ada"))
    before = written.index.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        write(tmp_path, attempt("bela"))
    assert written.index.read_bytes() == before
    assert not list((tmp_path / "out").rglob("*.part"))


def test_an_empty_gradebook_has_a_page_too(tmp_path: Path) -> None:
    written = write(tmp_path)
    assert "Nothing is graded yet" in Page(written.index.read_bytes()).text
    assert written.students == {}


# --- a learner's page ----------------------------------------------------------------------------


def learner(tmp_path: Path, *attempts, policy: Policy | None = None) -> str:
    written = write(tmp_path, *attempts, policy=policy)
    return " ".join(Page(written.students["ada"].read_bytes()).text.split())


def test_a_learner_sees_points_measurements_and_what_to_try(tmp_path: Path) -> None:
    parts = (
        part("a", 2.0, title="Exact data", notes=("A note.",), oracle_calls={"denoise": 8}),
        part("b", 6.0, 6.0, message="Full marks."),
    )
    text = learner(tmp_path, attempt("ada", points=8.0, parts=parts, message="8 of 10: passed."))
    for words in (
        "8 of 10 points", "passed", "a · Exact data", "2 of 4", "partial", "A note.", "6 of 6",
        "largest error: 0.13. At most 0.1 gives 4 points.", "calls of denoise: 8",
        "8 of 10: passed.", "What to try next. Look at the last timestep.",
        "Handed in 2026-03-02 18:59 UTC",
    ):  # fmt: skip
        assert words in text
    assert text.count("What to try next") == 1
    assert "424242" not in text and "secret" not in text  # details are for instructors
    assert "5e3d" not in text  # and so is the seed


def test_the_band_that_was_reached_is_marked(tmp_path: Path) -> None:
    from course_utils.challenges.declare import find_challenge

    declared = find_challenge("02").parts[0]
    best, *_, least = declared.bands
    parts = (
        part("a", least.points, declared.points, value=least.limit, title="measured"),
        part("b", 0.0, 99.0, title="of another course: no bands"),
    )
    written = write(tmp_path, attempt("ada", NAME, least.points, parts=parts))
    page = Page(written.students["ada"].read_bytes())
    (_,) = (a for a in page.all("li") if a.get("class") == "here")
    text = " ".join(page.text.split())
    assert f"at most {least.limit:.4g} gives {least.points:g} (reached)" in text
    assert f"at most {best.limit:.4g} gives {best.points:g}" in text
    assert len([a for a in page.all("ul") if a.get("class") == "bands"]) == 1


def test_a_fault_asks_nothing_of_the_learner(tmp_path: Path) -> None:
    secret = "Traceback: /srv/grader/secret.py"
    text = learner(tmp_path, attempt("ada", points=None, message=secret))
    assert "not graded yet" in text and "The grader failed, and not your answer" in text
    assert "0 of 10" not in text and "– of 10" in text and secret not in text


def test_what_the_grader_noted_is_for_the_instructor_alone(tmp_path: Path) -> None:
    import dataclasses

    fault = attempt("ada", points=None, message="It will be graded again.")
    noted = {**fault.record, "fault": "OSError: <b>no space</b> on /srv"}
    written = write(tmp_path, dataclasses.replace(fault, record=noted))
    assert noted["fault"] in Page(written.index.read_bytes()).text
    assert "/srv" not in Page(written.students["ada"].read_bytes()).text


def test_lateness_and_earlier_attempts_are_explained(tmp_path: Path) -> None:
    policy = Policy("last", {"99_made_up": DUE}, Late(percent_a_day=10))
    text = learner(
        tmp_path,
        attempt("ada", points=5.0, submitted=DUE - timedelta(days=1), bytes_="1"),
        attempt("ada", points=8.0, submitted=DUE + timedelta(days=1, hours=1), bytes_="2"),
        policy=policy,
    )
    assert "2 days late, which costs 20 percent" in text
    assert "8 points became 6.4" in text and "6.4 of 10" in text
    assert "All 2 gradings" in text and text.count("counts") == 1


def test_results_without_the_sandbox_are_marked(tmp_path: Path) -> None:
    written = write(tmp_path, attempt("ada", sandboxed=False), attempt("bela"))
    index = Page(written.index.read_bytes()).text
    assert "1 result without the sandbox" in index and index.count("6 †") == 1
    assert "without the sandbox" in Page(written.students["ada"].read_bytes()).text
    assert "sandbox" not in Page(written.students["bela"].read_bytes()).text


# --- the cohort's page ---------------------------------------------------------------------------


def test_the_grader_s_faults_come_first_and_are_no_zeros(cohort) -> None:
    book, written = cohort
    page = Page(written.index.read_bytes())
    text = " ".join(page.text.split())
    faults = [grade for grade in book.grades() if grade.points is None]
    assert len(faults) == 2 and "The grader failed on 2 answers" in text
    first = min(text.index(title) for title in ("01 Noise to order", "Students"))
    for grade in faults:
        assert text.index(grade.student) < first
    assert text[first:].count("grader failed") == 2  # in the students' table


def test_the_histogram_counts_everybody_and_says_so_in_words(cohort) -> None:
    book, written = cohort
    page = Page(written.index.read_bytes())
    graphics = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len(graphics) == 2
    described = [text for where, text in page.texts if where == "desc"]
    for challenge, words in zip(("01_noise_to_order", NAME), described, strict=True):
        grades = [g for g in book.grades() if g.challenge == challenge and g.points is not None]
        counts = [int(count) for count in re.findall(r": (\d+) student", words)]
        assert sum(counts) == len(grades)


@pytest.mark.parametrize(
    ("points", "most"),
    [
        ([0.0], 10),
        ([10.0] * 3, 10),
        ([9.99, 10, 0.5], 10),
        ([3, 97.5, 100], 100),
        ([1, 2], 2.5),
        ([0], 0),
    ],
)
def test_a_histogram_has_a_bar_for_each(points: list[float], most: float) -> None:
    page = Page(b"<p>" + histogram(points, most, "x").encode() + b"</p>")
    (words,) = (text for where, text in page.texts if where == "desc")
    assert sum(map(int, re.findall(r": (\d+) student", words))) == len(points)
    heights = [float(a["height"] or 0) for a in page.all("rect")]
    assert heights and min(heights) > 0 and len(heights) <= 12


def test_the_part_that_fails_most_is_named(tmp_path: Path) -> None:
    def parts(b: float):
        return (part("a", 4.0), part("b", b), part("c", 1.0))

    written = write(tmp_path, *(attempt(f"s{i}", parts=parts(0.0 if i else 4.0)) for i in range(4)))
    text = Page(written.index.read_bytes()).text
    assert "Part b fails most: 75% have no points in it." in text


def test_the_heat_map_has_the_number_in_each_cell(tmp_path: Path) -> None:
    nan = "sample gives NaN or infinity in {}% of the latents. At the last timestep look out."
    attempts = []
    for i in range(7):
        a = part("a", 0.0, value=None, message=nan.format(10 + i))
        b = (
            part("b", 0.0, verdict="timeout", value=None, message="too slow")
            if i < 3
            else part("b", 4.0)
        )
        attempts.append(attempt(f"s{i}", points=0.0, verdict="wrong", parts=(a, b)))
    attempts.append(
        attempt("s0", points=0.0, bytes_="again", verdict="wrong", parts=attempts[0].parts)
    )
    written = write(tmp_path, *attempts)
    page = written.index.read_text()
    (table,) = re.findall(r'<table class="mistakes">.*?</table>', page)
    rows = re.findall(r"<tr>(.*?)</tr>", table)[1:]
    found = [
        (re.sub("<.*?>", "", r.split("</th>")[0]), re.findall(r"<td[^>]*>(.*?)</td>", r))
        for r in rows
    ]
    assert found == [
        ("wrong: sample gives NaN or # in # of the latents.", ["7", "·"]),
        ("took longer than the limit", ["·", "3"]),
    ]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (part("a", 4.0), ""),
        (part("a", 0.0, verdict=FAULT), ""),
        (part("a", 2.0), "measured, some of the points"),
        (part("a", 0.0), "measured, no points"),
        (part("a", 0.0, verdict="memory", value=None), "took more memory than the limit"),
        (
            part(
                "a",
                0.0,
                verdict="error",
                value=None,
                message="f fails in line 3 of cell c: KeyError: 'x'",
            ),
            "error: KeyError",
        ),
        (part("a", 0.0, verdict="error", value=None, message="f fails: <b>: x"), "error"),
        (
            part("a", 0.0, value=None, message="x_0 has shape (3, 64, 64); expected (4, 8). More."),
            "wrong: x_0 has shape (#); expected (#).",
        ),
        (
            part("a", 0.0, verdict="tampered", value=None, message="A copy. More words."),
            "tampered: A copy.",
        ),
    ],
)
def test_mistakes_that_differ_in_numbers_alone_are_one_kind(given, kind: str) -> None:
    assert mistake(given) == kind


def test_the_students_are_sorted_with_their_points(cohort) -> None:
    _, written = cohort
    page = written.index.read_text()
    table = page[page.rindex("<table") :]
    rows = [re.sub("<.*?>", "|", row) for row in re.findall(r"<tr>(.*?)</tr>", table)[1:]]
    names = [next(filter(None, row.split("|"))) for row in rows]
    assert len(names) == 42 and names == sorted(names, key=str.casefold)
    links = re.findall(r'href="(students/[^"]+)"', table)
    assert len(set(links)) == 42
    assert all((written.index.parent / link).is_file() for link in links)


def test_answers_that_are_alike_are_shown_side_by_side(cohort) -> None:
    _, written = cohort
    alike = written.alike[NAME]
    assert len(alike) == 3 and {pair.cell for pair in alike} == {"sample"}
    page = Page(written.similar.read_bytes())
    names = {pair.first for pair in alike} | {pair.second for pair in alike}
    assert len(names) == 3 and all(name in page.text for name in names)
    assert "never an answer" in page.text
    marked = [a for a in page.all("span") if a.get("class") == "hit"]
    assert len(marked) >= 6 * (COPIED.count("\n") - 2)
    index = Page(written.index.read_bytes()).text
    assert all(name in index for name in names) and "no more than that" in index


def test_a_copy_of_our_own_solution_is_told(tmp_path: Path) -> None:
    from course_utils.lessons import ROOT

    path = ROOT / "solutions" / "challenges" / f"{NAME}.ipynb"
    source = reports.code_cells(path)["sample"].replace("timesteps", "my_times")
    written = write(tmp_path, attempt("ada", NAME, answers={"sample": source}))
    (pair,) = written.alike[NAME]
    assert {pair.first, pair.second} == {"ada", "(the course's own solution)"}


def test_untouched_answers_are_not_alike(tmp_path: Path) -> None:
    from course_utils.lessons import ROOT

    stub = reports.code_cells(ROOT / "challenges" / f"{NAME}.ipynb")["sample"]
    given = {"answers": {"sample": stub}, "points": 0.0}
    written = write(
        tmp_path, *(attempt(s, NAME, verdict="wrong", **given) for s in ("ada", "bela"))
    )
    assert not any(written.alike.values())


def test_pages_stay_small(cohort) -> None:
    _, written = cohort
    assert written.index.stat().st_size < 150_000
    sizes = [path.stat().st_size for path in written.students.values()]
    assert max(sizes) < 60_000
    long = "é" * 100_000
    some = (part("a", 0.0, message=long, notes=(long,), advice=long),)
    page = reports.learner_page(
        *_one(attempt("ada", points=0.0, message=long, parts=some)), written_at()
    )
    assert len(page) < 60_000


def _one(given):
    from course_utils.grading.cohort.policy import grade_of

    return [grade_of([given], Policy())], [[given]]


def written_at():
    return DUE


def test_the_order_of_writing_does_not_matter(tmp_path: Path) -> None:
    attempts = [attempt(f"s{i}", points=float(i), bytes_=str(i)) for i in range(5)]
    found = []
    for folder, order in zip("ab", (attempts, random.Random(1).sample(attempts, 5)), strict=True):
        (tmp_path / folder).mkdir()
        book = Gradebook(tmp_path / folder / "grades.sqlite")
        for one in order:
            book.add(one)
        written = reports.write(book, tmp_path / folder / "out", Policy(), now=DUE)
        found.append(pages(written))
    assert list(itertools.chain(found[0])) == list(itertools.chain(found[1]))
