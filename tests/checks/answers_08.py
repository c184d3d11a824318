"""Answers to the exercises of lesson 08: wrong ones, part of their message, and right ones."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from course_utils.checks.claims_08 import SweetSpot
from course_utils.evaluation import Estimate
from course_utils.evaluation.sweep_results import Point, SweepSettings
from course_utils.evaluation.sweep_results import Sweep as MeasuredSweep

# --- guide ---------------------------------------------------------------------------------------


def guide_paper(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    return cond + guidance_scale * (cond - uncond)


def guide_swapped(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    return guidance_scale * uncond + (1 - guidance_scale) * cond


def guide_off_below_one(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    if guidance_scale <= 1:
        return cond
    return uncond + guidance_scale * (cond - uncond)


def guide_forgets_start(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    return guidance_scale * cond - guidance_scale * uncond


def guide_no_difference(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    return uncond + guidance_scale * cond


def guide_wrong_way(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    return (1 + guidance_scale) * uncond - guidance_scale * cond


def guide_in_place(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    uncond += guidance_scale * (cond - uncond)
    return uncond


def guide_clamps(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    return (uncond + guidance_scale * (cond - uncond)).clamp(-1, 1)


def guide_without_return(cond: Tensor, uncond: Tensor, guidance_scale: float) -> None:
    uncond + guidance_scale * (cond - uncond)


def guide_detached(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    with torch.no_grad():
        return uncond + guidance_scale * (cond - uncond)


def guide_lerp(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    return torch.lerp(uncond, cond, guidance_scale)


def guide_weights(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    return guidance_scale * cond + (1 - guidance_scale) * uncond


def guide_from_cond(cond: Tensor, uncond: Tensor, guidance_scale: float) -> Tensor:
    return cond + (guidance_scale - 1) * (cond - uncond)


# --- drop_conditions -----------------------------------------------------------------------------


def drop_keeps_p(s: Tensor, e: Tensor, p: float, g: torch.Generator) -> Tensor:
    out = s.clone()
    for i, u in enumerate(torch.rand(len(s), generator=g)):
        if u > p:
            out[i] = e
    return out


def drop_together(s: Tensor, e: Tensor, p: float, g: torch.Generator) -> Tensor:
    return torch.stack([e] * len(s)) if float(torch.rand(1, generator=g)) < p else s.clone()


def drop_each_token(s: Tensor, e: Tensor, p: float, g: torch.Generator) -> Tensor:
    coin = torch.rand(s.shape[0], s.shape[1], 1, generator=g) < p
    return torch.where(coin, e.expand_as(s), s)


def drop_zeros(s: Tensor, e: Tensor, p: float, g: torch.Generator) -> Tensor:
    out = s.clone()
    out[torch.rand(len(s), generator=g) < p] = 0
    return out


def drop_global_chance(s: Tensor, e: Tensor, p: float, g: torch.Generator) -> Tensor:
    coin = torch.bernoulli(torch.full((len(s),), p)).bool()
    return torch.where(coin[:, None, None], e, s)


def drop_changes(s: Tensor, e: Tensor, p: float, g: torch.Generator) -> Tensor:
    s[torch.rand(len(s), generator=g) < p] = e
    return s


def drop_normal(s: Tensor, e: Tensor, p: float, g: torch.Generator) -> Tensor:
    coin = torch.randn(len(s), generator=g) < p
    return torch.where(coin[:, None, None], e, s)


def drop_nothing_returned(s: Tensor, e: Tensor, p: float, g: torch.Generator) -> None:
    torch.where((torch.rand(len(s), generator=g) < p)[:, None, None], e, s)


def drop_never(s: Tensor, e: Tensor, p: float, g: torch.Generator) -> Tensor:
    return s.clone()


def drop_loop(s: Tensor, e: Tensor, p: float, g: torch.Generator) -> Tensor:
    coins = torch.rand(len(s), generator=g)
    return torch.stack([e if u < p else own for u, own in zip(coins, s, strict=True)])


def drop_bernoulli(s: Tensor, e: Tensor, p: float, g: torch.Generator) -> Tensor:
    coin = torch.bernoulli(torch.full((len(s), 1, 1), p), generator=g)
    return torch.where(coin.bool(), e, s)


def drop_upper_end(s: Tensor, e: Tensor, p: float, g: torch.Generator) -> Tensor:
    out = s.clone()
    out[torch.rand(len(s), generator=g) >= 1 - p] = e
    return out


# --- negative_prompt -----------------------------------------------------------------------------


def negative_halves_swapped(d: Any, x: Tensor, t: Tensor, c: Tensor, n: Tensor, w: float) -> Tensor:
    a, b = d(torch.cat([x, x]), torch.cat([t, t]), torch.cat([c, n])).chunk(2)
    return a + w * (b - a)


def negative_ignored(d: Any, x: Tensor, t: Tensor, c: Tensor, n: Tensor, w: float) -> Tensor:
    empty = d(x, t, 0 * n)
    return empty + w * (d(x, t, c) - empty)


def negative_subtracted(d: Any, x: Tensor, t: Tensor, c: Tensor, n: Tensor, w: float) -> Tensor:
    return d(x, t, c) - w * d(x, t, n)


def negative_from_cond(d: Any, x: Tensor, t: Tensor, c: Tensor, n: Tensor, w: float) -> Tensor:
    yes, no = d(x, t, c), d(x, t, n)
    return (1 + w) * yes - w * no


def negative_mixes_words(d: Any, x: Tensor, t: Tensor, c: Tensor, n: Tensor, w: float) -> Tensor:
    return d(x, t, n + w * (c - n))


def negative_x_not_doubled(d: Any, x: Tensor, t: Tensor, c: Tensor, n: Tensor, w: float) -> Tensor:
    no, yes = d(x, t, torch.cat([n, c])).chunk(2)
    return no + w * (yes - no)


def negative_cat_without_list(
    d: Any, x: Tensor, t: Tensor, c: Tensor, n: Tensor, w: float
) -> Tensor:
    no, yes = d(torch.cat(x, x), torch.cat(t, t), torch.cat(n, c)).chunk(2)
    return no + w * (yes - no)


def negative_not_cut(d: Any, x: Tensor, t: Tensor, c: Tensor, n: Tensor, w: float) -> Tensor:
    return d(torch.cat([x, x]), torch.cat([t, t]), torch.cat([n, c]))


def negative_strided(d: Any, x: Tensor, t: Tensor, c: Tensor, n: Tensor, w: float) -> Tensor:
    both = d(torch.cat([x, x]), torch.cat([t, t]), torch.cat([n, c]))
    return both[0::2] + w * (both[1::2] - both[0::2])


def negative_two_calls(d: Any, x: Tensor, t: Tensor, c: Tensor, n: Tensor, w: float) -> Tensor:
    no = d(x, t, n)
    return no + w * (d(x, t, c) - no)


def negative_prompt_first(d: Any, x: Tensor, t: Tensor, c: Tensor, n: Tensor, w: float) -> Tensor:
    both = d(x.repeat(2, 1, 1, 1), t.repeat(2), torch.cat([c, n]))
    yes, no = both[: len(x)], both[len(x) :]
    return w * yes + (1 - w) * no


def negative_chunked(d: Any, x: Tensor, t: Tensor, c: Tensor, n: Tensor, w: float) -> Tensor:
    no, yes = d(torch.cat([x, x]), torch.cat([t, t]), torch.cat([n, c])).chunk(2)
    return torch.lerp(no, yes, w)


# --- rescale -------------------------------------------------------------------------------------


def rescale_all(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    return (phi * cond.std() / guided.std() + 1 - phi) * guided


def rescale_upside_down(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    axes = tuple(range(1, cond.ndim))
    factor = guided.std(axes, keepdim=True) / cond.std(axes, keepdim=True)
    return guided * (phi * factor + 1 - phi)


def rescale_var(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    axes = tuple(range(1, cond.ndim))
    factor = cond.var(axes, keepdim=True) / guided.var(axes, keepdim=True)
    return guided * (phi * factor + 1 - phi)


def rescale_no_mix(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    axes = tuple(range(1, cond.ndim))
    return guided * cond.std(axes, keepdim=True) / guided.std(axes, keepdim=True)


def rescale_channels(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    axes = (2, 3) if cond.ndim == 4 else (1,)
    factor = cond.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
    return guided * (phi * factor + 1 - phi)


def rescale_phi_swapped(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    axes = tuple(range(1, cond.ndim))
    factor = cond.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
    return (1 - phi) * guided * factor + phi * guided


def rescale_without_keepdim(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    factor = cond.flatten(1).std(dim=1) / guided.flatten(1).std(dim=1)
    return phi * guided * factor + (1 - phi) * guided


def rescale_in_place(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    axes = tuple(range(1, cond.ndim))
    guided *= phi * cond.std(axes, keepdim=True) / guided.std(axes, keepdim=True) + 1 - phi
    return guided


def rescale_nan(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    return guided * (cond - cond) / (guided - guided)


def rescale_flat(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    factor = cond.flatten(1).std(dim=1) / guided.flatten(1).std(dim=1)
    return guided * (phi * factor + 1 - phi).view(-1, *[1] * (guided.ndim - 1))


def rescale_loop(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    rows = []
    for g, c in zip(guided, cond, strict=True):
        scaled = g * (c.std(unbiased=False) / g.std(unbiased=False))
        rows.append(g + phi * (scaled - g))
    return torch.stack(rows)


# --- interval ------------------------------------------------------------------------------------


def interval_zero_outside(
    c: Tensor, u: Tensor, t: Tensor, w: float, low: float, high: float
) -> Tensor:
    rows = [
        b + w * (a - b) if low <= time < high else b for a, b, time in zip(c, u, t, strict=True)
    ]
    return torch.stack(rows)


def interval_outside_in(
    c: Tensor, u: Tensor, t: Tensor, w: float, low: float, high: float
) -> Tensor:
    rows = [
        a if low <= time < high else b + w * (a - b) for a, b, time in zip(c, u, t, strict=True)
    ]
    return torch.stack(rows)


def interval_high_too(c: Tensor, u: Tensor, t: Tensor, w: float, low: float, high: float) -> Tensor:
    rows = [
        b + w * (a - b) if low <= time <= high else a for a, b, time in zip(c, u, t, strict=True)
    ]
    return torch.stack(rows)


def interval_low_out(c: Tensor, u: Tensor, t: Tensor, w: float, low: float, high: float) -> Tensor:
    rows = [b + w * (a - b) if low < time < high else a for a, b, time in zip(c, u, t, strict=True)]
    return torch.stack(rows)


def interval_if(c: Tensor, u: Tensor, t: Tensor, w: float, low: float, high: float) -> Tensor:
    return u + w * (c - u) if low <= t < high else c  # type: ignore[operator]


def interval_asks_one(c: Tensor, u: Tensor, t: Tensor, w: float, low: float, high: float) -> Tensor:
    return u + w * (c - u) if low <= t[0].item() < high else c


def interval_asks_any(c: Tensor, u: Tensor, t: Tensor, w: float, low: float, high: float) -> Tensor:
    return u + w * (c - u) if ((low <= t) & (t < high)).any() else c


def interval_unshaped(c: Tensor, u: Tensor, t: Tensor, w: float, low: float, high: float) -> Tensor:
    scale = torch.where((t >= low) & (t < high), w, 1.0)
    return u + scale * (c - u)


def interval_list(c: Tensor, u: Tensor, t: Tensor, w: float, low: float, high: float) -> list:
    return list(interval_rows(c, u, t, w, low, high))


def interval_rows(c: Tensor, u: Tensor, t: Tensor, w: float, low: float, high: float) -> Tensor:
    rows = [
        b + w * (a - b) if low <= time < high else a for a, b, time in zip(c, u, t, strict=True)
    ]
    return torch.stack(rows)


def interval_masks(c: Tensor, u: Tensor, t: Tensor, w: float, low: float, high: float) -> Tensor:
    inside = t.ge(low).logical_and(t.lt(high)).view(-1, *[1] * (c.ndim - 1))
    return torch.where(inside, w * c + (1 - w) * u, c)


# --- sweet_spot ----------------------------------------------------------------------------------


def curve() -> MeasuredSweep:
    """Alignment rises from 0.1 to 0.9 until 4, saturation from 0.5 at 0 to 0.9 at 20."""
    rows = ((0.0, 0.1, 0.5), (4.0, 0.9, 0.58), (20.0, 0.9, 0.9))
    points = [
        Point(
            "plain",
            scale,
            {"alignment": Estimate(a, a, a), "saturation": Estimate(s, s, s)},
        )
        for scale, a, s in rows
    ]
    scales = tuple(scale for scale, *_ in rows)
    settings = SweepSettings(scales=scales, variants=("plain",))
    return MeasuredSweep(settings, "", "", tuple(points))


def spot(scale: Any, alignment: Any = 0.8, saturation: Any = 0.7) -> SweetSpot:
    return SweetSpot(scale, alignment, saturation, curve())


# --- from readers of the pages ---


def drops_a_fixed_number(text_states, empty_state, p, generator):  # type: ignore[no-untyped-def]
    count = round(p * len(text_states))
    chosen = torch.randperm(len(text_states), generator=generator)[:count]
    found = text_states.clone()
    found[chosen] = empty_state
    return found


def rescales_pictures(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    ratio = cond.std(dim=(1, 2, 3), keepdim=True) / guided.std(dim=(1, 2, 3), keepdim=True)
    return phi * guided * ratio + (1 - phi) * guided


WRONG = [
    ("08.guide", guide_paper, "ho_and_salimans"),
    ("08.guide", guide_swapped, "swapped"),
    ("08.guide", guide_off_below_one, "off_up_to_one"),
    ("08.guide", guide_forgets_start, "way_only"),
    ("08.guide", guide_no_difference, "whole_cond"),
    ("08.guide", guide_wrong_way, "wrong_way"),
    ("08.guide", guide_in_place, "changes its argument uncond in place"),
    ("08.guide", guide_clamps, "has other values than expected"),
    ("08.guide", guide_without_return, "is a `return` missing"),
    ("08.guide", guide_detached, "no gradient"),
    ("08.guide", 7.5, "expected the function itself"),
    ("08.drop_conditions", drop_keeps_p, "kept"),
    ("08.drop_conditions", drop_together, "whole_batch"),
    ("08.drop_conditions", drop_each_token, "tokens"),
    ("08.drop_conditions", drop_zeros, "zeros"),
    ("08.drop_conditions", drop_global_chance, "unseeded"),
    ("08.drop_conditions", drop_changes, "in_place"),
    ("08.drop_conditions", drop_normal, "share dropped'] is 'about 0.5'"),
    ("08.drop_conditions", drop_never, "never"),
    ("08.drop_conditions", drop_nothing_returned, "is a `return` missing"),
    ("08.negative_prompt", negative_halves_swapped, "swapped"),
    ("08.negative_prompt", negative_ignored, "zeros"),
    ("08.negative_prompt", negative_subtracted, "subtracted"),
    ("08.negative_prompt", negative_from_cond, "ho_and_salimans"),
    ("08.negative_prompt", negative_mixes_words, "states_mixed"),
    ("08.negative_prompt", negative_x_not_doubled, "must all be doubled"),
    ("08.negative_prompt", negative_cat_without_list, "in a list"),
    ("08.negative_prompt", negative_not_cut, "has shape"),
    ("08.negative_prompt", negative_strided, "every_other"),
    ("08.rescale", rescale_all, "whole_batch"),
    ("08.rescale", rescale_upside_down, "upside_down"),
    ("08.rescale", rescale_var, "variances"),
    ("08.rescale", rescale_no_mix, "always_fully"),
    ("08.rescale", rescale_channels, "each_channel"),
    ("08.rescale", rescale_phi_swapped, "phi_swapped"),
    ("08.rescale", rescale_without_keepdim, "not_broadcast"),
    ("08.rescale", rescale_in_place, "changes its argument guided in place"),
    ("08.rescale", rescale_nan, "holds NaN"),
    ("08.interval", interval_zero_outside, "scale_0_outside"),
    ("08.interval", interval_outside_in, "swapped"),
    ("08.interval", interval_high_too, "high_included"),
    ("08.interval", interval_low_out, "low_left_out"),
    ("08.interval", interval_if, "asks one question"),
    ("08.interval", interval_asks_one, "first_decides"),
    ("08.interval", interval_asks_any, "any"),
    ("08.interval", interval_unshaped, "not_broadcast"),
    ("08.interval", interval_list, "expected a torch.Tensor"),
    ("08.sweet_spot", spot("four"), "my_scale is 'four'; expected a number from 0 to 20"),
    ("08.sweet_spot", spot(25.0), "my_scale is 25; expected a number from 0 to 20"),
    ("08.sweet_spot", spot(math.nan), "my_scale is nan"),
    ("08.sweet_spot", spot(True), "my_scale is True"),
    ("08.sweet_spot", spot(2.0), "your curve says alignment 0.500"),
    ("08.sweet_spot", spot(16.0), "your curve says saturation 0.820"),
    ("08.sweet_spot", spot(4.0, 1.5), "my_least_alignment is 1.5"),
    ("08.sweet_spot", spot(4.0, 0.8, None), "my_most_saturation is None"),
    ("08.sweet_spot", SweetSpot(4.0, 0.8, 0.7), "There is no measured curve"),
    ("08.sweet_spot", 4.0, "Hand over a SweetSpot"),
    ("08.drop_conditions", drops_a_fixed_number, "fixed_count"),
    ("08.negative_prompt", negative_two_calls, "the denoiser is called 2 times"),
]

RIGHT = [
    ("08.guide", guide_lerp),
    ("08.guide", guide_weights),
    ("08.guide", guide_from_cond),
    ("08.drop_conditions", drop_loop),
    ("08.drop_conditions", drop_bernoulli),
    ("08.drop_conditions", drop_upper_end),
    ("08.negative_prompt", negative_prompt_first),
    ("08.negative_prompt", negative_chunked),
    ("08.rescale", rescale_flat),
    ("08.rescale", rescale_loop),
    ("08.interval", interval_rows),
    ("08.interval", interval_masks),
    ("08.sweet_spot", spot(4)),
    ("08.sweet_spot", spot(8.0, 0.5, 0.9)),
    ("08.sweet_spot", spot(torch.tensor(4.0))),
    ("08.rescale", rescales_pictures),
]
