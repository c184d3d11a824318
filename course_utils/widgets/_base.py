"""`View`, what every interactive view is made of, and how to write one.

A view is one widget: a tree of *parts* (controls, pictures, charts; see `_parts`), drawn by
`_base.js` as plain HTML with native controls, so that keyboard and screen reader work as on any
page. Python keeps the state of each part and never touches HTML:

    class Doubler(View):
        label = "A number and its double"

        def __init__(self):
            super().__init__(column(slider("n", "number n", 0, 9, value=2), note("out", "twice n")))
            self.on("n", self.update)  # called with the new value; quick work only
            self.update(self["n"])

        def update(self, n):
            self.put("out", text=f"{2 * n}")

What takes longer than a moment goes into a worker thread:

    def draw(self, _):
        def work(report, cancelled):          # in the worker thread, under torch.no_grad
            for k, step in enumerate(steps, 1):
                report(k / n, f"step {k} of {n}")   # ends the work if it was cancelled
            return picture
        self.busy(work, done=lambda picture: self.show("picture", picture, alt="a cat"))

Rules: handlers and `done` run under the view's lock; a handler's exception, and that of a worker,
is shown in the page with role="alert" and kept in `error`. Values that the learner may get wrong
are answered with `say(sentence, "warning")`. A part of your own: class attribute `js`, see
`_base.js`. `self["name"]` is a control's value; setting it calls no handler.
"""

from __future__ import annotations

import base64
import html
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anywidget
import traitlets

from course_utils.images import to_pil
from course_utils.widgets._parts import Box, Part, clean_value, parts_of, tree_of
from course_utils.widgets._sheet import sheet
from course_utils.widgets._worker import Job, Work, Worker

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

HERE = Path(__file__).parent
BASE_JS = (HERE / "_base.js").read_text(encoding="utf-8")
BASE_CSS = (HERE / "_base.css").read_text(encoding="utf-8")
HEAVY = ("png", "sheet", "preview", "data")  # keys of a part's state that hold bytes
MAX_UPLOAD = 64 * 2**20  # bytes of a file; a photograph of 49 megapixels has about 20 MiB
SUMMARY = "<small>the view in words</small>"
PATIENCE = 20.0  # seconds that a cell waits for the first computing, to keep its picture

Kind = Literal["note", "warning", "error"]


class View(anywidget.AnyWidget):
    """One interactive view; the module says how to write one.

    Args:
        *nodes: what the view consists of, from top to bottom: parts and boxes of parts.

    Attributes:
        label: what the view is called, above it and by a screen reader.
        js: source of further kinds of parts: `KINDS.name = (part, view) => ...`.
        css: further style rules; begin each with `.sn-view`.
        error: the last exception of a handler or worker, None if there was none.
    """

    label = "A view"
    js = ""
    css = ""
    _esm = BASE_JS
    _css = BASE_CSS

    tree = traitlets.Dict().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    status = traitlets.Dict().tag(sync=True)
    progress = traitlets.Dict().tag(sync=True)
    ident = traitlets.Unicode().tag(sync=True)  # by which the page asks whether the kernel lives

    def __init_subclass__(cls, **options: Any) -> None:
        if "js" in cls.__dict__:
            cls._esm = BASE_JS.replace("// PARTS OF THE VIEW", cls.js)
        if "css" in cls.__dict__:
            cls._css = BASE_CSS + cls.css
        super().__init_subclass__(**options)

    def __init__(self, *nodes: Part | Box) -> None:
        self.error: BaseException | None = None
        self.lock = threading.RLock()
        self._handlers: dict[str, list[tuple[Callable[[Any], object], bool]]] = {}
        self._uploads: dict[tuple[str, str], list[bytes]] = {}
        self._worker = Worker(self)
        root = Box("column", nodes)
        self._parts = {part.name: part for part in parts_of(root)}
        traits: dict[str, traitlets.TraitType] = {}
        for part in self._parts.values():
            # Bytes travel by themselves: a new value or caption does not send a picture again.
            heavy = [key for key in HEAVY if key in part.state]
            light = {key: value for key, value in part.state.items() if key not in heavy}
            traits[f"p_{part.name}"] = traitlets.Dict({**light, "heavy": heavy})
            traits |= {f"b_{part.name}_{key}": traitlets.Any(part.state[key]) for key in heavy}
        self.add_traits(**{name: trait.tag(sync=True) for name, trait in traits.items()})
        super().__init__(
            tree=tree_of(root),
            title=self.label,
            status={"text": "", "kind": "note"},
            progress={"running": False, "fraction": 0.0, "text": ""},
        )
        self.ident = self.model_id or ""
        self.on_msg(self._receive)

    # --- parts -------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        """The value of a control, the state `value` of any part."""
        return self.part(name)["value"]

    def __setitem__(self, name: str, value: Any) -> None:
        """Move a control; no handler is called."""
        self.put(name, value=clean_value(self.part(name), value))

    def part(self, name: str) -> dict[str, Any]:
        """The state of a part. Change it with `put`.

        Raises:
            KeyError: there is no such part.
        """
        if name not in self._parts:
            raise KeyError(f"there is no part {name!r}; expected one of {', '.join(self._parts)}")
        light = getattr(self, f"p_{name}")
        return light | {key: getattr(self, f"b_{name}_{key}") for key in light["heavy"]}

    def put(self, name: str, **changes: Any) -> None:
        """Change the state of a part (its label, value, text, png, disabled, hidden, ...)."""
        self.part(name)  # that there is one
        with self.lock, self.hold_sync():  # one message
            light = getattr(self, f"p_{name}")
            for key in light["heavy"]:
                if key in changes:
                    setattr(self, f"b_{name}_{key}", changes.pop(key))
            if changes:
                setattr(self, f"p_{name}", light | changes)

    def show(
        self, name: str, pixels: Tensor | Image.Image | bytes, alt: str, caption: str | None = None
    ) -> None:
        """Put a picture into a part of kind picture.

        Args:
            pixels: (3, H, W) in [-1, 1], a Pillow picture, or the bytes of a PNG.
            alt: what it shows, for those who do not see it.
            caption: the line below it; None leaves it as it is.
        """
        changes: dict[str, Any] = {"png": as_png(pixels), "alt": alt}
        if caption is not None:
            changes["caption"] = caption
        self.put(name, **changes)

    def on(self, name: str, handler: Callable[[Any], object], final: bool = False) -> None:
        """Call `handler(value)` when the learner moves a control or presses a button.

        Args:
            final: only when the value stands: a slider let go, Enter in a text field. Otherwise
                also on the way; values that come faster than the handler works are left out, the
                last one never.
        """
        self.part(name)
        self._handlers.setdefault(name, []).append((handler, final))

    # --- telling -----------------------------------------------------------------------------

    def say(self, text: str, kind: Kind = "note") -> None:
        """Put a sentence into the line below the view; an empty one clears it.

        A screen reader reads a note when it is idle, a warning or an error at once.
        """
        with self.lock:
            self.status = {"text": text, "kind": kind}

    def fail(self, error: BaseException) -> None:
        """Keep an exception that nobody expected and show it."""
        self.error = error
        text = "".join(traceback.format_exception(error))
        with self.lock:
            self.status = {
                "text": f"{type(error).__name__}: {error}",
                "kind": "error",
                "details": text,
            }

    def describe(self) -> str:
        """The present state in words: the alt text of the fallback picture."""
        words = [f"{self.label}."]
        for part in map(self.part, self._parts):
            if part.get("hidden") or part["kind"] not in {"picture", "pictures", "chart", "note"}:
                continue
            texts = [part.get("alt") or part.get("text") or ""]
            texts += [item.get("alt", "") for item in part.get("items", ())]
            name = "" if part["kind"] == "chart" else f"{part['label']}: "
            words += [f"{name}{text}".rstrip(".") + "." for text in texts if text]
        return " ".join(words)

    def fallback(self) -> bytes:
        """PNG of the present state, for pages without a kernel: GitHub, nbconvert, PDF."""
        shown = [part for part in map(self.part, self._parts) if not part.get("hidden")]
        return sheet(self.label, shown)

    def __repr__(self) -> str:
        return self.describe()

    def _bundle(self, live: bool, still: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a notebook keeps: the live view, the fallback picture, or both.

        Without `live` the view's id is empty: JupyterLab hides such an output, and pages without a
        kernel show its picture.
        """
        words = self.describe()
        view = {"version_major": 2, "version_minor": 1, "model_id": self.model_id if live else ""}
        data: dict[str, Any] = {
            "application/vnd.jupyter.widget-view+json": view,
            "text/plain": words,
        }
        if still:
            data["image/png"] = base64.b64encode(self.fallback()).decode()
        return data, {"image/png": {"alt": words}} if still else {}

    def _in_words(self) -> dict[str, Any]:
        """The picture in words, folded, for pages without a kernel: not all of them read `alt`."""
        words = html.escape(self.describe())
        return {
            "application/vnd.jupyter.widget-view+json": {"model_id": ""},
            "text/html": f"<details><summary>{SUMMARY}</summary>{words}</details>",
            "text/plain": "",
        }

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._bundle(live=True, still=True)

    def _ipython_display_(self) -> None:
        """Show the view at once; its picture for pages without a kernel when it is computed."""
        from IPython.display import display

        in_page = os.environ.get("SERVER_SOFTWARE", "").startswith("voila")  # it is never saved
        if in_page or not self.working:
            data, metadata = self._bundle(live=True, still=not in_page)
            display(data, metadata=metadata, raw=True)
            if not in_page:
                display(self._in_words(), raw=True)
            return
        display(self._bundle(live=True, still=False)[0], raw=True)
        try:
            self.wait(PATIENCE)
        except (TimeoutError, KeyboardInterrupt):
            return  # it goes on in its thread; the notebook then keeps the words alone
        data, metadata = self._bundle(live=False, still=True)
        display(data, metadata=metadata, raw=True)
        display(self._in_words(), raw=True)

    # --- computing ---------------------------------------------------------------------------

    def busy(
        self,
        work: Work,
        *,
        done: Callable[[Any], object] | None = None,
        text: str = "computing",
        cancel: bool = True,
        quiet: bool = False,
        stopped: Callable[[], object] | None = None,
    ) -> None:
        """Run `work(report, cancelled)` in the view's worker thread, under `torch.no_grad`.

        Args:
            work: `report(fraction, text)` shows how far it is (fraction None: not known) and
                raises `Cancelled` when the work is no longer wanted; `cancelled()` only asks.
            done: called with what `work` returned, under the lock, unless it was cancelled.
            text: what the progress line says at first.
            cancel: what becomes of work that is running: cancelled, or finished first. Of work
                that waits only the last is kept either way.
            quiet: show no progress, for work that is over before one could read it.
            stopped: called when this work was cancelled or failed, under the lock.
        """
        self._worker.start(Job(work, done, stopped, text, quiet), cancel)

    def stop(self) -> None:
        """Cancel what is being computed."""
        self._worker.cancel()

    @property
    def working(self) -> bool:
        """Whether something is being computed or waits for it."""
        return self._worker.working

    def wait(self, seconds: float = 60.0) -> None:
        """Wait until nothing is being computed.

        Raises:
            TimeoutError: it takes longer than `seconds`.
        """
        if not self._worker.idle.wait(seconds):
            raise TimeoutError(f"{self.label} still computes after {seconds:g} seconds")

    def close(self) -> None:
        """Stop computing, forget the handlers, and take the view off the page."""
        if "_worker" in self.__dict__:  # not where __init__ refused an argument
            self._worker.close()
            self._handlers.clear()
            self._uploads.clear()
        super().close()

    # --- from the page -----------------------------------------------------------------------

    def set_state(self, sync_data: dict) -> None:
        """What a page sends; it may come in another thread than ours."""
        with self.lock:
            super().set_state(sync_data)

    def _receive(self, _: object, content: dict[str, Any], buffers: list[Any]) -> None:
        """One message of a page: controls that moved, or a piece of a file."""
        kind, answer = content.get("type"), {"type": "ack", "view": content.get("view")}
        try:
            if kind == "set":
                for item in content["items"]:
                    self._moved(item["name"], item["value"], bool(item.get("final")))
            elif kind == "upload":
                self._piece(content, bytes(buffers[0]) if buffers else b"")
            elif kind == "stop":
                self.stop()
        except Exception as error:
            self.fail(error)
        finally:
            self.send(answer)  # the page sends what moved meanwhile only now

    def _moved(self, name: str, value: Any, final: bool = True) -> None:
        """A control has a new value: keep it, then call its handlers."""
        with self.lock:
            part = self.part(name)
            value = clean_value(part, value)
            if part.get("value") != value:
                self.put(name, value=value)
            for handler, only_final in tuple(self._handlers.get(name, ())):
                if final or not only_final:
                    handler(value)

    def _piece(self, content: dict[str, Any], data: bytes) -> None:
        """A piece of a file; with the last one the handlers are called with (bytes, file name)."""
        name, key = content["name"], (content["name"], str(content.get("view")))
        if content["index"] == 0:
            self._uploads[key] = []
        pieces = self._uploads.setdefault(key, [])
        pieces.append(data)
        if sum(map(len, pieces)) > MAX_UPLOAD:
            del self._uploads[key]
            self.say(f"The file has more than {MAX_UPLOAD // 2**20} MiB; choose a smaller one.")
        elif content["index"] == content["count"] - 1:
            whole = (b"".join(self._uploads.pop(key)), str(content.get("file", "")))
            with self.lock:
                self.put(name, file=whole[1])
                for handler, _ in tuple(self._handlers.get(name, ())):
                    handler(whole)


def as_png(pixels: Tensor | Image.Image | bytes) -> bytes:
    """The bytes of a PNG file.

    Args:
        pixels: (3, H, W) in [-1, 1], a Pillow picture, or the bytes themselves.
    """
    if isinstance(pixels, bytes):
        return pixels
    import io

    from PIL import Image

    image = pixels if isinstance(pixels, Image.Image) else to_pil(pixels)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
