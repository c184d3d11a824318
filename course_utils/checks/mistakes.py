"""Mistakes that people make, written as what they are: the reference with a slip in it.

    slips(
        '''
        over_heads: `softmax(dim=-1)` -> `softmax(dim=1)`
            The softmax runs over the heads. It runs over the last dimension, dim=-1.
        '''
    )

Whoever gets what the slip gives has made that mistake. A slip can't drift away from its reference:
what stands before each arrow must occur there once, or using it fails.
"""

from __future__ import annotations
import __future__

import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from course_utils.checks.sources import without_docstrings

Edits = tuple[tuple[str, str], ...]
ENTRY = re.compile(r"^(\w+):(.*\n(?: {4}.+\n)+)", re.MULTILINE)
EDIT = re.compile(r"\s*`([^`]*)`\s*->\s*`([^`]*)`")


@dataclass(frozen=True)
class Mistake:
    """Something that people write, and what to tell them.

    Attributes:
        id: a name that stays, unique within its exercise: "no_roots".
        message: names the mistake; one or two sentences to the learner.
        function: the exercise with this mistake in it, where that is no edit of the reference.
        edits: what is written in the reference, and what people write instead; see `edited`.
    """

    id: str
    message: str
    function: Callable[..., Any] | None = None
    edits: Edits = ()

    def made_in(self, reference: Any) -> Any:
        """The function or class with this mistake in it."""
        return self.function or edited(reference, self.edits)


def slips(text: str, **functions: Callable[..., Any]) -> tuple[Mistake, ...]:
    r"""Mistakes from a table, in the order in which they are tried.

    Args:
        text: entries as at the head of this file: the id, one or more edits, and the message, all
            but the id indented. A `\n` in an edit is a new line. An entry without edits is one of
            `functions`.
        functions: mistakes that are no edits of the reference, by id.

    Raises:
        ValueError: a line that belongs to no entry, one without a message, or one that has neither
            edits nor a function.
    """
    text = textwrap.dedent(text).strip("\n") + "\n"
    rest = ENTRY.sub("", text).strip()
    if rest:
        raise ValueError(f"a mistake is `id: edits` and an indented message, not {rest[:60]!r}")
    found = []
    for id, entry in ENTRY.findall(text):
        edits: list[tuple[str, str]] = []
        while edit := EDIT.match(entry):
            find, replacement = (part.replace(r"\n", "\n") for part in edit.groups())
            edits.append((find, replacement))
            entry = entry[edit.end() :]
        if bool(edits) == (id in functions) or not entry.strip():
            raise ValueError(f"the mistake {id} needs a message and either edits or a function")
        found.append(Mistake(id, " ".join(entry.split()), functions.get(id), tuple(edits)))
    return tuple(found)


@functools.cache
def edited(reference: Any, edits: Edits) -> Any:
    """A function or class whose source text was changed.

    Args:
        reference: defined in a file at its top level. Docstrings don't count as its text.
        edits: (what is written there, what stands there instead), one after the other.

    Raises:
        ValueError: a text that does not occur once.
    """
    source = without_docstrings(inspect.getsource(reference))
    for find, replacement in edits:
        count = source.count(find)
        if count != 1:
            raise ValueError(f"{find!r} occurs {count} times in {reference.__name__}; expected 1")
        source = source.replace(find, replacement)
    names = dict(vars(sys.modules[reference.__module__]))
    annotations = __future__.annotations.compiler_flag
    exec(compile(source, f"<a slip in {reference.__name__}>", "exec", annotations), names)
    return names[reference.__name__]
