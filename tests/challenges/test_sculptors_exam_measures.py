"""Challenge 06 measures what it says: tokenizers, closed forms, where latents come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from course_utils.challenges.calibrate import SeeingCaller
from course_utils.challenges.declare import Refused
from course_utils.challenges.network import pipeline, scene
from course_utils.challenges.sculptors_exam import contestants as known
from course_utils.challenges.sculptors_exam import pieces as pieces_module
from course_utils.challenges.sculptors_exam.ask import CHALLENGE
from course_utils.challenges.sculptors_exam.chain import (
    draw_oracles,
    drawn_pictures,
    example,
    gallery,
    held_out,
    share_from_elsewhere,
)
from course_utils.grading.answers.callers import InKernel
from course_utils.grading.answers.verify import generator, verify_part, visible
from course_utils.models.tokenizer import Tokenizer

PARTS = {part.id: part for part in CHALLENGE.parts}
WANTED = [("pizza", "flat", "blue"), ("owl", "noto", "red")]


# --- part a --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_right_ids_are_those_of_transformers(seed: int, tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    for number, given in enumerate(PARTS["a"].inputs(np.random.default_rng(seed))):
        pairs = [(a, b) for a, b in given["merges"]]
        folder = tmp_path / str(number)
        Tokenizer(given["vocab"], pairs, given["max_length"]).save_pretrained(folder)
        theirs = CLIPTokenizer.from_pretrained(folder)
        ids = theirs(
            [" ".join(words) for words in given["prompts"]],
            padding="max_length",
            truncation=True,
            max_length=given["max_length"],
        )["input_ids"]
        assert np.array_equal(pieces_module.right_ids(given), ids)


@pytest.mark.parametrize("seed", range(3))
def test_prompts_are_of_all_lengths(seed: int) -> None:
    for given in PARTS["a"].inputs(np.random.default_rng(seed)):
        end = given["vocab"]["<|endoftext|>"]
        used = (pieces_module.right_ids(given) != end).sum(axis=1)
        length = given["max_length"]
        assert [] in given["prompts"] and used.min() == 1
        assert (used == length - 1).sum() >= 3  # two that fill the row, and what is cut
        tokenizer = Tokenizer(given["vocab"], [(a, b) for a, b in given["merges"]])
        words = [sum(len(tokenizer.merge(w)) for w in words) for words in given["prompts"]]
        assert max(words) > length - 2 and words.count(length - 2) >= 2
        assert all(word.isascii() for words in given["prompts"] for word in words)


TOKENS = {
    "right": (known.token_ids, 1.0, 1.0),
    "not cut": (known.ids_by(known.merged, cut=False), 0.5, 0.8),
    "joined from the left": (known.ids_by(known.from_the_left), 0.0, 0.69),
    "letters": (known.ids_by(known.letters), 0.0, 0.3),
}


@pytest.mark.parametrize(("answer", "least", "most"), TOKENS.values(), ids=list(TOKENS))
def test_ids_that_people_write(answer: Any, least: float, most: float) -> None:
    for seed in range(5):
        inputs = PARTS["a"].inputs(np.random.default_rng(seed))
        found = PARTS["a"].measure(inputs, [answer(**given).numpy() for given in inputs])
        assert least <= found.value <= most and bool(found.notes) == (most < 1)


# --- parts b and c -------------------------------------------------------------------------------


def test_the_step_is_that_of_diffusers() -> None:
    from diffusers import DDIMScheduler

    schedule = pipeline().schedule
    theirs = DDIMScheduler.from_config(schedule.to_config("DDIMScheduler"))
    theirs.set_timesteps(10)
    generator = torch.Generator().manual_seed(0)
    x_t, v = torch.randn(2, 2, 4, 8, 8, generator=generator)
    times = [999 - 100 * i for i in range(10)]
    assert theirs.timesteps.tolist() == times
    levels = [float(schedule.alpha_bar[t]) for t in times] + [1.0]
    for t, now, after in zip(times, levels, levels[1:], strict=False):
        given = {
            "v": v.numpy(), "x_t": x_t.numpy(), "alpha_bar_t": now, "alpha_bar_next": after,
        }  # fmt: skip
        expected = theirs.step(v, t, x_t)
        x0 = expected.pred_original_sample.numpy()
        np.testing.assert_allclose(pieces_module.right_parts(given)[0], x0, rtol=0, atol=5e-6)
        x_next = expected.prev_sample.numpy()
        np.testing.assert_allclose(pieces_module.right_step(given), x_next, rtol=0, atol=5e-6)


def pieces(functions: Any) -> tuple[list[Any], list[Any]]:
    first = PARTS["b"].inputs(np.random.default_rng(1))
    inputs = [*first, *PARTS["b"].then[0].inputs(first, [])]
    outputs = []
    for given in inputs:
        name = "step" if "alpha_bar_next" in given else "from_v"
        tensors = {k: torch.from_numpy(v) if k in ("v", "x_t") else v for k, v in given.items()}
        value = functions[name](**tensors)
        outputs.append([p.numpy() for p in value] if name == "from_v" else value.numpy())
    return inputs, outputs


def test_the_reference_is_exact_and_errors_cost_points() -> None:
    inputs, outputs = pieces(known.chain())
    assert PARTS["b"].measure(inputs, outputs).value < 2e-6
    points = []
    for size in (0.0, 1e-5, 1e-4, 1e-3, 1e-2):
        off = [np.asarray(value) * (1 + size) for value in outputs]
        off = [v if "alpha_bar_next" in g else list(v) for g, v in zip(inputs, off, strict=True)]
        band = PARTS["b"].band(PARTS["b"].measure(inputs, off).value)
        points.append(band.points if band else 0.0)
    assert points == sorted(points, reverse=True) and points[0] == 1 and points[-1] == 0


@pytest.mark.parametrize("number", range(len(pieces_module.V_MISTAKES)))
def test_mistakes_with_v_are_named(number: int) -> None:
    mistake, sentence = pieces_module.V_MISTAKES[number]
    inputs, outputs = pieces(known.chain())
    outputs = [
        [part.astype(np.float32) for part in mistake(g)] if "alpha_bar_next" not in g else v
        for g, v in zip(inputs, outputs, strict=True)
    ]
    found = PARTS["b"].measure(inputs, outputs)
    assert PARTS["b"].band(found.value) is None
    assert any(sentence in note for note in found.notes), found


def test_guidance_is_off_at_1_and_mistakes_are_named() -> None:
    inputs = PARTS["c"].inputs(np.random.default_rng(0))
    assert inputs[0]["guidance_scale"] == 1

    def note_of(answer: Any) -> str:
        values = [
            answer(g["with_prompt"], g["without"], g["guidance_scale"]).astype(np.float32)
            for g in inputs
        ]
        return " ".join(PARTS["c"].measure(inputs, values).notes)

    assert note_of(lambda a, b, w: b + w * (a - b)) == ""
    assert "0 is off" in note_of(lambda a, b, w: a + w * (a - b))
    assert "swapped" in note_of(lambda a, b, w: a + w * (b - a))
    assert "comes back as it is" in note_of(lambda a, b, w: a)


# --- pictures ------------------------------------------------------------------------------------


def test_orders_are_fresh_and_hide_what_is_asked() -> None:
    for id in "def":
        both = [PARTS[id].inputs(np.random.default_rng(seed)) for seed in (0, 1)]
        for first, second in zip(*both, strict=True):
            assert first["prompts"] != second["prompts"]
            assert not np.array_equal(first["x_T"], second["x_T"])
            assert not {"asked", "texts", "trace"} & set(visible(first))
            assert len(first["prompts"]) == len(first["x_T"]) and first["alpha_bar"][-1] == 0
    unseen = set(held_out())
    for id in "def":
        orders = PARTS[id].inputs(np.random.default_rng(3))
        pairs = {(c, s) for given in orders for c, s, _ in given["_asked"].tolist()}
        assert pairs == unseen if id == "f" else not pairs & unseen
    scales = [given["guidance_scale"] for given in PARTS["d"].inputs(np.random.default_rng(3))]
    assert scales[0] < 0.7 and scales[1] >= 3


def test_held_out_pairs_are_those_of_the_model_card() -> None:
    names = gallery().names
    assert ("frog", 2) in {(names[c], s) for c, s in held_out()}
    assert len(held_out()) == 8
    assert len(gallery().training) == len(scene().training) + 8


def called(draw: Any) -> tuple[dict[str, Any], Any]:
    given = example(WANTED)
    outcome = InKernel({"draw": draw}).call(
        "draw", visible(given), draw_oracles(given), PARTS["d"].limits
    )
    assert outcome.status == "value", outcome
    return given, outcome.value


def test_a_chain_holds_nothing_foreign() -> None:
    given, value = called(known.chain(calls=3)["draw"])
    assert share_from_elsewhere(given) < 1e-4
    assert torch.equal(drawn_pictures(given, value), torch.from_numpy(value))


def test_fresh_noise_and_clipping_are_foreign() -> None:
    given, value = called(known.chain(calls=3)["draw"])
    last = given["_trace"][-1]
    clean = last["z"].copy()
    noise = np.random.default_rng(1).standard_normal(clean.shape).astype(np.float32)
    for spoiled, least in ((clean.clip(-1, 1), 0.05), (clean + 0.1 * noise, 0.03)):
        last["z"] = spoiled
        assert share_from_elsewhere(given) > least
        with pytest.raises(Refused, match="neither x_T nor an answer"):
            PARTS["d"].measure([given], [value])
    last["z"] = clean.astype(np.float16).astype(np.float32)
    assert share_from_elsewhere(given) < 2e-3


def test_pictures_that_decode_did_not_make_are_refused() -> None:
    given, value = called(known.noise()["draw"])
    drawn_pictures(given, value + 1e-4)
    for other in (value + 0.01, value[::-1].copy(), (value + 1) / 2):
        with pytest.raises(Refused, match="not what decode gave"):
            drawn_pictures(given, other)
    with pytest.raises(Refused, match="NaN"):
        drawn_pictures(given, value * np.nan)


NOT_THE_SAME = {
    "guidance where 0 is off": known.chain(mix=known.guide_of_ho),
    "no guidance": known.chain(mix=known.without_guidance),
    "x_T ignored": known.chain(start=0.0),
}


@pytest.mark.parametrize("functions", NOT_THE_SAME.values(), ids=list(NOT_THE_SAME))
def test_chains_that_only_the_quiet_scale_tells_apart(functions: Any) -> None:
    found = verify_part(PARTS["d"], SeeingCaller(functions), generator("a test", "d"))
    assert found.points == 0 and found.details["quiet"] > 2 * found.details["loud"]
    note = "first call of predict" if functions is NOT_THE_SAME["x_T ignored"] else "below 1"
    assert any(note in each for each in found.notes), found


@pytest.mark.parametrize("id", "def")
def test_the_artists_pictures_are_refused(id: str) -> None:
    found = verify_part(PARTS[id], SeeingCaller(known.real()), generator("a test", id))
    assert found.points == 0
    assert found.verdict == ("tampered" if id == "f" else "wrong")
    assert ("are copies" if id == "f" else "neither x_T") in found.message


def test_pictures_without_decode_are_refused() -> None:
    given = example(WANTED)
    draw_oracles(given)
    with pytest.raises(Refused, match="decode was not called"):
        drawn_pictures(given, np.zeros((2, 3, 64, 64), np.float32))


ASKED = {
    "ids of another length": ("encode_text", (np.zeros((1, 7), np.int64),), "ids has shape"),
    "ids that are none": ("encode_text", (np.full((1, 32), 5000),), "ids goes from 5000"),
    "texts": ("encode_text", (["a cat"],), "expected an int64 tensor"),
    "one picture": (
        "predict",
        (np.zeros((1, 4, 8, 8), np.float32), 5, np.zeros((1, 32, 256), np.float32)),
        "x_t has shape",
    ),
    "too few states": (
        "predict",
        (np.zeros((4, 4, 8, 8), np.float32), 5, np.zeros((2, 32, 256), np.float32)),
        "text_states has shape",
    ),
    "two timesteps": (
        "predict",
        (
            np.zeros((2, 4, 8, 8), np.float32),
            np.array([1, 2]),
            np.zeros((2, 32, 256), np.float32),
        ),
        "expected one whole number",
    ),
    "huge latents": ("decode", (np.full((2, 4, 8, 8), 1e6),), "goes up to"),
}


@pytest.mark.parametrize(("name", "args", "words"), ASKED.values(), ids=list(ASKED))
def test_networks_say_what_they_expect(name: str, args: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw_oracles(example(WANTED))[name](*args)
