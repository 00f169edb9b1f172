"""A latent-diffusion model in diffusers layout, loaded and frozen: SD 1.x, SD 2.x, SDXL, or a small relative.

Letters: b batch, n tokens, d text width, c h w latent channels, height, width.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils.logging import disable_progress_bar as disable_diffusers_bar
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers.utils.logging import disable_progress_bar as disable_transformers_bar

from likeness_api.reason import Reason
from likeness_runtime.failure import RunError
from likeness_runtime.storage.model_folder import INDEX, components_of

PIPELINES: dict[str, Any] = {
    "StableDiffusionPipeline": StableDiffusionPipeline,
    "StableDiffusionXLPipeline": StableDiffusionXLPipeline,
}
WEIGHTS = ("*.safetensors",)
VOCABULARY = ("vocab.json", "tokenizer.json")
NEEDED = {
    "unet": WEIGHTS,
    "vae": WEIGHTS,
    "text_encoder": WEIGHTS,
    "text_encoder_2": WEIGHTS,
    "tokenizer": VOCABULARY,
    "tokenizer_2": VOCABULARY,
}
"""One of these files must be there: transformers makes an empty tokenizer of an empty folder without a word."""

Family = Literal["sd1", "sd2", "sdxl"]


@dataclass(frozen=True)
class DiffusionModel:
    """What tuning and drawing need of a pipeline. Everything is in evaluation mode, nothing takes gradients."""

    pipeline: Any
    digest: str
    device: torch.device
    alphas_cumprod: Tensor
    """(T,) float32, on the device: the signal's share of the variance at each training timestep."""
    prediction_type: Literal["epsilon", "v_prediction"]

    @property
    def unet(self) -> Any:
        return self.pipeline.unet

    @property
    def vae(self) -> Any:
        return self.pipeline.vae

    @property
    def tokenizers(self) -> list[Any]:
        return [self.pipeline.tokenizer] + ([self.pipeline.tokenizer_2] if self.is_xl else [])

    @property
    def text_encoders(self) -> list[Any]:
        return [self.pipeline.text_encoder] + ([self.pipeline.text_encoder_2] if self.is_xl else [])

    @property
    def token_tables(self) -> list[Tensor]:
        """The frozen token table T of each text encoder, (V, d)."""
        return [encoder.get_input_embeddings().weight for encoder in self.text_encoders]

    @property
    def is_xl(self) -> bool:
        return isinstance(self.pipeline, StableDiffusionXLPipeline)

    @property
    def zeroes_empty_prompts(self) -> bool:
        """SDXL's pipeline may take zeros for the text of no words, where guidance leads away from it."""
        return bool(getattr(self.pipeline.config, "force_zeros_for_empty_prompt", False))

    @property
    def family(self) -> Family:
        if self.is_xl:
            return "sdxl"
        return "sd2" if self.unet.config.cross_attention_dim == 1024 else "sd1"

    @property
    def resolution_px(self) -> int:
        """The side that the model was trained at."""
        return int(self.unet.config.sample_size * self.pipeline.vae_scale_factor)


def load(folder: Path, digest: str, device: torch.device, image_dtype: torch.dtype | None = None) -> DiffusionModel:
    """Raises `RunError(ModelNotFound)` saying what is missing.

    The image networks are float32 on the CPU and bfloat16 on a GPU where nothing else is asked for; the text encoders
    are small and stay float32, so that no step of the embedding is rounded away.
    """
    pipeline_class = _pipeline_class(folder)
    image_dtype = image_dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    more = {} if pipeline_class is StableDiffusionXLPipeline else {"safety_checker": None, "feature_extractor": None}
    disable_diffusers_bar()
    disable_transformers_bar()
    try:
        pipeline = pipeline_class.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            dtype={"default": torch.float32, "unet": image_dtype, "vae": image_dtype},
            **more,
        )
    except (OSError, ValueError, SafetensorError) as error:
        told = " ".join(str(error).split())
        raise RunError(Reason.MODEL_NOT_FOUND, f"{folder}: the model does not load: {told:.500}") from None
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    for network in pipeline.components.values():
        if isinstance(network, nn.Module):
            network.eval().requires_grad_(False)
    noise = DDPMScheduler.from_config(pipeline.scheduler.config)
    return DiffusionModel(
        pipeline=pipeline,
        digest=digest,
        device=device,
        alphas_cumprod=noise.alphas_cumprod.to(device, torch.float32),
        prediction_type=_prediction_type(folder, noise.config.prediction_type),
    )


def device_named(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Raises `RunError(BadOrder)` where a GPU is ordered and none is there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise RunError(Reason.BAD_ORDER, "order.device is cuda, but this machine shows no CUDA device")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _pipeline_class(folder: Path) -> Any:
    index = (folder / INDEX).read_bytes()
    components = components_of(index, str(folder))
    name = json.loads(index).get("_class_name")
    if name not in PIPELINES:
        raise RunError(
            Reason.MODEL_NOT_FOUND, f"{folder}: {INDEX} says {name!r}; expected one of {', '.join(sorted(PIPELINES))}"
        )
    for component in sorted(components & NEEDED.keys()):
        if not any(found for pattern in NEEDED[component] for found in (folder / component).glob(pattern)):
            expected = " or ".join(NEEDED[component])
            raise RunError(Reason.MODEL_NOT_FOUND, f"{folder}: {component}/ is without {expected}")
    return PIPELINES[name]


def _prediction_type(folder: Path, name: str) -> Literal["epsilon", "v_prediction"]:
    if name == "epsilon":
        return "epsilon"
    if name == "v_prediction":
        return "v_prediction"
    raise RunError(
        Reason.MODEL_NOT_FOUND, f"{folder}: prediction_type is {name!r}; expected 'epsilon' or 'v_prediction'"
    )
