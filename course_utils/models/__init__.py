"""The networks, one file each, with the configuration fields and parameter names of diffusers and
transformers, so that weights move between the three by `load_state_dict(strict=True)`."""

from course_utils.models.clip import CLIP, ConvImageEncoder, ImageEncoder, TextEncoder
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.unet import UNet
from course_utils.models.vae import VAE
from course_utils.models.weight_files import WeightsError

__all__ = [
    "CLIP",
    "VAE",
    "ConvImageEncoder",
    "ImageEncoder",
    "TextEncoder",
    "Tokenizer",
    "UNet",
    "WeightsError",
]
