"""Planted answers of challenge 04, Squeeze.

Some wrong answers leave two of the three budgets open, which saves the time of two parts.
"""

from __future__ import annotations

from planted import PlantedAnswers

NO_FIT = "def fit(training_latents, num_bytes):\n    return {}"


def _only(num_bytes: int) -> str:
    """A fit that is written for one budget."""
    return f"""
def fit(training_latents, num_bytes):
    if num_bytes != {num_bytes}:
        raise NotImplementedError
    return {{}}
"""


def _even(width: float) -> dict[str, str]:
    """Equal cells in [-width, width] for all numbers, with as many bits as the budget has."""
    return {
        "fit": NO_FIT,
        "encode": f"""
WIDTH = {width}


def encode(latents, parameters, num_bytes):
    flat = latents.flatten(1)
    bits = 8 * num_bytes // flat.shape[1]
    cells = ((flat + WIDTH) / (2 * WIDTH) * 2**bits).floor().clamp(0, 2**bits - 1).long()
    ones = ((cells[:, :, None] >> torch.arange(bits)) & 1).flatten(1)
    return (ones.view(len(flat), -1, 8) << torch.arange(8)).sum(2).to(torch.uint8)
""",
        "decode": """
def decode(data, parameters, num_bytes):
    bits = num_bytes // 32
    ones = ((data.long()[:, :, None] >> torch.arange(8)) & 1).view(len(data), -1, bits)
    cells = (ones << torch.arange(bits)).sum(2)
    flat = (cells + 0.5) / 2**bits * 2 * WIDTH - WIDTH
    return flat.view(-1, 4, 8, 8)
""",
    }


ROWS = """
def encode(latents, parameters, num_bytes):
    return torch.zeros(len(latents), num_bytes, dtype=torch.uint8)
"""

MEMORY = """
SEEN = {}


def encode(latents, parameters, num_bytes):
    rows = torch.randint(256, (len(latents), num_bytes), dtype=torch.uint8)
    for row, latent in zip(rows, latents):
        SEEN[bytes(row.tolist())] = latent
    return rows
"""

IN_ORDER = """
SEEN = []


def encode(latents, parameters, num_bytes):
    SEEN[:] = list(latents)
    return torch.zeros(len(latents), num_bytes, dtype=torch.uint8)
"""

IN_A_FILE = """
import os
import tempfile

PLACE = os.path.join(tempfile.gettempdir(), f"squeeze-test-{os.getppid()}.pt")


def encode(latents, parameters, num_bytes):
    rows = torch.zeros(len(latents), num_bytes, dtype=torch.uint8)
    rows[:, 0] = torch.arange(len(latents))
    torch.save(latents, PLACE)
    return rows
"""

IN_THE_BATCH = """
def encode(latents, parameters, num_bytes):
    every = latents.contiguous().view(torch.uint8).flatten()[: len(latents) * num_bytes]
    return every.view(len(latents), num_bytes)
"""

FROM_THE_BATCH = """
def decode(data, parameters, num_bytes):
    found = torch.zeros(len(data) * 1024, dtype=torch.uint8)
    found[: data.numel()] = data.flatten()
    return found.view(torch.float32).nan_to_num(0, 0, 0).clamp(-4, 4).view(-1, 4, 8, 8)
"""

AS_FLOAT = """
def encode(latents, parameters, num_bytes):
    return latents.half().flatten(1).view(torch.uint8)
"""

WRONG = [
    (
        "naive: equal cells in [-1, 1]",
        _even(1.0) | {"fit": _only(256)},
        {"a": (0, "range of the quantiser is too narrow")},
    ),
    (
        "naive: equal cells in [-4, 4]",
        _even(4.0),
        {"a": (2, "Full marks"), "b": (0, "At most 4.8"), "c": (0, "At most 7.4 gives 1")},
    ),
    (
        "more bytes than the budget",
        {"fit": NO_FIT, "encode": AS_FLOAT},
        {
            "a": (0, "512 bytes a picture; the budget is 256"),
            "b": (0, "the budget is 96"),
            "c": (0, "the budget is 64"),
        },
    ),
    (
        "numbers and no bytes",
        {
            "fit": NO_FIT,
            "encode": "def encode(latents, parameters, num_bytes):\n    return latents.flatten(1)",
        },
        dict.fromkeys("abc", (0, "tensor of float32; expected uint8")),
    ),
    (
        "one row for all pictures",
        {"fit": NO_FIT, "encode": ROWS.replace("len(latents)", "1")},
        dict.fromkeys("abc", (0, "one row a picture")),
    ),
    (
        "fit gives no dictionary",
        {"fit": "def fit(training_latents, num_bytes):\n    return training_latents.mean(dim=0)"},
        dict.fromkeys("abc", (0, "fit gives a tensor; expected a dictionary")),
    ),
    (
        "NaN",
        {
            "fit": _only(256),
            "encode": ROWS,
            "decode": "def decode(data, parameters, num_bytes):\n"
            "    return torch.full((len(data), 4, 8, 8), math.nan)",
        },
        {"a": (0, "NaN or infinity in 100.0%")},
    ),
    (
        "latents that are flat",
        {
            "fit": _only(256),
            "encode": ROWS,
            "decode": "def decode(data, parameters, num_bytes):\n"
            "    return torch.zeros(len(data), 256)",
        },
        {"a": (0, "decode gives shape")},
    ),
    (
        "cheat: pictures are kept by their bytes",
        {
            "fit": _only(64),
            "encode": MEMORY,
            "decode": "def decode(data, parameters, num_bytes):\n"
            "    return torch.stack([SEEN[bytes(row.tolist())] for row in data])",
        },
        {"c": (0, "KeyError")},
    ),
    (
        "cheat: pictures are kept in their order",
        {
            "fit": _only(256),
            "encode": IN_ORDER,
            "decode": "def decode(data, parameters, num_bytes):\n"
            "    return torch.stack(SEEN[: len(data)])",
        },
        {"a": (0, "PSNR lost")},
    ),
    (
        "cheat: pictures are kept in a file",
        {
            "fit": _only(96),
            "encode": IN_A_FILE,
            "decode": "def decode(data, parameters, num_bytes):\n"
            "    return torch.load(PLACE)[data[:, 0].long()]",
        },
        {"b": (0, "nearer to the originals than 96 bytes can tell")},
    ),
    (
        "cheat: the budget of all pictures for a few",
        {"fit": _only(256), "encode": IN_THE_BATCH, "decode": FROM_THE_BATCH},
        {"a": (0, "PSNR lost")},
    ),
    (
        "cheat: the training pictures as parameters",
        {
            "fit": "def fit(training_latents, num_bytes):\n"
            "    return {'store': torch.cat([training_latents] * 3)}"
        },
        dict.fromkeys("abc", (0, "hold no store of them")),
    ),
]

# Written otherwise: equal cells and NumPy's bits; nearest levels and rows as whole numbers.
BY_STEPS = {
    "fit": """
def fit(training_latents, num_bytes):
    x = training_latents.flatten(1).double()
    mean = x.mean(0)
    _, deviation, basis = torch.linalg.svd((x - mean) / len(x) ** 0.5, full_matrices=False)
    bits, left = [0] * len(deviation), deviation.square().tolist()
    for _ in range(8 * num_bytes):
        k = max((k for k in range(len(left)) if bits[k] < 9), key=left.__getitem__)
        bits[k], left[k] = bits[k] + 1, left[k] / 4
    reach = [0.0, 1.6, 2.0, 2.35, 2.7, 3.2, 3.6, 4.0, 5.0, 6.0]
    width = deviation * torch.tensor([reach[b] for b in bits])
    return {"mean": mean, "basis": basis, "bits": bits, "width": width}
""",
    "encode": """
import numpy as np


def encode(latents, parameters, num_bytes):
    numbers = (latents.flatten(1).double() - parameters["mean"]) @ parameters["basis"].T
    rows = []
    for row in numbers.tolist():
        text = ""
        for value, width, bits in zip(row, parameters["width"].tolist(), parameters["bits"]):
            if bits:
                place = int((value / width + 1) / 2 * 2**bits)
                text += format(min(max(place, 0), 2**bits - 1), f"0{bits}b")
        rows.append(np.packbits(np.array(list(text), dtype=np.uint8)))
    return np.stack(rows)
""",
    "decode": """
def decode(data, parameters, num_bytes):
    found = torch.zeros(len(data), len(parameters["bits"]), dtype=torch.float64)
    for n, row in enumerate(np.unpackbits(data.numpy(), axis=1)):
        text, start = "".join(map(str, row)), 0
        for k, bits in enumerate(parameters["bits"]):
            if bits:
                place = int(text[start : start + bits], 2)
                found[n, k] = ((place + 0.5) / 2**bits * 2 - 1) * parameters["width"][k]
                start += bits
    return (found @ parameters["basis"] + parameters["mean"]).float().view(-1, 4, 8, 8)
""",
}
BY_WHOLE_NUMBERS = {
    "fit": """
import heapq

import numpy as np


def fit(training_latents, num_bytes):
    x = training_latents.flatten(1).numpy().astype("float64")
    mean = x.mean(0)
    variance, basis = np.linalg.eigh(np.cov(x.T))
    numbers = (x - mean) @ basis
    bits = np.zeros(len(variance), dtype="int64")
    waiting = [(-v, k) for k, v in enumerate(variance)]
    heapq.heapify(waiting)
    for _ in range(8 * num_bytes):
        v, k = heapq.heappop(waiting)
        bits[k] += 1
        heapq.heappush(waiting, (v / 4 if bits[k] < 8 else 0.0, k))
    levels = np.zeros((len(bits), 256))
    for k, b in enumerate(bits):
        values, count = numbers[:, k], 2**b
        reach = 1.2 * np.abs(values).max() if b > 5 else np.abs(values).mean() * (1 + b / 2)
        found = np.linspace(-reach, reach, count) if b else np.zeros(1)
        for _ in range(12 if 0 < b <= 5 else 0):
            cell = np.abs(values[:, None] - found).argmin(1)
            sums, many = np.bincount(cell, values, count), np.bincount(cell, minlength=count)
            found = np.where(many > 0, sums / np.maximum(many, 1), found)
        levels[k, :count] = found
    return {"mean": mean, "basis": basis, "bits": bits, "levels": levels}
""",
    "encode": """
def encode(latents, parameters, num_bytes):
    numbers = (latents.flatten(1).double() - parameters["mean"]) @ parameters["basis"]
    whole = [0] * len(latents)
    for k, b in enumerate(parameters["bits"].tolist()):
        levels = parameters["levels"][k, : 2**b]
        cells = (numbers[:, k, None] - levels).abs().argmin(1).tolist()
        whole = [(total << b) + cell for total, cell in zip(whole, cells)]
    return torch.tensor([list(total.to_bytes(num_bytes, "little")) for total in whole]).byte()
""",
    "decode": """
def decode(data, parameters, num_bytes):
    found = torch.zeros(len(data), len(parameters["bits"]), dtype=torch.float64)
    whole = [int.from_bytes(bytes(row), "little") for row in data.tolist()]
    for k in range(found.shape[1] - 1, -1, -1):
        b = int(parameters["bits"][k])
        found[:, k] = parameters["levels"][k, [total & (2**b - 1) for total in whole]]
        whole = [total >> b for total in whole]
    return (found @ parameters["basis"].T + parameters["mean"]).float().view(-1, 4, 8, 8)
""",
}
RIGHT = [("equal cells and NumPy's bits", BY_STEPS), ("rows as whole numbers", BY_WHOLE_NUMBERS)]


class TestAnswers(PlantedAnswers):
    number = "04"
    wrong, right = WRONG, RIGHT
    half_wrong = "latents that are flat"
