"""What a denoiser's output means: conversions between epsilon, x0 and v, and loss weights.

Every noisy picture is a mix of a clean picture and noise,

    x_t = alpha * x0 + sigma * epsilon,

so that a network which predicts one of the three quantities below predicts the other two as well.
This is the only module that knows how to convert them.

    code            paper               meaning
    alpha_bar_t     alpha-bar_t         share of the variance that is signal, in [0, 1]
    alpha           sqrt(alpha-bar_t)   weight of the clean picture
    sigma           sqrt(1-alpha-bar_t) weight of the noise
    "epsilon"       epsilon             the noise                      (Ho et al. 2020, eq. 14)
    "sample"        x_0                 the clean picture              (Ho et al. 2020, sec. 3.2)
    "v_prediction"  v                   alpha * epsilon - sigma * x0   (Salimans & Ho 2022, app. D)

The names of the prediction types are those of diffusers' scheduler configuration.
"""

import math
from collections.abc import Callable
from typing import Literal, cast, get_args

import torch
from torch import Tensor

PredictionType = Literal["epsilon", "sample", "v_prediction"]
PREDICTION_TYPES: tuple[str, ...] = get_args(PredictionType)


def check_prediction_type(prediction_type: object) -> PredictionType:
    """Return `prediction_type` unchanged, or raise a ValueError that lists the known ones."""
    if prediction_type not in PREDICTION_TYPES:
        raise ValueError(
            f"prediction_type is {prediction_type!r}; expected one of {', '.join(PREDICTION_TYPES)}"
        )
    return cast(PredictionType, prediction_type)


def expand_to(values: Tensor | float, like: Tensor) -> Tensor:
    """Reshape one number per picture so that it multiplies whole pictures.

    Args:
        values: a scalar, or a tensor `(B,)` with one number for each picture of the batch.
        like: the pictures, `(B, ...)`.

    Returns:
        A scalar tensor as it was, or `(B, 1, ..., 1)`, with as many dimensions as `like`, where
        `like` lives.

    Raises:
        ValueError: `values` is neither a scalar nor of shape `(B,)`.
    """
    values = torch.as_tensor(values, dtype=like.dtype if isinstance(values, float) else None)
    if values.ndim == 0:
        return values
    if values.ndim != 1 or values.shape[0] not in (1, like.shape[0]):
        raise ValueError(
            f"one number per picture must have shape ({like.shape[0]},) for pictures of shape "
            f"{tuple(like.shape)}; got shape {tuple(values.shape)}"
        )
    return values.to(like.device).reshape(-1, *[1] * (like.ndim - 1))  # (B, 1, ..., 1)


def _alpha_sigma(alpha_bar_t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
    alpha_bar = expand_to(alpha_bar_t, like)
    return alpha_bar**0.5, (1 - alpha_bar) ** 0.5


def x0_from_alpha_sigma(
    output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str
) -> Tensor:
    """Clean picture from a network output, given `x_t = alpha * x0 + sigma * epsilon`.

    Args:
        output: what the network predicted, `(B, ...)`.
        x_t: the noisy picture that it saw, `(B, ...)`.
        alpha: weight of the signal, with `alpha**2 + sigma**2 = 1`; must broadcast over `x_t`.
        sigma: weight of the noise.
        prediction_type: "epsilon", "sample" or "v_prediction".

    Returns:
        The predicted x0, `(B, ...)`.

    Raises:
        ValueError: unknown `prediction_type`, or "epsilon" where `alpha` is zero.
    """
    check_prediction_type(prediction_type)
    if prediction_type == "sample":
        return output
    if prediction_type == "v_prediction":
        return alpha * x_t - sigma * output
    if bool((alpha == 0).any()):
        raise ValueError(
            "prediction_type 'epsilon' cannot recover x0 where alpha_bar is 0 (zero terminal SNR): "
            "x_t is pure noise there and (x_t - sigma * epsilon) / alpha is 0 / 0; use "
            "'v_prediction' or 'sample', or start below the last timestep"
        )
    return (x_t - sigma * output) / alpha


def x0_from_sigma(output: Tensor, x_sigma: Tensor, sigma: Tensor, prediction_type: str) -> Tensor:
    """Clean picture from a network output, given `x_sigma = x0 + sigma * epsilon`.

    The variance-exploding view of the same process (Karras et al. 2022, table 1): there the signal
    keeps its size and the noise grows. `x_sigma = x_t / alpha` and this `sigma` is the ratio of
    noise to signal, `sqrt((1 - alpha_bar_t) / alpha_bar_t)`.

    Args:
        output: what the network predicted when it saw `x_t = x_sigma / sqrt(sigma**2 + 1)`.
        x_sigma: the noisy picture in this view, `(B, ...)`.
        sigma: ratio of noise to signal, a scalar tensor.
        prediction_type: "epsilon", "sample" or "v_prediction".

    Returns:
        The predicted x0, `(B, ...)`.

    Raises:
        ValueError: unknown `prediction_type`.
    """
    check_prediction_type(prediction_type)
    if prediction_type == "sample":
        return output
    if prediction_type == "v_prediction":
        return output * (-sigma / (sigma**2 + 1) ** 0.5) + x_sigma / (sigma**2 + 1)
    return x_sigma - sigma * output


def to_x0(output: Tensor, x_t: Tensor, alpha_bar_t: Tensor | float, prediction_type: str) -> Tensor:
    """The clean picture that a network output stands for (Ho et al. 2020, eq. 15).

    Args:
        output: what the network predicted, `(B, ...)`.
        x_t: the noisy picture that it saw, `(B, ...)`.
        alpha_bar_t: signal share of the variance, a scalar or `(B,)`, in [0, 1].
        prediction_type: "epsilon", "sample" or "v_prediction".

    Returns:
        The predicted x0, `(B, ...)`.

    Raises:
        ValueError: unknown `prediction_type`, or "epsilon" where `alpha_bar_t` is zero.
    """
    return x0_from_alpha_sigma(output, x_t, *_alpha_sigma(alpha_bar_t, x_t), prediction_type)


def to_epsilon(
    output: Tensor, x_t: Tensor, alpha_bar_t: Tensor | float, prediction_type: str
) -> Tensor:
    """The noise that a network output stands for; arguments as for `to_x0`.

    Raises:
        ValueError: unknown `prediction_type`, or "sample" where `alpha_bar_t` is one (no noise).
    """
    alpha, sigma = _alpha_sigma(alpha_bar_t, x_t)
    check_prediction_type(prediction_type)
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        return alpha * output + sigma * x_t
    if bool((sigma == 0).any()):
        raise ValueError(
            "prediction_type 'sample' cannot recover epsilon where alpha_bar is 1: x_t is clean "
            "there and (x_t - alpha * x0) / sigma is 0 / 0; expected alpha_bar_t below 1"
        )
    return (x_t - alpha * output) / sigma


def to_v(output: Tensor, x_t: Tensor, alpha_bar_t: Tensor | float, prediction_type: str) -> Tensor:
    """The velocity v = alpha * epsilon - sigma * x0 that a network output stands for.

    Arguments and errors as for `to_x0` and `to_epsilon` together (Salimans & Ho 2022, app. D).
    """
    if check_prediction_type(prediction_type) == "v_prediction":
        return output
    alpha, sigma = _alpha_sigma(alpha_bar_t, x_t)
    epsilon = to_epsilon(output, x_t, alpha_bar_t, prediction_type)
    return alpha * epsilon - sigma * to_x0(output, x_t, alpha_bar_t, prediction_type)


def training_target(
    x0: Tensor, epsilon: Tensor, alpha_bar_t: Tensor | float, prediction_type: str
) -> Tensor:
    """What the network should have said: the regression target of the training loss.

    Args:
        x0: clean pictures, `(B, ...)`.
        epsilon: the noise that was mixed in, `(B, ...)`.
        alpha_bar_t: signal share of the variance, a scalar or `(B,)`.
        prediction_type: "epsilon", "sample" or "v_prediction".

    Returns:
        The target, `(B, ...)`. Always finite, at zero terminal SNR too.

    Raises:
        ValueError: unknown `prediction_type`, or shapes that differ.
    """
    if x0.shape != epsilon.shape:
        raise ValueError(
            f"epsilon has shape {tuple(epsilon.shape)}; expected that of x0, {tuple(x0.shape)}"
        )
    if check_prediction_type(prediction_type) == "epsilon":
        return epsilon
    if prediction_type == "sample":
        return x0
    alpha, sigma = _alpha_sigma(alpha_bar_t, x0)
    return alpha * epsilon - sigma * x0


def uniform_weight(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Weight 1 at every timestep (Ho et al. 2020, eq. 14); arguments as for `min_snr_weight`."""
    check_prediction_type(prediction_type)
    return torch.ones_like(snr)


def min_snr_weight(snr: Tensor, gamma: float = 5.0, prediction_type: str = "epsilon") -> Tensor:
    """Min-SNR-gamma loss weight, which stops easy timesteps from drowning the others.

    Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy", sec. 3.4. In
    terms of the error in x0 the weight is min(SNR, gamma) for every prediction type. A squared
    error in epsilon already holds a factor SNR, one in v a factor SNR + 1; these are divided out.

    Args:
        snr: signal-to-noise ratio alpha_bar / (1 - alpha_bar), any shape, not negative.
        gamma: the cap; the paper uses 5.
        prediction_type: what the loss compares, "epsilon", "sample" or "v_prediction".

    Returns:
        The weights, finite, of `snr`'s shape. At SNR 0 they are 1 ("epsilon") or 0 (the others).

    Raises:
        ValueError: `gamma` is not positive and finite, or unknown `prediction_type`.
    """
    if not (math.isfinite(gamma) and gamma > 0):
        raise ValueError(f"gamma is {gamma!r}; expected a positive finite number, such as 5.0")
    check_prediction_type(prediction_type)
    if prediction_type == "epsilon":
        return (gamma / snr).clamp(max=1.0)  # min(SNR, gamma) / SNR, defined at SNR 0
    capped = snr.clamp(max=gamma)
    return capped if prediction_type == "sample" else capped / (snr + 1)


LossWeight = Callable[[Tensor, float, str], Tensor]
LOSS_WEIGHTS: dict[str, LossWeight] = {
    "uniform": uniform_weight,
    "min_snr": min_snr_weight,
}
