"""View 3: turn the guidance scale, and watch what it buys and what it costs.

The curves are the measurement of lesson 08 (`Sweep`): 24 prompts, the mean and its 95 % interval.
The dashed line is the prompt on show, a few pictures only. All pictures of one prompt start from
the same noise at every scale, so that only the scale differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from course_utils.evaluation.sweep_results import Sweep
from course_utils.guidance import check_guidance_scale
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
    bar,
    button,
    chart,
    check,
    column,
    fold,
    note,
    number,
    pictures,
    play,
    row,
    select,
    slider,
    text,
)
from course_utils.widgets._scores import Scores

if TYPE_CHECKING:
    from course_utils.evaluation.judge import Judge
    from course_utils.pipeline import Pipeline

GRID_PROMPTS = (
    "a fox, 3d style, on a green background",
    "a cat",
    "a rocket, noto style, on a yellow background",
)
GRID_SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.5, 7.0, 9.0, 12.0, 14.0, 16.0, 18.0, 20.0)
GRID = Recipe("", scale=2.5, seed=0, count=4, num_steps=10)  # as in the sweep
HIGHEST, NOTCH = 20.0, 0.5  # of the slider
OWN = "own"
LOW_DIVERSITY = 1e-4  # the lower end of its axis
METRICS: dict[str, tuple[str, Callable[[Scores], float | None]]] = {
    "alignment": ("0 to 1", lambda scores: scores.alignment),
    "saturation": ("0 to 1", lambda scores: scores.saturation),
    "diversity": ("1 − cosine", lambda scores: scores.diversity),
}
NAMES = {
    "alignment": "alignment: share of what was asked that the judge sees",
    "saturation": "saturation of the colours",
    "diversity": "diversity over seeds, in the judge's eyes",
}


def grid_recipes() -> list[Recipe]:
    """What this view shows without computing."""
    return [
        replace(GRID, prompt=prompt, scale=scale)
        for prompt in GRID_PROMPTS
        for scale in GRID_SCALES
    ]


def nearest(scale: float, scales: Sequence[float]) -> float:
    """The scale that is nearest to `scale`, the lower one of two equally near ones."""
    return min(scales, key=lambda other: (abs(other - scale), other))


def percent(share: float | None, count: int) -> str:
    """How many of `count` pictures a share is."""
    return "not asked" if share is None else f"{round(share * count)} of {count}"


def numbers(scores: Scores) -> str:
    """The three metrics of some pictures, in one line."""
    count = len(scores.seen)
    alignment = "nothing asked that the judge knows"
    if scores.alignment is not None:
        parts = {"object": "concept", "style": "style", "background": "background"}
        shares = ", ".join(f"{name} {percent(scores.share(w), count)}" for name, w in parts.items())
        alignment = f"alignment {scores.alignment:.2f} ({shares})"
    diversity = "" if scores.diversity is None else f"; diversity {scores.diversity:.4f}"
    return f"{alignment}; saturation {scores.saturation:.2f}{diversity}"


def measured(sweep: Sweep, scale: float) -> str:
    """The three metrics of the sweep at a scale, in one line."""
    lines = {name: sweep.line(name) for name in METRICS}
    low, high = lines["alignment"].scales[0], lines["alignment"].scales[-1]
    if not low <= scale <= high:
        return f"not measured at w = {scale:g}; the sweep goes from {low:g} to {high:g}"
    at = {name: line.at(scale) for name, line in lines.items()}
    return "; ".join(
        f"{name} {value:.{4 if name == 'diversity' else 2}f}" for name, value in at.items()
    )


class GuidanceExplorer(View):
    """A dial for the guidance scale, from 0 to 20, with pictures, curves and your sweet spot.

    Moving the dial shows pictures that are there already: those of three prompts come with the
    course, others are drawn on request.

    Args:
        scale: where the dial stands first, 0 to 20.
        sweep: the measurement behind the curves; by default the one that the course ships.
        pipeline, judge: who draws and who looks; by default the course's own.

    Attributes:
        sweet_spot: the scale that the learner marked, or None.

    Raises:
        TypeError, ValueError: `scale` is no number or out of range.
    """

    label = "Guidance explorer: how loudly should the prompt speak?"
    css = GRID_CSS

    def __init__(
        self,
        scale: float = 2.5,
        sweep: Sweep | None = None,
        pipeline: Pipeline | None = None,
        judge: Judge | None = None,
    ) -> None:
        scale = check_guidance_scale(scale)
        if scale > HIGHEST:
            raise ValueError(f"scale is {scale:g}; expected a number from 0 to {HIGHEST:g}")
        self.sweep = Sweep.load() if sweep is None else sweep
        self.sweet_spot: float | None = None
        own = pipeline is not None or judge is not None
        self._studio = Studio(pipeline, judge) if own else studio()
        self._own: Recipe | None = None  # what the learner drew, at any scale
        self._own_scales: set[float] = set()
        super().__init__(*_nodes(scale, self.sweep.settings.prompts))
        self.on("w", self._turn)
        self.on("subject", self._choose)
        for metric in METRICS:
            self.on(metric, self._click)
        self.on("mark", self._mark)
        self.on("draw", lambda _: self._draw([float(self["w"])]))
        self.on("draw_all", lambda _: self._draw(list(GRID_SCALES)))
        self._choose(self["subject"])
        if self._shown is None:
            self._draw([nearest(scale, GRID_SCALES)])

    # --- what the learner does ---------------------------------------------------------------

    def _turn(self, _: float) -> None:
        self._show()

    def _click(self, x: float | None) -> None:
        if x is not None:
            self["w"] = round(x / NOTCH) * NOTCH
            self._show()

    def _choose(self, subject: str) -> None:
        """Another prompt: its pictures and its line."""
        recipe = self._subject
        if subject != OWN:
            self["prompt"], self["negative"] = recipe.prompt, recipe.negative
        self._lines()
        self._show()

    def _mark(self, _: int) -> None:
        scale = float(self["w"])
        self.sweet_spot = scale
        self.put("spot", text=f"w = {scale:g}. {_sentence(measured(self.sweep, scale))}")
        self._show()

    def _draw(self, scales: list[float]) -> None:
        """Draw what the fields ask for, at these scales."""
        subject = Recipe(
            self["prompt"].strip(),
            self["negative"].strip(),
            seed=int(self["seed"]),
            count=int(self["count"]),
            num_steps=int(self["steps"]),
            literal=bool(self["literal"]),
        )

        def work(report: Callable[..., None], cancelled: Callable[[], bool]) -> None:
            said, odd = _notes(self._studio, subject, scales)
            self.say(said, "warning" if odd else "note")
            for i, scale in enumerate(scales):
                try:
                    self._studio.draw(
                        replace(subject, scale=scale),
                        lambda share, text, i=i: report((i + share) / len(scales), text),
                        f"w = {scale:g} ({i + 1} of {len(scales)})",
                    )
                except ValueError as error:  # a scale at which the numbers overflow
                    self.say(str(error), "warning")
                    return
                with self.lock:
                    if not cancelled():
                        self._drawn(subject, scale)

        self.busy(work, text="starting")

    def _drawn(self, subject: Recipe, scale: float) -> None:
        """One scale is finished."""
        if subject != self._own:
            self._own, self._own_scales = subject, set()
        self._own_scales.add(scale)
        shown = f"mine: {subject.prompt or 'no prompt'}"[:60]
        if subject.negative:
            shown = f"{shown}, not {subject.negative}"[:80]
        options = [*([prompt, prompt] for prompt in GRID_PROMPTS), [OWN, shown]]
        self.put("subject", options=options, value=OWN)
        self._lines()
        self._show()

    # --- what is shown -----------------------------------------------------------------------

    def describe(self) -> str:
        """The present state in words: the alt text of the fallback picture."""
        drawing, scale = self._shown, float(self["w"])
        words = [f"{self.label} Three curves against the guidance scale: {', '.join(METRICS)}."]
        if drawing is not None:
            prompt = drawing.recipe.prompt or "no prompt"
            words.append(f"Pictures of “{prompt}”, {_where(drawing, scale)}.")
            words.append(f"The judge sees {_listed(drawing.scores)}; {numbers(drawing.scores)}.")
        words.append(f"Over {self.sweep.settings.prompts} prompts: {measured(self.sweep, scale)}.")
        if self.sweet_spot is not None:
            words.append(f"The learner's sweet spot is w = {self.sweet_spot:g}.")
        return " ".join(words)

    @property
    def _subject(self) -> Recipe:
        """The recipe on show, at any scale."""
        if self["subject"] == OWN and self._own is not None:
            return self._own
        return replace(GRID, prompt=self["subject"])

    def _scales(self) -> list[float]:
        """Scales at which there are pictures of the subject."""
        own = sorted(self._own_scales) if self["subject"] == OWN else []
        every = sorted({*own, *GRID_SCALES, float(self["w"])})
        subject = self._subject
        return [w for w in every if self._studio.scores(replace(subject, scale=w)) is not None]

    @property
    def _shown(self) -> Drawing | None:
        """The drawing that is nearest to the dial."""
        scales = self._scales()
        if not scales:
            return None
        return self._studio.find(replace(self._subject, scale=nearest(self["w"], scales)))

    def _show(self) -> None:
        """Everything that depends on the dial."""
        scale, drawing = float(self["w"]), self._shown
        self.put("w", text=f"w = {scale:g}{MEANING.get(scale, '')}")
        self.put("draw", label=f"Draw at w = {scale:g}")
        self.put("measured", text=measured(self.sweep, scale))
        if drawing is None:
            self.put("grid", items=[])
            self.put("these", text="nothing drawn yet")
        else:
            self.put("grid", label=_where(drawing, scale), items=drawing.items())
            self.put("these", text=numbers(drawing.scores))
        for metric in METRICS:
            line = self.sweep.line(metric)
            inside = line.scales[0] <= scale <= line.scales[-1]
            y = line.at(scale) if inside else None
            words = "" if y is None else f"{y:.{4 if metric == 'diversity' else 2}f}"
            marks: list[dict[str, Any]] = [{"x": scale, "y": y, "label": words}]
            alt = f"{NAMES[metric]}: {words or 'not measured'} at w = {scale:g}"
            if self.sweet_spot is not None:
                here = math.isclose(self.sweet_spot, scale)
                marks.insert(0, {"x": self.sweet_spot, "label": "" if here else "my spot"})
                alt += f"; my sweet spot is {self.sweet_spot:g}"
            self.put(metric, marks=marks, alt=alt)

    def _lines(self) -> None:
        """The curves of the sweep, and the dashed line of the prompt on show."""
        subject = self._subject
        scales = self._scales()
        every = [self._studio.scores(replace(subject, scale=w)) for w in scales]
        for metric, (_, get) in METRICS.items():
            line = self.sweep.line(metric)
            first = metric == "alignment"
            own = [math.nan if scores is None else get(scores) for scores in every]
            y = [None if v is None or not math.isfinite(v) else v for v in own]
            count = self.sweep.settings.prompts
            x = list(line.scales)
            bounds = [[v if math.isfinite(v) else None for v in b] for b in (line.low, line.high)]
            lines: list[dict[str, Any]] = [
                *({"label": "", "style": "faint", "x": x, "y": bound} for bound in bounds),
                {
                    "label": f"{count} prompts" if first else "",
                    "style": 0,
                    "x": x,
                    "y": list(line.values),
                },
                {"label": "this prompt" if first else "", "style": 1, "x": scales, "y": y},
            ]
            real = self.sweep.references.get("real", {}).get(metric)
            if metric == "saturation" and real is not None:
                ends = [0.0, HIGHEST]
                lines.append(
                    {"label": "artists' pictures", "style": 2, "x": ends, "y": [real.value] * 2}
                )
            self.put(metric, lines=lines)


MEANING = {
    0.0: " (the prompt is not heard)",
    1.0: " (guidance is off)",
    7.5: " (diffusers' default)",
}


def _listed(scores: Scores) -> str:
    return "; ".join(str(seen) for seen in scores.seen)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _where(drawing: Drawing, scale: float) -> str:
    """Above the pictures: what they are, and what they are not."""
    recipe = drawing.recipe
    made = "precomputed" if drawing.seconds is None else f"computed live in {drawing.seconds:.1f} s"
    here = f"{recipe.count} seed{'s' * (recipe.count != 1)} at w = {recipe.scale:g}"
    if not math.isclose(recipe.scale, scale):
        here += f", the nearest to {scale:g} that is drawn"
    return f"{here}; {made}, {recipe.num_steps} steps"


def _notes(studio: Studio, subject: Recipe, scales: Sequence[float]) -> tuple[str, bool]:
    """What a person should know before this is drawn, and whether to look at it."""
    prompt = read_prompt(studio.pipeline, subject.prompt, subject.literal)
    notes = []
    if subject.negative:
        notes.append(prompt_notes(studio.pipeline, subject.negative))
        if scales == [1.0]:
            notes.append("At w = 1 guidance is off, and the negative prompt has no effect.")
    odd = prompt.odd or any(notes)
    return " ".join(note for note in (prompt.said, *notes) if note), odd


def _nodes(scale: float, prompts: int) -> tuple[Any, ...]:
    """What the view consists of."""
    look = {"width": 480, "height": 176, "x_high": HIGHEST, "click": True}
    axis: dict[str, dict[str, Any]] = {
        "alignment": {"y_low": 0, "y_high": 1},
        "saturation": {"y_low": 0.4, "y_high": 0.9},
        "diversity": {"y_low": LOW_DIVERSITY, "y_high": 2, "y_log": True},
    }
    charts = [
        chart(name, NAMES[name], "guidance scale w", unit, **look, **axis[name])
        for name, (unit, _) in METRICS.items()
    ]
    seeds = {"low": 0, "high": MAX_SEED, "value": GRID.seed}
    return (
        bar(
            select("subject", "prompt", GRID_PROMPTS, GRID_PROMPTS[0]),
            slider("w", "guidance scale", 0, HIGHEST, scale, NOTCH),
            play("run", "Turn it up", "w", NOTCH, 160),
        ),
        row(
            column(
                pictures("grid", "pictures", size=192),
                note("these", "these pictures", quiet=True),
                note("measured", f"{prompts} prompts", quiet=True),
            ),
            column(*charts),
        ),
        bar(
            button("mark", "Mark as my sweet spot"),
            note("spot", "my sweet spot", "none yet: what do you want to keep, what may it cost?"),
        ),
        fold(
            "Draw it live: a prompt, negative prompt and seeds of your own",
            bar(
                text("prompt", "prompt", GRID_PROMPTS[0]),
                text("negative", "negative prompt (what not to show)"),
            ),
            bar(
                number("seed", "first seed", **seeds),
                number("count", "pictures", 1, MAX_COUNT, GRID.count),
                number("steps", "steps", 1, MAX_STEPS, GRID.num_steps),
                check("literal", "take my words literally"),
                button("draw", "Draw", primary=True),
                button("draw_all", f"Draw at {len(GRID_SCALES)} scales"),
            ),
        ),
    )
