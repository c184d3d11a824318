"""What the parity tests share: random weights, gradients, and full-size models in little memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}

SD15_UNET: dict[str, Any] = {  # unet/config.json of Stable Diffusion 1.5
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": [
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "DownBlock2D",
    ],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": [
        "UpBlock2D",
        "CrossAttnUpBlock2D",
        "CrossAttnUpBlock2D",
        "CrossAttnUpBlock2D",
    ],
}
SD15_VAE: dict[str, Any] = {  # vae/config.json
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
SD15_TEXT: dict[str, Any] = {  # text_encoder/config.json
    "_name_or_path": "openai/clip-vit-large-patch14",
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "projection_dim": 768,
    "torch_dtype": "float32",
    "transformers_version": "4.22.0.dev0",
    "vocab_size": 49408,
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def shake(model: nn.Module, seed: int = 0) -> None:
    """Move every parameter off its initial value, so that no bias is 0 and no scale is 1."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def gradients(model: nn.Module, output: Tensor) -> dict[str, Tensor]:
    """d(mean of output * fixed weights)/d(parameter), by name; 0 for one that is not used."""
    weights = noise(*output.shape, seed=99)
    names, parameters = zip(*model.named_parameters(), strict=True)
    grads = torch.autograd.grad((output * weights).mean(), parameters, allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if grad is None else grad
        for name, parameter, grad in zip(names, parameters, grads, strict=True)
    }


def assert_same_function(
    ours: nn.Module,
    theirs: nn.Module,
    run_ours: Callable[[nn.Module], Tensor],
    run_theirs: Callable[[nn.Module], Tensor],
) -> None:
    """Weights move both ways by strict loading; outputs and gradients then agree."""
    shake(theirs, seed=1)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    out, expected = run_ours(ours), run_theirs(theirs)
    assert_close(out, expected, **TOLERANCE)
    assert_close(gradients(ours, out), gradients(theirs, expected), **TOLERANCE)

    shake(ours, seed=2)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    with torch.no_grad():
        moved = run_theirs(theirs)
        assert_close(moved, run_ours(ours), **TOLERANCE)
    assert (moved - expected).abs().max() > 1e-3, "the second set of weights changed nothing"


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


@torch.no_grad()
def fill_full_size(ours: nn.Module, theirs: nn.Module) -> None:
    """Give two models on the meta device the same random weights without memory for them all.

    Each parameter is a window, at an offset of its own, into one pool of random numbers. So 860
    million parameters take the memory of the largest one, and are there at once.
    """
    reference = theirs.state_dict()
    pool = 0.02 * noise(max(value.numel() for value in reference.values()) + 4096)
    state = {}
    for i, (name, value) in enumerate(reference.items()):
        window = pool[(37 * i) % 4096 :][: value.numel()].view(value.shape)
        is_scale = value.ndim == 1 and name.endswith("weight")  # of a normalisation
        state[name] = 1.0 + window if is_scale else window
    for model in (ours, theirs):
        model.load_state_dict(state, strict=True, assign=True)
        model.eval()
