"""Only data crosses the boundary, whole or not at all, and never more than the caps allow."""

from __future__ import annotations

import io
import json
import math
import pickle
import struct

import numpy as np
import pytest
import torch

from course_utils.grading.answers.boundary import (
    DTYPES,
    BoundaryError,
    Caps,
    from_bytes,
    to_bytes,
    to_tensors,
)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -3, 1.5, "", "ä ☃", [], {}, [1, [2, "x"]], {"a": {"b": [None, False]}}],
)
def test_plain_values_come_back(value: object) -> None:
    assert from_bytes(to_bytes(value)) == value


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (1, 2, 3, 4)])
def test_arrays_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.arange(math.prod(shape)).reshape(shape) % 2).astype(dtype)
    back = from_bytes(to_bytes({"x": [array]}))["x"][0]
    assert back.dtype == array.dtype and back.shape == shape and (back == array).all()
    assert back.flags.writeable and back.flags.owndata


def test_tensors_arrive_as_arrays_and_become_tensors_again() -> None:
    weights = {"w": torch.randn(2, 3, requires_grad=True), "n": (torch.tensor(3), 4)}
    back = from_bytes(to_bytes(weights))
    assert isinstance(back["w"], np.ndarray) and back["n"][1] == 4
    again = to_tensors(back)
    assert torch.equal(again["w"], weights["w"]) and again["n"][0].dtype == torch.int64
    half = from_bytes(to_bytes(torch.ones(2, dtype=torch.bfloat16)))
    assert half.dtype == np.float32
    strided = torch.arange(12).view(3, 4).T
    assert (from_bytes(to_bytes(strided)) == strided.numpy()).all()


def test_not_a_number_and_infinity_come_back() -> None:
    back = from_bytes(to_bytes([math.nan, math.inf, np.array([math.nan, -math.inf])]))
    assert math.isnan(back[0]) and back[1] == math.inf and back[2][1] == -math.inf


class Sly:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("pwned",))


class Number(float):
    pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Sly(), "a value is a Sly"),
        (Number(3), "a value is a Number"),
        (lambda: 1, "a value is a function"),
        (b"bytes", "a value is a bytes"),
        ({1: 2}, "a key that is no text"),
        ({"__array__": 0}, "which is taken"),
        (np.array([Sly()]), "dtype object"),
        (np.array(["text"]), "dtype"),
        (np.zeros(2, dtype=complex), "dtype complex128"),
        (np.zeros(2, dtype="datetime64[s]"), "dtype datetime64"),
        (torch.zeros(2, dtype=torch.complex64), "dtype complex64"),
    ],
)
def test_nothing_else_goes_in(value: object, words: str) -> None:
    with pytest.raises(BoundaryError, match=words):
        to_bytes(value)


def test_a_list_that_holds_itself_ends() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(BoundaryError, match="more than 12 deep"):
        to_bytes(value)


CAPS = Caps(text=1000, arrays=3, array_bytes=2000, dimensions=3)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x" * 2000, "bytes of JSON"),
        ([np.zeros(1)] * 4, "the message holds 4 arrays; expected"),
        (np.zeros(1000), "8,000 bytes; expected at most 2,000"),
        ([np.zeros(100), np.zeros(100), np.zeros(100)], "bytes of arrays"),
    ],
)
def test_caps_hold_on_both_sides(value: object, words: str) -> None:
    with pytest.raises(BoundaryError, match=words):
        to_bytes(value, CAPS)
    with pytest.raises(BoundaryError):
        from_bytes(to_bytes(value), CAPS)


def test_too_many_dimensions_are_refused() -> None:
    with pytest.raises(BoundaryError, match="4 dimensions"):
        from_bytes(to_bytes(np.zeros((1, 1, 1, 1))), CAPS)


def message(tree: object, blobs: list[bytes], sizes: list[object] | None = None) -> bytes:
    header = json.dumps({"sizes": [len(b) for b in blobs] if sizes is None else sizes}).encode()
    text = json.dumps(tree).encode()
    return struct.pack(">QQ", len(header), len(text)) + header + text + b"".join(blobs)


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def huge_header() -> bytes:
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000,), }"
    head += b" " * (118 - len(head)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + b"\x00" * 8


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 15,
        struct.pack(">QQ", 2**60, 2**60),
        struct.pack(">QQ", 10, 2**40),
        message({}, [])[:-1],
        message({}, []) + b"x",
        message({"__array__": 0}, []),
        message({"__array__": -1}, [npy(np.zeros(2))]),
        message({"__array__": True}, [npy(np.zeros(2))]),
        message({}, [], ["5"]),
        message({}, [], [-5]),
        message({}, [], [2**62]),
        message({"__array__": 0}, [pickle.dumps(Sly())]),
        message({"__array__": 0}, [npy(np.array([Sly()]), allow_pickle=True)]),
        message({"__array__": 0}, [npy(np.zeros(2))[:-3]]),
        message({"__array__": 0}, [npy(np.zeros(2)) + b"more"]),
        message({"__array__": 0}, [npy(np.zeros(3, dtype=[("a", "f4")]))]),
        message({"__array__": 0}, [huge_header()]),
        message({"__array__": 0}, [b"\x93NUMPY\x09\x00" + b"\x00" * 100]),
        struct.pack(">QQ", 12, 200_000) + b'{"sizes":[]}' + b"[" * 200_000,
    ],
)
def test_damaged_and_forged_messages_are_refused(
    data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BoundaryError):
        from_bytes(data)
    assert "pwned" not in capsys.readouterr().out
