"""Write `requirements.lock`: one exact version of every package, for every system and Python.

    python scripts/lock.py              # keeps each version that still fits
    python scripts/lock.py --upgrade    # moves every package to its newest version

The resolver is uv, in an environment of its own that is deleted afterwards. It asks the index that
pip is set up to ask, and reads metadata only: it downloads no torch.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
UV = "uv==0.13.9"

# What torch's CUDA build for Linux brings along. It asks for these itself, at the versions that it
# was built with, and its CPU build does not want them: the lock leaves them to torch.
LEFT_TO_TORCH = ("cuda-", "nvidia-", "triton")

# Packages that only a Python inside a browser wants.
BROWSER_ONLY = "sys_platform == 'emscripten'"

HEADER = """\
# One exact version of every package that the course can use, on Linux, macOS and Windows, for
# Python 3.11 to 3.13. Written by `make lock`; edit pyproject.toml, not this file.
#
# Use it as a constraint: `pip install -c requirements.lock -e .` takes what the course needs.
# The CUDA packages are not listed: torch's own Linux build asks for those it wants, and a CPU build
# of the same version (a local one, or one from PyTorch's CPU index) asks for none.
"""


def from_pip(name: str) -> str:
    """A setting of pip's, from its files or the environment; empty where it is not set."""
    shown = os.environ.get("PIP_" + name.upper().replace("-", "_"), "")
    if shown:
        return shown
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global." + name],
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def uv_environment() -> dict[str, str]:
    """The environment in which uv asks pip's index.

    Extra indexes stay out: they may hold one system's files only, and the lock is for all systems.
    """
    variables = dict(os.environ)
    for pip_name, uv_name in (("index-url", "UV_DEFAULT_INDEX"), ("cert", "SSL_CERT_FILE")):
        if value := from_pip(pip_name):
            variables.setdefault(uv_name, value)
    return variables


def requirements() -> str:
    """Everything that pyproject.toml names: dependencies, extras and the build's own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for extra in project["project"]["optional-dependencies"].values():
        lines += extra
    return "\n".join(lines) + "\n"


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="sculpting-noise-lock-") as folder:
        tools = Path(folder) / "tools"
        venv.create(tools, with_pip=True)
        binaries = tools / ("Scripts" if os.name == "nt" else "bin")
        pip = [str(binaries / "python"), "-m", "pip", "install", "--quiet"]
        if subprocess.run([*pip, UV]).returncode != 0:
            print("make lock: pip could not install uv, its lines above say why.", file=sys.stderr)
            return 1
        wanted, locked = Path(folder) / "wanted.in", Path(folder) / "locked.txt"
        wanted.write_text(requirements(), encoding="utf-8")
        if LOCK.exists():  # uv keeps the versions that it finds here
            locked.write_bytes(LOCK.read_bytes())
        command = [str(binaries / "uv"), "pip", "compile", str(wanted), "--quiet"]
        command += ["--output-file", str(locked), "--universal", "--python-version", "3.11"]
        command += ["--no-header", "--no-annotate"]
        done = subprocess.run([*command, *sys.argv[1:]], env=uv_environment())
        if done.returncode != 0:
            print("make lock: uv failed, its lines above say why; no change.", file=sys.stderr)
            return done.returncode
        lines = [
            line
            for line in locked.read_text(encoding="utf-8").splitlines()
            if not line.startswith(("#", "-", *LEFT_TO_TORCH)) and BROWSER_ONLY not in line
        ]
    part = LOCK.with_suffix(".part")
    part.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    part.replace(LOCK)
    print(f"make lock: {len(lines)} lines in {LOCK.name}. Bring environment.yml to the same.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
