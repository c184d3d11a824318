"""Writing the page, serving it, and the command, without a browser."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, load_file, save_file

from course_utils.cli import main
from course_utils.hub import DEFAULT_MODEL
from course_utils.playground import single, site
from course_utils.playground.serve import make_server


def test_the_folder_holds_page_models_and_service_worker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site"
    for _ in range(2):  # a second time replaces the files
        assert main(["playground", "--out", str(out)]) == 0
    assert "MB with emoji-64" in capsys.readouterr().out
    described = json.loads((out / "site.json").read_text())
    model = described["models"]["emoji-64"]
    total = sum(p.stat().st_size for p in (out / model["base"]).rglob("*") if p.is_file())
    assert (described["offline"], total) == (True, model["bytes"])
    worker = (out / "service-worker.js").read_text()
    shell = json.loads(re.search(r"SHELL = (\[.*\]);", worker)[1])
    assert all((out / name).exists() for name in shell)
    assert {"app.js", "worker.js", "kernel.js", "style.css", "site.json"} <= set(shell)
    assert re.search(r'VERSION = "[0-9a-f]{16}";', worker)
    assert not list(out.rglob("*.part"))


def test_other_peoples_folders_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["playground", "--out", str(tmp_path)]) == 1
    assert "which holds other files" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert main(["playground", "--out", str(tmp_path / "thesis.txt")]) == 1
    assert "which is a file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing", "../weights/emoji-64", "clip"])
def test_an_unknown_model_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["playground", "--model", name, "--out", "unused"]) == 1
    assert capsys.readouterr().err.startswith("course playground: ")
    assert not Path("unused").exists()


def test_it_needs_no_torch(tmp_path: Path) -> None:
    """Where little is installed, as in the workflow that publishes the page."""
    code = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'PIL', 'diffusers', 'transformers', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        "from course_utils.cli import main\n"
        f"sys.exit(main(['playground', '--out', {str(tmp_path / 'site')!r}]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "site" / "index.html").is_file()


def test_the_first_model_is_the_course_s_default() -> None:
    assert site.find_models()[0].name == site.FIRST == DEFAULT_MODEL


def test_the_server_hands_out_its_list_and_nothing_else() -> None:
    with make_server(0, site.find_models()) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        link = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)

        def get(path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.headers, answer.read()

        status, headers, body = get("/?x=1")
        assert (status, body[:15]) == (200, b"<!doctype html>")
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert get("/app.js")[1]["Content-Type"].startswith("text/javascript")
        assert get("/models/emoji-64/unet/config.json")[0] == 200
        assert b'"a cat face"' in get("/models/emoji-64/reader.json")[2]
        for path in ("/__init__.py", "/../site.py", "/%2e%2e/site.py", "/models/clip/config.json",
                     "/models/emoji-64/model_index.json", "//etc/passwd"):  # fmt: skip
            assert get(path)[0] == 404, path
        link.request("POST", "/")
        assert link.getresponse().status == 501
        link.close()
        server.shutdown()


def test_the_page_has_no_script_or_style_inside() -> None:
    page = (site.WEB / site.INDEX).read_text()
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == [""]
    assert "<style" not in page
    assert not re.search(r"\s(on\w+|style)=", page)
    for path in site.WEB.iterdir():
        text = path.read_text()
        assert "innerHTML" not in text
        assert "https://" not in text, path
        assert len(text.splitlines()) <= 450, path


def test_eight_bits_are_within_half_a_step_of_the_weight(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    large = rng.normal(size=(128, 16, 3, 3)).astype(np.float16)
    large[3] = 0
    tensors = {"decoder.conv.weight": large, "decoder.conv.bias": large[:, 0, 0, 0].copy(),
               "encoder.conv.weight": large, "quant_conv.weight": large}  # fmt: skip
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path)
    small = load(single.quantize(path, decoder_only=True))
    assert set(small) == {
        "decoder.conv.weight", "decoder.conv.weight.scale", "decoder.conv.bias"
    }  # fmt: skip
    scale = small["decoder.conv.weight.scale"].reshape(-1, 1, 1, 1)
    error = abs(small["decoder.conv.weight"] * scale - large.astype(np.float32))
    assert (error <= scale / 2 * 1.001).all()
    assert small["decoder.conv.bias"].dtype == np.float16
    assert set(load(single.quantize(path))) > set(small)
    assert load_file(path).keys() == tensors.keys()


def test_one_script_holds_every_module_after_those_that_it_needs() -> None:
    for entry in ("app.js", "worker.js"):
        text = single.bundle(entry)
        made = re.findall(r'^modules\["([\w.]+)"\] = ', text, re.MULTILINE)
        assert made[-1] == entry
        assert len(made) == len(set(made))
        assert not re.search(r"^(import|export)\b", text, re.MULTILINE)
        for match in re.finditer(r'= modules\["([\w.]+)"\];', text):
            assert text.index(f'modules["{match[1]}"] = ') < match.start()
