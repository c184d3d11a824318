"""CLIP: a text tower and an image tower that learn to agree on what a picture shows.

Source: Radford et al. 2021, "Learning transferable visual models from natural language
supervision", section 2.3 and figure 3. Configuration fields and parameter names are those of
transformers' `CLIPTextModel`, `CLIPVisionModel` and `CLIPModel`; `ConvImageEncoder` is the course's
own small image tower, in the spirit of the paper's ResNet towers, because a vision transformer
learns slowly from few pictures.

Shapes: `ids` int64 (B, L); text states (B, L, D); pictures float32 (B, 3, H, W) in [-1, 1].
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.models.base import Model, check_counts, check_types

TOWER_COUNTS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "num_channels",
    "image_size",
    "patch_size",
    "projection_dim",
)
ACTIVATIONS = {
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),  # OpenAI's CLIP, Stable Diffusion 1.x
    "gelu": F.gelu,
}


@dataclass(frozen=True)
class TextConfig:
    """Fields of `CLIPTextConfig`; the defaults are the text tower of Stable Diffusion 1.x."""

    vocab_size: int = 49408
    hidden_size: int = 768  # D, the width of the text states
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 77  # L, the longest prompt in tokens
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    projection_dim: int = 768
    pad_token_id: int | None = 1
    bos_token_id: int | None = 49406
    eos_token_id: int = 49407

    def __post_init__(self) -> None:
        _check_tower(self)


@dataclass(frozen=True)
class VisionConfig:
    """Fields of `CLIPVisionConfig`: a vision transformer over square patches."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    projection_dim: int = 512

    def __post_init__(self) -> None:
        _check_tower(self)


@dataclass(frozen=True)
class ConvConfig:
    """The course's convolutional image tower: `blocks` residual blocks a level, halving between."""

    channels: tuple[int, ...] = (32, 64, 128, 256)
    blocks: int = 1
    hidden_size: int = 256  # width of the pooled features
    image_size: int = 64
    norm_num_groups: int = 8


class TextEncoder(Model):
    """A causal transformer over tokens: `CLIPTextModel`.

    >>> encoder = TextEncoder(vocab_size=50, hidden_size=8, intermediate_size=16,
    ...     num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=5, eos_token_id=49)
    >>> encoder(torch.tensor([[3, 4, 49]])).shape
    torch.Size([1, 3, 8])
    """

    Config = TextConfig
    CLASS_NAME = "CLIPTextModel"
    WEIGHTS_NAME = "model.safetensors"
    config: TextConfig

    def __init__(self, config: TextConfig | None = None, **fields: Any) -> None:
        super().__init__(config, **fields)
        c = self.config
        self.embeddings = TextEmbeddings(c.vocab_size, c.max_position_embeddings, c.hidden_size)
        self.encoder = Transformer(c)
        self.final_layer_norm = nn.LayerNorm(c.hidden_size, eps=c.layer_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (B, L) -> text states (B, L, D), one for each token and what came before it."""
        if ids.shape[-1] > self.config.max_position_embeddings:
            raise ValueError(
                f"ids has {ids.shape[-1]} tokens a row; expected at most "
                f"{self.config.max_position_embeddings}. The tokenizer can truncate."
            )
        return self.final_layer_norm(self.encoder(self.embeddings(ids), causal=True))

    def pool(self, text_states: Tensor, ids: Tensor) -> Tensor:
        """The state at the first end-of-text token: it has seen the whole prompt. (B, D)."""
        if self.config.eos_token_id == 2:  # a quirk of old configurations, kept by transformers
            end = ids.argmax(dim=-1)
        else:
            end = (ids == self.config.eos_token_id).int().argmax(dim=-1)  # (B,)
        return text_states[torch.arange(len(ids), device=ids.device), end]

    @classmethod
    def from_config(cls, config: Any) -> TextEncoder:
        """Build from a transformers configuration, whose other fields do not shape this model."""
        return cls(_known_fields(TextConfig, config))

    def to_config(self) -> dict[str, Any]:
        """The configuration as transformers writes it."""
        return {
            "architectures": [self.CLASS_NAME],
            "model_type": "clip_text_model",
            "dtype": "float32",  # in memory, whatever the file holds; transformers would keep half
            **dataclasses.asdict(self.config),
        }

    @classmethod
    def convert_state_dict(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Files of older transformers prefix each name with `text_model.` and store a counter."""
        state = {k.removeprefix("text_model."): v for k, v in state.items()}
        state.pop("embeddings.position_ids", None)
        return state


class ImageEncoder(nn.Module):
    """A vision transformer: `CLIPVisionModel` up to its pooled output.

    Source: Dosovitskiy et al. 2021, "An image is worth 16x16 words"; CLIP adds a layer norm before
        it.
    """

    def __init__(self, config: VisionConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or VisionConfig()
        self.embeddings = PatchEmbeddings(c)
        # "layrnorm" is how transformers spells it.
        self.pre_layrnorm = nn.LayerNorm(c.hidden_size, eps=c.layer_norm_eps)
        self.encoder = Transformer(c)
        self.post_layernorm = nn.LayerNorm(c.hidden_size, eps=c.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> pooled features (B, D), the state of the class token."""
        x = self.encoder(self.pre_layrnorm(self.embeddings(pixels)))
        return self.post_layernorm(x[:, 0])


class ConvImageEncoder(nn.Module):
    """A small residual network: `blocks` pre-activation blocks a level, mean over positions."""

    def __init__(self, config: ConvConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or ConvConfig()
        self.stem = nn.Conv2d(3, c.channels[0], 4, stride=2, padding=1)
        levels: list[nn.Module] = []
        before = c.channels[0]
        for i, width in enumerate(c.channels):
            if i:
                levels.append(nn.Conv2d(before, width, 2, stride=2))
            levels += [ConvBlock(width, c.norm_num_groups) for _ in range(c.blocks)]
            before = width
        self.levels = nn.ModuleList(levels)
        self.norm_out = nn.GroupNorm(c.norm_num_groups, before)
        self.proj_out = nn.Linear(2 * before, c.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> pooled features (B, hidden_size)."""
        x = self.stem(pixels)
        for level in self.levels:
            x = level(x)
        x = F.silu(self.norm_out(x)).flatten(2)  # (B, C, positions)
        return self.proj_out(torch.cat([x.mean(-1), x.max(-1).values], dim=-1))


class ConvBlock(nn.Module):
    """Pre-activation residual block (He et al. 2016)."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


@dataclass(frozen=True)
class CLIPConfig:
    """Both towers and the size of the space where they meet."""

    text_config: TextConfig = field(default_factory=TextConfig)
    vision_config: VisionConfig | ConvConfig = field(default_factory=VisionConfig)
    projection_dim: int = 512
    logit_scale_init_value: float = math.log(1 / 0.07)  # the paper's temperature, 0.07


class CLIP(Model):
    """Two towers, two projections, one learned temperature: `CLIPModel`."""

    Config = CLIPConfig
    CLASS_NAME = "CLIPModel"
    WEIGHTS_NAME = "model.safetensors"
    config: CLIPConfig

    def __init__(self, config: CLIPConfig | None = None, **fields: Any) -> None:
        super().__init__(config, **fields)
        c = self.config
        self.text_model = TextEncoder(c.text_config)
        self.vision_model: nn.Module = (
            ConvImageEncoder(c.vision_config)
            if isinstance(c.vision_config, ConvConfig)
            else ImageEncoder(c.vision_config)
        )
        self.visual_projection = nn.Linear(
            c.vision_config.hidden_size, c.projection_dim, bias=False
        )
        self.text_projection = nn.Linear(c.text_config.hidden_size, c.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(c.logit_scale_init_value))

    def embed_text(self, ids: Tensor) -> Tensor:
        """Token ids (B, L) -> unit vectors (B, projection_dim)."""
        states = self.text_model(ids)
        return F.normalize(self.text_projection(self.text_model.pool(states, ids)), dim=-1)

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] -> unit vectors (B, projection_dim)."""
        return F.normalize(self.visual_projection(self.vision_model(pixels)), dim=-1)

    def forward(self, ids: Tensor, pixels: Tensor) -> Tensor:
        """Similarities (pictures, texts): cosine times the learned scale exp(logit_scale)."""
        return self.logit_scale.exp() * self.embed_image(pixels) @ self.embed_text(ids).T

    @classmethod
    def from_config(cls, config: Any) -> CLIP:
        """Build from a dictionary with nested `text_config` and `vision_config`."""
        vision = dict(config.get("vision_config", {}))
        tower: VisionConfig | ConvConfig
        if "channels" in vision:
            tower = ConvConfig(**{**vision, "channels": tuple(vision["channels"])})
        else:
            tower = _known_fields(VisionConfig, vision)
        text = _known_fields(TextConfig, config.get("text_config", {}))
        scalars = {
            k: config[k] for k in ("projection_dim", "logit_scale_init_value") if k in config
        }
        return cls(CLIPConfig(text_config=text, vision_config=tower, **scalars))

    @classmethod
    def convert_state_dict(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Files of older transformers store a counter in each tower."""
        return {k: v for k, v in state.items() if not k.endswith(".position_ids")}

    def to_config(self) -> dict[str, Any]:
        """The configuration as transformers writes it."""
        return {
            "architectures": [self.CLASS_NAME],
            "model_type": "clip",
            **dataclasses.asdict(self.config),
        }


def contrastive_loss(logits: Tensor) -> Tensor:
    """Each picture must find its text among the batch's, and each text its picture.

    The mean of two cross-entropies over a (B, B) table whose diagonal holds the true pairs
    (Radford et al. 2021, figure 3).
    """
    target = torch.arange(len(logits), device=logits.device)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


# --- the transformer that both towers use ---------------------------------------------------


class Transformer(nn.Module):
    """A stack of pre-norm layers."""

    def __init__(self, config: TextConfig | VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerLayer(config) for _ in range(config.num_hidden_layers)
        )

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        for layer in self.layers:
            x = layer(x, causal)
        return x


class TransformerLayer(nn.Module):
    """Attention, then a two-layer network at each position; each is added to its input."""

    def __init__(self, config: TextConfig | VisionConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.self_attn = SelfAttention(width, config.num_attention_heads)
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, config.intermediate_size, config.hidden_act)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        x = x + self.self_attn(self.layer_norm1(x), causal)
        return x + self.mlp(self.layer_norm2(x))


class SelfAttention(nn.Module):
    """Multi-head self-attention; `causal` hides what comes later."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        q, k, v = (
            proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, L, d)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(out.transpose(1, 2).flatten(-2))


class MLP(nn.Module):
    """Widen, bend, narrow."""

    def __init__(self, width: int, inner: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        return self.fc2(self.activation(self.fc1(x)))


class TextEmbeddings(nn.Module):
    """A learned vector for each token plus one for each position."""

    def __init__(self, vocab_size: int, positions: int, width: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.position_embedding = nn.Embedding(positions, width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)  # as in OpenAI's CLIP
        nn.init.normal_(self.position_embedding.weight, std=0.01)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)."""
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[-1]]


class PatchEmbeddings(nn.Module):
    """Cuts the picture into patches, one vector each, with a class token in front."""

    def __init__(self, c: VisionConfig) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(c.hidden_size) * c.hidden_size**-0.5)
        self.patch_embedding = nn.Conv2d(
            c.num_channels, c.hidden_size, c.patch_size, stride=c.patch_size, bias=False
        )
        patches = (c.image_size // c.patch_size) ** 2
        self.position_embedding = nn.Embedding(patches + 1, c.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + patches, D)."""
        x = self.patch_embedding(pixels).flatten(2).transpose(1, 2)  # (B, patches, D)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)
        return x + self.position_embedding.weight


def _known_fields(cls: type, values: Any) -> Any:
    names = {f.name for f in dataclasses.fields(cls)}
    fields = {k: v for k, v in values.items() if k in names}
    check_types(cls, fields)
    return cls(**fields)


def _check_tower(config: TextConfig | VisionConfig) -> None:
    check_counts(config, [name for name in TOWER_COUNTS if hasattr(config, name)])
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(
            f"hidden_act is {config.hidden_act!r}; expected {' or '.join(ACTIVATIONS)}."
        )
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"hidden_size is {config.hidden_size}; expected a multiple of num_attention_heads, "
            f"{config.num_attention_heads}."
        )
