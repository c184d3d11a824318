"""Values as bytes, for a boundary that carries data and nothing else.

A message is a header of JSON with the arrays behind it in NumPy's `.npy` format. Nothing in it can
name code: no pickle, no objects. What arrives is checked against caps before it is believed.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

DTYPES = frozenset({"bool", "uint8", "int32", "int64", "float16", "float32", "float64"})
_ARRAY, _LENGTH = "__array__", struct.Struct(">QQ")


@dataclass(frozen=True)
class Caps:
    """The most that one message may hold."""

    text: int = 1_000_000  # bytes of JSON
    arrays: int = 256
    array_bytes: int = 64 * 2**20  # all arrays together
    dimensions: int = 6
    depth: int = 12  # lists in lists
    lists: int = 20_000  # and dictionaries, in all


class BoundaryError(ValueError):
    """Something that may not cross the boundary; the message says what."""


class Closed(Exception):
    """The other side has closed its pipe."""


def to_bytes(value: Any, caps: Caps | None = None) -> bytes:
    """Encode a value.

    Args:
        value: None, bool, int, float, text, array, tensor, or lists, tuples and dictionaries with
            text keys of these. Tuples arrive as lists, tensors as arrays.
        caps: the most that it may hold.

    Raises:
        BoundaryError: something else, or too much.
    """
    caps = caps or Caps()
    blobs: list[bytes] = []
    text = json.dumps(_plain(value, blobs, caps, 0), allow_nan=True).encode()
    _check("bytes of JSON", len(text), caps.text)
    _check("bytes of arrays", sum(map(len, blobs)), caps.array_bytes)
    header = json.dumps({"sizes": [len(blob) for blob in blobs]}).encode()
    body = b"".join(blobs)
    return _LENGTH.pack(len(header), len(text)) + header + text + body


def from_bytes(data: bytes, caps: Caps | None = None) -> Any:
    """Decode what `to_bytes` wrote; arrays arrive as NumPy arrays that own their memory.

    Raises:
        BoundaryError: it is damaged, or holds more than `caps` allow.
    """
    stream = io.BytesIO(data)

    def read(count: int) -> bytes:
        part = stream.read(count)
        if len(part) != count:
            raise BoundaryError(f"the message ends after {len(data)} bytes; more were announced")
        return part

    value = read_message(read, caps)
    if stream.read(1):
        raise BoundaryError("the message is longer than it says")
    return value


def read_message(read: Callable[[int], bytes], caps: Caps | None = None) -> Any:
    """Read one message with `read(count)`, which gives exactly that many bytes."""
    caps = caps or Caps()
    header_size, text_size = _LENGTH.unpack(read(_LENGTH.size))
    _check("bytes of header", header_size, 100_000)
    _check("bytes of JSON", text_size, caps.text)
    try:
        sizes = json.loads(read(header_size))["sizes"]
        assert isinstance(sizes, list) and all(type(n) is int and n >= 0 for n in sizes)
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
        raise BoundaryError("the message has no valid header") from None
    _check("arrays", len(sizes), caps.arrays)
    _check("bytes of arrays", sum(sizes), caps.array_bytes)
    text = read(text_size)
    _check("lists and dictionaries", text.count(b"[") + text.count(b"{"), caps.lists)
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        raise BoundaryError("the message is no valid JSON") from None
    arrays = [_array(read(size), caps) for size in sizes]
    return _restore(tree, arrays, caps, 0)


def reading(part: Callable[[int], bytes | None]) -> Callable[[int], bytes]:
    """Reads exactly as many bytes as are asked for, from a pipe that gives some at a time.

    Args:
        part: reads at most so many bytes; nothing means that the pipe was closed.

    Returns:
        A function for `read_message`; it raises `Closed` where the pipe ends.
    """

    def read(count: int) -> bytes:
        parts = []
        while count:
            found = part(min(count, 1 << 20))
            if not found:
                raise Closed
            parts.append(found)
            count -= len(found)
        return b"".join(parts)

    return read


def to_tensors(value: Any) -> Any:
    """Arrays to torch tensors, anywhere in a value."""
    if isinstance(value, np.ndarray):
        import torch

        return torch.from_numpy(np.array(value))
    if isinstance(value, list):
        return [to_tensors(part) for part in value]
    if isinstance(value, dict):
        return {key: to_tensors(part) for key, part in value.items()}
    return value


def _plain(value: Any, blobs: list[bytes], caps: Caps, depth: int) -> Any:
    if depth > caps.depth:
        raise BoundaryError(f"lists stand in lists, more than {caps.depth} deep")
    if value is None or type(value) in (bool, int, float, str):
        _check_plain(value)
        return value
    if isinstance(value, list | tuple):
        return [_plain(part, blobs, caps, depth + 1) for part in value]
    if isinstance(value, dict):
        if not all(type(key) is str for key in value):
            raise BoundaryError("a dictionary has a key that is no text")
        _check_keys(value)
        return {key: _plain(part, blobs, caps, depth + 1) for key, part in value.items()}
    array = _as_array(value)
    if array is None:
        kind = type(value).__name__
        raise BoundaryError(
            f"a value is a {kind}; expected numbers, text, tensors or lists of these"
        )
    if array.dtype.name not in DTYPES:
        raise BoundaryError(f"a tensor has dtype {array.dtype}; expected one of {sorted(DTYPES)}")
    if array.nbytes > caps.array_bytes:
        raise BoundaryError(
            f"a tensor has {array.nbytes:,} bytes; expected at most {caps.array_bytes:,}"
        )
    _check("arrays", len(blobs) + 1, caps.arrays)
    buffer = io.BytesIO()
    native = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    np.save(buffer, native, allow_pickle=False)
    blobs.append(buffer.getvalue())
    return {_ARRAY: len(blobs) - 1}


def _as_array(value: Any) -> np.ndarray | None:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.generic):
        return np.asarray(value)
    if type(value).__module__.startswith("torch") and hasattr(value, "detach"):
        tensor = value.detach().cpu()
        if str(tensor.dtype) == "torch.bfloat16":
            tensor = tensor.float()
        found: np.ndarray = tensor.numpy()
        return found
    return None


def _array(blob: bytes, caps: Caps) -> np.ndarray:
    stream = io.BytesIO(blob)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise BoundaryError(f"an array has format {version}; expected (1, 0)")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=10_000)
    except BoundaryError:
        raise
    except Exception:
        raise BoundaryError("an array's header is damaged") from None
    if dtype.name not in DTYPES or dtype.hasobject or not dtype.isnative:
        raise BoundaryError(f"an array has dtype {dtype}; expected one of {sorted(DTYPES)}")
    if len(shape) > caps.dimensions:
        raise BoundaryError(
            f"an array has {len(shape)} dimensions; expected at most {caps.dimensions}"
        )
    count = math.prod(shape)
    rest = blob[stream.tell() :]
    if fortran or any(n < 0 for n in shape) or count * dtype.itemsize != len(rest):
        raise BoundaryError("an array's size is not what its header says")
    if dtype.kind == "b" and max(rest, default=0) > 1:
        raise BoundaryError("an array of bool holds what is neither true nor false")
    try:
        return np.frombuffer(rest, dtype=dtype).reshape(shape).copy()
    except (ValueError, OverflowError):
        raise BoundaryError("an array's shape is impossible") from None


def _restore(tree: Any, arrays: list[np.ndarray], caps: Caps, depth: int) -> Any:
    if depth > caps.depth + 1:  # an array is a dictionary here
        raise BoundaryError(f"lists stand in lists, more than {caps.depth} deep")
    if isinstance(tree, list):
        return [_restore(part, arrays, caps, depth + 1) for part in tree]
    if isinstance(tree, dict):
        if set(tree) == {_ARRAY}:
            index = tree[_ARRAY]
            if type(index) is not int or not 0 <= index < len(arrays):
                raise BoundaryError("the message names an array that it does not hold")
            return arrays[index]
        _check_keys(tree)
        return {key: _restore(part, arrays, caps, depth + 1) for key, part in tree.items()}
    _check_plain(tree)
    return tree


def _check_keys(tree: dict[str, Any]) -> None:
    if _ARRAY in tree:
        raise BoundaryError(f"a dictionary has the key {_ARRAY!r}, which is taken")
    for key in tree:
        _check_plain(key)


def _check_plain(value: Any) -> None:
    """Numbers fit into 64 bits, and text can be written down as UTF-8."""
    if type(value) is int and value.bit_length() > 64:
        raise BoundaryError(f"a whole number has {value.bit_length()} bits; expected at most 64")
    if type(value) is str and not _is_text(value):
        raise BoundaryError("a text holds half of a character (a lone surrogate)")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check(what: str, found: int, most: int) -> None:
    if found > most:
        raise BoundaryError(
            f"the message holds {found:,} {what}; expected at most {most:,}. Put many numbers into "
            "one tensor"
        )
