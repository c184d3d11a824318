"""Challenge 04, Squeeze: as many bits of a picture's latents as fit, and no more.

A codec is measured by what a viewer sees: its latents go through the decoder, and the pictures are
compared with the originals, beside what the unquantised latents give. The bytes cross to `decode`
alone, in another order, and into a process that was not there when they were made.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.challenges.declare import (
    Band,
    Challenge,
    FollowUp,
    Limits,
    Measurement,
    Part,
    Refused,
)
from course_utils.challenges.squeeze import NUMBER, TITLE
from course_utils.challenges.validation import WIDEST, kind
from course_utils.data import CaptionedEmoji
from course_utils.hub import DEFAULT_MODEL, find_folder
from course_utils.models import VAE

PICTURES = 64  # that one part is measured on
TRAINING = 1024  # latents that `fit` is given
BATCH = 64  # pictures that go through the autoencoder at once
MOST_PARAMETERS = 2**21  # bytes; a 256 x 256 basis in float64 takes a quarter of it
IMPOSSIBLE = 0.1  # of what a Gaussian source of the latents' covariance allows at the rate
LIMITS = Limits(seconds=60.0, megabytes=2000)

Array = np.ndarray[Any, Any]
Inputs = Sequence[Mapping[str, Any]]


# --- pictures and latents ------------------------------------------------------------------------


@functools.lru_cache
def vae() -> VAE:
    """The shipped autoencoder."""
    return VAE.from_pretrained(find_folder(DEFAULT_MODEL) / "vae").requires_grad_(False)


def latent_shape() -> tuple[int, int, int]:
    """(channels, height, width) of one picture's latents."""
    config = vae().config
    side = config.sample_size // 2 ** (len(config.block_out_channels) - 1)
    return config.latent_channels, side, side


def budget(bits: int) -> int:
    """Bytes for a picture if each of its latents takes so many bits."""
    return math.prod(latent_shape()) * bits // 8


@torch.no_grad()
def to_latents(pixels: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, C, h, w), of unit variance."""
    return torch.cat([vae().to_latents(part) for part in pixels.split(BATCH)])


@torch.no_grad()
def to_pixels(latents: Tensor) -> Tensor:
    """(N, C, h, w) -> (N, 3, H, W) in [-1, 1]."""
    return torch.cat([vae().to_pixels(part) for part in latents.split(BATCH)])


@functools.lru_cache(maxsize=1)
def training_latents() -> Tensor:
    """Latents of pictures from the train split, `(TRAINING, C, h, w)`; always the same ones."""
    return to_latents(_draw("train", TRAINING, 0))


@dataclass(frozen=True)
class Fresh:
    """Pictures that no codec was fitted to."""

    seed: int
    latents: Tensor  # (N, C, h, w)
    error: float  # mean squared, of what the unquantised latents decode to

    @property
    def pixels(self) -> Tensor:
        """(N, 3, H, W) in [-1, 1]; drawn anew, which takes less time than space."""
        return _draw("held_out", PICTURES, self.seed)


@functools.lru_cache(maxsize=512)
def fresh(seed: int) -> Fresh:
    """Pictures of held-out pairs: neither the autoencoder nor `fit` has seen them."""
    pixels = _draw("held_out", PICTURES, seed)
    latents = to_latents(pixels)
    return Fresh(seed, latents, squared_error(pixels, to_pixels(latents)))


def _draw(split: str, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return CaptionedEmoji("all", split=split).sample_batch(count, generator).images


def squared_error(a: Tensor, b: Tensor) -> float:
    """Mean squared difference of two tensors, in float64."""
    return float((a.double() - b.double()).square().mean())


def psnr(error: float) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1], where the peak is 2."""
    return math.inf if error == 0 else 10 * math.log10(4 / error)


@functools.lru_cache
def gaussian_error(num_bytes: int) -> float:
    """The least mean squared error of a Gaussian source with the latents' covariance at this rate.

    Latents are no Gaussian, so that a good codec may come near it or even below; an order of
    magnitude below is out of reach.
    """
    latents = training_latents().flatten(1).double().numpy()
    return water_filling(np.linalg.eigvalsh(np.cov(latents, rowvar=False)), 8 * num_bytes)


def water_filling(variances: Array, bits: float) -> float:
    """Mean squared error per number of independent Gaussians that share some bits in the best way.

    Reverse water-filling (Cover and Thomas 2006, section 10.3.3): an error of D for each, or its
    variance where that is less, with D such that log2(variance / D) / 2 adds up to the bits.
    """
    variances = np.maximum(variances, 1e-12)
    low, high = math.log(1e-12), math.log(variances.max())
    for _ in range(80):
        level = np.minimum(math.exp((low + high) / 2), variances)
        needed = np.log2(variances / level).sum() / 2
        low, high = (low, (low + high) / 2) if needed < bits else ((low + high) / 2, high)
    return float(level.mean())


# --- the calls -----------------------------------------------------------------------------------


def fitting(bits: int) -> Callable[[np.random.Generator], list[dict[str, Any]]]:
    """First call: `fit` on the training latents."""

    def inputs(random: np.random.Generator) -> list[dict[str, Any]]:
        seed = int(random.integers(2**31))
        return [
            {
                "training_latents": training_latents().numpy(),
                "num_bytes": budget(bits),
                "_seed": seed,
            }
        ]

    return inputs


def encoding(inputs: Inputs, outputs: Sequence[Any]) -> list[dict[str, Any]]:
    """Second call: `encode` on fresh latents."""
    parameters, seed = outputs[0], inputs[0]["_seed"]
    if not isinstance(parameters, dict):
        raise Refused(f"fit gives {kind(parameters)}; expected a dictionary, which may be empty.")
    size = _bytes_in(parameters)
    if size > MOST_PARAMETERS:
        raise Refused(
            f"fit gives {size:,} bytes of parameters; expected at most {MOST_PARAMETERS:,}. "
            "They describe pictures in general, and hold no store of them."
        )
    return [
        {
            "latents": fresh(seed).latents.numpy(),
            "parameters": parameters,
            "num_bytes": inputs[0]["num_bytes"],
        }
    ]


def decoding(inputs: Inputs, outputs: Sequence[Any]) -> list[dict[str, Any]]:
    """Last calls: `decode` on the bytes of the pictures in another order, in two uneven groups."""
    parameters, num_bytes = inputs[1]["parameters"], inputs[0]["num_bytes"]
    data = _data(outputs[1], num_bytes)
    random = np.random.default_rng(inputs[0]["_seed"])
    rows = random.permutation(len(data))
    cut = int(random.integers(len(rows) // 4, len(rows) // 2))
    return [
        {"data": data[chosen], "parameters": parameters, "num_bytes": num_bytes, "_rows": chosen}
        for chosen in (rows[:cut], rows[cut:])
    ]


def measure(inputs: Inputs, outputs: Sequence[Any]) -> Measurement:
    """PSNR that is lost, over all pictures together."""
    num_bytes, asked = inputs[0]["num_bytes"], fresh(inputs[0]["_seed"])
    found = torch.empty_like(asked.latents)
    for given, value in zip(inputs[2:], outputs[2:], strict=True):
        found[torch.from_numpy(given["_rows"])] = _latents(value, len(given["_rows"]))
    latent_error = squared_error(found, asked.latents)
    if latent_error < IMPOSSIBLE * gaussian_error(num_bytes):
        raise Refused(
            f"decode gives latents that are nearer to the originals than {num_bytes} bytes can "
            "tell. They came by another way than the bytes, and this is not measured.",
            tampering=True,
        )
    error = squared_error(asked.pixels, to_pixels(found))
    note = (
        f"PSNR is {psnr(error):.2f} dB with {num_bytes} bytes a picture, and "
        f"{psnr(asked.error):.2f} dB with latents as they were. Mean squared error of the "
        f"latents: {latent_error:.2g}."
    )
    clipped = float(found.abs().amax() / asked.latents.abs().amax())
    notes = [note]
    if clipped < 0.5:
        notes.append(
            "The largest latent that comes back is less than half as large as the largest that "
            "went in: the range of the quantiser is too narrow."
        )
    details = {
        "PSNR": psnr(error),
        "PSNR of unquantised latents": psnr(asked.error),
        "squared error of latents": latent_error,
    }
    return Measurement(psnr(asked.error) - psnr(error), tuple(notes), details)


# --- what came back ------------------------------------------------------------------------------


def _data(value: Any, num_bytes: int) -> Array:
    """The bytes of all pictures, `(PICTURES, at most num_bytes)`."""
    if not isinstance(value, np.ndarray):
        raise Refused(f"encode gives {kind(value)}; expected a tensor of bytes, (N, num_bytes).")
    if value.dtype != np.uint8:
        raise Refused(
            f"encode gives a tensor of {value.dtype}; expected uint8, whose entries are bytes."
        )
    if value.ndim != 2 or len(value) != PICTURES:
        raise Refused(
            f"encode gives shape {value.shape} for {PICTURES} pictures; expected "
            f"({PICTURES}, {num_bytes}), one row a picture."
        )
    if value.shape[1] > num_bytes:
        raise Refused(f"encode gives {value.shape[1]} bytes a picture; the budget is {num_bytes}.")
    return value


def _latents(value: Any, count: int) -> Tensor:
    """What decode gave for some pictures."""
    shape = (count, *latent_shape())
    if not isinstance(value, np.ndarray):
        raise Refused(f"decode gives {kind(value)}; expected a tensor of latents.")
    if value.dtype.kind != "f":
        raise Refused(f"decode gives a tensor of {value.dtype}; expected float32.")
    if value.shape != shape:
        raise Refused(f"decode gives shape {value.shape} for {count} rows; expected {shape}.")
    if not np.isfinite(value).all():
        share = float(1 - np.isfinite(value).mean())
        raise Refused(f"decode gives NaN or infinity in {share:.1%} of the latents.")
    if np.abs(value).max() > WIDEST:
        raise Refused(
            f"decode gives latents up to {np.abs(value).max():.3g}; those that went in have a "
            "variance near 1."
        )
    return torch.from_numpy(value.astype(np.float32))


def _bytes_in(value: Any) -> int:
    """Bytes of all arrays and texts, 8 for a number."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(len(key.encode()) + _bytes_in(part) for key, part in value.items())
    if isinstance(value, list):
        return sum(_bytes_in(part) for part in value)
    if isinstance(value, str):
        return len(value.encode())
    return max(8, (value.bit_length() + 7) // 8) if isinstance(value, int) else 8


# --- the challenge -------------------------------------------------------------------------------


def _part(id: str, title: str, bits: int, bands: tuple[Band, ...], advice: str) -> Part:
    return Part(
        id=id,
        title=title,
        function="fit",
        inputs=fitting(bits),
        then=(FollowUp("encode", encoding), FollowUp("decode", decoding, forget=bits < 8)),
        measure=measure,
        bands=bands,
        quantity="PSNR lost, in dB",
        better="less",
        advice=advice,
        limits=LIMITS,
    )


CHALLENGE = Challenge(
    number=NUMBER,
    title=TITLE,
    answers=("fit", "encode", "decode"),
    setup="import math\n\nimport torch\nfrom torch import Tensor",
    withheld=(
        "course_utils.data",
        "course_utils.hub",
        "course_utils.models",
        "course_utils.pipeline",
    ),
    rests_on=("emoji-64/vae",),
    pass_points=7,
    minutes=75,
    parts=(
        _part(
            "a",
            "8 bits a number",
            8,
            (Band(0.25, 2, "unseen"), Band(1, 1, "nearly")),
            "One byte is one number from 0 to 255. Choose a range that holds nearly all latents, "
            "cut it into 256 equal cells, send the number of the cell, and let decode answer with "
            "the middle of that cell.",
        ),
        _part(
            "b",
            "3 bits a number",
            3,
            (Band(4, 4, "fitted"), Band(4.8, 1, "ranged")),
            "With 8 cells each must count. Print mean and standard deviation of every channel of "
            "training_latents, and fit the cells to each channel; a few clipped latents cost less "
            "than wide cells. Cells need not be equal either: narrow ones where many latents are "
            "serve better. Keep in mind that decode sees each row alone, in another order, in a "
            "new process.",
        ),
        _part(
            "c",
            "2 bits a number",
            2,
            (
                Band(4.2, 4, "correlated"),
                Band(5.4, 3, "transformed"),
                Band(7.4, 1, "fitted"),
            ),
            "What does a latent tell about its neighbours? Four cells for each number are a poor "
            "use of the bytes. Change the basis (to the eigenvectors of the covariance), so that "
            "most of the variance comes into few numbers, and give each next bit to the number "
            "with the largest error left; a bit divides an error by about 4. Many numbers then "
            "get no bit at all, and decode answers with their mean. Keep in mind that decode sees "
            "each row alone, in another order, in a new process.",
        ),
    ),
)
