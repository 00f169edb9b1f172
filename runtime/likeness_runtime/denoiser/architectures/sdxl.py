"""Stable Diffusion XL: two CLIP text encoders, and a summary of the text beside its states."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline

from likeness_runtime.denoiser.architectures.architecture import Architecture, PublishedNames
from likeness_runtime.denoiser.architectures.attention import PROJECTIONS
from likeness_runtime.denoiser.architectures.expected import check_stable_diffusion, ddpm_of, limit_tokens
from likeness_runtime.denoiser.architectures.sd import (
    kohya_base_version,
    latent_space,
    modelspec_prediction_type,
    unet_denoiser,
)
from likeness_runtime.denoiser.denoiser import Denoiser
from likeness_runtime.denoiser.noise_process import NoiseProcess
from likeness_runtime.denoiser.text import Conditioning, TextConditioner

EMBEDDING_KEYS = ("clip_l", "clip_g")
LOAD_WORD_PAIR = """\
words = safetensors.torch.load_file("{embedding}")
pipe.load_textual_inversion(words["clip_l"], "{token}", text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer)
pipe.load_textual_inversion(words["clip_g"], "{token}", text_encoder=pipe.text_encoder_2, tokenizer=pipe.tokenizer_2)"""


def _text(pipeline: Any) -> TextConditioner:
    tokenizers = [pipeline.tokenizer, pipeline.tokenizer_2]
    encoders = [pipeline.text_encoder, pipeline.text_encoder_2]
    for tokenizer, encoder in zip(tokenizers, encoders, strict=True):
        limit_tokens(tokenizer, encoder)
    return TextConditioner(
        tokenizers,
        encoders,
        _states_and_summary,
        pipeline.text_encoder.device,
        zeroes_empty_prompts=bool(pipeline.config.get("force_zeros_for_empty_prompt", False)),
    )


def _states_and_summary(outputs: list[Any]) -> Conditioning:
    """The last layer but one of both encoders, and the second one's projected summary."""
    return Conditioning(torch.cat([output.hidden_states[-2] for output in outputs], dim=-1), outputs[1][0])


def _published_names(_denoiser: Denoiser, noise: NoiseProcess) -> PublishedNames:
    return PublishedNames(
        family="sdxl",
        kohya_base_version=kohya_base_version("sdxl_base_v1-0", noise),
        kohya_v2=False,
        modelspec_architecture="stable-diffusion-xl-v1-base",
        modelspec_prediction_type=modelspec_prediction_type(noise),
        target_modules=PROJECTIONS,
        embedding_keys=EMBEDDING_KEYS,
        load_embedding=LOAD_WORD_PAIR,
    )


STABLE_DIFFUSION_XL = Architecture(
    pipeline_class=StableDiffusionXLPipeline,
    check=check_stable_diffusion,
    denoiser=unet_denoiser,
    text=_text,
    noise=ddpm_of,
    latent_space=latent_space,
    published_names=_published_names,
    embedding_keys=EMBEDDING_KEYS,
)
