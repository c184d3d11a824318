"""The pipeline against diffusers', its folders, its words, and bad input."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from tiny_pipeline import tiny_pipeline
from torch.testing import assert_close

import course_utils.pipeline as pipeline_module
from course_utils import hub
from course_utils.models import WeightsError
from course_utils.pipeline import Pipeline
from course_utils.schedules import NoiseSchedule
from course_utils.vocabulary import Concept, Vocabulary, words_of

SCHEDULERS = {
    "ddpm": DDPMScheduler,
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "dpm++2m": DPMSolverMultistepScheduler,
}
PROMPT, NEGATIVE = "a cat face, 3d style, on a blue background", "red apple"


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> Pipeline:
    return Pipeline.load(tiny_folder, "cpu")


@pytest.fixture(scope="module")
def theirs(tiny_folder: Path) -> StableDiffusionPipeline:
    return open_with_diffusers(tiny_folder)


def open_with_diffusers(folder: Path) -> StableDiffusionPipeline:
    found = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    found.set_progress_bar_config(disable=True)
    return found


def draw_with_diffusers(
    theirs: StableDiffusionPipeline, count: int = 2, steps: int = 5, **options: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and pixels in [-1, 1] from seeds 7, 8, ..."""
    drawn = theirs(
        PROMPT,
        num_inference_steps=steps,
        num_images_per_prompt=count,
        generator=[torch.Generator().manual_seed(7 + i) for i in range(count)],
        output_type="latent",
        **options,
    ).images
    with torch.no_grad():
        pixels = theirs.vae.decode(drawn / theirs.vae.config.scaling_factor).sample
    return drawn, pixels.clamp(-1, 1)


# --- the same pictures as diffusers --------------------------------------------------------------


@pytest.mark.parametrize("sampler", SCHEDULERS)
@pytest.mark.parametrize(
    ("guidance", "negative", "rescale"),
    [(1.0, "", 0.0), (4.0, "", 0.0), (4.0, NEGATIVE, 0.0), (7.5, NEGATIVE, 0.7)],
)
def test_draws_what_diffusers_draws(
    tiny: Pipeline,
    theirs: StableDiffusionPipeline,
    sampler: str,
    guidance: float,
    negative: str,
    rescale: float,
) -> None:
    kind = SCHEDULERS[sampler]
    theirs.scheduler = kind.from_config(tiny.schedule.to_config(kind.__name__))
    latents, pixels = draw_with_diffusers(
        theirs, guidance_scale=guidance, negative_prompt=negative, guidance_rescale=rescale
    )
    drawn = tiny.draw(
        PROMPT,
        negative,
        num_steps=5,
        guidance_scale=guidance,
        guidance_rescale=rescale,
        sampler=sampler,
        count=2,
    )
    assert_close(drawn.latents, latents, atol=1e-4, rtol=1e-4)
    assert_close(drawn.pixels, pixels, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("prediction_type", "options", "dtype"),
    [
        ("v_prediction", {"timestep_spacing": "trailing"}, torch.float16),
        ("epsilon", {}, torch.float32),
        ("sample", {"timestep_spacing": "trailing", "steps_offset": 1}, torch.float16),
    ],
)
def test_a_saved_folder_draws_the_same_by_default(
    tmp_path: Path, prediction_type: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    folder = tiny_pipeline(3, prediction_type, **options).save(tmp_path / "model", dtype)
    ours, theirs = Pipeline.load(folder, "cpu"), open_with_diffusers(folder)
    assert isinstance(theirs.scheduler, DPMSolverMultistepScheduler)
    settings = {"guidance_scale": pipeline_module.DEFAULT_GUIDANCE}
    latents, pixels = draw_with_diffusers(
        theirs, count=1, steps=pipeline_module.DEFAULT_STEPS, **settings
    )
    drawn = ours.draw(PROMPT)
    assert_close(drawn.latents, latents, atol=1e-4, rtol=1e-4)
    assert_close(drawn.pixels, pixels, atol=1e-4, rtol=1e-4)


def test_zero_terminal_snr_draws_the_same(tmp_path: Path) -> None:
    made = tiny_pipeline(4, timestep_spacing="trailing")
    made.schedule = made.schedule.rescale_zero_terminal_snr()
    folder = made.save(tmp_path / "model", torch.float32)
    latents, _ = draw_with_diffusers(open_with_diffusers(folder), steps=10, guidance_scale=4.0)
    drawn = Pipeline.load(folder, "cpu").draw(PROMPT, num_steps=10, guidance_scale=4.0, count=2)
    assert_close(drawn.latents, latents, atol=1e-4, rtol=1e-4)


def test_opening_our_folder_gives_diffusers_nothing_to_warn_of(
    tiny_folder: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    logging.getLogger("diffusers").propagate = True
    open_with_diffusers(tiny_folder)
    text = caplog.text + " ".join(str(warning.message) for warning in recwarn)
    for word in ("not expected", "outdated", "safety_checker", "newly initialized"):
        assert word not in text


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize(
    "scheduler",
    [
        PNDMScheduler(beta_schedule="scaled_linear", steps_offset=1, skip_prk_steps=True),
        EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        UniPCMultistepScheduler(beta_schedule="scaled_linear", use_karras_sigmas=True),
    ],
)
def test_reads_a_folder_that_diffusers_wrote(
    tmp_path: Path, theirs: StableDiffusionPipeline, scheduler: Any, variant: str | None
) -> None:
    theirs.scheduler = scheduler
    theirs.save_pretrained(tmp_path, variant=variant)
    ours = Pipeline.load(tmp_path, "cpu")
    assert ours.vocabulary is None
    assert ours.unknown_words("zxcv") == []
    betas = NoiseSchedule.scaled_linear(1e-4, 0.02).betas
    assert_close(ours.schedule.betas, betas)
    if scheduler.config.timestep_spacing is None:
        return
    theirs.scheduler = DDIMScheduler.from_config(ours.schedule.to_config())
    latents, _ = draw_with_diffusers(theirs, guidance_scale=4.0)
    drawn = ours.draw(PROMPT, num_steps=5, guidance_scale=4.0, sampler="ddim", count=2)
    assert_close(drawn.latents, latents, atol=1e-4, rtol=1e-4)


# --- the loop ------------------------------------------------------------------------------------


def test_steps_begin_with_the_noise_of_the_seed(tiny: Pipeline) -> None:
    steps = list(tiny.steps(PROMPT, seed=11, num_steps=4, count=2))
    assert [step.step for step in steps] == [0, 1, 2, 3, 4]
    for i in range(2):
        noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(11 + i))
        assert_close(steps[0].x[i : i + 1], noise, rtol=0, atol=0)
    assert steps[0].x0 is None
    assert steps[-1].x0 is not None
    assert steps[-1].x0.shape == (2, 4, 8, 8)


@pytest.mark.parametrize("sampler", ["dpm++2m", "ddpm"])
def test_a_picture_does_not_depend_on_its_company(
    tiny: Pipeline, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"num_steps": 5, "sampler": sampler}
    together = tiny.draw(PROMPT, seed=5, count=3, **settings)
    assert together.seeds == (5, 6, 7)
    alone = tiny.draw(PROMPT, seed=7, **settings)
    assert_close(together.latents[2:], alone.latents, atol=1e-4, rtol=1e-4)
    monkeypatch.setattr(pipeline_module, "POSITIONS_AT_ONCE", 128)  # two pictures a batch
    assert tiny.batch_size == 2
    seen = []
    batched = tiny.draw(PROMPT, seed=5, count=3, on_step=seen.append, **settings)
    assert [len(step.x) for step in seen] == [2] * 6 + [1] * 6
    assert_close(batched.latents, together.latents, atol=1e-4, rtol=1e-4)


def test_ddpm_asks_the_network_once_a_step_for_the_whole_batch(tiny: Pipeline) -> None:
    batches: list[int] = []
    handle = tiny.unet.register_forward_hook(lambda _, args, out: batches.append(len(args[0])))
    tiny.draw(PROMPT, count=4, num_steps=5, sampler="ddpm")
    handle.remove()
    assert batches == [8] * 5  # 4 pictures, each with and without the prompt


def test_several_prompts_each_with_its_own_seed_and_negative(tiny: Pipeline) -> None:
    texts, negatives = [PROMPT, "a rocket"], ["", NEGATIVE]
    both = tiny.draw(texts, negatives, seed=[1, 20], num_steps=3, count=2)
    assert both.prompts == (PROMPT, PROMPT, "a rocket", "a rocket")
    assert both.seeds == (1, 2, 20, 21)
    last = tiny.draw("a rocket", NEGATIVE, seed=21, num_steps=3)
    assert_close(both.pixels[3:], last.pixels, atol=1e-4, rtol=1e-4)
    assert len(both) == 4
    assert both.metadata()["seed"] == "1 2 20 21"
    assert both.metadata()["num_steps"] == "3"


def test_the_same_seed_gives_the_same_picture_and_another_one_another(tiny: Pipeline) -> None:
    first, again = tiny.draw(PROMPT, num_steps=3), tiny.draw(PROMPT, num_steps=3)
    assert_close(first.pixels, again.pixels, rtol=0, atol=0)
    assert not torch.allclose(first.pixels, tiny.draw(PROMPT, num_steps=3, seed=8).pixels)
    assert first.pixels.shape == (1, 3, 64, 64)
    assert first.pixels.abs().max() <= 1


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"num_steps": 0}, ValueError, "num_steps is 0; expected an int from 1 to 1000"),
        ({"num_steps": 10_000}, ValueError, "num_steps is 10000"),
        ({"num_steps": 2.5}, TypeError, "num_steps is 2.5"),
        ({"guidance_scale": float("nan")}, ValueError, "guidance_scale is nan"),
        ({"guidance_scale": -1.0}, ValueError, "guidance_scale is -1.0"),
        ({"guidance_scale": 1e9}, ValueError, "guidance_scale is 1000000000.0"),
        ({"guidance_rescale": 1.5}, ValueError, "guidance_rescale is 1.5"),
        ({"sampler": "dpm"}, ValueError, "did you mean ddpm or dpm"),
        ({"sampler": "heun"}, ValueError, "expected one of ddpm, ddim, euler"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": 2**63}, ValueError, "seed is"),
        ({"seed": [1, 2]}, ValueError, "seed has 2 entries"),
        ({"negative": ["a", "b"]}, ValueError, "negative has 2 entries"),
        ({"count": 0}, ValueError, "count is 0"),
        ({"prompts": []}, ValueError, "prompts is empty"),
        ({"prompts": [3]}, TypeError, "a prompt is 3"),
        ({"prompts": "caf\udce9"}, ValueError, "not valid UTF-8"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_computed(
    tiny: Pipeline, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    arguments = {"prompts": PROMPT, **settings}
    for method in (tiny.steps, tiny.draw):
        with pytest.raises(error, match=words):
            method(**arguments)


def test_numbers_that_explode_are_an_error_not_a_black_picture() -> None:
    broken = tiny_pipeline()
    torch.nn.init.constant_(broken.unet.conv_out.weight, float("nan"))
    with pytest.raises(ValueError, match="not-a-number"):
        broken.draw(PROMPT, num_steps=2)


# --- words ---------------------------------------------------------------------------------------


def test_unknown_words_come_with_near_ones(tiny: Pipeline) -> None:
    found = tiny.unknown_words("a doge on a blu background, with a Kitten's face")
    assert [word.word for word in found] == ["doge", "blu", "with", "kitten's"]
    suggestions = {word.word: word.suggestions for word in found}
    assert suggestions["doge"] == ("dog",)
    assert suggestions["blu"] == ("blue",)


def test_suggestions_know_what_a_word_means() -> None:
    words = Vocabulary(subset="starter", concepts=(Concept("cat face"),))
    by_meaning = {word.word: word.suggestions for word in words.unknown_words("kittens or 🐱")}
    assert by_meaning["🐱"] == ("cat face",)


def test_known_words_cover_case_and_possessive(tiny: Pipeline) -> None:
    assert tiny.unknown_words("A CAT'S face; 3D style…") == []
    assert tiny.unknown_words("the cat’s face")[0].word == "the"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "the prompt is empty"),
        ("  \n", "the prompt is empty"),
        ("?!", "holds no word"),
        ("кошка", "knows no word of this prompt"),
        ("a griffin", 'never met "griffin"'),
        ("dog " * 30, 'does not see: "dog"'),
    ],
)
def test_notes_on_a_prompt(tiny: Pipeline, prompt: str, words: str) -> None:
    assert words in " ".join(tiny.notes(prompt))
    assert tiny.draw(prompt, num_steps=1).pixels.shape == (1, 3, 64, 64)


def test_a_plain_prompt_needs_no_note(tiny: Pipeline) -> None:
    assert tiny.notes(PROMPT) == []


def test_dropped_words_are_those_the_encoder_does_not_see(tiny: Pipeline) -> None:
    text = "dog noto green background a picture of a rocket on a blue background cat face apple"
    dropped = tiny.dropped_words(text)
    assert dropped
    seen = text.removesuffix(" ".join(dropped)).strip()
    assert tiny.dropped_words(seen) == []
    changed = seen + " " + " ".join(["rocket"] * len(dropped))
    assert tiny.dropped_words("") == []
    # What comes after the last word that fits makes no difference to the ids before it.
    count = len(tiny.tokenizer.encode(seen)) - 1
    assert tiny.tokenizer(text)[0, :count].tolist() == tiny.tokenizer(changed)[0, :count].tolist()


def test_words_of_any_script() -> None:
    assert words_of("A cat's ÉTÉ, 3D—style 🧑‍🚀 猫 हिन्दी") == [
        *("a", "cat's", "été", "3d", "style", "🧑‍🚀", "猫", "हिन्दी")
    ]


def test_vocabulary_survives_its_file(tmp_path: Path, tiny: Pipeline) -> None:
    assert tiny.vocabulary is not None
    tiny.vocabulary.save(tmp_path)
    assert Vocabulary.load(tmp_path) == tiny.vocabulary
    assert Vocabulary.load(tmp_path / "nowhere") is None


# --- folders -------------------------------------------------------------------------------------


def test_save_is_complete_only_with_its_index(tmp_path: Path) -> None:
    made = tiny_pipeline()
    folder = made.save(tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert index["safety_checker"] == [None, None]
    assert index["requires_safety_checker"] is False
    read = Pipeline.load(folder, "cpu")
    assert read.vocabulary == made.vocabulary
    for name, value in made.unet.state_dict().items():
        assert_close(read.unet.state_dict()[name], value.half().float(), rtol=0, atol=0)
    (folder / "model_index.json").unlink()
    with pytest.raises(WeightsError, match=r"has no model_index\.json"):
        Pipeline.load(folder)


def test_the_offset_is_the_one_that_diffusers_insists_on() -> None:
    assert tiny_pipeline(steps_offset=0).schedule.steps_offset == 1


def edit(path: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / path
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def write(path: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).write_text(text) and None


def cut(path: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = (folder / path).read_bytes()
        (folder / path).write_bytes(data[: len(data) // 2])

    return change


def to_pickle(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut(UNET), "damaged or cut short"),
        (cut("text_encoder/model.safetensors"), "damaged or cut short"),
        (write(UNET, "version https://git-lfs"), "damaged or cut short"),
        (to_pickle, "holds a pickle"),
        (lambda folder: (folder / UNET).unlink(), "has no weights"),
        (lambda folder: shutil.rmtree(folder / "vae"), "There is no folder"),
        (lambda folder: shutil.rmtree(folder / "tokenizer"), "has no tokenizer"),
        (lambda folder: shutil.rmtree(folder / "scheduler"), r"has no scheduler_config\.json"),
        (write("unet/config.json", "{"), "not readable JSON"),
        (write("vae/config.json", "[1]"), "vae"),
        (write("tokenizer/vocab.json", "{"), "tokenizer.*not readable JSON"),
        (write("tokenizer/vocab.json", "{}"), "expected a CLIP vocabulary"),
        (write("concepts.json", "{}"), "not a list of concepts"),
        (write("scheduler/scheduler_config.json", "{} x"), "not readable JSON"),
        (edit("scheduler/scheduler_config.json", prediction_type="flow"), "prediction_type is"),
        (edit("scheduler/scheduler_config.json", _class_name="FlowMatchX"), "FlowMatchX"),
        (edit("model_index.json", _class_name="StableDiffusionXLPipeline"), "XLPipeline"),
        (write("model_index.json", "nothing"), "not readable JSON"),
        (edit("unet/config.json", block_out_channels=[8, 24]), "do not fit"),
        (edit("unet/config.json", norm_num_groups=3), "divisor"),
        (edit("unet/config.json", addition_embed_type="text_time"), "addition_embed_type"),
    ],
)
def test_a_bad_folder_is_one_clear_error(
    tmp_path: Path, tiny_folder: Path, spoil: Callable[[Path], None], words: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    spoil(folder)
    with pytest.raises(WeightsError, match=words):
        Pipeline.load(folder)


def test_parts_of_two_models_do_not_fit(tmp_path: Path, tiny_folder: Path) -> None:
    from course_utils.models import TextEncoder

    shutil.copytree(tiny_folder, tmp_path / "model")
    TextEncoder(
        vocab_size=560,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
    ).save_pretrained(tmp_path / "model" / "text_encoder")
    with pytest.raises(WeightsError, match="do not fit together"):
        Pipeline.load(tmp_path / "model")


def test_tokens_without_embeddings(tmp_path: Path, tiny_folder: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "model")
    path = tmp_path / "model" / "tokenizer"
    ids = json.loads((path / "vocab.json").read_text())
    (path / "added_tokens.json").write_text(json.dumps({"<cat-toy>": len(ids)}))
    with pytest.raises(WeightsError, match=rf"ids up to {len(ids)}, text_encoder has vocab_size"):
        Pipeline.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("trained_betas", ["x", [None], [["a"]], {}, [], 3]),
        ("num_train_timesteps", ["1000", None, 1.5]),
        ("beta_start", [None, "a", [1]]),
        ("steps_offset", [None, "1"]),
        ("prediction_type", [None, 3, ["epsilon"]]),
        ("timestep_spacing", [None, ["leading"]]),
        ("set_alpha_to_one", ["yes", None]),
    ],
)
def test_a_scheduler_field_of_another_type_is_named(
    tmp_path: Path, tiny_folder: Path, name: str, values: list[object]
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "model")
    for value in values:
        edit("scheduler/scheduler_config.json", **{name: value})(tmp_path / "model")
        with pytest.raises(WeightsError, match=rf"{name}\b.* is .*expected"):
            hub.read_schedule(tmp_path / "model" / "scheduler")


@pytest.mark.parametrize("size", [None, [8, 12], "8"])
def test_latents_without_a_square_size(tmp_path: Path, tiny_folder: Path, size: object) -> None:
    shutil.copytree(tiny_folder, tmp_path / "model")
    edit("unet/config.json", sample_size=size)(tmp_path / "model")
    with pytest.raises(WeightsError, match=r"sample_size .*expected"):
        Pipeline.load(tmp_path / "model")


@pytest.mark.parametrize("length", [int(1e30), None])
def test_an_open_tokenizer_length_becomes_the_encoders(
    tmp_path: Path, tiny_folder: Path, length: int | None
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "model")
    edit("tokenizer/tokenizer_config.json", model_max_length=length)(tmp_path / "model")
    assert Pipeline.load(tmp_path / "model", "cpu").tokenizer.model_max_length == 16


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no-such-model", "There is no model 'no-such-model'"),
        ("", "There is no model"),
        ("..", r"has no model_index\.json"),
        ("/nowhere/at/all", "There is no folder /nowhere/at/all"),
        ("./mine", r"There is no folder \./mine"),
        ("tests/no-such-model", "There is no folder tests/no-such-model"),
        ("mine/", "There is no folder mine/"),
        ("a/b/c", "There is no folder a/b/c"),
        ("~/no-such-model", "There is no folder ~/no-such-model"),
        (__file__, "is a file"),
    ],
)
def test_a_name_that_leads_nowhere(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    with pytest.raises(WeightsError, match=words):
        Pipeline.load(name)


def test_missing_bundled_weights_have_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "bundled_folder", lambda name="": Path("/nowhere/weights/emoji-64"))
    with pytest.raises(WeightsError, match="course train all"):
        Pipeline.load()


# --- hubs ----------------------------------------------------------------------------------------

REPOSITORY = {
    "README.md": 1,
    "model_index.json": 1,
    "v1-5-pruned.safetensors": 4_000_000_000,
    "safety_checker/model.safetensors": 1_000_000_000,
    "scheduler/scheduler_config.json": 1,
    "tokenizer/vocab.json": 1,
    "tokenizer/merges.txt": 1,
    "text_encoder/config.json": 1,
    "text_encoder/model.safetensors": 500_000_000,
    "text_encoder/model.fp16.safetensors": 250_000_000,
    "unet/config.json": 1,
    "unet/diffusion_pytorch_model.bin": 3_400_000_000,
    "unet/diffusion_pytorch_model.safetensors": 3_400_000_000,
    "unet/diffusion_pytorch_model.fp16.safetensors": 1_700_000_000,
    "unet/diffusion_pytorch_model.non_ema.safetensors": 3_400_000_000,
    "vae/config.json": 1,
    "vae/diffusion_pytorch_model.safetensors": 330_000_000,
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> SimpleNamespace:
    """A hub with one repository and an empty cache; `asked` holds what was asked of it."""
    import huggingface_hub

    fake = SimpleNamespace(files=dict(REPOSITORY), asked=[], cached=False, error=None)

    class Api:
        def model_info(self, repo_id: str, revision: str | None, **_: Any) -> SimpleNamespace:
            fake.asked.append(("info", repo_id, revision))
            if fake.error:
                raise fake.error
            siblings = [SimpleNamespace(rfilename=n, size=s) for n, s in fake.files.items()]
            return SimpleNamespace(sha=COMMIT, siblings=siblings)

    def snapshot_download(repo_id: str, **options: Any) -> str:
        if options.get("local_files_only") and not fake.cached:
            raise FileNotFoundError("not cached")
        if not options.get("local_files_only"):
            fake.asked.append(("download", options["revision"], options["allow_patterns"]))
        return str(tiny_folder)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    return fake


def test_a_hub_id_names_its_size_and_commit_before_the_download(
    fake_hub: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Pipeline.load("owner/model", "cpu").name == "owner/model"
    said = capsys.readouterr().err
    assert "2.28 GB to download" in said
    assert f"--revision {COMMIT}" in said
    files = fake_hub.asked[-1][2]
    assert fake_hub.asked[-1][1] == COMMIT
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in files
    assert "vae/diffusion_pytorch_model.safetensors" in files
    assert len(files) == 10


def test_known_ids_are_pinned_and_cached_ones_need_no_network(fake_hub: SimpleNamespace) -> None:
    name, commit = next(iter(hub.PINNED.items()))
    hub.find_folder(name)
    assert fake_hub.asked[0] == ("info", name, commit)
    fake_hub.asked.clear()
    fake_hub.cached = True
    hub.find_folder(name)
    assert fake_hub.asked == []


def test_offline_is_one_clear_error_unless_there_is_a_copy(
    fake_hub: SimpleNamespace, capsys: pytest.CaptureFixture[str], tiny_folder: Path
) -> None:
    fake_hub.error = ConnectionError("no route")
    with pytest.raises(WeightsError, match="the hub cannot be reached"):
        hub.find_folder("owner/model")
    fake_hub.cached = True
    assert hub.find_folder("owner/model") == tiny_folder
    assert "cannot be reached" in capsys.readouterr().err


def test_a_full_disk_while_downloading_is_not_called_offline(fake_hub: SimpleNamespace) -> None:
    fake_hub.error = OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space left"):
        hub.find_folder("owner/model")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"model.ckpt": 1}, "is not a diffusers pipeline"),
        ({"model_index.json": 1, "unet/diffusion_pytorch_model.bin": 1}, "only the pickle"),
    ],
)
def test_a_repository_without_safetensors(
    fake_hub: SimpleNamespace, files: dict[str, int], words: str
) -> None:
    fake_hub.files = files
    with pytest.raises(WeightsError, match=words):
        hub.find_folder("owner/model")
    assert all(kind != "download" for kind, *_ in fake_hub.asked)


def test_a_revision_belongs_to_a_hub_id(tiny_folder: Path) -> None:
    with pytest.raises(WeightsError, match="belongs to a hub id"):
        Pipeline.load(tiny_folder, revision="main")
