"""Make the runs that lesson 03 compares: `weights/lesson_03.safetensors`.

    python -m course_utils.training.lesson_03 [--out FILE]

The lesson's own cells train them: this reads `solutions/03_unet.ipynb` and calls its `train` with
seeds 0 and 1 for each kind of U-Net, on one thread. The small U-Nets learn latents of the shipped
VAE, so they belong to it: its hash stands in the file's metadata, and a new VAE needs new runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from course_utils.files import write_atomically
from course_utils.hub import bundled_folder
from course_utils.models.vae import VAE
from course_utils.pipeline import Pipeline

NOTEBOOK = Path(__file__).resolve().parents[2] / "solutions" / "03_unet.ipynb"
FILE = bundled_folder().parent / "lesson_03.safetensors"
STEPS, SEEDS, DECAY = 2000, 2, 0.995
IMPORTED = "; ".join(  # by the first cells of the page
    (
        "import math",
        "from course_utils.data import CaptionedEmoji",
        "from course_utils.predictions import training_target",
        "from course_utils.schedules import NoiseSchedule",
    )
)
# The cells that `train` needs; of two of them only the part before the text that follows here.
CELLS = {
    "ex-timestep-embedding": "",
    "given-small-parts": "",
    "ex-resnet": "",
    "ex-attention": "",
    "given-transformer": "",
    "given-levels": "",
    "ex-forward": "",
    "given-unet": "",
    "cut": "def draw_with_cut",
    "ex-training-step": "",
    "ex-ema": "",
    "experiment-data": "some = ",
    "experiment-code": "runs = {",
}


def vae_sha256(folder: Path | None = None) -> str:
    """Hash of the weights of a pipeline folder's VAE; without a folder, of the shipped one."""
    folder = folder or bundled_folder()
    return hashlib.sha256((folder / "vae" / VAE.WEIGHTS_NAME).read_bytes()).hexdigest()


def page() -> dict[str, Any]:
    """The names of the lesson's page, as far as `train` needs them."""
    cells = {c["id"]: c for c in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]}
    names: dict[str, Any] = {"torch": torch, "nn": torch.nn, "Tensor": torch.Tensor}
    names["pipeline"] = Pipeline.load()
    exec(IMPORTED, names)
    for name, end in CELLS.items():
        source = "".join(cells[name]["source"])
        exec(source.split(end)[0] if end else source, names)
    return names


def main() -> None:
    """Train all runs and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FILE, help="default: the shipped file")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    names = page()
    tensors: dict[str, torch.Tensor] = {}
    for kind, change in names["KINDS"].items():
        for seed in range(SEEDS):
            run = names["train"](seed, STEPS, change, DECAY)
            print(
                f"{kind}, seed {seed}: {run.seconds:.0f} s of computing, loss of the last hundred "
                f"steps {run.losses[-100:].mean():.3f}",
                flush=True,
            )
            sets = {"average": run.average} | ({"last": run.last} if kind == "whole" else {})
            for which, weights in sets.items():
                for name, value in weights.items():
                    tensors[f"{kind}.{seed}.{which}.{name}"] = value.half().cpu().contiguous()
    metadata = {
        "format": "pt",
        "made_by": f"python -m course_utils.training.lesson_03: train() of solutions/"
        f"{NOTEBOOK.name}, {STEPS} steps, decay {DECAY}, one CPU thread",
        "vae_sha256": vae_sha256(),
        "art": "Fluent Emoji by Microsoft, MIT",
    }
    write_atomically(out, save(tensors, metadata=metadata))


if __name__ == "__main__":
    main()
