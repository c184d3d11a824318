"""Byte-pair encoding: text to token ids, as CLIP does it.

Words are lower-cased and split into bytes; then the most frequent neighbouring pairs, learned from
the captions, are merged again and again. Any text can be encoded: a word that the captions never
held falls into smaller known pieces.

Source: Sennrich et al. 2016, "Neural machine translation of rare words with subword units",
algorithm 1; Radford et al. 2021, section 2.4. The files are those of transformers' `CLIPTokenizer`.
"""

from __future__ import annotations

import functools
import itertools
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_utils.files import write_atomically
from course_utils.models.added_tokens import (
    END,
    START,
    AddedToken,
    check_named,
    cut_out,
    read_added_tokens,
)
from course_utils.models.weight_files import WeightsError, read_json

WORD_END = "</w>"
SPECIAL = r"(<\|startoftext\|>|<\|endoftext\|>)"
# CLIP's split: contractions, runs of letters, single digits, runs of other signs.
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class Tokenizer:
    """Text to ids and back, with the vocabulary and the merges of a CLIP tokenizer.

    Args:
        vocab: token -> id.
        merges: pairs in the order in which they were learned; earlier ones are merged first.
        model_max_length: L, the length that every row is padded or cut to.
        added: tokens that are never split, beside those for start and end.
    """

    def __init__(
        self,
        vocab: dict[str, int],
        merges: list[tuple[str, str]],
        model_max_length: int = 77,
        added: Mapping[str, AddedToken] | None = None,
    ) -> None:
        for token in (START, END):
            if token not in vocab:
                raise ValueError(f"vocab lacks {token!r}; expected a CLIP vocabulary.")
        self.vocab = dict(vocab)
        self.merges = list(merges)
        self.model_max_length = model_max_length
        self.bos_token_id, self.eos_token_id = vocab[START], vocab[END]
        marks = {token: AddedToken(vocab[token]) for token in (START, END)}
        self.added = marks | dict(added or {})
        self._as_typed = [text for text, token in self.added.items() if not token.normalized]
        self._normalized = {normalize(t): t for t, token in self.added.items() if token.normalized}
        self._rank = {pair: i for i, pair in enumerate(self.merges)}
        self._word_cache: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self.vocab.keys() | self.added.keys())

    @property
    def highest_id(self) -> int:
        """The last row that the embedding must have."""
        return max(*self.vocab.values(), *(token.id for token in self.added.values()))

    # --- text to ids -----------------------------------------------------------------------

    def __call__(self, texts: str | list[str]) -> Tensor:
        """Rows of ids (B, L), int64: start, tokens, end, then end again as padding.

        A prompt that is too long is cut; its last id is the end token.
        """
        rows = [self.encode(text) for text in ([texts] if isinstance(texts, str) else texts)]
        length = self.model_max_length
        rows = [row if len(row) <= length else [*row[: length - 1], row[-1]] for row in rows]
        rows = [row + [self.eos_token_id] * (length - len(row)) for row in rows]
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), length)

    def encode(self, text: str) -> list[int]:
        """Ids of one text with start and end, neither padded nor cut."""
        unknown = self.eos_token_id
        ids = [
            self.added[token].id if token in self.added else self.vocab.get(token, unknown)
            for token in self.tokenize(text)
        ]
        return [self.bos_token_id, *ids, self.eos_token_id]

    def tokenize(self, text: str) -> list[str]:
        """The tokens of one text; those that end a word carry `</w>`."""
        return [token for _, tokens in self.words(text) for token in tokens]

    def words(self, text: str) -> list[tuple[str, tuple[str, ...]]]:
        """The words of one text in lower case, each with its tokens; an added token is a word."""
        words: list[tuple[str, tuple[str, ...]]] = []
        for typed, found in cut_out(text, self._as_typed):
            if found:
                words.append((typed, (typed,)))
                continue
            for part, found in cut_out(normalize(typed), self._normalized):
                if found:
                    words.append((part, (self._normalized[part],)))
                else:
                    words += [(word, self.merge(word)) for word in split_normalized(part)]
        return words

    def merge(self, word: str) -> tuple[str, ...]:
        """Byte-pair encoding of one word: merge the earliest-learned pair until none is left."""
        if word not in self._word_cache:
            symbols = to_symbols(word)
            while len(symbols) > 1:
                pairs = itertools.pairwise(symbols)
                best = min(pairs, key=lambda pair: self._rank.get(pair, len(self._rank)))
                if best not in self._rank:
                    break
                symbols = merge_pair(symbols, best)
            self._word_cache[word] = symbols
        return self._word_cache[word]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, without start, end and padding."""
        names = {i: token for token, i in self.vocab.items()}
        names |= {token.id: text for text, token in self.added.items()}
        special = {token.id for token in self.added.values() if token.special}
        ids = [int(i) for i in ids]
        for i in ids:
            if i not in names:
                raise ValueError(f"ids holds {i}; expected ids of the {len(self)} known tokens.")
        shown = (names[i] for i in ids if i not in special)
        back = {sign: byte for byte, sign in byte_signs().items()}
        data = b""
        for as_it_is, run in itertools.groupby(shown, key=self.added.__contains__):
            if as_it_is:
                data += "".join(f"{token} " for token in run).encode()
            else:
                data += b"".join(
                    b" " if part == WORD_END else bytes(back[s] for s in part)
                    for part in _split_keep("".join(run), WORD_END)
                )
        return data.decode("utf-8", errors="replace").strip()

    # --- learning and files ----------------------------------------------------------------

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int = 2048, model_max_length: int = 32
    ) -> Tokenizer:
        """Learn merges from texts (Sennrich et al. 2016, algorithm 1).

        Args:
            texts: captions; how often a word occurs decides what is merged.
            vocab_size: at least 514 (256 bytes, each inside and at the end of a word, and two
                special tokens); learning stops earlier where no pair occurs twice.
        """
        signs = list(byte_signs().values())
        base = [*signs, *(s + WORD_END for s in signs)]
        if vocab_size < len(base) + 2:
            raise ValueError(f"vocab_size is {vocab_size}; expected at least {len(base) + 2}.")
        counts = Counter(word for text in texts for word in split_words(text))
        words = {word: to_symbols(word) for word in counts}
        merges: list[tuple[str, str]] = []
        while len(base) + len(merges) + 2 < vocab_size:
            pairs: Counter[tuple[str, str]] = Counter()
            for word, symbols in words.items():
                for pair in itertools.pairwise(symbols):
                    pairs[pair] += counts[word]
            if not pairs:
                break
            best, count = min(pairs.items(), key=lambda item: (-item[1], item[0]))
            if count < 2:
                break
            merges.append(best)
            words = {word: merge_pair(s, best) if best[0] in s else s for word, s in words.items()}
        tokens = [*base, *("".join(pair) for pair in merges), START, END]
        return cls({token: i for i, token in enumerate(tokens)}, merges, model_max_length)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `vocab.json`, `merges.txt` and `tokenizer_config.json`."""
        folder = Path(folder)
        merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in self.merges), ""])
        config: dict[str, Any] = {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": self.model_max_length,
            "bos_token": START,
            "eos_token": END,
            "unk_token": END,
            "pad_token": END,
            "add_prefix_space": False,
            "do_lower_case": True,
            "errors": "replace",
        }
        if self.added.keys() != {START, END}:
            by_id = sorted(self.added.items(), key=lambda item: item[1].id)
            config["added_tokens_decoder"] = {
                str(token.id): token.to_config(text) for text, token in by_id
            }
        write_atomically(
            folder / "vocab.json", json.dumps(self.vocab, ensure_ascii=False, indent=0).encode()
        )
        write_atomically(folder / "merges.txt", merges.encode())
        write_atomically(
            folder / "tokenizer_config.json", (json.dumps(config, indent=2) + "\n").encode()
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Tokenizer:
        """Read the files that `save_pretrained` or transformers wrote.

        Raises:
            WeightsError: a file is missing or damaged, or says what this course does not build.
        """
        folder = Path(folder)
        config: dict[str, Any] = {}
        if (folder / "tokenizer_config.json").is_file():
            config = read_json(folder / "tokenizer_config.json")
        whole = None
        if (folder / "tokenizer.json").is_file():  # transformers, too, reads it first
            whole = read_json(folder / "tokenizer.json")
            model = whole.get("model")
            if not isinstance(model, dict) or not {"vocab", "merges"} <= model.keys():
                raise WeightsError(f"{folder / 'tokenizer.json'} has no vocab and merges.")
            vocab = model["vocab"]
            merges = [tuple(m.split(" ") if isinstance(m, str) else m) for m in model["merges"]]
        elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            vocab = read_json(folder / "vocab.json")
            lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
            merges = [tuple(line.split()) for line in lines if len(line.split()) == 2]
            merges = [m for m in merges if m[0] != "#version:"]
        else:
            raise WeightsError(
                f"{folder} has no tokenizer: expected vocab.json and merges.txt, or tokenizer.json."
            )
        _check_vocabulary(vocab, merges, folder)
        check_named(folder, config)
        added = read_added_tokens(folder, config, vocab, whole)
        return cls(vocab, merges, _length(config, folder), added)  # type: ignore[arg-type]


def _length(config: Mapping[str, Any], folder: Path) -> int:
    """The length of rows; transformers writes null or 1e30 for "no limit", which is CLIP's 77."""
    length = config.get("model_max_length")
    if length is None:
        return 77
    number = isinstance(length, int | float) and not isinstance(length, bool)
    if not number or not length >= 2 or (length < 10**6 and length != int(length)):
        raise WeightsError(
            f"model_max_length in {folder / 'tokenizer_config.json'} is {length!r}; expected a "
            "whole number of at least 2, or null."
        )
    return int(length) if length < 10**6 else 77


def _check_vocabulary(vocab: Any, merges: list[Any], folder: Path) -> None:
    """Refuse a vocabulary that is not token -> id, and merges that are not pairs of tokens."""
    if not isinstance(vocab, dict):
        raise WeightsError(f"vocab in {folder} is {str(vocab)[:40]!r}; expected tokens and ids.")
    for token, i in vocab.items():
        if not isinstance(i, int) or isinstance(i, bool) or i < 0:
            raise WeightsError(
                f"vocab in {folder} gives {token!r} the id {i!r}; expected a whole number from 0."
            )
    for merge in merges:
        if len(merge) != 2 or not all(isinstance(part, str) for part in merge):
            raise WeightsError(f"merges in {folder} hold {merge!r}; expected pairs of tokens.")


def split_words(text: str) -> list[str]:
    """Lower case, then CLIP's split into words, digits and signs; special tokens stay whole."""
    import regex

    words: list[str] = []
    for part in regex.split(SPECIAL, text):
        words += [part] if part in (START, END) else split_normalized(normalize(part))
    return words


def normalize(text: str) -> str:
    """Composed letters, lower case, one space for any run of spaces."""
    import regex

    # Letter by letter: a whole word's lower case has another sigma at its end.
    composed = regex.sub(r"\s+", " ", unicodedata.normalize("NFC", text))
    return "".join(letter.lower() for letter in composed)


def split_normalized(text: str) -> list[str]:
    """CLIP's split of a text that is in lower case already."""
    import regex

    # What only now looks like a special token is none; still no signs join at its ends.
    runs = regex.finditer(f"{SPECIAL}|{PATTERN}", text)
    return [word for run in runs for word in regex.findall(PATTERN, run.group())]


def to_symbols(word: str) -> tuple[str, ...]:
    """A word as one sign a byte, the last one marked as the end of the word."""
    if word in (START, END):
        return (word,)
    signs = byte_signs()
    symbols = [signs[b] for b in word.encode("utf-8")]
    return (*symbols[:-1], symbols[-1] + WORD_END)


def merge_pair(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """Join each occurrence of `pair`, from left to right."""
    out: list[str] = []
    i = 0
    while i < len(symbols):
        if symbols[i : i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return tuple(out)


@functools.cache
def byte_signs() -> dict[int, str]:
    """A printable sign for each byte: itself where it prints, else one from U+0100 on (GPT-2)."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    signs = {b: chr(b) for b in printing}
    others = [b for b in range(256) if b not in signs]
    return signs | {b: chr(256 + i) for i, b in enumerate(others)}


def _split_keep(text: str, mark: str) -> list[str]:
    parts = text.split(mark)
    return [p for part in parts[:-1] for p in (part, mark)] + parts[-1:]
