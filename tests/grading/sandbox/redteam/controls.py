"""Notebooks that are damaged or were tampered with, and honest answers that must get full marks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tiny_challenge import CHALLENGES, DOUBLE, HONEST

NOTEBOOK = "damaged or tampered notebook"
HONEST_CONTROL = "honest"


def code(id: str, source: Any, **more: Any) -> dict[str, Any]:
    outputs: dict[str, Any] = {"outputs": [], "execution_count": None}
    return {"cell_type": "code", "id": id, "metadata": {}, "source": source, **outputs, **more}


def notebook(cells: list[Any], **more: Any) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells, **more}


def answered(answer: dict[str, str], challenge: str = "90") -> bytes:
    """The notebook of a tiny challenge; cells that are not given are stubs."""
    ids = CHALLENGES[challenge][1].answers
    stubs = {"keep": "def keep(digits):\n    raise NotImplementedError"}
    cells = [code(id, answer.get(id, stubs.get(id, "pass"))) for id in ids]
    return json.dumps(notebook(cells)).encode()


@dataclass(frozen=True)
class Handed:
    """A notebook, and what it must end in.

    Attributes:
        name: of the case.
        make: its bytes.
        verdict: of the attempt.
        points: that it must give.
        challenge: 90 or 91.
    """

    name: str
    make: Callable[[], bytes]
    verdict: str = "unreadable"
    points: float = 0.0
    challenge: str = "90"


def honest_cells() -> list[dict[str, Any]]:
    return [code(id, source) for id, source in HONEST.items()]


def damaged(name: str, make: Callable[[], Any], verdict: str = "unreadable") -> Handed:
    def data() -> bytes:
        found = make()
        return found if isinstance(found, bytes) else json.dumps(found).encode()

    return Handed(name, data, verdict)


def nested(depth: int) -> bytes:
    cell = json.dumps(code("double", DOUBLE)).encode()
    return b'{"nbformat": 4, "cells": [' + cell + b'], "x": ' + b"[" * depth + b"]" * depth + b"}"


def deep_id() -> bytes:
    good = json.dumps(notebook(honest_cells())).encode()
    return good.replace(b'"id": "double"', b'"id": ' + b"[" * 900 + b"]" * 900)


DAMAGED = [
    damaged("a cell twice", lambda: notebook([*honest_cells(), code("double", "x")])),
    damaged(
        "a cell twice, once as text",
        lambda: notebook([*honest_cells(), code("keep", "x", cell_type="markdown")]),
        "tampered",
    ),
    damaged("a cell is missing", lambda: notebook(honest_cells()[1:])),
    damaged(
        "a cell became text",
        lambda: notebook([code("double", DOUBLE, cell_type="markdown"), *honest_cells()[1:]]),
        "tampered",
    ),
    damaged(
        "a cell became raw",
        lambda: notebook([code("double", DOUBLE, cell_type="raw"), *honest_cells()[1:]]),
        "tampered",
    ),
    damaged("a cell was renamed", lambda: notebook([code("Double", DOUBLE), *honest_cells()[1:]])),
    damaged(
        "a cell's name is a number",
        lambda: notebook([code(7, DOUBLE), *honest_cells()[1:]]),  # type: ignore[arg-type]
    ),
    damaged("a cell's name is 900 lists deep", deep_id),
    damaged(
        "of another challenge",
        lambda: notebook([code(id, text) for id, text in CHALLENGES["91"][2].items()]),
    ),
    damaged("nothing", lambda: b""),
    damaged("no JSON", lambda: b"%PDF-1.7 not a notebook"),
    damaged("cut off", lambda: json.dumps(notebook(honest_cells())).encode()[:-40]),
    damaged("a list", lambda: [1, 2]),
    damaged("of format 3", lambda: {"nbformat": 3, "worksheets": [{"cells": honest_cells()}]}),
    damaged("cells in a dictionary", lambda: {"nbformat": 4, "cells": {"double": DOUBLE}}),
    damaged("enormous", lambda: notebook([*honest_cells(), code("x", "x" * (21 * 2**20))])),
    damaged("an enormous answer", lambda: notebook([code("double", "#" * 300_000)])),
    damaged("in Latin-1", lambda: json.dumps(notebook(honest_cells())).encode() + b"\xe9"),
    damaged("in UTF-16", lambda: json.dumps(notebook(honest_cells())).encode("utf-16")),
    damaged(
        "half a character in an answer",
        lambda: notebook([code("double", DOUBLE + "  # \ud83d"), *honest_cells()[1:]]),
    ),
    damaged(
        "a source of numbers", lambda: notebook([code("double", [1, None]), *honest_cells()[1:]])
    ),
    damaged("a source that is none", lambda: notebook([code("double", {"text": DOUBLE})])),
    damaged("lists in lists", lambda: nested(100_000)),
    damaged("the same name again and again", lambda: b'{"nbformat":4,' * 50_000),
    damaged(
        "zeros in an answer",
        lambda: notebook([code("double", DOUBLE + "\x00"), code("total", ""), code("keep", "")]),
        "error",
    ),
    damaged(
        "nothing but stubs",
        lambda: answered({"double": "", "total": "", "keep": ""}),
        "not attempted",
    ),
]


def honest(name: str, make: Callable[[], bytes], challenge: str = "90") -> Handed:
    return Handed(name, make, "pass", CHALLENGES[challenge][1].points, challenge)


def alternative(name: str, **cells: str) -> Handed:
    return honest(name, lambda: answered(HONEST | cells))


def tensor(name: str, **cells: str) -> Handed:
    return honest(name, lambda: answered(CHALLENGES["91"][2] | cells, "91"), "91")


CONTROLS = [
    honest("plain", lambda: answered(HONEST)),
    honest(
        "a byte-order mark, and another kernel",
        lambda: json.dumps(
            notebook(honest_cells(), metadata={"kernelspec": {"name": "ir", "language": "R"}})
        ).encode("utf-8-sig"),
    ),
    honest(
        "lines that end as on Windows, sources as lists, other cells that fail",
        lambda: json.dumps(
            notebook(
                [code("x", "raise SystemExit")]
                + [
                    code(id, [line + "\r\n" for line in text.split("\n")])
                    for id, text in HONEST.items()
                ]
                + [code("y", "import os; os._exit(1)"), {"cell_type": "raw", "source": "%%"}]
            )
        ).encode(),
    ),
    honest(
        "a hundred thousand other cells",
        lambda: json.dumps(
            notebook([{"cell_type": "code", "source": "x"}] * 100_000 + honest_cells())
        ).encode(),
    ),
    honest(
        "cells in another order",
        lambda: json.dumps(notebook(honest_cells()[::-1])).encode(),
    ),
    alternative(
        "warnings, prints and logs",
        double="import logging, sys, warnings\ndef double(numbers):\n"
        "    warnings.warn('careful'); logging.error('x'); print('y' * 10**6, flush=True)\n"
        "    print('z', file=sys.stderr); sys.stdout.write('\\x1b[0m ☃')\n"
        "    return [2 * x for x in numbers]",
    ),
    alternative(
        "slow, but within the limits",
        double="import time\ndef double(numbers):\n    time.sleep(1)\n"
        "    return [2 * x for x in numbers]",
    ),
    alternative(
        "threads, processes and a queue",
        double="import os, queue, threading\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "def double(numbers):\n    with ThreadPoolExecutor(8) as pool:\n"
        "        found = list(pool.map(lambda x: 2 * x, numbers))\n"
        "    child = os.fork()\n    if child == 0: os._exit(0)\n    os.waitpid(child, 0)\n"
        "    return found",
        total="import subprocess\nfrom multiprocessing import Pipe, Lock\n"
        "def total(count, term):\n    a, b = Pipe()\n    with Lock():\n"
        "        for i in range(count): a.send(term(i))\n"
        "    assert subprocess.run(['true']).returncode == 0\n"
        "    return sum(b.recv() for _ in range(count))",
    ),
    alternative(
        "files in its own folder",
        double="import json, os, tempfile\ndef double(numbers):\n"
        "    with tempfile.TemporaryDirectory() as folder:\n"
        "        path = os.path.join(folder, 'numbers.json')\n"
        "        with open(path, 'w') as file: json.dump(numbers, file)\n"
        "        with open('here.txt', 'w') as file: file.write('x' * 2**20)\n"
        "        return [2 * x for x in json.load(open(path))]",
    ),
    alternative(
        "errors, raised and caught",
        double="def double(numbers):\n    try:\n        raise SystemExit('no')\n"
        "    except BaseException:\n        pass\n    found = []\n    for x in numbers:\n"
        "        try:\n            found.append(2 * x / (x - x))\n"
        "        except ZeroDivisionError:\n            found.append(x + x)\n    return found",
    ),
    alternative(
        "NumPy and SciPy",
        double="import numpy as np\nimport scipy.linalg\ndef double(numbers):\n"
        "    x = np.asarray(numbers, dtype=np.float64)\n"
        "    return list(scipy.linalg.solve(0.5 * np.eye(len(x)), x).tolist())",
        total="import numpy as np\ndef total(count, term):\n"
        "    return np.array([term(i) for i in range(count)]).sum().item()",
    ),
    alternative(
        "dataclasses, generators, lambdas, decorators and asyncio",
        double="from __future__ import annotations\nimport asyncio, functools\n"
        "from dataclasses import dataclass, field\n\n@dataclass\nclass Twice:\n"
        "    factor: float = field(default=2)\n    def __call__(self, x: float) -> float:\n"
        "        return self.factor * x\n\nasync def every(numbers):\n"
        "    return await asyncio.gather(*(one(x) for x in numbers))\n\n"
        "async def one(x):\n    await asyncio.sleep(0)\n    return Twice()(x)\n\n"
        "double = functools.partial(lambda numbers, run: run(every(numbers)), run=asyncio.run)",
        keep="@(lambda f: lambda **given: f(given['digits']))\n"
        "def keep(digits: list[int]) -> str:\n    return str.join('', (str(d) for d in digits))\n"
        "class Recall:\n    def __call__(self, *, text): return [ord(c) - 48 for c in text]\n"
        "recall = Recall()",
        total="def total(*, count, term):\n    match count:\n        case 0: return 0\n"
        "        case n: return term(n - 1) + total(count=n - 1, term=term)",
    ),
    alternative(
        "main guards, exec, globals and letters of all kinds",
        double="ζ = 2\nif __name__ == '__main__':\n    exec('def double(numbers):\\n"
        '    global calls\\n    calls = globals().get("calls", 0) + 1\\n'
        "    return [ζ * x for x in numbers]')\n",
    ),
    tensor(
        "float32 on the way, torch threads, gradients",
        twice="def twice(x):\n    torch.set_num_threads(2)\n    x = x.clone().requires_grad_()\n"
        "    (x**2).sum().backward()\n    return x.grad",
    ),
    tensor(
        "arrays of NumPy, in another order and byte order",
        twice="import numpy as np\ndef twice(x):\n"
        "    return np.asfortranarray(2 * x.numpy()).astype('>f8')",
        positive="def positive(x):\n    return x.numpy() > 0",
    ),
]
