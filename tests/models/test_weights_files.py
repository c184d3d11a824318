"""Model folders: ours open in diffusers and transformers, theirs open in ours, and bad ones."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from parity import TOLERANCE, noise, shake
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

from course_utils.models import CLIP, VAE, TextEncoder, UNet, WeightsError
from course_utils.models.weight_files import choose_variant

UNET: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "sample_size": 8,
}
VAE_FIELDS: dict[str, Any] = {
    "block_out_channels": (8, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 4,
}
TEXT: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 8,
    "intermediate_size": 20,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 7,
    "eos_token_id": 49,
    "bos_token_id": 48,
}
VISION: dict[str, Any] = {
    "hidden_size": 12,
    "intermediate_size": 18,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "image_size": 8,
    "patch_size": 4,
}
IDS = torch.tensor([[48, 5, 9, 49], [48, 49, 49, 49]])
T = torch.tensor([30, 600])

Case = tuple[type, type, Callable[[], Any], Callable[[Any], Tensor], Callable[[Any], Tensor]]
CASES: dict[str, Case] = {
    "unet": (
        UNet,
        UNet2DConditionModel,
        lambda: UNet2DConditionModel(**UNET),
        lambda m: m(noise(2, 4, 8, 8), T, noise(2, 3, 12)),
        lambda m: m(noise(2, 4, 8, 8), T, noise(2, 3, 12)).sample,
    ),
    "vae": (
        VAE,
        AutoencoderKL,
        lambda: AutoencoderKL(**VAE_FIELDS),
        lambda m: m.decode(m.encode(noise(1, 3, 8, 8)).mean),
        lambda m: m.decode(m.encode(noise(1, 3, 8, 8)).latent_dist.mean).sample,
    ),
    "text": (
        TextEncoder,
        CLIPTextModel,
        lambda: CLIPTextModel(CLIPTextConfig(**TEXT)),
        lambda m: m(IDS),
        lambda m: m(input_ids=IDS).last_hidden_state,
    ),
    "clip": (
        CLIP,
        CLIPModel,
        lambda: CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=5)),
        lambda m: m(IDS, noise(2, 3, 8, 8)),
        lambda m: m(input_ids=IDS, pixel_values=noise(2, 3, 8, 8)).logits_per_image,
    ),
}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def reference(case: Case) -> Any:
    model = case[2]().eval()
    shake(model)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A U-Net folder, whole."""
    UNet(**UNET).save_pretrained(tmp_path / "unet")
    return tmp_path / "unet"


WEIGHTS = "diffusion_pytorch_model.safetensors"


@torch.no_grad()
def test_theirs_opens_in_ours(case: Case, tmp_path: Path) -> None:
    ours, _, _, run_ours, run_theirs = case
    model = reference(case)
    model.save_pretrained(tmp_path)
    opened = ours.from_pretrained(tmp_path)  # type: ignore[attr-defined]
    assert not opened.training
    assert all(p.requires_grad for p in opened.parameters())
    assert_close(run_ours(opened), run_theirs(model), **TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [None, torch.float16], ids=["float32", "float16"])
def test_ours_opens_in_theirs(case: Case, tmp_path: Path, dtype: torch.dtype | None) -> None:
    ours, theirs, _, run_ours, run_theirs = case
    model = ours.from_config(  # type: ignore[attr-defined]
        reference(case).config if ours in (UNet, VAE) else reference(case).config.to_dict()
    ).eval()
    shake(model, seed=5)
    model.save_pretrained(tmp_path, dtype=dtype)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", ours.WEIGHTS_NAME]  # type: ignore[attr-defined]
    stored = load_file(tmp_path / ours.WEIGHTS_NAME)  # type: ignore[attr-defined]
    assert {v.dtype for v in stored.values()} == {dtype or torch.float32}
    assert model.dtype == torch.float32, "saving changed the model"

    wanted = {"torch_dtype" if ours in (UNet, VAE) else "dtype": torch.float32}
    opened, info = theirs.from_pretrained(tmp_path, output_loading_info=True, **wanted)  # type: ignore[attr-defined]
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[what]
    again = ours.from_pretrained(tmp_path)  # type: ignore[attr-defined]
    assert again.dtype == torch.float32
    assert again.config == model.config
    assert_close(run_theirs(opened.eval()), run_ours(again), **TOLERANCE)
    if dtype is None:
        assert_close(run_ours(again), run_ours(model), atol=0, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards_of_diffusers_open(tmp_path: Path, variant: str | None) -> None:
    model = reference(CASES["unet"])
    model.save_pretrained(tmp_path, max_shard_size="20KB", variant=variant)
    assert len(list(tmp_path.glob("*-of-*.safetensors"))) > 2
    opened = UNet.from_pretrained(tmp_path)
    assert_close(CASES["unet"][3](opened), CASES["unet"][4](model), **TOLERANCE)


SHARD = re.compile(r"(?P<stem>\w+)(?:\.fp16)?-(?P<place>\d+-of-\d+)\.safetensors")


def old_names(folder: Path) -> None:
    """Name shards and index as diffusers did before it put the variant first."""
    index = folder / "diffusion_pytorch_model.safetensors.index.fp16.json"
    content = json.loads(index.read_text())
    for path in folder.glob("*-of-*"):
        match = SHARD.fullmatch(path.name)
        assert match
        path.rename(folder / f"{match['stem']}-{match['place']}.fp16.safetensors")
    content["weight_map"] = {
        key: SHARD.sub(r"\g<stem>-\g<place>.fp16.safetensors", name)
        for key, name in content["weight_map"].items()
    }
    index.unlink()
    (folder / "diffusion_pytorch_model.safetensors.fp16.index.json").write_text(json.dumps(content))


@torch.no_grad()
@pytest.mark.parametrize("index", [True, False], ids=["with index", "without index"])
def test_shards_with_the_variant_at_the_end_open(tmp_path: Path, index: bool) -> None:
    model = reference(CASES["unet"])
    model.save_pretrained(tmp_path, max_shard_size="20KB", variant="fp16")
    old_names(tmp_path)
    theirs = UNet2DConditionModel.from_pretrained(tmp_path, variant="fp16")
    if not index:
        next(tmp_path.glob("*.index.json")).unlink()
    opened = UNet.from_pretrained(tmp_path)
    assert_close(CASES["unet"][3](opened), CASES["unet"][4](theirs), **TOLERANCE)


@torch.no_grad()
def test_the_index_decides_which_shards_count(tmp_path: Path) -> None:
    """Left-over shards of another save and an older single file are beside those that count."""
    other = reference(CASES["unet"])
    shake(other, seed=9)
    other.save_pretrained(tmp_path)
    single = (tmp_path / WEIGHTS).read_bytes()
    for size in ("12KB", "20KB"):
        model = reference(CASES["unet"]) if size == "20KB" else other
        model.save_pretrained(tmp_path / size, max_shard_size=size)
        for path in (tmp_path / size).iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / WEIGHTS).write_bytes(single)
    totals = {path.name.rpartition("-of-")[2] for path in tmp_path.glob("*-of-*")}
    assert len(totals) == 2
    opened = UNet.from_pretrained(tmp_path)
    theirs = UNet2DConditionModel.from_pretrained(tmp_path)
    assert_close(CASES["unet"][3](opened), CASES["unet"][4](theirs), **TOLERANCE)
    assert_close(CASES["unet"][4](theirs), CASES["unet"][4](model), **TOLERANCE)

    (tmp_path / WEIGHTS).unlink()
    (tmp_path / f"{WEIGHTS}.index.json").unlink()
    with pytest.raises(WeightsError, match=r"shards of 2 sets.*no index"):
        UNet.from_pretrained(tmp_path)


@torch.no_grad()
def test_transformers_takes_a_single_file_before_an_index(tmp_path: Path) -> None:
    first, second = reference(CASES["text"]), reference(CASES["text"])
    shake(second, seed=9)
    first.save_pretrained(tmp_path)
    second.save_pretrained(tmp_path / "shards", max_shard_size="2KB")
    for path in (tmp_path / "shards").glob("model*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert (tmp_path / "model.safetensors.index.json").is_file()
    theirs = CLIPTextModel.from_pretrained(tmp_path).eval()
    opened = TextEncoder.from_pretrained(tmp_path)
    assert_close(CASES["text"][3](opened), CASES["text"][4](theirs), **TOLERANCE)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({"metadata": {}}, "no weight_map"),
        ({"weight_map": {}}, "no weight_map"),
        ({"weight_map": {"conv_in.bias": "../other.safetensors"}}, r"'\.\./other.safetensors'"),
        ({"weight_map": {"conv_in.bias": 3}}, "'3'.*of its own folder"),
        ({"weight_map": {"conv_in.bias": "lost.safetensors"}}, r"lost\.safetensors is missing"),
        ([], "expected a JSON object"),
    ],
)
def test_a_damaged_index(folder: Path, index: Any, words: str) -> None:
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=words):
        UNet.from_pretrained(folder)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    reference(CASES["unet"]).save_pretrained(tmp_path, max_shard_size="20KB")
    lost = sorted(tmp_path.glob("*-of-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(WeightsError, match=lost.name):
        UNet.from_pretrained(tmp_path)


@torch.no_grad()
def test_half_precision_variant_opens(tmp_path: Path) -> None:
    model = reference(CASES["vae"]).half()
    model.save_pretrained(tmp_path, variant="fp16")
    opened = VAE.from_pretrained(tmp_path)
    assert opened.dtype == torch.float32
    assert_close(CASES["vae"][3](opened), CASES["vae"][4](model.float()), **TOLERANCE)
    assert VAE.from_pretrained(tmp_path, dtype=torch.float16).dtype == torch.float16


@torch.no_grad()
@pytest.mark.parametrize("name", ["text", "clip"])
def test_old_text_encoder_files_open(name: str, tmp_path: Path) -> None:
    """Before version 5 transformers prefixed the text tower's names and stored a counter."""
    ours, _, _, run_ours, run_theirs = CASES[name]
    model = reference(CASES[name])
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    if name == "text":
        state = {f"text_model.{k}": v for k, v in state.items()}
    else:
        state["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    state["text_model.embeddings.position_ids"] = torch.arange(7)[None]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    opened = ours.from_pretrained(tmp_path)  # type: ignore[attr-defined]
    assert_close(run_ours(opened), run_theirs(model), **TOLERANCE)


@torch.no_grad()
def test_old_autoencoder_files_open(tmp_path: Path) -> None:
    """Stable Diffusion 1.x's own file names the attention's parameters as diffusers 0.6 did."""
    model = reference(CASES["vae"])
    model.save_pretrained(tmp_path)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, value in load_file(tmp_path / WEIGHTS).items():
        for new_part, old_part in old.items():
            name = name.replace(f".{new_part}.", f".{old_part}.")
        state[name] = value
    assert sum("proj_attn" in name for name in state) == 4
    save_file(state, tmp_path / WEIGHTS, metadata={"format": "pt"})
    theirs = AutoencoderKL.from_pretrained(tmp_path).eval()
    opened = VAE.from_pretrained(tmp_path)
    for decoded in (CASES["vae"][3](opened), CASES["vae"][4](theirs)):
        assert_close(decoded, CASES["vae"][4](model), **TOLERANCE)


def test_saving_again_replaces_and_leaves_nothing_else(folder: Path) -> None:
    before = load_file(folder / WEIGHTS)
    UNet(**UNET).save_pretrained(folder, dtype=torch.bfloat16)
    after = load_file(folder / WEIGHTS)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", WEIGHTS]
    assert after["conv_in.weight"].dtype == torch.bfloat16
    assert not torch.equal(before["conv_in.weight"], after["conv_in.weight"].float())


# --- folders that cannot be used ------------------------------------------------------------


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no folder .*nowhere.*config\.json"):
        UNet.from_pretrained(tmp_path / "nowhere")


def test_missing_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"unet has no config\.json"):
        UNet.from_pretrained(folder)


@pytest.mark.parametrize("text", ["", '{"in_channels": ', b"\xff\xfe\x00", "[1, 2]", "null", "3"])
def test_broken_configuration(folder: Path, text: str | bytes) -> None:
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(WeightsError, match=r"config\.json"):
        UNet.from_pretrained(folder)


def test_unknown_field_in_the_file(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"use_linear_projection": True}))
    with pytest.raises(ValueError, match="use_linear_projection=True"):
        UNet.from_pretrained(folder)


def change(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("sample_size", [[8, 12], []], "one whole number.*square pictures"),
        ("sample_size", ["8", 8.5, True, {}], "a whole number"),
        ("sample_size", [0, -8], "a whole number of at least 1"),
        ("in_channels", ["4", None, [4], 4.0], "a whole number"),
        ("block_out_channels", [None, 8, "8", [8, "16"], [8, None]], "a list, each a whole number"),
        ("down_block_types", [None, "DownBlock2D", [1, 2]], "a list, each a text"),
        ("attention_head_dim", ["2", None, [2, "2"]], "a whole number or a list"),
        ("norm_eps", ["1e-5", None, [1e-5], float("nan"), float("inf")], "a number"),
        ("flip_sin_to_cos", ["true", 1, None], "true or false"),
        ("freq_shift", ["0", None], "a whole number"),
    ],
)
def test_a_field_of_another_type_is_named(
    folder: Path, name: str, values: list[Any], expected: str
) -> None:
    for value in values:
        change(folder, **{name: value})
        with pytest.raises(ValueError, match=rf"^{name} is .*; expected {expected}"):
            UNet.from_pretrained(folder)


def test_a_square_sample_size_may_be_given_as_height_and_width(folder: Path) -> None:
    change(folder, sample_size=[8, 8])
    assert UNet2DConditionModel.from_pretrained(folder).config.sample_size == [8, 8]
    assert UNet.from_pretrained(folder).config.sample_size == 8


@pytest.mark.parametrize(
    ("ours", "fields", "words"),
    [
        (VAE, {"scaling_factor": "0.18"}, "scaling_factor is '0.18'"),
        (VAE, {"act_fn": None}, "act_fn is None"),
        (VAE, {"sample_size": [64, 32]}, "sample_size"),
        (TextEncoder, {"hidden_size": "8"}, "hidden_size is '8'"),
        (TextEncoder, {"num_attention_heads": 0}, "num_attention_heads is 0"),
        (TextEncoder, {"vocab_size": None}, "vocab_size is None"),
        (TextEncoder, {"hidden_act": ["gelu"]}, "hidden_act is "),
        (TextEncoder, {"layer_norm_eps": "small"}, "layer_norm_eps is 'small'"),
        (TextEncoder, {"eos_token_id": None}, "eos_token_id is None"),
        (
            TextEncoder,
            {"pad_token_id": "1"},
            "pad_token_id is '1'; .* a whole number or null",
        ),
    ],
)
def test_fields_of_the_other_parts(
    tmp_path: Path, ours: Any, fields: dict[str, Any], words: str
) -> None:
    ours(**(VAE_FIELDS if ours is VAE else TEXT)).save_pretrained(tmp_path)
    change(tmp_path, **fields)
    with pytest.raises(ValueError, match=words):
        ours.from_pretrained(tmp_path)


def test_missing_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(WeightsError, match=f"no weights.*{WEIGHTS}"):
        UNet.from_pretrained(folder)


def test_pickles_are_not_opened(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save(UNet(**UNET).state_dict(), folder / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pickle \(diffusion_pytorch_model.bin\).*run any code"):
        UNet.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("diffusion_pytorch_model.bf16.safetensors", "of the variant bf16"),
        ("diffusion_pytorch_model.bf16-00001-of-00002.safetensors", "of the variant bf16"),
        ("diffusion_pytorch_model-00001-of-00002.bf16.safetensors", "of the variant bf16"),
        ("my_unet.safetensors", "rename them"),
        ("pytorch_model.fp16.bin", "pickle.*run any code"),
        ("model.gguf", "It holds model.gguf"),
        ("flax_model.msgpack", "It holds flax_model.msgpack"),
    ],
)
def test_other_weights_are_named(folder: Path, name: str, words: str) -> None:
    (folder / WEIGHTS).rename(folder / name)
    with pytest.raises(WeightsError, match=words) as raised:
        UNet.from_pretrained(folder)
    assert name in str(raised.value)
    assert WEIGHTS in str(raised.value)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["model.safetensors", "model.fp16.safetensors"], ["model.fp16.safetensors"]),
        (
            [
                "diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
                "diffusion_pytorch_model-00002-of-00002.fp16.safetensors",
                "diffusion_pytorch_model.safetensors.index.fp16.json",
                "diffusion_pytorch_model-00001-of-00001.safetensors",
                "diffusion_pytorch_model.safetensors.index.json",
                "diffusion_pytorch_model.bf16.safetensors",
                "diffusion_pytorch_model.bin",
            ],
            [
                "diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
                "diffusion_pytorch_model-00002-of-00002.fp16.safetensors",
                "diffusion_pytorch_model.safetensors.index.fp16.json",
            ],
        ),
        (
            ["model.safetensors", "model.safetensors.index.fp16.json", "model.onnx"],
            ["model.safetensors"],
        ),
        (["model.bf16.safetensors", "model.non_ema.safetensors"], []),
    ],
)
def test_what_is_fetched_of_a_hub_folder(names: list[str], chosen: list[str]) -> None:
    assert sorted(choose_variant(names)) == chosen


@pytest.mark.parametrize("name", ["pickle named safetensors", "text", "nothing", "half", "header"])
def test_damaged_weights(folder: Path, name: str) -> None:
    path = folder / WEIGHTS
    whole = path.read_bytes()
    if name == "pickle named safetensors":
        torch.save({}, path)
    else:
        path.write_bytes(
            {
                "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
                "nothing": b"",
                "half": whole[: len(whole) // 2],
                "header": whole[:100],
            }[name]
        )
    size = path.stat().st_size
    with pytest.raises(WeightsError, match=rf"{WEIGHTS} is damaged.*{size:,} bytes"):
        UNet.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("conv_in.weight"), "Missing key.*conv_in.weight"),
        (lambda s: s.update(extra=torch.zeros(2)), "Unexpected key.*extra"),
        (lambda s: s.update({"conv_in.bias": torch.zeros(3)}), r"size mismatch.*conv_in.bias"),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_weights_that_do_not_fit(
    folder: Path, change: Callable[[dict[str, Tensor]], Any], words: str
) -> None:
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=rf"(?s)unet do not fit UNet.*{words}"):
        UNet.from_pretrained(folder)


def test_weights_of_another_model(folder: Path, tmp_path: Path) -> None:
    VAE(**VAE_FIELDS).save_pretrained(tmp_path / "vae")
    (folder / WEIGHTS).write_bytes((tmp_path / "vae" / WEIGHTS).read_bytes())
    with pytest.raises(WeightsError, match="do not fit UNet"):
        UNet.from_pretrained(folder)


def test_a_save_that_fails_leaves_the_old_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / WEIGHTS).read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        UNet(**UNET).save_pretrained(folder)
    assert (folder / WEIGHTS).read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", WEIGHTS]
