"""The page on a server of its own, and its modules called from Python."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from course_utils.playground.serve import make_server
from course_utils.playground.site import Model

if TYPE_CHECKING:
    from playwright.sync_api import Page


@contextmanager
def served(models: list[Model]) -> Iterator[str]:
    """The page with these models on a free port; yields its address, without a last slash."""
    with make_server(0, models) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Engine:
    """The page's modules in a browser, called from Python."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        page.goto(f"{address}/site.json")  # a page of the same origin without scripts of its own

    def run(self, code: str, argument: object = None) -> Any:
        """`code` is the body of an async function of `given`; module("x.js") imports a module."""
        return self.page.evaluate(
            "async (given) => { const module = (name) => import(`/${name}`);"
            f" const list = (numbers) => Array.from(numbers); {code} }}",
            argument,
        )

    def load(self, model: str) -> None:
        """Make `pipeline` of a model that the server has."""
        self.run(
            """const { readFiles } = await module("files.js");
            const { Pipeline } = await module("pipeline.js");
            const base = `/models/${given}/`;
            window.pipeline = new Pipeline(await readFiles({ base, bytes: 1 }, () => {}));""",
            model,
        )
