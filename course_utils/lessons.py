"""The lessons of the course, in their order: the one table that everything else reads.

README, `course progress`, `course next`, `course reset` and the panel at the top of each notebook
all take titles, questions and minutes from here.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

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
    Lesson("00", "00_start_here", "Start here", "How can noise turn into a picture?", 15, 60),
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
    """Write a lesson's notebook anew from its solution; the old file is kept beside it.

    Args:
        lesson: which.

    Returns:
        Where the old file is now; None if there was none, or if it was already fresh.

    Raises:
        ValueError: the lesson has no solution to make it from.
        OSError: no space, no permission; the old notebook is still in its place.
    """
    from course_utils.authoring import learner_version, read, shown, to_bytes
    from course_utils.files import write_atomically

    if not lesson.solution.exists():
        raise ValueError(
            f"lesson {lesson.number} can't be reset: {shown(lesson.solution)} is missing. "
            "`git checkout -- solutions` brings it back if it was ever there."
        )
    fresh = to_bytes(learner_version(read(lesson.solution), shown(lesson.solution)))
    target, kept = lesson.notebook, None
    if target.exists():
        if target.read_bytes() == fresh:
            return None
        now = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
        kept = target.with_name(f"{target.stem}.{now}.ipynb")
        count = 1
        while kept.exists():
            count += 1
            kept = target.with_name(f"{target.stem}.{now}-{count}.ipynb")
        write_atomically(kept, target.read_bytes())  # a copy first: the lesson is never gone
    write_atomically(target, fresh)
    return kept
