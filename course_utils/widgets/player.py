"""View 1: watch a picture come out of noise, step by step, and send it to a friend."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.pipeline import check_prompt, check_settings
from course_utils.schedules import check_int
from course_utils.widgets._base import View, as_png
from course_utils.widgets._course_model import default_pipeline, read_prompt
from course_utils.widgets._parts import (
    bar,
    button,
    check,
    custom,
    download,
    note,
    number,
    select,
    slider,
    text,
)
from course_utils.widgets._recording import NAMES, PLAYER_CSS, PLAYER_JS, Recording, record, save

if TYPE_CHECKING:
    from course_utils.pipeline import Pipeline
    from course_utils.samplers import Step

PROMPT = "a cat face, 3d style, on a blue background"
MOST_SEED, MOST_STEPS, MOST_GUIDANCE = 999_999, 100, 20.0
KIND = """
KINDS.player = (part, view) => {
  const el = h("div");
  const player = makePlayer(el, (index) => part.set(index, true));
  const load = (png, use) => {
    const image = new Image();
    const url = URL.createObjectURL(new Blob([png], { type: "image/png" }));
    image.onload = () => { use(image); URL.revokeObjectURL(url); };
    image.src = url;
  };
  let asked = 0, there = 0; // a picture that is decoded late does not replace a newer one
  const first = (mine) => (mine > there ? ((there = mine), true) : false);
  return {
    el,
    update(state, before) {
      if (state.sheet && state.sheet !== before.sheet) {
        const mine = ++asked;
        load(state.sheet, (image) => {
          if (first(mine)) player.load(state.meta, image, part.get().value);
        });
      } else if (state.preview && state.preview !== before.preview) {
        const mine = ++asked;
        load(state.preview, (image) => {
          if (first(mine)) player.preview(image, state.words);
        });
      } else if (!state.preview && before.preview) {
        there = ++asked;
        player.back();
      }
    },
    close: player.close,
  };
};
"""


class DenoisingPlayer(View):
    """Play, pause and scrub from pure noise to a picture; save it as GIF or as one HTML file.

    Args:
        prompt, seed, num_steps, sampler, guidance_scale: to begin with, as in `Pipeline.steps`.
        pipeline: which model draws; by default the course's own.
        literal: whether the model is given the prompt as it stands, without reading it first.
        draw: whether to draw at once, or only when the learner asks.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range.
    """

    label = "Denoising player"
    js = PLAYER_JS + KIND
    css = PLAYER_CSS

    def __init__(
        self,
        prompt: str = PROMPT,
        seed: int = 7,
        num_steps: int = 25,
        sampler: str = "dpm++2m",
        guidance_scale: float = 2.5,
        pipeline: Pipeline | None = None,
        draw: bool = True,
        literal: bool = False,
    ) -> None:
        check_prompt(prompt)
        check_settings(num_steps, guidance_scale, 0.0, sampler)
        check_int("seed", seed, 0, MOST_SEED)
        check_int("num_steps", num_steps, 1, MOST_STEPS)
        self._pipeline = pipeline
        self._recording: Recording | None = None
        self._drawing = False
        super().__init__(
            bar(
                text("prompt", "prompt", prompt),
                number("seed", f"seed (0 to {MOST_SEED:,})", 0, MOST_SEED, seed),
            ),
            bar(
                slider("num_steps", "steps", 1, MOST_STEPS, num_steps),
                slider(
                    "guidance",
                    "guidance scale (1: off)",
                    0.0,
                    MOST_GUIDANCE,
                    min(guidance_scale, MOST_GUIDANCE),
                    step=0.5,
                ),
                select("sampler", "sampler", NAMES, sampler),
                check("literal", "take my words literally", literal),
                button("draw", "Draw", primary=True),
            ),
            custom(
                "player", "player", "player", value=0, sheet=None, meta={}, preview=None, words=""
            ),
            note("how", "how it was drawn", "not yet"),
            bar(
                button("gif", "Save as GIF", disabled=True),
                button("html", "Save as one HTML file", disabled=True),
                download("file", "saved"),
            ),
        )
        self.on("draw", self._pressed)
        for name in ("prompt", "literal"):
            self.on(name, lambda _: self._typed(), final=True)
        self.on("gif", lambda _: self._export(".gif"))
        self.on("html", lambda _: self._export(".html"))
        if draw:
            self._draw()

    # --- for Python --------------------------------------------------------------------------

    @property
    def recording(self) -> Recording:
        """What the player plays now.

        Raises:
            ValueError: nothing was drawn yet.
        """
        if self._recording is None:
            raise ValueError("nothing was drawn yet; press Draw, or wait() until it is finished")
        return self._recording

    def save_gif(self, path: str | Path) -> Path:
        """Write the recording as an animated GIF; waits for a drawing that is under way."""
        self.wait()
        return save(self.recording, Path(path).with_suffix(".gif"))

    def save_html(self, path: str | Path) -> Path:
        """Write the player as one HTML file that needs no server and no network."""
        self.wait()
        return save(self.recording, Path(path).with_suffix(".html"))

    # --- what the learner does ---------------------------------------------------------------

    def _pressed(self, _: int) -> None:
        """Draw. While it draws, a press changes nothing: a double click draws once."""
        if not self._drawing:
            self._draw()

    def _typed(self) -> None:
        """Say how the prompt is read before anything is drawn."""
        if self._pipeline is not None:
            self.say(read_prompt(self._pipeline, self["prompt"], self["literal"]).said)

    def _draw(self) -> None:
        settings: dict[str, Any] = {
            "seed": self["seed"],
            "num_steps": self["num_steps"],
            "sampler": self["sampler"],
            "guidance_scale": float(self["guidance"]),
        }
        typed, literal = self["prompt"], self["literal"]
        self._ready(False)

        def work(report: Any, cancelled: Any) -> Recording | ValueError:
            pipeline = self._pipeline = self._pipeline or default_pipeline()
            prompt = read_prompt(pipeline, typed, literal)
            self.say(prompt.said)
            number_of_steps = settings["num_steps"]
            shown = -1.0

            def on_step(step: Step) -> None:
                nonlocal shown
                words = f"step {step.step} of {number_of_steps}"
                report(0.95 * step.step / number_of_steps, f"drawing: {words}")
                now = time.monotonic()
                if now - shown > 0.15 or step.step == number_of_steps:
                    shown = now
                    preview = as_png(pipeline.decode(step.x)[0].cpu())
                    with self.lock:
                        if not cancelled():
                            self.put("player", preview=preview, words=words)

            try:
                return record(pipeline, prompt.caption, on_step=on_step, **settings)
            except ValueError as error:  # settings that do not go together
                return error

        self.busy(work, done=self._drawn, stopped=self._stopped, text="reading the model")

    def _drawn(self, result: Recording | ValueError) -> None:
        if isinstance(result, ValueError):
            self.say(f"{result}.", "warning")
            self._stopped(say=False)
            return
        self._recording = result
        self.put(
            "player",
            sheet=result.sheet(),
            meta=result.meta(),
            preview=None,
            value=len(result) - 1,
        )
        self.put("how", text=f"{result.how()}; computed live in {result.seconds:.1f} s")
        self.put("file", data=None)
        self._ready(True)

    def _stopped(self, say: bool = True) -> None:
        self.put("player", preview=None, words="")
        if say:
            kept = "the player shows the picture before it" if self._recording else ""
            self.say(f"Stopped{'; ' if kept else ''}{kept}.")
        self._ready(True)

    def _ready(self, ready: bool) -> None:
        self._drawing = not ready
        self.put("draw", label="Draw" if ready else "Drawing")
        for name in ("gif", "html"):
            self.put(name, disabled=not ready or self._recording is None)

    def _export(self, ending: str) -> None:
        recording = self._recording
        if recording is None or self.working:
            return

        def work(report: Any, cancelled: Any) -> bytes:
            return recording.gif() if ending == ".gif" else recording.page().encode()

        def done(data: bytes) -> None:
            name = re.sub(r"[^\w-]+", "-", recording.prompt.lower()).strip("-")[:50] or "picture"
            mime = "image/gif" if ending == ".gif" else "text/html"
            count = self.part("file")["count"] + 1
            self.put("file", data=data, file=f"{name}{ending}", mime=mime, count=count)
            self.say(f"{name}{ending}: {len(data) / 1024:,.0f} KB, saved by your browser.")

        self.busy(work, done=done, text=f"writing the {ending[1:].upper()} file")

    # --- without a front end -----------------------------------------------------------------

    def describe(self) -> str:
        if self._recording is None:
            return f"{self.label}. Nothing was drawn yet."
        return (
            f"{self.label}: {self.recording.prompt or 'a picture without a prompt'}, from pure "
            f"random noise to the picture in {self.recording.how()}. Below each picture, the noise "
            "that the network sees in it and the picture that it expects."
        )

    def fallback(self) -> bytes:
        return super().fallback() if self._recording is None else self.recording.strip()
