"""One picture by diffusers in a process of its own, as `course draw` makes one by ours.

Called as `python -m course_utils.bench.with_diffusers FOLDER SCHEDULER OUT` with the scheduler's
class; its configuration comes on standard input. Imports nothing of the course's networks.
"""

from __future__ import annotations

import json
import sys


def main(folder: str, kind: str, out: str) -> None:
    """Draw the benchmark's prompt and write a PNG file."""
    import diffusers
    import torch

    prompt, steps, guidance, seed, device = sys.stdin.readline().rstrip("\n").split("\t")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.scheduler = getattr(diffusers, kind).from_config(json.loads(sys.stdin.readline()))
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    picture = pipe(
        prompt,
        num_inference_steps=int(steps),
        guidance_scale=float(guidance),
        generator=torch.Generator().manual_seed(int(seed)),
    ).images[0]
    picture.save(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
