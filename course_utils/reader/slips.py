"""Slips of spelling: which known word was meant by one that nobody knows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Set

SHORTEST = 4  # shorter words are too near to each other
LONG = 7  # from here on two slips are forgiven, if the first letter is right
ENDINGS = ("", "s", "es", "ed", "d", "ing", "er", "r", "ers", "rs", "ly", "y")  # of a real word


def edits(a: str, b: str, most: int) -> int:
    """How many slips lie between two words: optimal string alignment distance, up to `most`.

    A slip is a letter too many, one too few, a wrong one, or two neighbours in the wrong order
    (Damerau 1964, "A technique for computer detection and correction of spelling errors").

    Returns:
        The number of slips; `most + 1` where there are more.
    """
    if abs(len(a) - len(b)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        two_before, before, row = before, row, [i]
        for j, other in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and other == a[i - 2]:
                cost = min(cost, two_before[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


class Slips:
    """Finds the known word that an unknown one was meant to be.

    Args:
        known: the words that may be meant, the likelier ones first.
        real: words that mean something else and are never taken for a slip.
    """

    def __init__(self, known: Iterable[str], real: Set[str]) -> None:
        self.real = real
        self.known = [w for w in dict.fromkeys(known) if len(w) >= SHORTEST and w.isalpha()]
        self._by_letter: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for word in self.known:
            for sign in {word[0], word[1]}:
                self._by_letter[sign].append((word, _letters(_sound(word))))

    def meant(self, word: str) -> str | None:
        """The known word nearest to `word`; None where none is near or the word is a real one."""
        if len(word) < SHORTEST or not word.isalpha() or is_real(word, self.real):
            return None
        word = _sound(word)
        most = 2 if len(word) >= LONG else 1
        letters = _letters(word)
        best: tuple[int, bool] | None = None
        found = None
        for sign in dict.fromkeys(word[:2]):
            for known, its_letters in self._by_letter.get(sign, ()):
                if (letters ^ its_letters).bit_count() > 2 * most:
                    continue
                other = known[0] != word[0]
                count = edits(word, _sound(known), most)
                rank = (count, other)
                if count <= most - (most == 2 and other) and (best is None or rank < best):
                    best, found = rank, known
        return found


def is_real(word: str, real: Set[str]) -> bool:
    """Whether a word is one of `real`, or one of them with an ending: "hopes", "hoping"."""
    for ending in ENDINGS:
        if word.endswith(ending):
            stem = word.removesuffix(ending)
            twice = stem[:-1] if len(stem) > 3 and stem[-1:] == stem[-2:-1] else stem
            if not real.isdisjoint((stem, f"{stem}e", twice)):
                return True
    return False


def _sound(word: str) -> str:
    """Spelt as it sounds, where that is what people slip on: "elephant" as "elefant"."""
    return word.replace("ph", "f")


def _letters(word: str) -> int:
    """Which letters a word holds, as bits: two words n slips apart differ in 2n of them at most."""
    bits = 0
    for letter in word:
        bits |= 1 << (ord(letter) & 63)
    return bits
