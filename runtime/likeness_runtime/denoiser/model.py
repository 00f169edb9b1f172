"""A latent-diffusion model in diffusers layout, loaded and frozen. What is special about its family: `architectures/`.

Letters: c h w latent channels, height, width; a row is one latent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.utils.logging import disable_progress_bar as disable_diffusers_bar
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.utils.logging import disable_progress_bar as disable_transformers_bar

from likeness_api.reason import Reason
from likeness_runtime.denoiser.architectures.architecture import Architecture, PublishedNames
from likeness_runtime.denoiser.architectures.sd import STABLE_DIFFUSION
from likeness_runtime.denoiser.architectures.sdxl import STABLE_DIFFUSION_XL
from likeness_runtime.denoiser.denoiser import Denoiser
from likeness_runtime.denoiser.latents import LatentSpace
from likeness_runtime.denoiser.noise_process import NoiseProcess, prediction_losses
from likeness_runtime.denoiser.text import Conditioning, TextConditioner
from likeness_runtime.failure import RunError
from likeness_runtime.storage.model_folder import INDEX, components_of

ARCHITECTURES: dict[str, Architecture] = {
    each.pipeline_class.__name__: each for each in (STABLE_DIFFUSION, STABLE_DIFFUSION_XL)
}
"""By the class that a folder's `model_index.json` names."""
WEIGHT_FILES = ("*.safetensors",)
TOKENIZER_FILES = ("vocab.json", "tokenizer.json")
COMPONENT_FILES = {
    "unet": WEIGHT_FILES,
    "vae": WEIGHT_FILES,
    "text_encoder": WEIGHT_FILES,
    "text_encoder_2": WEIGHT_FILES,
    "tokenizer": TOKENIZER_FILES,
    "tokenizer_2": TOKENIZER_FILES,
}
"""One of these files must be there: transformers makes an empty tokenizer of an empty folder without a word."""


@dataclass(frozen=True)
class DiffusionModel:
    """What tuning and drawing need of a pipeline. Everything is in evaluation mode, nothing takes gradients."""

    pipeline: Any
    """diffusers' own, for sampling."""
    digest: str
    device: torch.device
    denoiser: Denoiser
    text: TextConditioner
    noise: NoiseProcess
    latent_space: LatentSpace
    names: PublishedNames

    @property
    def networks(self) -> list[nn.Module]:
        """All that has weights and takes part in a tuning step."""
        return [self.denoiser.network, *self.text.encoders]

    @property
    def resolution_px(self) -> int:
        """The side that the model was trained at."""
        return int(self.denoiser.latent_shape[-1] * self.pipeline.vae_scale_factor)

    def denoising_losses(self, z: Tensor, noise: Tensor, t: Tensor, text: Conditioning) -> Tensor:
        """Each row's diffusion loss, (rows,), of latents (rows, c, h, w) with this noise at times (rows,)."""
        predicted = self.denoiser.predict(self.noise.noised(z, noise, t), t, text)
        return prediction_losses(self.noise, predicted, z, noise, t)


def load_diffusion_model(
    folder: Path, digest: str, device: torch.device, image_dtype: torch.dtype | None = None
) -> DiffusionModel:
    """The frozen model of a folder in diffusers layout.

    Raises `RunError(ModelNotFound)` that names what is missing, or the field that tuning cannot deal with.

    The image networks are float32 on the CPU and bfloat16 on a GPU where `image_dtype` is None; the text encoders
    are small and stay float32, so that no step of the embedding is rounded away.
    """
    architecture = _architecture_of(folder)
    image_dtype = image_dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    disable_diffusers_bar()
    disable_transformers_bar()
    try:
        pipeline = architecture.pipeline_class.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            dtype={"default": torch.float32, "unet": image_dtype, "vae": image_dtype},
            **architecture.left_out,
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise RunError(Reason.MODEL_NOT_FOUND, f"{folder}: the model does not load: {reason:.500}") from None
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    for network in pipeline.components.values():
        if isinstance(network, nn.Module):
            network.eval().requires_grad_(False)
    return assembled(pipeline, digest, device, str(folder))


def assembled(pipeline: Any, digest: str, device: torch.device, folder: str) -> DiffusionModel:
    """The model of a loaded pipeline. Raises `RunError(ModelNotFound)`, whose message names `folder`."""
    architecture = ARCHITECTURES[type(pipeline).__name__]
    architecture.check(pipeline, folder)
    denoiser, noise = architecture.denoiser(pipeline), architecture.noise(pipeline, device)
    denoiser.adapter_sites()  # raises where there is nothing to tune
    return DiffusionModel(
        pipeline=pipeline,
        digest=digest,
        device=device,
        denoiser=denoiser,
        text=architecture.text(pipeline),
        noise=noise,
        latent_space=architecture.latent_space(pipeline),
        names=architecture.published_names(denoiser, noise),
    )


def device_named(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Raises `RunError(BadOrder)` where a GPU is ordered and none is there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise RunError(Reason.BAD_ORDER, "order.device is cuda, but this machine shows no CUDA device")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _architecture_of(folder: Path) -> Architecture:
    index = (folder / INDEX).read_bytes()
    components = components_of(index, str(folder))
    name = json.loads(index).get("_class_name")
    if name not in ARCHITECTURES:
        raise RunError(
            Reason.MODEL_NOT_FOUND,
            f"{folder}: {INDEX}: _class_name is {name!r}; expected one of {', '.join(sorted(ARCHITECTURES))}",
        )
    for component in sorted(components & COMPONENT_FILES.keys()):
        if not any(found for pattern in COMPONENT_FILES[component] for found in (folder / component).glob(pattern)):
            expected = " or ".join(COMPONENT_FILES[component])
            raise RunError(Reason.MODEL_NOT_FOUND, f"{folder}: {component}/ is without {expected}")
    return ARCHITECTURES[name]
