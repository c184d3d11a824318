"""Lesson 07, what the pictures owe to training: what is right, and what people get wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.checks.exercise import Case, Exercise
from course_utils.checks.mistakes import slips
from course_utils.checks.practice import TinyDenoiser, schedules
from course_utils.schedules import NoiseSchedule


def nearest_training_picture(pictures: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the row of `data` with the smallest root mean square difference, and that."""
    index, distance = [], []
    for row in pictures:  # one at a time: N x M x D numbers would not fit into memory
        differences = (data - row).square().mean(dim=1).sqrt()  # (M,)
        index.append(differences.argmin())
        distance.append(differences.min())
    return torch.stack(index), torch.stack(distance)


def _nearest_cases(generator: torch.Generator) -> Iterator[Case]:
    for n, m, d in ((2, 3, 5), (4, 4, 3), (3, 7, 12), (5, 2, 48)):
        pictures = torch.randn(n, d, generator=generator)
        data = torch.randn(m, d, generator=generator)
        data[m - 1] = pictures[0] + 0.01  # a near copy, and it is not the first row
        yield Case((pictures, data))


def finetune_step(
    unet: nn.Module,
    optimizer: torch.optim.Optimizer,
    latents: Tensor,
    text_states: Tensor,
    empty_states: Tensor,
    schedule: NoiseSchedule,
    generator: torch.Generator,
    drop: float = 0.1,
) -> float:
    """One step of Ho et al. 2020, algorithm 1, for v, with condition dropout."""
    count, device = len(latents), latents.device
    t = torch.randint(schedule.num_train_timesteps, (count,), generator=generator)  # (B,)
    epsilon = torch.randn(latents.shape, generator=generator).to(device)
    dropped = torch.rand(count, generator=generator) < drop  # (B,)

    alpha_bar_t = schedule.alpha_bar[t][:, None, None, None].to(device)  # (B, 1, 1, 1)
    alpha, sigma = alpha_bar_t.sqrt(), (1 - alpha_bar_t).sqrt()
    x_t = alpha * latents + sigma * epsilon
    v = alpha * epsilon - sigma * latents
    states = torch.where(dropped[:, None, None].to(device), empty_states, text_states)

    loss = (unet(x_t, t.to(device), states) - v).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _finetune_cases(generator: torch.Generator) -> Iterator[Case]:
    unet = TinyDenoiser()
    own, _ = schedules()
    for count, drop in ((3, 0.0), (6, 0.5), (4, 1.0)):
        latents = torch.randn(count, 4, 4, 4, generator=generator)
        text_states = torch.randn(count, 10, 8, generator=generator)
        empty_states = torch.randn(1, 10, 8, generator=generator)
        seed = int(torch.randint(2**31, (), generator=generator))
        label = f"two steps on B = {count} latents, drop = {drop:g}"
        arguments = (unet, None, latents, text_states, empty_states, own, seed)
        yield Case(arguments, {"drop": drop}, label)


def _call_finetune(candidate: Any, case: Case) -> Any:
    """Two steps of plain gradient descent: the losses, and how far each parameter went."""
    unet, _, latents, text_states, empty_states, schedule, seed = case.args
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(seed)
        before = nn.utils.parameters_to_vector(unet.parameters()).detach().clone()
        optimizer = torch.optim.SGD(unet.parameters(), lr=0.1)
        losses = [
            candidate(
                unet,
                optimizer,
                latents,
                text_states,
                empty_states,
                schedule,
                generator,
                **case.kwargs,
            )
            for _ in range(2)
        ]
        after = nn.utils.parameters_to_vector(unet.parameters()).detach()
    for loss in losses:
        if loss is None:
            return None
        if isinstance(loss, Tensor) and (loss.numel() != 1 or loss.requires_grad):
            return loss.detach() if loss.numel() != 1 else "a loss that keeps its graph"
    return torch.tensor([float(loss) for loss in losses]), after - before


STEP_MISTAKES = slips(
    """
    epsilon: `states) - v)` -> `states) - epsilon)`
        The target is epsilon. This network was trained to predict v: sqrt(alpha_bar_t) * epsilon -
        sqrt(1 - alpha_bar_t) * x0.
    x0: `states) - v)` -> `states) - latents)`
        The target is the clean latent. This network was trained to predict v: sqrt(alpha_bar_t) *
        epsilon - sqrt(1 - alpha_bar_t) * x0.
    weights_swapped: `alpha * epsilon - sigma * latents` -> `alpha * latents - sigma * epsilon`
        In v the two weights have changed places: sqrt(alpha_bar_t) belongs to epsilon and sqrt(1 -
        alpha_bar_t) to the clean latent, other than in x_t.
    sign: `alpha * epsilon - sigma * latents` -> `sigma * latents - alpha * epsilon`
        v has the wrong sign: it is alpha * epsilon - sigma * x0, not the other way round.
    plus: `epsilon - sigma` -> `epsilon + sigma`
        v is a difference: alpha * epsilon minus sigma * x0.
    no_roots: `alpha_bar_t.sqrt(), (1 - alpha_bar_t).sqrt()` -> `alpha_bar_t, 1 - alpha_bar_t`
        The square roots are missing: alpha and sigma are sqrt(alpha_bar_t) and sqrt(1 -
        alpha_bar_t).
    clean_input: `unet(x_t, t` -> `unet(latents, t`
        The network sees the clean latents. It has to see x_t, with the noise mixed in.
    no_dropout:
        `torch.where(dropped[:, None, None].to(device), empty_states, text_states)` -> `text_states`
        No caption is ever dropped: drop changes nothing. Without it the network forgets how to draw
        without words, and guidance needs that.
    kept: `< drop` -> `>= drop`
        It is the wrong way round: a share of drop is kept, and the rest is dropped.
    all_or_none: `generator=generator) < drop` -> `generator=generator)[:1].expand(count) < drop`
        All captions of the batch are dropped together or not at all. Draw one number for each
        picture.
    zeros: `.to(device), empty_states` -> `.to(device), torch.zeros_like(text_states)`
        Dropped captions become zeros. They become empty_states: the text states of the empty
        prompt, which the loop uses too.
    one_t: `(count,), generator=generator)` -> `(1,), generator=generator).expand(count)`
        All pictures of the batch get the same t. Draw one for each, (B,).
    own_noise: `latents.shape, generator=generator` -> `latents.shape`
        epsilon does not come from generator (torch.randn_like takes none). Use
        torch.randn(latents.shape, generator=generator).
    own_draws: `(count,), generator=generator` -> `(count,)`
        `latents.shape, generator=generator` -> `latents.shape`
        `count, generator=generator` -> `count`
        None of the draws comes from generator, so a seed fixes nothing. Hand it to randint, randn
        and rand.
    order:
        `t = torch.randint(schedule.num_train_timesteps, (count,), generator=generator)`
        -> `epsilon = torch.randn(latents.shape, generator=generator)`
        `epsilon = torch.randn(latents.shape, generator=generator).to(device)`
        -> `t = torch.randint(schedule.num_train_timesteps, (count,), generator=generator)`
        epsilon is drawn before t. Any order would do, but the check can only compare the
        docstring's: t, epsilon, dropped.
    sum: `.mean()` -> `.sum()`
        The loss is a sum over all numbers. Take the mean, or the step grows with the batch.
    no_zero_grad: `    optimizer.zero_grad()\\n` -> ``
        Gradients pile up from step to step. Call optimizer.zero_grad() before loss.backward().
    no_step: `    optimizer.step()\\n` -> ``
        The weights do not move. The order is optimizer.zero_grad(), loss.backward(),
        optimizer.step(); a zero_grad() in between throws the gradients away.
    graph: `loss.item()` -> `loss`
        It returns the loss with its graph, which keeps every layer's numbers in memory. Return
        loss.item().
    """
)


NEAREST = Exercise(
    "07.nearest_training_picture",
    nearest_training_picture,
    _nearest_cases,
    hints=(
        "Take one picture first: subtract it from all rows of data at once. What has shape "
        "(M, D), and over which dimension does the mean go?",
        "Square, mean over D, root: that gives M distances. Keep the smallest and where it "
        "stands, and do this for every picture.",
        "differences = (data - row).square()...sqrt() has shape (M,); then "
        "differences.argmin() and differences.min(). torch.stack puts the N results "
        "together.",
    ),
    difficulty=2,
    minutes=8,
    mistakes=slips(
        """
        farthest: `argmin` -> `argmax`
            `differences.min()` -> `differences.max()`
            It finds the picture farthest away. The nearest has the smallest distance.
        other_way_round: `row in pictures` -> `row in data`
            `(data - row)` -> `(pictures - row)`
            It finds the nearest picture for each row of data. The question is the other way
            round: one answer for each of the N pictures.
        length: `.mean(dim=1)` -> `.sum(dim=1)`
            The distance is the length of the difference. Divide by the root of D (take the
            mean, not the sum), so that it is in units of one pixel.
        mean_square: `.sqrt()` -> ``
            The distance is the mean square: the root is missing.
        sum_of_squares: `.mean(dim=1).sqrt()` -> `.sum(dim=1)`
            The distance is the sum of squares: take the mean over D, and then the root.
        absolute: `.square().mean(dim=1).sqrt()` -> `.abs().mean(dim=1)`
            The distance is the mean of absolute differences. Square them, take the mean, then
            the root.
        signed: `.square().mean(dim=1).sqrt()` -> `.mean(dim=1).abs()`
            Differences of both signs cancel. Square before the mean.
        swapped:
            `torch.stack(index), torch.stack(distance)`
            -> `torch.stack(distance), torch.stack(index)`
            The two results stand in the wrong order: first the index, then the distance.
        distance_only: `torch.stack(index), ` -> ``
            The index is missing: return index, distance.
        index_only: `, torch.stack(distance)` -> ``
            The distance is missing: return index, distance.
        """
    ),
)


FINETUNE = Exercise(
    "07.finetune_step",
    finetune_step,
    _finetune_cases,
    hints=(
        "Three draws from the generator in this order: t, epsilon, and a number for each "
        "picture that says whether its caption is dropped. Then lesson 03's training step.",
        "x_t and v are mixed from the same two tensors, latents and epsilon, with the weights "
        "sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t). schedule.alpha_bar[t] needs the shape "
        "(B, 1, 1, 1).",
        "v = alpha * epsilon - ..., states = torch.where(dropped[:, None, None], "
        "empty_states, text_states), loss = (unet(x_t, t, states) - v).square().mean(), "
        "then the three usual lines.",
    ),
    difficulty=3,
    minutes=12,
    mistakes=STEP_MISTAKES,
    call=_call_finetune,
    rtol=1e-3,
    seconds=60,
)
