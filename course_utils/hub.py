"""Where a pipeline comes from and goes to: bundled weights, a folder in diffusers' layout, a hub.

Nothing here touches the network unless the model's name is a hub id, "owner/name"; then the size of
the download is printed first, and what is on this machine already is not asked for again.
"""

from __future__ import annotations

import errno
import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from course_utils.files import write_atomically
from course_utils.models.clip import TextEncoder
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.unet import UNet
from course_utils.models.vae import VAE
from course_utils.models.weight_files import (
    PICKLES,
    WEIGHTS,
    WeightsError,
    choose_variant,
    read_json,
)
from course_utils.schedules import NoiseSchedule
from course_utils.vocabulary import Vocabulary

Part = TypeVar("Part")

DEFAULT_MODEL = "emoji-64"
# Hub ids and the commit that each stands for here, so that it always gives the same weights.
PINNED = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    "CompVis/stable-diffusion-v1-4": "133a221b8aa7292a167afc5127cb63fb5005638b",
}
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PARTS = ("unet", "vae", "text_encoder")
# What a scheduler's configuration says of the model; the rest says how its sampler walks.
OF_THE_MODEL = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
    "steps_offset",
    "set_alpha_to_one",
)
# The diffusers class that walks as each of our samplers does.
SCHEDULERS = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpm++2m": "DPMSolverMultistepScheduler",
}


@dataclass(frozen=True)
class PipelineParts:
    """What a folder of diffusers' layout holds, and the words its model was taught, if known."""

    unet: UNet
    vae: VAE
    text_encoder: TextEncoder
    tokenizer: Tokenizer
    schedule: NoiseSchedule
    vocabulary: Vocabulary | None


def load_parts(folder: Path) -> PipelineParts:
    """Read the parts of a pipeline.

    Raises:
        WeightsError: something in the folder is missing, damaged or of a kind that this course does
            not build, or the parts do not fit together.
    """
    check_index(folder)
    with _NoRandomWeights():
        parts = PipelineParts(
            unet=_part(folder / "unet", UNet.from_pretrained),
            vae=_part(folder / "vae", VAE.from_pretrained),
            text_encoder=_part(folder / "text_encoder", TextEncoder.from_pretrained),
            tokenizer=_part(folder / "tokenizer", Tokenizer.from_pretrained),
            schedule=read_schedule(folder / "scheduler"),
            vocabulary=Vocabulary.load(folder),
        )
    if parts.unet.config.sample_size is None:
        raise WeightsError(
            f"sample_size in {folder / 'unet' / 'config.json'} is null; expected the height and "
            "width of the latents, a whole number."
        )
    text, unet, vae = parts.text_encoder.config, parts.unet.config, parts.vae.config
    for ours, theirs, sentence in (
        (text.hidden_size, unet.cross_attention_dim, "text_encoder gives states of width"),
        (vae.latent_channels, unet.in_channels, "vae has a number of latent channels of"),
    ):
        if ours != theirs:
            raise WeightsError(
                f"The parts in {folder} do not fit together: {sentence} {ours}, unet takes "
                f"{theirs}. Expected the parts of one Stable Diffusion 1.x model."
            )
    if parts.tokenizer.highest_id >= text.vocab_size:
        raise WeightsError(
            f"The parts in {folder} do not fit together: tokenizer gives ids up to "
            f"{parts.tokenizer.highest_id}, text_encoder has vocab_size {text.vocab_size}. "
            "Expected an embedding for each token; were tokens added without their embeddings?"
        )
    # Some folders leave the tokenizer's length open; the text encoder's is what counts.
    longest = min(parts.tokenizer.model_max_length, text.max_position_embeddings)
    parts.tokenizer.model_max_length = longest
    return parts


def save_parts(folder: Path, parts: PipelineParts, dtype: torch.dtype, scheduler: str) -> None:
    """Write a folder that `load_parts` and diffusers read; each file is whole or not there.

    Args:
        folder: made if it is missing.
        parts: what to write.
        dtype: of the weights in the files.
        scheduler: the diffusers class that the folder names, one of `SCHEDULERS`.

    Raises:
        OSError: no space, no permission.
    """
    parts.unet.save_pretrained(folder / "unet", dtype)
    parts.vae.save_pretrained(folder / "vae", dtype)
    parts.text_encoder.save_pretrained(folder / "text_encoder", dtype)
    parts.tokenizer.save_pretrained(folder / "tokenizer")
    parts.schedule.save(folder / "scheduler", scheduler)
    if parts.vocabulary is not None:
        parts.vocabulary.save(folder)
    # Written last: a folder that has it is complete.
    index = json.dumps(model_index(scheduler), indent=2) + "\n"
    write_atomically(folder / "model_index.json", index.encode())


def model_index(scheduler: str) -> dict[str, Any]:
    """What `model_index.json` says of a folder: which class opens which part.

    Args:
        scheduler: diffusers' class.
    """
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", scheduler],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


class _NoRandomWeights(TorchFunctionMode):
    """Skips `torch.nn.init`: what a file overwrites at once need not be drawn first.

    On torch's meta device `normal_` would import torch's compiler, which takes two seconds.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _part(folder: Path, read: Callable[[Path], Part]) -> Part:
    """Read one part of a pipeline; whatever is wrong with its files names the folder."""
    try:
        return read(folder)
    except WeightsError:
        raise
    except json.JSONDecodeError as error:
        raise WeightsError(f"A file in {folder} is not readable JSON ({error}).") from error
    except (ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"This course cannot run what is in {folder}: {error}") from error
    except (KeyError, AttributeError) as error:
        raise WeightsError(f"A file in {folder} is not of the usual form ({error}).") from error


def bundled_folder(name: str = DEFAULT_MODEL) -> Path:
    """Where the weights of this name lie if they are part of the course."""
    return Path(__file__).parent / "weights" / name


def find_folder(name: str, revision: str | None = None) -> Path:
    """The folder of a model.

    Args:
        name: of bundled weights ("emoji-64"), of a folder, or a hub id ("owner/name").
        revision: of a hub id, a commit, branch or tag; by default a pinned commit.

    Raises:
        WeightsError: there is no such model, or it cannot be fetched.
    """
    folder = Path(name).expanduser()
    # "models/mine" in a folder that has models/ means a folder of this machine.
    is_hub_id = HUB_ID.fullmatch(name) is not None and not folder.exists()
    is_hub_id = is_hub_id and (name in PINNED or not folder.parent.is_dir())
    if revision is not None and not is_hub_id:
        raise WeightsError(f"A revision belongs to a hub id such as owner/name; {name!r} is none.")
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) and bundled_folder(name).is_dir():
        return bundled_folder(name)
    if name and folder.is_dir():
        return folder
    if folder.is_file():
        pickle = "; a pickle can run any code when it is opened, so it is not read"
        raise WeightsError(
            f"{name} is a file; expected a folder in diffusers' layout"
            f"{pickle if folder.suffix in PICKLES else ''}."
        )
    if name == DEFAULT_MODEL:
        raise WeightsError(
            f"The weights {name} are missing from {bundled_folder().parent}. Fetch the repository "
            "again, or make them anew with `course train all`."
        )
    if is_hub_id:
        return fetch(name, revision or PINNED.get(name))
    if "/" in name or "\\" in name:
        raise WeightsError(
            f"There is no folder {name}; expected one in diffusers' layout, {DEFAULT_MODEL}, or a "
            f"hub id such as {next(iter(PINNED))}."
        )
    raise WeightsError(
        f"There is no model {name!r}; expected {DEFAULT_MODEL}, a folder in diffusers' layout, or "
        f"a hub id such as {next(iter(PINNED))}."
    )


def check_index(folder: Path) -> None:
    """Say what a folder is if it is not a Stable Diffusion pipeline.

    Raises:
        WeightsError: no `model_index.json`, or one of another kind of pipeline.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        files = {*PICKLES, ".safetensors"}
        single = sorted(item.name for item in folder.glob("*") if item.suffix in files)
        found = f" It holds {single[0]}, and a single file is not enough." if single else ""
        raise WeightsError(
            f"{folder} has no model_index.json, so it is not a pipeline folder.{found} Expected "
            "model_index.json, unet/, vae/, text_encoder/, tokenizer/ and scheduler/, as diffusers "
            "saves them."
        )
    kind = read_json(path).get("_class_name")
    if kind != "StableDiffusionPipeline":
        raise WeightsError(
            f"{folder} holds a {kind}; expected a StableDiffusionPipeline of version 1.x."
        )


def read_schedule(folder: str | Path) -> NoiseSchedule:
    """The noise schedule in a diffusers scheduler folder, whatever scheduler class it names.

    What the model was trained with is kept; how a sampler walks is the caller's choice. "linspace"
    spacing, which also begins at the noisiest timestep, becomes "trailing".

    Args:
        folder: holds `scheduler_config.json`.

    Raises:
        WeightsError: the file is missing or damaged, or is not of a model with betas.
    """
    path = Path(folder) / "scheduler_config.json"
    if not path.is_file():
        raise WeightsError(f"{folder} has no scheduler_config.json. Fetch it again.")
    config = read_json(path)
    kind = str(config.get("_class_name", ""))
    if "FlowMatch" in kind:
        raise WeightsError(f"{path} is a {kind}; expected a schedule of betas, as in version 1.x.")
    betas = config.get("trained_betas")
    if betas is not None and not (
        isinstance(betas, list) and betas and all(type(beta) in (int, float) for beta in betas)
    ):
        raise WeightsError(
            f"trained_betas in {path} is {str(betas)[:40]}; expected a list of numbers, or null."
        )
    leading = kind in {"DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LCMScheduler", ""}
    spacing = config.get("timestep_spacing", "leading" if leading else "linspace")
    try:
        return NoiseSchedule.from_config(
            {"set_alpha_to_one": kind != "PNDMScheduler"}
            | {key: config[key] for key in OF_THE_MODEL if key in config}
            | {"timestep_spacing": "trailing" if spacing == "linspace" else spacing}
        )
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path} is not a schedule of this course: {error}") from None


# --- hubs --------------------------------------------------------------------------------------


def fetch(repo_id: str, revision: str | None) -> Path:
    """Download the parts of a Stable Diffusion 1.x repository that drawing needs, unless cached.

    Args:
        repo_id: "owner/name".
        revision: commit, branch or tag; None takes the newest and prints which that is.

    Returns:
        The folder in the hub's cache.

    Raises:
        WeightsError: no network, no such repository or revision, no safetensors in it.
        OSError: no space on the disk.
    """
    import huggingface_hub
    from huggingface_hub import errors

    pinned = revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision)
    cached = _cached(repo_id, revision)
    if pinned and cached is not None:
        return cached
    try:
        found = huggingface_hub.HfApi().model_info(
            repo_id, revision=revision, files_metadata=True, timeout=10
        )
        commit = str(found.sha)
        sizes = {item.rfilename: item.size or 0 for item in found.siblings or ()}
        wanted = choose_files(sizes)
        _check_choice(repo_id, wanted, sizes)
        missing = sum(
            sizes[name]
            for name in wanted
            if not huggingface_hub.try_to_load_from_cache(repo_id, name, revision=commit)
        )
        if missing:
            say(f"{repo_id} at revision {commit}: {missing / 1e9:.2f} GB to download")
        if not pinned:
            say(f"to draw with the very same weights again, add --revision {commit}")
        return Path(
            huggingface_hub.snapshot_download(
                repo_id, revision=commit, allow_patterns=sorted(wanted)
            )
        )
    except WeightsError:
        raise
    except errors.GatedRepoError:
        problem = "wants its licence accepted on its page first, and then `hf auth login`"
    except errors.RevisionNotFoundError:
        problem = f"has no revision {revision!r}"
    except errors.RepositoryNotFoundError:
        problem = (
            "is no folder here and not on the hub, or is private; "
            f"expected an id such as {next(iter(PINNED))}"
        )
    except Exception as error:  # the client also lets the errors of its transport through
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        if cached is not None:
            say(f"the hub cannot be reached; {repo_id} is drawn with as it is on this machine")
            return cached
        raise WeightsError(
            f"{repo_id} is no folder and no model on this machine, and the hub cannot be reached "
            f"({type(error).__name__}). Offline, leave --model out or name a folder."
        ) from error
    raise WeightsError(f"{repo_id} {problem}.")


def choose_files(names: Iterable[str]) -> set[str]:
    """Of a repository's files those that `Pipeline.load` reads; half precision where offered."""
    names = set(names)
    wanted = names & {"model_index.json", "scheduler/scheduler_config.json"}
    wanted |= {name for name in names if name.startswith("tokenizer/")}
    for part in PARTS:
        inside = {n.removeprefix(f"{part}/") for n in names if n.startswith(f"{part}/")}
        wanted |= {f"{part}/{name}" for name in choose_variant(inside)}
        wanted |= names & {f"{part}/config.json"}
    return wanted


def _check_choice(repo_id: str, wanted: set[str], names: Iterable[str]) -> None:
    if "model_index.json" not in wanted:
        raise WeightsError(f"{repo_id} has no model_index.json, so it is not a diffusers pipeline.")
    for part in PARTS:
        if not any(n.startswith(f"{part}/") and n.endswith(".safetensors") for n in wanted):
            pickles = sorted(n for n in names if n.startswith(part) and n.endswith(PICKLES))
            found = f" (only the pickle {pickles[0]}, which is not read)" if pickles else ""
            raise WeightsError(f"{repo_id} has no safetensors in {part}/{found}.")


def _cached(repo_id: str, revision: str | None) -> Path | None:
    """The folder of a repository that was fetched before, if it is complete."""
    import huggingface_hub

    try:
        folder = Path(
            huggingface_hub.snapshot_download(repo_id, revision=revision, local_files_only=True)
        )
    except Exception:  # not there, in one of the client's many ways to say so
        return None
    whole = (folder / "model_index.json").is_file() and all(
        any(WEIGHTS.fullmatch(item.name) for item in (folder / part).glob("*")) for part in PARTS
    )
    return folder if whole else None


def say(text: str) -> None:
    """A line for the person at the terminal, beside what the program writes."""
    print(f"course: {text}", file=sys.stderr, flush=True)
