"""What a diffusers scheduler configuration may say: its keys, their defaults, the values we take.

`NoiseSchedule.to_config` and `NoiseSchedule.from_config` write and read such a configuration.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from course_utils.predictions import PredictionType

Spacing = Literal["leading", "trailing"]
BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]

# diffusers' schedulers whose configuration describes a schedule of the kind above.
SCHEDULER_CLASSES = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerDiscreteScheduler",
    "PNDMScheduler",  # what Stable Diffusion 1.x folders name
)
# Where the defaults of these classes differ from those of `NoiseSchedule`.
CLASS_DEFAULTS: dict[str, dict[str, object]] = {
    "DDIMScheduler": {"clip_sample": True},
    "DDPMScheduler": {"clip_sample": True},
    "DPMSolverMultistepScheduler": {"timestep_spacing": "linspace"},
    "EulerDiscreteScheduler": {"timestep_spacing": "linspace"},
    "PNDMScheduler": {"set_alpha_to_one": False},
}
OPTIONS = ("prediction_type", "timestep_spacing", "steps_offset", "set_alpha_to_one")
# Keys that must hold one of these values: we implement nothing else.
_ONLY: dict[str, tuple[object, ...]] = {
    "_class_name": SCHEDULER_CLASSES,
    "beta_schedule": get_args(BetaSchedule),
    "prediction_type": get_args(PredictionType),
    "timestep_spacing": get_args(Spacing),
    "rescale_betas_zero_snr": (True, False),
    "set_alpha_to_one": (True, False),
    "clip_sample": (False,),
    "thresholding": (False,),
    "variance_type": ("fixed_small", None),
    "algorithm_type": ("dpmsolver++",),
    "solver_order": (2,),
    "solver_type": ("midpoint",),
    "final_sigmas_type": ("zero",),
    "lambda_min_clipped": (-math.inf, "-Infinity"),
    "interpolation_type": ("linear",),
    "timestep_type": ("discrete",),
    "use_karras_sigmas": (False, None),
    "use_exponential_sigmas": (False, None),
    "use_beta_sigmas": (False, None),
    "use_lu_lambdas": (False, None),
    "use_flow_sigmas": (False, None),
    "use_dynamic_shifting": (False, None),
}
# Keys that hold numbers, or that change nothing given the values above.
_FREE = frozenset(
    {
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "trained_betas",
        "steps_offset",
        "clip_sample_range",
        "dynamic_thresholding_ratio",
        "sample_max_value",
        "skip_prk_steps",
        "lower_order_final",
        "euler_at_final",
        "flow_shift",
        "time_shift_type",
        "sigma_min",
        "sigma_max",
    }
)


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse what this course does not implement.

    Raises:
        ValueError: a key that is unknown, or a value that is not one of those allowed.
    """
    for key, value in config.items():
        if key in _ONLY:
            if value not in _ONLY[key]:
                expected = ", ".join(repr(v) for v in _ONLY[key])
                raise ValueError(f"{key} is {value!r}; expected one of: {expected}")
        elif key not in _FREE and not key.startswith("_"):
            raise ValueError(f"unknown scheduler setting {key} = {value!r}")
