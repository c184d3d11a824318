"""One step of each sampler: the mathematics, as pure functions.

    code                paper               meaning
    x, x_next           x_t, x_{t-1}        picture now and after the step
    x0                  x_0-hat             predicted clean picture
    alpha_bar_t, _next  alpha-bar           signal share of the variance, now and after the step
    sigma, sigma_next   sigma-hat           noise-to-signal ratio sqrt((1 - alpha-bar) / alpha-bar)
    alpha_t, sigma_t    alpha_t, sigma_t    sqrt(alpha-bar), sqrt(1 - alpha-bar)
    lambda_t            lambda_t            log(alpha_t / sigma_t), half the log SNR

The order of the operations is that of diffusers, so that the results agree to the last bit.
"""

from torch import Tensor


def ddpm_step(
    x: Tensor,
    x0: Tensor,
    alpha_bar_t: Tensor,
    alpha_bar_next: Tensor,
    noise: Tensor | None,
) -> Tensor:
    """Draw x_{t-1} from the posterior q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eqs. 6 and 7).

    Args:
        x: noisy picture x_t, `(B, ...)`.
        x0: predicted clean picture, `(B, ...)`.
        alpha_bar_t: signal share of the variance of x, scalar.
        alpha_bar_next: the same after the step, scalar; 1 for the last step.
        noise: standard normal, `(B, ...)`; None for a step without noise.

    Returns:
        The next, less noisy picture, `(B, ...)`. Its noise has the smaller of the two variances of
        sec. 3.2, beta-tilde_t ("fixed_small" in diffusers).
    """
    alpha = alpha_bar_t / alpha_bar_next  # alpha_t, and beta_t = 1 - alpha_t
    beta = 1 - alpha
    mean_x0 = (alpha_bar_next**0.5 * beta) / (1 - alpha_bar_t) * x0
    mean_x = alpha**0.5 * (1 - alpha_bar_next) / (1 - alpha_bar_t) * x
    if noise is None:
        return mean_x0 + mean_x
    variance = (1 - alpha_bar_next) / (1 - alpha_bar_t) * beta
    return mean_x0 + mean_x + variance.clamp(min=1e-20) ** 0.5 * noise


def ddim_step(
    x0: Tensor,
    epsilon: Tensor,
    alpha_bar_t: Tensor,
    alpha_bar_next: Tensor,
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> Tensor:
    """Mix the predicted picture and noise anew, with less noise (Song et al. 2021, eqs. 12 and 16).

    Args:
        x0: predicted clean picture, `(B, ...)`.
        epsilon: predicted noise, `(B, ...)`.
        alpha_bar_t: signal share of the variance before the step, scalar.
        alpha_bar_next: the same after the step, scalar.
        eta: 0 takes a deterministic step, 1 one with as much fresh noise as DDPM.
        noise: standard normal, `(B, ...)`; needed if eta > 0.

    Returns:
        The next, less noisy picture, `(B, ...)`.

    Raises:
        ValueError: `eta` is above 0 and there is no noise.
    """
    if eta > 0 and noise is None:
        raise ValueError(f"noise is None; expected standard normal noise, because eta is {eta}")
    variance = (1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)
    sigma = eta * variance**0.5  # eq. 16
    rest = (1 - alpha_bar_next - sigma**2).clamp(min=0)  # from pure noise it may round below 0
    direction = rest**0.5 * epsilon  # "direction pointing to x_t"
    x_next = alpha_bar_next**0.5 * x0 + direction
    return x_next if noise is None else x_next + sigma * noise


def euler_step(x_sigma: Tensor, x0: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Follow dx/dsigma = (x - x0) / sigma in a straight line.

    Karras et al. 2022, alg. 1 without its second-order correction (lines 6 to 8).

    Args:
        x_sigma: picture in the variance-exploding view, x0 + sigma * epsilon, `(B, ...)`.
        x0: predicted clean picture, `(B, ...)`.
        sigma: noise-to-signal ratio before the step, scalar.
        sigma_next: the same after the step; 0 for the last step.

    Returns:
        The next picture in the same view, `(B, ...)`.
    """
    derivative = (x_sigma - x0) / sigma
    return x_sigma + derivative * (sigma_next - sigma)


def dpm_solver_pp_2m_step(
    x: Tensor,
    x0: Tensor,
    sigma: Tensor,
    sigma_next: Tensor,
    x0_before: Tensor | None = None,
    sigma_before: Tensor | None = None,
) -> Tensor:
    """Extrapolate the predicted picture from the last two predictions (Lu et al. 2022b, alg. 2).

    Args:
        x: noisy picture x_t, `(B, ...)`.
        x0: predicted clean picture, `(B, ...)`.
        sigma: noise-to-signal ratio before the step, scalar.
        sigma_next: the same after the step; 0 for the last step.
        x0_before: the prediction one step earlier; None takes a first-order step, which is DDIM's.
        sigma_before: the noise-to-signal ratio one step earlier.

    Returns:
        The next, less noisy picture, `(B, ...)`.
    """
    alpha_t, sigma_t = alpha_sigma(sigma)
    alpha_next, sigma_t_next = alpha_sigma(sigma_next)
    lambda_t = alpha_t.log() - sigma_t.log()
    h = alpha_next.log() - sigma_t_next.log() - lambda_t  # step in lambda; infinite for the last
    weight = alpha_next * ((-h).exp() - 1.0)
    x_next = (sigma_t_next / sigma_t) * x - weight * x0
    if x0_before is None or sigma_before is None:
        return x_next
    alpha_before, sigma_t_before = alpha_sigma(sigma_before)
    r = (lambda_t - (alpha_before.log() - sigma_t_before.log())) / h  # r_i: last step over this one
    return x_next - 0.5 * weight * ((1.0 / r) * (x0 - x0_before))


def alpha_sigma(sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The variance-preserving (alpha_t, sigma_t) that have the noise-to-signal ratio `sigma`."""
    alpha_t = 1 / (sigma**2 + 1) ** 0.5
    return alpha_t, sigma * alpha_t
