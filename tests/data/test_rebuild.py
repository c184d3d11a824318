"""The rebuild script. Set COURSE_NPM_DIR (a folder with node_modules) to rebuild everything."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from course_utils.data import rebuild


def test_codepoints_have_one_spelling() -> None:
    assert rebuild.codepoints("0023-FE0F-20E3") == rebuild.codepoints("23-20e3") == "23-20e3"


def test_shrink_averages_premultiplied_colour() -> None:
    # Half the samples solid red, half clear green: the mean is red at half alpha, no green fringe.
    pixels = np.zeros((256, 256, 4), np.uint8)
    pixels[:, 0::2] = 255, 0, 0, 255
    pixels[:, 1::2] = 0, 255, 0, 0
    small = np.asarray(rebuild.shrink(Image.fromarray(pixels)))
    assert small.shape == (64, 64, 4)
    assert np.abs(small.astype(int) - (255, 0, 0, 128)).max() <= 2


def test_shrink_centres_on_a_square() -> None:
    small = np.asarray(rebuild.shrink(Image.new("RGBA", (256, 128), "blue")))
    assert not small[:16, :, 3].any() and not small[48:, :, 3].any()
    assert (small[16:48] == (0, 0, 255, 255)).all()


def test_missing_package_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no package @lobehub/fluent-emoji-3d"):
        rebuild.build(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_npm_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="needs npm"):
        rebuild.install_packages(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif("COURSE_NPM_DIR" not in os.environ, reason="COURSE_NPM_DIR is not set")
def test_rebuild_gives_the_shipped_files(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    rebuild.build(Path(os.environ["COURSE_NPM_DIR"]), tmp_path)
    for style in ("3d", "flat", "noto", "twemoji"):
        with (
            Image.open(rebuild.ART / f"{style}.webp") as shipped,
            Image.open(tmp_path / f"{style}.webp") as rebuilt,
        ):
            np.testing.assert_array_equal(np.asarray(shipped), np.asarray(rebuilt))
    assert (rebuild.ART / "words.json").read_bytes() == (tmp_path / "words.json").read_bytes()
