"""The four parts of one drawing, each run when somebody asks for it: `Trace`.

trace = Trace(pipeline, "a cat face, 3d style, on a blue background", seed=7)
trace.run("unet")            # runs the text encoder and the noise before it, if they were not
trace.outputs["unet"].seconds
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_utils.pipeline import DEFAULT_STEPS, Pipeline
from course_utils.plots.base import paper_t
from course_utils.samplers import Step
from course_utils.strip import frame_numbers

Report = Callable[..., object]
PARTS = ("text", "noise", "unet", "decoder")
NEEDS: dict[str, tuple[str, ...]] = {
    "text": (),
    "noise": (),
    "unet": ("text", "noise"),
    "decoder": ("unet",),
}
FRAMES = 7  # of the U-Net's loop that are decoded


@dataclass(frozen=True, eq=False)
class Frame:
    """One moment of the loop.

    Attributes:
        t: as papers count, from T to 0.
        step: predictions so far.
        noisy: what the decoder makes of x_t, (3, H, W) in [-1, 1].
        guess: what it makes of the network's guess of the end; None before the first prediction.
    """

    t: int
    step: int
    noisy: Tensor
    guess: Tensor | None


@dataclass(frozen=True, eq=False)
class Output:
    """What a part gave, and what it cost.

    Attributes:
        part: one of `PARTS`.
        result: text states (1, L, D); noise or latents (1, 4, h, w); pixels (1, 3, H, W).
        seconds: how long the part itself took.
        weights: how many trained numbers it has.
        runs: how often its network ran.
        tokens: of the text encoder: each token with its id, padding left out.
        frames: of the U-Net; of the noise one, what the decoder makes of it.
    """

    part: str
    result: Tensor
    seconds: float
    weights: int = 0
    runs: int = 1
    tokens: tuple[tuple[str, int], ...] = ()
    frames: tuple[Frame, ...] = ()


class Trace:
    """One prompt and one seed, on their way through the parts.

    Args:
        pipeline: whose parts they are.
        prompt, seed, num_steps: as for `Pipeline.steps`.

    Attributes:
        outputs: of the parts that have run, by name.
    """

    def __init__(
        self, pipeline: Pipeline, prompt: str, seed: int, num_steps: int = DEFAULT_STEPS
    ) -> None:
        self.pipeline, self.prompt, self.seed, self.num_steps = pipeline, prompt, seed, num_steps
        self.outputs: dict[str, Output] = {}

    def run(self, part: str, report: Report | None = None) -> Output:
        """Run a part, again if it has run, after the parts that it needs and that have not.

        Args:
            part: one of `PARTS`.
            report: called with the share that is done, 0 to 1, and words for it; what it raises
                ends the work.

        Raises:
            ValueError: no such part.
            TypeError, ValueError: prompt, seed or num_steps, as `Pipeline.steps`.
        """
        if part not in PARTS:
            raise ValueError(f"part is {part!r}; expected one of {', '.join(PARTS)}")
        for other in NEEDS[part]:
            if other not in self.outputs:
                self.run(other, report)
        say = report or (lambda *_: None)
        with torch.no_grad():
            output = getattr(self, f"_{part}")(say)
        self.outputs[part] = output
        return output

    def _text(self, say: Report) -> Output:
        tokenizer, encoder = self.pipeline.tokenizer, self.pipeline.text_encoder
        say(None, "the text encoder reads the prompt")
        start = time.perf_counter()
        ids = tokenizer(self.prompt)  # (1, L)
        states = encoder(ids.to(self.pipeline.device))  # (1, L, D)
        seconds = time.perf_counter() - start
        names = tokenizer.tokenize(self.prompt)[: tokenizer.model_max_length - 2]
        row = ids[0].tolist()
        shown = ["[start]", *(name.removesuffix("</w>") for name in names), "[end]"]
        tokens = tuple(zip(shown, row, strict=False))
        return Output("text", states.cpu(), seconds, _weights(encoder), tokens=tokens)

    def _noise(self, say: Report) -> Output:
        say(None, "drawing random numbers")
        start = time.perf_counter()
        noise = self.pipeline.noise([torch.Generator().manual_seed(self.seed)])
        seconds = time.perf_counter() - start
        seen = self.pipeline.decode(noise)[0].cpu()
        T = self.pipeline.schedule.num_train_timesteps
        return Output("noise", noise.cpu(), seconds, frames=(Frame(T, 0, seen, None),))

    def _unet(self, say: Report) -> Output:
        pipeline, n = self.pipeline, self.num_steps
        walk: list[Step] = []
        start = time.perf_counter()
        for step in pipeline.steps(self.prompt, num_steps=n, seed=self.seed):
            walk.append(step)
            say(0.85 * step.step / n, f"the U-Net: step {step.step} of {n}")
        seconds = time.perf_counter() - start
        runs = 2 * n  # with the prompt and without it, as guidance wants it
        chosen = [walk[at] for at in frame_numbers(n, FRAMES)]
        say(0.9, "decoding what it looked like on the way")
        noisy = pipeline.decode(torch.cat([step.x for step in chosen])).cpu()
        some = [step.x0 for step in chosen if step.x0 is not None]
        guesses = iter(pipeline.decode(torch.cat(some)).cpu())
        frames = tuple(
            Frame(paper_t(step), step.step, noisy[i], None if step.x0 is None else next(guesses))
            for i, step in enumerate(chosen)
        )
        latents, weights = walk[-1].x.cpu(), _weights(pipeline.unet)
        return Output("unet", latents, seconds, weights, runs=runs, frames=frames)

    def _decoder(self, say: Report) -> Output:
        say(None, "the decoder makes pixels")
        latents = self.outputs["unet"].result
        start = time.perf_counter()
        pixels = self.pipeline.decode(latents).cpu()
        seconds = time.perf_counter() - start
        return Output("decoder", pixels, seconds, _weights(self.pipeline.vae.decoder))


def shapes(pipeline: Pipeline) -> dict[str, tuple[int, ...]]:
    """The sizes of what flows between the parts, without running them.

    Returns:
        "ids" (1, L), "states" (1, L, D), "latents" (1, 4, h, w), "pixels" (1, 3, H, W).
    """
    unet, vae = pipeline.unet.config, pipeline.vae.config
    length, width = pipeline.tokenizer.model_max_length, unet.cross_attention_dim
    side = unet.sample_size
    grown = side * 2 ** (len(vae.block_out_channels) - 1)
    return {
        "ids": (1, length),
        "states": (1, length, width),
        "latents": (1, unet.in_channels, side, side),
        "pixels": (1, vae.out_channels, grown, grown),
    }


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
