"""Starting weights that keep colours alive through a deep stack of convolutions."""

from __future__ import annotations

import torch
from torch import nn

from course_utils.models.blocks import ResnetBlock2D, SpatialAttention
from course_utils.models.vae import VAE


@torch.no_grad()
def keep_signal(vae: VAE) -> None:
    """Convolutions that keep the variance, and residual branches that start at zero.

    PyTorch's default shrinks the variance to a third at every convolution, so that after a dozen of
    them little is left of the input's colours beside what the random residual branches add. Here a
    convolution starts with weights ~ N(0, 1 / fan_in) (LeCun et al. 1998, "Efficient backprop",
    section 4.6), and the last layer of every residual branch with zeros (Goyal et al. 2017,
    "Accurate, large minibatch SGD", section 5.1), so that at the start only the shortcuts speak.
    Measured with the `cpu` preset after 40 seconds on one core: 16.6 dB, and 12.8 dB without. The
    U-Net, which must predict noise and not colours, learned faster from PyTorch's own start.

    Args:
        vae: changed in place. Draws from the global generator.
    """
    for module in vae.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, SpatialAttention):
            for parameter in module.to_out[0].parameters():
                nn.init.zeros_(parameter)
    # log sigma^2 starts at -4: latents with little noise.
    bias = dict(vae.quant_conv.named_parameters())["bias"]
    nn.init.constant_(bias[vae.config.latent_channels :], -4.0)
