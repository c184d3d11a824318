"""The course's own model for all views, how a prompt is read for it, what it has to say on one."""

from __future__ import annotations

import functools
import threading
from typing import NamedTuple

from course_utils.hub import DEFAULT_MODEL
from course_utils.pipeline import Pipeline, check_prompt
from course_utils.reader import read

MOST_LETTERS = 400  # of a prompt whose words are looked up: the model reads far fewer
_loading = threading.Lock()  # views ask from threads of their own


@functools.cache
def _load_pipeline() -> Pipeline:
    return Pipeline.load(DEFAULT_MODEL)


def default_pipeline() -> Pipeline:
    """The course's own model, read once for all views (half a second). Call it in a worker."""
    with _loading:
        return _load_pipeline()


class Prompted(NamedTuple):
    """What the model is given for what a person typed.

    Attributes:
        caption: the prompt that the model is given.
        said: a sentence or more on how the text was read; often nothing where it was not.
        odd: whether a person should look at that.
    """

    caption: str
    said: str
    odd: bool


def read_prompt(pipeline: Pipeline, typed: str, literal: bool = False) -> Prompted:
    """Read what a person typed as a caption that the model was taught, or leave it as it stands.

    Args:
        pipeline: which model draws; where nobody wrote down its words, nothing is read.
        typed: the text.
        literal: whether to leave it as it stands.

    Raises:
        TypeError, ValueError: the text is no text.
    """
    check_prompt(typed)
    vocabulary = pipeline.vocabulary
    if literal or vocabulary is None or not vocabulary.is_read:
        notes = prompt_notes(pipeline, typed)
        return Prompted(typed, notes, bool(notes))
    reading = read(typed, vocabulary)
    said = reading.describe()
    return Prompted(reading.caption, f"{said[:1].upper()}{said[1:]}.", bool(reading.unsure))


def prompt_notes(pipeline: Pipeline, prompt: str) -> str:
    """What course_utils has to say on a prompt before it is drawn, as sentences; often nothing.

    An empty prompt, words that the model does not see, words that it does not know with known
    ones near them.

    Raises:
        TypeError, ValueError: the prompt is no text.
    """
    check_prompt(prompt)
    notes = pipeline.notes(prompt[:MOST_LETTERS])
    if len(prompt) > MOST_LETTERS:
        room = pipeline.tokenizer.model_max_length - 2
        notes = [
            f"the prompt has {len(prompt):,} letters, and the model reads its first {room} tokens",
            *(note for note in notes if "does not see" not in note),
        ]
    return " ".join(f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in notes)
