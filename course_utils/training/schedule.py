"""The noise schedule of both bundled models."""

from __future__ import annotations

from course_utils.schedules import NoiseSchedule


def make_schedule() -> NoiseSchedule:
    """Stable Diffusion's betas with zero terminal SNR, and v prediction.

    With a terminal SNR of zero the first step starts from pure noise in training as in sampling, so
    that plain backgrounds come out in their colour (Lin et al. 2024, "Common diffusion noise
    schedules and sample steps are flawed"); epsilon cannot be predicted there, v can (Salimans and
    Ho 2022).
    """
    schedule = NoiseSchedule.scaled_linear(
        0.00085, 0.012, prediction_type="v_prediction", timestep_spacing="trailing"
    )
    return schedule.rescale_zero_terminal_snr()
