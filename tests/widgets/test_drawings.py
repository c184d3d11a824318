"""What views draw and remember, the sheet that the course ships, and how a prompt is scored."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils.widgets import _drawings
from course_utils.widgets._drawings import FOLDER, Drawing, Recipe, Shipped, Studio, shipped
from course_utils.widgets._scores import Asked, Scores, Seen, read_prompt, score
from course_utils.widgets.rebuild import recipes


@pytest.fixture(scope="module")
def studio() -> Studio:
    """The course's own pipeline and judge; draws also what is shipped."""
    return Studio(anew=True)


def pixels(drawing: Drawing) -> np.ndarray:
    """The pictures of a drawing, (K, 64, 64, 3)."""
    return np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in drawing.pngs])


# --- the sheet ------------------------------------------------------------------------------------


def test_the_sheet_is_of_these_weights_and_holds_what_the_views_open_with() -> None:
    from course_utils.evaluation.judge import JUDGE_SHA256
    from course_utils.evaluation.sweep import weights_sha256

    again = "draw it anew: python -m course_utils.widgets.rebuild"
    assert shipped().made["model_sha256"] == weights_sha256("emoji-64"), again
    assert shipped().made["judge_sha256"] == JUDGE_SHA256, again
    assert list(shipped().scores) == recipes(), again
    assert (FOLDER / "drawings.webp").stat().st_size < 300_000


@pytest.mark.parametrize("place", [5, 21, 49])  # moderate, without a style, of the prompt lab
def test_the_pipeline_draws_what_is_on_the_sheet(studio: Studio, place: int) -> None:
    recipe = recipes()[place]
    there = shipped().get(recipe)
    with torch.no_grad():
        drawn = studio.draw(recipe)
    assert there is not None and there.seconds is None and drawn.seconds is not None
    difference = np.abs(pixels(there).astype(float) - pixels(drawn))
    print(f"{recipe.prompt}: mean difference {difference.mean():.2f} levels of 255")
    assert pixels(there).shape == (recipe.count, 64, 64, 3)
    assert difference.mean() < 7, "the sheet is compressed, but the same pictures"
    assert there.scores.asked == drawn.scores.asked
    for name in ("saturation", "diversity", "spread", "probability"):
        assert getattr(there.scores, name) == pytest.approx(
            getattr(drawn.scores, name), rel=0.05, abs=1e-3
        )
    assert [s.concept for s in there.scores.seen] == [s.concept for s in drawn.scores.seen]


def test_a_sheet_can_be_written_and_read(tmp_path: Path) -> None:
    some = [shipped().get(recipe) for recipe in recipes()[:3]]
    drawings = [drawing for drawing in some if drawing is not None]
    _drawings.write_sheet(drawings, tmp_path, {"model": "x"})
    again = Shipped(tmp_path)
    assert again.made == {"model": "x"}
    for drawing in drawings:
        read = again.get(drawing.recipe)
        assert read is not None and read.scores == drawing.scores
        assert np.abs(pixels(read).astype(float) - pixels(drawing)).mean() < 7
    assert again.get(Recipe("something else")) is None
    (tmp_path / "drawings.webp").write_bytes(drawings[0].pngs[0])
    with pytest.raises(ValueError, match="expected"):
        Shipped(tmp_path)


# --- the studio -----------------------------------------------------------------------------------


def test_a_studio_remembers_the_last_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_drawings, "KEPT", 2)
    studio = Studio(anew=True)
    said: list[tuple[float, str]] = []
    small = [Recipe("a cat", scale=1.0, seed=seed, count=1, num_steps=1) for seed in range(3)]
    assert studio.find(small[0]) is None and not studio.ready
    with torch.no_grad():
        for recipe in small:
            studio.draw(recipe, lambda share, text: said.append((share, text)), "sketch")
    assert studio.ready
    assert studio.find(small[0]) is None, "the oldest is forgotten"
    assert studio.find(small[2]) is studio.draw(small[2]), "what is there is not drawn again"
    assert min(said)[0] >= 0 and max(said)[0] < 1 and (0.5, "sketch: step 1 of 1") in said
    one = studio.find(small[2])
    assert one is not None and one.scores.diversity is None and one.scores.spread is None


def test_a_drawing_can_be_stopped(studio: Studio) -> None:
    class Enough(Exception):
        pass

    def stop(share: float, text: str) -> None:
        if share > 0.2:
            raise Enough

    recipe = Recipe("an owl", count=1, num_steps=4)
    with torch.no_grad(), pytest.raises(Enough):
        studio.draw(recipe, stop)
    assert studio.find(recipe) is None


# --- scores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("a cat face, 3d style, on a blue background", ("cat face", "3d", "blue")),
        ("draw a cat", ("cat face", None, None)),
        ("a red apple", ("red apple", None, None)),  # the name's red is no background
        ("a red apple on a red background", ("red apple", None, "red")),
        ("green background, a fox", ("fox", None, "green")),
        ("a yellow fox on an orange background, noto", ("fox", "noto", "orange")),
        ("yellow rocket twemoji", ("rocket", "twemoji", "yellow")),
        ("GREY background with A SMILING FACE WITH SUNGLASSES",
         ("smiling face with sunglasses", None, "gray")),
        ("eine Katze", (None, None, None)),
        ("", (None, None, None)),
        ("🐱 שלום", (None, None, None)),
        ("x " * 5_000, (None, None, None)),
    ],
)  # fmt: skip
def test_what_a_prompt_asks_for(studio: Studio, prompt: str, asked: tuple[str | None, ...]) -> None:
    assert dataclasses.astuple(read_prompt(prompt, studio.pipeline.vocabulary)) == asked
    assert read_prompt(prompt, None).concept is None


def test_scores_of_the_artists_own_pictures(studio: Studio) -> None:
    from course_utils.data import BACKGROUNDS, STYLES, CaptionedEmoji
    from course_utils.evaluation import metrics

    emoji = CaptionedEmoji("core")
    panda = next(c.index for c in emoji.concepts if c.name == "panda")
    colour = list(BACKGROUNDS).index("pink")
    both = torch.stack([emoji.render(panda, STYLES.index(s), colour) for s in ("flat", "3d")])
    prompt = "a panda, flat style, on a pink background"
    found = score(both, prompt, studio.judge, studio.pipeline.vocabulary)
    assert [s.concept for s in found.seen] == ["panda"] * 2
    assert [s.background for s in found.seen] == ["pink"] * 2
    assert (found.share("concept"), found.share("style"), found.share("background")) == (1, 0.5, 1)
    assert found.alignment == pytest.approx((1 + 0.5 + 1) / 3)
    assert found.saturation == pytest.approx(float(metrics.saturation(both).mean()))
    rmse = float((both[0] - both[1]).square().mean().sqrt())
    assert found.spread == pytest.approx(rmse, rel=1e-4)
    assert Scores.from_json(found.to_json()).seen[0].concept == "panda"


def test_what_is_not_asked_is_not_scored() -> None:
    seen = (Seen("sun", 0.5, "flat", "red"), Seen("sun", 0.5, "3d", "red"))
    none = Scores(Asked(), seen, None, 0.5, 0.1, 0.1, 1.0)
    assert none.alignment is None and none.share("style") is None
    assert str(none.asked) == "nothing the judge knows"
    style = dataclasses.replace(none, asked=Asked(style="3d"))
    assert style.alignment == 0.5 and str(style.asked) == "3d style"
