"""Lesson 08, rescale and interval, which tame guidance: what is right, and what is not."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.mistakes import slips


def rescale(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    """Mix the guided prediction with one that has the standard deviation of cond."""
    axes = list(range(1, guided.ndim))
    ratio = cond.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)  # (B, 1, ..., 1)
    return phi * (guided * ratio) + (1 - phi) * guided


def _rescale_cases(generator: torch.Generator) -> Iterator[Case]:
    shapes = ((2, 1, 2, 2), (3, 4, 8, 8), (4, 4, 4, 4), (5, 2, 3, 3))
    for shape, phi in zip((*shapes, shapes[1]), (0.7, 1.0, 0.5, 0.7, 0.0), strict=True):
        cond, uncond = torch.randn(2, *shape, generator=generator)
        size = 0.5 + torch.rand(shape[0], generator=generator)  # pictures of unequal contrast
        cond = size.view(-1, *[1] * (cond.ndim - 1)) * cond + 0.5
        yield Case((uncond + 6.0 * (cond - uncond), cond, phi))


def interval(
    cond: Tensor, uncond: Tensor, t: Tensor, guidance_scale: float, low: float, high: float
) -> Tensor:
    """Guidance where low <= t < high; elsewhere the prompt alone, which is scale 1."""
    inside = (t >= low) & (t < high)  # (B,)
    w = torch.where(inside, guidance_scale, 1.0).to(cond.dtype)  # (B,)
    return uncond + w.view(-1, *[1] * (cond.ndim - 1)) * (cond - uncond)


def _interval_cases(generator: torch.Generator) -> Iterator[Case]:
    rows = (
        ((2, 1, 2, 2), [150, 900], 7.5),
        ((4, 4, 4, 4), [999, 500, 200, 100], 4.0),  # 200 is the lower end, inside
        ((3, 4, 8, 8), [700, 699, 0], 0.0),  # 700 is the upper end, outside
        ((4, 4, 4, 4), [300, 300, 300, 300], 12.0),
        ((3, 2), [700, 200, 450], 3.0),
        ((3, 4, 8, 8), [950, 950, 950], 5.0),
    )
    for shape, t, scale in rows:
        low, high = (100, 600) if shape[0] == 2 else (200, 700)
        cond, uncond = torch.randn(2, *shape, generator=generator)
        words = f"x of shape {shape}, t = {t}, guidance_scale = {scale}, {low} <= t < {high}"
        yield Case((cond, uncond, torch.tensor(t), scale, low, high), label=words)


def _interval_error(error: Exception, case: Case) -> str | None:
    if "more than one value is ambiguous" in str(error):
        return (
            "`if low <= t < high` asks one question, and t holds one timestep for each picture. "
            "Make a tensor of answers with `(t >= low) & (t < high)`, and choose with `torch.where`"
            "."
        )
    return None


RESCALE = Exercise(
    "08.rescale",
    rescale,
    _rescale_cases,
    hints=(
        "Which dimensions belong to one picture? All but the first.",
        "ratio = std of cond over std of guided, both with keepdim=True; then mix the scaled "
        "prediction and the plain one with phi and 1 - phi.",
        "phi * (guided * ratio) + ... * guided, with the deviations over "
        "dim=list(range(1, guided.ndim))",
    ),
    difficulty=2,
    minutes=6,
    mistakes=slips(
        """
        whole_batch:
            `cond.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)`
            -> `cond.std() / guided.std()`
            One standard deviation for the whole batch: then each picture depends on its
            neighbours. Take it over every dimension but the first, with keepdim=True.
        upside_down:
            `cond.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)`
            -> `guided.std(dim=axes, keepdim=True) / cond.std(dim=axes, keepdim=True)`
            The ratio is upside down: std(cond) over std(guided) brings the contrast back.
        variances: `cond.std(` -> `cond.var(`
            `guided.std(` -> `guided.var(`
            These are variances. The ratio is one of standard deviations, their roots.
        each_channel: `range(1, ` -> `range(2 if guided.ndim > 2 else 1, `
            You rescale each channel for itself. The paper takes one number for each picture:
            the deviation over every dimension but the first, channels included.
        always_fully: `phi * (guided * ratio) + (1 - phi) * guided` -> `guided * ratio`
            You always rescale fully. phi mixes: phi of the rescaled prediction and 1 - phi of
            the guided one.
        phi_swapped:
            `phi * (guided * ratio) + (1 - phi) * guided`
            -> `(1 - phi) * (guided * ratio) + phi * guided`
            phi and 1 - phi are swapped: phi is the share of the rescaled prediction.
        mixed_with_cond: `(1 - phi) * guided` -> `(1 - phi) * cond`
            You mix with cond. The mix is between the rescaled and the guided prediction,
            otherwise 1 - phi of the guidance is lost.
        around_the_mean: `(guided * ratio)` -> `((guided - mean) * ratio + mean)`
            `    return` -> `    mean = guided.mean(dim=axes, keepdim=True)\\n    return`
            You scale around the mean. Equation 15 multiplies the whole prediction, its mean
            included.
        not_broadcast:
            `cond.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)`
            -> `cond.std(dim=axes) / guided.std(dim=axes)`
            The standard deviations have shape (B,), so they line up with the last dimension of
            the pictures and not with the first. keepdim=True makes them (B, 1, 1, 1).
        """
    ),
    gradients=("guided", "cond"),
    keeps_dtype=True,
    keeps_device=True,
)


INTERVAL = Exercise(
    "08.interval",
    interval,
    _interval_cases,
    hints=(
        "A picture outside the interval is drawn as if the scale were 1.",
        "Make a scale for each picture: torch.where(inside, guidance_scale, 1.0), with inside "
        "= (t >= low) & (t < high).",
        "Give that scale the shape (B, 1, 1, 1), w.view(-1, *[1] * (cond.ndim - 1)), and "
        "use it in uncond + ...",
    ),
    difficulty=3,
    minutes=7,
    on_error=_interval_error,
    mistakes=slips(
        """
        scale_0_outside: `guidance_scale, 1.0` -> `guidance_scale, 0.0`
            Outside the interval you fall back to the answer without the prompt. There the
            prompt speaks plainly: scale 1, not 0.
        swapped: `(t >= low) & (t < high)` -> `~((t >= low) & (t < high))`
            Inside and outside are swapped: guidance belongs where low <= t < high.
        high_included: `t < high` -> `t <= high`
            t = high is guided, too. Take a half-open interval: low belongs to it, high does
            not, `(t >= low) & (t < high)`.
        low_left_out: `t >= low` -> `t > low`
            t = low is left out. Take a half-open interval: low belongs to it, high does not,
            `(t >= low) & (t < high)`.
        low_left_out_high_included: `t >= low` -> `t > low`
            `t < high` -> `t <= high`
            t = low is left out and t = high is guided. Take a half-open interval: low belongs
            to it, high does not, `(t >= low) & (t < high)`.
        first_decides: `(t >= low) & (t < high)` -> `((t >= low) & (t < high))[:1].expand_as(t)`
            The first picture's timestep decides for all. t holds one timestep for each picture:
            choose with torch.where.
        any: `(t >= low) & (t < high)` -> `((t >= low) & (t < high)).any().expand_as(t)`
            One picture inside makes you guide all of them. Decide for each picture, with
            torch.where.
        all: `(t >= low) & (t < high)` -> `((t >= low) & (t < high)).all().expand_as(t)`
            You guide only if every picture is inside. Decide for each picture, with
            torch.where.
        either: ` & ` -> ` | `
            Every timestep is guided: `t >= low` or `t < high` always holds. Both must, `&`.
        not_broadcast: `.view(-1, *[1] * (cond.ndim - 1))` -> ``
            The scales have shape (B,), so they line up with the last dimension of the pictures
            and not with the first. Give them (B, 1, 1, 1) with view or [:, None, None, None].
        """
    ),
    gradients=("cond", "uncond"),
    keeps_dtype=True,
)
