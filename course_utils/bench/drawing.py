"""Drawing: from a fresh process, one U-Net call, pictures a minute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_utils.bench.subject import GUIDANCE, PROMPT, SEED, STEPS, Subject
from course_utils.bench.timing import Row, summarize, synchronizer, time_pairs
from course_utils.hub import SCHEDULERS
from course_utils.models.fast import prepare
from course_utils.pipeline import DEFAULT_SAMPLER


def first_picture(subject: Subject, scratch: Path, pairs: int) -> list[Row]:
    """Seconds from starting a process to the PNG file, imports included."""
    kind = SCHEDULERS[DEFAULT_SAMPLER]
    ours_png, theirs_png = scratch / "ours.png", scratch / "theirs.png"
    options = [str(STEPS), str(GUIDANCE), str(SEED)]
    lines = [
        "\t".join([PROMPT, *options, subject.device.type]),
        json.dumps(subject.ours.schedule.to_config(kind)),
    ]
    names = ["--steps", "--guidance", "--seed"]
    settings = [word for pair in zip(names, options, strict=True) for word in pair]

    def ours() -> None:
        command = ["-m", "course_utils", "draw", PROMPT, *settings, "--size-scale", "1"]
        _run([*command, "--model", str(subject.folder), "--out", str(ours_png)])

    def theirs() -> None:
        module = "course_utils.bench.with_diffusers"
        _run(["-m", module, str(subject.folder), kind, str(theirs_png)], "\n".join(lines) + "\n")

    seconds = time_pairs(ours, theirs, pairs)
    check = _difference_of_files(ours_png, theirs_png)
    what = f"fresh process to first picture ({STEPS} steps)"
    return [summarize("first", what, "s", seconds, lambda s: s, check)]


def _run(arguments: list[str], stdin: str = "") -> None:
    """Run this Python; an error's last line is passed on."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, *arguments], input=stdin, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"{' '.join(arguments[:3])} ended with {done.returncode}: {last}")


def _difference_of_files(ours: Path, theirs: Path) -> str:
    import numpy as np
    from PIL import Image

    a, b = (np.asarray(Image.open(path).convert("RGB"), dtype=np.int16) for path in (ours, theirs))
    return f"pixels differ by at most {abs(a - b).max()} of 255"


@torch.no_grad()
def unet_call(subject: Subject, pipe: Any, pairs: int) -> list[Row]:
    """One prediction for one picture under guidance: the prompt and the empty prompt, batch 2."""
    ours, theirs = subject.ours.unet, pipe.unet
    theirs.load_state_dict(ours.state_dict(), strict=True)
    config, generator = ours.config, torch.Generator().manual_seed(0)
    size = config.sample_size
    x_t = torch.randn(2, config.in_channels, size, size, generator=generator).to(subject.device)
    t = torch.tensor([500, 500], device=subject.device)
    text_states = subject.ours.encode_prompt([PROMPT, ""])

    prepared = prepare(ours)

    def call_ours() -> Tensor:
        return prepared(x_t, t, text_states)

    def call_plainly() -> Tensor:
        return ours(x_t, t, text_states)

    def call_theirs() -> Tensor:
        return theirs(x_t, t, encoder_hidden_states=text_states, return_dict=False)[0]

    rows = []
    for what, call in (
        ("U-Net call as drawing makes it, batch 2", call_ours),
        ("U-Net call as it is to be read, batch 2", call_plainly),
    ):
        seconds = time_pairs(call, call_theirs, pairs, 5, synchronizer(subject.device))
        check = difference(call(), call_theirs())
        rows.append(summarize("unet", what, "ms", seconds, lambda s: 1000 * s, check))
    return rows


def pictures_a_minute(subject: Subject, pipe: Any, pairs: int) -> list[Row]:
    """Whole pictures with guidance, prompt to pixels, one at a time and eight side by side."""
    rows = []
    for count in (1, 8):

        def ours(count: int = count) -> Tensor:
            return subject.ours.draw(
                PROMPT,
                num_steps=STEPS,
                guidance_scale=GUIDANCE,
                seed=SEED,
                sampler=DEFAULT_SAMPLER,
                count=count,
            ).pixels

        def theirs(count: int = count) -> Tensor:
            drawn = pipe(
                PROMPT,
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                num_images_per_prompt=count,
                generator=[torch.Generator().manual_seed(SEED + i) for i in range(count)],
                output_type="pt",
            )
            return drawn.images.cpu() * 2 - 1

        def a_minute(seconds: float, count: int = count) -> float:
            return 60 * count / seconds

        seconds = time_pairs(ours, theirs, pairs, 1, synchronizer(subject.device))
        check = difference(ours(), theirs())
        what = f"{STEPS} guided steps, {count} at a time"
        rows.append(summarize("draw", what, "pictures/min", seconds, a_minute, check))
    return rows


def difference(ours: Tensor, theirs: Tensor) -> str:
    """The largest difference of two results, in words."""
    return f"results differ by at most {float((ours - theirs).detach().abs().max()):.1e}"
