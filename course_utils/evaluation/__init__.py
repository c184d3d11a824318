"""How good a text-to-image model is: a judge that it never met, and what is measured with it."""

from course_utils.evaluation.evaluate import Settings, evaluate
from course_utils.evaluation.intervals import (
    Estimate,
    bootstrap_interval,
    jackknife_interval,
    share_interval,
    wilson_interval,
)
from course_utils.evaluation.judge import Judge, Verdicts, folder_sha256
from course_utils.evaluation.metrics import (
    background_colour,
    clipped_share,
    diversity,
    frechet_distance,
    kernel_distance,
    nearest_training,
    pixel_diversity,
    saturation,
)
from course_utils.evaluation.report import Report

__all__ = [
    "Estimate",
    "Judge",
    "Report",
    "Settings",
    "Verdicts",
    "background_colour",
    "bootstrap_interval",
    "clipped_share",
    "diversity",
    "evaluate",
    "folder_sha256",
    "frechet_distance",
    "jackknife_interval",
    "kernel_distance",
    "nearest_training",
    "pixel_diversity",
    "saturation",
    "share_interval",
    "wilson_interval",
]
