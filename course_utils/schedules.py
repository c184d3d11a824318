"""How fast a picture drowns in noise: beta and alpha-bar tables, SNR, timesteps.

    code            paper         meaning
    betas[t]        beta_t        variance of the noise that step t adds     (Ho et al. 2020, eq. 2)
    alpha_bar[t]    alpha-bar_t   prod_{s<=t} (1 - beta_s): signal share of the variance of x_t
    t               t - 1         index 0..T-1; the papers count 1..T
    snr()[t]        SNR(t)        alpha-bar_t / (1 - alpha-bar_t)        (Kingma et al. 2021, eq. 2)

The tables are computed in float32 in the order in which diffusers computes them, so that they are
the same numbers, and a schedule is saved as diffusers' `scheduler_config.json`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from course_utils.files import write_atomically
from course_utils.predictions import PredictionType, check_prediction_type, expand_to
from course_utils.scheduler_config import (
    CLASS_DEFAULTS,
    OPTIONS,
    SCHEDULER_CLASSES,
    BetaSchedule,
    Spacing,
    check_config,
)

CONFIG_NAME = "scheduler_config.json"


def check_int(name: str, value: object, low: int, high: int) -> int:
    """Return `value` if it is an int in [low, high]; a bool is not an int here.

    Raises:
        TypeError: not an int.
        ValueError: out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}; expected an int from {low} to {high}")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; expected an int from {low} to {high}")
    return value


def linear_betas(beta_start: float, beta_end: float, num_train_timesteps: int) -> Tensor:
    """Betas that rise in a straight line, `(T,)` (Ho et al. 2020, sec. 4)."""
    return torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float32)


def scaled_linear_betas(beta_start: float, beta_end: float, num_train_timesteps: int) -> Tensor:
    """Betas whose square roots rise in a straight line, `(T,)` (Stable Diffusion's schedule)."""
    return linear_betas(beta_start**0.5, beta_end**0.5, num_train_timesteps) ** 2


def cosine_betas(num_train_timesteps: int, max_beta: float = 0.999) -> Tensor:
    """Betas whose alpha-bar falls like cos squared, `(T,)` (Nichol & Dhariwal 2021, eq. 17)."""

    def f(u: float) -> float:  # u = t / T, and s = 0.008
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    T = num_train_timesteps
    betas = [min(1 - f((t + 1) / T) / f(t / T), max_beta) for t in range(T)]
    return torch.tensor(betas, dtype=torch.float32)


def zero_terminal_snr_betas(betas: Tensor) -> Tensor:
    """Betas changed so that the last timestep is pure noise, `(T,)` (Lin et al. 2024, alg. 1)."""
    sqrt_alpha_bar = torch.cumprod(1.0 - betas, dim=0).sqrt()
    first, last = sqrt_alpha_bar[0].clone(), sqrt_alpha_bar[-1].clone()
    sqrt_alpha_bar -= last  # shift: the last one becomes zero
    sqrt_alpha_bar *= first / (first - last)  # scale: the first one stays what it was
    alpha_bar = sqrt_alpha_bar**2
    alphas = torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])
    return 1 - alphas


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """A noise schedule: the tables, and what diffusers' scheduler configuration says about them.

    Build one with `linear`, `scaled_linear`, `cosine`, `from_betas`, `from_config` or `load`.
    """

    betas: Tensor  # (T,) float32
    alpha_bar: Tensor  # (T,) float32
    beta_schedule: BetaSchedule | None = None  # None: betas of your own, saved as `trained_betas`
    beta_start: float = 1e-4
    beta_end: float = 0.02
    prediction_type: PredictionType = "epsilon"  # what a denoiser trained on it predicts
    rescale_betas_zero_snr: bool = False  # the betas went through Lin et al. 2024, alg. 1
    timestep_spacing: Spacing = "leading"  # how samplers choose timesteps, see `timesteps`
    steps_offset: int = 0  # added to "leading" timesteps; Stable Diffusion 1.x has 1
    set_alpha_to_one: bool = True  # DDIM ends on a clean picture; False: on alpha_bar[0]

    # ------------------------------------------------------------------ ways to build one

    @classmethod
    def linear(
        cls,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        num_train_timesteps: int = 1000,
        **options: Any,
    ) -> "NoiseSchedule":
        """The schedule of DDPM (Ho et al. 2020, sec. 4).

        Args:
            beta_start: variance of the noise that the first step adds, in (0, 1).
            beta_end: variance of the noise that the last step adds, in (0, 1).
            num_train_timesteps: T, at least 2.
            **options: the fields `prediction_type`, `timestep_spacing`, `steps_offset` and
                `set_alpha_to_one`.

        Raises:
            ValueError: a number out of range, or an unknown option value.
        """
        return cls._build("linear", beta_start, beta_end, num_train_timesteps, options)

    @classmethod
    def scaled_linear(
        cls,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        num_train_timesteps: int = 1000,
        **options: Any,
    ) -> "NoiseSchedule":
        """The schedule of Stable Diffusion (Rombach et al. 2022); arguments as for `linear`."""
        return cls._build("scaled_linear", beta_start, beta_end, num_train_timesteps, options)

    @classmethod
    def cosine(cls, num_train_timesteps: int = 1000, **options: Any) -> "NoiseSchedule":
        """The schedule of Nichol & Dhariwal 2021, eq. 17; diffusers' "squaredcos_cap_v2"."""
        return cls._build("squaredcos_cap_v2", 1e-4, 0.02, num_train_timesteps, options)

    @classmethod
    def from_betas(cls, betas: Tensor | Sequence[float], **options: Any) -> "NoiseSchedule":
        """A schedule of your own; diffusers knows it as `trained_betas`.

        Args:
            betas: `(T,)`, each in (0, 1]; only the last may be 1.
            **options: as for `linear`.

        Raises:
            ValueError: wrong shape, or a value out of range.
        """
        table = torch.as_tensor(betas, dtype=torch.float32).detach().clone()
        if table.ndim != 1 or len(table) < 2:
            raise ValueError(f"betas has shape {tuple(table.shape)}; expected (T,) with T >= 2")
        bad = ~((table > 0) & (table <= 1))  # catches NaN too
        bad[:-1] |= table[:-1] == 1
        if bool(bad.any()):
            t = int(bad.nonzero()[0])
            raise ValueError(f"betas[{t}] is {float(table[t])}; expected a number in (0, 1)")
        return cls(table, torch.cumprod(1.0 - table, dim=0), None, **options)

    @classmethod
    def _build(
        cls,
        beta_schedule: BetaSchedule,
        beta_start: float,
        beta_end: float,
        num_train_timesteps: int,
        options: Mapping[str, Any],
    ) -> "NoiseSchedule":
        check_int("num_train_timesteps", num_train_timesteps, 2, 1_000_000)
        for name, value in (("beta_start", beta_start), ("beta_end", beta_end)):
            if not (isinstance(value, float) and 0 < value < 1):
                raise ValueError(f"{name} is {value!r}; expected a number in (0, 1)")
        if beta_schedule == "squaredcos_cap_v2":
            betas = cosine_betas(num_train_timesteps)
        elif beta_schedule == "scaled_linear":
            betas = scaled_linear_betas(beta_start, beta_end, num_train_timesteps)
        else:
            betas = linear_betas(beta_start, beta_end, num_train_timesteps)
        alpha_bar = torch.cumprod(1.0 - betas, dim=0)
        return cls(betas, alpha_bar, beta_schedule, beta_start, beta_end, **options)

    def __post_init__(self) -> None:
        check_prediction_type(self.prediction_type)
        if self.timestep_spacing not in get_args(Spacing):
            raise ValueError(
                f"timestep_spacing is {self.timestep_spacing!r}; expected 'leading' or 'trailing'"
            )
        check_int("steps_offset", self.steps_offset, 0, self.num_train_timesteps - 1)

    def rescale_zero_terminal_snr(self) -> "NoiseSchedule":
        """The same schedule, shifted so that its last timestep is pure noise: `alpha_bar[-1] = 0`.

        Lin et al. 2024, "Common Diffusion Noise Schedules and Sample Steps are Flawed", alg. 1.
        Predicting epsilon is meaningless there; use "v_prediction" or "sample" (sec. 3.2).
        """
        if self.rescale_betas_zero_snr:
            return self
        betas = zero_terminal_snr_betas(self.betas)
        alpha_bar = torch.cumprod(1.0 - betas, dim=0)
        return replace(self, betas=betas, alpha_bar=alpha_bar, rescale_betas_zero_snr=True)

    def to(self, device: torch.device | str) -> "NoiseSchedule":
        """The same schedule with its tables on `device`."""
        return replace(self, betas=self.betas.to(device), alpha_bar=self.alpha_bar.to(device))

    # ------------------------------------------------------------------ what it says

    @property
    def num_train_timesteps(self) -> int:
        """T, the number of timesteps of the table."""
        return len(self.betas)

    def snr(self) -> Tensor:
        """Signal-to-noise ratio at each timestep, `(T,)` (Kingma et al. 2021, eq. 2)."""
        return self.alpha_bar / (1 - self.alpha_bar)

    def log_snr(self) -> Tensor:
        """Natural logarithm of `snr()`, `(T,)`; minus infinity at zero terminal SNR."""
        return self.alpha_bar.log() - torch.log1p(-self.alpha_bar)

    def add_noise(self, x0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """Jump straight to timestep t: a draw from q(x_t | x_0) (Ho et al. 2020, eq. 4).

        Args:
            x0: clean pictures, `(B, ...)`.
            epsilon: standard normal noise of the same shape.
            t: timesteps, int64 `(B,)` in [0, T), or a scalar tensor for all pictures.

        Returns:
            x_t = sqrt(alpha_bar_t) * x0 + sqrt(1 - alpha_bar_t) * epsilon, `(B, ...)`.

        Raises:
            TypeError: `t` is not an integer tensor.
            ValueError: shapes that do not match, or a timestep out of range.
        """
        if epsilon.shape != x0.shape:
            raise ValueError(
                f"epsilon has shape {tuple(epsilon.shape)}; expected that of x0, {tuple(x0.shape)}"
            )
        if t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
            raise TypeError(f"t has dtype {t.dtype}; expected an integer tensor of timesteps")
        # On an accelerator, looking at the values would stall the queue; it checks indices itself.
        on_cpu = t.device.type == "cpu" and t.numel() > 0
        if on_cpu and not (t.min() >= 0 and t.max() < self.num_train_timesteps):
            raise ValueError(
                f"t spans {int(t.min())} to {int(t.max())}; expected timesteps in "
                f"[0, {self.num_train_timesteps})"
            )
        table = self.alpha_bar.to(device=x0.device, dtype=x0.dtype)
        alpha_bar_t = expand_to(table[t.to(x0.device)], x0)  # (B, 1, ..., 1)
        return alpha_bar_t**0.5 * x0 + (1 - alpha_bar_t) ** 0.5 * epsilon

    def timesteps(
        self,
        num_steps: int,
        spacing: Spacing | None = None,
        steps_offset: int | None = None,
    ) -> Tensor:
        """The timesteps that DDPM and DDIM visit, from noisy to clean (Lin et al. 2024, table 2).

        "leading" counts up from `steps_offset` in equal strides and so misses the noisiest
        timesteps; "trailing" counts down from the last timestep and so starts at pure noise.

        Args:
            num_steps: how many, from 1 to T.
            spacing: "leading" or "trailing"; the schedule's own if None.
            steps_offset: added to "leading" timesteps; the schedule's own if None.

        Returns:
            int64 `(num_steps,)`, falling.

        Raises:
            TypeError: `num_steps` is not an int.
            ValueError: a value out of range, or an unknown spacing.
        """
        T = self.num_train_timesteps
        check_int("num_steps", num_steps, 1, T)
        spacing = self.timestep_spacing if spacing is None else spacing
        if spacing == "trailing":
            return trailing_timesteps(num_steps, T)
        if spacing == "leading":
            offset = self.steps_offset if steps_offset is None else steps_offset
            stride = T // num_steps
            return leading_timesteps(range(num_steps), stride, offset, T)
        raise ValueError(f"spacing is {spacing!r}; expected 'leading' or 'trailing'")

    # ------------------------------------------------------------------ diffusers' configuration

    def to_config(self, class_name: str = "DDIMScheduler") -> dict[str, Any]:
        """The configuration that diffusers' schedulers are built from.

        Args:
            class_name: the diffusers class to name in it, one of `SCHEDULER_CLASSES`.
        """
        if class_name not in SCHEDULER_CLASSES:
            raise ValueError(
                f"class_name is {class_name!r}; expected one of {', '.join(SCHEDULER_CLASSES)}"
            )
        own_betas = None if self.beta_schedule else self.betas.tolist()
        return {
            "_class_name": class_name,
            "num_train_timesteps": self.num_train_timesteps,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "beta_schedule": self.beta_schedule or "linear",
            "trained_betas": own_betas,
            "prediction_type": self.prediction_type,
            "rescale_betas_zero_snr": self.rescale_betas_zero_snr,  # is idempotent
            "timestep_spacing": self.timestep_spacing,
            "steps_offset": self.steps_offset,
            "set_alpha_to_one": self.set_alpha_to_one,
            "clip_sample": False,
            "thresholding": False,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "NoiseSchedule":
        """Build a schedule from a diffusers scheduler configuration.

        A missing key has the default of the diffusers class that the configuration names.

        Raises:
            ValueError: a key that is unknown, or a value that this course does not implement.
        """
        config = {**CLASS_DEFAULTS.get(config.get("_class_name", ""), {}), **config}
        check_config(config)
        T = config.get("num_train_timesteps", 1000)
        options = {name: config[name] for name in OPTIONS if name in config}
        if config.get("trained_betas") is not None:
            schedule = cls.from_betas(config["trained_betas"], **options)
            check_int("num_train_timesteps", T, len(schedule.betas), len(schedule.betas))
        else:
            start, end = config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
            kind = config.get("beta_schedule", "linear")
            schedule = cls._build(kind, start, end, T, options)
        if config.get("rescale_betas_zero_snr"):
            return schedule.rescale_zero_terminal_snr()
        return schedule

    def save(self, folder: str | Path, class_name: str = "DDIMScheduler") -> Path:
        """Write `scheduler_config.json` into `folder` (made if missing) and return its path."""
        path = Path(folder) / CONFIG_NAME
        write_atomically(path, (json.dumps(self.to_config(class_name), indent=2) + "\n").encode())
        return path

    @classmethod
    def load(cls, folder: str | Path) -> "NoiseSchedule":
        """Read `scheduler_config.json` from `folder`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a JSON object, or not one that `from_config` takes.
        """
        path = Path(folder) / CONFIG_NAME
        if not path.is_file():
            raise FileNotFoundError(f"no {CONFIG_NAME} in {folder}; expected a scheduler folder")
        try:
            config = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} does not hold a JSON object: {error}") from error
        return cls.from_config(config)


def leading_timesteps(steps: range, stride: int, offset: int, num_train_timesteps: int) -> Tensor:
    """Timesteps `offset + stride * step`, from the largest down; int64 `(len(steps),)`.

    Raises:
        TypeError: the offset is not an int.
        ValueError: the first timestep would lie beyond the table.
    """
    check_int("steps_offset", offset, 0, num_train_timesteps - 1)
    first = offset + stride * steps[-1]
    if first >= num_train_timesteps:
        raise ValueError(
            f"steps_offset is {offset}, which makes the first of {len(steps)} timesteps {first}; "
            f"expected at most {num_train_timesteps - 1}: use fewer steps or a smaller offset"
        )
    return offset + stride * torch.tensor(steps, dtype=torch.int64).flip(0)


def trailing_timesteps(num_steps: int, num_train_timesteps: int) -> Tensor:
    """Timesteps `round(T - T / num_steps * i) - 1`, starting at T - 1; int64 `(num_steps,)`."""
    T = num_train_timesteps
    stride = T - (T - T / num_steps)  # numpy's arange rounds its stride this way; so do we
    return torch.tensor([round(T - i * stride) - 1 for i in range(num_steps)], dtype=torch.int64)
