"""Near-identical answers, for a person to look at: a likeness is a question, never a verdict.

An answer becomes a row of tokens that keeps its structure and forgets what is quickly changed:
comments, blank lines, docstrings, annotations, and all names that the answer itself gives. Runs of
`RUN` tokens are hashed, and winnowing keeps some of the hashes in such a way that two answers that
share a run of `RUN + WINDOW - 1` tokens share a fingerprint, wherever it stands. What stands in the
template, and what much of the class has written too, counts for nothing.

Source: Schleimer, Wilkerson, Aiken 2003, "Winnowing: local algorithms for document fingerprinting",
section 3 and algorithm 1.
"""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import itertools
import keyword
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RUN = 14  # tokens; a shorter run is shared by chance
WINDOW = 8  # of that many runs in a row at least one is kept
LEAST = 12  # fingerprints that two answers must share beyond template and class
SHARE = 0.6  # of the smaller answer's fingerprints
COMMON = 0.25  # of the class: what more students have written is common knowledge
FEW = 10  # students; what no more of them share is not common knowledge
MOST_LETTERS = 50_000  # of a source that is parsed; a longer one is compared as text
MOST_TOKENS = 20_000  # of a source; what comes after them is not compared

Token = tuple[str, int]  # what it says, and its line


@dataclass(frozen=True)
class Alike:
    """Two answers that share much.

    Attributes:
        first, second: whose.
        cell: the cell in which they do; "" for all cells together.
        share: of the fingerprints of the smaller answer, those that the other has too, 0 to 1.
        identical: nothing but names, comments and layout differs.
        lines: for each of the two, by cell, the numbers of the lines that they share, from 1.
    """

    first: str
    second: str
    cell: str
    share: float
    identical: bool
    lines: tuple[Mapping[str, frozenset[int]], Mapping[str, frozenset[int]]]


def compare(answers: Mapping[str, Mapping[str, str]], given: Iterable[str] = ()) -> list[Alike]:
    """Find pairs of answers that share much.

    Args:
        answers: for each student source by cell id; of one challenge.
        given: sources that everybody has, such as the template's cells and the lessons'.

    Returns:
        One entry for a pair, the most alike first.
    """
    names, given = sorted(answers), list(given)
    cells = sorted({cell for answer in answers.values() for cell in answer})
    trees = {name: _rows(answers[name], text=False) for name in names}
    # A source that Python can't parse is compared as text, with the text of all others.
    broken = {name for name, rows in trees.items() if None in rows.values()}
    found: dict[tuple[str, str], Alike] = {}
    for text in (False, True) if broken else (False,):
        rows = {name: _rows(answers[name], text) for name in names} if text else trees
        known = set().union(*(_runs_of(source, text) for source in given))
        for cell in ["", *cells] if len(cells) > 1 else [""]:
            units = {name: _unit(rows[name], cell) for name in names}
            for pair in _pairs(units, known, broken if text else None):
                before = found.get((pair.first, pair.second))
                if before is None or _strength(pair) > _strength(before):
                    found[pair.first, pair.second] = pair
    return sorted(found.values(), key=lambda p: (*(-x for x in _strength(p)), p.first, p.second))


def groups(pairs: Iterable[Alike]) -> list[tuple[str, ...]]:
    """Students whose answers are alike, directly or through others; the largest group first."""
    of: dict[str, set[str]] = {}
    for pair in pairs:
        joined = of.get(pair.first, {pair.first}) | of.get(pair.second, {pair.second})
        for name in joined:
            of[name] = joined
    different = {id(group): group for group in of.values()}.values()
    return sorted((tuple(sorted(g)) for g in different), key=lambda g: (-len(g), g))


# --- fingerprints --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """One source: its tokens, and a number for each run of them."""

    tokens: tuple[Token, ...]
    runs: tuple[int, ...]

    @classmethod
    def of(cls, tokens: list[Token]) -> _Row:
        words = [said.encode("utf-8", "replace") for said, _ in tokens]
        starts = range(len(words) - RUN + 1)
        return cls(tuple(tokens), tuple(_number(words[i : i + RUN]) for i in starts))

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(said for said, _ in self.tokens)

    def winnowed(self) -> set[int]:
        """The least number of each window."""
        starts = range(max(len(self.runs) - WINDOW + 1, min(len(self.runs), 1)))
        return {min(self.runs[i : i + WINDOW]) for i in starts}

    def lines(self, runs: set[int]) -> frozenset[int]:
        """The lines that these runs cover."""
        starts = [i for i, run in enumerate(self.runs) if run in runs]
        return frozenset(line for i in starts for _, line in self.tokens[i : i + RUN])


Unit = Mapping[str, _Row]  # what is compared at once: one cell, or all of an answer


def _rows(sources: Mapping[str, str], text: bool) -> dict[str, _Row | None]:
    """By cell; None where the source can't be parsed."""
    read = text_tokens if text else tree_tokens
    tokens = {cell: read(source) for cell, source in sources.items()}
    return {cell: None if row is None else _Row.of(row) for cell, row in tokens.items()}


@functools.lru_cache(maxsize=2048)
def _runs_of(source: str, text: bool) -> frozenset[int]:
    """Of a source that is compared with many classes' answers."""
    row = _rows({"": source}, text)[""]
    return frozenset() if row is None else frozenset(row.runs)


def _number(words: Sequence[bytes]) -> int:
    """The same in every process, unlike `hash`."""
    digest = hashlib.blake2b(b"\x1f".join(words), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _unit(rows: Mapping[str, _Row | None], cell: str) -> Unit:
    return {name: row for name, row in rows.items() if row and cell in ("", name)}


def _strength(pair: Alike) -> tuple[float, ...]:
    """All cells together say more than one of them that is as much alike."""
    return pair.identical, pair.share, pair.cell == ""


def _pairs(units: Mapping[str, Unit], known: set[int], only: set[str] | None) -> Iterator[Alike]:
    """Units that share enough; with `only`, pairs in which one of these takes part."""
    names = [name for name, unit in units.items() if any(row.runs for row in unit.values())]
    runs = {name: {r for row in units[name].values() for r in row.runs} - known for name in names}
    count = Counter(itertools.chain.from_iterable(runs.values()))
    most = max(FEW, COMMON * len(names))
    common = {run for run, students in count.items() if students > most}
    whole = {name: _winnowed(units[name]) - known for name in names}
    prints = {name: whole[name] - common for name in names}
    twice = (run for name in names for run in prints[name] if count[run] > 1)
    column = {run: i for i, run in enumerate(dict.fromkeys(twice))}
    table = np.zeros((len(names), len(column)), dtype=np.float32)
    for i, name in enumerate(names):
        table[i, [column[run] for run in prints[name] if run in column]] = 1
    shared = table @ table.T
    sizes = np.array([len(prints[name]) for name in names])
    share = shared / np.maximum(np.minimum(sizes[:, None], sizes[None, :]), 1)
    alike = np.triu((shared >= LEAST) & (share >= SHARE), 1)
    pairs = {
        (names[i], names[j]): float(share[i, j]) for i, j in zip(*np.nonzero(alike), strict=True)
    }
    # However many have it: an answer that is the same from end to end is no common turn of phrase.
    leader: dict[tuple[object, ...], str] = {}
    for name in names:
        first = leader.setdefault(tuple(sorted(_words(units[name]).items())), name)
        if first != name and len(whole[name]) >= LEAST:
            pairs[first, name] = 1.0
    for (first, second), value in pairs.items():
        if only is None or only & {first, second}:
            one, other = units[first], units[second]
            same = _words(one) == _words(other)
            both = runs[first] & runs[second]
            cells = set(one) | set(other)
            yield Alike(
                first,
                second,
                cells.pop() if len(cells) == 1 else "",
                value,
                same,
                (_lines(one, both), _lines(other, both)),
            )


def _winnowed(unit: Unit) -> set[int]:
    return set().union(*(row.winnowed() for row in unit.values()))


def _words(unit: Unit) -> dict[str, tuple[str, ...]]:
    return {cell: row.words for cell, row in unit.items()}


def _lines(unit: Unit, runs: set[int]) -> dict[str, frozenset[int]]:
    return {cell: row.lines(runs) for cell, row in unit.items()}


# --- tokens --------------------------------------------------------------------------------------


def tree_tokens(source: str) -> list[Token] | None:
    """The nodes of the syntax tree in the order of the source; None where it can't be parsed.

    Names that the source binds all read the same; names of others' functions, attributes and
    keywords stay.
    """
    if len(source) > MOST_LETTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the learner's odd escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    nodes = _in_order(tree)
    bound, modules = _bound(node for node, _ in nodes)
    return [(_word(node, bound, modules), line) for node, line in nodes]


# Of no meaning for what runs: annotations, and fields that the other fields imply.
IGNORED = {"annotation", "returns", "type_comment", "type_params", "ctx", "names", "simple"}


def _in_order(tree: ast.AST) -> list[tuple[ast.AST, int]]:
    """Nodes with their lines as the source has them, without annotations and docstrings."""
    found: list[tuple[ast.AST, int]] = []
    todo: list[tuple[ast.AST, int]] = [(tree, 1)]
    while todo and len(found) < MOST_TOKENS:
        node, line = todo.pop()
        line = getattr(node, "lineno", line)
        found.append((node, line))
        children: list[tuple[ast.AST, int]] = []
        for name in node._fields:
            if name not in IGNORED:
                value = getattr(node, name, None)
                for child in value if isinstance(value, list) else (value,):
                    # A constant as a statement is a docstring, or a text that stands about.
                    text = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
                    if isinstance(child, ast.AST) and not text:
                        children.append((child, line))
        todo += reversed(children)
    return found


def _bound(nodes: Iterable[ast.AST]) -> tuple[set[str], dict[str, str]]:
    """Names that the source gives to things, and what its names for modules stand for."""
    bound: set[str] = set()
    modules: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.ExceptHandler):
            bound.add(node.name or "")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                name = alias.asname or alias.name.split(".")[0]
                modules[name] = alias.name.split(".")[-1]
    return bound, modules


def _word(node: ast.AST, bound: set[str], modules: Mapping[str, str]) -> str:
    if isinstance(node, ast.Name):
        return "name" if node.id in bound else modules.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f".{node.attr}"
    if isinstance(node, ast.Constant):
        return _constant(node.value)
    if isinstance(node, ast.keyword):
        return f"{node.arg}="
    if isinstance(node, ast.arg):
        return "name"
    return type(node).__name__.replace("AnnAssign", "Assign")


def _constant(value: object) -> str:
    if isinstance(value, str | bytes):
        return "text"
    if isinstance(value, int | float | complex) and not isinstance(value, bool):
        try:
            return repr(complex(value))  # 1 and 1.0 are alike
        except OverflowError:
            return "number"
    return repr(value)


WORDS = re.compile(r"#[^\n]*|\n|[^\W\d]\w*|\d[\w.]*|'[^'\n]*'|\"[^\"\n]*\"|[^\s\w]")
KEPT = {*keyword.kwlist, *dir(builtins), "torch", "np", "numpy", "math"}


def text_tokens(source: str) -> list[Token]:
    """Words and signs, for what is no Python; names read the same, unless they follow a dot."""
    tokens: list[Token] = []
    line, before = 1, ""
    for match in WORDS.finditer(source):
        word = match.group()
        if word == "\n":
            line += 1
            continue
        if word.startswith("#"):
            continue
        said = word
        if word[0] in "'\"":
            said = "text"
        elif word.isidentifier() and before != "." and word not in KEPT:
            said = "name"
        tokens.append((said, line))
        before = word
        if len(tokens) >= MOST_TOKENS:
            break
    return tokens
