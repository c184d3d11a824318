"""The moving average of the weights, which is what a trained model draws with."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class EMA:
    """Exponential moving average of parameters: average <- d * average + (1 - d) * parameter.

    Early on the decay is min(decay, (1 + n) / (10 + n)), so that the random start is soon
    forgotten.
    """

    decay: float
    average: dict[str, Tensor] = field(default_factory=dict)

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the parameters after optimiser step `step` (the first is 0)."""
        named = dict(model.named_parameters())
        if not self.average:
            self.average = {k: v.detach().clone() for k, v in named.items()}
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.average.values()),
            [named[k].detach() for k in self.average],
            1.0 - decay,
        )

    def copy_to(self, model: nn.Module) -> None:
        """Overwrite the model's parameters with the average."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self.average:
                    parameter.copy_(self.average[name])
