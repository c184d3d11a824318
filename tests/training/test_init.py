"""`keep_signal`: what it promises about the first forward pass."""

import pytest
import torch

from course_utils.models import VAE
from course_utils.models.blocks import ResnetBlock2D
from course_utils.training.init import keep_signal


@pytest.fixture
def vae() -> VAE:
    torch.manual_seed(0)
    model = VAE(
        block_out_channels=(16, 16, 16, 16), layers_per_block=1, norm_num_groups=4, sample_size=64
    )
    keep_signal(model)
    return model


@torch.no_grad()
def test_convolutions_keep_the_variance(vae):
    """Where PyTorch's default leaves a third, a 3x3 convolution of white noise leaves all of it."""
    conv = vae.decoder.up_blocks[0].upsamplers[0].conv
    noise = torch.randn(16, 16, 32, 32, generator=torch.Generator().manual_seed(1))
    inner = conv(noise)[:, :, 1:-1, 1:-1]  # the border sees padding
    assert inner.var().item() == pytest.approx(1.0, rel=0.15)
    fresh = torch.nn.Conv2d(16, 16, 3, padding=1)
    assert fresh(noise)[:, :, 1:-1, 1:-1].var().item() == pytest.approx(1 / 3, rel=0.2)


@torch.no_grad()
def test_residual_branches_start_silent(vae):
    """A block whose widths agree is the identity at the start."""
    blocks = [m for m in vae.modules() if isinstance(m, ResnetBlock2D) and not m.conv_shortcut]
    assert len(blocks) >= 8
    for block in blocks:
        x = torch.randn(2, block.conv1.in_channels, 8, 8)
        torch.testing.assert_close(block(x), x, rtol=0, atol=0)
    attention = vae.encoder.mid_block.attentions[0]
    x = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(attention(x), x, rtol=0, atol=0)


@torch.no_grad()
def test_latents_start_with_little_noise(vae):
    gaussian = vae.encode(torch.randn(2, 3, 64, 64).clamp(-1, 1))
    assert (gaussian.log_var - -4.0).abs().mean() < 2.0
    assert gaussian.mean.std() > 0.3, "the picture must reach the latents"


def test_every_parameter_still_learns(vae):
    """Zeros at the end of a branch stop the gradient for one step only, never for good."""
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-2)
    before = {k: v.clone() for k, v in vae.named_parameters()}
    for _ in range(3):
        x = torch.rand(2, 3, 32, 32) * 2 - 1
        gaussian = vae.encode(x)
        loss = (vae.decode(gaussian.sample()) - x).square().mean() + 1e-3 * gaussian.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # A key's bias shifts every score of a query alike, so softmax never sees it.
    still = [k for k, v in vae.named_parameters() if torch.equal(v, before[k])]
    assert all(k.endswith("to_k.bias") for k in still), still
