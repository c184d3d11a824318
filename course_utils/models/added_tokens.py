"""Tokens that were added to a tokenizer after its vocabulary was learned, such as `<cat-toy>`.

They are found in the text before it is split into words. The files are those of transformers:
`added_tokens_decoder` in `tokenizer_config.json`, else `added_tokens.json` and the `added_tokens`
of `tokenizer.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils.models.weight_files import WeightsError, read_json

START, END = "<|startoftext|>", "<|endoftext|>"
# CLIP's names for its marks, in the order in which transformers takes them.
NAMED = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}


@dataclass(frozen=True)
class AddedToken:
    """A token that is never split.

    Args:
        id: its row in the embedding.
        normalized: whether it is looked for in the lower-cased text, else in the text as typed.
        special: whether it is no text, as the marks for start and end are.
    """

    id: int
    normalized: bool = False
    special: bool = True

    def to_config(self, content: str) -> dict[str, Any]:
        """As transformers writes it in `added_tokens_decoder`."""
        flags = {"lstrip": False, "normalized": self.normalized, "rstrip": False}
        return {"content": content, **flags, "single_word": False, "special": self.special}


def read_added_tokens(
    folder: Path,
    config: Mapping[str, Any],
    vocab: Mapping[str, int],
    whole: Mapping[str, Any] | None,
) -> dict[str, AddedToken]:
    """The tokens that a folder adds to its vocabulary, with the ids that transformers gives them.

    Args:
        folder: of the tokenizer.
        config: its `tokenizer_config.json`.
        vocab: token -> id, as learned.
        whole: its `tokenizer.json`, if there is one.

    Raises:
        WeightsError: an entry is damaged, or transformers would give the token another id.
    """
    stated: dict[str, AddedToken] = {}
    named = {name: config.get(name, default) for name, default in NAMED.items()}
    extra = _list(config, "extra_special_tokens")
    others_named = _list(config, "additional_special_tokens")
    if "added_tokens_decoder" in config:
        where = folder / "tokenizer_config.json"
        entries = config["added_tokens_decoder"]
        if not isinstance(entries, dict):
            raise WeightsError(f"added_tokens_decoder in {where} is {_short(entries)}.")
        for number, entry in entries.items():
            _take(stated, number, entry, where)
    else:
        if (folder / "special_tokens_map.json").is_file():
            others = read_json(folder / "special_tokens_map.json")
            for name in NAMED:
                value = others.get(name, named[name])
                named[name] = {**value, "special": True} if isinstance(value, dict) else value
            extra += _list(others, "extra_special_tokens")
            others_named += _list(others, "additional_special_tokens")
        if (folder / "added_tokens.json").is_file():
            where = folder / "added_tokens.json"
            special = {_content(value) for value in (*named.values(), *extra)}
            for content, number in read_json(where).items():
                kind = {"normalized": content not in special, "special": content in special}
                _take(stated, number, {"content": content} | kind, where)
        for entry in (whole or {}).get("added_tokens") or ():
            number = entry.get("id") if isinstance(entry, dict) else None
            _take(stated, number, entry, folder / "tokenizer.json")
    # Else start and end say by themselves how they are looked for; of one token the last name does.
    in_files = set(stated)
    for mark in named.values():
        token = _content(mark)
        if token in vocab and token not in in_files and token is not None:
            as_dict = mark if isinstance(mark, dict) else {"normalized": False}
            normalized = as_dict.get("normalized", not as_dict.get("special", False))
            stated[token] = AddedToken(vocab[token], bool(normalized))
    _check_ids(stated, vocab, folder)
    for token in map(_content, (*extra, *others_named)):
        if token is not None and token not in stated:
            raise WeightsError(f"{folder} names the special token {token!r} without an id.")
    return stated


def check_named(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse other marks for start, end and padding than CLIP's: the ids would be others.

    Args:
        folder: of the tokenizer.
        config: its `tokenizer_config.json`, whose absent fields are CLIP's.
    """
    for file, fields in (
        ("tokenizer_config.json", config),
        ("special_tokens_map.json", _optional(folder / "special_tokens_map.json")),
    ):
        for name, token in NAMED.items():
            given = _content(fields.get(name))
            if given not in (token, None):
                raise WeightsError(
                    f"{name} in {folder / file} is {given!r}; expected {token!r}, as in Stable "
                    "Diffusion 1.x."
                )


def cut_out(text: str, tokens: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Cut a text at tokens, the longest first; gives its parts and whether each is a token."""
    import regex

    longest = sorted(tokens, key=len, reverse=True)
    if not longest:
        yield text, False
        return
    for i, part in enumerate(regex.split(f"({'|'.join(map(regex.escape, longest))})", text)):
        if part:
            yield part, i % 2 == 1


def _take(stated: dict[str, AddedToken], number: Any, entry: Any, where: Path) -> None:
    content = entry.get("content") if isinstance(entry, dict) else None
    text = str(number)
    if not isinstance(content, str) or not content or not text.isdecimal():
        raise WeightsError(
            f"{where} adds the token {_short(entry)} with the id {_short(number)}; expected a text "
            "and a whole number."
        )
    if entry.get("single_word"):
        raise WeightsError(
            f"{where} adds the token {content!r} with single_word; the course builds none such."
        )
    special = bool(entry.get("special", False))
    stated[content] = AddedToken(int(text), bool(entry.get("normalized", not special)), special)


def _check_ids(stated: Mapping[str, AddedToken], vocab: Mapping[str, int], folder: Path) -> None:
    """transformers counts on from the vocabulary, whatever number a file gives."""
    following = len(vocab)
    for content, token in sorted(stated.items(), key=lambda item: item[1].id):
        given = vocab.get(content, following)
        following += content not in vocab
        if token.id != given:
            raise WeightsError(
                f"{folder} gives the added token {content!r} the id {token.id}, where transformers "
                f"counts {given}. Save the tokenizer again with transformers."
            )


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name) or []
    return list(value.values()) if isinstance(value, dict) else list(value)


def _content(value: Any) -> str | None:
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:60]
