"""Drawing pictures with the model's own sampler. A seed means the same picture's noise on every device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from likeness_runtime.model import DiffusionModel
from likeness_runtime.text import encode, read

SAMPLING_STEPS = 25
GUIDANCE_SCALE = 5.0


@torch.no_grad()
def draw_picture(
    model: DiffusionModel,
    prompt: str,
    token: str,
    embeddings: list[Tensor],
    *,
    seed: int,
    side_px: int,
    check: Callable[[], None],
) -> Image.Image:
    """One picture; offsets, if any, are injected by the caller. `embeddings`: v* (1, d) of each text encoder.

    `check` is called between sampling steps and may raise to stop.
    """

    def between_steps(_pipeline: Any, _step: int, _timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        check()
        return values

    conditioning = encode(model, read(model, [prompt], token), embeddings)
    dtype = model.unet.dtype
    pooled = {} if conditioning.pooled is None else {"pooled_prompt_embeds": conditioning.pooled.to(dtype)}
    with torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
        answer = model.pipeline(
            prompt_embeds=conditioning.states.to(dtype),
            **pooled,
            num_inference_steps=SAMPLING_STEPS,
            guidance_scale=GUIDANCE_SCALE,
            generator=torch.Generator("cpu").manual_seed(seed),
            height=side_px,
            width=side_px,
            callback_on_step_end=between_steps,
        )
    image: Image.Image = answer.images[0]
    return image
