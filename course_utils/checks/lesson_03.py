"""Lesson 03, the U-Net: what is right, and what people get wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.lesson_03_blocks import ATTENTION, RESNET_BLOCK
from course_utils.checks.mistakes import slips
from course_utils.checks.practice import PracticeDenoiser, PracticeUNet
from course_utils.predictions import training_target
from course_utils.schedules import NoiseSchedule

# --- the time as waves ---------------------------------------------------------------------------


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    """cos(t w_i), then sin(t w_i), with w_i = 10000^(-i / half)."""
    half = dim // 2
    i = torch.arange(half, device=t.device)  # (half,)
    frequencies = torch.exp(-math.log(10_000) * i / half)  # 10000^(-i / half)
    angles = t[:, None].float() * frequencies  # (B, half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)  # (B, dim)


def _embedding_cases(generator: torch.Generator) -> Iterator[Case]:
    yield Case((torch.tensor([0, 1, 7]), 4))
    yield Case((torch.tensor([0, 500, 999]), 8))
    for count, dim in ((6, 12), (4, 96)):
        yield Case((torch.randint(1000, (count,), generator=generator), dim))
    yield Case((1000 * torch.rand(3, generator=generator), 32), label="t with fractions, dim = 32")


def _embedding_error(error: Exception, case: Case) -> str | None:
    if isinstance(error, RuntimeError) and "size of tensor a" in str(error):
        return (
            "t has shape (B,) and the frequencies have shape (half,). Each t meets each frequency: "
            "t[:, None] has shape (B, 1), and (B, 1) times (half,) broadcasts to (B, half)."
        )
    return None


TIMESTEP_EMBEDDING = Exercise(
    "03.timestep_embedding",
    timestep_embedding,
    _embedding_cases,
    hints=(
        "Four lines: half = dim // 2 frequencies; every t times every frequency; the cosines; the "
        "sines behind them.",
        "10000^(-i / half) is exp(-log(10000) * i / half) with the natural logarithm, i = 0, 1, "
        ".., half - 1. `t[:, None] * frequencies` gives the angles, one row for each t.",
        "frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=t.device) "
        "/ half); angles = t[:, None].float() * frequencies; then torch.cat([...], "
        "dim=-1).",
    ),
    difficulty=2,
    minutes=8,
    mistakes=slips(
        """
        sines_first: `[angles.cos(), angles.sin()]` -> `[angles.sin(), angles.cos()]`
            The sines come first. Here the cosines fill the first half and the sines the second, as
            in Stable Diffusion (flip_sin_to_cos=True).
        taking_turns:
            `torch.cat([angles.cos(), angles.sin()], dim=-1)`
            -> `torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(-2)`
            Cosines and sines take turns: cos, sin, cos, sin. Here all cosines come first, then all
            sines: torch.cat along the last dimension.
        vaswani:
            `torch.cat([angles.cos(), angles.sin()], dim=-1)`
            -> `torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)`
            Sines and cosines take turns, as in the formula of Vaswani et al. Here all cosines come
            first, then all sines: torch.cat along the last dimension.
        half_minus_one: `* i / half` -> `* i / (half - 1)`
            The exponent is divided by half - 1, so that the last frequency is 1 / 10000. DDPM's
            code does that; here it is divided by half (downscale_freq_shift=0).
        over_dim: `* i / half` -> `* i / dim`
            The exponent is i / dim; expected i / half. So the frequencies fall only half as far.
        growing: `-math.log` -> `math.log`
            The frequencies grow: 10000^(+i / half). A minus belongs into the exponent, so that they
            fall from 1 to nearly 1 / 10000.
        base_e: `math.log(10_000) * ` -> ``
            The base is e and not 10000: exp(-i / half). Multiply the exponent by log(10000).
        t_over_1000: `.float()` -> `.float() / 1000`
            t is divided by 1000 first. The waves take t as it is, from 0 to 999: that is why their
            lengths reach from 6 to 60000 timesteps.
        all_cosines: `angles.sin()` -> `angles.cos()`
            All numbers are cosines. The second half holds the sines of the same angles.
        only_the_logarithm:
            `torch.exp(-math.log(10_000) * i / half)` -> `math.exp(-math.log(10_000)) * i / half`
            Only the logarithm stands in the exponential: the whole exponent does, exp(-log(10000) *
            i / half).
        """
    ),
    on_error=_embedding_error,
    keeps_device=True,
    rtol=1e-3,
    seconds=30.0,
)


# --- the residual block --------------------------------------------------------------------------


# --- attention -----------------------------------------------------------------------------------


# --- down and up ---------------------------------------------------------------------------------


def unet_forward(unet: Any, x_t: Tensor, t: Tensor, text_states: Tensor) -> Tensor:
    """Down, across the middle, and up again; each layer on the way up takes the newest skip."""
    temb = unet.embed_time(t)  # (B, temb_channels)
    x = unet.conv_in(x_t)
    skips = [x]
    for level in unet.down_blocks:
        for i in range(len(level.resnets)):
            x = level.layer(i, x, temb, text_states)
            skips.append(x)
        if level.resize is not None:
            x = level.resize(x)
            skips.append(x)
    x = unet.mid_block(x, temb, text_states)
    for level in unet.up_blocks:
        for i in range(len(level.resnets)):
            x = torch.cat([x, skips.pop()], dim=1)
            x = level.layer(i, x, temb, text_states)
        if level.resize is not None:
            x = level.resize(x)
    return unet.conv_out(F.silu(unet.conv_norm_out(x)))


def _forward_cases(generator: torch.Generator) -> Iterator[Case]:
    for widths, layers, size in (((4,), 1, 4), ((4, 4), 1, 4), ((4, 6), 2, 8), ((4, 4, 8), 1, 8)):
        unet = PracticeUNet(widths, layers)
        with torch.no_grad():
            for parameter in unet.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
        yield Case(
            (
                unet,
                torch.randn(2, 2, size, size, generator=generator),
                torch.randint(1000, (2,), generator=generator),
                torch.randn(2, 5, 3, generator=generator),
            ),
            label=f"a U-Net with levels of {' and '.join(map(str, widths))} channels and "
            f"{layers} layer{'s' * (layers > 1)} each, on maps of {size} x {size}",
        )


def _forward_error(error: Exception, case: Case) -> str | None:
    text = str(error)
    if isinstance(error, IndexError) and "pop from empty list" in text:
        return (
            "The list of skips is empty too early: the way up takes more than the way down put "
            "there. Three kinds of maps belong on it: that of conv_in, one after each layer, and "
            "one after each change of size."
        )
    if isinstance(error, RuntimeError) and "except in dimension 1" in text:
        return (
            "A map is joined with a skip of another height and width. Is the newest skip taken "
            "first, with pop(), and was every map of the way down put on the list, those after a "
            "change of size too? And does the size change after a level's layers, on both ways?"
        )
    if isinstance(error, TypeError) and "'NoneType' object is not callable" in text:
        return (
            "level.resize is None where a level has no change of size, as in the last one. Ask for "
            "that before you call it: if level.resize is not None."
        )
    if isinstance(error, TypeError) and "cannot be interpreted as an integer" in text:
        return (
            "level.layer takes the number of a layer. Count them: for i in "
            "range(len(level.resnets))."
        )
    if isinstance(error, NotImplementedError | RuntimeError) and "Long" in text:
        return (
            "The layers get the timesteps t, whole numbers. They want the time embedding: temb = "
            "unet.embed_time(t), once at the beginning."
        )
    if isinstance(error, RuntimeError | ValueError) and "channels" in text:
        return (
            "A layer gets a map with another number of channels than it was made for. On the way "
            "up its input is the map and the skip side by side: torch.cat([x, skip], dim=1), not a "
            "sum; and the newest skip comes first."
        )
    return None


UNET_FORWARD = Exercise(
    "03.unet_forward",
    unet_forward,
    _forward_cases,
    hints=(
        "The skips are a pile of plates: the way down puts a plate on top after each module, the "
        "way up takes the top plate before each layer. temb comes from unet.embed_time(t).",
        "skips = [x] after conv_in. Then append x after each level.layer and after each resize. On "
        "the way up: x = torch.cat([x, skips.pop()], dim=1) before each level.layer. The end is "
        "conv_norm_out, SiLU, conv_out.",
        "for level in unet.up_blocks: for i in range(len(level.resnets)): x = "
        "level.layer(i, torch.cat([x, ...], dim=1), temb, text_states); after the inner "
        "loop, if level.resize is not None: x = level.resize(x)",
    ),
    difficulty=4,
    minutes=15,
    mistakes=slips(
        """
        no_first_skip: `skips = [x]` -> `skips = []`
            The map of conv_in is not on the list of skips: start with skips = [x] after conv_in.
            The last layer of the way up takes it, so the list ran empty one too early.
        inputs:
            `x = level.layer(i, x, temb, text_states)\\n            skips.append(x)`
            -> `skips.append(x)\\n            x = level.layer(i, x, temb, text_states)`
            Each skip is the input of a layer; expected its output: first x = level.layer(...), then
            skips.append(x).
        oldest_first: `skips.pop()` -> `skips.pop(0)`
            The oldest skip is taken first. The way up begins at the smallest maps, and those were
            put on the list last: skips.pop() takes from the end.
        not_taken_away: `skips.pop()` -> `skips[-1]`
            The newest skip is looked at but stays on the list, so that every layer gets the same
            one. skips.pop() takes it away.
        joined_in_front: `[x, skips.pop()]` -> `[skips.pop(), x]`
            The skip is joined in front of the map. The channels have an order that the weights
            know: torch.cat([x, skip], dim=1).
        added: `torch.cat([x, skips.pop()], dim=1)` -> `x + skips.pop()`
            The skip brings no channels: it is added to the map, or joined along its height or
            width. This U-Net sets the channels side by side: torch.cat([x, skip], dim=1).
        no_middle: `unet.mid_block(x, temb, text_states)` -> `x`
            The middle is left out: unet.mid_block.
        no_last_silu: `F.silu(unet.conv_norm_out(x))` -> `unet.conv_norm_out(x)`
            SiLU is missing at the end: conv_norm_out, SiLU, conv_out.
        no_last_norm: `F.silu(unet.conv_norm_out(x))` -> `F.silu(x)`
            conv_norm_out is missing at the end: conv_norm_out, SiLU, conv_out.
        no_last_norm_nor_silu: `F.silu(unet.conv_norm_out(x))` -> `x`
            conv_norm_out and SiLU are missing at the end: conv_norm_out, SiLU, conv_out.
        last_relu: `F.silu(unet.conv_norm_out(x))` -> `F.relu(unet.conv_norm_out(x))`
            The activation at the end is ReLU; expected SiLU, F.silu.
        """
    ),
    on_error=_forward_error,
    gradients=("x_t",),
    rtol=1e-3,
    seconds=30.0,
)


# --- one step of training ------------------------------------------------------------------------


def training_step(
    unet: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: NoiseSchedule,
    x0: Tensor,
    text_states: Tensor,
    t: Tensor,
    epsilon: Tensor,
) -> Tensor:
    """Noise x0, let the U-Net answer, compare, and move the weights a little."""
    x_t = schedule.add_noise(x0, epsilon, t)
    target = training_target(x0, epsilon, schedule.alpha_bar[t], schedule.prediction_type)
    loss = F.mse_loss(unet(x_t, t, text_states), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _step_cases(generator: torch.Generator) -> Iterator[Case]:
    for kind in ("v_prediction", "epsilon"):
        schedule = NoiseSchedule.cosine(num_train_timesteps=100, prediction_type=kind)
        for shape in ((2, 1, 3, 3), (4, 3, 4, 5)):
            unet = PracticeDenoiser(shape[1])
            with torch.no_grad():
                for parameter in unet.parameters():
                    parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
            x0, epsilon = torch.randn(2, *shape, generator=generator)
            text_states = torch.randn(shape[0], 2, 3, generator=generator)
            t = torch.randint(5, 95, (shape[0],), generator=generator)
            yield Case(
                (unet, schedule, x0, text_states, t, epsilon),
                label=f"two steps of SGD, x0 of shape {shape}, prediction_type {kind!r}",
            )


def _two_steps(candidate: Callable[..., Any], case: Case) -> dict[str, Any]:
    """Two steps, so that gradients which pile up show."""
    unet, schedule, *rest = case.args
    optimizer = torch.optim.SGD(unet.parameters(), lr=0.05)
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # noise of one's own is recognised
        losses = [candidate(unet, optimizer, schedule, *rest) for _ in range(2)]
    weights = torch.cat([p.detach().flatten() for p in unet.parameters()])
    return {"first loss": losses[0], "second loss": losses[1], "weights": weights}


def _step_extra(candidate: Callable[..., Any]) -> str | None:
    case = next(_step_cases(torch.Generator().manual_seed(0)))
    loss = _two_steps(candidate, case)["first loss"]
    if isinstance(loss, Tensor) and loss.requires_grad:
        return (
            "The numbers are right, but the loss comes back with its whole graph attached: a list "
            "of losses would keep every step in memory. Return loss.detach()."
        )
    return None


TRAINING_STEP = Exercise(
    "03.training_step",
    training_step,
    _step_cases,
    hints=(
        "Two halves: the loss (noise the pictures, ask the U-Net, compare with the target), then "
        "the usual three lines of every PyTorch training loop.",
        "schedule.add_noise makes x_t; training_target(x0, epsilon, schedule.alpha_bar[t], "
        "schedule.prediction_type) says what the U-Net should answer. The loss is the mean squared "
        "error. The old gradients go before backward().",
        "loss = F.mse_loss(unet(x_t, t, text_states), target); then three lines, the old "
        "gradients first: ...; return the loss, detached.",
    ),
    difficulty=2,
    minutes=8,
    mistakes=slips(
        """
        no_step: `    optimizer.step()\\n` -> ``
            The weights do not change. After zero_grad() comes loss.backward(), then
            optimizer.step(), and nothing in between that clears the gradients.
        no_zero_grad: `    optimizer.zero_grad()\\n` -> ``
            The gradients of the first step are still there in the second: backward() adds to what
            it finds. optimizer.zero_grad() clears it, before backward().
        clean_input: `unet(x_t, t` -> `unet(x0, t`
            The U-Net is shown the clean picture x0. It is asked about the noisy one, x_t.
        always_epsilon: `schedule.prediction_type` -> `"epsilon"`
            The target is always epsilon. What the U-Net should answer is the schedule's choice:
            training_target(..., schedule.prediction_type).
        always_v: `schedule.prediction_type` -> `"v_prediction"`
            The target is always v. What the U-Net should answer is the schedule's choice:
            training_target(..., schedule.prediction_type).
        always_x0: `schedule.prediction_type` -> `"sample"`
            The target is the clean picture x0. What the U-Net should answer is the schedule's
            choice: training_target(..., schedule.prediction_type).
        sum:
            `F.mse_loss(unet(x_t, t, text_states), target)`
            -> `(unet(x_t, t, text_states) - target).square().sum()`
            The squared errors are summed; expected their mean, F.mse_loss. A sum makes the steps
            grow with the size of the pictures.
        absolute: `F.mse_loss` -> `F.l1_loss`
            The loss is the mean absolute error; expected the mean squared error, F.mse_loss.
        opposite_target: `target = training` -> `target = -training`
            The target has the opposite sign.
        own_noise: `add_noise(x0, epsilon, t)` -> `add_noise(x0, torch.randn_like(x0), t)`
            x_t is made with noise of its own. Use the epsilon that is handed in: the target is
            computed from it.
        """
    ),
    call=_two_steps,
    extra=_step_extra,
    rtol=1e-3,
    seconds=30.0,
)


# --- the moving average --------------------------------------------------------------------------


def ema_update(
    average: dict[str, Tensor], weights: dict[str, Tensor], step: int, decay: float = 0.999
) -> dict[str, Tensor]:
    """d * average + (1 - d) * weights, name by name, with d = min(decay, (1 + n) / (10 + n))."""
    d = min(decay, (1 + step) / (10 + step))
    return {name: d * average[name] + (1 - d) * weights[name].detach() for name in average}


def _ema_cases(generator: torch.Generator) -> Iterator[Case]:
    for step, decay in ((0, 0.999), (3, 0.9), (40, 0.99), (5000, 0.99)):
        average, weights = (
            {
                "bias": torch.randn(3, generator=generator),
                "weight": torch.randn(2, 4, generator=generator),
            }
            for _ in range(2)
        )
        weights = {name: value.requires_grad_() for name, value in weights.items()}
        yield Case(
            (average, weights, step, decay), label=f"two weights, step = {step}, decay = {decay}"
        )


def _ema_extra(candidate: Callable[..., Any]) -> str | None:
    average = {"weight": torch.zeros(3)}
    found = candidate(average, {"weight": torch.ones(3).requires_grad_()}, 7, 0.9)
    if found["weight"].requires_grad:
        return (
            "The numbers are right, but the average hangs on the graph of the weights: step by "
            "step it would keep all of training in memory. Use weights[name].detach()."
        )
    return None


EMA_UPDATE = Exercise(
    "03.ema_update",
    ema_update,
    _ema_cases,
    hints=(
        "First the share d that the old average keeps, then one dictionary comprehension.",
        "d = min(decay, (1 + step) / (10 + step)): small at first, so that the random start is "
        "soon forgotten. The new average is d times the old one plus (1 - d) times the weight.",
        "{name: d * average[name] + ... * weights[name].detach() for name in average}",
    ),
    difficulty=2,
    minutes=6,
    mistakes=slips(
        """
        shares_swapped:
            `d * average[name] + (1 - d) * weights[name].detach()`
            -> `d * weights[name].detach() + (1 - d) * average[name]`
            The shares are swapped: d belongs to the old average and 1 - d to the new weights. With
            a d near 1 the average moves slowly.
        decay_from_the_start: `min(decay, (1 + step) / (10 + step))` -> `decay`
            decay is used from the first step on. At the beginning d is smaller, (1 + n) / (10 + n),
            so that the random start is soon forgotten: d is the smaller of the two.
        larger: `min(` -> `max(`
            d is the larger of the two; expected the smaller one, min(...).
        no_limit: `min(decay, (1 + step) / (10 + step))` -> `(1 + step) / (10 + step)`
            d is always (1 + n) / (10 + n), which goes to 1: late in training the average stands
            still. decay is its upper limit: min(decay, ...).
        added_in_full: `(1 - d) * ` -> ``
            The new weights are added in full. The shares add up to 1: d and 1 - d.
        no_average: `d * average[name] + (1 - d) * ` -> ``
            The old average is not used; the result is the weights themselves, or a share of them.
        """
    ),
    extra=_ema_extra,
    seconds=30.0,
)


EXERCISES = (
    TIMESTEP_EMBEDDING,
    RESNET_BLOCK,
    ATTENTION,
    UNET_FORWARD,
    TRAINING_STEP,
    EMA_UPDATE,
)
