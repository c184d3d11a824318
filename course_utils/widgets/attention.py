"""`CrossAttention`: click a word of the prompt and see where the picture listens to it.

    from course_utils.widgets import CrossAttention
    CrossAttention()

A map says where a word is looked at. What the word does is another question, so there is a button
that draws the picture without it, from the same noise.
"""

from __future__ import annotations

import html as escaping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.pipeline import DEFAULT_SEED, DEFAULT_STEPS, check_prompt
from course_utils.schedules import check_int
from course_utils.strip import frame_numbers
from course_utils.widgets._base import View, as_png
from course_utils.widgets._course_model import Prompted, default_pipeline, read_prompt
from course_utils.widgets._parts import (
    bar,
    button,
    check,
    column,
    html,
    note,
    number,
    picture,
    pictures,
    row,
    select,
    slider,
    text,
)
from course_utils.widgets._word_maps import change, change_on_object, draw, is_word, without

if TYPE_CHECKING:
    from torch import Tensor

    from course_utils.pipeline import Pipeline
    from course_utils.widgets._word_maps import Drawn

HERE = Path(__file__).parent
PROMPT = "a rocket, flat style, on a yellow background"
GUESS, FINISHED = "guess", "finished"
BELOW = {GUESS: "the guess at this step", FINISHED: "the finished picture"}
FRAMES = 7  # of the strip
MOST_SEED = 999_999
CAUTION = (
    "A map says where a word is looked at, not what it does: a comma can have the map of the thing "
    "before it. So take the word away and see what moves."
)


class CrossAttention(View):
    """The words of a prompt as buttons, and the map of the chosen one over the picture, per step.

    Args:
        pipeline: that draws; the bundled model if None, read in the background.
        prompt, seed: of the first picture.
        num_steps: predictions of every picture, from 1 to 50.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range.
    """

    label = "Cross-attention: where the picture listens to a word"
    css = (HERE / "attention.css").read_text(encoding="utf-8")

    def __init__(
        self,
        pipeline: Pipeline | None = None,
        prompt: str = PROMPT,
        seed: int = DEFAULT_SEED,
        num_steps: int = DEFAULT_STEPS,
    ) -> None:
        check_prompt(prompt)
        check_int("seed", seed, 0, MOST_SEED)
        check_int("num_steps", num_steps, 1, 50)
        self._pipeline, self._num_steps = pipeline, num_steps
        self._drawn: Drawn | None = None
        self._asked: tuple[str, int, bool] | None = None  # what is drawn, or being drawn
        self._shown: tuple[str, int, bool] | None = None  # what is drawn
        self._word = 0  # the chosen one, an index into the words of `_drawn`
        super().__init__(
            bar(
                text("prompt", "prompt", prompt),
                number("seed", "seed", 0, MOST_SEED, seed),
                check("literal", "take my words literally"),
                button("draw", "Draw", primary=True),
            ),
            html("words", "the words of the prompt", ""),
            row(
                picture("map", "where the picture listens", 256),
                column(
                    bar(slider("step", "step", 0, num_steps, 0, text="mean of all steps")),
                    bar(
                        select("side", "size of the map", {"": "largest"}, ""),
                        select("below", "below the map", BELOW, GUESS),
                        check("smooth", "smooth"),
                    ),
                    note("share", "this word", quiet=True),
                    note("place", "on the object and beside it", quiet=True),
                ),
            ),
            pictures("strip", "the word over the steps: choose one", 74, choose=True),
            html("caution", "what a map does not say", f"<p class='ca-caution'>{CAUTION}</p>"),
            bar(button("remove", "Draw it without this word", disabled=True)),
            row(
                picture("with_word", "with all words", 160, hidden=True),
                picture("without_word", "without", 160, hidden=True),
                picture("moved", "what moved: dark is far", 160, hidden=True),
                column(note("effect", "what the word does", hidden=True)),
            ),
        )
        self.on("draw", lambda _: self.draw())
        self.on("prompt", lambda _: self.draw(), final=True)
        for name in ("seed", "literal"):
            self.on(name, lambda _: self.draw(), final=True)
        self.on("words", self._choose)
        for name in ("step", "below", "smooth", "side"):
            self.on(name, lambda _: self._update())
        self.on("side", lambda _: self._strip())
        self.on("strip", self._choose_step)
        self.on("remove", self._remove)
        self.draw()

    # --- drawing -----------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw the prompt that stands in the field, in the background."""
        typed, seed, literal = asked = self["prompt"], int(self["seed"]), bool(self["literal"])
        if asked == self._asked:
            return  # it is being drawn, or it is there
        self._asked = asked

        def work(report: Any, cancelled: Any) -> tuple[Drawn, Prompted]:
            pipeline = self._find_pipeline(report)
            prompt = read_prompt(pipeline, typed, literal)
            drawn = draw(pipeline, prompt.caption, seed, self._num_steps, report=report)
            return drawn, prompt

        def done(found: tuple[Drawn, Prompted]) -> None:
            self._drawn, prompt = found
            self._shown = asked
            seconds = f"Computed live: {self._num_steps} steps in {self._drawn.seconds:.1f} s."
            self.say(f"{prompt.said} {seconds}".lstrip(), "warning" if prompt.odd else "note")
            self._word = self._first_word()
            sides = {str(side): f"{side} × {side}" for side in self._drawn.maps.sides}
            chosen = self["side"] if self["side"] in sides else next(iter(sides))
            self.put("side", options=[list(item) for item in sides.items()], value=chosen)
            for name in ("with_word", "without_word", "moved", "effect"):
                self.put(name, hidden=True)
            self._update()
            self._strip()

        def stopped() -> None:
            if self._asked != asked:
                return  # something else is asked for
            self._asked = self._shown
            self.say("Stopped. Press Draw to draw it after all.")

        self.busy(work, done=done, stopped=stopped, text="reading the model")

    def _find_pipeline(self, report: Any) -> Pipeline:
        if self._pipeline is None:
            report(None, "reading the model")
            self._pipeline = default_pipeline()
        return self._pipeline

    def _first_word(self) -> int:
        """The first word that says something: the first of three letters or more."""
        assert self._drawn is not None
        words = self._drawn.words
        long = [i for i, word in enumerate(words) if is_word(word) and len(word.text) > 2]
        return (long or [min(1, len(words) - 1)])[0]

    # --- looking -----------------------------------------------------------------------------

    def _choose(self, value: Any) -> None:
        if self._drawn is None:
            return
        word = int(value)
        if not 0 <= word < len(self._drawn.words):
            raise ValueError(f"word is {word}; expected 0 to {len(self._drawn.words) - 1}")
        self._word = word
        self._update()
        self._strip()

    def _choose_step(self, index: Any) -> None:
        steps = self._strip_steps()
        if 0 <= int(index) < len(steps):
            self["step"] = steps[int(index)]
            self._update()

    @property
    def _side(self) -> int | None:
        return int(self["side"]) if self["side"] else None

    def _update(self) -> None:
        """Show the map of the chosen word at the chosen step, and the numbers."""
        from course_utils.plots.attention import overlay

        drawn = self._drawn
        if drawn is None:
            return
        step, side, name = int(self["step"]), self._side, drawn.words[self._word].text
        heat, most = drawn.heat(self._word, step, side), drawn.most(self._word, side)
        finished = step == 0 or self["below"] == FINISHED
        pixels = drawn.finished if finished else drawn.pixels(step)
        when = _when(drawn, step)
        self.put("step", text=when)
        shown = overlay(pixels, heat, most, smooth=self["smooth"])
        words = (
            f"the map of “{name}”, {when}, over {BELOW[FINISHED if finished else GUESS]}; "
            f"from {float(heat.min()):.1%} to {float(heat.max()):.1%} of a place's attention"
        )
        self.show("map", shown, words, f"“{name}”, {when}; darkest = {most:.0%} of the attention")
        self.put("words", html=_chips(drawn, self._word, step, side))
        steps = self._strip_steps()
        at = steps.index(step) if step in steps else -1
        if self["strip"] != at:
            self.put("strip", value=at)
        self.put("share", text=_share(name, heat))
        self.put("place", text=_place(drawn.on_object(heat)))
        can = is_word(drawn.words[self._word])
        self.put("remove", disabled=not can, label=_button(name, can))

    def _strip_steps(self) -> list[int]:
        """Which steps the strip shows, from 1."""
        if self._drawn is None:
            return []
        return [1 + at for at in frame_numbers(self._drawn.num_steps - 1, FRAMES)]

    def _strip(self) -> None:
        from course_utils.plots.attention import overlay

        drawn = self._drawn
        if drawn is None:
            return
        most, name = drawn.most(self._word, self._side), drawn.words[self._word].text
        items = []
        for step in self._strip_steps():
            heat = drawn.heat(self._word, step, self._side)
            shown = overlay(drawn.pixels(step), heat, most)
            caption = f"t = {drawn.t(step)}"
            items.append(
                {"png": as_png(shown), "alt": f"“{name}” at step {step}", "caption": caption}
            )
        self.put("strip", items=items, label=f"“{name}” over the steps: choose one")

    # --- taking a word away ------------------------------------------------------------------

    def _remove(self, _: Any) -> None:
        from course_utils.plots.attention import overlay

        drawn, word = self._drawn, self._word
        if drawn is None:
            return
        prompt, name = without(drawn, word), drawn.words[word].text

        def work(report: Any, cancelled: Any) -> Tensor:
            pipeline = self._find_pipeline(report)
            say = f"drawing without “{name}”"
            made = draw(pipeline, prompt, drawn.seed, self._num_steps, report=report, text=say)
            return made.finished

        def done(other: Tensor) -> None:
            moved, places = change(drawn, other), change_on_object(drawn, other)
            far = f"pixels move by {float(moved.mean()):.0f} of 255 levels on average"
            if places is not None:
                far += f": {places[0]:.0f} on the object, {places[1]:.0f} beside it"
            self.show("with_word", drawn.finished, f"drawn from: {drawn.prompt}", "")
            self.put("without_word", label=f"without “{name}”")
            self.show("without_word", other, f"drawn from the same noise without “{name}”", "")
            self.show("moved", overlay(drawn.finished, moved, 128.0), far, "darkest: 128 levels")
            self.put("effect", text=f"without “{name}”, {far}. Compare with its map.")
            for part in ("with_word", "without_word", "moved", "effect"):
                self.put(part, hidden=False)

        self.busy(work, done=done, text=f"drawing without “{name}”")


def _when(drawn: Drawn, step: int) -> str:
    if step == 0:
        return "mean of all steps"
    return f"step {step} of {drawn.num_steps}, t = {drawn.t(step)}"


def _chips(drawn: Drawn, chosen: int, step: int, side: int | None) -> str:
    """The words as buttons, each with a bar that shows its share of the attention."""
    shares = drawn.shares(step, side)
    largest = max(shares)
    chips = []
    for i, (word, share) in enumerate(zip(drawn.words, shares, strict=True)):
        kind = "" if is_word(word) else " ca-frame"
        chips.append(
            f'<button type="button" class="ca-chip{kind}" data-send="words" data-value="{i}" '
            f'data-kernel aria-pressed="{str(i == chosen).lower()}" dir="auto">'
            f'<span class="ca-word">{escaping.escape(word.text)}</span>'
            f'<span class="ca-share">{share:.0%}</span>'
            f'<span class="ca-meter"><span style="width:{share / largest:.1%}"></span></span>'
            "</button>"
        )
    title = "click a word; below it its share of the attention, all together 100 %"
    return f'<div class="sn-name">{title}</div><div class="ca-chips">{"".join(chips)}</div>'


def _share(name: str, heat: Tensor) -> str:
    top = int(heat.argmax())
    at, across = divmod(top, heat.shape[1])
    return (
        f"“{name}” gets {float(heat.mean()):.1%} of the attention; most, {float(heat.max()):.1%}, "
        f"in row {at + 1}, column {across + 1} of {heat.shape[0]} × {heat.shape[1]} places"
    )


def _place(places: tuple[float, float] | None) -> str:
    if places is None:
        return "this picture has no plain background to tell an object from"
    return f"{places[0]:.1%} on the object, {places[1]:.1%} beside it"


def _button(name: str, can: bool) -> str:
    short = name if len(name) <= 30 else f"{name[:29]}…"
    return f"Draw it without “{short}”" if can else "Draw it without this word"
