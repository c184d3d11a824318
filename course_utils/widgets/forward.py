"""View 2: a picture drowns in noise, timestep by timestep.

t          0, 1, ..., T as papers count: 0 is the picture itself, T the last noise level
alpha_bar  signal share of the variance at t; 1 at t = 0
x_t        sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) epsilon       (Ho et al. 2020, eq. 4)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_utils.data import BACKGROUNDS, STYLES, CaptionedEmoji
from course_utils.schedules import NoiseSchedule, check_int
from course_utils.widgets._base import View
from course_utils.widgets._parts import (
    bar,
    button,
    chart,
    column,
    note,
    picture,
    play,
    row,
    select,
    slider,
    upload,
)
from course_utils.widgets._upload import read_upload

T = 1000
SCHEDULES: Mapping[str, tuple[str, Callable[[], NoiseSchedule]]] = {
    "linear": ("linear (DDPM, 2020)", NoiseSchedule.linear),
    "cosine": ("cosine (2021)", NoiseSchedule.cosine),
    "scaled_linear": ("scaled linear (Stable Diffusion, 2022)", NoiseSchedule.scaled_linear),
    "zero_snr": (
        "scaled linear, ends in pure noise (this course's model)",
        lambda: NoiseSchedule.scaled_linear(
            prediction_type="v_prediction"
        ).rescale_zero_terminal_snr(),
    ),
}
THINGS = ("cat face", "red apple", "rocket", "pizza", "panda", "sunflower")
STYLE, BACKGROUND = "3d", "blue"
OWN = "your own"
POINTS = 101  # of a curve
LOW_SNR, HIGH_SNR = 1e-5, 1e4  # the ends of the axis


@dataclass(frozen=True, eq=False)
class Noised:
    """One moment of the forward process: the noisy picture (3, H, W) and how it is mixed."""

    x_t: Tensor
    alpha_bar: float

    @property
    def signal(self) -> float:
        """Weight of the picture, sqrt(alpha_bar)."""
        return self.alpha_bar**0.5

    @property
    def noise(self) -> float:
        """Weight of the noise, sqrt(1 - alpha_bar)."""
        return (1 - self.alpha_bar) ** 0.5

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio; infinite at t = 0."""
        return math.inf if self.alpha_bar == 1 else self.alpha_bar / (1 - self.alpha_bar)


def noised(x0: Tensor, epsilon: Tensor, schedule: NoiseSchedule, t: int) -> Noised:
    """Jump to timestep t.

    Args:
        x0, epsilon: the picture and the noise, (3, H, W).
        t: as papers count, from 0 (the picture) to T.

    Raises:
        TypeError, ValueError: t is no int or out of range.
    """
    check_int("t", t, 0, schedule.num_train_timesteps)
    if t == 0:
        return Noised(x0, 1.0)
    at = torch.tensor([t - 1])
    return Noised(schedule.add_noise(x0[None], epsilon[None], at)[0], float(schedule.alpha_bar[at]))


def snr_words(snr: float) -> str:
    """A signal-to-noise ratio as a person reads it."""
    if snr == 0:
        return "0 (pure noise)"
    if math.isinf(snr):
        return "infinite (no noise)"
    decibel = 10 * math.log10(snr)
    number = f"{snr:.2g}" if 1e-3 <= snr < 1e3 else f"{snr:.1e}".replace("e-0", "e-")
    return f"{number.replace('e+0', 'e')} ({decibel:+.0f} dB)".replace("-", "−")


def curve(values: Tensor) -> dict[str, Any]:
    """A table (T,) as x and y of a chart's line, with few points; x counts from 1 to T."""
    at = torch.linspace(0, len(values) - 1, POINTS).round().long()
    floor = LOW_SNR / 2  # below the chart, and finite
    return {"x": (at + 1).tolist(), "y": [max(v, floor) for v in values[at].tolist()]}


def example_pictures() -> dict[str, Tensor]:
    """Pictures to start from: a name and (3, 64, 64) each."""
    emoji = CaptionedEmoji(subset="core")
    known = {concept.name: concept.index for concept in emoji.concepts}
    style, colour = STYLES.index(STYLE), list(BACKGROUNDS).index(BACKGROUND)
    return {name: emoji.render(known[name], style, colour) for name in THINGS if name in known}


class ForwardNoising(View):
    """A timestep slider over a picture of your choice, with the schedule's curves.

    Args:
        picture: (3, H, W) in [-1, 1] to begin with; by default one of the course's own.
        schedule: a name in `SCHEDULES`.
        t: timestep to begin with, 0 to 1000.
        seed: of the noise.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range.
    """

    label = "Forward noising"

    def __init__(
        self,
        picture: Tensor | None = None,
        schedule: str = "scaled_linear",
        t: int = 300,
        seed: int = 0,
    ) -> None:
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule is {schedule!r}; expected one of {', '.join(SCHEDULES)}")
        check_int("t", t, 0, T)
        check_int("seed", seed, 0, 2**31)
        if picture is not None and (picture.ndim != 3 or picture.shape[0] != 3):
            raise ValueError(f"picture has shape {tuple(picture.shape)}; expected (3, H, W)")
        self._tables = {name: make() for name, (_, make) in SCHEDULES.items()}
        self._pictures: dict[str, Tensor] = {} if picture is None else {OWN: picture}
        self._seed = seed
        self._noise = torch.zeros(3, 64, 64)
        super().__init__(*_nodes(schedule, t, list(self._pictures) or list(THINGS)))
        self._curves()
        self.on("t", self._update)
        self.on("schedule", self._new_schedule)
        self.on("thing", self._new_thing)
        self.on("again", self._new_noise)
        self.on("file", self._uploaded)
        if picture is None:
            self.busy(lambda report, cancelled: example_pictures(), done=self._loaded, quiet=True)
        else:
            self._loaded({})

    # --- what the learner does ---------------------------------------------------------------

    def _loaded(self, examples: dict[str, Tensor]) -> None:
        self._pictures = {**examples, **self._pictures}
        names = list(self._pictures)
        value = self["thing"] if self["thing"] in names else names[0]
        self.put("thing", options=[[name, name] for name in names], value=value)
        self._new_thing(value)

    def _new_thing(self, name: str) -> None:
        if name in self._pictures:
            x0 = self._pictures[name]
            self.show("clean", x0, f"{name}, without noise")
            self._draw_noise(x0)

    def _new_noise(self, _: int) -> None:
        self._seed += 1
        self._draw_noise(self._pictures[self["thing"]])

    def _draw_noise(self, x0: Tensor) -> None:
        generator = torch.Generator().manual_seed(self._seed)
        self._noise = torch.randn(x0.shape, generator=generator)
        words = f"random colours, seed {self._seed}; mid-grey is 0, clipped at −2 and 2"
        self.show("noise", self._noise / 2, words)
        self._update(self["t"])

    def _uploaded(self, file: tuple[bytes, str]) -> None:
        data, name = file
        try:
            self._pictures[OWN] = read_upload(data, name)
        except ValueError as error:
            self.say(f"{error}.", "warning")
            return
        self.say(f"{name}: its middle, shrunk to 64 × 64 pixels.")
        names = list(self._pictures)
        self.put("thing", options=[[item, item] for item in names], value=OWN)
        self._new_thing(OWN)

    def _new_schedule(self, _: str) -> None:
        self._curves()
        self._update(self["t"])

    # --- what is shown -----------------------------------------------------------------------

    def _update(self, t: int) -> None:
        """Everything that depends on the timestep."""
        x0 = self._pictures.get(self["thing"])
        if x0 is None:
            return
        now = noised(x0, self._noise, self._tables[self["schedule"]], t)
        alt = f"{self['thing']} at t = {t}: {100 * now.alpha_bar:.0f} % signal"
        mix = f"{now.signal:.3f} x₀ + {now.noise:.3f} ε, at t = {t}"
        self.show("noisy", now.x_t, alt, mix)
        self.put("clean", caption=f"√ᾱ = {now.signal:.3f}")
        self.put("noise", caption=f"√(1 − ᾱ) = {now.noise:.3f}")
        self.put("share", text=f"{now.alpha_bar:.4f}")
        self.put("snr", text=snr_words(now.snr))
        self._mark("alpha_bar", t, now.alpha_bar, f"ᾱ = {now.alpha_bar:.3f}")
        snr = min(max(now.snr, LOW_SNR), HIGH_SNR)
        self._mark("curve_snr", t, snr, f"SNR {snr_words(now.snr).partition(' ')[0]}")

    def _mark(self, name: str, t: int, y: float, words: str) -> None:
        label = SCHEDULES[self["schedule"]][0]
        what = self.part(name)["label"].partition(" (")[0]
        alt = f"Curve of the {what}, schedule {label}: at t = {t} {words}"
        self.put(name, marks=[{"x": t, "y": y, "label": words}], alt=alt)

    def _curves(self) -> None:
        """The chosen schedule as the thick line, the others thin for comparison."""
        chosen = self["schedule"]
        names = [name for name in self._tables if name != chosen]
        for part, table in (("alpha_bar", "alpha_bar"), ("curve_snr", "snr")):
            lines = []
            for name in (*names, chosen):
                schedule = self._tables[name]
                values = schedule.alpha_bar if table == "alpha_bar" else schedule.snr()
                here = name == chosen
                lines.append({"label": "", "style": 0 if here else "faint", **curve(values)})
            self.put(part, lines=lines)


def _nodes(schedule: str, t: int, things: list[str]) -> tuple[Any, ...]:
    """What the view consists of."""
    options = {name: words for name, (words, _) in SCHEDULES.items()}
    others = "grey: the other schedules"
    wide = {"width": 460, "height": 220, "x_high": T}
    return (
        bar(
            select("thing", "picture", things, things[0]),
            upload("file", "or your own"),
            select("schedule", "noise schedule", options, schedule),
        ),
        bar(
            play("run", "Play", "t", step=10, interval=60),
            slider("t", "timestep t, from picture (0) to noise (1000)", 0, T, t),
            button("again", "Other noise"),
        ),
        row(
            picture("noisy", "noisy picture xₜ", size=320),
            column(
                row(
                    picture("clean", "picture x₀", size=192),
                    picture("noise", "noise ε", size=192),
                ),
                note("share", "signal share of the variance, ᾱ", quiet=True),
                note("snr", "signal-to-noise ratio, ᾱ / (1 − ᾱ)", quiet=True),
            ),
        ),
        row(
            column(chart("alpha_bar", f"signal share ({others})", "timestep t", "ᾱ", **wide)),
            column(
                chart(
                    "curve_snr",
                    f"signal-to-noise ratio ({others})",
                    "timestep t",
                    "SNR",
                    **wide,
                    y_log=True,
                    y_low=LOW_SNR,
                    y_high=HIGH_SNR,
                )
            ),
        ),
    )
