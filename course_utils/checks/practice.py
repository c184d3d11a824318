"""What answers are tried on: denoisers and networks that are tiny, random and quick."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.checks.exercise import random_state
from course_utils.models import VAE, TextEncoder, Tokenizer, UNet, blocks
from course_utils.predictions import expand_to
from course_utils.schedules import NoiseSchedule

# --- lesson 02 ---


def roots(alpha_bar_t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    a = expand_to(alpha_bar_t, like)
    return a.sqrt(), (1 - a).sqrt()


class WrongCall(ValueError):
    """The denoiser of a check was called with something else than it should be."""

    def __init__(self, told: str) -> None:
        super().__init__("the check's denoiser got something else than x_t, t and None")
        self.told = told


class WatchedDenoiser:
    """A denoiser that says so when it is not handed x_t, t and cond."""

    def __init__(self, x0: Tensor, epsilon: Tensor, t: Tensor, alpha_bar: Tensor) -> None:
        self.x0, self.epsilon, self.t, self.alpha_bar = x0, epsilon, t, alpha_bar

    def __repr__(self) -> str:
        return "a small denoiser"

    def __call__(self, x_t: Any, t: Any = "missing", cond: Any = "missing") -> Tensor:
        if isinstance(t, str) or isinstance(cond, str):
            count = 1 if isinstance(t, str) else 2
            raise WrongCall(
                f"The denoiser gets {count} argument{'s' * (count > 1)}. Here it always takes "
                "three, (x_t, t, cond); without a condition cond is None."
            )
        if not isinstance(x_t, Tensor) or x_t.shape != self.x0.shape:
            shape = tuple(x_t.shape) if isinstance(x_t, Tensor) else type(x_t).__name__
            raise WrongCall(
                f"The first thing that the denoiser gets has shape {shape}; expected x_t, of x0's "
                f"shape {tuple(self.x0.shape)}."
            )
        if x_t.device.type != "meta":
            self._look_at_x_t(x_t.detach().cpu())
            self._look_at_t(t)
        else:
            t = torch.as_tensor(t)
        return 0.6 * x_t + 0.1 * torch.sin(expand_to(t.to(x_t.dtype), x_t))

    def _look_at_x_t(self, x_t: Tensor) -> None:
        alpha, sigma = roots(self.alpha_bar[self.t], self.x0)
        before, before_sigma = roots(self.alpha_bar[self.t - 1], self.x0)
        x0, epsilon = self.x0, self.epsilon
        page = NoiseSchedule.cosine().alpha_bar
        other, other_sigma = roots(page[self.t], self.x0)
        known = {
            "": alpha * x0 + sigma * epsilon,
            "The denoiser gets the clean picture x0. It must see the noisy one, x_t.": x0,
            "The denoiser gets pure noise. It must see x_t, the mix of x0 and noise.": epsilon,
            "x_t is mixed without the square roots: sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t) "
            "are the weights.": alpha**2 * x0 + sigma**2 * epsilon,
            "x_t is mixed with the weights the wrong way round: x0 gets sqrt(alpha_bar_t).": sigma
            * x0
            + alpha * epsilon,
            "x_t is x0 + epsilon. Both need their weights, sqrt(alpha_bar_t) for x0 and "
            "sqrt(1 - alpha_bar_t) for epsilon.": x0 + epsilon,
            "x_t has the noise of timestep t - 1: the table counts from 0, so alpha_bar[t] is "
            "right as it stands.": before * x0 + before_sigma * epsilon,
            "x_t is mixed with the page's own schedule. Use the table that is handed in, "
            "alpha_bar[t]: whoever calls decides about it.": other * x0 + other_sigma * epsilon,
        }
        for message, value in known.items():
            if torch.allclose(x_t.to(value.dtype), value, rtol=1e-3, atol=1e-3):
                if message:
                    raise WrongCall(message)
                return
        raise WrongCall(
            "The x_t that the denoiser gets is not sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) "
            "epsilon. Mix in the epsilon of the arguments, not fresh noise, and give every picture "
            "the alpha_bar of its own t."
        )

    def _look_at_t(self, t: Any) -> None:
        t = torch.as_tensor(t).detach().cpu()
        if t.shape == self.t.shape and torch.equal(t.double(), self.t.double()):
            return
        if t.numel() == len(self.t) and torch.allclose(
            t.flatten().float(), self.alpha_bar[self.t].float()
        ):
            raise WrongCall(
                "The denoiser gets alpha_bar_t as its second argument; it wants the timesteps t."
            )
        raise WrongCall(
            "The second thing that the denoiser gets is not t. Hand on the timesteps (B,) as they "
            "came in: not divided by T, not shifted, not reshaped."
        )


# --- lesson 03 ---


class PracticeLevel(nn.Module):
    """A level of a practice U-Net: residual blocks that also hear the mean of the text states."""

    def __init__(self, ins: list[int], width: int, resize: nn.Module | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(blocks.ResnetBlock2D(c, width, 6, groups=2) for c in ins)
        self.words = nn.ModuleList(nn.Linear(3, width) for _ in ins)
        self.resize = resize

    def layer(self, i: int, x: Tensor, temb: Tensor, text_states: Tensor) -> Tensor:
        """Layer i, from 0 on."""
        return self.resnets[i](x, temb) + self.words[i](text_states.mean(1))[:, :, None, None]

    def forward(self, x: Tensor, temb: Tensor, text_states: Tensor) -> Tensor:
        """All layers, without skips: the middle."""
        for i in range(len(self.resnets)):
            x = self.layer(i, x, temb, text_states)
        return x


class PracticeUNet(nn.Module):
    """What `unet_forward` is tried on: the parts of a U-Net, tiny, with random weights."""

    def __init__(self, widths: tuple[int, ...], layers: int) -> None:
        super().__init__()
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(2, widths[0], 3, padding=1)
        self.time = nn.Linear(1, 6)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        before, skips = widths[0], [widths[0]]
        for i, width in enumerate(widths):
            resize = None if i == last else blocks.Downsample2D(width)
            self.down_blocks.append(PracticeLevel([before] + [width] * (layers - 1), width, resize))
            skips += [width] * (layers if i == last else layers + 1)
            before = width
        self.mid_block = PracticeLevel([before], before, None)
        for i, width in enumerate(reversed(widths)):
            ins = [(before if j == 0 else width) + skips.pop() for j in range(layers + 1)]
            up = None if i == last else blocks.Upsample2D(width)
            self.up_blocks.append(PracticeLevel(ins, width, up))
            before = width
        self.conv_norm_out = nn.GroupNorm(2, widths[0])
        self.conv_out = nn.Conv2d(widths[0], 2, 3, padding=1)

    def embed_time(self, t: Tensor) -> Tensor:
        """(B,) -> (B, 6)."""
        return self.time(t[:, None].float() / 1000)


class PracticeDenoiser(nn.Module):
    """What `training_step` is tried on: one convolution that hears the time and the text."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(1, channels)
        self.words = nn.Linear(3, channels)

    def forward(self, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
        """(B, C, H, W), (B,), (B, L, 3) -> (B, C, H, W)."""
        side = self.time(t[:, None].float() / 1000) + self.words(text_states.mean(1))
        return self.conv(x_t) + side[:, :, None, None]


# --- lesson 07 ---


WORDS = ("a cat face on blue", "a red apple on white", "dog noto green", "a rocket")


@functools.cache
def tiny_parts() -> tuple[Tokenizer, TextEncoder, UNet, VAE]:
    """Tokenizer, text encoder, U-Net and VAE of a few thousand random numbers.

    They draw nothing, but every slip in a loop shows: the decoder leaves [-1, 1], the scaling
    factor is not 1, and the words matter.
    """
    tokenizer = Tokenizer.train(WORDS * 2, vocab_size=540, model_max_length=10)
    text_encoder = TextEncoder(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=10,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    unet = UNet(
        sample_size=4,
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=2,
    )
    vae = VAE(
        block_out_channels=(4, 4, 4, 4),
        layers_per_block=1,
        norm_num_groups=2,
        sample_size=32,
        scaling_factor=0.4,
    )
    for seed, part in enumerate((text_encoder, unet, vae)):
        part.load_state_dict(random_state(part, seed))
        part.eval()
        # Checks copy the arguments of every call; these need no copy, and it would take longest.
        setattr(part, "__deepcopy__", lambda memo, part=part: part)  # noqa: B010
    setattr(tokenizer, "__deepcopy__", lambda memo: tokenizer)  # noqa: B010
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(2)  # far beyond [-1, 1]
        unet.conv_out.weight.mul_(2)
    return tokenizer, text_encoder, unet, vae


class TinyDenoiser(nn.Module):
    """(x_t, t, text_states) -> a tensor like x_t, of a few hundred random numbers.

    Where an answer only calls the U-Net, this does for it, and a hundred times faster.
    """

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(sample_size=4, in_channels=4, out_channels=4)
        self.conv_in = nn.Conv2d(4, 6, 3, padding=1)
        self.words = nn.Linear(8, 6)
        self.time = nn.Linear(2, 6)
        self.conv_out = nn.Conv2d(6, 4, 3, padding=1)
        self.load_state_dict(random_state(self, 3))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.conv_in.weight.device

    def forward(self, x_t: Tensor, t: Tensor | int, text_states: Tensor) -> Tensor:
        """(B, 4, h, w), (B,) or one number, (B, L, 8) -> (B, 4, h, w)."""
        angle = torch.as_tensor(t, device=x_t.device).expand(len(x_t)) / 200.0  # (B,)
        time = self.time(torch.stack([angle.sin(), angle.cos()], dim=1))  # (B, 6)
        words = self.words(text_states).tanh().mean(dim=1)  # (B, 6)
        return self.conv_out((self.conv_in(x_t) + (time + words)[:, :, None, None]).tanh())


def schedules() -> tuple[NoiseSchedule, NoiseSchedule]:
    """As the course's own model has it, and as Stable Diffusion 1.x has it."""
    own = NoiseSchedule.scaled_linear(
        0.00085, 0.012, prediction_type="v_prediction", timestep_spacing="trailing"
    )
    stable = NoiseSchedule.scaled_linear(
        0.00085, 0.012, prediction_type="epsilon", timestep_spacing="leading", steps_offset=1
    )
    return own.rescale_zero_terminal_snr(), stable
