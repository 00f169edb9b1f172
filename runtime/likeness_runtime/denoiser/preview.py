"""Drawing pictures with the model's own sampler. A seed means the same picture's noise on every device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.text import Conditioning

SAMPLING_STEPS = 25
GUIDANCE_SCALE = 5.0


@torch.no_grad()
def draw_picture(
    model: DiffusionModel,
    text: Conditioning,
    unconditional: Conditioning | None = None,
    *,
    seed: int,
    side_px: int,
    check: Callable[[], None],
) -> Image.Image:
    """One picture of `text`, one row; guidance leads away from `unconditional`, or from the pipeline's own where it is
    None.

    Whatever changes the denoiser is installed by the caller. `check` is called between sampling steps and may raise to
    stop.
    """

    def between_steps(_pipeline: Any, _step: int, _timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        check()
        return values

    dtype = model.denoiser.dtype
    with torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
        answer = model.pipeline(
            **prompt_arguments(model, text, unconditional),
            num_inference_steps=SAMPLING_STEPS,
            guidance_scale=GUIDANCE_SCALE,
            generator=torch.Generator("cpu").manual_seed(seed),
            height=side_px,
            width=side_px,
            callback_on_step_end=between_steps,
        )
    image: Image.Image = answer.images[0]
    return image


def prompt_arguments(
    model: DiffusionModel, text: Conditioning, unconditional: Conditioning | None = None
) -> dict[str, Any]:
    """Text, and what guidance leads away from, in the same number of rows, as arguments of the model's pipeline."""
    arguments = _embeds("", text, model.denoiser.dtype)
    if unconditional is not None:
        arguments |= _embeds("negative_", unconditional, model.denoiser.dtype)
    return arguments


def _embeds(which: str, text: Conditioning, dtype: torch.dtype) -> dict[str, Any]:
    """Only SDXL's pipeline takes the pooled text."""
    states = {f"{which}prompt_embeds": text.states.to(dtype)}
    pooled = {} if text.pooled is None else {f"{which}pooled_prompt_embeds": text.pooled.to(dtype)}
    return states | pooled
