"""A class that nobody was in, for tests of gradebook, reports and exports."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from course_utils.grading.cohort.gradebook import FAULT, Attempt, Gradebook, PartRecord

DUE = datetime(2026, 3, 2, 23, 59, tzinfo=UTC)
FIRST = """Ada, Bela, Chen, Dilnoza, Emeka, Farah, Goran, Hana, Ines, Jiro, Kofi, Lena, Mateo, Noor,
Olga, Priya, Quentin, Rosa, Sven, Tala, Uri, Vera, Wanjiru, Xin, Yusuf, Zofia, Amara, Björn, Chloé,
Đặng""".replace("\n", " ").split(", ")
LAST = ("Okafor", "Lindqvist", "Tanaka", "Haddad", "Novak", "Moreau", "Singh", "Petrov", "Alves")
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style><h1>free points</h1>",
    "javascript:alert(1)//&lt;b&gt;",
    "{{ 7 * 7 }}{% raw %}",
    "../../etc/passwd",
    "a/b",
    "a_b",
    '=HYPERLINK("http://x","grades")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(A1)",
    "-2+3",
    "\t=1+1",
    "ＡＢ＝1",
    "\u202egnp.exe\u202c",
    "محمد عبد الله",
    "👩‍🎨🦊 \U0001f9ff",
    "Points Possible",
    "x" * 300,
    "nul\x00l, bell\x07, half \ud83d",
    "CON",
    ".",
)


def part(
    id: str = "a", points: float = 2.0, most: float = 4.0, verdict: str = "", **more: Any
) -> PartRecord:
    """A part's record; the verdict follows from the points."""
    word = "pass" if points >= most else "partial" if points > 0 else "wrong"
    given = {
        "title": f"part {id}",
        "message": "largest error: 0.13. At most 0.1 gives 4 points.",
        "advice": "" if points >= most else "Look at the last timestep.",
        "value": 0.13,
        "details": {"secret_number": 424242.0},
    }
    return PartRecord(id, points=points, most=most, verdict=verdict or word, **(given | more))


def attempt(
    student: str = "ada",
    challenge: str = "99_made_up",
    points: float | None = 6.0,
    most: float = 10.0,
    bytes_: str = "",
    verdict: str = "",
    submitted: datetime = DUE - timedelta(hours=5),
    parts: tuple[PartRecord, ...] | None = None,
    answers: Mapping[str, str] | None = None,
    message: str = "",
    key: str = "grader 1",
    sandboxed: bool = True,
) -> Attempt:
    """An attempt; what is not given is made up."""
    word = (
        FAULT if points is None else "pass" if points >= most else "partial" if points else "wrong"
    )
    if parts is None:
        parts = () if points is None else (part("a", points, most),)
    text = f"{student}|{challenge}|{bytes_}".encode("utf-8", "surrogatepass")
    return Attempt(
        student=student,
        challenge=challenge,
        submission=hashlib.sha256(text).hexdigest(),
        verdict=verdict or word,
        points=points,
        most=most,
        passed=None if points is None else points >= 0.7 * most,
        message=message or ("The grader's disk was full." if points is None else ""),
        parts=parts,
        answers=dict(answers or {}),
        submitted=submitted.isoformat(),
        graded=(submitted + timedelta(hours=9)).isoformat(),
        record={"key": key, "sandboxed": sandboxed, "seed": "5e3d"},
    )


def fill(book: Gradebook, students: int = 60, seed: int = 1) -> None:
    """Attempts of a class for two challenges: good and bad, late, again, and a few odd ones."""
    random_ = random.Random(seed)
    names = [f"{FIRST[i % len(FIRST)]} {random_.choice(LAST)} {i:02}" for i in range(students)]
    for i, student in enumerate(names):
        skill = random_.betavariate(4, 2)
        for number in range(random_.choice((1, 1, 2, 3))):
            when = DUE + timedelta(hours=random_.gauss(-30, 30), days=number)
            book.add(_denoise(random_, student, min(skill + 0.15 * number, 1), when, i))
        if i % 5:
            points = round(10 * random_.betavariate(5, 2))
            book.add(
                attempt(
                    student,
                    "01_noise_to_order",
                    float(points),
                    submitted=DUE - timedelta(days=8, hours=random_.random() * 90),
                    parts=_order(random_, points),
                    message=f"{points} of 10 points: {'' if points > 6 else 'not '}passed.",
                )
            )


def _denoise(random_: random.Random, student: str, skill: float, when: datetime, i: int) -> Attempt:
    name = "02_denoise_on_a_budget"
    if i in (7, 31):
        return attempt(student, name, None, submitted=when, message="The grader's disk was full.")
    values = [
        0.02 / max(skill, 0.05),
        0.5 + 0.5 * skill * random_.random(),
        0.012 / max(skill, 0.1),
    ]
    parts = []
    shapes = (
        ("a", "Exact data", 4.0, "RMS error against the exact solution", (0.03, 0.105, 0.2), 1),
        ("b", "Pictures", 2.0, "judge's accuracy, 0 to 1", (0.75, 0.5, 0.4), -1),
        ("c", "The finished pictures", 4.0, "RMSE to the finished pictures", (0.02, 0.05, 0.11), 1),
    )
    odd = random_.random()
    for (id, title, most, quantity, limits, sign), value in zip(shapes, values, strict=True):
        reached = [k for k in range(3) if sign * value <= sign * limits[k]]
        points = most * (3 - reached[0]) / 3 if reached else 0.0
        points = float(round(points))
        best = points >= most
        given: dict[str, Any] = {
            "title": title,
            "value": value,
            "message": f"{quantity}: {value:.4g}. "
            + ("Full marks." if best else f"At most {limits[0]:g} gives {most:g} points."),
            "notes": ("Timesteps asked: 999, 797, 443, 170, 20.",) if id == "a" else (),
            "advice": ""
            if best
            else "Put more of your eight timesteps where the guess still changes, and use the "
            "guess before the last one.",
            "seconds": 0.3 + random_.random(),
            "oracle_calls": {"denoise": 8},
        }
        verdict = ""
        if odd < 0.08:
            points, verdict = 0.0, "error"
            given |= {
                "value": None,
                "message": "sample fails in line 7 of cell sample: "
                "RuntimeError: The size of tensor a (4) must match the size of tensor b (8)",
            }
        elif odd < 0.16 and id != "b":
            points = 0.0
            given |= {
                "value": None,
                "message": "sample gives NaN or infinity in "
                f"{random_.randint(10, 99)}% of the latents. At the last timestep alpha_bar "
                "may be exactly 0; look for a division by its root, or its logarithm.",
            }
        elif odd < 0.2:
            points, verdict = 0.0, "timeout"
            given |= {"value": None, "message": "sample did not come back within 60 seconds."}
        elif odd < 0.27 and id == "b":
            points = 0.0
            given |= {
                "value": None,
                "message": f"{random_.randint(3, 9)} of 16 pictures are nearer "
                "to a picture of the data set than the network comes by itself: they are "
                "copies. The pictures have to come out of x_T and denoise.",
            }
            verdict = "tampered"
        parts.append(part(id, points, most, verdict, **given))
    points = sum(p.points for p in parts)
    source = (
        "def sample(x_T, alpha_bar, denoise):\n"
        f"    # {student}'s own words\n"
        f"    steps = [999 - {random_.randint(80, 140)} * i for i in range(8)]\n"
        "    for t, s in zip(steps, steps[1:]):\n        x_T = x_T - denoise(x_T, t)\n"
        "    return x_T\n"
    )
    return attempt(
        student,
        name,
        points,
        bytes_=f"{when}",
        submitted=when,
        parts=tuple(parts),
        answers={"sample": COPIED.replace("total", f"sum{i}") if i in (12, 13, 40) else source},
        message=f"{points:g} of 10 points: {'' if points >= 7 else 'not '}passed.",
        sandboxed=i != 22,
    )


def _order(random_: random.Random, points: int) -> tuple[PartRecord, ...]:
    ids, most, left = "abcd", (3, 2, 3, 2), points
    found = []
    for id, possible in zip(ids, most, strict=True):
        got = min(left, possible)
        left -= got
        message = (
            f"betas_for gives {random_.random():.3g} in row {random_.randint(0, 99)} of 100; "
            "a beta is a share of the variance, from 0 to 1."
        )
        value = None if got == 0 and random_.random() < 0.6 else random_.random()
        if value is not None:
            message = f"largest error: {value:.3g}. At most 1e-09 gives {possible} points."
        found.append(
            part(id, float(got), float(possible), title=f"Task {id}", message=message, value=value)
        )
    return tuple(found)


COPIED = """
def sample(x_T, alpha_bar, denoise):
    total = x_T.double().clone()
    level = ((1 - alpha_bar) / alpha_bar.clamp(min=1e-6)).sqrt().tolist()
    steps = [999, 850, 700, 520, 340, 200, 90, 20]
    before = None
    for i, t in enumerate(steps):
        guess = denoise((total / (1 + level[t] ** 2) ** 0.5).float(), t).double()
        ahead = guess if before is None else 1.5 * guess - 0.5 * before
        ratio = level[steps[i + 1]] / level[t] if i < 7 else 0.0
        total = ratio * total + (1 - ratio) * ahead
        before = guess
    return total.float()
"""
