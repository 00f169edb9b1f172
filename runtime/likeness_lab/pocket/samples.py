"""Draws pictures with a diffusers folder: the grid of `likeness pocket samples`, and what the benchmark judges."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from likeness_runtime.pocket import IMAGE_SIZE_PX


@dataclass(frozen=True)
class PromptSampling:
    """How pictures are drawn."""

    steps: int = 25
    guidance: float = 3.0
    """Scale of classifier-free guidance."""
    seed: int = 0
    batch: int = 32


def open_pipeline(folder: Path, device: torch.device) -> StableDiffusionPipeline:
    """The model in `folder` in float32, without progress bars."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        str(folder), dtype=torch.float32, safety_checker=None, use_safetensors=True, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def sample(pipeline: StableDiffusionPipeline, prompts: Sequence[str], sampling: PromptSampling) -> Tensor:
    """One picture for each prompt, (k, 3, 64, 64) in [0, 1]. The noise of prompt i follows from seed + i alone."""
    pictures = []
    for start in range(0, len(prompts), sampling.batch):
        chunk = list(prompts[start : start + sampling.batch])
        seeds = range(sampling.seed + start, sampling.seed + start + len(chunk))
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        drawn = pipeline(
            chunk,
            height=IMAGE_SIZE_PX,
            width=IMAGE_SIZE_PX,
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance,
            generator=generators,
            output_type="pt",
        )
        pictures.append(drawn.images.float().cpu())
    return torch.cat(pictures)


def grid(pictures: Tensor, columns: int, zoom: int = 2) -> Image.Image:
    """Pictures (k, 3, h, w) in [0, 1] side by side, row by row, enlarged by whole pixels."""
    count, _, height, width = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, dtype=np.uint8)
    for index, picture in enumerate((pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + height, left : left + width] = picture
    return Image.fromarray(sheet).resize((columns * width * zoom, rows * height * zoom), Image.Resampling.NEAREST)
