"""The page as a visitor uses it: types, watches, keeps, experiments; and what goes wrong."""

from __future__ import annotations

import ast
import functools
import itertools
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from PIL import Image

from course_utils.commands.draw import command, print_info
from course_utils.images import to_uint8
from course_utils.pipeline import Pipeline
from course_utils.playground import single
from course_utils.playground import site as sites

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

PROMPT = "a red apple, flat style"
START = "#prompt=a+red+apple%2C+flat+style&steps=3&seed=11&negative=a+leaf"
FINISHED = """() => document.querySelector("#progress").classList.contains("still")
    && !document.querySelector("#keep button").disabled
    && document.querySelector("#status").textContent === "" """
PATIENCE = 60_000  # milliseconds on a busy machine
NAMELESS = """() => [...document.querySelectorAll("input, select, textarea, button, [role]")]
    .filter((el) => el.offsetParent !== null && !el.matches("[role=status], [role=alert]"))
    .filter((el) => !(el.getAttribute("aria-label") || el.getAttribute("aria-labelledby")
        || el.labels?.length || el.textContent.trim()))
    .map((el) => el.outerHTML)"""


def visit(browser: Browser, address: str, **options: object) -> SimpleNamespace:
    """A page with what it says on the console and what it fetches."""
    context = browser.new_context(**{"viewport": {"width": 390, "height": 844}, **options})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    seen = SimpleNamespace(page=page, context=context, problems=[], requests=[])
    page.on("console", lambda m: m.type == "error" and seen.problems.append(m.text))
    page.on("pageerror", lambda error: seen.problems.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("dialog", lambda dialog: seen.problems.append(f"dialog {dialog.message}"))
    page.goto(address)
    return seen


def finish(page: Page) -> None:
    """Wait until nothing is being drawn."""
    page.wait_for_function(FINISHED)


@pytest.fixture(scope="module")
def visitor(browser: Browser, site: str) -> Iterator[SimpleNamespace]:
    """A visitor on a phone who has drawn a picture."""
    seen = visit(browser, f"{site}/{START}")
    finish(seen.page)
    yield seen
    assert seen.problems == []
    seen.context.close()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """What `course draw` makes of the same settings, (64, 64, 3)."""
    drawn = Pipeline.load("emoji-64", device="cpu").draw(PROMPT, "a leaf", num_steps=3, seed=11)
    return to_uint8(drawn.pixels)[0].permute(1, 2, 0).numpy()


def canvas_pixels(locator: Locator) -> np.ndarray:
    from harness import read_pixels

    return read_pixels(locator).astype(int)


def test_the_picture_is_that_of_course_draw(visitor: SimpleNamespace, pixels: np.ndarray) -> None:
    found = canvas_pixels(visitor.page.locator("#big canvas").first)
    assert abs(found - pixels.astype(int)).max() <= 1
    assert visitor.page.locator("#strip button").count() == 4


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_both_widths_and_has_names(
    visitor: SimpleNamespace, width: int, scheme: str
) -> None:
    page = visitor.page
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(NAMELESS) == []
    ink, paper = page.evaluate(
        "['color', 'backgroundColor'].map((key) => "
        "Number(getComputedStyle(document.body)[key].match(/\\d+/)[0]))"
    )
    assert abs(ink - paper) > 200
    assert (ink > paper) == (scheme == "dark")


def test_scrubbing_with_the_keyboard_shows_each_step(visitor: SimpleNamespace) -> None:
    from playwright.sync_api import expect

    page = visitor.page
    slider = page.locator("#player").get_by_role("slider", name="Step")
    last = canvas_pixels(page.locator("#big canvas").first)
    slider.press("Home")
    expect(page.locator("#player")).to_contain_text("Step 0 of 3: pure noise")
    expect(page.get_by_role("img", name="Predicted picture: not at step 0")).to_be_visible()
    slider.press("ArrowRight")
    expect(page.locator("#player")).to_contain_text("Step 1 of 3")
    for name in ("Predicted picture", "Predicted noise", "Without the words", "With the words"):
        expect(page.get_by_role("img", name=f"{name}, step 1")).to_be_visible(timeout=PATIENCE)
    assert (canvas_pixels(page.locator("#big canvas").first) != last).any()
    slider.press("End")
    expect(page.locator("#player")).to_contain_text("the finished picture")


def test_a_word_shows_where_the_network_looks(visitor: SimpleNamespace) -> None:
    from playwright.sync_api import expect

    page, veil = visitor.page, visitor.page.locator("#big .veil")
    expect(veil).to_be_hidden()
    page.get_by_role("button", name="apple", exact=True).click()
    expect(veil).to_be_visible()
    expect(page.locator("#player")).to_contain_text("looks for “apple” at this step")
    page.get_by_role("button", name="apple", exact=True).click()
    expect(veil).to_be_hidden()


def test_the_png_file_remembers_how_to_draw_it_again(
    visitor: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("button", name="Save PNG").click()
    assert download.value.suggested_filename == "a-red-apple-flat-style-seed11.png"
    path = tmp_path / "saved.png"
    download.value.save_as(path)
    with Image.open(path) as image:
        image.verify()  # the check sums, too
    with Image.open(path) as image:
        assert image.size == (256, 256)
        entries = dict(image.text)
    assert print_info(path) == 0
    assert "a red apple, flat style" in capsys.readouterr().out
    words = command(entries)
    assert words[2] == PROMPT
    options = dict(itertools.pairwise(words))
    expected = {"--seed": "11", "--negative": "a leaf", "--steps": "3", "--guidance": "2.5",
                "--sampler": "dpm++2m", "--model": "emoji-64"}  # fmt: skip
    assert expected.items() <= options.items()


def test_the_link_draws_the_same_again(visitor: SimpleNamespace, site: str) -> None:
    from playwright.sync_api import expect

    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site)
    visitor.page.get_by_role("button", name="Copy link").click()
    expect(visitor.page.locator("#keep")).to_contain_text("The link is copied.")
    link = visitor.page.evaluate("navigator.clipboard.readText()")
    given = dict(parse_qsl(urlsplit(link).fragment, keep_blank_values=True))
    assert given == {"model": "emoji-64", "prompt": PROMPT, "literal": "false",
                     "negative": "a leaf", "steps": "3", "guidance": "2.5", "sampler": "dpm++2m",
                     "seed": "11"}  # fmt: skip


def test_the_same_in_python_is_python(visitor: SimpleNamespace) -> None:
    page = visitor.page
    page.get_by_role("button", name="The same in Python").click()
    line, _, program = page.locator("#keep pre").inner_text().partition("\n")
    words = shlex.split(line)
    assert words[:4] == ["course", "draw", PROMPT, "--literal"]
    calls = [node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Call)]
    drawn = next(c for c in calls if getattr(c.func, "attr", "") == "draw")
    given = {k.arg: ast.literal_eval(k.value) for k in drawn.keywords}
    assert ast.literal_eval(drawn.args[0]) == PROMPT
    assert given == {"negative": "a leaf", "num_steps": 3, "guidance_scale": 2.5,
                     "sampler": "dpm++2m", "seed": 11}  # fmt: skip
    page.get_by_role("button", name="The same in Python").click()


def test_texts_survive_shell_and_python(visitor: SimpleNamespace) -> None:
    for text in ('it\'s "so" $HOME `x` \\n', "😀 שלום\u2028", "-x", "", "a\nb"):
        line = visitor.page.evaluate(
            """async (prompt) => { const { inPython, cleanSettings } = await import("/settings.js");
            return inPython(cleanSettings({ prompt }, ["emoji-64"]), prompt); }""",
            text,
        )
        # A text with a line break spans two lines of the shell's, inside its quotes.
        assert shlex.split(line.partition("\n\n")[0])[2] == text
        program = line.partition("\n\n")[2]
        strings = [n.value for n in ast.walk(ast.parse(program)) if isinstance(n, ast.Constant)]
        assert text in strings


@pytest.mark.parametrize(
    ("tab", "press", "result"),
    [
        ("Two prompts", "Draw both", "The other prompt, step 2"),
        ("Contact sheet", "Draw the sheet", "Guidance 3, seed 12"),
        ("Travel", "Draw the way", "100 % of the way"),
        ("Paint the latents", "Go on from here", "The picture with your paint"),
        ("Switch off", "Draw with and without", "The picture without this part"),
    ],
)
def test_every_experiment_draws(
    visitor: SimpleNamespace, tab: str, press: str, result: str
) -> None:
    from playwright.sync_api import expect

    page = visitor.page
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.get_by_role("tab", name=tab).click()
    finish(page)
    if tab == "Contact sheet":
        page.get_by_label("Guidance scales").fill("1; 3")
        page.get_by_label("Seeds").fill("2")
    if tab == "Paint the latents":
        page.locator(".grid").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Space")
    page.get_by_role("button", name=press).click()
    role = "button" if tab == "Contact sheet" else "img"
    expect(page.get_by_role(role, name=result).first).to_be_enabled(timeout=PATIENCE)
    finish(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert page.evaluate(NAMELESS) == []


def test_tabs_go_by_arrow_keys(visitor: SimpleNamespace) -> None:
    from playwright.sync_api import expect

    page = visitor.page
    page.get_by_role("tab", name="Switch off").click()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="The four parts")).to_be_focused()
    expect(page.get_by_role("tabpanel")).to_contain_text("48 times fewer, in 64 times fewer places")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Two prompts")).to_be_focused()


def test_a_hostile_link_only_draws(visitor: SimpleNamespace, site: str) -> None:
    page = visitor.page
    before = list(visitor.requests)
    link = (
        "prompt=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E&steps=1&guidance=1e999&seed=-5"
        "&sampler=__proto__&model=..%2F..%2Fetc&__proto__=x&negative=%ED%A0%80%3Cscript%3E"
    )
    page.evaluate("(link) => { location.hash = link; }", link)
    page.wait_for_function("() => document.querySelector('#prompt').value.startsWith('<img')")
    finish(page)
    chosen = page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
    assert chosen["sampler"] == "dpm++2m"
    assert chosen["model"] == "emoji-64"
    assert (chosen["seed"], chosen["guidance"]) == ("0", "2.5")
    assert page.locator("main img, #read script").count() == 0
    assert visitor.requests == before, "a drawing fetches nothing"
    assert all(url.startswith(site) for url in before)


@pytest.mark.parametrize(
    "text",
    ["x" * 10_000, "👩‍🚀" * 500, "مرحبا بالعالم שלום", "", "   ", "\0\ufffe", "<|endoftext|>"],
)
def test_odd_prompts_are_drawn_and_spoken_of(visitor: SimpleNamespace, text: str) -> None:
    page = visitor.page
    page.get_by_label("Steps", exact=True).fill("1")
    page.locator("#prompt").fill(text)
    page.get_by_role("button", name="Draw", exact=True).click()
    finish(page)
    assert page.locator("#trouble").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    if text.strip(" x") == "":
        assert page.locator("#read .note").count() >= 1


def test_what_is_typed_is_read_for_the_model(
    visitor: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from playwright.sync_api import expect

    page = visitor.page
    link = "#prompt=draw+me+a+fluffy+kitteh&negative=a+kitteh&steps=2&seed=11"
    page.evaluate("(link) => { location.hash = link; }", link)
    page.wait_for_function("() => document.querySelector('#read').textContent.includes('kitteh')")
    finish(page)
    said = page.locator("#read .note").inner_text()
    assert said == 'Read as: a cat face; taking "kitteh" as a cat face; left out: draw me, fluffy.'
    assert page.locator("#read .chip").all_inner_texts() == ["a", "cat", "face"]
    drawn = Pipeline.load("emoji-64", device="cpu").draw(
        "a cat face", "a kitteh", num_steps=2, seed=11
    )  # what is not wanted is not read
    expected = to_uint8(drawn.pixels)[0].permute(1, 2, 0).numpy().astype(int)
    assert abs(canvas_pixels(page.locator("#big canvas").first) - expected).max() <= 1
    expect(page.locator("#keep pre")).to_contain_text("course draw 'a cat face' --literal")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save PNG").click()
    path = tmp_path / "saved.png"
    download.value.save_as(path)
    with Image.open(path) as image:
        assert image.text["prompt"] == "a cat face"
        assert image.text["typed"] == "draw me a fluffy kitteh"
        assert command(image.text)[:4] == ["course", "draw", "a cat face", "--literal"]
    assert print_info(path) == 0
    assert "draw me a fluffy kitteh" in capsys.readouterr().out


def test_words_are_taken_literally_on_request(visitor: SimpleNamespace) -> None:
    from playwright.sync_api import expect

    page = visitor.page
    page.get_by_label("Steps", exact=True).fill("1")
    page.locator("#prompt").fill("a fluffy kitteh")
    page.get_by_label("Take my words literally").check()
    chips = page.locator("#read .chip")
    expect(chips).to_have_text(["a", "fluffy", "kitteh"], timeout=PATIENCE)
    finish(page)
    expect(page.locator("#read")).not_to_contain_text("Read as")
    assert "literal=true" in page.evaluate("location.hash")
    expect(page.locator("#keep pre")).to_contain_text("course draw 'a fluffy kitteh' --literal")
    page.get_by_role("tab", name="Two prompts").click()
    page.get_by_role("textbox", name="The other prompt").fill("a kitteh")
    page.get_by_role("button", name="Draw both").click()
    expect(page.locator("#panel-compare figcaption span").nth(1)).to_have_text("a kitteh")
    finish(page)
    page.get_by_label("Take my words literally").uncheck()
    expect(chips).to_have_text(["a", "cat", "face"], timeout=PATIENCE)
    finish(page)
    page.get_by_role("button", name="Draw both").click()
    expect(page.locator("#panel-compare figcaption span").nth(1)).to_have_text("a cat face")
    finish(page)
    assert "literal=false" in page.evaluate("location.hash")


# --- what goes wrong -----------------------------------------------------------------------------


def test_missing_weights_are_named_and_a_second_try_works(browser: Browser, site: str) -> None:
    from playwright.sync_api import expect

    seen = visit(browser, "about:blank")
    pattern = "**/unet/*.safetensors"
    seen.context.route(pattern, lambda route: route.fulfill(status=404))
    seen.page.goto(f"{site}/#steps=1")
    trouble = seen.page.get_by_role("alert")
    expect(trouble).to_contain_text("unet/diffusion_pytorch_model.safetensors is missing")
    seen.context.unroute(pattern)
    seen.page.get_by_role("button", name="Try again").click()
    finish(seen.page)
    expect(trouble).to_be_hidden()
    seen.context.close()


def test_a_lost_worker_is_started_again(browser: Browser, site: str) -> None:
    from playwright.sync_api import expect

    seen = visit(browser, "about:blank")
    seen.page.add_init_script(
        """window.workers = [];
        window.Worker = class extends Worker {
          constructor(...given) { super(...given); window.workers.push(this); }
        };"""
    )
    seen.page.goto(f"{site}/#steps=1")
    finish(seen.page)
    seen.page.evaluate("workers[0].dispatchEvent(new ErrorEvent('error', { message: 'gone' }))")
    expect(seen.page.get_by_role("alert")).to_contain_text("The engine's thread ended (gone)")
    seen.page.get_by_role("button", name="Start the engine again").click()
    expect(seen.page.get_by_role("alert")).to_be_hidden()
    finish(seen.page)
    seen.context.close()


# --- as a folder and as one file -----------------------------------------------------------------


@contextmanager
def plain_server(folder: Path) -> Iterator[str]:
    """What any host does: hand out the files of a folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_folder_works_without_a_connection_after_the_first_visit(
    browser: Browser, tmp_path: Path
) -> None:
    sites.build(tmp_path / "site", sites.find_models())
    with plain_server(tmp_path / "site") as address:
        seen = visit(browser, f"{address}#steps=1")
        finish(seen.page)
        kept = seen.page.evaluate(
            """async () => { const [name] = await caches.keys();
            return (await (await caches.open(name)).keys()).map(({ url }) => url); }"""
        )
        for name in sites.MODEL_FILES:
            assert f"{address}models/emoji-64/{name}" in kept
    seen.page.reload()  # there is no server any more
    finish(seen.page)
    assert seen.problems == []
    seen.context.close()


def test_one_file_opens_from_the_disk(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "playground.html"
    size = single.build(path, sites.find_models()[0])
    assert size == path.stat().st_size <= 35_000_000
    seen = visit(browser, f"{path.as_uri()}#steps=2")
    finish(seen.page)
    assert seen.page.locator("#read").inner_text().startswith("Read as: a cat face, 3d style")
    assert seen.problems == []
    assert all(url.startswith(("file:", "blob:", "data:")) for url in seen.requests), seen.requests
    assert (
        canvas_pixels(seen.page.locator("#big canvas").first).std() > 10
    )  # a picture, not a plane
    seen.context.close()
