"""`course doctor`: what the course runs on, what it will use, how fast it is, and what is wrong."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from course_utils.machine import cores, cpu_model, gpus, memory, nvidia_gpu, system, usable_cores
from course_utils.shadows import importable_names, shadows

PYTHONS = ((3, 11), (3, 13))  # oldest and newest that the course runs on
ROOM = 10**9  # bytes of disk below which training runs and notebooks get into trouble
ROOT = Path(__file__).resolve().parents[2]  # the repository, where there is one
USER_FOLDER = "sculpting-noise"


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and what to do about it."""

    what: str
    remedy: str


@dataclass
class Findings:
    """What the doctor found; each part maps a label to a line."""

    system: dict[str, str] = field(default_factory=dict)
    use: dict[str, str] = field(default_factory=dict)
    speed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # the speed as numbers, for programs
    problems: list[Problem] = field(default_factory=list)

    def text(self) -> str:
        """The report for a terminal: aligned lines, problems last."""
        parts = {"This machine": self.system, "Will use": self.use, "Speed": self.speed}
        width = max((len(label) for lines in parts.values() for label in lines), default=0)
        out = []
        for title, lines in parts.items():
            if lines:
                out.append(title)
                out += [f"  {label:<{width}}  {line}" for label, line in lines.items()]
                out.append("")
        if not self.problems:
            out.append("Nothing is wrong.")
        for number, problem in enumerate(self.problems, 1):
            out += [f"Problem {number}: {problem.what}", f"  Remedy: {problem.remedy}"]
        return "\n".join(out)


def register(subparsers: Any) -> None:
    """Add `doctor` to the commands of `course`."""
    parser = subparsers.add_parser(
        "doctor",
        description="Say what the course runs on, what it will use, how fast it is, and what is "
        "wrong, with the remedy. The exit status is 1 if something is wrong.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 if nothing is wrong, else 1."""
    report = examine()
    print(json.dumps(asdict(report), indent=2) if args.json else report.text())
    return 1 if report.problems else 0


def examine() -> Findings:
    """Look at everything. Takes a few seconds, changes nothing, touches no network."""
    report = Findings()
    report.system |= {
        "system": f"{system()}, {platform.machine()}",
        "python": f"{platform.python_version()}, {sys.executable}",
        "cpu": f"{cpu_model()}, {cores()}",
        "memory": memory(),
    }
    report.problems += [
        *python_problems(),
        *version_problems(),
        *jupyter_problems(),
        *shadow_problems(),
        *disk_problems(),
    ]
    try:
        import torch
    except Exception as error:
        report.problems.append(
            Problem(f"torch does not load: {_line(error)}.", "Run `make env`; see what it prints.")
        )
        return report
    report.system["torch"] = str(torch.__version__)
    report.system["gpu"] = gpus()
    report.problems += [*gpu_problems(), *thread_problems()]
    report.use |= what_is_used()
    measure(report)
    return report


def what_is_used() -> dict[str, str]:
    """Device, precision and threads, as the pipeline and the training loop choose them."""
    import torch

    from course_utils.runtime import pick_device
    from course_utils.training.loop import pick_precision

    device = pick_device()
    names = {"cuda": "GPU", "mps": "Apple GPU", "cpu": "CPU"}
    precision = {"bf16": "bfloat16 and float32 (mixed precision)", "no": "float32"}[
        pick_precision()
    ]
    why = "fast here" if "bfloat16" in precision else "bfloat16 would be slower here"
    return {
        "device": f"{names[device.type]} ({device})",
        "drawing": "float32",
        "training": f"{precision}; {why if device.type != 'mps' else 'the safe choice here'}",
        "threads": str(torch.get_num_threads()),
        "sandbox": f"{sandbox()} (only `course grade` needs it)",
    }


def sandbox() -> str:
    """Whether a class could be graded here."""
    from course_utils.grading.sandbox.probe import state

    return state()


# --- speed -------------------------------------------------------------------------------------


def measure(report: Findings) -> None:
    """Load the bundled weights and draw; without them, time a network of the same size."""
    from course_utils.hub import DEFAULT_MODEL, bundled_folder
    from course_utils.models import WeightsError
    from course_utils.pipeline import DEFAULT_STEPS, Pipeline
    from course_utils.runtime import pick_device

    speed, seconds = report.speed, report.seconds
    began = time.perf_counter()
    pipeline = None
    try:
        pipeline = Pipeline.load(DEFAULT_MODEL)
    except (WeightsError, OSError) as error:
        folder = bundled_folder()
        missing = f"The weights {DEFAULT_MODEL} are missing from {folder.parent}."
        report.problems.append(
            Problem(
                _line(error) if folder.is_dir() else missing,
                "Fetch the repository again, or make the weights anew with `course train all`.",
            )
        )
        unet, states = stand_in_unet(pick_device())
        speed["weights"] = "none; timed with a network of the usual size"
    else:
        seconds["load"] = time.perf_counter() - began
        unet, states = pipeline.unet, pipeline.encode_prompt("a cat face")
        concepts = pipeline.vocabulary.concepts if pipeline.vocabulary else ()
        known = f", draws {len(concepts)} things" if concepts else ""
        speed["weights"] = f"{DEFAULT_MODEL}{known}, loaded in {seconds['load']:.1f} s"
    call = seconds["denoiser_call"] = unet_seconds(unet, states)
    seconds["picture"] = call * DEFAULT_STEPS
    speed["denoiser"] = f"{call * 1000:.1f} ms a call (one picture, with guidance)"
    drawn = "estimated"
    if pipeline is not None:
        try:
            pipeline.draw("a cat face", num_steps=1)  # the first use of the decoder takes longer
            began = time.perf_counter()
            pipeline.draw("a cat face")
        except ValueError as error:
            report.problems.append(Problem(_line(error), "Fetch the repository again."))
        else:
            seconds["picture"] = time.perf_counter() - began
            drawn = "drawn just now"
    speed["a picture"] = f"{seconds['picture']:.1f} s for {DEFAULT_STEPS} guided steps, {drawn}"


def unet_seconds(unet: Any, text_states: Any, seconds: float = 1.0) -> float:
    """Seconds that one guided call takes: the median over about a second of calls.

    Args:
        unet: the denoiser.
        text_states: (1, L, D); a guided call works on two rows, with and without the prompt.
        seconds: how long to measure.
    """
    import torch

    c = unet.config
    x = torch.zeros(2, c.in_channels, c.sample_size, c.sample_size, device=unet.device)
    states = torch.cat([text_states, text_states])  # (2, L, D)
    t = torch.tensor([500, 500], device=unet.device)
    times: list[float] = []
    with torch.no_grad():
        unet(x, t, states)  # the first call also picks kernels
        until = time.perf_counter() + seconds
        while len(times) < 3 or time.perf_counter() < until:
            began = time.perf_counter()
            unet(x, t, states)[0, 0, 0, 0].item()  # waits for a GPU to finish
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def stand_in_unet(device: Any) -> tuple[Any, Any]:
    """A denoiser of the bundled one's size with random weights, and text states for it."""
    import torch

    from course_utils.models import UNet

    unet = UNet(
        sample_size=8,
        block_out_channels=(128, 256),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        cross_attention_dim=256,
    )
    return unet.eval().to(device), torch.zeros(1, 32, 256, device=device)


# --- problems ----------------------------------------------------------------------------------


def python_problems() -> Iterator[Problem]:
    """A Python that the course does not run on."""
    oldest, newest = PYTHONS
    if not oldest <= sys.version_info[:2] <= newest:
        wanted = f"{oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}"
        yield Problem(
            f"This is Python {platform.python_version()}; the course runs on {wanted}.",
            "Install Python 3.12 and run `make env PYTHON=python3.12`.",
        )


def version_problems() -> Iterator[Problem]:
    """Packages that are missing or of another version than the lock file's."""
    locked, needed = locked_versions(ROOT / "requirements.lock"), needed_packages()
    missing, others = [], []
    for name in needed:
        try:
            installed = metadata.version(name).partition("+")[0]  # without "+cpu" or "+cu130"
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if name in locked and installed != locked[name]:
            others.append(f"{name} {installed} ({locked[name]})")
    if missing:
        yield Problem(f"Packages are missing: {', '.join(missing)}.", "Run `make env`.")
    if others:
        yield Problem(
            f"Versions differ from requirements.lock (in brackets): {', '.join(others)}.",
            "Run `make env`; or go on, if you chose them and all works.",
        )


def locked_versions(lock: Path) -> dict[str, str]:
    """Package to version from a lock file; empty where there is none."""
    if not lock.is_file():
        return {}
    lines = (line.partition(";")[0].strip() for line in lock.read_text("utf-8").splitlines())
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.lower(): version for name, version in pairs}


def needed_packages() -> list[str]:
    """The packages that the course asks for by name."""
    import re
    import tomllib

    project = ROOT / "pyproject.toml"
    if project.is_file():
        asked = tomllib.loads(project.read_text("utf-8"))["project"]["dependencies"]
    else:
        try:
            asked = metadata.requires("sculpting-noise") or []
        except metadata.PackageNotFoundError:
            asked = []
    return [re.split(r"[\s<>=~!;\[]", line)[0].lower() for line in asked if "extra ==" not in line]


def jupyter_problems() -> Iterator[Problem]:
    """No JupyterLab, or a kernel that starts another Python than this one."""
    for package in ("jupyterlab", "ipykernel"):
        if importlib.util.find_spec(package) is None:
            yield Problem(f"{package} is missing, so notebooks do not open.", "Run `make env`.")
            return
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        yield Problem(
            "JupyterLab has no kernel named python3.",
            f"Run `{sys.executable} -m ipykernel install --sys-prefix --name python3`.",
        )
        return
    program = spec.argv[0] if spec.argv else ""
    if Path(program).is_absolute() and not _same_python(program):
        yield Problem(
            f"The kernel python3 starts another Python, {program} (see {spec.resource_dir}).",
            f"Run `{sys.executable} -m ipykernel install --sys-prefix --name python3`, or delete "
            "that folder.",
        )


def shadow_problems() -> Iterator[Problem]:
    """Files beside the notebooks, or here, that would be imported in place of a package."""
    names = importable_names([*locked_versions(ROOT / "requirements.lock"), *needed_packages()])
    folders = [ROOT, ROOT / "notebooks", *sorted((ROOT / "challenges").glob("**/")), Path.cwd()]
    for folder in dict.fromkeys(map(Path.resolve, folders)):
        for path, module in shadows(folder, names):
            yield Problem(
                f"{path} hides the package {module}: `import {module}` in a notebook beside it "
                "takes this file.",
                "Rename it or move it away, then restart the notebook's kernel.",
            )


def disk_problems() -> Iterator[Problem]:
    """A disk that is nearly full, or no folder to keep progress in."""
    for path in dict.fromkeys((Path.cwd(), ROOT)):
        free = shutil.disk_usage(path).free
        if free < ROOM:
            yield Problem(
                f"The disk of {path} has only {free / 1e9:.2f} GB free.",
                "Free a few GB; old training runs in runs/ are the first to go.",
            )
            break
    try:
        import platformdirs
    except ImportError:
        return  # named among the missing packages
    folder = platformdirs.user_data_path(USER_FOLDER)
    if not writable(folder):
        yield Problem(
            f"The folder for your progress, {folder}, cannot be written to.",
            "Make it writable, or set XDG_DATA_HOME to a folder that is (Linux).",
        )


def gpu_problems() -> Iterator[Problem]:
    """An NVIDIA GPU that torch does not use."""
    import torch

    name = "" if torch.cuda.is_available() else nvidia_gpu()
    if not name:
        return
    if torch.version.cuda is None:
        yield Problem(
            f"There is an {name}, but torch {torch.__version__} is a build for the CPU.",
            f"Install the CUDA build of torch {str(torch.__version__).partition('+')[0]}; "
            "with conda, `conda env create -f environment.yml` does.",
        )
    else:
        yield Problem(
            f"There is an {name}, but torch {torch.__version__} (CUDA {torch.version.cuda}) cannot "
            "use it.",
            "Update the NVIDIA driver, and see that CUDA_VISIBLE_DEVICES is not set to nothing.",
        )


def thread_problems() -> Iterator[Problem]:
    """More threads than cores, which makes everything slower."""
    import torch

    usable = max(1, round(usable_cores()))
    if torch.get_num_threads() > usable:
        yield Problem(
            f"torch starts {torch.get_num_threads()} threads where {usable} cores may be used.",
            f"Set OMP_NUM_THREADS={usable} in the environment.",
        )


# --- small services ----------------------------------------------------------------------------


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the nearest one above that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _same_python(program: str) -> bool:
    with contextlib.suppress(OSError):
        return Path(program).parent.resolve() == Path(sys.executable).parent.resolve()
    return False


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
