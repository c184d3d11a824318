"""Tokenizer folders with tokens of their own: ids as transformers gives them, or a refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AddedToken, CLIPTokenizer

from course_utils.models import Tokenizer, WeightsError
from course_utils.models.tokenizer import END, START

TEXTS = [
    "a <cat-toy> on a table",
    "a <cat-toy>, red",
    "<cat-toy><cat-toy>x<cat-toy>",
    "a <CAT-TOY> and <Cat-Toy>",
    "<cat-toy",
    "  <cat-toy>\n",
    "Sks dog, sks dog, SKS DOGS",
    "two words TWO  WORDS two\nwords",
    "<style> <style>s <styles> <STYLE>",
    "<style-long> <style-lon",
    "Éa E\u0301a éa",
    "",
    "a cat face, 3d style",
    "<|startoftext|> a <|ENDOFTEXT|> b<|endoftext|>c",
    "ΟΔΟΣ ΣΑΣ <cat-toy>ΟΔΟΣ",
]


@pytest.fixture
def base() -> Tokenizer:
    return Tokenizer.train(["a cat face, 3d style, dogs on a table"] * 3, 540, model_max_length=24)


@pytest.fixture
def folder(base: Tokenizer, tmp_path: Path) -> Path:
    base.save_pretrained(tmp_path)
    return tmp_path


def same_ids(folder: Path) -> Tokenizer:
    """Both libraries read the folder and give the same ids; returns ours."""
    ours, theirs = Tokenizer.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"], (text, ours.tokenize(text))
        row = theirs(text, padding="max_length", truncation=True)["input_ids"]
        assert ours(text)[0].tolist() == row
    assert len(ours) == len(theirs)
    return ours


def configure(folder: Path, **fields: Any) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def entry(content: str, **flags: Any) -> dict[str, Any]:
    plain = {"lstrip": False, "rstrip": False, "single_word": False}
    return {"content": content, "normalized": True, "special": False} | plain | flags


def test_what_transformers_adds_and_saves(folder: Path, tmp_path: Path) -> None:
    theirs = CLIPTokenizer.from_pretrained(folder)
    theirs.add_tokens(["<cat-toy>", "Sks", "two words", "<style>", "<style-long>"])
    theirs.add_tokens([AddedToken("Éa", normalized=False)])
    theirs.save_pretrained(tmp_path / "saved")
    ours = same_ids(tmp_path / "saved")
    assert ours.highest_id == len(theirs) - 1

    assert ours.decode(ours.encode("a <cat-toy> and Two  words")) == "a <cat-toy> and two words"
    ours.save_pretrained(tmp_path / "again")
    again = same_ids(tmp_path / "again")
    assert [again.encode(text) for text in TEXTS] == [ours.encode(text) for text in TEXTS]


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("special", [True, False])
def test_added_tokens_decoder(
    base: Tokenizer, folder: Path, normalized: bool, special: bool
) -> None:
    n = len(base)
    flags = {"normalized": normalized, "special": special}
    words = ["<cat-toy>", "Sks", "two words", "<style>", "<style-long>"]
    added = {str(n + i): entry(word, **flags) for i, word in enumerate(words)}
    marks = {
        str(base.bos_token_id): entry(START, special=True),
        str(base.eos_token_id): entry(END, special=True),
    }
    configure(folder, added_tokens_decoder=marks | added)
    assert n + 1 in same_ids(folder).encode("a Sks dog")
    configure(folder, added_tokens_decoder=added)
    same_ids(folder)


@pytest.mark.parametrize("names", ["", "extra_special_tokens", "additional_special_tokens"])
def test_added_tokens_json(base: Tokenizer, folder: Path, names: str) -> None:
    """What transformers wrote before version 4.34, and many textual inversions still have."""
    n = len(base)
    words = {"<cat-toy>": n, "Sks": n + 1, "<style>": n + 2}
    (folder / "added_tokens.json").write_text(json.dumps(words))
    if names:
        (folder / "special_tokens_map.json").write_text(json.dumps({names: ["<cat-toy>", "Sks"]}))
    ours = same_ids(folder)
    assert ours.encode("<cat-toy>") == [ours.bos_token_id, n, ours.eos_token_id]


@pytest.mark.parametrize("names", [("bos_token",), ("eos_token",), ("bos_token", "pad_token")])
def test_how_start_and_end_are_looked_for(folder: Path, names: tuple[str, ...]) -> None:
    """Stable Diffusion 1.x's own files say that some are looked for in lower case."""
    marks = {name: entry(START if name == "bos_token" else END) for name in names}
    configure(folder, **{name: mark | {"__type": "AddedToken"} for name, mark in marks.items()})
    same_ids(folder)
    for mark in marks.values():
        del mark["special"]
    (folder / "special_tokens_map.json").write_text(json.dumps(marks))
    same_ids(folder)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"added_tokens_decoder": {"9000": entry("<cat-toy>")}}, "id 9000, where transformers"),
        ({"added_tokens_decoder": {"3": entry("<cat-toy>")}}, "id 3, where transformers"),
        ({"added_tokens_decoder": {"3": entry(END)}}, "id 3, where transformers"),
        ({"added_tokens_decoder": {"x": entry("<cat-toy>")}}, 'the id "x"; expected'),
        ({"added_tokens_decoder": {"540": "<cat-toy>"}}, "expected a text"),
        ({"added_tokens_decoder": {"540": entry("")}}, "expected a text"),
        ({"added_tokens_decoder": [3]}, r"added_tokens_decoder in .* is \[3\]"),
        ({"added_tokens_decoder": {"540": entry("sks", single_word=True)}}, "single_word"),
        ({"additional_special_tokens": ["<new>"]}, "'<new>' without an id"),
        ({"pad_token": "!"}, r"pad_token in .*config\.json is '!'; expected '<\|endoftext"),
        ({"bos_token": {"content": "<s>"}}, "bos_token in .* is '<s>'"),
        ({"model_max_length": "77"}, "model_max_length in .* is '77'; expected a whole number"),
        ({"model_max_length": True}, "model_max_length in .* is True"),
        ({"model_max_length": [77]}, "model_max_length"),
        ({"model_max_length": 0}, "model_max_length in .* is 0"),
        ({"model_max_length": -1}, "model_max_length in .* is -1"),
        ({"model_max_length": 7.5}, "model_max_length in .* is 7.5"),
        ({"model_max_length": float("nan")}, "model_max_length in .* is nan"),
    ],
)
def test_refused(folder: Path, fields: dict[str, Any], words: str) -> None:
    configure(folder, **fields)
    with pytest.raises(WeightsError, match=words):
        Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize("length", [None, 10**30, 1e30, float("inf")])
def test_an_open_length_is_clips(folder: Path, length: Any) -> None:
    configure(folder, model_max_length=length)
    assert Tokenizer.from_pretrained(folder).model_max_length == 77


@pytest.mark.parametrize("value", ["7", None, -1, 1.5, True, [1]])
def test_an_id_that_is_no_number(folder: Path, value: Any) -> None:
    vocab = json.loads((folder / "vocab.json").read_text()) | {"cat</w>": value}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    with pytest.raises(WeightsError, match=r"gives 'cat</w>' the id .*; expected a whole number"):
        Tokenizer.from_pretrained(folder)
