"""Pictures that views draw, and those that came with the course: `Studio`.

A `Recipe` says all that fixes a set of pictures, so that it is its own key: what the course ships,
what was drawn a moment ago and what must be drawn now differ only in how long they take.

What the course ships lies beside this file: `drawings.webp`, a sheet of 64x64 pictures, one recipe
after the other, and `drawings.json`, the recipes and scores. `course_utils.widgets.rebuild` makes
both.
"""

from __future__ import annotations

import functools
import io
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.evaluation.judge import Judge
from course_utils.files import write_atomically
from course_utils.images import to_pil
from course_utils.widgets._course_model import default_pipeline, read_prompt
from course_utils.widgets._scores import Scores, score

if TYPE_CHECKING:
    from PIL import Image

    from course_utils.evaluation.judge import Judge
    from course_utils.pipeline import Pipeline

FOLDER = Path(__file__).parent
SIDE, COLUMNS = 64, 16  # of the sheet: pixels of a picture, pictures in a row
QUALITY = 93  # of the sheet; it stays below 300 KB
KEPT = 64  # sets of pictures that a studio remembers, about 30 KB each
MAX_COUNT, MAX_STEPS, MAX_SEED = 8, 50, 2**31
Report = Callable[..., object]
# Pictures of a part whose name begins with "grid" in twos, in fours where there is room.
GRID_CSS = """
.sn-view [data-part^="grid"] { container-type: inline-size; }
.sn-view [data-part^="grid"] .sn-pictures { display: grid; max-width: 400px; }
.sn-view [data-part^="grid"] .sn-pictures { grid-template-columns: 1fr 1fr; }
.sn-view [data-part^="grid"] .sn-picture { width: 100%; }
@container (min-width: 540px) {
  .sn-view [data-part^="grid"] .sn-pictures {
    grid-template-columns: 1fr 1fr 1fr 1fr; max-width: 820px;
  }
}
"""


@dataclass(frozen=True)
class Recipe:
    """All that fixes a set of pictures.

    Attributes:
        prompt, negative: what they should and should not show.
        scale: guidance scale; 1 is off.
        seed: of the first picture; the others have the following ones.
        count: number of pictures.
        num_steps: of the sampler.
        literal: whether the model is given the prompt as it stands; else it is read first.
    """

    prompt: str
    negative: str = ""
    scale: float = 2.5
    seed: int = 7
    count: int = 4
    num_steps: int = 10
    literal: bool = True

    @property
    def seeds(self) -> tuple[int, ...]:
        """One for each picture."""
        return tuple(range(self.seed, self.seed + self.count))


@dataclass(frozen=True, eq=False)
class Drawing:
    """Pictures and what was measured on them.

    Attributes:
        recipe: how they were drawn.
        pngs: the bytes of each picture.
        scores: of all of them.
        seconds: how long it took; None: they came with the course.
    """

    recipe: Recipe
    pngs: tuple[bytes, ...]
    scores: Scores
    seconds: float | None = None

    def items(self) -> list[dict[str, Any]]:
        """For a part of kind pictures: each with its seed, what the judge sees, and alt text."""
        return [
            {
                "png": png,
                "caption": f"seed {seed}: {seen}",
                "alt": f"{self.recipe.prompt or 'no prompt'}, w = {self.recipe.scale:g}, seed "
                f"{seed}. The judge sees: {seen}.",
            }
            for png, seed, seen in zip(self.pngs, self.recipe.seeds, self.scores.seen, strict=True)
        ]


class Studio:
    """Draws recipes and remembers them.

    Args:
        pipeline, judge: who draws and who looks; None: the course's own, read at the first use.
            The judge must know the concepts of the pipeline.
        anew: draw also what the course ships. What was drawn with others is drawn anew anyway.
    """

    def __init__(
        self, pipeline: Pipeline | None = None, judge: Judge | None = None, anew: bool = False
    ) -> None:
        self._shipped = pipeline is None and judge is None and not anew
        self._pipeline, self._judge = pipeline, judge
        self._drawn: OrderedDict[Recipe, Drawing] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def pipeline(self) -> Pipeline:
        """Who draws; the first time this reads 48 MB."""
        with self._lock:
            if self._pipeline is None:
                self._pipeline = default_pipeline()
            return self._pipeline

    @property
    def ready(self) -> bool:
        """Whether the pipeline is read, so that asking it takes a moment at most."""
        return self._pipeline is not None

    @property
    def judge(self) -> Judge:
        """Who looks, choosing among the concepts that the pipeline knows."""
        with self._lock:
            if self._judge is None:
                judge, vocabulary = Judge.load(), self.pipeline.vocabulary
                names = [c.name for c in vocabulary.concepts] if vocabulary else judge.concepts
                known = [name for name in names if name in judge.concepts]
                self._judge = judge.among(known or judge.concepts)
            return self._judge

    def find(self, recipe: Recipe) -> Drawing | None:
        """The drawing of a recipe, if it is there already; takes a moment at most."""
        with self._lock:
            if recipe in self._drawn:
                self._drawn.move_to_end(recipe)
                return self._drawn[recipe]
        return shipped().get(recipe) if self._shipped else None

    def scores(self, recipe: Recipe) -> Scores | None:
        """What was measured on a drawing that is there already; else None."""
        with self._lock:
            if recipe in self._drawn:
                return self._drawn[recipe].scores
        return shipped().scores.get(recipe) if self._shipped else None

    def draw(self, recipe: Recipe, report: Report | None = None, text: str = "drawing") -> Drawing:
        """The drawing of a recipe, drawn now if need be.

        Args:
            recipe: what to draw.
            report: called with the share that is done, 0 to 1, and `text` with the step; what it
                raises ends the drawing.
            text: what is being done, for the report.

        Raises:
            TypeError, ValueError: a value of the recipe is out of range, by its name.
        """
        found = self.find(recipe)
        if found is not None:
            return found
        say = report or (lambda *_: None)
        start = time.perf_counter()
        say(0.0, f"{text}: reading the weights")
        pipeline = self.pipeline
        prompt = read_prompt(pipeline, recipe.prompt, recipe.literal).caption
        drawn = pipeline.draw(
            prompt,
            recipe.negative,
            num_steps=recipe.num_steps,
            guidance_scale=float(recipe.scale),
            seed=recipe.seed,
            count=recipe.count,
            on_step=lambda step: say(
                step.step / (step.num_steps + 1), f"{text}: step {step.step} of {step.num_steps}"
            ),
        )
        say(recipe.num_steps / (recipe.num_steps + 1), f"{text}: the judge looks")
        scores = score(drawn.pixels, prompt, self.judge, pipeline.vocabulary)
        pngs = tuple(_png(_to_image(pixels)) for pixels in drawn.pixels)
        drawing = Drawing(recipe, pngs, scores, time.perf_counter() - start)
        with self._lock:
            self._drawn[recipe] = drawing
            while len(self._drawn) > KEPT:
                self._drawn.popitem(last=False)
        return drawing


@functools.cache
def studio() -> Studio:
    """The studio that all views of a kernel share."""
    return Studio()


def _to_image(pixels: Any) -> Image.Image:
    return to_pil(pixels)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


# --- what the course ships -----------------------------------------------------------------------


class Shipped:
    """Drawings on a sheet; each is cut out when it is asked for.

    Args:
        folder: holds `drawings.webp` and `drawings.json`.

    Attributes:
        made: with which weights, and how.
        scores: of every drawing on the sheet.

    Raises:
        ValueError: the two files do not fit together.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        from PIL import Image

        data = json.loads((folder / "drawings.json").read_text(encoding="utf-8"))
        self.made: dict[str, Any] = data["made"]
        self.scores: dict[Recipe, Scores] = {}
        self._first: dict[Recipe, int] = {}
        self._cut: dict[Recipe, Drawing] = {}
        place = 0
        for one in data["drawings"]:
            recipe = Recipe(**one["recipe"])
            self.scores[recipe] = Scores.from_json(one["scores"])
            self._first[recipe] = place
            place += recipe.count
        with Image.open(folder / "drawings.webp") as file:
            self._sheet = file.convert("RGB")
        rows = -(-place // COLUMNS)
        if self._sheet.size != (COLUMNS * SIDE, rows * SIDE):
            raise ValueError(
                f"{folder / 'drawings.webp'} has {self._sheet.size} pixels; expected "
                f"{(COLUMNS * SIDE, rows * SIDE)} for the {place} pictures of drawings.json"
            )

    def get(self, recipe: Recipe) -> Drawing | None:
        """The drawing of a recipe, or None."""
        if recipe not in self.scores:
            return None
        if recipe not in self._cut:
            pngs = []
            for i in range(self._first[recipe], self._first[recipe] + recipe.count):
                left, top = i % COLUMNS * SIDE, i // COLUMNS * SIDE
                pngs.append(_png(self._sheet.crop((left, top, left + SIDE, top + SIDE))))
            self._cut[recipe] = Drawing(recipe, tuple(pngs), self.scores[recipe])
        return self._cut[recipe]


@functools.cache
def shipped() -> Shipped:
    """The drawings that came with the course."""
    return Shipped()


def write_sheet(
    drawings: Sequence[Drawing], folder: Path, made: dict[str, Any], quality: int = QUALITY
) -> None:
    """Write what `Shipped` reads."""
    from PIL import Image

    pngs = [png for drawing in drawings for png in drawing.pngs]
    sheet = Image.new("RGB", (COLUMNS * SIDE, -(-len(pngs) // COLUMNS) * SIDE), "white")
    for i, png in enumerate(pngs):
        with Image.open(io.BytesIO(png)) as picture:
            sheet.paste(picture, (i % COLUMNS * SIDE, i // COLUMNS * SIDE))
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=quality, method=6, use_sharp_yuv=True)
    lines = [
        json.dumps({"recipe": asdict(d.recipe), "scores": d.scores.to_json()}, ensure_ascii=False)
        for d in drawings
    ]
    text = f'{{"made": {json.dumps(made)},\n"drawings": [\n' + ",\n".join(lines) + "\n]}\n"
    write_atomically(folder / "drawings.webp", buffer.getvalue())
    write_atomically(folder / "drawings.json", text.encode())
