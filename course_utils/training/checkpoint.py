"""Checkpoints: model, optimiser and moving average in one safetensors file, written in one step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from course_utils.files import write_atomically
from course_utils.training.ema import EMA


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA, note: dict[str, Any]
) -> None:
    """Write everything that is needed to go on as if nothing had happened.

    Args:
        path: the file.
        model, optimizer, ema: what to keep.
        note: plain data that is kept beside the tensors, `step` and `task` among it.
    """
    tensors: dict[str, Tensor] = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in ema.average.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    write_atomically(path, save(tensors, metadata={"note": json.dumps(note)}))


def load_checkpoint(
    path: Path, task: str, model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA
) -> dict[str, Any]:
    """Restore a checkpoint into freshly built objects; returns its note.

    Raises:
        ValueError: the file is damaged, is of another task, or of a model of another shape.
    """
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads(file.metadata()["note"])
            found, _ = note["task"], (note["step"], note["seconds"])
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - no iterator
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"The checkpoint {path} is damaged ({error}). Move it away to start from the beginning."
        ) from None
    if found != task:
        raise ValueError(f"{path} is a checkpoint of {found!r}; expected {task!r}.")
    try:
        model.load_state_dict(_part(tensors, "model."))
    except RuntimeError as error:
        raise ValueError(
            f"{path} is of a model of another shape. Name another --runs folder, or move it away. "
            f"({str(error).splitlines()[1].strip() if len(str(error).splitlines()) > 1 else error})"
        ) from None
    ema.average = _part(tensors, "ema.")
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer.").items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return note


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
