"""`course draw`: files, metadata, and everything that can go wrong."""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import ROOT, run_python

from course_utils.cli import main
from course_utils.strip import frame_numbers

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COURSE_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def model(tiny_folder: Path) -> list[str]:
    return ["--model", str(tiny_folder), "--steps", "2"]


def files() -> list[str]:
    """Every file below the current folder, hidden and half-written ones included."""
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def fails(arguments: list[str], words: str, capsys: Capture, status: int = 1) -> None:
    """The command prints one line that matches, writes nothing, and does not end well."""
    before = files()
    assert main(["draw", *arguments]) == status
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith(("note: ", "read as: "))]
    assert len(lines) == 1, err
    assert re.match(rf"course draw: .*{words}", lines[0]), err
    assert out == ""
    assert files() == before


def test_writes_a_picture_that_says_how_it_was_made(model: list[str], capsys: Capture) -> None:
    assert main(["draw", "a cat face, 3d style", *model, "--negative", "dog", "--seed", "3"]) == 0
    out, err = capsys.readouterr()
    path = Path("outputs/a-cat-face-3d-style-seed3.png")
    assert out.splitlines()[0] == str(path)
    assert re.search(r"64x64 pixels, seed 3: 2 steps in \d+\.\d s", out)
    assert err == "read as: a cat face, 3d style.\n"
    with Image.open(path) as image:
        assert image.size == (256, 256)
        assert image.text["prompt"] == "a cat face, 3d style"
        assert image.text["negative_prompt"] == "dog"
        assert image.text["seed"] == "3"
        assert image.text["num_steps"] == "2"
        assert image.text["sampler"] == "dpm++2m"
        first = np.asarray(image)

    assert main(["draw", "--info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "a cat face, 3d style" in out
    command = shlex.split(out.splitlines()[-1])
    assert command[:2] == ["course", "draw"]
    assert main(command[1:]) == 0
    second = Path(capsys.readouterr().out.splitlines()[0])
    assert second.name == "a-cat-face-3d-style-seed3-2.png"
    with Image.open(second) as image:
        assert np.array_equal(np.asarray(image), first)


def test_what_was_typed_is_read_and_both_texts_are_kept(model: list[str], capsys: Capture) -> None:
    assert main(["draw", "2 kittens pls, 3d render", *model, "--out", "read.png"]) == 0
    assert capsys.readouterr().err == (
        'read as: a cat face, 3d style; taking "kittens" as a cat face, "3d render" as 3d style; '
        "left out: 2, pls.\n"
    )
    with Image.open("read.png") as image:
        assert image.text["typed"] == "2 kittens pls, 3d render"
        assert image.text["prompt"] == "a cat face, 3d style"
        first = np.asarray(image)

    assert main(["draw", "--info", "read.png"]) == 0
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert "--literal" in command
    assert main([*command[1:], "--out", "again.png"]) == 0
    with Image.open("again.png") as image:
        assert np.array_equal(np.asarray(image), first)
        assert image.text["typed"] == image.text["prompt"] == "a cat face, 3d style"


def test_literal_gives_the_model_the_words_as_they_stand(
    model: list[str], tiny_folder: Path, capsys: Capture
) -> None:
    assert main(["draw", "2 kittens pls", *model, "--literal", "--out", "x.png"]) == 0
    err = capsys.readouterr().err
    assert "read as" not in err and '"kittens"' in err
    with Image.open("x.png") as image:
        assert image.text["prompt"] == image.text["typed"] == "2 kittens pls"


def test_count_gives_a_sheet_and_its_seeds(model: list[str], capsys: Capture) -> None:
    assert main(["draw", "dog", *model, "--count", "3", "--size-scale", "1"]) == 0
    assert "3 of 64x64 pixels, row by row seeds 7 to 9" in capsys.readouterr().out
    with Image.open("outputs/dog-seed7.png") as image:
        assert image.size == (130, 130)
        assert image.text["seed"] == "7 8 9"
        sheet = np.asarray(image)
    assert main(["draw", "dog", *model, "--seed", "9", "--size-scale", "1"]) == 0
    with Image.open("outputs/dog-seed9.png") as image:
        one = np.asarray(image).astype(int)
    assert np.abs(sheet[66:, :64].astype(int) - one).max() <= 1


def test_strip_shows_the_way(model: list[str], capsys: Capture) -> None:
    assert main(["draw", "dog", *model, "--strip", "--count", "2", "--out", "x.png"]) == 0
    assert files() == ["x-strip.png", "x.png"]
    assert "x-strip.png" in capsys.readouterr().out
    with Image.open("x-strip.png") as image:
        assert image.width > 3 * 192
        assert image.text["prompt"] == "a dog"


def test_frames_of_a_strip() -> None:
    assert frame_numbers(25) == [0, 4, 7, 11, 14, 18, 21, 25]
    assert frame_numbers(1) == [0, 1]
    assert frame_numbers(3) == [0, 1, 2, 3]


def test_out_may_be_a_folder_or_replace_a_file(model: list[str], capsys: Capture) -> None:
    Path("mine").mkdir()
    assert main(["draw", "dog", *model, "--out", "mine"]) == 0
    assert main(["draw", "dog", *model, "--out", "mine"]) == 0
    assert main(["draw", "dog", *model, "--out", "mine/dog-seed7.png"]) == 0
    assert "(replaced)" in capsys.readouterr().out
    assert files() == ["mine/dog-seed7-2.png", "mine/dog-seed7.png"]


@pytest.mark.parametrize(
    ("prompt", "words", "name"),
    [
        ("", "the text is empty", "picture-seed7.png"),
        ("a griffin", "nothing that this model was taught", "a-griffin-seed7.png"),
        ("猫", "only English is read", "猫-seed7.png"),
        (
            "dog " * 3000,
            "only its first 1,000 signs are read",
            f"{'-'.join(['dog'] * 12)}-seed7.png",
        ),
        ("../../etc/x", "left out: etc, x", "etc-x-seed7.png"),
    ],
)
def test_odd_prompts_are_drawn_with_a_note(
    model: list[str], prompt: str, words: str, name: str, capsys: Capture
) -> None:
    assert main(["draw", prompt, *model]) == 0
    assert words in capsys.readouterr().err
    assert files() == [f"outputs/{name}"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "a prompt is missing"),
        (["a", "cat", "face"], '3 words without quotes; try: course draw "a cat face"'),
        (["a", "cat", "--steps", "2"], 'course draw "a cat"'),
        (["--steps", "2", "a", "$x"], r"course draw 'a \$x'"),
        (["x", "--steps", "0"], "--steps is 0; expected a whole number from 1 to 1000"),
        (["x", "--steps", "10000"], "--steps is 10000"),
        (["x", "--guidance", "nan"], "--guidance is nan"),
        (["x", "--guidance", "-1"], "--guidance is -1"),
        (["x", "--guidance", "1e9"], "--guidance is 1000000000"),
        (["x", "--rescale", "2"], "--rescale is 2"),
        (["x", "--sampler", "eular"], r"--sampler is 'eular'.*did you mean euler\?"),
        (["x", "--seed", "-3"], "--seed is -3"),
        (["x", "--count", "0"], "--count is 0"),
        (["x", "--count", "65"], "--count is 65"),
        (["x", "--size-scale", "0"], "--size-scale is 0"),
        (["x", "--out", "nowhere/x.png"], "there is no folder nowhere"),
        (["x", "--out", "x.jpg"], r"ends in \.png"),
        (["caf\udce9"], "not valid UTF-8"),
        (["x", "--model", "no-such-model"], "There is no model 'no-such-model'"),
        (["--info", "nowhere.png"], "No such file"),
    ],
)
def test_bad_arguments(arguments: list[str], words: str, capsys: Capture) -> None:
    fails(arguments, words, capsys)


def test_info_of_other_files(capsys: Capture) -> None:
    Path("text.png").write_text("no picture")
    fails(["--info", "text.png"], "is not a picture", capsys)
    Image.new("RGB", (4, 4)).save("other.png")
    fails(["--info", "other.png"], "does not say how it was made", capsys)


def save_png(name: str, entries: dict[str, str]) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in entries.items():
        info.add_itxt(key, value)
    Image.new("RGB", (4, 4)).save(name, pnginfo=info)


WHOLE = {
    "prompt": "a cat",
    "seed": "3",
    "num_steps": "2",
    "guidance_scale": "4.0",
    "guidance_rescale": "0.0",
    "sampler": "ddim",
    "model": "emoji-64",
}


@pytest.mark.parametrize("lacks", WHOLE)
def test_info_of_a_picture_that_lacks_an_entry(lacks: str, capsys: Capture) -> None:
    save_png("other.png", {key: value for key, value in WHOLE.items() if key != lacks})
    fails(["--info", "other.png"], "does not say how it was made", capsys)


@pytest.mark.parametrize("seed", ["", " ", "x", "-3", "1 x", "\x1b[2J"])
def test_info_of_a_picture_whose_seed_is_none(seed: str, capsys: Capture) -> None:
    save_png("other.png", WHOLE | {"seed": seed})
    fails(["--info", "other.png"], "does not say how it was made", capsys)


def test_info_of_a_cut_file(capsys: Capture) -> None:
    save_png("whole.png", WHOLE)
    data = Path("whole.png").read_bytes()
    for i in range(1, 8):
        Path("cut.png").write_bytes(data[: len(data) * i // 8])
        status = main(["draw", "--info", "cut.png"])
        out, err = capsys.readouterr()
        assert (status, out) == (1, "")
        assert re.fullmatch(r"course draw: .*cut\.png .*\n", err), err


def test_info_shows_escape_codes_as_text(capsys: Capture) -> None:
    """The command, too, can be pasted into a shell and gives the very same words."""
    nasty = "a \x1b[31mred\x1b[0m cat\nit's \\ \u202efdp\x07"
    save_png("other.png", WHOLE | {"prompt": nasty, "Comment\x1b]0;x": "\x1b]52;c;AAAA\x07"})
    assert main(["draw", "--info", "other.png"]) == 0
    out = capsys.readouterr().out
    assert all(sign.isprintable() or sign == "\n" for sign in out), out
    assert r"\x1b]52;c;AAAA\x07" in out
    line = out.splitlines()[-1]
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"],
        capture_output=True,
        check=True,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    ).stdout.decode()
    assert words.split("\0")[2] == nasty


@pytest.mark.parametrize("prompt", ["--a cat", "-", "--", "--seed", "-1", "--seed=9 cat", "- cat"])
def test_a_prompt_that_begins_with_dashes_comes_back(
    prompt: str, model: list[str], capsys: Capture
) -> None:
    arguments = [*model, "--literal", "--negative=-dog", "--size-scale", "1", "--out", "."]
    assert main(["draw", *arguments, "--", prompt]) == 0
    path = capsys.readouterr().out.splitlines()[0]
    assert main(["draw", "--info", path]) == 0
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert main(command[1:]) == 0, command
    second = capsys.readouterr().out.splitlines()[0]
    with Image.open(path) as image, Image.open(second) as again:
        assert again.text["prompt"] == image.text["prompt"] == prompt
        assert again.text["negative_prompt"] == "-dog"
        assert again.size == image.size == (64, 64)
        assert np.array_equal(np.asarray(again), np.asarray(image))


def test_a_full_disk_leaves_nothing(
    model: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    fails(["dog", *model], "was not written: no space left on device", capsys)


def test_a_folder_that_may_not_be_written_to(
    model: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("locked").mkdir(mode=0o500)
    if os.access("locked", os.W_OK):  # root may write everywhere
        monkeypatch.setattr(os, "access", lambda *_: False)
    fails(["dog", *model, "--out", "locked/x.png"], "may not be written to", capsys)


def test_a_bad_model_folder(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    fails(["dog", "--model", "empty"], r"has no model_index\.json", capsys)


def test_the_bundled_path_needs_neither_diffusers_nor_transformers(tiny_folder: Path) -> None:
    code = (
        "import sys; from course_utils.cli import main; "
        f"status = main(['draw', 'dog', '--steps', '1', '--model', {str(tiny_folder)!r}]); "
        "heavy = ('diffusers', 'transformers', 'accelerate', 'huggingface_hub', 'torch._dynamo'); "
        "print(status, [name for name in heavy if name in sys.modules])"
    )
    done = run_python("-c", code)
    assert done.stdout.endswith("0 []\n"), done.stdout + done.stderr


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process there")
def test_ctrl_c_ends_in_one_sentence_and_no_file(here: Path, tiny_folder: Path) -> None:
    words = ["draw", "griffin", "--steps", "999", "--model", str(tiny_folder), "--out", "x.png"]
    with subprocess.Popen(
        [sys.executable, "-m", "course_utils", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # A test run in the background ignores SIGINT, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        assert "griffin" in process.stderr.readline()  # the model is loaded, drawing begins
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == ""
    assert err == "course draw: stopped by Ctrl-C; nothing was written.\n"
    assert files() == []
