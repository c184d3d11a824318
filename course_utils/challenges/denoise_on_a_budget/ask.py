"""Challenge 02, Denoise on a budget: the best picture in eight calls of the network.

The network runs on our side, where its calls are counted. Part a puts a denoiser in its place that
is exact, for data whose probability-flow ODE is solved to the last digit, so that the error of a
sampler is known. Part b lets the judge look at pictures. Part c compares pictures with those that
many more calls would have reached from the same noise.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from course_utils.challenges import validation
from course_utils.challenges.declare import Band, Challenge, Limits, Measurement, Oracle, Part
from course_utils.challenges.denoise_on_a_budget import NUMBER, TITLE
from course_utils.challenges.network import (
    BACKGROUND_NAMES,
    GUIDANCE,
    Guided,
    captions_of,
    finished,
    latent_shape,
    pipeline,
    round_trip,
    scene,
)
from course_utils.evaluation import metrics
from course_utils.evaluation.measure import measure
from course_utils.schedules import NoiseSchedule

# --- thresholds; each was measured: challenges/02_denoise_on_a_budget/calibration.md --------------

TOY_BANDS = (Band(0.04, 4, "well placed"), Band(0.105, 2, "second order"), Band(0.2, 1, "DDIM"))
JUDGE_BANDS = (Band(0.85, 2, "as asked"), Band(0.5, 1, "nearly"))
FINISHED_BANDS = (Band(0.03, 4, "finished"), Band(0.1, 1, "near"))
PASS_POINTS = 8
COPIED_RMSE = 0.02
"""A picture this near to what the autoencoder makes of a training picture was encoded, not drawn:
the network knows these pictures well, and still comes no nearer than twice as far."""
MOST_COPIES = 0.5  # share of pictures that may be; the reference has at most 0.17 in 100 seeds
MOST_CLIPPED = 0.03  # share of channel values at 0 or 255 above that of the artists' pictures

# --- the sizes -----------------------------------------------------------------------------------

CALLS = 8  # of the network, in one call of `sample`
FINISHED_STEPS = 50  # of DPM-Solver++(2M), for the finished picture
TOY_PICTURES = 16  # of each schedule
PROMPTS, SEEDS = 6, 2  # of part b
COMPARED = 6  # pictures of part c
LIMITS = Limits(seconds=180.0, megabytes=1500, oracle_calls={"denoise": CALLS})

Array = np.ndarray[Any, Any]
Inputs = Sequence[Mapping[str, Any]]


# --- part a: data with an exact denoiser ---------------------------------------------------------


@functools.lru_cache
def tables() -> tuple[Array, ...]:
    """Alpha-bar of four schedules: the model's own, one that ends a little above 0, two others."""
    others = (NoiseSchedule.scaled_linear(), NoiseSchedule.linear(), NoiseSchedule.cosine())
    return tuple(each.alpha_bar.numpy() for each in (pipeline().schedule, *others))


def exact_inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    """One call for each schedule. Every number of a picture is drawn from one of two Gaussians.

    With one Gaussian the denoiser would be a straight line, which two questions give away.
    """
    found = []
    shape = latent_shape()
    size = int(np.prod(shape))
    for alpha_bar in tables():
        deviation = random.permutation(np.geomspace(0.3, 1.2, 2 * size)).reshape(2, *shape)
        apart = random.permutation(np.linspace(0.3, 1.2, size)).reshape(shape)
        middle = random.normal(0, 0.4, shape)
        found.append(
            {
                "x_T": random.standard_normal((TOY_PICTURES, *shape)).astype(np.float32),
                "alpha_bar": alpha_bar,
                "_mean": np.stack([middle - apart / 2, middle + apart / 2]),
                "_deviation": deviation,
                "_weight": random.uniform(0.25, 0.75, shape),
            }
        )
    return found


def _parts_at(given: Mapping[str, Any], alpha_bar: float) -> tuple[Array, Array, Array]:
    """Weights, means and variances of the two Gaussians at a noise level, `(2, 1, C, h, w)`."""
    weight = np.stack([given["_weight"], 1 - given["_weight"]])[:, None]
    variance = alpha_bar * given["_deviation"][:, None] ** 2 + 1 - alpha_bar
    return weight, alpha_bar**0.5 * given["_mean"][:, None], variance


def exact_x0(given: Mapping[str, Any], x_t: Array, t: int) -> Array:
    """E[x_0 | x_t]: what each Gaussian expects, weighted by how likely x_t comes from it."""
    alpha_bar = float(given["alpha_bar"][t])
    weight, mean, variance = _parts_at(given, alpha_bar)
    logits = np.log(weight / variance**0.5) - (x_t - mean) ** 2 / (2 * variance)
    share = np.exp(logits - logits.max(axis=0))
    share /= share.sum(axis=0)
    gain = alpha_bar**0.5 * given["_deviation"][:, None] ** 2 / variance
    found: Array = (share * (given["_mean"][:, None] + gain * (x_t - mean))).sum(axis=0)
    return found


def exact_end(given: Mapping[str, Any]) -> Array:
    """Where the probability-flow ODE leads from x_T.

    Its paths do not cross, so in one dimension the share of the distribution that lies below x_t
    stays what it was at the start: x_0 is the value that has the same share below it.
    """

    def below(x: Array, alpha_bar: float) -> Array:
        weight, mean, variance = _parts_at(given, alpha_bar)
        score = torch.from_numpy((x - mean) / variance**0.5)
        found: Array = (weight * torch.special.ndtr(score).numpy()).sum(axis=0)
        return found

    x_T = given["x_T"].astype(np.float64)
    share = below(x_T, float(given["alpha_bar"][-1]))
    low, high = np.full_like(x_T, -20.0), np.full_like(x_T, 20.0)
    for _ in range(60):
        middle = (low + high) / 2
        under = below(middle, 1.0) < share
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return (low + high) / 2


def exact_oracle(given: Mapping[str, Any]) -> Mapping[str, Oracle]:
    """`denoise` for these data."""

    def denoise(x_t: Any, t: Any) -> Array:
        x, time = validation.question(x_t, t, given)
        return exact_x0(given, x.astype(np.float64), time).astype(np.float32)

    return {"denoise": denoise}


def measure_exact(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part a: root mean square error against the exact solution, mean over the schedules."""
    errors = []
    for given, value in zip(inputs, outputs, strict=True):
        found = validation.latents("sample", value, given["x_T"].shape)
        errors.append(float(np.sqrt(np.mean((found - exact_end(given)) ** 2))))
    note = (
        f"It was {min(errors):.3g} for the best and {max(errors):.3g} for the worst of "
        f"{len(errors)} noise schedules."
    )
    details = {f"schedule {number}": error for number, error in enumerate(errors)}
    return Measurement(float(np.mean(errors)), (note,), details)


# --- parts b and c: pictures ---------------------------------------------------------------------


def picture_inputs(random: np.random.Generator, prompts: int, seeds: int) -> list[dict[str, Any]]:
    """One call: pairs that the model was trained on, all different, on backgrounds by chance."""
    every = scene().training
    pairs = every[torch.from_numpy(random.choice(len(every), prompts, replace=False))]
    asked = np.repeat(
        np.column_stack([pairs.numpy(), random.integers(len(BACKGROUND_NAMES), size=prompts)]),
        seeds,
        axis=0,
    )
    texts = captions_of(asked)
    x_T = random.standard_normal((len(texts), *latent_shape())).astype(np.float32)
    alpha_bar = pipeline().schedule.alpha_bar.numpy()
    hidden = {"_asked": asked, "_texts": texts, "_trace": []}  # what denoise is asked
    return [{"x_T": x_T, "alpha_bar": alpha_bar, **hidden}]


def judged_inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part b: several prompts, two pictures each."""
    return picture_inputs(random, PROMPTS, SEEDS)


def compared_inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part c: several prompts, one picture each."""
    return picture_inputs(random, COMPARED, 1)


def network_oracle(given: Mapping[str, Any]) -> Mapping[str, Oracle]:
    """`denoise` by the shipped network, with guidance, for the prompts that were asked."""
    guided = Guided(tuple(given["_texts"]))
    trace: list[dict[str, Any]] = given["_trace"]
    trace.clear()

    def denoise(x_t: Any, t: Any) -> Array:
        x, time = validation.question(x_t, t, given)
        trace.append({"used": x, "t": time})
        found: Array = guided.x0(torch.from_numpy(x), time).numpy()
        return found

    return {"denoise": denoise}


def measure_judged(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part b: the share of what the prompts ask for that is found in the pictures."""
    (given,), (value,) = inputs, outputs
    latents = validation.latents("sample", value, given["x_T"].shape)
    pixels = pipeline().decode(torch.from_numpy(latents))
    asked = torch.from_numpy(given["_asked"])
    measured = measure(scene(), pixels, asked)
    values = measured.values
    shares = {
        "object": float(values["object_top1"].float().mean()),
        "style": float(values["style"].float().mean()),
        "background": float(values["background"].float().mean()),
    }
    real = scene().render_pairs(asked[:, :2], asked[:, 2])
    saturation = float((values["saturation"] - metrics.saturation(real)).mean())
    clipped = float((values["clipped"] - metrics.clipped_share(real)).mean())
    diversity = float(metrics.pixel_diversity(pixels.unflatten(0, (-1, SEEDS))).mean())
    copied = scene().render_pairs(measured.nearest, measured.background)
    distance = metrics.rmse(pixels, round_trip(copied))
    copies = distance < COPIED_RMSE
    validation.refuse_copies(copies.tolist(), MOST_COPIES, "denoise")
    validation.refuse_sameness(diversity)
    validation.refuse_other_noise(given["x_T"], given["alpha_bar"], given["_trace"])
    validation.refuse_oversaturation(
        clipped,
        MOST_CLIPPED,
        "Blotches of pure colour come from too few calls, or from latents that are too large at "
        "the end.",
    )
    note = (
        f"Of {len(pixels)} pictures {shares['object']:.0%} show the right object, "
        f"{shares['style']:.0%} the right style, {shares['background']:.0%} the right background. "
        f"Against the artists' own pictures, saturation lies {saturation:+.2f} off, and the share "
        f"of values at the end of the scale {clipped:+.1%} (at most {MOST_CLIPPED:+.0%}); two "
        f"pictures of one prompt differ by {diversity:.2g} a pixel (at least "
        f"{validation.LEAST_DIVERSITY:g})."
    )
    more = {
        "saturation": saturation,
        "clipped": clipped,
        "diversity": diversity,
        "copies": float(copies.float().mean()),
        "nearest training picture": float(distance.min()),
    }
    return Measurement(float(np.mean(list(shares.values()))), (note,), {**shares, **more})


def measure_compared(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part c: RMSE of pixels against the pictures that many calls make, mean over pictures."""
    (given,), (value,) = inputs, outputs
    latents = validation.latents("sample", value, given["x_T"].shape)
    pixels = pipeline().decode(torch.from_numpy(latents))
    validation.refuse_other_noise(given["x_T"], given["alpha_bar"], given["_trace"])
    right = finished(tuple(given["_texts"]), given["x_T"].tobytes(), GUIDANCE, FINISHED_STEPS)
    errors = metrics.rmse(pixels, pipeline().decode(right))
    note = (
        f"Pixels go from -1 to 1; the finished pictures take {FINISHED_STEPS} calls from the same "
        f"x_T. The nearest picture has {float(errors.min()):.3f}, the farthest "
        f"{float(errors.max()):.3f}."
    )
    details = {"nearest": float(errors.min()), "farthest": float(errors.max())}
    return Measurement(float(errors.mean()), (note,), details)


# --- the challenge -------------------------------------------------------------------------------

CHALLENGE = Challenge(
    number=NUMBER,
    title=TITLE,
    answers=("sample",),
    setup="import math\n\nimport torch\nfrom torch import Tensor",
    withheld=("course_utils.samplers", "course_utils.schedules"),
    rests_on=("emoji-64", "judge"),
    pass_points=PASS_POINTS,
    minutes=75,
    parts=(
        Part(
            id="a",
            title="an exact denoiser",
            function="sample",
            inputs=exact_inputs,
            measure=measure_exact,
            bands=TOY_BANDS,
            quantity="root mean square error against the exact solution",
            better="less",
            advice="Plan with alpha_bar, not with t alone: schedules differ, and so do the "
            "timesteps that suit them. A step that uses the last two answers of denoise is of "
            "second order: read the line through them in the middle of the step ahead, with lambda "
            "as its clock. Lambda is log(alpha / sigma), half the log-SNR. Take care that the "
            "first step has no earlier answer, and that the last one ends at a clean picture. Then "
            "ask which timesteps leave the largest gap.",
            oracles=exact_oracle,
            limits=LIMITS,
        ),
        Part(
            id="b",
            title="pictures before the judge",
            function="sample",
            inputs=judged_inputs,
            measure=measure_judged,
            bands=JUDGE_BANDS,
            quantity="share of objects, styles and backgrounds that are as asked",
            better="more",
            advice="Start at t = 999 from x_T as it is, let the noise level fall with every call, "
            "and return the picture without noise. If pictures are pale or blotchy, compare "
            "the deviation of x_t after each step with what alpha_bar says it should be.",
            oracles=network_oracle,
            limits=LIMITS,
        ),
        Part(
            id="c",
            title="near the finished picture",
            function="sample",
            inputs=compared_inputs,
            measure=measure_compared,
            bands=FINISHED_BANDS,
            quantity="RMSE of pixels to the finished pictures",
            better="less",
            advice="Use all eight calls. What the last call returns is your picture: how far from "
            "finished is it if that call comes at t = 124, and if it comes at t = 20? Even steps "
            "in t are not even in noise level. Try even steps in log-SNR, or steps that get "
            "shorter towards the end.",
            oracles=network_oracle,
            limits=LIMITS,
        ),
    ),
)
