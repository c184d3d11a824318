"""`course playground`: the web page that draws what one types, served, as a folder, or one file."""

from __future__ import annotations

import argparse
import contextlib
import webbrowser
from pathlib import Path
from typing import Any

from course_utils.commands.demo import find_port
from course_utils.playground import single, site
from course_utils.playground.serve import HOST, make_server


def register(subparsers: Any) -> None:
    """Add the subcommand to the command line."""
    parser = subparsers.add_parser(
        "playground",
        description="Opens the playground in the browser: a web page that draws what you type and "
        "shows every step. Only this machine can reach it; Ctrl-C ends it. With --out it is "
        "written instead, for a web server or as one file.",
        epilog="Example: course playground --out site",
    )
    parser.add_argument(
        "--out", metavar="PATH", help="write a folder for a web server, or one file NAME.html"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="bundled weights (default: all; in one file the default)"
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help="default: 8866, or a free one if that is taken"
    )
    parser.add_argument("--no-browser", action="store_true", help="only say the address")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C, or write.

    Raises:
        ValueError, OSError: with the sentence to print.
    """
    models = [site.find_model(args.model)] if args.model else site.find_models()
    if args.out is None:
        return serve(models, args.port, args.no_browser)
    path = Path(args.out)
    if path.suffix.lower() in {".html", ".htm"}:
        size = single.build(path, models[0])
        print(f"{path}: {size / 1e6:.1f} MB with {models[0].name}; it opens from the disk")
    else:
        size = site.build(path, models)
        names = " and ".join(model.name for model in models)
        print(f"{path}: {size / 1e6:.1f} MB with {names}; any web server can hand it out")
    return 0


def serve(models: list[site.Model], port: int | None, quiet: bool) -> int:
    """Show the page on this machine until Ctrl-C."""
    with make_server(find_port(port), models) as server:
        address = f"http://{HOST}:{server.server_port}/"
        print(f"The playground is at {address} (Ctrl-C ends it)", flush=True)
        if not quiet:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0
