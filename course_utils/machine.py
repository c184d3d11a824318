"""What this machine is: its system, processor, cores, memory and GPUs. Nothing here changes it."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path


def system() -> str:
    """Name and version of the operating system."""
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    with contextlib.suppress(OSError):
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']} ({platform.release()})"
    return f"{platform.system()} {platform.release()}"


def cpu_model() -> str:
    """What the maker calls the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        return output_of("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    return platform.processor() or platform.machine()


def usable_cores() -> float:
    """How many cores this process may keep busy: affinity, and a container's limit."""
    try:
        count = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # not on this system
        count = float(os.cpu_count() or 1)
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, int(quota) / int(period))
    return count


def cores() -> str:
    """How many cores there are for us."""
    usable, there = usable_cores(), os.cpu_count() or 1
    number = f"{usable:g} core{'' if usable == 1 else 's'}"
    return number if usable == there else f"{number} of {there} for this process"


def memory() -> str:
    """Main memory, and how much of it is free."""
    try:
        import psutil  # type: ignore[import-untyped]
    except ImportError:
        return "not known"
    found = psutil.virtual_memory()
    return f"{found.total / 1e9:.1f} GB, {found.available / 1e9:.1f} GB free"


def gpus() -> str:
    """The GPUs that torch can use, with memory, or that there is none."""
    import torch

    if torch.cuda.is_available():
        names = []
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            names.append(f"{found.name} ({found.total_memory / 1e9:.0f} GB)")
        return ", ".join(names)
    return "Apple GPU" if torch.backends.mps.is_available() else "none that torch can use"


def nvidia_gpu() -> str:
    """The name of the first NVIDIA GPU in this machine, whatever torch says; empty if none."""
    if shutil.which("nvidia-smi"):
        names = output_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
        if names:
            return names.splitlines()[0].strip()
    folder = Path("/proc/driver/nvidia/gpus")
    return "NVIDIA GPU" if folder.is_dir() and any(folder.iterdir()) else ""


def output_of(*words: str) -> str:
    """What a program prints; empty if it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
