"""View 5: two prompts side by side, from the same seeds, with the judge's scores.

What a prompt leaves open, the seed decides: pictures of a vague prompt lie far apart, those of a
detailed one close together (lesson 09).
"""

from __future__ import annotations

import html as markup
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from course_utils.pipeline import check_prompt
from course_utils.schedules import check_int
from course_utils.widgets._base import View
from course_utils.widgets._course_model import prompt_notes, read_prompt
from course_utils.widgets._drawings import (
    GRID_CSS,
    MAX_COUNT,
    MAX_SEED,
    MAX_STEPS,
    Drawing,
    Recipe,
    Studio,
    studio,
)
from course_utils.widgets._parts import (
    Box,
    bar,
    button,
    check,
    column,
    html,
    note,
    number,
    pictures,
    row,
    select,
    slider,
    text,
)
from course_utils.widgets._scores import Scores

if TYPE_CHECKING:
    from course_utils.evaluation.judge import Judge
    from course_utils.pipeline import Pipeline

STEPS = 15  # as in lesson 09
FULL = "a rocket, flat style, on a yellow background"
EXAMPLES: dict[str, tuple[Recipe, Recipe]] = {
    "vague against detailed": (
        Recipe("draw a cat", num_steps=STEPS),
        Recipe("a cat face, 3d style, on a blue background", num_steps=STEPS),
    ),
    "with words of praise": (
        Recipe(FULL, num_steps=STEPS),
        Recipe(f"{FULL}, masterpiece, best quality, highly detailed", num_steps=STEPS),
    ),
    "a negative prompt": (
        Recipe("a house", num_steps=STEPS),
        Recipe("a house", "red background", num_steps=STEPS),
    ),
    "words it has never met": (
        Recipe("eine Katze", num_steps=STEPS),
        Recipe("a cat", num_steps=STEPS),
    ),
}
OWN = "my own"
SIDES = ("a", "b")
CLEAR = 1.25  # ratio of spreads from which one is called larger


def example_recipes() -> list[Recipe]:
    """What this view shows without computing."""
    return [recipe for pair in EXAMPLES.values() for recipe in pair]


def found(scores: Scores, what: str) -> str:
    """What the judge sees of "concept", "style" or "background", against what was asked."""
    seen = Counter(getattr(one, what) for one in scores.seen)
    asked = getattr(scores.asked, what)
    count = len(scores.seen)
    if asked is None:
        listed = ", ".join(f"{name} {n}×" for name, n in seen.most_common())
        return f"left open: {listed}"
    right = f"{seen[asked]} of {count} are {asked}"
    others = ", ".join(f"{name} {n}×" for name, n in seen.most_common() if name != asked)
    return f"{right} (else {others})" if others else right


def verdict(a: Scores, b: Scores) -> str:
    """What the numbers of two prompts say about each other, in a sentence or two."""
    words = []
    if a.spread is not None and b.spread is not None:
        more, less = ("A", "B") if a.spread >= b.spread else ("B", "A")
        high, low = max(a.spread, b.spread), max(1e-6, min(a.spread, b.spread))
        values = f"(spread {a.spread:.2f} for A, {b.spread:.2f} for B)"
        if high / low >= CLEAR:
            times = f"{high / low:.1f}" if high / low < 10 else f"{high / low:.0f}"
            words.append(
                f"The pictures of {more} differ {times} times as much as those of {less} {values}."
            )
        else:
            words.append(f"Both prompts leave about as much to the seed {values}.")
    for what in ("style", "background"):
        for mine, other, name in ((a, b, "A"), (b, a, "B")):
            kinds = len({getattr(seen, what) for seen in mine.seen})
            asked = getattr(other.asked, what)
            if getattr(mine.asked, what) is None and asked is not None and kinds > 1:
                words.append(f"{name} does not say which {what}, so the seeds pick {kinds}.")
    return " ".join(words)


def table(a: Scores, b: Scores) -> str:
    """The scores of both prompts as an HTML table; bars show the spread."""
    rows: list[tuple[str, str, list[str]]] = [
        ("asked for", "as the judge understands it", [str(s.asked) for s in (a, b)]),
        (
            "object",
            "judge's top guess; its probability of the asked one",
            [_object(s) for s in (a, b)],
        ),
        ("style", "judge's top guess", [found(s, "style") for s in (a, b)]),
        ("background", "read off the pixels", [found(s, "background") for s in (a, b)]),
    ]
    most = max(a.spread or 0.0, b.spread or 0.0, 1e-6)
    lines = [
        "<table><thead><tr><th scope='col'></th><th scope='col'>A</th><th scope='col'>B</th></tr>"
        "</thead><tbody>"
    ]
    for name, unit, cells in rows:
        lines.append(_row(name, unit, [markup.escape(cell) for cell in cells]))
    spreads = [
        "one picture has none"
        if s.spread is None
        else f"{s.spread:.2f}<span class='sn-meter' aria-hidden='true'>"
        f"<span style='width:{100 * s.spread / most:.0f}%'></span></span>"
        for s in (a, b)
    ]
    lines.append(_row("spread over seeds", "root mean square, pixels −1 to 1", spreads))
    sharp = [f"{s.sharpness:.1f}" for s in (a, b)]
    lines.append(_row("sharpness", "mean difference of neighbours, levels of 255", sharp))
    return "".join(lines) + "</tbody></table>"


def _object(scores: Scores) -> str:
    words = found(scores, "concept")
    return words if scores.probability is None else f"{words}, p = {scores.probability:.2f}"


def _row(name: str, unit: str, cells: list[str]) -> str:
    inside = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr><th scope='row'>{name}<small>{unit}</small></th>{inside}</tr>"


class PromptLab(View):
    """Two prompts, each with a negative prompt and a guidance scale, drawn from the same seeds.

    Args:
        a, b: the two prompts; by default "draw a cat" against a detailed one, drawn already.
        negative_a, negative_b: what each should not show.
        seed, count, num_steps: first seed, pictures each, steps of the sampler.
        literal: whether the model is given the prompts as they stand, without reading them first;
            by default only where the view opens with its own example, which shows what that does.
        pipeline, judge: who draws and who looks; by default the course's own.

    Raises:
        TypeError, ValueError: a prompt is no text, or a number out of range.
    """

    label = "Prompt lab: the same seeds, two orders"
    css = (
        GRID_CSS
        + """
.sn-view .sn-html table { border-collapse: collapse; width: 100%; max-width: 900px; }
.sn-view .sn-html th, .sn-view .sn-html td {
  text-align: left; vertical-align: top; padding: 5px 14px 5px 0; width: 38%;
  border-bottom: 1px solid var(--sn-rule); font-variant-numeric: tabular-nums;
}
.sn-view .sn-html th { font-weight: 600; }
.sn-view .sn-html th:first-child { width: 24%; }
.sn-view .sn-html small { display: block; color: var(--sn-grey); font-weight: 400; }
.sn-meter { display: block; height: 7px; margin-top: 4px; background: var(--sn-pale); }
.sn-meter > span { display: block; height: 100%; min-width: 2px; background: var(--sn-accent); }
"""
    )

    def __init__(
        self,
        a: str | None = None,
        b: str | None = None,
        negative_a: str = "",
        negative_b: str = "",
        seed: int = 7,
        count: int = 4,
        num_steps: int = STEPS,
        pipeline: Pipeline | None = None,
        literal: bool | None = None,
        judge: Judge | None = None,
    ) -> None:
        check_int("seed", seed, 0, MAX_SEED)
        check_int("count", count, 1, MAX_COUNT)
        check_int("num_steps", num_steps, 1, MAX_STEPS)
        name, first = next(iter(EXAMPLES.items()))
        texts = (first[0].prompt if a is None else a, first[1].prompt if b is None else b)
        if literal is None:
            literal = texts == (first[0].prompt, first[1].prompt)
        left = Recipe(
            check_prompt(texts[0]), check_prompt(negative_a), 2.5, seed, count, num_steps, literal
        )
        right = Recipe(
            check_prompt(texts[1]), check_prompt(negative_b), 2.5, seed, count, num_steps, literal
        )
        pair = (left, right)
        own = pipeline is not None or judge is not None
        self._studio = Studio(pipeline, judge) if own else studio()
        self._shown: tuple[Drawing, Drawing] | None = None
        super().__init__(*_nodes(*pair, example=name if pair == first else OWN))
        self.on("example", self._choose)
        for side in SIDES:
            for name in ("prompt", "negative", "scale"):
                self.on(f"{name}_{side}", self._edited)
        self.on("literal", self._edited)
        self.on("draw", self._draw)
        if not self._find():
            self._draw()
        else:
            self.busy(lambda *_: self._studio.pipeline, done=lambda _: self._words(), quiet=True)

    # --- what the learner does ---------------------------------------------------------------

    def _recipe(self, side: str) -> Recipe:
        """What the fields of one side ask for."""
        return Recipe(
            self[f"prompt_{side}"].strip(),
            self[f"negative_{side}"].strip(),
            float(self[f"scale_{side}"]),
            int(self["seed"]),
            int(self["count"]),
            int(self["steps"]),
            bool(self["literal"]),
        )

    def _choose(self, example: str) -> None:
        """Fill the fields with an example and show it."""
        if example == OWN:
            self["literal"] = False
            self._edited(example)
            return
        self["literal"] = True
        for side, recipe in zip(SIDES, EXAMPLES[example], strict=True):
            self[f"prompt_{side}"], self[f"negative_{side}"] = recipe.prompt, recipe.negative
            self[f"scale_{side}"] = recipe.scale
            for name, value in (("seed", recipe.seed), ("count", recipe.count)):
                self[name] = value
            self["steps"] = recipe.num_steps
        self._words()
        if not self._find():
            self._draw()

    def _edited(self, _: Any) -> None:
        recipes = (self._recipe("a"), self._recipe("b"))
        known = {pair: name for name, pair in EXAMPLES.items()}
        self["example"] = known.get(recipes, OWN)
        self._words()
        shown = self._shown is not None and recipes == tuple(
            drawing.recipe for drawing in self._shown
        )
        self.say("" if shown or self.working else "Press Draw both to see what this gives.")

    def _draw(self, _: int = 0) -> None:
        recipes = [self._recipe(side) for side in SIDES]

        def work(report: Callable[..., None], _: Callable[[], bool]) -> str | list[Drawing]:
            drawings = []
            for i, recipe in enumerate(recipes):
                try:
                    drawing = self._studio.draw(
                        recipe,
                        lambda share, text, i=i: report((i + share) / 2, text),
                        f"prompt {SIDES[i].upper()}",
                    )
                except ValueError as error:  # a scale at which the numbers overflow
                    return str(error)
                drawings.append(drawing)
            return drawings

        self.busy(work, done=self._drawn, text="starting")

    def _drawn(self, result: str | list[Drawing]) -> None:
        self._words()
        if isinstance(result, str):
            self.say(result, "warning")
            return
        seconds = [d.seconds for d in result if d.seconds is not None]
        live = f"Computed live in {sum(seconds):.1f} s." if seconds else ""
        self._show(result[0], result[1])
        self.say(live)

    # --- what is shown -----------------------------------------------------------------------

    def describe(self) -> str:
        """The present state in words: the alt text of the fallback picture."""
        words = [f"{self.label}."]
        if self._shown is None:
            return f"{words[0]} Nothing is drawn yet."
        for side, drawing in zip(SIDES, self._shown, strict=True):
            seen = "; ".join(str(one) for one in drawing.scores.seen)
            words.append(f"{_title(side, drawing.recipe)}. The judge sees {seen}.")
        return " ".join([*words, self.part("verdict")["text"]])

    def _find(self) -> bool:
        """Show what the fields ask for if it is there already."""
        a, b = (self._studio.find(self._recipe(side)) for side in SIDES)
        if a is None or b is None:
            return False
        self._show(a, b)
        self.say("")
        return True

    def _show(self, *drawings: Drawing) -> None:
        a, b = drawings
        self._shown = (a, b)
        for side, drawing in zip(SIDES, drawings, strict=True):
            self.put(f"grid_{side}", label=_title(side, drawing.recipe), items=drawing.items())
        self.put("table", html=table(a.scores, b.scores))
        self.put("verdict", text=verdict(a.scores, b.scores))

    def _words(self) -> None:
        """What there is to say on the words of each side, if that takes a moment only."""
        if not self._studio.ready:
            return
        for side in SIDES:
            recipe = self._recipe(side)
            pipeline = self._studio.pipeline
            notes = [read_prompt(pipeline, recipe.prompt, recipe.literal).said]
            if notes[0] and recipe.literal and pipeline.vocabulary is not None:
                other = read_prompt(pipeline, recipe.prompt).caption
                notes.append(f"Read first, it would be: {other or 'no words'}.")
            if recipe.negative:
                notes.append(prompt_notes(self._studio.pipeline, recipe.negative))
                if recipe.scale == 1:
                    notes.append("At w = 1 guidance is off: the negative prompt has no effect.")
            if recipe.scale == 0:
                notes.append("At w = 0 the prompt is not heard.")
            told = " ".join(note for note in notes if note)
            self.put(f"words_{side}", text=told or "the model knows all of them")


def _title(side: str, recipe: Recipe) -> str:
    """What is above the pictures of one side."""
    without = f", without “{recipe.negative}”" if recipe.negative else ""
    return f"{side.upper()}: “{recipe.prompt}”{without}, w = {recipe.scale:g}"


def _nodes(a: Recipe, b: Recipe, example: str) -> tuple[Any, ...]:
    """What the view consists of."""
    return (
        bar(
            select("example", "example", [*EXAMPLES, OWN], example),
            number("seed", "first seed, for both", 0, MAX_SEED, a.seed),
            number("count", "pictures each", 1, MAX_COUNT, a.count),
            number("steps", "steps", 1, MAX_STEPS, a.num_steps),
            check("literal", "take the words literally", a.literal),
            button("draw", "Draw both", primary=True),
        ),
        row(_side("a", a), _side("b", b)),
        note("verdict", "what the numbers say"),
        html("table", "scores of both prompts"),
    )


def _side(side: str, recipe: Recipe) -> Box:
    name = side.upper()
    return column(
        bar(text(f"prompt_{side}", f"prompt {name}", recipe.prompt)),
        bar(text(f"negative_{side}", f"negative prompt {name}: what not to show", recipe.negative)),
        bar(slider(f"scale_{side}", f"guidance scale {name} (1: off)", 0, 20, recipe.scale, 0.5)),
        pictures(f"grid_{side}", f"{name}: not drawn yet", size=192),
        note(f"words_{side}", f"words of {name}", "looking them up", quiet=True),
    )
