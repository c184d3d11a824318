"""The page's engine against the course's own code and torch: same inputs, same numbers."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from playground_engine import Engine, served

from course_utils.models import VAE, TextEncoder, Tokenizer, UNet
from course_utils.pipeline import Pipeline
from course_utils.playground.single import quantize
from course_utils.playground.site import MODEL_FILES, Model, find_models
from course_utils.samplers import SAMPLERS
from course_utils.schedules import NoiseSchedule

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PROMPT = "a cat face, 3d style, on a blue background"
HALF_A_SHADE = 0.5 / 127.5  # pixels are in [-1, 1]


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    """The default model in torch."""
    return Pipeline.load(find_models()[0].name, device="cpu")


def tensor(numbers: object, *shape: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32).reshape(shape)


# --- words ---------------------------------------------------------------------------------------


def odd_texts(count: int) -> list[str]:
    """Texts of all kinds: words, signs, many scripts, emoji, rare spaces, special tokens."""
    rng = random.Random(0)
    pieces = [
        *("cat", "Dog", "it's", "WE'LL", "3d", "style", "naïve", "Straße", "ΣΊΣΥΦΟΣ", "İstanbul"),
        *("שלום", "مرحبا", "नमस्ते", "漢字", "ไทย", "e\u0301", "ﬁ", "①", "½", "Ⅷ", "ǅ", "ꙮ"),
        *(
            "😀",
            "👩‍🚀",
            "👍🏽",
            "❤️",
            "🇩🇪",
            "1️⃣",
            "<|startoftext|>",
            "<|endoftext|>",
            "<|ENDOFTEXT|>",
        ),
        *(
            "'s",
            "''",
            "...",
            "!?",
            "-",
            "_",
            "a-b",
            "\\n",
            "\t",
            "\n",
            "\u00a0",
            "\u2003",
            "\u200b",
        ),
        *("\ufeff", "\x1c", "\x85", "\u2028", "\0", "\u0130", "ß", "K", "Å"),
    ]
    found = ["", " ", "a" * 2000, "😀" * 300, PROMPT, " ".join(["word"] * 100)]
    while len(found) < count:
        parts = [rng.choice(pieces) for _ in range(rng.randint(1, 12))]
        if rng.random() < 0.3:
            points = [rng.randrange(1, 0x2FFFF) for _ in range(rng.randint(1, 6))]
            parts += ["".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)]
        found.append(rng.choice(["", " ", ", "]).join(parts))
    return found


def test_a_thousand_odd_texts_become_the_same_tokens(engine: Engine, pipeline: Pipeline) -> None:
    texts = odd_texts(1000)
    rows = engine.run("return given.map((text) => pipeline.tokenizer.row(text));", texts)
    expected = pipeline.tokenizer(texts).tolist()
    differ = [text for text, a, b in zip(texts, rows, expected, strict=True) if a != b]
    # Letters that the two Unicode versions of Python and Chromium classify differently.
    assert len(differ) <= 3, differ


def test_words_and_what_is_dropped_are_those_of_the_course(
    engine: Engine, pipeline: Pipeline
) -> None:
    from course_utils.attention_maps import find_words

    for text in (PROMPT, "an Astronaut's helmet " * 20, "", "zzzxqj"):
        words, dropped = engine.run(
            "return [pipeline.tokenizer.words(given), pipeline.tokenizer.dropped(given)];", text
        )
        expected = [
            {"text": word.text, "tokens": list(word.tokens)}
            for word in find_words(pipeline.tokenizer, text)[1:-1]
        ]
        assert words == expected
        assert dropped == pipeline.dropped_words(text)


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 65])
def test_noise_is_torch_s(engine: Engine, seed: int) -> None:
    numbers = engine.run(
        """const { Generator } = await module("noise.js");
        const generator = new Generator(given);
        return [list(generator.randn(256)), list(generator.randn(512))];""",
        seed,
    )
    generator = torch.Generator().manual_seed(seed)
    for found, size in zip(numbers, (256, 512), strict=True):
        expected = torch.randn(size, generator=generator)
        torch.testing.assert_close(tensor(found, size), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("fused", [True, False])
def test_the_kernel_multiplies(engine: Engine, fused: bool) -> None:
    M, N, K = 12, 24, 20
    rng = np.random.default_rng(0)
    a, b, bias = (rng.normal(size=s).astype(np.float32) for s in ((M, K), (K, N), (M,)))
    panels = b.reshape(K, N // 8, 8).transpose(1, 0, 2)
    found = engine.run(
        """const { kernelBytes } = await module("kernel.js");
        const memory = new WebAssembly.Memory({ initial: 1 });
        const bytes = kernelBytes(given.fused);
        if (!WebAssembly.validate(bytes)) return null;
        const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } });
        const f = new Float32Array(memory.buffer), { M, N, K } = given;
        f.set(given.a, 1000); f.set(given.b, 2000); f.set(given.bias, 500);
        instance.exports.product(M, N, K, 4000, K, 8000, 12000, N, 2000);
        const plain = list(f.slice(3000, 3000 + M * N));
        instance.exports.product(M, N, K, 4000, K, 8000, 12000, N, 0);
        return [plain, list(f.slice(3000, 3000 + M * N))];""",
        {"fused": fused, "M": M, "N": N, "K": K, "a": a.ravel().tolist(),
         "b": panels.ravel().tolist(), "bias": bias.tolist()},
    )  # fmt: skip
    if found is None:
        pytest.skip("this Chromium has no fused multiply-add")
    np.testing.assert_allclose(np.reshape(found[0], (M, N)), a @ b + bias[:, None], atol=1e-5)
    np.testing.assert_allclose(np.reshape(found[1], (M, N)), a @ b, atol=1e-5)


# --- networks ------------------------------------------------------------------------------------


@torch.no_grad()
def check_networks(engine: Engine, pipeline: Pipeline, t: int, atol: float) -> None:
    """Text encoder, U-Net and decoder on the same inputs, two pictures at once."""
    texts, config = [PROMPT, "two red apples"], pipeline.unet.config
    side, channels = config.sample_size, config.in_channels
    x = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))
    states, output, pixels = engine.run(
        """const states = pipeline.encode(given.texts), words = pipeline.words(states, 2);
        const x = Float32Array.from(given.x);
        return [states, pipeline.unet.forward(x, given.t, words), pipeline.decode(x)].map(list);""",
        {"texts": texts, "x": x.flatten().tolist(), "t": t},
    )
    expected = pipeline.encode_prompt(texts)  # (2, L, D)
    found = tensor(states, 2, expected.shape[2], -1).transpose(1, 2)[:, : expected.shape[1]]
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)
    expected_output = pipeline.unet(x, torch.tensor([t, t]), expected)
    torch.testing.assert_close(tensor(output, *x.shape), expected_output, atol=atol, rtol=0)
    decoded = pipeline.decode(x)
    torch.testing.assert_close(tensor(pixels, *decoded.shape), decoded, atol=atol, rtol=0)


@pytest.mark.parametrize("t", [0, 999])
def test_every_network_says_what_torch_says(engine: Engine, pipeline: Pipeline, t: int) -> None:
    check_networks(engine, pipeline, t, atol=2e-5)


def odd_model(folder: Path) -> Model:
    """A model of another shape: three levels, blocks without attention, two layers, odd lengths."""
    torch.manual_seed(0)
    words = Tokenizer.train([PROMPT], vocab_size=600, model_max_length=13)
    text = TextEncoder(
        vocab_size=len(words), hidden_size=24, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=13, hidden_act="gelu",
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
        pad_token_id=words.eos_token_id,
    )  # fmt: skip
    unet = UNet(
        sample_size=16, block_out_channels=(16, 24, 32), layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=24, attention_head_dim=(4, 2, 1), norm_num_groups=4,
        flip_sin_to_cos=False, freq_shift=1,
    )  # fmt: skip
    vae = VAE(block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
              up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=2, norm_num_groups=4,
              sample_size=32, scaling_factor=0.5)  # fmt: skip
    schedule = NoiseSchedule.cosine(prediction_type="epsilon")
    Pipeline(unet, vae, text, words, schedule, name="odd").save(folder, torch.float32)
    return Model("odd", folder)


def test_a_model_of_another_shape_runs_without_a_change(browser: Browser, tmp_path: Path) -> None:
    model = odd_model(tmp_path / "odd")
    page = browser.new_page()
    with served([model]) as address:
        engine = Engine(page, address)
        engine.load("odd")
        check_networks(engine, Pipeline.load(model.folder, device="cpu"), 400, atol=1e-5)
        page.close()


def test_attention_maps_are_those_of_the_course(engine: Engine, pipeline: Pipeline) -> None:
    from course_utils.attention_maps import record

    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    found = engine.run(
        """const maps = {}, words = pipeline.words(pipeline.encode([given.text]), 1);
        pipeline.unet.forward(Float32Array.from(given.x), 500, words, { maps });
        return Object.fromEntries(Object.entries(maps).map(([side, map]) => [side, list(map)]));""",
        {"text": PROMPT, "x": x.flatten().tolist()},
    )
    with record(pipeline.unet) as recording, torch.no_grad():
        pipeline.unet(x, 500, pipeline.encode_prompt(PROMPT))
    expected = recording.by_size()  # side -> (1, 1, L, side, side)
    assert {int(side) for side in found} == set(expected)
    for side, maps in expected.items():
        ours = tensor(found[str(side)], side, side, -1).permute(2, 0, 1)
        torch.testing.assert_close(ours, maps[0, 0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_what_is_switched_off_adds_nothing(engine: Engine, pipeline: Pipeline) -> None:
    """A layer that is off equals one whose output weights are zero; so does a skip."""
    name = "mid_block.attentions.0.transformer_blocks.0.attn2"
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    found = engine.run(
        """const words = pipeline.words(pipeline.encode([given.text]), 1);
        const run = (off) => list(pipeline.unet.forward(Float32Array.from(given.x), 500, words,
          { off }));
        return [run({ skips: [], attentions: [given.name] }), run({ skips: [0], attentions: [] })];
        """,
        {"text": PROMPT, "x": x.flatten().tolist(), "name": name},
    )
    states, unet = pipeline.encode_prompt(PROMPT), pipeline.unet
    handle = unet.get_submodule(name).register_forward_hook(lambda *a: torch.zeros_like(a[2]))
    expected = unet(x, 500, states)
    handle.remove()
    torch.testing.assert_close(tensor(found[0], *x.shape), expected, atol=2e-5, rtol=0)

    def without_first_skip(module: object, args: tuple, kwargs: dict) -> tuple:
        h, skips, *rest = args
        return (h, [torch.zeros_like(skips[0]), *skips[1:]], *rest), kwargs

    last = unet.up_blocks[-1]
    handle = last.register_forward_pre_hook(without_first_skip, with_kwargs=True)
    expected = unet(x, 500, states)
    handle.remove()
    torch.testing.assert_close(tensor(found[1], *x.shape), expected, atol=2e-5, rtol=0)


# --- samplers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", ["trailing", "leading"])
def test_samplers_walk_the_same_way(engine: Engine, name: str, kind: str) -> None:
    """With a denoiser of a formula that both sides know, at several lengths and from the middle."""
    if kind == "trailing":
        schedule = NoiseSchedule.load(find_models()[0].folder / "scheduler")
    else:
        schedule = NoiseSchedule.scaled_linear(prediction_type="epsilon", steps_offset=1)
    config = schedule.to_config()
    runs = [(1, 0), (2, 0), (7, 0), (25, 0), (25, 10), (30, 0), (100, 0)]
    found = engine.run(
        """const { SAMPLERS } = await module("samplers.js");
        const { NoiseSchedule } = await module("schedule.js");
        const { Generator } = await module("noise.js");
        const schedule = new NoiseSchedule(given.config);
        const predict = (x, t) => x.map((v) => Math.sin(v) * 0.7 + 0.1 * Math.cos(t / 100));
        return given.runs.map(([count, start]) => {
          const generator = new Generator(3), x = generator.randn(64);
          const freshNoise = () => generator.randn(64);
          const walk = SAMPLERS[given.name](predict, x, schedule, count, { start, freshNoise });
          return [...walk].map(({ step, t, x, x0 }) => [step, t, list(x), x0 && list(x0)]);
        });""",
        {"config": config, "runs": runs, "name": name},
    )

    def denoiser(x: torch.Tensor, t: torch.Tensor, cond: object) -> torch.Tensor:
        return x.sin() * 0.7 + 0.1 * math.cos(int(t[0]) / 100)

    for (count, start), steps in zip(runs, found, strict=True):
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(1, 64, generator=generator)
        walk = SAMPLERS[name](denoiser, x, schedule, None, count, generator=generator, start=start)
        for ours, theirs in zip(steps, walk, strict=True):
            assert ours[:2] == [theirs.step, theirs.t]
            torch.testing.assert_close(tensor(ours[2], 1, 64), theirs.x, atol=5e-4, rtol=1e-4)
            assert (ours[3] is None) == (theirs.x0 is None)
            if theirs.x0 is not None:
                torch.testing.assert_close(tensor(ours[3], 1, 64), theirs.x0, atol=5e-4, rtol=1e-4)


def test_timesteps_are_the_course_s_at_every_length(engine: Engine) -> None:
    for spacing in ("trailing", "leading"):
        schedule = NoiseSchedule.scaled_linear(timestep_spacing=spacing, steps_offset=1)
        found = engine.run(
            """const { NoiseSchedule } = await module("schedule.js");
            const schedule = new NoiseSchedule(given);
            return Array.from({ length: 999 }, (_, i) => schedule.timesteps(i + 1));""",
            schedule.to_config(),
        )
        for count, times in enumerate(found, 1):
            assert times == schedule.timesteps(count).tolist(), (spacing, count)


# --- whole pictures ------------------------------------------------------------------------------

DRAW = """const { Generator } = await module("noise.js");
    const [positive, negative] = [pipeline.encode([given.prompt]), pipeline.encode([""])];
    let last;
    for (last of pipeline.steps({ positive, negative, seeds: [7], count: given.count,
      guidance: given.guidance, sampler: given.sampler }));
    return list(pipeline.decode(last.x));"""


@pytest.mark.parametrize(("sampler", "guidance"), [("dpm++2m", 2.5), ("ddpm", 1.0)])
def test_a_whole_picture_is_that_of_course_draw(
    engine: Engine, pipeline: Pipeline, sampler: str, guidance: float
) -> None:
    given = {"prompt": PROMPT, "count": 6, "sampler": sampler, "guidance": guidance}
    found = tensor(engine.run(DRAW, given), 1, 3, 64, 64)
    drawn = pipeline.draw(PROMPT, num_steps=6, sampler=sampler, guidance_scale=guidance, seed=7)
    assert float((found - drawn.pixels).abs().max()) <= 2 * HALF_A_SHADE  # 1 of 255


def test_eight_bits_draw_nearly_the_same_picture(
    browser: Browser, pipeline: Pipeline, tmp_path: Path
) -> None:
    model, folder = find_models()[0], tmp_path / "small"
    for name in MODEL_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        data = (model.folder / name).read_bytes()
        if name.endswith(".safetensors"):
            data = quantize(model.folder / name, name.startswith("vae/"))
        (folder / name).write_bytes(data)
    page = browser.new_page()
    with served([Model("small", folder)]) as address:
        engine = Engine(page, address)
        engine.load("small")
        given = {"prompt": PROMPT, "count": 8, "sampler": "dpm++2m", "guidance": 2.5}
        found = tensor(engine.run(DRAW, given), 1, 3, 64, 64)
        page.close()
    drawn = pipeline.draw(PROMPT, num_steps=8, seed=7)
    shades = (found - drawn.pixels).abs() * 127.5
    assert float(shades.mean()) <= 1.0
    assert float(shades.max()) <= 30.0


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "field", "value", "words"),
    [
        ("unet", "mid_block_type", "UNetMidBlock2D", "mid_block_type"),
        ("unet", "down_block_types", ["AttnDownBlock2D"] * 2, "AttnDownBlock2D"),
        ("unet", "block_out_channels", [130, 256], "multiples of 4"),
        ("unet", "sample_size", 4, "places of the smallest map"),
        ("vae", "act_fn", "relu", "act_fn"),
        ("text", "hidden_act", "relu", "hidden_act"),
        ("schedule", "beta_schedule", "sigmoid", "beta_schedule"),
        ("schedule", "prediction_type", "flow", "prediction_type"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_not_built_is_refused(
    engine: Engine, file: str, field: str, value: object, words: str
) -> None:
    message = engine.run(
        """const { CONFIGS, WEIGHTS, MERGES, Pipeline } = await module("pipeline.js");
        const files = { [MERGES]: "" }, empty = new TextEncoder().encode("........{}").buffer;
        new DataView(empty).setBigUint64(0, 2n, true);
        for (const path of Object.values(WEIGHTS)) files[path] = empty;
        for (const path of Object.values(CONFIGS)) {
          files[path] = await (await fetch(`/models/emoji-64/${path}`)).json();
        }
        files[CONFIGS[given.file]][given.field] = given.value;
        try { new Pipeline(files); } catch (error) { return error.message; }
        return "";""",
        {"file": file, "field": field, "value": value},
    )
    assert words in message, message
    assert "config.json" in message


def test_weights_that_were_cut_off_are_named(engine: Engine) -> None:
    messages = engine.run(
        """const { readSafetensors } = await module("weights.js");
        const path = "unet/diffusion_pytorch_model.safetensors";
        const whole = await (await fetch(`/models/emoji-64/${path}`)).arrayBuffer();
        return [0, 5, 100, 50000, whole.byteLength - 1].map((length) => {
          try { readSafetensors(whole.slice(0, length), path); } catch (e) { return e.message; }
          return "";
        });"""
    )
    for message in messages:
        assert "unet/diffusion_pytorch_model.safetensors is damaged or cut short" in message


def test_a_browser_without_webassembly_or_simd_is_told_so(engine: Engine) -> None:
    messages = engine.run(
        """const { makeProduct } = await module("kernel.js"), found = [], real = WebAssembly;
        for (const less of [undefined, { ...real, validate: () => false }]) {
          globalThis.WebAssembly = less;
          try { makeProduct(null); } catch (error) { found.push(error.message); }
        }
        globalThis.WebAssembly = real;
        return found;"""
    )
    assert len(messages) == 2
    assert "has no WebAssembly" in messages[0]
    assert "lacks SIMD" in messages[1]


def test_the_error_function_is_gauss_s(engine: Engine) -> None:
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    code = """const m = await module("machine.js");
        return [given.map(m.erf), given.map(m.gelu), given.map(m.silu)];"""
    erf, gelu, silu = (torch.tensor(v, dtype=torch.float64) for v in engine.run(code, x.tolist()))
    torch.testing.assert_close(erf, torch.erf(x), atol=2e-7, rtol=0)
    torch.testing.assert_close(gelu, torch.nn.functional.gelu(x), atol=1e-6, rtol=0)
    torch.testing.assert_close(silu, torch.nn.functional.silu(x), atol=1e-6, rtol=0)
