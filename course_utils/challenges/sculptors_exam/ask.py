"""Challenge 06, Sculptor's exam: from words to a picture, with every step between the networks.

The networks run on our side, where their calls are counted and kept. So a picture can be followed
back: it is what the decoder gave, the decoder was given what the noise and the network's answers
add up to, and nothing else went in. Parts a to c measure the pieces against closed forms, part d
the picture against the one that the right chain reaches from the same noise; in parts e and f the
judge looks, at pairs that the model was trained on and at pairs that it never saw.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.challenges import validation
from course_utils.challenges.declare import (
    Band,
    Challenge,
    FollowUp,
    Limits,
    Measurement,
    Part,
)
from course_utils.challenges.network import GUIDANCE, finished, pipeline
from course_utils.challenges.sculptors_exam import NUMBER, TITLE
from course_utils.challenges.sculptors_exam.chain import (
    draw_oracles,
    drawn_pictures,
    gallery,
    held_out,
    picture_order,
    refuse_other_latents,
    seen_pairs,
)
from course_utils.challenges.sculptors_exam.pieces import (
    GUIDANCE_BANDS,
    STEP_BANDS,
    TOKEN_BANDS,
    guidance_inputs,
    measure_guidance,
    measure_step,
    measure_tokens,
    right_ids,
    step_inputs,
    token_inputs,
    v_inputs,
)
from course_utils.evaluation import metrics
from course_utils.evaluation.measure import Measured, measure

# --- thresholds; each was measured: challenges/06_sculptors_exam/calibration.md -------------------

SAME_BANDS = (Band(0.04, 3, "the same"), Band(0.05, 1, "alike"))
SEEN_BANDS = (Band(0.85, 2, "as asked"), Band(0.6, 1, "nearly"))
HELD_OUT_BANDS = (Band(0.7, 2, "composed"), Band(0.5, 1, "nearly"))  # 0.67 without any style
PASS_POINTS = 8
MOST_COPIES = 0.75  # share of the pictures of part f that may be near copies
MOST_CLIPPED = 0.08  # share of channel values at 0 or 255 above that of the artists' pictures

# --- the sizes -----------------------------------------------------------------------------------

CALLS = 24  # of predict, in one call of `draw`
QUIET, LOUD = (0.5, 0.6), (3.0, 4.0)  # scales of part d; near 1, no guidance looks the same
FINISHED_STEPS = 25  # of DPM-Solver++(2M), for the picture to compare with
COMPARED = 3  # pictures of each call of part d
PROMPTS, SEEDS = 6, 2  # of part e; part f draws each held-out pair once
DRAW_LIMITS = Limits(
    seconds=300.0,  # a few on a quiet computer; the time of the networks counts too
    megabytes=1500,
    oracle_calls={"encode_text": 4, "predict": CALLS, "decode": 1},
)
PIECE_LIMITS = Limits(seconds=20.0, megabytes=1500)

Array = np.ndarray[Any, Any]
Inputs = Sequence[Mapping[str, Any]]


def same_inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part d: some prompts at a scale below 1, others at one well above, each by chance.

    The network knows these pairs so well that above 1 a wrong scale, or another x_T, changes little
    of what comes out. Below 1 it does.
    """
    found = []
    for low, high in (QUIET, LOUD):
        scale = round(float(random.uniform(low, high)), 2)
        found += picture_order(random, seen_pairs(random, COMPARED), 1, scale)
    return found


def seen_inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part e: pairs that the model was trained on, two pictures of each prompt."""
    return picture_order(random, seen_pairs(random, PROMPTS), SEEDS, GUIDANCE)


def held_out_inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part f: every pair that the model was never trained on."""
    pairs = np.array(held_out())
    return picture_order(random, pairs[random.permutation(len(pairs))], 1, GUIDANCE)


def measure_same(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part d: RMSE of pixels against what the chain reaches from the same noise, mean over all."""
    errors, hints = [], list[str]()
    for given, value in zip(inputs, outputs, strict=True):
        pixels = drawn_pictures(given, value)
        right = finished(
            tuple(given["_texts"]), given["x_T"].tobytes(), given["guidance_scale"], FINISHED_STEPS
        )
        errors.append(metrics.rmse(pixels, pipeline().decode(right)))
        refuse_other_latents(given)
        if float(errors[-1].mean()) > SAME_BANDS[0].limit:
            hints += [hint for hint in _hints(given, right) if hint not in hints]
    every = torch.cat(errors)
    means = [float(error.mean()) for error in errors]
    by_call = [(given["guidance_scale"], e) for given, e in zip(inputs, means, strict=True)]
    scales = ", ".join(f"{error:.3f} at guidance scale {scale:g}" for scale, error in by_call)
    notes = [
        f"Pixels go from -1 to 1. The error is {scales}; of {len(every)} pictures the nearest has "
        f"{float(every.min()):.3f}, the farthest {float(every.max()):.3f}."
    ]
    if not hints and float(every.mean()) > SAME_BANDS[0].limit:
        hints = _about_scales(by_call)
    details = {"quiet": by_call[0][1], "loud": by_call[-1][1], "farthest": float(every.max())}
    return Measurement(float(every.mean()), (*notes, *hints), details)


def _about_scales(by_call: Sequence[tuple[float, float]]) -> list[str]:
    """What to look at where the chain is right but for its guidance."""
    (scale, quiet), (_, loud) = by_call[0], by_call[-1]
    if quiet < 2 * loud:
        return []
    return [
        f"The pictures at scale {scale:g} are far off. Guidance holds below 1 as well: at 0 the "
        f"prompt says nothing, at 1 guidance is off, and {scale:g} lies between the two. Such "
        "pictures also depend on their own x_T most."
    ]


def _hints(given: Mapping[str, Any], reached: Tensor) -> list[str]:
    """What in the trace is not as it should be."""
    notes: list[str] = []
    trace = given["_trace"]
    right = {row.tobytes() for row in right_ids(given)}
    encoded = {row.tobytes() for event in trace if "ids" in event for row in event["ids"]}
    if not right <= encoded:
        notes.append(
            f"encode_text was not given the ids of {len(right - encoded)} of {len(right)} prompts; "
            "see part a."
        )
    times = [event["t"] for event in trace if "t" in event]
    last = len(given["alpha_bar"]) - 1
    if not times:
        notes.append("predict was not called.")
    elif times[0] < last - 50:
        notes.append(f"The first call of predict is at t = {times[0]}; x_T is the noise of {last}.")
    elif any(a < b for a, b in itertools.pairwise(times)):
        notes.append("The timesteps of predict do not fall from call to call.")
    else:
        first = next(event["x_t"] for event in trace if "x_t" in event)
        if not np.allclose(first[: len(given["x_T"])], given["x_T"], atol=1e-3):
            notes.append("The first call of predict is not given x_T.")
    z = next(event["z"] for event in trace if "z" in event)
    size = float(z.std()) / float(reached.std() / given["scaling_factor"])
    if not 0.85 < size < 1.2:
        notes.append(f"decode is given latents that are {size:.2f} times as large as expected.")
    return notes


def measure_seen(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part e: the share of what the prompts ask for that is found in the pictures."""
    return _judged("e", inputs, outputs, object_among=1)


def measure_held_out(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part f: the same for held-out pairs, where an object may be among the first five."""
    return _judged("f", inputs, outputs, object_among=5)


def _judged(part: str, inputs: Inputs, outputs: Sequence[Any], object_among: int) -> Measurement:
    (given,), (value,) = inputs, outputs
    pixels = drawn_pictures(given, value)
    asked = torch.from_numpy(given["_asked"])
    measured = measure(gallery(), pixels, asked)
    original = gallery().render_pairs(asked[:, :2], asked[:, 2])
    if part == "f":  # what it was trained on it draws as near to the data as a copy would come
        validation.refuse_copies(measured.values["near_copy"].tolist(), MOST_COPIES, "predict")
    refuse_other_latents(given)
    clipped = float((measured.values["clipped"] - metrics.clipped_share(original)).mean())
    diversity = _diversity(given, pixels)
    if diversity is not None:
        validation.refuse_sameness(diversity)
    validation.refuse_oversaturation(
        clipped,
        MOST_CLIPPED,
        "Look at the guidance scale that is in force, and at the size of the latents that decode "
        "is given.",
    )
    shares = _shares(measured, object_among)
    ceiling = _shares(measure(gallery(), original, asked), object_among)
    among = "" if object_among == 1 else f" among the first {object_among} guesses"
    notes = [
        f"Of {len(pixels)} pictures {shares['object']:.0%} show the right object{among}, "
        f"{shares['style']:.0%} the right style, {shares['background']:.0%} the right background. "
        f"The artists' own pictures of these prompts reach {_mean(ceiling):.2f}."
    ]
    if diversity is not None:
        notes.append(
            f"Two pictures of one prompt differ by {diversity:.2g} a pixel (at least "
            f"{validation.LEAST_DIVERSITY:g})."
        )
    details = {
        **shares,
        "real": _mean(ceiling),
        "clipped": clipped,
        "near copies": float(measured.values["near_copy"].float().mean()),
    }
    if diversity is not None:
        details["diversity"] = diversity
    return Measurement(_mean(shares), tuple(notes), details)


def _shares(measured: Measured, object_among: int) -> dict[str, float]:
    values = measured.values
    return {
        "object": float(values[f"object_top{object_among}"].float().mean()),
        "style": float(values["style"].float().mean()),
        "background": float(values["background"].float().mean()),
    }


def _mean(shares: Mapping[str, float]) -> float:
    return float(np.mean(list(shares.values())))


def _diversity(given: Mapping[str, Any], pixels: Tensor) -> float | None:
    """Deviation of a pixel over the pictures of one prompt; None where each prompt has one."""
    seeds = len(pixels) // len(set(given["_texts"]))
    if seeds < 2:
        return None
    return float(metrics.pixel_diversity(pixels.unflatten(0, (-1, seeds))).mean())


# --- the challenge -------------------------------------------------------------------------------

DRAW_ADVICE = (
    "Follow one picture: ids, text states with and without the prompt, predict, guide, step, and "
    "at the end latents divided by the scaling factor. "
)

CHALLENGE = Challenge(
    number=NUMBER,
    title=TITLE,
    answers=("token-ids", "from-v", "step", "guide", "draw"),
    setup="import math\n\nimport torch\nfrom torch import Tensor\n\n"
    'START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"',
    withheld=(
        "course_utils.bench",
        "course_utils.data",
        "course_utils.evaluation",
        "course_utils.guidance",
        "course_utils.models",
        "course_utils.pipeline",
        "course_utils.predictions",
        "course_utils.samplers",
        "course_utils.training",
    ),
    rests_on=("emoji-64", "judge"),
    pass_points=PASS_POINTS,
    minutes=90,
    parts=(
        Part(
            id="a",
            title="words to ids",
            function="token_ids",
            inputs=token_inputs,
            measure=measure_tokens,
            bands=TOKEN_BANDS,
            quantity="share of prompts whose row of ids is exact",
            better="more",
            advice="Start from single signs, the last one marked with </w>. In each round join the "
            "pair that stands first in the list of merges, wherever in the word it is, and go on "
            "until no pair of the list is left. Then the frame: start, tokens, end, and the end "
            "token again up to max_length.",
            limits=PIECE_LIMITS,
        ),
        Part(
            id="b",
            title="from v to the next x_t",
            function="from_v",
            inputs=v_inputs,
            then=(FollowUp("step", step_inputs),),
            measure=measure_step,
            bands=STEP_BANDS,
            quantity="largest error of x0, epsilon and the next x_t",
            better="less",
            advice="x_t = alpha x0 + sigma epsilon and v = alpha epsilon - sigma x0 are two "
            "equations for two unknowns, and alpha² + sigma² = 1. No division is needed. The step "
            "mixes x0 and epsilon anew, with the weights of the level that it goes to.",
            limits=PIECE_LIMITS,
        ),
        Part(
            id="c",
            title="guidance",
            function="guide",
            inputs=guidance_inputs,
            measure=measure_guidance,
            bands=GUIDANCE_BANDS,
            quantity="largest error of the guided prediction",
            better="less",
            advice="Draw the two predictions as points on a line. At scale 0 you stand on the one "
            "without the prompt, at scale 1 on the one with it; where are you at 2.5?",
            limits=PIECE_LIMITS,
        ),
        Part(
            id="d",
            title="the picture that the chain reaches",
            function="draw",
            inputs=same_inputs,
            measure=measure_same,
            bands=SAME_BANDS,
            quantity="RMSE of pixels to the pictures of the right chain",
            better="less",
            advice=DRAW_ADVICE + "More calls of predict come nearer to the end of the path; twenty "
            "are enough for full marks here. Let the last step lead to alpha-bar 1. If both scales "
            "are far off, check which half of predict's answer belongs to the prompt; the other "
            "half needs the states of the empty prompt, not zeros.",
            oracles=draw_oracles,
            limits=DRAW_LIMITS,
        ),
        Part(
            id="e",
            title="before the judge",
            function="draw",
            inputs=seen_inputs,
            measure=measure_seen,
            bands=SEEN_BANDS,
            quantity="share of objects, styles and backgrounds that are as asked",
            better="more",
            advice=DRAW_ADVICE + "Look at the pictures in the notebook: right things in wrong "
            "colours point at the end of the chain, wrong things at the ids, or at swapped halves "
            "of predict's answer.",
            oracles=draw_oracles,
            limits=DRAW_LIMITS,
        ),
        Part(
            id="f",
            title="pairs that the model never saw",
            function="draw",
            inputs=held_out_inputs,
            measure=measure_held_out,
            bands=HELD_OUT_BANDS,
            quantity="share of objects, styles and backgrounds that are as asked",
            better="more",
            advice=DRAW_ADVICE + "These pairs are hard for the model too, and its style is right "
            "in about half of the pictures; a right chain reaches the band all the same.",
            oracles=draw_oracles,
            limits=DRAW_LIMITS,
        ),
    ),
)
