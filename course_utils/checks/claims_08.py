"""What people say of guidance scales, as sentences that a sweep can refute; one's own choice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from course_utils.evaluation.sweep_results import Sweep


@dataclass(frozen=True)
class SweetSpot:
    """A guidance scale that somebody chose, and what they ask of it.

    Attributes:
        scale: the choice; None while there is none.
        least_alignment: the alignment to keep at least, 0 to 1.
        most_saturation: the saturation to stay below, 0 to 1.
        measured: the sweep that it is held against; None: nothing was measured.
    """

    scale: float | None
    least_alignment: float | None
    most_saturation: float | None
    measured: Sweep | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Finding:
    """Whether a sentence about guidance scales holds in a sweep, and the numbers that say so."""

    claim: str
    holds: bool
    because: str


def follows_half(sweep: Sweep, variant: str = "plain") -> Finding:
    """ "Below 3 the prompt is ignored": no scale from 1 to below 3 has come half of the way from
    the alignment without a prompt to the best."""
    line = sweep.line("alignment", variant)
    nothing, best = line.values[0], max(line.values)
    below = [i for i, scale in enumerate(line.scales) if 1 <= scale < 3]
    way = {line.scales[i]: (line.values[i] - nothing) / max(best - nothing, 1e-9) for i in below}
    most = max(way.values(), default=0.0)
    first = min(way, default=math.nan)
    return Finding(
        "below 3 the prompt is ignored",
        bool(way) and most < 0.5,
        f"between scale {line.scales[0]:g} (alignment {nothing:.2f}) and the best ({best:.2f}), "
        f"{way.get(first, 0):.0%} of the way is done at {first:g}, at most {most:.0%} below 3",
    )


def best_scale(sweep: Sweep, variant: str = "plain", slack: float = 0.01) -> Finding:
    """ "7 to 9 is best": the lowest scale within `slack` of the best alignment lies there, and so
    does the scale that is nearest to the data."""
    aligned, far = sweep.line("alignment", variant), sweep.line("frechet", variant)
    best = max(aligned.values)
    enough = next(
        s for s, a in zip(aligned.scales, aligned.values, strict=True) if a >= best - slack
    )
    nearest = min(zip(far.values, far.scales, strict=True))[1]
    return Finding(
        "7 to 9 is best",
        7 <= enough <= 9 and 7 <= nearest <= 9,
        f"alignment is within {slack:g} of its best from scale {enough:g} on, and the pictures "
        f"are nearest to the data at {nearest:g}",
    )


def oversaturates(sweep: Sweep, variant: str = "plain") -> Finding:
    """ "Above 15 the colours are too loud, and not before": saturation or clipping surely exceeds
    that of the real pictures of the same prompts (the interval of the difference lies above 0) at
    every scale above 15, and at none from 1 to 9."""
    lines = {name: sweep.line(f"{name}_excess", variant) for name in ("saturation", "clipped")}
    scales = lines["saturation"].scales
    loud = [any(line.low[i] > 0 for line in lines.values()) for i in range(len(scales))]
    above = [loud[i] for i, scale in enumerate(scales) if scale > 15]
    early = [loud[i] for i, scale in enumerate(scales) if 1 <= scale <= 9]
    onset = min((s for s, yes in zip(scales, loud, strict=True) if yes), default=None)
    since = "surely more at no scale" if onset is None else f"surely more first at {onset:g}"
    return Finding(
        "above 15 the colours are too loud, and not before",
        bool(above) and all(above) and not any(early),
        f"against the real pictures, saturation at {scales[-1]:g} is "
        f"{lines['saturation'].values[-1]:+.3f} and the share of clipped values "
        f"{lines['clipped'].values[-1]:+.3f}; one of them is {since}",
    )
