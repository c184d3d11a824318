"""How fast this course's code is, beside diffusers and transformers with the same weights.

`python -m course_utils.bench` prints a table; `--json FILE` also writes the figures.
"""
