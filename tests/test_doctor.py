"""`course doctor`: what it prints, and that it finds what is wrong."""

from __future__ import annotations

import json
import shutil
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from course_utils import hub
from course_utils.cli import main
from course_utils.commands import doctor

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundredth of a second of measuring is enough here."""
    real = doctor.unet_seconds
    monkeypatch.setattr(doctor, "unet_seconds", lambda unet, states: real(unet, states, 0.01))


def test_a_machine_that_is_in_order(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(hub, "bundled_folder", lambda name="": tiny_folder)
    for name in ("python", "version", "jupyter", "disk", "gpu", "thread"):
        monkeypatch.setattr(doctor, f"{name}_problems", lambda: iter(()))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for words in ("This machine", "Will use", "Speed", "ms a call", "draws 4 things"):
        assert words in out
    assert out.endswith("Nothing is wrong.\n")
    starts = {line.index("  ", 4) for line in out.splitlines() if line.startswith("  ")}
    assert len({len(line) - len(line.lstrip()) for line in out.splitlines() if line}) == 2, starts

    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert report["seconds"]["picture"] > 0
    assert report["seconds"]["denoiser_call"] > 0
    assert report["use"]["device"]


def test_missing_and_damaged_weights(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "bundled_folder", lambda name="": tmp_path / "emoji-64")
    monkeypatch.setattr(
        doctor,
        "stand_in_unet",
        lambda device: (_tiny_unet(tiny_folder), torch.zeros(1, 16, 16)),
    )
    report = doctor.Findings()
    doctor.measure(report)
    assert [problem.what.split(" from ")[0] for problem in report.problems] == [
        "The weights emoji-64 are missing"
    ]
    assert "course train all" in report.problems[0].remedy
    assert "estimated" in report.speed["a picture"]

    shutil.copytree(tiny_folder, tmp_path / "emoji-64")
    (tmp_path / "emoji-64/unet/diffusion_pytorch_model.safetensors").write_bytes(b"half")
    report = doctor.Findings()
    doctor.measure(report)
    assert "damaged or cut short" in report.problems[0].what


def _tiny_unet(folder: Path):
    from course_utils.models import UNet

    return UNet.from_pretrained(folder / "unet")


def test_the_stand_in_is_a_network_that_runs() -> None:
    unet, states = doctor.stand_in_unet("cpu")
    with torch.no_grad():
        assert unet(torch.zeros(1, 4, 8, 8), torch.tensor([5]), states).shape == (1, 4, 8, 8)


def test_a_wrong_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(doctor.python_problems()) == []
    Version = namedtuple("Version", "major minor micro releaselevel serial")
    monkeypatch.setattr(sys, "version_info", Version(3, 14, 0, "final", 0))
    assert "3.11 to 3.13" in next(doctor.python_problems()).what


def test_versions_off_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# note\ntorch==0.1\nnumpy==9.9 ; python_version > '3'\n")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["torch>=2,<3", "numpy", "no-such-package~=1"]\n'
    )
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    missing, differing = doctor.version_problems()
    assert "no-such-package" in missing.what
    assert "torch" in differing.what
    assert "(0.1)" in differing.what
    assert "numpy" in differing.what
    assert "+" not in differing.what
    lock.unlink()
    assert len(list(doctor.version_problems())) == 1


def test_a_missing_or_foreign_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_client import kernelspec

    def kernel(*argv: str):
        return lambda self, name: SimpleNamespace(argv=list(argv), resource_dir="there")

    manager = kernelspec.KernelSpecManager
    monkeypatch.setattr(manager, "get_kernel_spec", kernel("python", "-m", "ipykernel"))
    assert list(doctor.jupyter_problems()) == []
    monkeypatch.setattr(manager, "get_kernel_spec", kernel(sys.executable, "-m", "ipykernel"))
    assert list(doctor.jupyter_problems()) == []
    monkeypatch.setattr(manager, "get_kernel_spec", kernel(str(tmp_path / "python")))
    assert "another Python" in next(doctor.jupyter_problems()).what

    def none(self: object, name: str) -> None:
        raise kernelspec.NoSuchKernel(name)

    monkeypatch.setattr(manager, "get_kernel_spec", none)
    assert "no kernel named python3" in next(doctor.jupyter_problems()).what
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert "jupyterlab is missing" in next(doctor.jupyter_problems()).what


def test_a_full_disk_and_a_locked_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5 * 10**7))
    monkeypatch.setattr(doctor, "writable", lambda folder: False)
    disk, folder = doctor.disk_problems()
    assert "only 0.05 GB free" in disk.what
    assert "cannot be written to" in folder.what


def test_writable_asks_the_nearest_folder_and_leaves_nothing(tmp_path: Path) -> None:
    assert doctor.writable(tmp_path / "not" / "there")
    assert list(tmp_path.iterdir()) == []
    assert not doctor.writable(Path("/proc/nothing/here")) or sys.platform != "linux"


@pytest.mark.parametrize(
    ("gpu", "usable", "cuda", "words"),
    [
        ("", False, None, None),
        ("H100", True, "13.0", None),
        ("H100", False, None, "is a build for the CPU"),
        ("H100", False, "13.0", "cannot use it"),
    ],
)
def test_a_gpu_that_torch_does_not_use(
    gpu: str, usable: bool, cuda: str | None, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "nvidia_gpu", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    found = list(doctor.gpu_problems())
    assert len(found) == (words is not None)
    assert words is None or words in found[0].what


def test_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(doctor, "usable_cores", lambda: 2.0)
    assert next(doctor.thread_problems()).remedy == "Set OMP_NUM_THREADS=2 in the environment."


def test_problems_make_the_status_1(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    report = doctor.Findings(problems=[doctor.Problem("It is broken.", "Mend it.")])
    monkeypatch.setattr(doctor, "examine", lambda: report)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out == "Problem 1: It is broken.\n  Remedy: Mend it.\n"
