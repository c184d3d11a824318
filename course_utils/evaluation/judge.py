"""The judge: a CLIP that looks at pictures and says what they show.

It was trained apart from everything that draws, with another seed and another architecture, and no
generator was ever conditioned on it; so a picture that pleases it was not made to please it. Its
files are pinned by their hash: scores of two models compare only if the same judge gave them.

The judge reads one caption for each object, style and background. With s(x, c) the cosine of
picture and caption and tau the learned temperature, it takes

    p(object, style, background | x) = softmax over all captions of s(x, caption) / tau,

which is what CLIP's contrastive loss teaches (Radford et al. 2021, figure 3, with captions that are
equally likely), and every decision is a sum over what was not asked. That reads real pictures
better than the mean of the captions' vectors (their section 3.1.4), styles above all: the captions
of one object lie apart by style, and a mean forgets that.

To read the captions of 804 objects takes half a minute on two cores, so what the text tower says of
them lies beside the weights, in half precision. It follows from the pinned files and is used only
with them.

`python -m course_utils.evaluation` prints the hash of the judge's files, and
`python -m course_utils.evaluation --captions` computes that file anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.data.captions import BACKGROUNDS, STYLES, full_caption
from course_utils.files import write_atomically
from course_utils.models.clip import CLIP, VisionConfig
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.weight_files import WeightsError

FOLDER = Path(__file__).resolve().parents[1] / "weights" / "judge"
FILES = (
    "concepts.json",
    "config.json",
    "model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
)
JUDGE_SHA256 = "04fab4c7854c1a93cd58fd3e68245005c04eafe2c2fbaedbe8990b65e3e23858"
"""What `folder_sha256` gives for the judge that the course's figures were measured with."""

CAPTIONS_SHA256 = "1be671a7456ca6048b927faf892a13c6ee18addf32dee3d89bf578df04bdb163"
"""Of the pinned judge's `CAPTIONS` file: another one beside it is not read."""

CAPTIONS = "captions.safetensors"  # (concepts, styles, backgrounds, D), from the files above
BATCH = 64  # pictures that the image tower sees at once


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What the judge says of B pictures.

    Attributes:
        features: (B, D) unit vectors.
        objects: (B, C) log-probability of each concept.
        styles: (B, 4) log-probability of each style, of the asked concept if one was asked for.
    """

    features: Tensor
    objects: Tensor
    styles: Tensor

    @property
    def concept(self) -> Tensor:
        """(B,) index of the likeliest concept."""
        return self.objects.argmax(dim=1)

    @property
    def style(self) -> Tensor:
        """(B,) index into `STYLES` of the likeliest style."""
        return self.styles.argmax(dim=1)

    def top(self, k: int) -> Tensor:
        """(B, k) concepts, the likeliest first; all of them where there are fewer than k."""
        return self.objects.topk(min(k, self.objects.shape[1]), dim=1).indices


class Judge:
    """Looks at pictures (B, 3, 64, 64) in [-1, 1]; larger ones are averaged down to its size.

    Args:
        clip: the two towers, in evaluation mode.
        tokenizer: of the captions.
        concepts: CLDR names of what it can tell apart.
        sha256: of the files it came from, for reports.
        texts: what `text_features` gives, if it is known; else it is computed when it is needed.
    """

    def __init__(
        self,
        clip: CLIP,
        tokenizer: Tokenizer,
        concepts: Sequence[str],
        sha256: str = "",
        texts: Tensor | None = None,
    ) -> None:
        if not concepts:
            raise ValueError("concepts is empty; expected the names that the judge can tell apart")
        self.clip = clip.eval()
        self.tokenizer = tokenizer
        self.concepts = tuple(concepts)
        self.sha256 = sha256
        self._texts = texts

    @classmethod
    def load(cls, folder: str | Path | None = None, sha256: str | None = JUDGE_SHA256) -> Judge:
        """Read the judge, and make sure that it is the one that was pinned.

        Args:
            folder: holds `FILES`; by default the judge that the course ships.
            sha256: what `folder_sha256` must give; None takes any judge.

        Raises:
            WeightsError: a file is missing or damaged, or it is another judge.
        """
        folder = FOLDER if folder is None else Path(folder)
        found = folder_sha256(folder)
        if sha256 is not None and found != sha256:
            raise WeightsError(
                f"The judge in {folder} is not the pinned one: its files hash to "
                f"{found[:12]}..., expected {sha256[:12]}... Scores of different judges do not "
                "compare. Restore the folder from the repository, or say that you mean this judge: "
                "Judge.load(folder, sha256=None), `course evaluate --judge FOLDER`."
            )
        try:
            text = (folder / "concepts.json").read_text(encoding="utf-8")
            concepts = [
                c if isinstance(c, str) else c["name"] for c in json.loads(text)["concepts"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{folder / 'concepts.json'} is not a list of concepts ({error!r})"
            ) from error
        clip = CLIP.from_pretrained(folder)
        tokenizer = Tokenizer.from_pretrained(folder / "tokenizer")
        return cls(clip, tokenizer, concepts, found, read_captions(folder, found))

    def among(self, concepts: Sequence[str]) -> Judge:
        """The same judge, choosing among these concepts only.

        Raises:
            ValueError: one that it was not trained on.
        """
        strange = [name for name in concepts if name not in self.concepts]
        if strange:
            more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
            raise ValueError(
                f"concepts holds {', '.join(map(repr, strange[:3]))}{more}, which the judge was "
                f"not trained on; it knows {len(self.concepts)} concepts"
            )
        texts = None
        if self._texts is not None:
            place = {name: i for i, name in enumerate(self.concepts)}
            texts = self._texts[[place[name] for name in concepts]]
        return Judge(self.clip, self.tokenizer, concepts, self.sha256, texts)

    def to(self, device: torch.device | str) -> Self:
        """Move the networks; everything that is returned stays on the CPU."""
        self.clip.to(device)
        return self

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] -> unit vectors (B, D) float32.

        Raises:
            ValueError: another shape, or a picture smaller than the judge's.
        """
        tower = self.clip.config.vision_config
        size = tower.image_size
        if pixels.ndim != 4 or pixels.shape[1] != 3 or min(pixels.shape[2:]) < size:
            raise ValueError(
                f"pixels has shape {tuple(pixels.shape)}; expected (B, 3, H, W) with H and W of at "
                f"least {size}"
            )
        parts = [torch.empty(0, self.clip.config.projection_dim)]
        for part in pixels.split(BATCH):
            part = part.to(self.clip.device, torch.float32).clamp(-1, 1)
            if part.shape[2:] != (size, size):
                part = F.interpolate(part, (size, size), mode="area")
            if not isinstance(tower, VisionConfig):  # convolutions are faster so on a CPU
                part = part.contiguous(memory_format=torch.channels_last)
            parts.append(self.clip.embed_image(part).cpu())
        return torch.cat(parts)

    @torch.inference_mode()
    def text_features(self) -> Tensor:
        """A unit vector for each full caption: (concepts, styles, backgrounds, D); kept."""
        if self._texts is None:
            captions = [
                full_caption(name, style, background)
                for name in self.concepts
                for style in STYLES
                for background in BACKGROUNDS
            ]
            parts = []
            for start in range(0, len(captions), 512):
                ids = self.tokenizer(captions[start : start + 512])
                # What follows the first end token is never looked at: attention is causal.
                is_end = ids == self.tokenizer.eos_token_id
                length = int(is_end.int().argmax(dim=1).max()) + 1
                parts.append(self.clip.embed_text(ids[:, :length].to(self.clip.device)).cpu())
            shape = (len(self.concepts), len(STYLES), len(BACKGROUNDS), -1)
            self._texts = torch.cat(parts).view(shape)
        return self._texts

    def classify(self, pixels: Tensor, asked: Tensor | Sequence[int] | None = None) -> Verdicts:
        """Say what pictures show.

        Args:
            pixels: (B, 3, H, W) in [-1, 1].
            asked: (B,) index into `concepts` of what each picture should show. The style is then
                read with that object's captions alone; otherwise over all objects.
        """
        features = self.features(pixels)
        scale = float(self.clip.logit_scale.detach().exp())
        texts = self.text_features().flatten(0, 2)  # (C * 4 * 10, D)
        shape = (-1, len(self.concepts), len(STYLES), len(BACKGROUNDS))
        objects, styles = [], []
        for part in features.split(BATCH):
            logits = scale * part @ texts.T
            joint = logits.log_softmax(dim=1).view(shape)  # (B, C, 4, 10)
            by_style = joint.logsumexp(dim=3)  # (B, C, 4)
            objects.append(by_style.logsumexp(dim=2))
            styles.append(by_style)
        every = torch.cat(styles)  # (B, C, 4)
        if asked is None:
            chosen = every.logsumexp(dim=1)
        else:
            asked = torch.as_tensor(asked)
            if asked.shape != (len(every),):
                raise ValueError(f"asked has shape {tuple(asked.shape)}; expected ({len(every)},)")
            chosen = every[torch.arange(len(every)), asked]
        return Verdicts(features, torch.cat(objects), chosen.log_softmax(dim=1))

    def object_scores(self, pixels: Tensor) -> Tensor:
        """(B, concepts): log p(object | picture), over all styles and backgrounds."""
        return self.classify(pixels).objects

    def style_scores(self, pixels: Tensor, asked: Tensor | Sequence[int] | None = None) -> Tensor:
        """(B, 4): log p(style | picture), or log p(style | picture, asked object)."""
        return self.classify(pixels, asked).styles


def read_captions(folder: Path, sha256: str) -> Tensor | None:
    """The text features that lie beside a judge, if they were computed from these very files.

    Args:
        folder: the judge's.
        sha256: what `folder_sha256` gives for it.

    Returns:
        (concepts, styles, backgrounds, D) float32, or None.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CAPTIONS
    try:
        if sha256 == JUDGE_SHA256:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest != CAPTIONS_SHA256:
                return None
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("judge") != sha256:
                return None
            return F.normalize(file.get_tensor("captions").float(), dim=-1)
    except (OSError, SafetensorError):
        return None


def write_captions(folder: Path) -> Path:
    """Compute the text features of a judge and put them beside it, in half precision."""
    from safetensors.torch import save

    (folder / CAPTIONS).unlink(missing_ok=True)
    judge = Judge.load(folder, sha256=None)
    tensors = {"captions": judge.text_features().half().contiguous()}
    write_atomically(folder / CAPTIONS, save(tensors, metadata={"judge": judge.sha256}))
    return folder / CAPTIONS


def folder_sha256(folder: str | Path) -> str:
    """One hexadecimal digest for all of `FILES`; how git writes line ends does not matter.

    Raises:
        WeightsError: a file is missing.
    """
    folder = Path(folder)
    digest = hashlib.sha256()
    for name in FILES:
        path = folder / name
        if not path.is_file():
            raise WeightsError(
                f"The judge's folder {folder} has no {name}. Restore it from the repository, or "
                "train a judge with `course train judge`."
            )
        content = path.read_bytes()
        if path.suffix != ".safetensors":
            content = content.replace(b"\r\n", b"\n")
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()
