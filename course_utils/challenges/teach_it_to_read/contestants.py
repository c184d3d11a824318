"""Contestants of challenge 03: noise, losses that miss a part, temperatures, the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Functions = Mapping[str, Callable[..., Any]]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


# --- the reference -------------------------------------------------------------------------------


def contrastive_loss(
    image_features: Tensor, text_features: Tensor, log_temperature: Tensor, **hidden: Any
) -> Tensor:
    """The symmetric loss of CLIP."""
    return _both(_table(image_features, text_features, log_temperature))


def trainer(
    loss: Loss = contrastive_loss,
    temperature: float = 0.2,
    learned: bool = True,
    share: float = 1.0,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """A training with AdamW, weight decay, and a learning rate that falls to 0."""

    def train(
        batch: Callable[[], dict[str, Tensor]],
        num_batches: int,
        image_width: int,
        text_width: int,
        dim: int,
        **hidden: Any,
    ) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        image_projection = torch.randn(image_width, dim, generator=generator) / image_width**0.5
        text_projection = torch.randn(text_width, dim, generator=generator) / text_width**0.5
        log_temperature = torch.tensor(math.log(temperature))
        projections = [image_projection.requires_grad_(), text_projection.requires_grad_()]
        groups: list[dict[str, Any]] = [{"params": projections, "weight_decay": 1.0}]
        if learned:
            groups.append({"params": [log_temperature.requires_grad_()], "weight_decay": 0.0})
        optimizer = torch.optim.AdamW(groups, lr=1e-2)
        steps = int(share * num_batches)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = 1e-2 * 0.5 * (1 + math.cos(math.pi * step / steps))
            pairs = batch()
            images, texts = pairs["images"] @ projections[0], pairs["words"] @ projections[1]
            value = loss(images, texts, log_temperature)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        return image_projection.detach(), text_projection.detach()

    return train


def _table(images: Tensor, texts: Tensor, log_temperature: Tensor) -> Tensor:
    return F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T / log_temperature.exp()


def _one_way(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, torch.arange(len(logits)))


def _both(logits: Tensor) -> Tensor:
    return (_one_way(logits) + _one_way(logits.T)) / 2


# --- the others ----------------------------------------------------------------------------------


def noise_loss(**hidden: Any) -> Tensor:
    return 5 * torch.rand(())


def noise_projections(
    image_width: int, text_width: int, dim: int, **hidden: Any
) -> tuple[Tensor, Tensor]:
    return torch.randn(image_width, dim), torch.randn(text_width, dim)


def squared_distance(
    image_features: Tensor, text_features: Tensor, log_temperature: Tensor
) -> Tensor:
    return (image_features - text_features).square().sum(dim=-1).mean()


def pictures_choose(
    image_features: Tensor, text_features: Tensor, log_temperature: Tensor
) -> Tensor:
    return _one_way(_table(image_features, text_features, log_temperature))


def texts_choose(image_features: Tensor, text_features: Tensor, log_temperature: Tensor) -> Tensor:
    return _one_way(_table(image_features, text_features, log_temperature).T)


def any_length(image_features: Tensor, text_features: Tensor, log_temperature: Tensor) -> Tensor:
    return _both(image_features @ text_features.T / log_temperature.exp())


def no_temperature(
    image_features: Tensor, text_features: Tensor, log_temperature: Tensor
) -> Tensor:
    return _both(_table(image_features, text_features, torch.zeros(())))


def plain_exp(image_features: Tensor, text_features: Tensor, log_temperature: Tensor) -> Tensor:
    table = _table(image_features, text_features, log_temperature).exp()
    right = table.diagonal()
    return -((right / table.sum(0)).log() + (right / table.sum(1)).log()).mean() / 2


def least_squares(
    batch: Callable[[], dict[str, Tensor]],
    num_batches: int,
    image_width: int,
    text_width: int,
    dim: int,
    **hidden: Any,
) -> tuple[Tensor, Tensor]:
    """Ridge regression of the words from the pixels, squeezed into `dim` numbers."""
    batches = [batch() for _ in range(num_batches)]
    images = torch.cat([pairs["images"] for pairs in batches])
    words = torch.cat([pairs["words"] for pairs in batches])
    text_projection = torch.randn(text_width, dim, generator=torch.Generator().manual_seed(0))
    wanted = F.normalize(words, dim=-1) @ text_projection
    gram = images.T @ images + 100 * torch.eye(image_width)
    return torch.linalg.solve(gram, images.T @ wanted), text_projection


def _functions(loss: Callable[..., Any], train: Callable[..., Any]) -> Functions:
    return {"contrastive_loss": loss, "train": train}


CONTESTANTS: Mapping[str, Functions] = {
    "noise: any number, random projections": _functions(noise_loss, noise_projections),
    "untrained: right loss, random projections": _functions(contrastive_loss, noise_projections),
    "naive: squared distance of the pairs": _functions(squared_distance, trainer(squared_distance)),
    "one-sided: pictures choose": _functions(pictures_choose, trainer(pictures_choose)),
    "one-sided: texts choose": _functions(texts_choose, trainer(texts_choose)),
    "vectors of any length": _functions(any_length, trainer(any_length)),
    "no temperature": _functions(no_temperature, trainer(no_temperature)),
    "right loss, least squares in its place": _functions(contrastive_loss, least_squares),
    "right loss, temperature fixed at 0.005": _functions(
        contrastive_loss, trainer(temperature=0.005, learned=False)
    ),
    "right loss, temperature fixed at 1": _functions(
        contrastive_loss, trainer(temperature=1.0, learned=False)
    ),
    "right loss, half of the batches": _functions(contrastive_loss, trainer(share=0.5)),
    "exponentials that overflow, trained as the reference": _functions(plain_exp, trainer()),
    "reference": _functions(contrastive_loss, trainer()),
}
