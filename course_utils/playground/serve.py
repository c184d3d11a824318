"""The page on this machine, for this machine alone."""

from __future__ import annotations

import functools
import json
import shutil
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from course_utils.playground.site import INDEX, SITE, WEB, Model, describe, page_files

HOST = "127.0.0.1"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
    "style-src 'self'; connect-src 'self'; worker-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def make_server(port: int, models: list[Model]) -> ThreadingHTTPServer:
    """A server that hands out the page and the models, and nothing else.

    Args:
        port: a free one; 0 takes any.
        models: for the page's menu.
    """
    paths = {f"/{name}": WEB / name for name in page_files()}
    paths["/"] = WEB / INDEX
    for model in models:
        for name in model.files():
            paths[f"/models/{model.name}/{name}"] = model.folder / name
    made = {f"/{SITE}": json.dumps(describe(models, offline=False)).encode()}
    for model in models:
        made |= {f"/models/{model.name}/{name}": data for name, data in model.made().items()}
    return ThreadingHTTPServer((HOST, port), functools.partial(Handler, paths, made))


class Handler(BaseHTTPRequestHandler):
    """Answers GET for the paths of two lists: of files, and of what was made, with its content."""

    protocol_version = "HTTP/1.1"

    def __init__(self, paths: dict[str, Path], made: dict[str, bytes], *args: object) -> None:
        self.paths, self.made = paths, made
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Send a file."""
        path = unquote(urlsplit(self.path).path)
        if path in self.made:
            self._head(HTTPStatus.OK, TYPES[".json"], len(self.made[path]))
            self.wfile.write(self.made[path])
            return
        file = self.paths.get(path)
        if file is None or not file.is_file():
            self._head(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", 0)
            return
        kind = TYPES.get(file.suffix, "application/octet-stream")
        self._head(HTTPStatus.OK, kind, file.stat().st_size)
        with file.open("rb") as source:
            shutil.copyfileobj(source, self.wfile)

    def _head(self, status: HTTPStatus, kind: str, length: int) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
