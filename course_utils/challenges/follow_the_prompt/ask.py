"""Challenge 05, Follow the prompt: orders in a customer's words become pictures.

Two functions are asked for: `write_prompt` says an order in words that the network knows, `draw`
combines its looks with the prompt, the negative prompt and no words. Part a reads the prompts.
Parts b and c draw them and let the judge look: orders that name all they want, and orders that
leave the style open but for one, the one that the network falls into by itself. Which style that is
lies in the noise, so those orders come with noise from which it draws the style ruled out.

The network and the encoder of texts run on our side. `draw` may ask for the prompt and the negative
prompt that `write_prompt` gave for the order, and for the empty one, so the words are chosen once
for an order, and what must not be there has to be avoided while drawing.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from course_utils.challenges import validation
from course_utils.challenges.declare import (
    Band,
    Challenge,
    FollowUp,
    Limits,
    Measurement,
    Oracle,
    Part,
)
from course_utils.challenges.follow_the_prompt import NUMBER, TITLE
from course_utils.challenges.follow_the_prompt.orders import (
    WORDS_BANDS,
    Order,
    leaves_open,
    measure_words,
    read_prompts,
    said,
    words_inputs,
)
from course_utils.challenges.follow_the_prompt.pictures import (
    MOST_CLIPPED,
    details,
    expected,
    look_at,
    share,
    told,
)
from course_utils.challenges.network import (
    BACKGROUND_NAMES,
    Guided,
    latent_shape,
    pipeline,
    scene,
)
from course_utils.data.captions import STYLES
from course_utils.samplers import sample

# --- thresholds; each was measured: challenges/05_follow_the_prompt/calibration.md ---------------

NAMED_BANDS = (Band(0.8, 3, "as ordered"), Band(0.7, 2, "nearly"), Band(0.6, 1, "in part"))
AVOIDED_BANDS = (Band(0.75, 5, "avoided"), Band(0.66, 3, "mostly"), Band(0.5, 1, "in part"))
PASS_POINTS = 7

# --- the sizes -----------------------------------------------------------------------------------

LOOKS = 16  # of the network, in one call of `draw`
NAMED_ORDERS, NAMED_SEEDS = 8, 2  # of part b
OPEN_SEEDS = 2  # of part c, for each thing of PULLED
DRAFTS, DRAFT_STEPS = 5, 6  # noises for each thing of PULLED that those of part c are taken from
WORDS_LIMITS = Limits(seconds=30.0, megabytes=1500)
DRAW_LIMITS = Limits(seconds=180.0, megabytes=1500, oracle_calls={"predict": LOOKS})

Array = np.ndarray[Any, Any]
Inputs = Sequence[Mapping[str, Any]]

PULL = "flat"  # the style that pictures get most often where none is named
PULLED = (  # things that get it in about half of the pictures or more
    "banana",
    "panda",
    "ghost",
    "turtle",
    "octopus",
    "frog",
    "cactus",
    "pizza",
    "red apple",
    "star",
    "crown",
)

# --- parts b and c: pictures ---------------------------------------------------------------------


def named_inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part b: pairs that the network was trained on, all different, on backgrounds by chance."""
    every = scene().training.tolist()
    pairs = [every[i] for i in random.choice(len(every), NAMED_ORDERS, replace=False)]
    return [
        said(Order(scene().names[c], STYLES[s], str(random.choice(BACKGROUND_NAMES))), random)
        for c, s in pairs
    ]


def open_inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    """Part c: things that get one style by themselves, on a background, in any style but that."""
    colours = [*random.permutation(BACKGROUND_NAMES), *random.choice(BACKGROUND_NAMES, 2)]
    return [
        said(Order(str(thing), background=str(colour), no_styles=(PULL,)), random)
        for thing, colour in zip(random.permutation(PULLED), colours, strict=False)
    ]


@functools.lru_cache(maxsize=64)
def _pull(order: Order, noise: bytes) -> tuple[float, ...]:
    """How sure the judge is of PULL in drafts from these noises, with no style named."""
    x_T = torch.from_numpy(np.frombuffer(noise, np.float32).copy()).view(-1, *latent_shape())
    texts = (f"a {order.thing}, on a {order.background} background",) * len(x_T)
    denoiser, schedule = Guided(texts, 1.0).output, pipeline().schedule
    pixels = pipeline().decode(sample(denoiser, x_T, schedule, num_steps=DRAFT_STEPS))
    thing = [scene().names.index(order.thing)] * len(x_T)
    scores = scene().judge.style_scores(pixels, thing)[:, STYLES.index(PULL)]
    return tuple(scores.tolist())


def pulled(orders: Inputs, noise: Array) -> Array:
    """Of each order's noises, those from which the network most surely draws PULL by itself.

    Args:
        orders: of part c.
        noise: (O, D, C, h, w), some for each order.

    Returns:
        (O * OPEN_SEEDS, C, h, w), those of each order side by side.
    """
    kept = []
    for given, each in zip(orders, noise, strict=True):
        scores = np.array(_pull(Order(**given["_order"]), each.tobytes()))
        kept.append(each[np.sort(np.argsort(-scores, kind="stable")[:OPEN_SEEDS])])
    return np.concatenate(kept)


def drawing(seeds: int, salt: int, drafts: int = 0) -> FollowUp:
    """The call of `draw` after `write_prompt` was called for every order.

    Args:
        seeds: pictures of each order.
        salt: tells the noise of one part from another's.
        drafts: if not 0, how many noises of each order `pulled` chooses from.
    """

    def inputs(orders: Inputs, written: Sequence[Any]) -> list[dict[str, Any]]:
        pairs = [pair for value in written for pair in [read_prompts(value)] * seeds]
        # Noise from the orders' own words: fresh with every seed, and the same again with it.
        words = "".join(word for given in orders for word in given["dictionary"])
        random = np.random.default_rng([salt, *words.encode()])
        shape = (len(orders), drafts or seeds, *latent_shape())
        noise = random.standard_normal(shape).astype(np.float32)
        x_T = pulled(orders, noise) if drafts else noise.reshape(-1, *latent_shape())
        return [
            {
                "x_T": x_T,
                "alpha_bar": pipeline().schedule.alpha_bar.numpy(),
                "prompts": [prompt for prompt, _ in pairs],
                "negative_prompts": [negative for _, negative in pairs],
                "_asked": [given["_order"] for given in orders for _ in range(seeds)],
                "_trace": [],  # what predict was asked and what it gave
            }
        ]

    return FollowUp("draw", inputs)


def predict_oracle(given: Mapping[str, Any]) -> Mapping[str, Oracle]:
    """`predict` for the prompts of these pictures; nothing for `write_prompt`."""
    if "x_T" not in given:
        return {}
    texts = {
        "prompt": given["prompts"],
        "negative": given["negative_prompts"],
        "empty": [""] * len(given["prompts"]),
    }
    trace: list[dict[str, Any]] = given.get("_trace", [])
    trace.clear()

    def predict(look: Any, x_t: Any, t: Any) -> Array:
        if look not in texts:
            raise ValueError(f"the look is {look!r}; expected 'prompt', 'negative' or 'empty'")
        x, time = validation.question(x_t, t, given, "look at what the guess gave before")
        found: Array = expected(texts[look], torch.from_numpy(x), time).numpy()
        trace.append({"used": x, "answer": found, "t": time})
        return found

    return {"predict": predict}


def measure_named(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part b: the share of things, styles and backgrounds that are as ordered."""
    seen = look_at(outputs[-1], inputs[-1], NAMED_SEEDS, "b")
    value = float(np.mean([share(x) for x in (seen.thing, seen.style, seen.background)]))
    return Measurement(value, (told(seen, "the right style", MOST_CLIPPED["b"]),), details(seen))


def measure_open(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part c: the share of pictures of the right thing and background, in a style allowed."""
    given = inputs[-1]
    seen = look_at(outputs[-1], given, OPEN_SEEDS, "c")
    left_open = torch.tensor(
        [
            leaves_open(Order(**asked), prompt, negative)
            for asked, prompt, negative in zip(
                given["_asked"], given["prompts"], given["negative_prompts"], strict=True
            )
        ]
    )
    good = seen.thing & seen.style & seen.background & left_open
    notes = [told(seen, "a style that is not ruled out", MOST_CLIPPED["c"])]
    if not bool(left_open.all()):
        notes.append(
            "The customer leaves the style open but for what is ruled out. The words for "
            f"{int((~left_open).sum())} pictures name another one, or hold words that no caption "
            "holds. Those pictures do not count."
        )
    return Measurement(share(good), tuple(notes), details(seen))


# --- the challenge -------------------------------------------------------------------------------

SETUP = '''import torch
from torch import Tensor


def carry(x_T, alpha_bar, guess, steps=8):
    """Carry noise to pictures: DPM-Solver++(2M), with steps that are even in log-SNR.

    Args:
        x_T: (N, 4, 8, 8), the pictures at the last timestep.
        alpha_bar: (1000,), share of the variance of x_t that is signal.
        guess: `guess(x_t, t, step)` gives the finished picture that you expect, (N, 4, 8, 8); t is
            the timestep, step counts from 0.
        steps: how often `guess` is asked. With 8, t is 999, 799, 683, 525, 337, 166, 61, 18.

    Returns:
        (N, 4, 8, 8): the last guess.
    """
    a = alpha_bar.double()
    marks = torch.linspace(-2, 2, steps - 1, dtype=torch.float64)
    clock = (a / (1 - a)).log() / 2
    timesteps = [len(a) - 1] + [int((clock - mark).abs().argmin()) for mark in marks]
    a = a[timesteps].clamp(min=2.0**-24)
    alpha, sigma = a.sqrt(), (1 - a).sqrt()
    lam = (alpha / sigma).log()
    x, before = x_T, None
    for i, t in enumerate(timesteps):
        x0 = guess(x, t, i)
        if i + 1 == len(timesteps):
            return x0
        h = lam[i + 1] - lam[i]
        ahead = x0
        if before is not None:
            ahead = x0 + (x0 - before) * float(h / (2 * (lam[i] - lam[i - 1])))
        x = x * float(sigma[i + 1] / sigma[i]) - ahead * float(alpha[i + 1] * torch.expm1(-h))
        before = x0'''

CHALLENGE = Challenge(
    number=NUMBER,
    title=TITLE,
    answers=("write-prompt", "draw"),
    setup=SETUP,
    withheld=(
        "course_utils.data",
        "course_utils.evaluation",
        "course_utils.guidance",
        "course_utils.models",
        "course_utils.pipeline",
    ),
    rests_on=("emoji-64", "judge"),
    pass_points=PASS_POINTS,
    minutes=90,
    parts=(
        Part(
            id="a",
            title="the words",
            function="write_prompt",
            inputs=words_inputs,
            measure=measure_words,
            bands=WORDS_BANDS,
            quantity="share of what the prompts have to say that they say",
            better="more",
            advice="Look up every entry of wants and without in the dictionary, as a whole; what "
            "does not stand there is not for the network. Say the thing, the style and the "
            "background as captions do, leave out what the customer leaves open, and put into the "
            "negative prompt what is ruled out, without a 'no'.",
            limits=WORDS_LIMITS,
        ),
        Part(
            id="b",
            title="orders that name everything",
            function="write_prompt",
            inputs=named_inputs,
            measure=measure_named,
            bands=NAMED_BANDS,
            quantity="share of things, styles and backgrounds that are as ordered",
            better="more",
            advice="The words do most of it here: a prompt in the form of the captions needs "
            "little guidance. If pictures are loud or broken, push less, and not to the end.",
            oracles=predict_oracle,
            limits=DRAW_LIMITS,
            then=(drawing(NAMED_SEEDS, 1),),
        ),
        Part(
            id="c",
            title="any style but this one",
            function="write_prompt",
            inputs=open_inputs,
            measure=measure_open,
            bands=AVOIDED_BANDS,
            quantity="share of pictures of the right thing and background in a style allowed",
            better="more",
            advice="At scale 1 a negative prompt does nothing. Ask what else differs between your "
            "two prompts: a push goes along all of the difference, so what both say cancels. Then "
            "ask at which steps the style is decided, push hard there, and leave the others alone. "
            "If the thing gets lost in some pictures and the style stays in others, look how large "
            "the difference is in each, and lead back to the prompt from the empty look.",
            oracles=predict_oracle,
            limits=DRAW_LIMITS,
            then=(drawing(OPEN_SEEDS, 2, DRAFTS),),
        ),
    ),
)
