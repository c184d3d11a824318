"""A blank is known by its text: what a stub looks like, and what only raises as one does."""

from __future__ import annotations

import pytest

from course_utils.blanks import blank_names, is_blank, is_stub_line

BLANK = {
    "the stub": "def f(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()",
    "with a docstring": 'def f(x):\n    """What it does."""\n    raise NotImplementedError()',
    "without brackets": "def f(x):\n    raise NotImplementedError",
    "begun, and not finished": "def f(x):\n    y = x + 1\n    raise NotImplementedError()",
    "a method": "class f:\n    def forward(self, x):\n        raise NotImplementedError()",
    "written first, blank in the end": (
        "def f(x):\n    return x\n\ndef f(x):\n    raise NotImplementedError()"
    ),
    "a coroutine": "async def f(x):\n    raise NotImplementedError()",
}
WRITTEN = {
    "an answer": "def f(x):\n    return x",
    "above the stub, which is left": "def f(x):\n    return x\n    raise NotImplementedError()",
    "a guard": "def f(x):\n    if x < 0:\n        raise NotImplementedError()\n    return x",
    "an early return": "def f(x):\n    if x:\n        return x\n    raise NotImplementedError()",
    "a generator": "def f(x):\n    yield x\n    raise NotImplementedError()",
    "words": "def f(x):\n    raise NotImplementedError('softmax of whole numbers')",
    "another error": "def f(x):\n    raise ValueError",
    "nothing": "def f(x):\n    pass",
    "put in its place later": "def f(x):\n    raise NotImplementedError\nf = lambda x: x",
    "no Python": "def f(x:",
    "a bare raise": "def f(x):\n    raise",
    "a null byte": "def f(x):\n    raise NotImplementedError\x00",
}


@pytest.mark.parametrize("name", BLANK)
def test_stubs_are_blank(name: str) -> None:
    assert blank_names([BLANK[name]]) == {"f"}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_not(name: str) -> None:
    assert blank_names([WRITTEN[name]]) == set()


def test_the_last_cell_counts() -> None:
    stub, written = BLANK["the stub"], WRITTEN["an answer"]
    assert blank_names([stub, written]) == set() and blank_names([written, stub]) == {"f"}


def test_functions_are_read_where_they_stand() -> None:
    def stub() -> None:
        raise NotImplementedError()

    assert is_blank(stub) and not is_blank(test_the_last_cell_counts)
    assert not is_blank(len) and not is_blank(eval("lambda: 1"))
    assert is_stub_line("    raise NotImplementedError()") and not is_stub_line("raise ValueError")
