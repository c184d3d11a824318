"""Which files of a model folder hold its weights: one file, or the shards that an index names.

Names are those of diffusers and transformers: a variant ("fp16") stands before the shard's number
in what they write today and behind it in older folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
VARIANTS = ("", "fp16")  # those that are read, the preferred one first
STEMS = r"(?:diffusion_pytorch_model|model)"
WEIGHTS = re.compile(
    rf"{STEMS}(?:\.(?P<new>\w+))?(?:-(?P<number>\d+)-of-(?P<total>\d+))?(?:\.(?P<old>\w+))?\.safetensors"
)
INDEX = re.compile(
    rf"{STEMS}(?:\.(?P<first>\w+))?\.safetensors(?:\.(?P<old>\w+))?\.index(?:\.(?P<new>\w+))?\.json"
)


class WeightsError(ValueError):
    """A weights folder that cannot be used: what is wrong, where, and what to do."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object, with an error that says what is wrong."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} is not readable JSON ({error}). Fetch it again.") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds {str(content)[:40]!r}; expected a JSON object.")
    return content


def read_weights(folder: Path, preferred: str) -> dict[str, Tensor]:
    """Read the safetensors of a model folder; pickles are refused.

    Args:
        folder: of one model.
        preferred: the name of a single file; a half-precision variant or shards will do as well.

    Raises:
        WeightsError: no such weights, or a file of them is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    state: dict[str, Tensor] = {}
    for file in weight_files(folder, preferred):
        try:
            state.update(load_file(file))
        except SafetensorError as error:
            raise WeightsError(
                f"{file} is damaged or cut short ({error}). Fetch it again; "
                f"its size is {file.stat().st_size:,} bytes."
            ) from None
    return state


def weight_files(folder: Path, preferred: str) -> list[Path]:
    """The files to read. Where both are there, diffusers takes the index, transformers one file.

    Raises:
        WeightsError: none, or a shard is missing.
    """
    stem = preferred.removesuffix(".safetensors")
    names = sorted(p.name for p in folder.glob(f"{stem}*") if p.is_file())
    for variant in VARIANTS:
        of_it = [name for name in names if variant_of(name) == variant]
        indexes = [name for name in of_it if INDEX.fullmatch(name)]
        single = [name for name in of_it if WEIGHTS.fullmatch(name) and not _shard(name)]
        if single and (stem == "model" or not indexes):
            return [folder / single[0]]
        if indexes:
            return _indexed(folder / indexes[0])
        shards = [name for name in of_it if _shard(name)]
        if shards:
            return _numbered(folder, shards)
    raise WeightsError(_what_is_there(folder, preferred))


def variant_of(name: str) -> str | None:
    """The variant in the name of a weights file or an index, "" for none; None for other files."""
    match = WEIGHTS.fullmatch(name) or INDEX.fullmatch(name)
    if match is None:
        return None
    groups = match.groupdict()
    return groups["new"] or groups["old"] or groups.get("first") or ""


def choose_variant(names: Iterable[str]) -> set[str]:
    """Of the names of one folder those of its weights; half precision where offered."""
    variants: dict[str | None, set[str]] = {}
    for name in names:
        variants.setdefault(variant_of(name), set()).add(name)
    half = variants.get("fp16", set())
    whole = any(WEIGHTS.fullmatch(name) for name in half)  # an index alone is not enough
    return half if whole else variants.get("", set())


def _shard(name: str) -> re.Match[str] | None:
    match = WEIGHTS.fullmatch(name)
    return match if match and match["number"] else None


def _indexed(index: Path) -> list[Path]:
    """The shards that an index names, whatever else lies beside it."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise WeightsError(f"{index} has no weight_map; expected parameters and their files.")
    names = sorted({str(name) for name in places.values()})
    for name in names:
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise WeightsError(
                f"{index} names the file {name!r}; expected a .safetensors file of its own folder."
            )
        if not (index.parent / name).is_file():
            raise WeightsError(
                f"{index.parent / name} is missing; {index.name} says that the weights are in "
                f"{len(names)} files."
            )
    return [index.parent / name for name in names]


def _numbered(folder: Path, names: list[str]) -> list[Path]:
    """Shards without an index: of one set, `-00001-of-00003` and so on, and all there."""
    sets: dict[str, dict[int, str]] = {}
    for name in names:
        match = _shard(name)
        assert match is not None
        pattern = f"{name[: match.start('number')]}{{}}{name[match.end('number') :]}"
        sets.setdefault(pattern, {})[int(match["number"])] = name
    if len(sets) > 1:
        raise WeightsError(
            f"{folder} holds shards of {len(sets)} sets ({', '.join(names[:2])}, ...) and no index "
            "that says which count. Fetch the index, or move the others away."
        )
    pattern, found = next(iter(sets.items()))
    total = int(pattern.rpartition("-of-")[2].partition(".")[0])
    for number in range(1, total + 1):
        if number not in found:
            name = pattern.format(f"{number:05d}")
            raise WeightsError(f"{folder / name} is missing; the weights are in {total} files.")
    return [folder / found[number] for number in sorted(found)]


def _what_is_there(folder: Path, preferred: str) -> str:
    """The sentence for a folder without weights that this course reads."""
    files = sorted(p.name for p in folder.glob("*") if p.is_file())
    variants = sorted({v for name in files if WEIGHTS.fullmatch(name) and (v := variant_of(name))})
    others = [name for name in files if name.endswith(".safetensors")]
    pickles = [name for name in files if name.endswith(PICKLES)]
    if others:
        kind = f" of the variant {', '.join(variants)}" if variants else ""
        return (
            f"{folder} holds only weights{kind} that are not looked for: {_some(others)}. Expected "
            f"{preferred} or its fp16 variant; if they are what you want, rename them."
        )
    if pickles:
        return (
            f"{folder} holds a pickle ({_some(pickles)}) where safetensors belong. A pickle can "
            f"run any code when it is opened, so it is not read. Expected {preferred}."
        )
    rest = [name for name in files if not name.endswith(".json")]
    found = f" It holds {_some(rest)}." if rest else ""
    return f"{folder} has no weights: expected the file {preferred}.{found}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
