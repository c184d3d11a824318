"""What lesson 06 rests on: its code against course_utils and diffusers, closed forms, helpers.

Cells of the notebook run here one by one, on small networks and without the shipped weights.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.testing import assert_close

from course_utils.authoring import read
from course_utils.checks import find_exercise
from course_utils.models import VAE, UNet
from course_utils.models.vae import DiagonalGaussian
from course_utils.plots import Curve
from course_utils.plots.latents import (
    Cloud,
    clouds,
    cost_of_positions,
    latent_panels,
    picture_rows,
    rate_distortion,
    spectra,
    table_of_shades,
)
from course_utils.training.vae import VAETask

SOLUTION = Path(__file__).parents[1] / "solutions" / "06_latent_vae.ipynb"
LEVELS = {
    "block_out_channels": (4, 8, 12),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "norm_num_groups": 2,
}


@pytest.fixture(scope="module")
def cells() -> dict[str, str]:
    """The source of each code cell, by its id."""
    code = [c for c in read(SOLUTION)["cells"] if c["cell_type"] == "code"]
    return {cell["id"]: "".join(cell["source"]) for cell in code}


def definitions(source: str, *names: str) -> str:
    """The functions and imports of a cell, without what it computes with them."""
    import ast

    kept = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.FunctionDef | ast.ClassDef) and (not names or node.name in names))
    ]
    return ast.unparse(ast.Module(kept, []))


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def reference(name: str) -> Any:
    return find_exercise(f"06.{name}").reference


# --- exercises -----------------------------------------------------------------------------------


def test_solutions_are_the_references(cells: dict[str, str]) -> None:
    inputs: dict[str, tuple[Any, ...]] = {
        "compression": ((3, 96, 64), (5, 12, 4)),
        "reparameterise": tuple(randn(3, 2, 4, 3, 3)),
        "kl_divergence": tuple(randn(2, 3, 4, 2, 2)),
        "scaling_factor": (randn(40, 4, 8, 8),),
    }
    ids = {"kl_divergence": "kl", "scaling_factor": "scaling"}
    for name, arguments in inputs.items():
        names: dict[str, Any] = {"torch": torch}
        exec(cells[ids.get(name, name)], names)
        assert_close(names[name](*arguments), reference(name)(*arguments))


def test_sampling_and_kl_are_those_of_course_utils_and_diffusers() -> None:
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    mean, log_var = randn(2, 3, 4, 5, 5)
    ours, theirs = (
        DiagonalGaussian(mean, log_var),
        DiagonalGaussianDistribution(torch.cat([mean, log_var], dim=1)),
    )
    epsilon = randn(*mean.shape, seed=7)
    z = reference("reparameterise")(mean, log_var, epsilon)
    assert_close(z, ours.sample(torch.Generator().manual_seed(7)))
    assert_close(z, theirs.sample(torch.Generator().manual_seed(7)))
    kl = reference("kl_divergence")(mean, log_var)
    assert_close(kl, ours.kl().mean())
    assert_close(kl, theirs.kl().mean())


def test_kl_is_zero_for_the_standard_normal_and_positive_elsewhere() -> None:
    kl = reference("kl_divergence")
    zero = torch.zeros(2, 4, 3, 3)
    assert float(kl(zero, zero)) == 0.0
    assert_close(kl(zero + 2.0, zero), torch.tensor(0.5 * 4.0 * 36))
    assert all(float(kl(*randn(2, 2, 4, 1, 1, seed=seed))) > 0 for seed in range(5))


def test_scaling_factor_brings_latents_to_unit_width() -> None:
    latents = 3.0 * randn(64, 4, 8, 8) + 1.5
    factor = reference("scaling_factor")(latents)
    assert math.isclose(float((factor * latents).std()), 1.0, rel_tol=1e-5)


def test_compression_of_this_course_and_of_stable_diffusion() -> None:
    compression = reference("compression")
    assert compression((3, 64, 64), (4, 8, 8)) == (48.0, 64.0)
    assert compression((3, 512, 512), (4, 64, 64)) == (48.0, 64.0)
    assert compression((3, 1024, 1024), (16, 128, 128)) == (12.0, 64.0)


# --- what the notebook builds --------------------------------------------------------------------


@torch.no_grad()
def test_the_autoencoder_of_the_lesson_takes_weights_of_both_libraries(
    cells: dict[str, str],
) -> None:
    names: dict[str, Any] = {"torch": torch}
    exec(cells["encoder-decoder"], names)
    for layers in (1, 2):
        theirs = AutoencoderKL(**LEVELS, layers_per_block=layers).eval()
        course = VAE(**LEVELS, layers_per_block=layers).eval()
        own = names["Autoencoder"](course.config).eval()
        own.load_state_dict(theirs.state_dict(), strict=True)
        course.load_state_dict(own.state_dict(), strict=True)
        pixels, z = randn(2, 3, 16, 24), randn(2, 4, 4, 6, seed=1)
        mean, log_var = own.encode(pixels)
        for other in (course.encode(pixels), theirs.encode(pixels).latent_dist):
            assert_close(mean, other.mean, atol=1e-5, rtol=1e-5)
        assert_close(log_var, course.encode(pixels).log_var, atol=1e-5, rtol=1e-5)
        assert_close(own.decode(z), course.decode(z), atol=1e-5, rtol=1e-5)
        assert_close(own.decode(z), theirs.decode(z).sample, atol=1e-5, rtol=1e-5)


def test_the_loss_is_the_one_that_the_lesson_describes() -> None:
    vae = VAE(
        block_out_channels=(4, 4, 4, 4), norm_num_groups=2, layers_per_block=1, sample_size=64
    )
    task = VAETask(vae, "smoke", batch_size=2)
    losses = task.loss(vae, 0, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    from course_utils.training.vae import draw_pictures

    x = draw_pictures(task.data, 2, generator)
    cloud = vae.encode(x)
    epsilon = torch.randn(cloud.mean.shape, generator=generator)
    y = vae.decode(reference("reparameterise")(cloud.mean, cloud.log_var, epsilon))
    edges = (y.diff(dim=-1) - x.diff(dim=-1)).abs().mean()
    edges = edges + (y.diff(dim=-2) - x.diff(dim=-2)).abs().mean()
    kl = reference("kl_divergence")(cloud.mean, cloud.log_var) / cloud.mean[0].numel()
    loss = (x - y).abs().mean() + (x - y).square().mean() + 0.5 * edges + 1e-4 * kl
    assert_close(losses["loss"], loss, atol=1e-5, rtol=1e-4)


def test_work_is_a_parabola_in_the_positions(cells: dict[str, str]) -> None:
    names: dict[str, Any] = {"torch": torch, "UNet": UNet}
    exec(definitions(cells["count"]), names)
    config = UNet(
        block_out_channels=(8, 16),
        attention_head_dim=2,
        norm_num_groups=4,
        cross_attention_dim=12,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
    ).config
    (a, b, c), work = names["parts_of_work"](config, 4, 5)
    assert a > 0 and b > 0 and c > 0
    assert math.isclose(a + b * 64 + c * 64**2, work[8], rel_tol=1e-9)
    (fourth,) = names["count_work"](config, 4, [16], 5)
    assert math.isclose(a + b * 256 + c * 256**2, fourth, rel_tol=1e-9)
    # Each attention multiplies queries with keys and weights with values: 4 width n^2 operations,
    # at the full size three times and at the half (a quarter of the positions) four times.
    assert math.isclose(c, 4 * (3 * 8 + 4 * 16 / 16), rel_tol=1e-6)


@torch.no_grad()
def test_rounding_psnr_and_files(cells: dict[str, str]) -> None:
    names: dict[str, Any] = {"torch": torch, "F": torch.nn.functional}
    exec(definitions(cells["rate"]), names)
    latents = randn(6, 4, 8, 8)
    names["lowest"] = latents.amin(dim=(0, 2, 3), keepdim=True)
    names["highest"] = latents.amax(dim=(0, 2, 3), keepdim=True)
    step = (names["highest"] - names["lowest"]) / 8
    rounded = names["quantise"](latents, 3)
    assert ((rounded - latents).abs() <= step / 2 + 1e-5).all()
    assert all(len(rounded[:, c].unique()) <= 8 for c in range(4))
    x = torch.zeros(2, 3, 4, 4)
    assert_close(names["psnr"](x, x + 0.2), torch.full((2,), 20.0))
    pictures = torch.zeros(2, 3, 64, 64)
    pictures[1, :, 10:40, 20:50] = 0.8
    for format in ("WEBP", "JPEG"):
        back, bits = names["through_files"](pictures, format, 90)
        assert back.shape == pictures.shape and (bits > 0).all()
        assert bits[1] > bits[0] and (names["psnr"](pictures, back) > 25).all()
    assert_close(names["shrunk"](pictures[:1], 8), pictures[:1], atol=0.01, rtol=0)


def test_reading_off_a_curve(cells: dict[str, str]) -> None:
    names: dict[str, Any] = {"torch": torch, "math": math}
    exec(definitions(cells["rate-compare"]), names)
    line = [
        (torch.tensor([64.0, 16.0]), torch.tensor([20.0, 10.0])),
        (torch.tensor([16.0, 64.0]), torch.tensor([10.0, 20.0])),
    ]
    found = names["at_bits"](line, 32)
    assert_close(found, torch.tensor([15.0, 15.0], dtype=torch.float64))
    assert names["at_bits"](line, 8).isnan().all()


# --- drawings ------------------------------------------------------------------------------------


def test_drawings_carry_their_words() -> None:
    pictures, z = randn(2, 3, 8, 8).tanh(), randn(4, 2, 2)
    line = Curve("a", [64.0, 128.0], [10.0, 12.0], [1.0, 1.0])
    flat = ([0.5, 0.4], [0.1, 0.1])
    drawn = [
        picture_rows({"a": pictures, "b": pictures}, "rows", ["x", "y"], 0.5, ["1", "2"]),
        latent_panels(pictures[0], z, pictures[1], "panels"),
        table_of_shades(randn(2, 3).tanh(), ["a", "b"], ["x", "y", "z"], "table", "unit"),
        rate_distortion([line, line], "rate", {"level": 11.0}),
        cost_of_positions([64, 256], line, [1.0, 4.0], "ms", "cost"),
        spectra([1.0, 2.0], flat, flat, 4.0, "spectra"),
        clouds([Cloud("w", randn(5, 2), randn(5, 2).exp(), pictures)] * 2, "clouds"),
    ]
    for image in drawn:
        assert image.png.startswith(b"\x89PNG") and image.alt


def test_rows_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="as many in each"):
        picture_rows({"a": randn(2, 3, 4, 4), "b": randn(3, 3, 4, 4)}, "rows")
    with pytest.raises(ValueError, match="as many in each"):
        picture_rows({"a": randn(2, 3, 4, 4)}, "rows", columns=["one"])
