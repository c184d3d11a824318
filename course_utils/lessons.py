"""The lessons of the course, in their order: the one table that everything else reads.

README, `course progress`, `course next`, `course reset` and the panel at the top of each notebook
all take titles, questions and minutes from here.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from course_utils.authoring import learner_version, read, shown, to_bytes
from course_utils.challenges.names import NAMES
from course_utils.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Lesson:
    """One notebook.

    Attributes:
        number: two digits, "03".
        name: of the file, without its suffix.
        title: what it is called.
        question: what it answers.
        minutes: what a learner needs to read it and to do its exercises.
        seconds: the most that all its cells take on two CPU cores.
    """

    number: str
    name: str
    title: str
    question: str
    minutes: int = 0
    seconds: int = 120

    @property
    def notebook(self) -> Path:
        """The learner's notebook; it need not exist."""
        return ROOT / "notebooks" / f"{self.name}.ipynb"

    @property
    def solution(self) -> Path:
        """The complete notebook; it need not exist."""
        return ROOT / "solutions" / f"{self.name}.ipynb"

    @property
    def written(self) -> bool:
        """Whether the lesson is there."""
        return self.solution.exists() or self.notebook.exists()


LESSONS: tuple[Lesson, ...] = (
    Lesson("00", "00_start_here", "Start here", "How can noise turn into a picture?", 15, 90),
    Lesson(
        "01",
        "01_forward_noising",
        "Forward noising",
        "How do you destroy a picture so that it can be undone?",
        60,
    ),
    Lesson(
        "02",
        "02_learning_to_denoise",
        "Learning to denoise",
        "What does the perfect denoiser look like?",
        75,
    ),
    Lesson("03", "03_unet", "The U-Net", "Why this shape of network?", 90),
    Lesson("04", "04_samplers", "Samplers", "Why 20 to 50 steps and not 1000?", 75),
    Lesson(
        "05", "05_clip_conditioning", "CLIP conditioning", "How does a picture listen to words?", 90
    ),
    Lesson("06", "06_latent_vae", "Latent VAE", "Why paint in a space 48 times smaller?", 75),
    Lesson("07", "07_text_to_image", "Text to image", "Can I put it together?", 75),
    Lesson("08", "08_guidance", "Guidance scale", "How loudly should the prompt speak?", 75),
    Lesson("09", "09_prompting", "Prompting", 'Why is "draw a cat" blurry?', 45),
    Lesson("10", "10_editing", "Editing and inpainting", "How do you change only a part?"),
    Lesson("11", "11_video", "Video", "What does time add?"),
    Lesson("12", "12_frontier", "The frontier", "What do today's systems do differently?"),
)


def find_lesson(number: str | int) -> Lesson:
    """The lesson of a number.

    Args:
        number: 3, "3" or "03".

    Raises:
        ValueError: there is no such lesson.
    """
    wanted = str(number).strip().zfill(2)
    for lesson in LESSONS:
        if lesson.number == wanted:
            return lesson
    raise ValueError(f"lesson is {number!r}; expected a number from 00 to {LESSONS[-1].number}")


def reset_lesson(lesson: Lesson) -> Path | None:
    """Write a lesson's notebook anew from its solution; see `reset_notebook`."""
    return reset_notebook(lesson.solution, lesson.notebook)


def challenge_notebook(name: str) -> tuple[Path, Path] | None:
    """The solution and the learner's notebook of a challenge; None if it is no challenge's name.

    Args:
        name: "03_teach_it_to_read", "teach_it_to_read", or a path that ends so.
    """
    wanted = Path(name).stem
    for number, title in NAMES.items():
        if wanted in (title, f"{number}_{title}"):
            file = f"{number}_{title}.ipynb"
            return ROOT / "solutions" / "challenges" / file, ROOT / "challenges" / file
    return None


def reset_notebook(solution: Path, target: Path) -> Path | None:
    """Write a learner's notebook anew from its solution; the old file is kept beside it.

    Args:
        solution: the complete notebook.
        target: the learner's.

    Returns:
        Where the old file is now; None if there was none, or if it was already fresh.

    Raises:
        ValueError: there is no solution to make it from.
        OSError: no space, no permission; the old notebook is still in its place.
    """
    if not solution.exists():
        raise ValueError(
            f"{target.stem} can't be reset: {shown(solution)} is missing. "
            "`git checkout -- solutions` brings it back if it was ever there."
        )
    fresh = to_bytes(learner_version(read(solution), shown(solution)))
    kept = None
    if target.exists():
        if target.read_bytes() == fresh:
            return None
        now = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
        kept = target.with_name(f"{target.stem}.{now}.ipynb")
        count = 1
        while kept.exists():
            count += 1
            kept = target.with_name(f"{target.stem}.{now}-{count}.ipynb")
        write_atomically(kept, target.read_bytes())  # a copy first: the notebook is never gone
    write_atomically(target, fresh)
    return kept
