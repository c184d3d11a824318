"""A pipeline that is small enough for tests, with random weights."""

from __future__ import annotations

from typing import Any

CAPTIONS = (
    "a cat face, 3d style, on a blue background",
    "a red apple, flat style, on a white background",
    "dog noto green background",
    "a picture of a rocket",
)


def tiny_pipeline(seed: int = 0, prediction_type: str = "v_prediction", **schedule: Any):
    """A text-to-image pipeline of a few thousand random numbers that draws 64x64 pictures.

    Args:
        seed: of the random weights.
        prediction_type, schedule: of its `NoiseSchedule.scaled_linear`.
    """
    import torch

    from course_utils.models import VAE, TextEncoder, Tokenizer, UNet
    from course_utils.pipeline import Pipeline
    from course_utils.schedules import NoiseSchedule
    from course_utils.vocabulary import Concept, Vocabulary

    tokenizer = Tokenizer.train(CAPTIONS * 2, vocab_size=560, model_max_length=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_encoder = TextEncoder(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
        unet = UNet(
            sample_size=8,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=4,
        )
        vae = VAE(
            block_out_channels=(4, 8, 8, 8),
            layers_per_block=1,
            norm_num_groups=4,
            sample_size=64,
            scaling_factor=0.7,
        )
    return Pipeline(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        schedule=NoiseSchedule.scaled_linear(prediction_type=prediction_type, **schedule),
        vocabulary=Vocabulary(
            subset="starter",
            concepts=(
                Concept("cat face", ("cat",)),
                Concept("red apple", ("apple",)),
                Concept("dog"),
                Concept("rocket"),
            ),
            styles=("3d", "flat", "noto"),
            backgrounds=("blue", "white", "green"),
            held_out=(("dog", "3d"),),
            words=frozenset(word for caption in CAPTIONS for word in caption.split()),
        ),
        name="tiny",
    )
