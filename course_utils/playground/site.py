"""The page and the models that it draws with, as a folder that any web server can hand out."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils.files import write_atomically
from course_utils.reader.lexicon import lexicon
from course_utils.vocabulary import Vocabulary

WEB = Path(__file__).parent / "web"
WEIGHTS = Path(__file__).parents[1] / "weights"
FIRST = (
    "emoji-64"  # the course's default model, first in the menu; `hub`, which says so, needs torch
)
INDEX, SITE, SERVICE_WORKER = "index.html", "site.json", "service-worker.js"
# What the page reads of a model's folder; the last it can do without.
MODEL_FILES = (
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)
WORDS = "concepts.json"
READER = "reader.json"  # made for the page: what typed words mean to the model


@dataclass(frozen=True)
class Model:
    """A model of the page's menu.

    Attributes:
        name: as `Pipeline.load` takes it.
        folder: in diffusers' layout.
    """

    name: str
    folder: Path

    def files(self) -> list[str]:
        """What the page fetches of it."""
        optional = [WORDS] if (self.folder / WORDS).is_file() else []
        return [*MODEL_FILES, *optional]

    def made(self) -> dict[str, bytes]:
        """What the page fetches beside them, which is made here: name -> content."""
        index = reader_index(self.folder)
        return {READER: index} if index else {}

    def size(self) -> int:
        """Bytes of all that the page fetches."""
        copied = sum((self.folder / name).stat().st_size for name in self.files())
        return copied + sum(map(len, self.made().values()))


@functools.cache
def reader_index(folder: Path) -> bytes:
    """What the page needs to read prompts for a model as `course draw` does, as JSON.

    Returns:
        The content of `reader.json`; nothing for a model that is given prompts as they stand.
    """
    vocabulary = Vocabulary.load(folder)
    if vocabulary is None or not vocabulary.is_read:
        return b""
    index = lexicon(vocabulary).as_dict(vocabulary)
    return json.dumps(index, ensure_ascii=False, separators=(",", ":")).encode()


def find_model(name: str) -> Model:
    """A bundled model, with all that the page needs.

    Raises:
        ValueError: there is no such model, or a file of it is missing.
    """
    known = [model.name for model in find_models()]
    folder = WEIGHTS / name
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) or not (folder / "unet").is_dir():
        raise ValueError(f"There is no bundled model {name!r}; expected {' or '.join(known)}.")
    for file in MODEL_FILES:
        if not (folder / file).is_file():
            raise ValueError(f"{folder} lacks {file}. Fetch the repository again.")
    return Model(name, folder)


def find_models() -> list[Model]:
    """The bundled models that the page can draw with, the default first.

    Raises:
        ValueError: there is none.
    """
    folders = sorted(path.parent for path in WEIGHTS.glob("*/model_index.json"))
    models = [
        Model(folder.name, folder)
        for folder in sorted(folders, key=lambda folder: folder.name != FIRST)
        if all((folder / file).is_file() for file in MODEL_FILES)
    ]
    if not models:
        raise ValueError(
            f"There are no weights in {WEIGHTS}, so the page has nothing to draw "
            "with. Fetch the repository again, or make them anew with `course train all`."
        )
    return models


def page_files() -> list[str]:
    """Names of the page's own files, without the service worker."""
    return sorted(path.name for path in WEB.iterdir() if path.name != SERVICE_WORKER)


def describe(models: list[Model], offline: bool) -> dict[str, Any]:
    """The content of `site.json`: what the page knows about where it lies."""
    return {
        "models": {
            model.name: {"base": f"models/{model.name}/", "bytes": model.size()} for model in models
        },
        "offline": offline,
    }


def build(folder: Path, models: list[Model]) -> int:
    """Write the whole site.

    Args:
        folder: made if it is missing; it may hold an older site, whose files are replaced.
        models: at least one.

    Returns:
        Bytes of what was written.

    Raises:
        ValueError: the folder holds something that is no site of this command.
        OSError: no space, no permission.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SITE).is_file():
        raise ValueError(
            f"--out is {folder}, which holds other files; expected a new or an empty folder"
        )
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out is {folder}, which is a file; expected a folder or FILE.html")
    texts = {name: (WEB / name).read_bytes() for name in page_files()}
    texts[SITE] = (json.dumps(describe(models, offline=True), indent=1) + "\n").encode()
    texts[SERVICE_WORKER] = service_worker(texts, models)
    for model in models:
        for name in model.files():
            copy(model.folder / name, folder / "models" / model.name / name)
        for name, data in model.made().items():
            write_atomically(folder / "models" / model.name / name, data)
    for name, data in texts.items():
        write_atomically(folder / name, data)
    return sum(map(len, texts.values())) + sum(model.size() for model in models)


def copy(source: Path, target: Path) -> None:
    """Copy a file; the target is whole or not there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def service_worker(texts: dict[str, bytes], models: list[Model]) -> bytes:
    """The service worker with the list of the page's files, and a version that changes with any."""
    digest = hashlib.sha256()
    for name in sorted(texts):
        digest.update(name.encode() + b"\0" + texts[name])
    for model in models:
        for name in model.files():
            digest.update((model.folder / name).read_bytes())
        for data in model.made().values():
            digest.update(data)
    text = (WEB / SERVICE_WORKER).read_text(encoding="utf-8")
    text = text.replace('VERSION = ""', f"VERSION = {json.dumps(digest.hexdigest()[:16])}")
    shell = ["./", *sorted(texts)]
    return text.replace("SHELL = []", f"SHELL = {json.dumps(shell)}").encode()
