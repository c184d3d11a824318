"""Page, engine and one model in a single HTML file that opens from a disk or a mail.

A browser allows a page from the disk neither modules nor fetching, so the modules become functions
in one script, and the weights stand in the file: as 8-bit whole numbers with one factor for each
row, which is a quarter of float32's size; the arithmetic stays float32.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from course_utils.files import write_atomically
from course_utils.playground.site import INDEX, WEB, Model

FEWEST = 4096  # a tensor with fewer numbers stays in half precision
LARGEST = 127
IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./([\w.]+)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export ((?:const|class|(?:async )?function\*?) )(\w+)", re.MULTILINE)
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:; worker-src blob:; "
    "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
)
START = """
const inline = JSON.parse(document.getElementById("model").textContent);
const code = document.getElementById("worker").textContent;
const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
modules["app.js"].start(inline.models, () => new Worker(url));
"""


def build(path: Path, model: Model) -> int:
    """Write the file.

    Args:
        path: ends in .html.
        model: what it draws with.

    Returns:
        Its size in bytes.

    Raises:
        OSError: no space, no permission.
    """
    page = (WEB / INDEX).read_text(encoding="utf-8")
    style = (WEB / "style.css").read_text(encoding="utf-8")
    data = json.dumps({"models": {model.name: {"inline": pack(model)}}}, ensure_ascii=False)
    page = re.sub(r'(http-equiv="Content-Security-Policy" content=)"[^"]*"', rf'\1"{POLICY}"', page)
    page = page.replace('<link rel="stylesheet" href="style.css">', f"<style>\n{style}</style>")
    scripts = "\n".join(
        [
            _script('id="model" type="application/json"', data),
            _script('id="worker" type="text/plain"', bundle("worker.js")),
            _script("", bundle("app.js") + START),
        ]
    )
    page = page.replace('<script type="module" src="main.js"></script>', scripts)
    text = page.encode()
    write_atomically(path, text)
    return len(text)


def _script(attributes: str, content: str) -> str:
    """A script element, whose content must not end it: JSON and JavaScript can escape a sign."""
    if "json" in attributes:
        safe = content.replace("<", "\\u003c")
    else:
        safe = content.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    return f"<script{' ' * bool(attributes)}{attributes}>{safe}</script>"


# --- modules -------------------------------------------------------------------------------------


def bundle(entry: str) -> str:
    """A module and all that it imports, as one script without modules.

    Each becomes a function that is called once and returns what it exports; they stand in
    `modules`, by name, each after those that it imports.
    """
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        text = (WEB / name).read_text(encoding="utf-8")
        for _, needed in IMPORT.findall(text):
            visit(needed)
        order.append(name)

    visit(entry)
    return "const modules = {};\n" + "\n".join(map(_as_function, order))


def _as_function(name: str) -> str:
    text = (WEB / name).read_text(encoding="utf-8")
    exported = [found for _, found in EXPORT.findall(text)]
    text = IMPORT.sub(r'const \1 = modules["\2"];\n', text)
    text = EXPORT.sub(r"\1\2", text)
    if re.search(r"^(import|export)\b", text, re.MULTILINE):
        raise ValueError(f"{name} imports or exports in a form that one file cannot hold")
    return (
        f"modules[{json.dumps(name)}] = (() => {{\n{text}\n"
        f"return {{ {', '.join(exported)} }};\n}})();\n"
    )


# --- weights -------------------------------------------------------------------------------------


def pack(model: Model) -> dict[str, str]:
    """Path -> text, or base64 of weights in 8 bits. The VAE's encoder is left out."""
    packed = {name: data.decode() for name, data in model.made().items()}
    for name in model.files():
        path = model.folder / name
        if path.suffix != ".safetensors":
            text = path.read_text(encoding="utf-8")
            packed[name] = json.dumps(json.loads(text)) if path.suffix == ".json" else text
        else:
            packed[name] = base64.b64encode(quantize(path, name.startswith("vae/"))).decode()
    return packed


def quantize(path: Path, decoder_only: bool = False) -> bytes:
    """A safetensors file in 8 bits: `q = round(w / s)` with `s = max |w| / 127` for each row.

    Args:
        path: the file; float16 or float32.
        decoder_only: leave out a VAE's encoder.

    Returns:
        A safetensors file: int8 tensors, each beside its factors `name.scale`, float32 (rows,);
        tensors with few numbers as float16.
    """
    import numpy as np
    from safetensors.numpy import load_file, save

    tensors: dict[str, Any] = {}
    for name, weight in load_file(path).items():
        if decoder_only and re.match(r"(encoder|quant_conv)\.", name):
            continue
        if weight.size < FEWEST:
            tensors[name] = weight.astype(np.float16)
            continue
        rows = weight.astype(np.float32).reshape(len(weight), -1)
        scale = np.maximum(np.abs(rows).max(axis=1) / LARGEST, 1e-12).astype(np.float32)
        whole = np.clip(np.round(rows / scale[:, None]), -LARGEST, LARGEST)
        tensors[name] = whole.astype(np.int8).reshape(weight.shape)
        tensors[f"{name}.scale"] = scale
    return save(tensors)
