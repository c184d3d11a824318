"""JupyterLab and Voila in a headless Chromium, for tests that drive the views as a learner does.

A test gets a `Notebook` from the fixture `notebook` (see conftest): a page of JupyterLab with one
kernel. `run(code)` puts the code into a new cell, runs it, and returns the view in its output:

    view = notebook.run("from course_utils.widgets import ForwardNoising\\nForwardNoising()")
    view.slider("timestep t").press("ArrowRight")
    view.expect_text("snr", "1.4 (+2 dB)")

Nothing waits for a fixed time. `Notebook.check` fails on what no test may overlook: errors in the
console, exceptions in outputs, and errors that a view shows.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

# A slow machine is no failure; a very slow one says how much slower it is.
SLOW = float(os.environ.get("COURSE_BROWSER_SLOW", "1"))
PATIENCE = 60_000 * SLOW  # milliseconds
START = 120 * SLOW  # seconds for a server to answer
ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--force-color-profile=srgb")
# What JupyterLab says in the console on a machine without these services; nothing of ours.
HARMLESS = re.compile(
    r"favicon|Failed to load resource.*(40[34]|api/(nbgrader|lsp|workspaces|contents))|"
    r"nbgrader|lsp-ws|/api/kernels/.*interrupt|WebSocket connection to|"
    r"ResizeObserver loop|Connection lost, reconnecting|"
    r"Could not restore the debugger state: Canceled future",  # of a kernel that is restarted
    re.IGNORECASE,
)
GREET = (
    "import os\nos.environ.setdefault('COURSE_PROGRESS', 'off')\n"
    "import torch, course_utils.widgets\n"
    "print('the kernel is ready')"
)


def chromium() -> str | None:
    """The path of Chromium; None where there is none."""
    given = os.environ.get("COURSE_CHROMIUM")
    if given:
        return given
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@contextlib.contextmanager
def server(command: list[str], url: str, folder: Path) -> Iterator[None]:
    """A server of its own process group, from its first answer to the end of the block.

    Its settings and kernels live in `folder`; the learner's own are not read.
    """
    environment = os.environ | {
        "COURSE_PROGRESS": "off",
        "OMP_NUM_THREADS": "1",  # several threads wait for each other where others compute, too
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended at once:\n{log.read_text()[-3000:]}")
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{command[0]} does not answer:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # its kernels too
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@contextlib.contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """JupyterLab on a free port, open to this machine alone, showing `folder`; yields its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "settings" / "@jupyterlab" / "apputils-extension").mkdir(parents=True, exist_ok=True)
    (folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
     ).write_text(json.dumps({"checkForUpdates": False, "fetchNews": "false"}))  # fmt: skip
    command = [
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--ServerApp.allow_root=True",
        "--ServerApp.disable_check_xsrf=True",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=None",
        "--MappingKernelManager.cull_idle_timeout=1800",  # if the tests are killed, it ends, too
        "--MappingKernelManager.cull_interval=300",
        "--ServerApp.shutdown_no_activity_timeout=1800",
        f"--ServerApp.root_dir={folder}",
    ]
    with server(command, f"{url}/api/status", folder):
        yield url


@contextlib.contextmanager
def voila(notebook: Path, folder: Path, *options: str) -> Iterator[str]:
    """One notebook as a page of Voila on a free port; yields its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = ["voila", str(notebook), "--no-browser", "--Voila.ip=127.0.0.1", f"--port={port}",
               "--token=", *options]  # fmt: skip
    with server(command, f"{url}/voila/static/voila.js", folder):
        yield url


class Views:
    """A page with views: what JupyterLab, Voila and a plain HTML file have in common."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.console: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.console.append(f"exception: {error}"))

    def _said(self, message: ConsoleMessage) -> None:
        text = f"{message.text} ({message.location.get('url', '')})"
        if message.type == "error" and not HARMLESS.search(text):
            self.console.append(text)

    def view(self, index: int = 0) -> View:
        """The view number `index` of the page, when it is there."""
        found = self.page.locator(".sn-view").nth(index)
        expect(found).to_be_visible(timeout=PATIENCE)
        return View(found)

    def forgive(self, text: str) -> None:
        """Take messages away that a test has caused and seen, so that `check` accepts them."""
        found = self.page.locator(".sn-message .sn-error").filter(has_text=text)
        found.evaluate_all("(all) => all.forEach((el) => el.remove())")

    def check(self) -> None:
        """Fail on errors in the console, in outputs, and in views."""
        assert not self.console, "the page reports errors:\n" + "\n".join(self.console)
        for selector in (
            '[data-mime-type="application/vnd.jupyter.error"]',
            '[data-mime-type="application/vnd.jupyter.stderr"]',
            ".jupyter-widgets-error-widget",
            ".sn-message .sn-error",
        ):
            for text in self.page.locator(selector).all_inner_texts():
                raise AssertionError(f"the page shows an error ({selector}):\n{text}")


class Notebook(Views):
    """A notebook in JupyterLab with a kernel that has imported the course."""

    def __init__(self, page: Page, url: str, folder: Path, name: str) -> None:
        super().__init__(page)
        path = folder / f"{name}.ipynb"
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        note = nbformat.v4.new_notebook(metadata=kernel)
        note.cells = [nbformat.v4.new_code_cell(GREET, id="greet")]
        nbformat.write(note, path)
        self.path = path
        page.goto(f"{url}/doc/tree/{path.name}")
        page.wait_for_function("() => Boolean(window.jupyterapp)")
        expect(page.locator(".jp-Notebook")).to_be_visible(timeout=PATIENCE)
        page.wait_for_function(
            """async () => {
                const panel = window.jupyterapp.shell.currentWidget;
                if (!panel?.sessionContext) return false;
                await panel.sessionContext.ready;
                return panel.sessionContext.session?.kernel?.status === "idle";
            }"""
        )
        self.cells = 1
        self.command("notebook:run-all-cells")
        expect(page.locator(".jp-OutputArea-output").first).to_contain_text(
            "the kernel is ready", timeout=2 * PATIENCE
        )

    def command(self, name: str, **options: object) -> None:
        """A command of JupyterLab's, as from its menus."""
        self.page.evaluate(
            "([name, options]) => { window.jupyterapp.commands.execute(name, options); }",
            [name, options],
        )

    def run(self, code: str) -> View:
        """Run code in a new cell; returns the view that its output holds."""
        self.execute(code)
        cell = self.page.locator(".jp-CodeCell").nth(self.cells - 1)
        found = cell.locator(".sn-view").first
        expect(found).to_be_visible(timeout=PATIENCE)
        found.scroll_into_view_if_needed()
        return View(found)

    def execute(self, code: str) -> None:
        """Put code into a new cell and run it; returns when its run has been asked for."""
        self.page.evaluate(PAINT_CLOCK)
        self.page.evaluate(
            """(code) => {
                const notebook = window.jupyterapp.shell.currentWidget.content;
                const model = notebook.model.sharedModel;
                model.insertCell(notebook.widgets.length, {cell_type: "code", source: code});
                notebook.activeCellIndex = notebook.widgets.length - 1;
                window.paint.started = performance.now();
                window.jupyterapp.commands.execute("notebook:run-cell");
            }""",
            code,
        )
        self.cells += 1

    def python(self, code: str) -> str:
        """Run code in a new cell and return what it prints (after what runs before it)."""
        self.execute(f"{code}\nprint('end of output')")
        cell = self.page.locator(".jp-CodeCell").nth(self.cells - 1)
        output = cell.locator(".jp-OutputArea-output").filter(has_text="end of output")
        expect(output.or_(cell.locator('[data-mime-type*="error"]')).first).to_be_visible(
            timeout=PATIENCE
        )
        text = "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts())
        return text.replace("end of output", "").strip()

    def expect_python(self, code: str, text: str) -> None:
        """Wait until code prints this: Python hears of a control a little after the page."""
        for _ in range(20):
            said = self.python(code)
            if said == text:
                return
            self.page.wait_for_timeout(250)
        raise AssertionError(f"{code} prints {said!r}; expected {text!r}")

    def restart(self) -> None:
        """Restart the kernel, as from JupyterLab's menu, without its question."""
        self.page.evaluate(
            """async () => {
                const panel = window.jupyterapp.shell.currentWidget;
                await panel.sessionContext.session.kernel.restart();
            }"""
        )

    def first_paint(self) -> float:
        """Seconds from the last cell's output reaching the page to the view's being drawn."""
        output, view = self.page.evaluate("() => [window.paint.output, window.paint.view]")
        return (view - output) / 1000

    def theme(self, dark: bool) -> None:
        """Change the theme of JupyterLab and wait until it is there."""
        self.command("apputils:change-theme", theme=f"JupyterLab {'Dark' if dark else 'Light'}")
        light = "false" if dark else "true"
        self.page.locator(f'body[data-jp-theme-light="{light}"]').wait_for(state="attached")


# Notes when an output and when a view comes onto the page.
PAINT_CLOCK = """() => {
    window.paint?.observer.disconnect();
    const seen = new Set(document.querySelectorAll(".jp-OutputArea-child, .sn-view"));
    const paint = window.paint = {output: null, view: null};
    paint.observer = new MutationObserver(() => {
        for (const [key, selector] of [["output", ".jp-OutputArea-child"], ["view", ".sn-view"]]) {
            if (paint[key] !== null) continue;
            for (const el of document.querySelectorAll(selector)) {
                if (!seen.has(el)) paint[key] = performance.now();
            }
        }
    });
    paint.observer.observe(document.body, {childList: true, subtree: true});
}"""


# Moves a slider; resolves with the milliseconds until a part of the view has changed.
ANSWER_CLOCK = """(input, [value, part, patience]) => new Promise((resolve, reject) => {
    const target = input.closest(".sn-view").querySelector(`[data-part="${part}"]`);
    const start = performance.now();
    const observer = new MutationObserver(() => {
        observer.disconnect();
        resolve(performance.now() - start);
    });
    const all = {childList: true, subtree: true, characterData: true, attributes: true};
    observer.observe(target, all);
    setTimeout(() => reject(new Error(`no answer in ${part}`)), patience);
    input.value = value;
    input.dispatchEvent(new Event("input", {bubbles: true}));
})"""


class View:
    """One view on a page, spoken of as a learner would: by labels."""

    def __init__(self, root: Locator) -> None:
        self.root, self.page = root, root.page

    def control(self, label: str | re.Pattern[str]) -> Locator:
        """The control with this visible label (or a part of it)."""
        return self.root.get_by_label(label).first

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.root.get_by_role("button", name=name).first

    def part(self, name: str) -> Locator:
        """The element of the part that Python calls `name`."""
        return self.root.locator(f'[data-part="{name}"]')

    def slide(self, label: str | re.Pattern[str], value: float) -> None:
        """Move a slider with the mouse: press, drag past other values, let go."""
        slider = self.control(label)
        low, high = (float(slider.get_attribute(end) or 0) for end in ("min", "max"))
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        assert box is not None
        middle, ends = box["y"] + box["height"] / 2, 8  # half of the thumb
        now = float(slider.input_value())
        at = [
            box["x"] + ends + (v - low) / (high - low) * (box["width"] - 2 * ends)
            for v in (now, (now + value) / 2, value)
        ]
        self.page.mouse.move(at[0], middle)
        self.page.mouse.down()
        for x in at[1:]:
            self.page.mouse.move(x, middle, steps=4)
        self.page.mouse.up()

    def set_slider(self, label: str | re.Pattern[str], value: float) -> None:
        """Move a slider to exactly this value, as the arrow keys would."""
        self.control(label).fill(str(value))

    def update_time(self, label: str | re.Pattern[str], values: list[float], part: str) -> float:
        """Median of the seconds from a slider's move to the answer in a part, seen by the page."""
        times = [
            self.control(label).evaluate(ANSWER_CLOCK, [value, part, PATIENCE]) for value in values
        ]
        return sorted(times)[len(times) // 2] / 1000

    def expect_text(self, part: str, text: str | re.Pattern[str]) -> None:
        """Wait until a part of the page contains this text."""
        expect(self.part(part)).to_contain_text(text, timeout=PATIENCE)

    def expect_message(self, text: str | re.Pattern[str], role: str = "status") -> None:
        """Wait until the line below the view says this; role "alert" for warnings, errors."""
        expect(self.root.locator(f'.sn-message[role="{role}"]')).to_contain_text(
            text, timeout=PATIENCE
        )

    def expect_idle(self) -> None:
        """Wait until nothing is being computed."""
        expect(self.root).to_have_attribute("aria-busy", "false", timeout=PATIENCE)
        expect(self.root.locator(".sn-progress")).to_be_hidden(timeout=PATIENCE)

    def pixels(self, part: str, index: int = 0) -> np.ndarray:
        """What an <img> or <canvas> in a part shows: (H, W, 3) uint8, its own pixels."""
        return read_pixels(self.part(part).locator("img, canvas").nth(index))

    def canvas_pixels(self, index: int = 0) -> np.ndarray:
        """The same of canvas number `index`, where there are no parts: in the one-file page."""
        return read_pixels(self.root.locator("canvas").nth(index))

    def expect_pixels_change(self, part: str, before: np.ndarray, index: int = 0) -> np.ndarray:
        """Wait until a picture differs from what it was; returns it."""
        deadline = time.monotonic() + PATIENCE / 1000
        while time.monotonic() < deadline:
            now = self.pixels(part, index)
            if now.shape != before.shape or (now != before).any():
                return now
            self.page.wait_for_timeout(30)
        raise AssertionError(f"the picture {part} stays as it was")

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.root.screenshot(path=path)


def read_pixels(target: Locator) -> np.ndarray:
    """The pixels of an <img> or <canvas>, (H, W, 3) uint8."""
    data = target.evaluate(READ_PIXELS)
    with Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))


# The promise waits until the picture is decoded; an element without one gives an empty picture.
READ_PIXELS = """async (el) => {
    for (let k = 0; el.tagName === "IMG" && el.getAttribute("src") && k < 80; k++) {
        try { await el.decode(); break; } catch (error) { /* a newer one is on its way */ }
        await new Promise((resolve) => setTimeout(resolve, 25));
    }
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, el.naturalWidth ?? el.width);
    canvas.height = Math.max(1, el.naturalHeight ?? el.height);
    try { canvas.getContext("2d").drawImage(el, 0, 0); } catch (error) { /* none yet */ }
    return canvas.toDataURL("image/png");
}"""


def new_page(browser: Browser, width: int = 1280, height: int = 1000) -> Page:
    """A page with its own cookies and storage."""
    context = browser.new_context(viewport={"width": width, "height": height})
    return context.new_page()
