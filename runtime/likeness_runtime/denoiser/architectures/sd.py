"""Stable Diffusion 1.x and 2.x, and their small relatives: one CLIP text encoder."""

from __future__ import annotations

from typing import Any

from diffusers import StableDiffusionPipeline

from likeness_runtime.denoiser.architectures.architecture import Architecture, PublishedNames
from likeness_runtime.denoiser.architectures.attention import PROJECTIONS
from likeness_runtime.denoiser.architectures.expected import check_stable_diffusion, ddpm_of, limit_tokens
from likeness_runtime.denoiser.architectures.unet import UNetDenoiser
from likeness_runtime.denoiser.denoiser import Denoiser
from likeness_runtime.denoiser.latents import LatentSpace
from likeness_runtime.denoiser.noise_process import NoiseProcess
from likeness_runtime.denoiser.text import Conditioning, TextConditioner

SD2_TEXT_WIDTH, SD1_TEXT_WIDTH = 1024, 768
LOAD_WORD = 'pipe.load_textual_inversion("{embedding}", token="{token}")'


def unet_denoiser(pipeline: Any) -> UNetDenoiser:
    return UNetDenoiser(pipeline.unet, pipeline.vae_scale_factor)


def latent_space(pipeline: Any) -> LatentSpace:
    return LatentSpace(pipeline.vae)


def kohya_base_version(name: str, noise: NoiseProcess) -> str:
    """kohya marks models of v-prediction."""
    return name if noise.prediction_type == "epsilon" else f"{name}_v"


def modelspec_prediction_type(noise: NoiseProcess) -> str:
    return "epsilon" if noise.prediction_type == "epsilon" else "v"


def _text(pipeline: Any) -> TextConditioner:
    limit_tokens(pipeline.tokenizer, pipeline.text_encoder)
    return TextConditioner([pipeline.tokenizer], [pipeline.text_encoder], _last_states, pipeline.text_encoder.device)


def _last_states(outputs: list[Any]) -> Conditioning:
    return Conditioning(outputs[0][0], None)


def _published_names(denoiser: Denoiser, noise: NoiseProcess) -> PublishedNames:
    assert isinstance(denoiser, UNetDenoiser)
    text_width = int(denoiser.network.config.cross_attention_dim)
    is_sd2 = text_width == SD2_TEXT_WIDTH
    return PublishedNames(
        family="sd2" if is_sd2 else "sd1",
        kohya_base_version=kohya_base_version("sd_v2" if is_sd2 else "sd_v1", noise),
        kohya_v2=is_sd2,
        modelspec_architecture=_modelspec_architecture(text_width, noise),
        modelspec_prediction_type=modelspec_prediction_type(noise),
        target_modules=PROJECTIONS,
        embedding_keys=(),
        load_embedding=LOAD_WORD,
    )


def _modelspec_architecture(text_width: int, noise: NoiseProcess) -> str:
    if text_width == SD2_TEXT_WIDTH:
        return "stable-diffusion-v2-768-v" if noise.prediction_type == "v_prediction" else "stable-diffusion-v2-512"
    return "stable-diffusion-v1" if text_width == SD1_TEXT_WIDTH else f"latent-diffusion-{text_width}"


STABLE_DIFFUSION = Architecture(
    pipeline_class=StableDiffusionPipeline,
    check=check_stable_diffusion,
    denoiser=unet_denoiser,
    text=_text,
    noise=ddpm_of,
    latent_space=latent_space,
    published_names=_published_names,
    left_out={"safety_checker": None, "feature_extractor": None},
)
