"""Noise schedules against diffusers' tables and files, closed forms, and bad input."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
)

from course_utils.scheduler_config import SCHEDULER_CLASSES
from course_utils.schedules import CONFIG_NAME, NoiseSchedule

SCHEDULES = {
    "linear": NoiseSchedule.linear(),
    "linear, short": NoiseSchedule.linear(1e-3, 0.2, 100),
    "scaled_linear": NoiseSchedule.scaled_linear(),
    "cosine": NoiseSchedule.cosine(),
    "own": NoiseSchedule.from_betas(torch.linspace(0.001, 0.03, 500) ** 1.5),
}
SCHEDULES |= {f"{k}, zero SNR": s.rescale_zero_terminal_snr() for k, s in SCHEDULES.items()}


@pytest.mark.parametrize("name", SCHEDULES)
def test_tables_equal_diffusers(name: str) -> None:
    ours = SCHEDULES[name]
    theirs = DDIMScheduler.from_config(ours.to_config())
    torch.testing.assert_close(ours.betas, theirs.betas, rtol=0, atol=5e-7)
    torch.testing.assert_close(ours.alpha_bar, theirs.alphas_cumprod, rtol=0, atol=5e-7)
    if "own" not in name:
        assert torch.equal(ours.alpha_bar, theirs.alphas_cumprod)  # the same bits


def test_tables_equal_their_formulas() -> None:
    t = torch.arange(1, 1001, dtype=torch.float64)
    linear = NoiseSchedule.linear()
    assert float(linear.betas[0]) == pytest.approx(1e-4)
    assert float(linear.betas[-1]) == pytest.approx(0.02)
    exact = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    torch.testing.assert_close(linear.alpha_bar.double(), exact, rtol=1e-4, atol=1e-6)

    def f(u: torch.Tensor) -> torch.Tensor:
        return torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    cosine = NoiseSchedule.cosine()
    exact = f(t / 1000) / f(torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(cosine.alpha_bar[:-1].double(), exact[:-1], rtol=0, atol=1e-6)
    assert float(cosine.betas.max()) == pytest.approx(0.999)


def test_zero_terminal_snr() -> None:
    plain = NoiseSchedule.scaled_linear()
    assert float(plain.alpha_bar[-1]) == pytest.approx(0.0047, abs=1e-4)  # not pure noise
    rescaled = plain.rescale_zero_terminal_snr()
    assert float(rescaled.alpha_bar[-1]) == 0.0
    torch.testing.assert_close(rescaled.alpha_bar[0], plain.alpha_bar[0])
    assert float(rescaled.snr()[-1]) == 0.0
    assert float(rescaled.log_snr()[-1]) == -math.inf
    assert rescaled.rescale_zero_terminal_snr() is rescaled
    assert not plain.rescale_betas_zero_snr


@pytest.mark.parametrize("name", SCHEDULES)
def test_snr_falls_and_equals_its_definition(name: str) -> None:
    schedule = SCHEDULES[name]
    assert bool((schedule.snr().diff() < 0).all())
    a = schedule.alpha_bar.double()
    torch.testing.assert_close(schedule.snr().double(), a / (1 - a), rtol=1e-5, atol=0)
    finite = schedule.log_snr()[:-1].double()
    torch.testing.assert_close(finite, (a / (1 - a)).log()[:-1], rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------- adding noise


@pytest.mark.parametrize("shape", [(5, 2), (5, 3, 4, 4), (5, 2, 3, 4, 4)])
def test_add_noise_equals_diffusers(shape: tuple[int, ...]) -> None:
    schedule = NoiseSchedule.scaled_linear().rescale_zero_terminal_snr()
    x0, epsilon = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 1, 500, 998, 999])
    theirs = DDPMScheduler.from_config(schedule.to_config()).add_noise(x0, epsilon, t)
    ours = schedule.add_noise(x0, epsilon, t)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert torch.equal(ours[-1], epsilon[-1])  # zero terminal SNR: nothing is left of the picture
    everywhere = schedule.add_noise(x0, epsilon, torch.tensor(500))
    torch.testing.assert_close(everywhere[2], ours[2])


def test_closed_form_equals_adding_noise_step_by_step() -> None:
    """q(x_t | x_0) of Ho et al. 2020, eq. 4, against t draws of eq. 2."""
    schedule = NoiseSchedule.linear(1e-3, 0.2, 50)
    generator = torch.Generator().manual_seed(0)
    x = torch.full((40_000, 1), 1.5)
    for beta in schedule.betas[:30]:
        x = (1 - beta) ** 0.5 * x + beta**0.5 * torch.randn(x.shape, generator=generator)
    jump = schedule.add_noise(
        torch.full((40_000, 1), 1.5),
        torch.randn(40_000, 1, generator=generator),
        torch.full((40_000,), 29),
    )
    assert float(x.mean()) == pytest.approx(float(jump.mean()), abs=0.025)
    assert float(x.std()) == pytest.approx(float(jump.std()), abs=0.02)


def test_variance_is_preserved() -> None:
    schedule, generator = NoiseSchedule.cosine(), torch.Generator().manual_seed(0)
    x0, epsilon = torch.randn(2, 50_000, 1, generator=generator)
    for t in (0, 250, 500, 999):
        x_t = schedule.add_noise(x0, epsilon, torch.tensor(t))
        assert float(x_t.var()) == pytest.approx(1.0, abs=0.03)


def test_add_noise_rejects_bad_input() -> None:
    schedule, x = NoiseSchedule.linear(), torch.zeros(4, 3, 2, 2)
    with pytest.raises(ValueError, match=r"epsilon has shape \(4, 3, 2\); expected that of x0"):
        schedule.add_noise(x, x[..., 0], torch.tensor([1, 2, 3, 4]))
    with pytest.raises(TypeError, match=r"t has dtype torch\.float32; expected an integer"):
        schedule.add_noise(x, x, torch.tensor([0.5] * 4))
    with pytest.raises(ValueError, match=r"t spans 1 to 1000; expected timesteps in \[0, 1000\)"):
        schedule.add_noise(x, x, torch.tensor([1, 2, 3, 1000]))
    with pytest.raises(ValueError, match="t spans -1 to 3"):
        schedule.add_noise(x, x, torch.tensor([1, 2, 3, -1]))
    with pytest.raises(ValueError, match=r"must have shape \(4,\).*got shape \(3,\)"):
        schedule.add_noise(x, x, torch.tensor([1, 2, 3]))


# ---------------------------------------------------------------------- timesteps


@pytest.mark.parametrize("scheduler", [DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_timesteps_equal_diffusers(scheduler: Any, spacing: str) -> None:
    schedule = NoiseSchedule.linear(timestep_spacing=spacing)
    theirs = scheduler.from_config(schedule.to_config(scheduler.__name__))
    for num_steps in (1, 2, 3, 7, 10, 25, 30, 48, 50, 333, 600, 999, 1000):
        theirs.set_timesteps(num_steps)
        ours = schedule.timesteps(num_steps)
        assert ours.dtype == torch.int64
        assert ours.tolist() == theirs.timesteps.long().tolist()


def test_trailing_timesteps_equal_numpys_for_every_count() -> None:
    """diffusers' formula, but for the surplus last value that rounding gives it at some counts."""
    schedule = NoiseSchedule.linear()
    surplus = []
    for n in range(1, 1001):
        theirs = np.round(np.arange(1000, 0, -1000 / n)).astype(np.int64) - 1
        surplus += [n] if len(theirs) != n else []
        ours = schedule.timesteps(n, "trailing")
        assert ours.tolist() == theirs[:n].tolist()
        assert int(ours[0]) == 999
    assert surplus[0] == 61  # a 62nd timestep, -1


def test_spacing_and_offset_can_be_overridden() -> None:
    schedule = NoiseSchedule.scaled_linear(steps_offset=1)
    assert schedule.timesteps(4).tolist() == [751, 501, 251, 1]
    assert schedule.timesteps(4, steps_offset=0).tolist() == [750, 500, 250, 0]
    assert schedule.timesteps(4, "trailing").tolist() == [999, 749, 499, 249]


@pytest.mark.parametrize(
    ("num_steps", "error"),
    [(0, ValueError), (10_000, ValueError), (-3, ValueError), (5.0, TypeError), ("5", TypeError)],
)
def test_bad_num_steps(num_steps: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"num_steps is {num_steps!r}; expected an int from 1 to 1000"):
        NoiseSchedule.linear().timesteps(num_steps)


def test_bad_spacing_and_offset() -> None:
    schedule = NoiseSchedule.linear()
    with pytest.raises(ValueError, match="spacing is 'linspace'; expected 'leading' or 'trailing'"):
        schedule.timesteps(10, "linspace")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="steps_offset is -1; expected"):
        schedule.timesteps(10, steps_offset=-1)
    with pytest.raises(
        ValueError, match="makes the first of 1000 timesteps 1000; expected at most"
    ):
        schedule.timesteps(1000, steps_offset=1)


# ---------------------------------------------------------------------- construction


def test_bad_construction() -> None:
    for build, message in [
        (lambda: NoiseSchedule.linear(beta_start=-0.1), "beta_start is -0.1; expected"),
        (lambda: NoiseSchedule.linear(beta_end=math.nan), "beta_end is nan; expected"),
        (lambda: NoiseSchedule.scaled_linear(beta_end=1.0), "beta_end is 1.0; expected"),
        (lambda: NoiseSchedule.cosine(1), "num_train_timesteps is 1; expected"),
        (lambda: NoiseSchedule.cosine(prediction_type="x0"), "prediction_type is 'x0'; expected"),
        (lambda: NoiseSchedule.cosine(timestep_spacing="even"), "timestep_spacing is 'even'"),
        (lambda: NoiseSchedule.cosine(steps_offset=1000), "steps_offset is 1000; expected"),
        (lambda: NoiseSchedule.from_betas([0.1]), r"betas has shape \(1,\)"),
        (lambda: NoiseSchedule.from_betas([0.1, 1.0, 0.2]), r"betas\[1\] is 1.0; expected"),
        (lambda: NoiseSchedule.from_betas([0.1, math.nan]), r"betas\[1\] is nan; expected"),
    ]:
        with pytest.raises(ValueError, match=message):
            build()


def test_to_moves_the_tables_and_keeps_the_bits() -> None:
    schedule = NoiseSchedule.cosine(prediction_type="sample").rescale_zero_terminal_snr()
    moved = schedule.to("meta")
    assert moved.betas.device.type == moved.alpha_bar.device.type == "meta"
    assert moved.prediction_type == "sample"
    assert torch.equal(schedule.to("cpu").alpha_bar, schedule.alpha_bar)


# ---------------------------------------------------------------------- diffusers' file


@pytest.mark.parametrize("name", SCHEDULES)
def test_save_and_load(name: str, tmp_path: Path) -> None:
    schedule = SCHEDULES[name]
    path = schedule.save(tmp_path / "scheduler")
    assert path.name == CONFIG_NAME
    loaded = NoiseSchedule.load(tmp_path / "scheduler")
    if "own" not in name:
        assert loaded.to_config() == schedule.to_config()
    torch.testing.assert_close(loaded.alpha_bar, schedule.alpha_bar, rtol=0, atol=5e-7)
    assert loaded.rescale_betas_zero_snr == schedule.rescale_betas_zero_snr


@pytest.mark.parametrize(
    "scheduler",
    [DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler],
)
def test_diffusers_opens_the_folder(scheduler: Any, tmp_path: Path) -> None:
    schedule = NoiseSchedule.scaled_linear(
        prediction_type="v_prediction", timestep_spacing="trailing", steps_offset=1
    ).rescale_zero_terminal_snr()
    schedule.save(tmp_path)
    theirs = scheduler.from_pretrained(tmp_path)
    torch.testing.assert_close(theirs.alphas_cumprod[:-1], schedule.alpha_bar[:-1])
    for key in ("prediction_type", "timestep_spacing", "steps_offset", "rescale_betas_zero_snr"):
        assert theirs.config[key] == getattr(schedule, key)


@pytest.mark.parametrize(
    "scheduler",
    [DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler],
)
def test_we_open_the_folders_of_diffusers(scheduler: Any, tmp_path: Path) -> None:
    options = {"clip_sample": False} if scheduler in (DDIMScheduler, DDPMScheduler) else {}
    theirs = scheduler(
        beta_schedule="squaredcos_cap_v2",
        timestep_spacing="trailing",
        prediction_type="sample",
        **options,
    )
    theirs.save_pretrained(tmp_path)
    ours = NoiseSchedule.load(tmp_path)
    assert torch.equal(ours.alpha_bar, theirs.alphas_cumprod)
    assert (ours.prediction_type, ours.timestep_spacing) == ("sample", "trailing")


def test_we_open_stable_diffusion_1_5() -> None:
    schedule = NoiseSchedule.from_config(
        {
            "_class_name": "PNDMScheduler",
            "_diffusers_version": "0.6.0",
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "num_train_timesteps": 1000,
            "set_alpha_to_one": False,
            "skip_prk_steps": True,
            "steps_offset": 1,
            "trained_betas": None,
            "clip_sample": False,
        }
    )
    assert torch.equal(schedule.alpha_bar, NoiseSchedule.scaled_linear().alpha_bar)
    assert schedule.steps_offset == 1
    assert not schedule.set_alpha_to_one
    assert schedule.timestep_spacing == "leading"
    assert schedule.prediction_type == "epsilon"


@pytest.mark.parametrize(
    "change",
    [
        {"beta_schedule": "sigmoid"},
        {"prediction_type": "flow_prediction"},
        {"timestep_spacing": "linspace"},
        {"clip_sample": True},
        {"thresholding": True},
        {"use_karras_sigmas": True},
        {"algorithm_type": "sde-dpmsolver++"},
        {"rescale_betas_zero_snr": "yes"},
        {"beta_start": "0.1"},
        {"num_train_timesteps": 0},
        {"_class_name": "FlowMatchEulerDiscreteScheduler"},
        {"beta_begin": 0.1},
    ],
)
def test_unsupported_config_values_are_named(change: dict[str, Any]) -> None:
    key, value = next(iter(change.items()))
    with pytest.raises(ValueError) as caught:
        NoiseSchedule.from_config(NoiseSchedule.linear().to_config() | change)
    assert key in str(caught.value)
    assert repr(value) in str(caught.value)


def test_a_missing_key_has_the_default_of_its_class() -> None:
    assert NoiseSchedule.from_config({}).to_config() == NoiseSchedule.linear().to_config()
    for class_name in SCHEDULER_CLASSES:
        config = {"_class_name": class_name}
        if class_name == "PNDMScheduler":
            assert not NoiseSchedule.from_config(config).set_alpha_to_one
        else:  # it would clip, or space its timesteps in a way that the course does not teach
            with pytest.raises(ValueError, match=r"clip_sample is True|spacing is 'linspace'"):
                NoiseSchedule.from_config(config)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no scheduler_config\.json in"):
        NoiseSchedule.load(tmp_path)
    for text in ('{"beta_start": 0.', "[1, 2]", "", "3"):
        (tmp_path / CONFIG_NAME).write_text(text)
        with pytest.raises(ValueError, match="does not hold a JSON object"):
            NoiseSchedule.load(tmp_path)
    with pytest.raises(ValueError, match="class_name is 'Heun'; expected one of DDIMScheduler"):
        NoiseSchedule.linear().to_config("Heun")


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    path = NoiseSchedule.linear().save(tmp_path, "DPMSolverMultistepScheduler")
    config = json.loads(path.read_text())
    assert config["_class_name"] == "DPMSolverMultistepScheduler"
    assert config["clip_sample"] is False
