"""Figures: words for all of them, bad input named, odd captions drawn."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

from course_utils import plots
from course_utils.plots import Curve, DescribedImage, system
from course_utils.runtime import Runtime
from course_utils.samplers import Step

SIZES = {"ids": (1, 32), "text_states": (1, 32, 192), "latents": (1, 4, 8, 8)}
SIZES["pixels"] = (1, 3, 64, 64)


def opened(image: DescribedImage) -> Image.Image:
    return Image.open(io.BytesIO(image.png)).convert("RGB")


def walk(num_steps: int = 4, pictures: int = 2) -> list[Step]:
    g = torch.Generator().manual_seed(0)
    draws = [torch.randn((pictures, 3, 8, 8), generator=g) for _ in range(num_steps + 1)]
    return [
        Step(
            i,
            num_steps,
            1000 - 1000 // num_steps * i - 1 if i < num_steps else 0,
            x,
            x if i else None,
        )
        for i, x in enumerate(draws)
    ]


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_text_can_be_read_on_every_surface() -> None:
    for colour in (plots.ACCENT, plots.INK, plots.GREY):
        assert contrast(colour, "#ffffff") >= 4.5
    assert contrast(plots.INK, plots.TINT) >= 4.5 and contrast(plots.GREY, plots.PALE) >= 4.5
    assert contrast(plots.ACCENT, plots.TINT) >= 3  # large bold titles


def test_lines_differ_in_more_than_colour() -> None:
    assert len({(look["linestyle"], look["marker"]) for look in plots.LINES}) == len(plots.LINES)


# --- the image and its words ---------------------------------------------------------------------


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_a_figure_without_words_is_refused(alt: str) -> None:
    with pytest.raises(ValueError, match="alt is empty"):
        plots.picture(torch.zeros(3, 4, 4), alt)


def test_a_notebook_gets_picture_words_and_width(tmp_path: Path) -> None:
    image = plots.picture_grid(torch.zeros(2, 3, 8, 8), ["a", "b"], alt="two grey\n  squares")
    data, metadata = image._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == "two grey squares"
    assert metadata["image/png"]["width"] < opened(image).width  # sharp on fine screens
    assert data["text/plain"] == repr(image) == "Picture: two grey squares"
    image.save(tmp_path / "grid.png")
    assert (tmp_path / "grid.png").read_bytes() == image.png


def test_the_words_stand_below_the_picture_for_front_ends_that_ignore_alt(monkeypatch) -> None:
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **_: shown.append(data))
    plots.picture(torch.zeros(3, 4, 4), "1 < 2 & a cat")._ipython_display_()
    picture, words = shown
    assert set(picture) == {"image/png", "text/plain"}
    assert "1 &lt; 2 &amp; a cat</details>" in words["text/html"]


def test_the_same_figure_is_the_same_file() -> None:
    assert plots.architecture(SIZES).png == plots.architecture(SIZES).png


def test_drawing_leaves_no_trace_in_matplotlib() -> None:
    import matplotlib

    before = {name: matplotlib.rcParams[name] for name in plots.STYLE}
    plots.architecture(SIZES)
    assert {name: matplotlib.rcParams[name] for name in plots.STYLE} == before


# --- pictures ------------------------------------------------------------------------------------


def test_a_picture_is_shown_pixel_by_pixel() -> None:
    pixels = torch.tensor([-1.0, 1.0]).repeat(3, 1, 1)  # (3, 1, 2): black, white
    image = opened(plots.picture(pixels, "black and white", scale=4))
    assert image.size == (8, 4)
    assert image.getpixel((3, 3)) == (0, 0, 0) and image.getpixel((4, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    "captions",
    [
        ["a $cat", "costs $5 or $6"],  # no formula
        ["猫 face", "\U0001f600 \u200b \x07"],  # signs that the font lacks
        ["", " "],
        ["word " * 500, "x" * 500],
        ["two\nlines", "\\frac{"],
    ],
)
def test_any_caption_can_be_drawn(captions: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = plots.picture_grid(torch.zeros(2, 3, 8, 8), captions, alt="captions")
    assert opened(image).height < 600


def test_a_grid_has_rows_and_columns() -> None:
    one = opened(plots.picture_grid(torch.zeros(3, 3, 8, 8), ["a"] * 3, "a row", columns=3))
    two = opened(plots.picture_grid(torch.zeros(4, 3, 8, 8), ["a"] * 4, "two rows", columns=3))
    assert two.width == one.width and two.height > 1.8 * one.height


def test_grids_name_bad_input() -> None:
    with pytest.raises(ValueError, match=r"captions has 1 texts; expected 2"):
        plots.picture_grid(torch.zeros(2, 3, 8, 8), ["a"], "x")
    for shape in ((3, 8, 8), (0, 3, 8, 8), (1, 4, 8, 8)):
        with pytest.raises(ValueError, match=r"expected \(N, 3, H, W\)"):
            plots.picture_grid(torch.zeros(shape), ["a"], "x")


# --- the step strip ------------------------------------------------------------------------------


def test_t_is_counted_as_in_papers() -> None:
    assert [plots.paper_t(step) for step in walk(4)] == [1000, 750, 500, 250, 0]
    assert [plots.paper_t(step) for step in walk(1)] == [1000, 0]


def test_the_strip_decodes_noisy_pictures_and_guesses() -> None:
    steps, seen = walk(25), []

    def decode(latents: torch.Tensor) -> torch.Tensor:
        seen.append(latents)
        return latents.clamp(-1, 1)

    image = plots.step_strip(steps, decode, "a strip", frames=8, picture=1)
    assert opened(image).width > opened(image).height
    noisy, guesses = seen
    assert len(noisy) == 8 and len(guesses) == 7  # step 0 has no guess
    assert torch.equal(noisy[0], steps[0].x[1]) and torch.equal(noisy[-1], steps[-1].x[1])


def test_a_strip_of_one_step_and_bad_strips() -> None:
    assert plots.step_strip(walk(1), lambda x: x.clamp(-1, 1), "one step").png
    for steps in ([], walk()[:1], walk()[1:]):
        with pytest.raises(ValueError, match="steps is not a whole loop"):
            plots.step_strip(steps, lambda x: x, "x")


# --- measurements --------------------------------------------------------------------------------


def test_curves_are_drawn_with_levels() -> None:
    lines = [Curve("a", [1, 2, 4], [3, 2, 0], [1, 0.5, 0]), Curve("b", [1, 4], [2, 1], [0, 0])]
    image = plots.curves(lines, "steps", "levels", "two lines", {"another": 2.5}, ticks=[1, 2, 4])
    assert opened(image).width == round(850 * plots.SHARPNESS)
    assert len(image.png) < 100_000


def test_curves_name_bad_input() -> None:
    with pytest.raises(ValueError, match="2, 1 and 2 values"):
        Curve("a", [1, 2], [1], [0, 0])
    with pytest.raises(ValueError, match="5 lines; expected 1 to 4"):
        plots.curves([Curve("a", [1], [1], [0])] * 5, "x", "y", "z")


# --- the four parts ------------------------------------------------------------------------------


def test_each_part_can_be_lit_up() -> None:
    plain = plots.architecture(SIZES)
    pictures = {plain.png}
    for part in system.PARTS:
        lit = plots.architecture(SIZES, part.key, result=torch.zeros(3, 8, 8))
        assert f"Lit up: {' '.join(part.title.split())}." in lit.alt
        assert "(1, 32, 192)" in lit.alt and "(1, 3, 64, 64)" in lit.alt
        assert len(lit.png) < 100_000
        pictures.add(lit.png)
    assert len(pictures) == 5


def test_a_lit_part_shows_without_colour() -> None:
    grey = [opened(plots.architecture(SIZES, key)).convert("L") for key in (None, "noise")]
    assert sum(v < 120 for v in grey[1].tobytes()) > 1.05 * sum(v < 120 for v in grey[0].tobytes())


def test_the_drawing_names_bad_input() -> None:
    with pytest.raises(
        ValueError, match="highlight is 'u-net'; expected one of words, noise, unet"
    ):
        plots.architecture(SIZES, "u-net")
    with pytest.raises(ValueError, match="sizes lacks pixels, text_states"):
        plots.architecture({"ids": (1, 2), "latents": (1,)})


# --- the Runtime cell ----------------------------------------------------------------------------


def test_the_runtime_cell_names_device_threads_and_budget() -> None:
    now = [10.0]
    runtime = Runtime.start("00", clock=lambda: now[0])
    shown = runtime._repr_mimebundle_()
    for text in (str(runtime), shown["text/html"]):
        assert "about 15 minutes" in text and "90 seconds on two CPU cores" in text
        assert f"{torch.get_num_threads()} thread" in text and torch.__version__ in text
    now[0] = 52.4
    assert runtime.elapsed == pytest.approx(42.4)
    assert "42 seconds since its Runtime cell" in runtime.report()


@pytest.mark.parametrize(("minutes", "seconds"), [(0, 60), (15, -1), (15, float("nan"))])
def test_the_runtime_cell_names_bad_budgets(minutes: int, seconds: float) -> None:
    with pytest.raises(ValueError, match="expected a number above 0"):
        Runtime.start("00", minutes, seconds)
