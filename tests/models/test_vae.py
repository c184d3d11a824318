"""The autoencoder against diffusers' `AutoencoderKL` and torch.distributions."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from parity import SD15_VAE, TOLERANCE, assert_same_function, fill_full_size, noise, shapes
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from course_utils.models import VAE
from course_utils.models.vae import DiagonalGaussian, VAEConfig

DOWN, UP = "DownEncoderBlock2D", "UpDecoderBlock2D"


def levels(*widths: int, **others: Any) -> dict[str, Any]:
    return {
        "block_out_channels": widths,
        "down_block_types": (DOWN,) * len(widths),
        "up_block_types": (UP,) * len(widths),
        **others,
    }


CONFIGS = {
    "one level": levels(8, layers_per_block=1, norm_num_groups=2, latent_channels=3),
    "two levels": levels(8, 12, layers_per_block=1, norm_num_groups=4),
    "four levels, two layers": levels(4, 8, 8, 12, layers_per_block=2, norm_num_groups=4),
    "grey pictures": levels(
        8, 4, layers_per_block=2, norm_num_groups=1, in_channels=1, out_channels=2
    ),
}
SMALL = CONFIGS["two levels"]


@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_and_gradients_agree_both_ways(name: str) -> None:
    fields = CONFIGS[name]
    ours, theirs = VAE(**fields), AutoencoderKL(**fields)
    even, odd = (noise(2, fields.get("in_channels", 3), *size) for size in ((16, 16), (19, 13)))
    z = noise(2, fields.get("latent_channels", 4), 5, 3)

    def run_ours(model: Any) -> torch.Tensor:
        gaussian, second = model.encode(even), model.encode(odd)
        parts = (gaussian.mean, gaussian.log_var, second.mean, model.decode(z))
        return torch.cat([part.flatten() for part in parts])

    def run_theirs(model: Any) -> torch.Tensor:
        gaussian, second = (model.encode(pixels).latent_dist for pixels in (even, odd))
        parts = (gaussian.mean, gaussian.logvar, second.mean, model.decode(z).sample)
        return torch.cat([part.flatten() for part in parts])

    assert_same_function(ours, theirs, run_ours, run_theirs)


@pytest.mark.parametrize("name", CONFIGS)
def test_builds_from_the_configuration_that_diffusers_writes(name: str) -> None:
    theirs = AutoencoderKL(**CONFIGS[name], scaling_factor=0.7)
    ours = VAE.from_config(dict(theirs.config))
    assert shapes(ours) == shapes(theirs)
    assert ours.config.scaling_factor == 0.7
    assert shapes(AutoencoderKL.from_config(ours.to_config())) == shapes(theirs)
    assert VAE.from_config(ours.to_config()).config == ours.config


def test_samples_are_those_of_diffusers() -> None:
    theirs = AutoencoderKL(**SMALL)
    ours = VAE(**SMALL)
    ours.load_state_dict(theirs.state_dict())
    pixels = noise(2, 3, 8, 8)
    with torch.no_grad():
        out = ours.encode(pixels).sample(torch.Generator().manual_seed(3))
        expected = theirs.encode(pixels).latent_dist.sample(torch.Generator().manual_seed(3))
        assert_close(out, expected, **TOLERANCE)
        again = ours(pixels, torch.Generator().manual_seed(3))
        assert_close(again, theirs.decode(expected).sample, **TOLERANCE)


def test_log_variance_is_kept_in_range() -> None:
    vae = VAE(**SMALL)
    with torch.no_grad():
        vae.quant_conv.bias[4:] = torch.tensor([1e4, -1e4, 0.0, 1e4])
        log_var = vae.encode(noise(1, 3, 8, 8)).log_var
    assert log_var.max() == 20.0
    assert log_var.min() == -30.0


def test_kl_is_that_of_torch_distributions() -> None:
    gaussian = DiagonalGaussian(noise(3, 4, 2, 5), noise(3, 4, 2, 5, seed=1))
    mine = Normal(gaussian.mean, (0.5 * gaussian.log_var).exp())
    expected = kl_divergence(mine, Normal(0.0, 1.0)).sum(dim=(1, 2, 3))
    assert gaussian.kl().shape == (3,)
    assert_close(gaussian.kl(), expected, **TOLERANCE)
    assert_close(
        DiagonalGaussian(torch.zeros(2, 4, 1, 1), torch.zeros(2, 4, 1, 1)).kl().sum(),
        torch.tensor(0.0),
    )


def test_samples_have_the_mean_and_the_spread() -> None:
    mean, log_var = torch.tensor([-2.0, 0.5]), torch.tensor([-3.0, 1.0])
    shape = (1, 2, 100, 200)
    gaussian = DiagonalGaussian(
        mean[None, :, None, None].expand(shape), log_var[None, :, None, None].expand(shape)
    )
    z = gaussian.sample(torch.Generator().manual_seed(0))
    sigma = (0.5 * log_var).exp()
    count = shape[2] * shape[3]
    assert ((z.mean(dim=(0, 2, 3)) - mean).abs() < 5 * sigma / count**0.5).all()
    assert_close(z.std(dim=(0, 2, 3)), sigma, rtol=0.03, atol=0)
    assert_close(z, gaussian.sample(torch.Generator().manual_seed(0)))
    assert not torch.equal(z, gaussian.sample(torch.Generator().manual_seed(1)))
    assert torch.equal(gaussian.mode(), gaussian.mean)


def test_gradients_pass_through_the_sample() -> None:
    """z = mu + sigma * epsilon: dz/dmu is 1, dz/dlog_var is (z - mu) / 2."""
    mean, log_var = noise(2, 4, 3, 3).requires_grad_(), noise(2, 4, 3, 3, seed=1).requires_grad_()
    z = DiagonalGaussian(mean, log_var).sample(torch.Generator().manual_seed(0))
    by_mean, by_log_var = torch.autograd.grad(z.sum(), (mean, log_var))
    assert_close(by_mean, torch.ones_like(mean))
    assert_close(by_log_var, (z - mean).detach() / 2, **TOLERANCE)


def test_latents_are_scaled_and_pixels_clipped() -> None:
    vae = VAE(**SMALL, scaling_factor=2.5).eval()
    pixels = noise(2, 3, 8, 8)
    with torch.no_grad():
        latents = vae.to_latents(pixels)
        assert latents.shape == (2, 4, 4, 4)
        assert_close(latents, 2.5 * vae.encode(pixels).mean)
        assert_close(vae.to_pixels(latents), vae.decode(latents / 2.5).clamp(-1, 1))
        far = vae.to_pixels(1e3 * latents)
    assert far.abs().max() <= 1.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("act_fn", "relu"),
        ("down_block_types", [DOWN, "AttnDownEncoderBlock2D"]),
        ("up_block_types", [UP]),
        ("latents_mean", [0.1, 0.2, 0.3, 0.4]),
        ("mid_block_add_attention", False),
        ("shift_factor", 0.1),
        ("use_post_quant_conv", False),
        ("use_quant_conv", False),
        ("a_field_of_tomorrow", 3),
    ],
)
def test_what_is_not_built_is_refused_by_name(field: str, value: Any) -> None:
    config = dict(AutoencoderKL(**SMALL).config) | {field: value}
    with pytest.raises(ValueError, match=field):
        VAE.from_config(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layers_per_block", None),
        ("layers_per_block", (1, 1)),
        ("latent_channels", 0),
        ("norm_num_groups", 3),
        ("norm_num_groups", None),
        ("scaling_factor", 0.0),
        ("scaling_factor", None),
    ],
)
def test_values_that_make_no_model_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        VAE.from_config({**SMALL, field: value})


def test_stable_diffusion_names_and_shapes() -> None:
    with torch.device("meta"):
        ours, theirs = VAE.from_config(SD15_VAE), AutoencoderKL.from_config(SD15_VAE)
    assert shapes(ours) == shapes(theirs)
    assert sum(p.numel() for p in ours.parameters()) == 83_653_863
    assert ours.config == VAEConfig()


def test_stable_diffusion_forward() -> None:
    with torch.device("meta"):
        ours, theirs = VAE.from_config(SD15_VAE), AutoencoderKL.from_config(SD15_VAE)
    fill_full_size(ours, theirs)
    pixels = noise(1, 3, 32, 32).clamp(-1, 1)
    with torch.no_grad():
        gaussian, expected = ours.encode(pixels), theirs.encode(pixels).latent_dist
        assert_close(gaussian.mean, expected.mean, **TOLERANCE)
        assert_close(gaussian.log_var, expected.logvar, **TOLERANCE)
        z = noise(1, 4, 2, 2)
        out = ours.decode(z)
        assert out.std() > 1e-2
        assert_close(out, theirs.decode(z).sample, **TOLERANCE)
