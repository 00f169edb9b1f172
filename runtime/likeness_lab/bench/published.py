"""SD 1.5, SD 2.1 and SDXL as published, built in memory with weights of no meaning.

Sources: the `config.json` files of stable-diffusion-v1-5/stable-diffusion-v1-5, stabilityai/stable-diffusion-2-1 and
stabilityai/stable-diffusion-xl-base-1.0; openai/clip-vit-large-patch14 for the image tower.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from likeness_runtime.denoiser.model import DiffusionModel, assembled
from likeness_runtime.denoiser.tiny import clip_tokenizer
from likeness_runtime.method.encoder import Encoder, shape_for

TOKENS = 77
PUBLISHED_RANK = 4

SD_BLOCKS: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
}
UNETS: dict[str, dict[str, Any]] = {
    "SD 1.5": {**SD_BLOCKS, "sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "SD 2.1": {
        **SD_BLOCKS,
        "sample_size": 96,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    "SDXL": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "sample_size": 128,
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
CLIP_L: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
CLIP_H: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
}
CLIP_G: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
TEXTS = {"SD 1.5": [CLIP_L], "SD 2.1": [CLIP_H], "SDXL": [CLIP_L, CLIP_G]}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
TOWER: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 768,
}
"""CLIP ViT-L/14's image tower."""


def build_published(
    name: str, device: torch.device, sample_size: int | None = None
) -> tuple[DiffusionModel, Encoder, Any]:
    """The model in memory with weights of no meaning, an encoder for it, and CLIP ViT-L/14's image tower."""
    changed = {"sample_size": sample_size} if sample_size else {}
    with torch.device(device), built_as(torch.bfloat16):
        unet: Any = UNet2DConditionModel(**UNETS[name] | changed)
        vae: Any = AutoencoderKL(**VAE)
        tower: Any = CLIPVisionModelWithProjection(CLIPVisionConfig(**TOWER))
    with torch.device(device):
        texts = [_text_encoder(config) for config in TEXTS[name]]
    model = _model(name, device, unet, vae, texts)
    for network in (unet, vae, *texts, tower):
        network.eval().requires_grad_(False)
    with torch.device(device):
        encoder = Encoder(shape_for(model, tower, rank=PUBLISHED_RANK, width=512, layers=3, heads=8))
    return model, encoder, tower


def _model(name: str, device: torch.device, unet: Any, vae: Any, texts: list[Any]) -> DiffusionModel:
    prediction_type = "v_prediction" if name == "SD 2.1" else "epsilon"
    scheduler: Any = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    tokenizer = clip_tokenizer(TOKENS)
    shared = {"vae": vae, "unet": unet, "tokenizer": tokenizer, "text_encoder": texts[0], "scheduler": scheduler}
    if len(texts) > 1:
        pipeline: Any = StableDiffusionXLPipeline(**shared, tokenizer_2=tokenizer, text_encoder_2=texts[1])
    else:
        pipeline = StableDiffusionPipeline(
            **shared, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    return assembled(pipeline, "0" * 64, device, name)


def _text_encoder(config: dict[str, Any]) -> Any:
    with_projection = "projection_dim" in config
    chosen = CLIPTextConfig(**config, vocab_size=49408, max_position_embeddings=TOKENS, eos_token_id=49407)
    return (CLIPTextModelWithProjection if with_projection else CLIPTextModel)(chosen)


@contextmanager
def built_as(dtype: torch.dtype) -> Iterator[None]:
    """Weights are born in `dtype`: SDXL's UNet in float32 first would take ten gigabytes."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
