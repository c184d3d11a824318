"""Whatever the other process does, the grader's time and memory stay bounded, and it says why.

Here the other process is no worker but a few lines that speak to the pipes as they like.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import psutil
import pytest

from course_utils.challenges.declare import (
    Band,
    Challenge,
    FollowUp,
    Limits,
    Measurement,
    Part,
    Refused,
)
from course_utils.grading.answers import memory
from course_utils.grading.answers.callers import Outcome
from course_utils.grading.answers.process import GraderFault, OtherProcess
from course_utils.grading.answers.verify import verify

SPEAKS = """
import json, os, struct, sys, time

def message(tree, blobs=()):
    head = json.dumps({"sizes": [len(b) for b in blobs]}).encode()
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    return struct.pack(">QQ", len(head), len(text)) + head + text + b"".join(blobs)

def npy(count):
    head = repr({"descr": "<f8", "fortran_order": False, "shape": (count,)}).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\\n"
    return b"\\x93NUMPY\\x01\\x00" + struct.pack("<H", len(head)) + head + bytes(8 * count)

def out(data):
    data = memoryview(data)
    while data: data = data[os.write(1, data):]

def hear():
    def read(count):
        data = b""
        while len(data) < count:
            part = os.read(0, count - len(data))
            if not part: sys.exit()
            data += part
        return data
    a, b = struct.unpack(">QQ", read(16))
    sizes = json.loads(read(a))["sizes"]
    return json.loads(read(b)), read(sum(sizes))

ZERO = message({"op": "value", "value": 0.0})
ASK = message({"op": "oracle", "name": "ask", "args": [1], "kwargs": {}})
hear(); out(message({"op": "value", "value": []}))
hear(); out(message({"op": "value", "value": ["f", 3, None, ["f"]]}))
"""


def measure(inputs: Any, outputs: Any) -> Measurement:
    return Measurement(0.0)


PART = Part("a", "f", "f", lambda random: [{"x": 1}], measure, (Band(0, 1),), "x", "less")
CHALLENGE = Challenge("01", "Test", ("answer",), (PART,), 1, setup="")
LIMITS = Limits(2.0, 300, {"ask": 5})


def start(source: str) -> Any:
    def run(limits: Limits) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", SPEAKS + source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    return run


def call(source: str, seconds: float = 2.0, asked: Any = 1, megabytes: int = 300) -> Outcome:
    limits = Limits(seconds, megabytes, {"ask": 5})
    with OtherProcess(CHALLENGE, [("answer", "")], start(source)) as caller:
        return caller.call("f", {"x": asked}, {"ask": lambda x: x + 1}, limits)


CASES = {
    "an answer": ("hear(); out(ZERO); hear()", "value", ""),
    "silence": ("time.sleep(99)", "timeout", ""),
    "nothing is read": ("out(ASK * 4000); time.sleep(99)", "refused", ""),
    "questions without end": ("hear()\nwhile True: out(ASK); hear()", "refused", "more than 5"),
    "a byte now and then": (
        "hear()\nfor b in ZERO * 9: out(bytes([b])); time.sleep(0.1)",
        "timeout",
        "",
    ),
    "an announcement": ("hear(); out(ZERO[:20]); time.sleep(99)", "timeout", ""),
    "half a message, and the end": ("hear(); out(ZERO[:20])", "killed", "status 0"),
    "the end": ("hear()", "killed", "status 0"),
    "a signal": ("import signal; os.kill(os.getpid(), 9)", "killed", "status -9"),
    "closed pipes": ("hear(); os.close(1); time.sleep(99)", "killed", "status None"),
    "garbage": ("hear(); out(bytes(range(256)) * 99); time.sleep(99)", "killed", "no message"),
    "2^63 bytes": ("hear(); out(struct.pack('>QQ', 2**63, 1)); time.sleep(9)", "killed", "header"),
    "sizes that are none": (
        "hear(); out(struct.pack('>QQ', 15, 2) + b'{\"sizes\":[1e9]}{}'); time.sleep(9)",
        "killed",
        "header",
    ),
    "deep JSON": (
        "hear(); out(message(b'[' * 500000 + b']' * 500000)); time.sleep(9)",
        "killed",
        "500,000 lists",
    ),
    "JSON a little too deep": (
        "hear(); out(message(b'{\"op\":' + b'[' * 300 + b']' * 300 + b'}')); time.sleep(9)",
        "killed",
        "deep",
    ),
    "a list": ("hear(); out(message([1])); time.sleep(9)", "killed", "nobody asked for"),
    "no operation": ("hear(); out(message({'op': ['value']})); time.sleep(9)", "killed", "nobody"),
    "a definition": ("hear(); out(message({'op': 'define'})); time.sleep(9)", "killed", "nobody"),
    "not written, it says": (
        "hear(); out(message({'op': 'open', 'x': 1})); time.sleep(9)",
        "killed",
        "nobody asked for",
    ),
    "an error without words": ("hear(); out(message({'op': 'error', 'text': 3}))", "error", ""),
    "an error of lists": (
        "hear(); out(message({'op': 'error', 'kind': [[]], 'text': {}, 'line': [1]}))",
        "error",
        "",
    ),
    "a question of nobody": (
        "hear(); out(message({'op': 'oracle', 'name': 'other', 'args': []})); time.sleep(9)",
        "killed",
        "nobody asked for",
    ),
    "a question's name is a list": (
        "hear(); out(message({'op': 'oracle', 'name': [], 'args': []})); time.sleep(9)",
        "killed",
        "nobody asked for",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_end_has_a_name(name: str) -> None:
    source, status, words = CASES[name]
    started = time.monotonic()
    found = call(source)
    assert (found.status, words in found.text) == (status, True), found
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ('{"0": 1}', "{}", "nobody can answer"),
        ("[1]", "[1]", "nobody can answer"),
        ("[]", "{}", "ask: "),
        ("[1, 2, 3]", "{}", "ask: "),
        ('["text"]', "{}", "ask: "),
        ("[1]", '{"self": 1}', "ask: "),
        ("[[1, [2]]]", "{}", "ask: "),
        ("[null]", "{}", "ask: "),
    ],
)
def test_forged_questions_are_answered_with_a_refusal(args: str, kwargs: str, words: str) -> None:
    source = (
        f'hear(); out(message(b\'{{"op": "oracle", "name": "ask", "args": {args}, '
        f'"kwargs": {kwargs}}}\'))\n'
        "said = hear()[0]; out(message({'op': 'error', 'kind': 'x', 'text': said['refused']}))"
    )
    found = call(source)
    assert found.status == "error" and words in found.text, found


def test_large_inputs_that_nobody_reads_take_no_longer_than_the_limit() -> None:
    asked = np.zeros(4_000_000)
    started = time.monotonic()
    assert call("time.sleep(99)", asked=asked).status == "timeout"
    assert time.monotonic() - started < 20


def test_a_flood_stays_within_the_grader_s_memory_and_leaves_no_thread() -> None:
    def threads() -> int:
        every = [t for t in threading.enumerate() if "answers" in t.name]
        for thread in every:
            thread.join(5)
        return sum(thread.is_alive() for thread in every)

    most, watching = 0.0, True

    def watch() -> None:
        nonlocal most
        ours = psutil.Process()
        while watching:
            most = max(most, ours.memory_info().rss / 2**20)
            time.sleep(0.01)

    before = psutil.Process().memory_info().rss / 2**20
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        large = "blob = npy(8000000)\nhear()\nwhile True: out(message({'op': 'oracle', 'name': "
        large += "'ask', 'args': [{'__array__': 0}], 'kwargs': {}}, [blob]))"
        assert call(large, 4).status in ("timeout", "refused")
        for tree in ("ZERO", "message({'op': 'value', 'value': [[]] * 200000})"):
            found = call(f"hear()\ndata = {tree}\nwhile True: out(data)", 20)
            assert found.status in ("value", "killed")  # too many lists are no message
    finally:
        watching = False
        watcher.join()
    assert most - before < 1500
    assert threads() == 0


def test_memory_is_watched_while_nobody_waits() -> None:
    source = (
        "hear(); out(ZERO)\nheld = []\n"
        "while len(held) < 4000: held.append(bytearray(b'x') * 2**20); time.sleep(0.0002)\n"
        "time.sleep(99)"
    )
    with OtherProcess(CHALLENGE, [("answer", "")], start(source)) as caller:
        assert caller.call("f", {"x": 1}, {}, LIMITS).status == "value"
        process = caller.process
        assert process is not None
        process.wait(30)  # the measurement of what came back, for example
        assert caller.call("f", {"x": 1}, {}, LIMITS).status == "memory"


def test_memory_is_counted_with_children_and_page_tables() -> None:
    source = (
        "import mmap, os, sys, time\nif os.fork() == 0:\n    if os.fork() == 0:\n"
        "        held = bytearray(b'x') * (100 * 2**20)\n"
        "        os.write(1, b'.'); time.sleep(99)\n    time.sleep(99)\n"
        "m = mmap.mmap(-1, 2**36, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)\n"
        "m.madvise(15)\nfor i in range(0, 2**36, 2**21): m[i]\n"
        "os.write(1, b'.'); time.sleep(99)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None and process.stdout.read(2) == b".."  # both are ready
        assert len(list(memory.descendants(process.pid))) == 3
        assert 200 < memory.megabytes(process.pid) < 700
        assert 100 < memory._by_psutil(process.pid) < 200  # no page tables
    finally:
        os.killpg(process.pid, 9)
        process.wait()
    assert memory.megabytes(process.pid) == 0


def test_an_orphan_that_holds_the_pipes_holds_nobody_up() -> None:
    source = (
        "hear()\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        time.sleep(25)\n    os._exit(0)\nos.wait(); time.sleep(0.2)"
    )
    started = time.monotonic()
    assert call(source).status in ("timeout", "killed")
    assert time.monotonic() - started < 20


def test_a_process_that_does_not_start_is_our_fault() -> None:
    def broken(limits: Limits) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["false"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    with (
        OtherProcess(CHALLENGE, [("answer", "")], broken) as caller,
        pytest.raises(GraderFault, match="did not start"),
    ):
        caller.call("f", {"x": 1}, {}, LIMITS)


FORWARDED = {
    "too many arrays": ("[np.zeros(1) for _ in range(256)]", "arrays"),
    "too much text": ("'x' * 999_800", "bytes of JSON"),
}


@pytest.mark.parametrize("name", FORWARDED)
def test_what_can_t_be_handed_on_is_the_answer_s_fault(name: str) -> None:
    value, words = FORWARDED[name]

    def inputs(given: Any, outputs: Any) -> list[dict[str, Any]]:
        return [{"y": outputs[0], "more": np.zeros(3), "text": "x" * 300}]

    part = Part(
        "a", "f", "f", lambda random: [{"x": 1}], measure, (Band(0, 1),), "x", "less",
        then=(FollowUp("g", inputs),), limits=Limits(30, 1500),
    )  # fmt: skip
    challenge = Challenge("01", "Test", ("answer",), (part,), 1, setup="import numpy as np")
    source = f"def f(x):\n    return {value}\ndef g(y, more, text):\n    return 0.0"
    with OtherProcess(challenge, [("answer", source)]) as caller:
        (found,) = verify(challenge, caller).parts
    assert found.verdict == "wrong" and "can't be handed to g" in found.message, found
    assert words in found.message


def test_a_refusal_of_the_next_step_is_told() -> None:
    def inputs(given: Any, outputs: Any) -> list[dict[str, Any]]:
        raise Refused("No.", tampering=True)

    part = Part(
        "a", "f", "f", lambda random: [{"x": 1}], measure, (Band(0, 1),), "x", "less",
        then=(FollowUp("g", inputs),),
    )  # fmt: skip
    challenge = Challenge("01", "Test", ("answer",), (part,), 1, setup="")
    with OtherProcess(challenge, [("answer", "def f(x): return 1\ndef g(): pass")]) as caller:
        (found,) = verify(challenge, caller).parts
    assert (found.verdict, found.message) == ("tampered", "No.")
