"""Answers to the exercise of lesson 00."""

from __future__ import annotations

from typing import Any

WRONG: list[tuple[str, Any, str]] = [
    ("00.my_prompts", "a dog", "is one text; expected a list"),
    ("00.my_prompts", 7, "my_prompts is 7; expected a list of texts"),
    ("00.my_prompts", {"a dog": 1}, "expected a list of texts"),
    ("00.my_prompts", ["a dog", 3, "a cat"], "holds 3; expected texts in quotes"),
    ("00.my_prompts", [["a dog", "a cat", "a key"]], "expected texts in quotes"),
    ("00.my_prompts", ["a dog", "a cat"], "1 of 3 prompts is missing"),
    ("00.my_prompts", ["a dog", "", "a cat"], "1 of 3 prompts is missing"),
    ("00.my_prompts", ["a dog", "a dog", " A  dog"], "are the same; 2 of 3 different"),
]
RIGHT: list[tuple[str, Any]] = [
    ("00.my_prompts", ("dog", "cat", "rocket")),
    ("00.my_prompts", ["a zebra", "猫", "$x$ <b>", "", "a dog"]),
    ("00.my_prompts", [f"dog {i}" for i in range(40)]),
]
