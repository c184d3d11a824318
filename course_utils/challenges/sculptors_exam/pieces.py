"""Challenge 06, parts a to c: words to ids, from v to the next x_t, guidance.

Each has a closed form. Where an answer differs from it as people's answers do, the note says how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np

from course_utils.challenges import validation
from course_utils.challenges.declare import Band, Measurement, Refused
from course_utils.challenges.network import BACKGROUND_NAMES, latent_shape, pipeline, scene
from course_utils.data.captions import STYLES, random_caption
from course_utils.models.tokenizer import END, START, Tokenizer, split_words

TOKEN_BANDS = (Band(1.0, 1, "exact"), Band(0.7, 0.5, "mostly"))
STEP_BANDS = (Band(1e-5, 1, "exact"), Band(1e-3, 0.5, "close"))
GUIDANCE_BANDS = (Band(1e-4, 1, "exact"), Band(1e-2, 0.5, "close"))

Array = np.ndarray[Any, Any]
Inputs = Sequence[Mapping[str, Any]]


# --- part a: words to ids ------------------------------------------------------------------------


def token_inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    """Two calls: with the model's vocabulary, and with one that was made a moment ago."""
    rng = Random(int(random.integers(2**31)))
    return [_order(rng, pipeline().tokenizer), _order(rng, _new_tokenizer(rng))]


def _captions(rng: Random, count: int) -> list[str]:
    concepts = scene().data.concepts
    return [
        random_caption(rng.choice(concepts), rng.choice(STYLES), rng.choice(BACKGROUND_NAMES), rng)
        for _ in range(count)
    ]


def _new_tokenizer(rng: Random) -> Tokenizer:
    """Merges learned from other captions, ids in another order, rows of another length."""
    learned = Tokenizer.train(_captions(rng, 300), vocab_size=rng.randrange(680, 840))
    ids = rng.sample(range(len(learned)), len(learned))
    vocab = dict(zip(learned.vocab, ids, strict=True))
    return Tokenizer(vocab, learned.merges, rng.randrange(12, 21))


def _order(rng: Random, tokenizer: Tokenizer) -> dict[str, Any]:
    """Prompts of all lengths: none, some that fill a row to the last place, some that don't fit."""
    known = sorted({word for text in _captions(rng, 60) for word in split_words(text)})
    letters = [word for word in known if word.isascii() and word.isalpha() and len(word) > 3]

    def word() -> str:
        kind = rng.random()
        if kind < 0.4:
            return rng.choice(known)
        if kind < 0.9:  # half of one word and half of another: known pieces in a new order
            a, b = rng.sample(letters, 2)
            return a[: rng.randrange(1, len(a))] + b[rng.randrange(len(b) - 1) :]
        if kind < 0.95:
            return rng.choice("abcdefghijklmnopqrstuvwxyz") * rng.randrange(1, 6)
        return rng.choice([",", ".", "!?", "...", "-", "3", "7"])

    room = tokenizer.model_max_length - 2
    prompts: list[list[str]] = [[]]
    for target in (3, 5, 8, room, room, room + 1, room + 6):
        words: list[str] = []
        while (used := sum(len(tokenizer.merge(w)) for w in words)) < target:
            following = word()
            if target <= room < used + len(tokenizer.merge(following)):
                following = rng.choice("abcdefghijklmnopqrstuvwxyz")  # one token
            words.append(following)
        prompts.append(words)
    return {
        "prompts": rng.sample(prompts, len(prompts)),
        "vocab": tokenizer.vocab,
        "merges": [list(pair) for pair in tokenizer.merges],
        "max_length": tokenizer.model_max_length,
    }


def right_ids(given: Mapping[str, Any]) -> Array:
    """(N, L) int64: what CLIP's tokenizer gives."""
    tokenizer = Tokenizer(given["vocab"], [(a, b) for a, b in given["merges"]], given["max_length"])
    rows = []
    for words in given["prompts"]:
        tokens = [token for word in words for token in tokenizer.merge(word)]
        tokens = [START, *tokens[: given["max_length"] - 2], END]
        tokens += [END] * (given["max_length"] - len(tokens))
        rows.append([tokenizer.vocab[token] for token in tokens])
    return np.array(rows, dtype=np.int64)


def measure_tokens(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part a: share of prompts whose row of ids is right."""
    right: list[bool] = []
    notes: list[str] = []
    for given, value in zip(inputs, outputs, strict=True):
        expected = right_ids(given)
        found = _whole_numbers(value, expected.shape)
        same = (found == expected).all(axis=1)
        right += same.tolist()
        if not same.all() and not notes:
            row = int(same.argmin())
            notes.append(_first_wrong(given, found[row], expected[row], given["prompts"][row]))
    return Measurement(float(np.mean(right)), tuple(notes))


def _first_wrong(given: Mapping[str, Any], found: Array, right: Array, words: list[str]) -> str:
    """Where a row goes wrong, in words."""
    names = {i: token for token, i in given["vocab"].items()}
    start, end = given["vocab"][START], given["vocab"][END]
    place = int((found != right).argmax())
    text = " ".join(words)
    if int(found[0]) != start:
        return f"A row begins with id {found[0]}; expected that of {START}, which is {start} here."
    length = int((right == end).argmax())
    if place >= length:
        what = names.get(int(found[place]), "no token of the vocabulary")
        where = "ends the prompt" if place == length else "fills the row after the prompt"
        return (
            f"For {text!r}, place {place} of {len(right)} holds {what!r}; {END} {where} there. "
            "A prompt that is too long is cut, so that its last id is the end token."
        )
    got = [names.get(int(i), "?") for i in found[1 : length + 3]]
    want = [names[int(i)] for i in right[1:length]]
    first = max(0, place - 2)
    return (
        f"For {text!r}, token {place} is the first that differs: expected "
        f"{' | '.join(want[first : place + 3])}, got {' | '.join(got[first : place + 3])}."
    )


def _whole_numbers(value: Any, shape: tuple[int, ...]) -> Array:
    if not isinstance(value, np.ndarray):
        raise Refused(
            f"token_ids gives {validation.kind(value)}; expected an int64 tensor of shape {shape}."
        )
    if value.dtype.kind != "i":
        raise Refused(f"token_ids gives a tensor of {value.dtype}; expected int64.")
    if value.shape != shape:
        raise Refused(
            f"token_ids gives shape {value.shape}; expected {shape}, a row of max_length ids for "
            "each prompt."
        )
    return value


# --- part b: from v to the next x_t --------------------------------------------------------------


def v_inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    """Calls of `from_v`: some levels of the model's table, its two ends among them."""
    found = []
    table = pipeline().schedule.alpha_bar.numpy()
    for t in (999, 0, *random.integers(1, 999, 4).tolist()):
        shape = (int(random.integers(1, 4)), *latent_shape())
        found.append(
            {
                "v": random.standard_normal(shape).astype(np.float32),
                "x_t": random.standard_normal(shape).astype(np.float32),
                "alpha_bar_t": float(table[t]),
            }
        )
    return found


def step_inputs(inputs: Inputs, outputs: Sequence[Any]) -> list[dict[str, Any]]:
    """Calls of `step` from the same levels to cleaner ones, the clean picture among them."""
    return [
        {**given, "alpha_bar_next": to}
        for given in inputs
        for to in (1.0, (1 + 3 * given["alpha_bar_t"]) / 4)
    ]


def right_parts(given: Mapping[str, Any]) -> tuple[Array, Array]:
    """x_0 and epsilon, in float64 (Salimans and Ho 2022, appendix D)."""
    v, x_t = given["v"].astype(np.float64), given["x_t"].astype(np.float64)
    alpha, sigma = given["alpha_bar_t"] ** 0.5, (1 - given["alpha_bar_t"]) ** 0.5
    return alpha * x_t - sigma * v, sigma * x_t + alpha * v


def right_step(given: Mapping[str, Any]) -> Array:
    """DDIM without fresh noise, in float64 (Song et al. 2021, equation 12)."""
    x0, epsilon = right_parts(given)
    after = given["alpha_bar_next"]
    found: Array = after**0.5 * x0 + (1 - after) ** 0.5 * epsilon
    return found


def _sizes(given: Mapping[str, Any]) -> tuple[Array, Array, float]:
    return given["v"].astype(np.float64), given["x_t"].astype(np.float64), given["alpha_bar_t"]


def _v_as_epsilon(given: Mapping[str, Any]) -> tuple[Array, Array]:
    v, x, a = _sizes(given)
    return (x - (1 - a) ** 0.5 * v) / max(a, 1e-12) ** 0.5, v


def _other_sign(given: Mapping[str, Any]) -> tuple[Array, Array]:
    v, x, a = _sizes(given)
    return a**0.5 * x + (1 - a) ** 0.5 * v, (1 - a) ** 0.5 * x - a**0.5 * v


def _without_roots(given: Mapping[str, Any]) -> tuple[Array, Array]:
    v, x, a = _sizes(given)
    return a * x - (1 - a) * v, (1 - a) * x + a * v


def _swapped(given: Mapping[str, Any]) -> tuple[Array, Array]:
    x0, epsilon = right_parts(given)
    return epsilon, x0


V_MISTAKES: tuple[tuple[Callable[[Mapping[str, Any]], tuple[Array, Array]], str], ...] = (
    (_v_as_epsilon, "v is taken for the noise. It is alpha * epsilon - sigma * x0."),
    (_other_sign, "A sign is wrong: solve the two equations for x_t and v once more."),
    (
        _without_roots,
        "alpha_bar is a share of the variance: the weights are its root and that of the rest.",
    ),
    (_swapped, "The two are swapped: x0 comes first, then epsilon."),
)
"""(what people write, how it differs)"""


def measure_step(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part b: the largest error of x0, epsilon and the next x_t."""
    notes: list[str] = []
    first = [i for i, given in enumerate(inputs) if "alpha_bar_next" not in given]
    found_parts = [_two_tensors(outputs[i], inputs[i]["v"].shape) for i in first]
    right = [right_parts(inputs[i]) for i in first]
    v_errors = [_error(f, r) for pair, want in zip(found_parts, right, strict=True)
                for f, r in zip(pair, want, strict=True)]  # fmt: skip
    if max(v_errors) > STEP_BANDS[0].limit:
        for mistake, sentence in V_MISTAKES:
            taken = [mistake(inputs[i]) for i in first]
            pairs = zip(found_parts[1:], taken[1:], strict=True)  # at the first one alpha is 0
            if all(
                _error(f, m) < 1e-3 for got, made in pairs for f, m in zip(got, made, strict=True)
            ):
                notes.append(f"from_v: {sentence}")
                break
        else:
            notes.append(f"from_v is off by {max(v_errors):.3g}.")
    step_errors = []
    for i in range(len(first), len(inputs)):
        found = _tensor("step", outputs[i], inputs[i]["v"].shape)
        step_errors.append(_error(found, right_step(inputs[i])))
    if max(step_errors) > STEP_BANDS[0].limit:
        worst = int(np.argmax(step_errors))
        given = inputs[len(first) + worst]
        notes.append(
            f"step is off by {step_errors[worst]:.3g} from alpha-bar {given['alpha_bar_t']:.3g} "
            f"to {given['alpha_bar_next']:.3g}."
        )
    details = {"from_v": max(v_errors), "step": max(step_errors)}
    return Measurement(max(v_errors + step_errors), tuple(notes), details)


def _error(found: Array, right: Array) -> float:
    return float(np.abs(found.astype(np.float64) - right).max())


def _two_tensors(value: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise Refused(
            f"from_v gives {validation.kind(value)}; expected two tensors, (x0, epsilon)."
        )
    return _tensor("from_v", value[0], shape), _tensor("from_v", value[1], shape)


# --- part c: guidance ----------------------------------------------------------------------------


def guidance_inputs(random: np.random.Generator) -> list[dict[str, Any]]:
    """Scale 1, which is off, scale 0, and some others."""
    shape = (2, *latent_shape())
    return [
        {
            "with_prompt": random.standard_normal(shape).astype(np.float32),
            "without": random.standard_normal(shape).astype(np.float32),
            "guidance_scale": float(scale),
        }
        for scale in (1.0, 0.0, *random.uniform(1.5, 9.0, 3))
    ]


def _guided(given: Mapping[str, Any], shift: float = 0.0, swap: bool = False) -> Array:
    a, b = given["without"].astype(np.float64), given["with_prompt"].astype(np.float64)
    if swap:
        a, b = b, a
    found: Array = a + (given["guidance_scale"] + shift) * (b - a)
    return found


def measure_guidance(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """Part c: the largest error of the guided prediction."""
    found = [_tensor("guide", v, g["without"].shape) for g, v in zip(inputs, outputs, strict=True)]
    errors = [_error(f, _guided(g)) for f, g in zip(found, inputs, strict=True)]
    notes: list[str] = []
    if max(errors) > GUIDANCE_BANDS[0].limit:
        every = list(zip(found, inputs, strict=True))
        if all(_error(f, _guided(g, shift=1)) < 1e-3 for f, g in every):
            notes.append(
                "It is one too loud: that is the convention of Ho and Salimans, where 0 is off. "
                "In the one asked for 1 is off and 0 ignores the prompt."
            )
        elif all(_error(f, _guided(g, swap=True)) < 1e-3 for f, g in every):
            notes.append("The two predictions are swapped: it moves away from the prompt.")
        elif all(_error(f, g["with_prompt"]) < 1e-3 for f, g in every):
            notes.append("The prediction with the prompt comes back as it is, at every scale.")
    return Measurement(max(errors), tuple(notes))


def _tensor(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    hint = "alpha_bar may be exactly 0 or 1; look for a division by it, or by its root"
    return validation.tensor(name, value, shape, nan_hint=hint)
