"""`course demo`: the interactive views as one page outside JupyterLab, for a projector."""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).resolve().parents[1] / "widgets" / "demo.ipynb"
HOST = "127.0.0.1"  # this machine alone
PORT = 8866
TEMPLATES = NOTEBOOK.parent / "page"  # holds voila/templates/course
# Of JupyterLab only what draws widgets; others may not fit into this page.
EXTENSIONS = (
    "anywidget",
    "@jupyter-widgets/jupyterlab-manager",
    "@voila-dashboards/widgets-manager8",
)
NAMES = ("player", "forward", "guidance", "latents", "prompts", "attention", "architecture")


def register(subparsers: Any) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "demo",
        description="Opens the interactive views as one page in the browser, without JupyterLab. "
        "Only this machine can reach it. Ctrl-C ends it.",
    )
    parser.add_argument(
        "view", nargs="?", choices=NAMES, help=f"the view to open first: {', '.join(NAMES)}"
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help=f"default: {PORT}, or a free one if that is taken"
    )
    parser.add_argument("--dark", action="store_true", help="light letters on a dark page")
    parser.add_argument("--no-browser", action="store_true", help="only say the address")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C.

    Raises:
        ValueError: the port is no port, or taken.
        ModuleNotFoundError: Voila is not installed.
    """
    if importlib.util.find_spec("voila") is None:
        raise ModuleNotFoundError("No module named 'voila'", name="voila")
    port = find_port(args.port)
    print(f"The demo is at http://{HOST}:{port}/ (Ctrl-C ends it)", flush=True)
    process = subprocess.Popen(command(port, args), env=environment(args))
    try:
        return process.wait()
    except KeyboardInterrupt:  # it reached the server as well, which ends its kernels
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.terminate()
        return 0


def command(port: int, args: argparse.Namespace) -> list[str]:
    """How Voila is started."""
    found = [
        sys.executable,
        *("-m", "voila", str(NOTEBOOK)),
        f"--port={port}",
        f"--Voila.ip={HOST}",
        "--Voila.port_retries=0",
        "--show_tracebacks=True",  # an exception is shown, not swallowed
        "--Voila.log_level=ERROR",
        "--template=course",
        *(f"--VoilaConfiguration.extension_allowlist={name}" for name in EXTENSIONS),
    ]
    if args.dark:
        found.append("--theme=dark")
    if args.no_browser:
        found.append("--no-browser")
    return found


def environment(args: argparse.Namespace) -> dict[str, str]:
    """Of the server and its kernels: they find this course, and the view to open first."""
    root = str(NOTEBOOK.parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    data = [str(TEMPLATES), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    found = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "JUPYTER_PATH": os.pathsep.join(data),
    }
    if args.view:
        found["COURSE_DEMO_VIEW"] = args.view
    return found


def find_port(wanted: int | None) -> int:
    """The port that was asked for, else the usual one, else any that is free.

    Raises:
        ValueError: the one that was asked for is out of range or taken.
    """
    if wanted is not None:
        if not 1 <= wanted <= 65_535:
            raise ValueError(f"--port is {wanted}; expected a number from 1 to 65535")
        if not _is_free(wanted):
            raise ValueError(f"--port is {wanted}, which another program uses; try another one")
        return wanted
    if _is_free(PORT):
        return PORT
    with socket.socket() as server:
        server.bind((HOST, 0))
        return int(server.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as server:
        if os.name != "nt":  # a port that was just given back counts as free, as for the server
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
        except OSError:
            return False
        return True
