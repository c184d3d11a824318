"""Answers to the exercises of lesson 09: wrong ones with their message, right ones too."""

from __future__ import annotations

import re
import string
from typing import Any

import torch
from torch import Tensor

# --- unknown words ---


def words_cased(prompt: str, vocabulary: set[str]) -> list[str]:
    found: list[str] = []
    for word in prompt.translate(str.maketrans("", "", string.punctuation)).split():
        if word not in vocabulary and word not in found:
            found.append(word)
    return found


def words_with_commas(prompt: str, vocabulary: set[str]) -> list[str]:
    found: list[str] = []
    for word in prompt.lower().split():
        if word not in vocabulary and word not in found:
            found.append(word)
    return found


def words_twice(prompt: str, vocabulary: set[str]) -> list[str]:
    cleaned = "".join(c if c.isalnum() else " " for c in prompt.lower())
    return [word for word in cleaned.split() if word not in vocabulary]


def words_known(prompt: str, vocabulary: set[str]) -> list[str]:
    cleaned = "".join(c if c.isalnum() else " " for c in prompt.lower())
    return [word for word in dict.fromkeys(cleaned.split()) if word in vocabulary]


def words_as_set(prompt: str, vocabulary: set[str]) -> set[str]:
    return set(prompt.lower().split()) - vocabulary


def words_by_set(prompt: str, vocabulary: set[str]) -> list[str]:
    cleaned = "".join(c if c.isalnum() else " " for c in prompt).lower().split()
    missing = set(cleaned) - vocabulary
    return sorted(missing, key=cleaned.index)


def words_by_loop(prompt: str, vocabulary: set[str]) -> list[str]:
    found: list[str] = []
    for word in prompt.lower().translate(str.maketrans(".,;", "   ")).split():
        if word in vocabulary or word in found:
            continue
        found.append(word)
    return found


# --- ladder ---


def ladder_three(thing: str, style: str, colour: str) -> list[str]:
    a = "a " + thing
    return [a, f"{a}, {style} style", f"{a}, {style} style, on a {colour} background"]


def ladder_pieces(thing: str, style: str, colour: str) -> list[str]:
    return ["draw a " + thing, "a " + thing, style + " style", "on a " + colour + " background"]


def ladder_swapped(thing: str, style: str, colour: str) -> list[str]:
    a = "a " + thing
    b = f"{a}, on a {colour} background"
    return ["draw " + a, a, b, f"{b}, {style} style"]


def ladder_no_style(thing: str, style: str, colour: str) -> list[str]:
    a = "a " + thing
    return ["draw " + a, a, f"{a}, {style}", f"{a}, {style}, on a {colour} background"]


def ladder_joined(thing: str, style: str, colour: str) -> str:
    return f"a {thing}, {style} style, on a {colour} background"


def ladder_none(thing: str, style: str, colour: str) -> None:
    print(f"draw a {thing}")


def ladder_join(thing: str, style: str, colour: str) -> list[str]:
    parts = ["a " + thing, style + " style", "on a " + colour + " background"]
    return ["draw " + parts[0]] + [", ".join(parts[:n]) for n in (1, 2, 3)]


def ladder_tuple(thing: str, style: str, colour: str) -> tuple[str, ...]:
    full = f"a {thing}, {style} style, on a {colour} background"
    return "draw a " + thing, full.split(",")[0], full.rsplit(",", 1)[0], full


# --- spread ---


def spread_all_pairs(pictures: Tensor) -> Tensor:
    flat = pictures.flatten(1)
    return torch.cdist(flat, flat).div(flat.shape[1] ** 0.5).mean()


def spread_squared(pictures: Tensor) -> Tensor:
    n = len(pictures)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    return sum(((pictures[i] - pictures[j]) ** 2).mean() for i, j in pairs) / len(pairs)


def spread_plain(pictures: Tensor) -> Tensor:
    n = len(pictures)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    return sum((pictures[i] - pictures[j]).mean() for i, j in pairs) / len(pairs)


def spread_l1(pictures: Tensor) -> Tensor:
    n = len(pictures)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    return sum((pictures[i] - pictures[j]).abs().mean() for i, j in pairs) / len(pairs)


def spread_middle(pictures: Tensor) -> Tensor:
    middle = pictures.mean(0, keepdim=True)
    return torch.stack([(p - middle[0]).pow(2).mean().sqrt() for p in pictures]).mean()


def spread_per_pixel(pictures: Tensor) -> Tensor:
    return pictures.std(dim=0)


def spread_by_loop(pictures: Tensor) -> float:
    distances = []
    for i in range(len(pictures)):
        for j in range(len(pictures)):
            if i != j:
                distances.append(float((pictures[i] - pictures[j]).double().pow(2).mean() ** 0.5))
    return sum(distances) / len(distances)


def spread_by_cdist(pictures: Tensor) -> Tensor:
    flat = pictures.double().flatten(1)
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    n = len(flat)
    return distances.sum() / (n * (n - 1)) / flat.shape[1] ** 0.5


def spread_by_pdist(pictures: Tensor) -> Tensor:
    return torch.pdist(pictures.flatten(1)).mean() / pictures[0].numel() ** 0.5


# --- from readers of the pages ---


def words_inside(prompt: str, vocabulary: set[str]) -> list[str]:
    text = " ".join(vocabulary)
    return [w for w in dict.fromkeys(re.findall(r"\w+", prompt.lower())) if w not in text]


def words_taken_in(prompt: str, vocabulary: set[str]) -> list[str]:
    found = []
    for word in re.findall(r"\w+", prompt.lower()):
        if word not in vocabulary:
            found.append(word)
            vocabulary.add(word)
    return found


WRONG: list[tuple[str, Any, str]] = [
    ("09.unknown_words", words_cased, "case_matters"),
    ("09.unknown_words", words_with_commas, "split_at_spaces"),
    ("09.unknown_words", words_twice, "repeats"),
    ("09.unknown_words", words_known, "known_words"),
    ("09.unknown_words", words_as_set, "The result is a set"),
    ("09.ladder", ladder_three, "no_draw"),
    ("09.ladder", ladder_pieces, "each_alone"),
    ("09.ladder", ladder_swapped, "background_first"),
    ("09.ladder", ladder_no_style, "no_word_style"),
    ("09.ladder", ladder_joined, "one_text"),
    ("09.ladder", ladder_none, "is a `return` missing"),
    ("09.spread", spread_all_pairs, "with_itself"),
    ("09.spread", spread_squared, "no_root"),
    ("09.spread", spread_plain, "signed"),
    ("09.spread", spread_l1, "absolute"),
    ("09.spread", spread_middle, "to_the_mean"),
    ("09.spread", spread_per_pixel, "One number is expected"),
    ("09.my_prompt", ["a cat"], "is of type list; expected a text"),
    ("09.my_prompt", "a yak, 3d style, on a blue background", "has never met: yak"),
    ("09.my_prompt", "a dog, 3d style, on a blue background", "does not name the cat"),
    ("09.my_prompt", "a cat on a blue background", "It names no style"),
    ("09.my_prompt", "a cat, 3d style", "says nothing of the background"),
    ("09.my_negative", 3, "is of type int; expected a text"),
    ("09.my_negative", "ugly, green background", "has never met: ugly"),
    ("09.my_negative", "no green background", "without a no"),
    ("09.my_negative", "on a white background", "get away from green backgrounds"),
    ("09.my_negative", "green background, flat style", "something that you do want"),
    ("09.unknown_words", words_inside, "parts_of_words"),
    ("09.unknown_words", words_taken_in, "changes its argument vocabulary in place"),
    ("09.my_prompt", "a cat, 3d style, flat style, on a blue background", "It names 2 styles"),
    ("09.my_negative", "a green frog", "something that you do want to see"),
]
RIGHT: list[tuple[str, Any]] = [
    ("09.unknown_words", words_by_set),
    ("09.unknown_words", words_by_loop),
    ("09.ladder", ladder_join),
    ("09.ladder", ladder_tuple),
    ("09.spread", spread_by_loop),
    ("09.spread", spread_by_cdist),
    ("09.spread", spread_by_pdist),
    ("09.my_prompt", "A kitty, flat design, on a green background"),
    ("09.my_prompt", "noto cat face pink background"),
    ("09.my_negative", "On a green background"),
    ("09.my_negative", "green"),
]
