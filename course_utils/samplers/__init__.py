"""From noise to picture: DDPM, DDIM, Euler and DPM-Solver++(2M).

`steps` holds one step of each, which is the mathematics; `loops` the one loop that walks from pure
noise to a picture and yields every step. The caller owns progress bars, plots and early stopping:

    for step in ddim(denoiser, x_T, schedule, cond, num_steps=25):
        show(step.x0)
"""

from typing import Any

from torch import Tensor

from course_utils.guidance import Denoiser
from course_utils.samplers.loops import (
    Generators,
    Sampler,
    Step,
    ddim,
    ddpm,
    dpm_solver_pp_2m,
    euler,
)
from course_utils.samplers.steps import ddim_step, ddpm_step, dpm_solver_pp_2m_step, euler_step
from course_utils.schedules import NoiseSchedule

__all__ = [
    "SAMPLERS",
    "Sampler",
    "Step",
    "ddim",
    "ddim_step",
    "ddpm",
    "ddpm_step",
    "dpm_solver_pp_2m",
    "dpm_solver_pp_2m_step",
    "euler",
    "euler_step",
    "sample",
]

SAMPLERS: dict[str, Sampler] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "euler": euler,
    "dpm++2m": dpm_solver_pp_2m,
}


def sample(
    denoiser: Denoiser,
    x_T: Tensor,
    schedule: NoiseSchedule,
    cond: Any = None,
    sampler: str = "dpm++2m",
    num_steps: int = 25,
    generator: Generators = None,
    **options: Any,
) -> Tensor:
    """Run a sampler to its end and return the finished picture, `(B, ...)`.

    Args:
        sampler: a name in `SAMPLERS`.
        **options: further options of that sampler, such as `start` or DDIM's `eta`.

    The other arguments and the errors are those of `Sampler`; an unknown name is a ValueError.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler is {sampler!r}; expected one of {', '.join(SAMPLERS)}")
    x = x_T
    steps = SAMPLERS[sampler](
        denoiser, x_T, schedule, cond, num_steps, generator=generator, **options
    )
    for step in steps:
        x = step.x
    return x
