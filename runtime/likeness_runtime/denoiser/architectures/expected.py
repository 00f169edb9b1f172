"""The configurations of Stable Diffusion folders that can be tuned; others are refused before tuning begins.

diffusers loads the others, too. Tuned on them, a subject would be learned for another noise than the one
it is drawn from, or for latents of another scale.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDPMScheduler

from likeness_api.reason import Reason
from likeness_runtime.denoiser.noise_process import DDPM, PredictionType
from likeness_runtime.failure import RunError
from likeness_runtime.storage.model_folder import INDEX

SCHEDULER, UNET, VAE = "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json"
PREDICTION_TYPES: dict[str, PredictionType] = {"epsilon": "epsilon", "v_prediction": "v_prediction"}


def check_stable_diffusion(pipeline: Any, folder: str) -> None:
    """Raises `RunError(ModelNotFound)` with file, field, what came and what was expected."""
    _check_noise(pipeline.scheduler, folder)
    _check_latents(pipeline.unet.config, pipeline.vae.config, folder)
    _check_square(pipeline.unet.config.sample_size, f"{folder}: {UNET}")


def ddpm_of(pipeline: Any, device: torch.device) -> DDPM:
    """The process that the model was trained with, which may be sampled with any scheduler."""
    training = DDPMScheduler.from_config(pipeline.scheduler.config)
    return DDPM(
        training.alphas_cumprod.to(device, torch.float32), PREDICTION_TYPES[str(training.config.prediction_type)]
    )


def limit_tokens(tokenizer: Any, text_encoder: Any) -> None:
    """Where a tokenizer names no length, or one that its text encoder has no positions for, it gets the encoder's."""
    positions = int(text_encoder.config.max_position_embeddings)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)


def _check_noise(scheduler: Any, folder: str) -> None:
    if not hasattr(scheduler, "alphas_cumprod"):  # EDM and flow matching have sigmas alone
        raise _unexpected(
            f"{folder}: {INDEX}",
            "scheduler",
            type(scheduler).__name__,
            "one of a model that was trained with DDPM's noise, such as 'DDIMScheduler'",
        )
    name = scheduler.config.get("prediction_type", "epsilon")
    if name not in PREDICTION_TYPES:
        expected = " or ".join(repr(each) for each in PREDICTION_TYPES)
        raise _unexpected(f"{folder}: {SCHEDULER}", "prediction_type", name, expected)


def _check_latents(unet: Any, vae: Any, folder: str) -> None:
    for field in ("latents_mean", "latents_std"):
        came = vae.get(field)
        if came is not None:
            raise _unexpected(
                f"{folder}: {VAE}", field, came, "none: latents are shifted and scaled by two numbers, not by channel"
            )
    if unet.in_channels != vae.latent_channels:
        raise _unexpected(
            f"{folder}: {UNET}",
            "in_channels",
            unet.in_channels,
            f"{vae.latent_channels}, the latent_channels of {VAE}: models for inpainting, editing or upscaling, which"
            " read a picture beside the noise, cannot be tuned",
        )


def _check_square(size: Any, file: str) -> None:
    sides = [size] if isinstance(size, int) else size
    if not isinstance(sides, (list, tuple)) or len({*sides}) != 1 or not isinstance(sides[0], int) or sides[0] < 1:
        raise _unexpected(
            file, "sample_size", size, "a number, or an equal height and width: subjects are tuned on squares"
        )


def _unexpected(file: str, field: str, came: object, expected: str) -> RunError:
    return RunError(Reason.MODEL_NOT_FOUND, f"{file}: {field} is {came!r:.100}; expected {expected}")
