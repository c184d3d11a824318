"""`ArchitectureMap`: the four parts of a text-to-image system, with tensors drawn to scale.

    from course_utils.widgets import ArchitectureMap
    ArchitectureMap()

A click on a part runs it, shows what comes out of it, and names the lesson that builds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.lessons import find_lesson
from course_utils.pipeline import DEFAULT_SEED, DEFAULT_STEPS, check_prompt
from course_utils.schedules import check_int
from course_utils.widgets import _map_html
from course_utils.widgets._base import View
from course_utils.widgets._course_model import Prompted, default_pipeline, read_prompt
from course_utils.widgets._map_html import PLACES, SIZES
from course_utils.widgets._part_runs import PARTS, Trace, shapes
from course_utils.widgets._parts import (
    bar,
    button,
    check,
    custom,
    html,
    note,
    number,
    pictures,
    slider,
    text,
)
from course_utils.widgets._sheet import sheet

if TYPE_CHECKING:
    from course_utils.lessons import Lesson
    from course_utils.pipeline import Pipeline
    from course_utils.widgets._part_runs import Output, Trace

HERE = Path(__file__).parent
PROMPT = "a cat face, 3d style, on a blue background"
MOST_SEED, MOST_STEPS = 999_999, 50


class ArchitectureMap(View):
    """Text encoder, noise, U-Net and decoder; a click runs a part and shows its output.

    Args:
        pipeline: whose parts they are; the bundled model if None, read in the background.
        prompt, seed, num_steps: of the picture to begin with; 1 to 50 steps.
        lessons: the folder with the lessons' notebooks; the course's own if None.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range.
    """

    label = "The whole system: four parts, and what flows between them"
    css = (HERE / "architecture.css").read_text(encoding="utf-8")
    js = (HERE / "architecture.js").read_text(encoding="utf-8")

    def __init__(
        self,
        pipeline: Pipeline | None = None,
        prompt: str = PROMPT,
        seed: int = DEFAULT_SEED,
        num_steps: int = DEFAULT_STEPS,
        lessons: Path | None = None,
    ) -> None:
        check_prompt(prompt)
        check_int("seed", seed, 0, MOST_SEED)
        check_int("num_steps", num_steps, 1, MOST_STEPS)
        self._pipeline, self._lessons = pipeline, lessons
        self._trace: Trace | None = None
        self._traced: tuple[str, int, int, bool] | None = None  # what was asked for the trace
        self._runs = 0  # how often something was asked to run
        self._part = "text"  # the one whose output is shown
        self._sizes: dict[str, tuple[int, ...]] = dict(SIZES)
        super().__init__(
            bar(
                text("prompt", "prompt", prompt),
                number("seed", "seed", 0, MOST_SEED, seed),
                slider("steps", "steps of the U-Net", 1, MOST_STEPS, num_steps),
                check("literal", "take my words literally"),
                button("all", "Run all parts", primary=True),
            ),
            html("map", "the map: click a part to run it"),
            html("output", "what the part does"),
            pictures("shots", "what comes out", 76, hidden=True),
            pictures("guesses", "what the network believes the end looks like", 76, hidden=True),
            note("found", "in numbers", hidden=True),
            custom("lesson", "lesson", "the lesson that builds it"),
        )
        self.on("map", self._click)
        self.on("all", lambda _: self.run())
        for name in ("prompt", "seed", "steps", "literal"):
            self.on(name, lambda _: self._changed(), final=True)
        self._show()
        self.run()

    # --- running -----------------------------------------------------------------------------

    def run(self, part: str | None = None) -> None:
        """Run a part, in the background, after those that it needs; all parts if None.

        Raises:
            ValueError: no such part.
        """
        if part is not None and part not in PARTS:
            raise ValueError(f"part is {part!r}; expected one of {', '.join(PARTS)}, or None")
        typed, seed, steps, literal = asked = self._asked()
        old = self._trace if self._traced == asked else None

        def work(report: Any, cancelled: Any) -> tuple[Trace, Prompted]:
            report(None, "reading the model")
            pipeline = self._pipeline or default_pipeline()
            prompt = read_prompt(pipeline, typed, literal)
            trace = Trace(pipeline, prompt.caption, seed, steps)
            if old is not None and part is not None:
                trace.outputs = dict(old.outputs)
            for name in PARTS if part is None else (part,):
                trace.run(name, report)
            return trace, prompt

        def done(found: tuple[Trace, Prompted]) -> None:
            self._trace, prompt = found
            self._traced = asked
            self._pipeline = self._trace.pipeline
            self._sizes = shapes(self._pipeline)
            self.say(prompt.said, "warning" if prompt.odd else "note")
            self._show()

        def stopped() -> None:
            if number == self._runs:  # otherwise something else runs instead
                self.say("Stopped. Click a part to run it.")

        self._runs = number = self._runs + 1
        self.busy(work, done=done, stopped=stopped, text="reading the model")

    def _asked(self) -> tuple[str, int, int, bool]:
        return self["prompt"], int(self["seed"]), int(self["steps"]), bool(self["literal"])

    def _changed(self) -> None:
        if self._traced != self._asked():
            self.run()

    def _click(self, value: Any) -> None:
        if value not in PLACES:
            raise ValueError(f"part is {value!r}; expected one of {', '.join(PLACES)}")
        self._part = str(value)
        self._show()
        self.run(self._part)

    # --- showing -----------------------------------------------------------------------------

    def _show(self) -> None:
        """Draw the map and the output of the chosen part anew."""
        outputs: Mapping[str, Output] = {} if self._trace is None else self._trace.outputs
        steps = int(self["steps"]) if self._trace is None else self._trace.num_steps
        self.put("map", html=_map_html.map_html(self._sizes, outputs, self._part, steps))
        output = outputs.get(self._part)
        place = PLACES[self._part]
        title = place.title.format(steps=steps)
        sizes = place.sizes.format(
            **{name: _map_html.size_words(shape) for name, shape in self._sizes.items()}
        )
        self.put("output", html=_map_html.explained(title, place.does, sizes, output))
        shots, guesses = _map_html.shots(output), _map_html.guesses(output)
        size = 256 if self._part == "decoder" else 76 if self._part == "unet" else 112
        self.put(
            "shots", items=shots, hidden=not shots, size=size, label=_map_html.SHOTS[self._part]
        )
        self.put("guesses", items=guesses, hidden=not guesses)
        words = "" if output is None else _map_html.found(output)
        self.put("found", text=words, hidden=not words)
        self.put("lesson", **self._lesson(place.lesson))

    def _size_words(self) -> dict[str, str]:
        return {name: _map_html.size_words(shape) for name, shape in self._sizes.items()}

    def _lesson(self, number: str) -> dict[str, Any]:
        lesson = find_lesson(number)
        path = self._notebook(lesson)
        return {
            "number": lesson.number,
            "title": lesson.title,
            "question": lesson.question,
            "minutes": lesson.minutes,
            "path": "" if path is None else path.resolve().as_posix(),
            "home": Path.home().as_posix(),
        }

    def _notebook(self, lesson: Lesson) -> Path | None:
        """Where the lesson lies: the learner's notebook, else the solution."""
        if self._lessons is not None:
            path = self._lessons / f"{lesson.name}.ipynb"
            return path if path.exists() else None
        return next((p for p in (lesson.notebook, lesson.solution) if p.exists()), None)

    def describe(self) -> str:
        """The map and the chosen part in words."""
        place = PLACES[self._part]
        sizes = self._size_words()
        steps = int(self["steps"])
        every = "; ".join(
            f"{each.title.format(steps=steps)}: {each.sizes.format(**sizes)}"
            for each in PLACES.values()
        )
        chosen = f"Chosen: {place.title.format(steps=steps)}. {place.does}"
        return f"{self.label}. {every}. {chosen} {self['prompt']!r}, seed {self['seed']}."

    def fallback(self) -> bytes:
        """PNG of the present state: what each part gave, and its size."""
        outputs: Mapping[str, Output] = {} if self._trace is None else self._trace.outputs
        items = []
        for name, place in PLACES.items():
            shots = [] if name not in outputs else _map_html.shots(outputs[name])
            for shot in shots[-4:] if name != "noise" else shots:
                caption = f"{place.title.format(steps=self['steps'])}: {shot['caption']}"
                items.append({"png": shot["png"], "alt": shot["alt"], "caption": caption})
        sizes = self._size_words()
        lines = [
            {
                "kind": "note",
                "label": place.title.format(steps=self["steps"]),
                "text": place.sizes.format(**sizes),
            }
            for place in PLACES.values()
        ]
        tiles = {"kind": "pictures", "label": "what comes out", "size": 112, "items": items}
        return sheet(self.label, [tiles, *lines, self.part("prompt"), self.part("seed")])
