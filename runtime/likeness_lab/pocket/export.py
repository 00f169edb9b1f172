"""Stage 6: averaged weights to an ordinary diffusers folder in fp16."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import nn
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from likeness_lab.pocket.caption import subject_words
from likeness_lab.pocket.clip import PairWithIdentity
from likeness_lab.pocket.unet import scheduler
from likeness_runtime.method.nearest_word import WORDS_FILE
from likeness_runtime.pocket import IMAGE_SIZE_PX
from likeness_runtime.pretrain.training_run import Network

SIZE_LIMIT_BYTES: int = 30 * 10**6
"""Most that all weights together may take in the repository."""


def split(pair: PairWithIdentity) -> tuple[CLIPTextModel, CLIPVisionModelWithProjection]:
    """The two towers as the classes pipelines expect; the text projection is the identity and is left behind."""
    both = pair.pair
    text = CLIPTextModel(CLIPTextConfig(**both.config.to_dict()["text_config"]))
    text.load_state_dict(both.text_model.state_dict())
    image = CLIPVisionModelWithProjection(CLIPVisionConfig(**both.config.to_dict()["vision_config"]))
    image.vision_model.load_state_dict(both.vision_model.state_dict())
    image.visual_projection.load_state_dict(both.visual_projection.state_dict())
    return text.eval(), image.eval()


@dataclass(frozen=True)
class Parts:
    """What a finished model is made of."""

    tokenizer: CLIPTokenizer
    pair: PairWithIdentity
    vae: AutoencoderKL
    unet: UNet2DConditionModel


def export(parts: Parts, log: Path, folder: Path) -> None:
    """Write the pipeline and the build log to `folder`, in place of those it holds.

    Raises `ValueError` when the weights exceed the size limit.
    """
    text_encoder, image_encoder = split(parts.pair)
    parts.tokenizer.backend_tokenizer.no_padding()  # the padding of its last call would be written along
    components: dict[str, Any] = {
        "vae": half(parts.vae),
        "text_encoder": half(text_encoder),
        "tokenizer": parts.tokenizer,
        "unet": half(parts.unet),
        "scheduler": scheduler(),
        "safety_checker": None,
        "feature_extractor": None,
        "image_encoder": half(image_encoder),
    }
    pipeline = StableDiffusionPipeline(**components, requires_safety_checker=False)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.save_pretrained(partial, safe_serialization=True)
    _image_processor().save_pretrained(partial / "image_encoder")
    (partial / "tokenizer" / WORDS_FILE).write_text("\n".join(subject_words()) + "\n")
    _without_local_paths(partial)
    weighs = sum(path.stat().st_size for path in partial.rglob("*.safetensors"))
    if weighs > SIZE_LIMIT_BYTES:
        raise ValueError(f"{partial}: weights take {weighs} bytes, expected at most {SIZE_LIMIT_BYTES}")
    shutil.copy(log, partial / log.name)
    _replace(partial, folder)


def half(module: Network) -> Network:
    """The same module in fp16, ready to be written."""
    nn.utils.convert_conv2d_weight_memory_format(module, torch.contiguous_format)
    return nn.Module.half(module).eval()


def _image_processor() -> CLIPImageProcessor:
    """Scales to 64x64 and to [-1, 1], the range both the image tower and the VAE take."""
    size = {"height": IMAGE_SIZE_PX, "width": IMAGE_SIZE_PX}
    return CLIPImageProcessor(
        size=size, crop_size=size, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )


def _without_local_paths(folder: Path) -> None:
    """Drop the `_name_or_path` keys, which say where a component lay on the machine that trained it."""
    for path in folder.rglob("*.json"):
        content = json.loads(path.read_text())
        if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(content, indent=2) + "\n")


def _replace(partial: Path, folder: Path) -> None:
    """Put the new component folders in place of the old ones; cards and logs beside them stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in partial.rglob("*.safetensors"):
        path.chmod(0o644)  # written readable for the owner alone
    for new in partial.iterdir():
        old = folder / new.name
        if old.is_dir():
            shutil.rmtree(old)
        new.replace(old)
    partial.rmdir()
