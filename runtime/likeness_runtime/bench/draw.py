"""Drawing a subject's pictures for the judges, all prompts in one batch, through the dual path at any alpha.

Letters: b pictures, n tokens, d text width, c h w latent channels, height, width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from likeness_runtime.contrastive import vocabularies
from likeness_runtime.dual_path import both, conditioning_of, dual_path
from likeness_runtime.from_encoder import empty_prompt
from likeness_runtime.model import DiffusionModel
from likeness_runtime.predictor import Prediction
from likeness_runtime.text import Conditioning, read

TOKEN_WORD = "<subject>"  # noqa: S105 - a word, not a secret


@dataclass(frozen=True)
class Sampling:
    """How pictures are drawn; the same for every method."""

    steps: int = 25
    guidance: float = 3.0
    seeds: tuple[int, ...] = (0, 1)
    bfloat16: bool = False
    """Faster on processors and GPUs that compute in it."""


def noise(model: DiffusionModel, count: int, sampling: Sampling) -> Tensor:
    """Starting noise of `count` prompts for each seed in turn, (b, c, h, w); prompt i of seed s is always the same."""
    side = model.unet.config.sample_size
    draws = [
        torch.randn(4, side, side, generator=torch.Generator().manual_seed(1000 * seed + index))
        for seed in sampling.seeds
        for index in range(count)
    ]
    return torch.stack(draws).to(model.device)


@torch.no_grad()
def draw_subject(
    model: DiffusionModel,
    prediction: Prediction,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    alpha: float,
    words: Tensor | None = None,
    untouched_guidance: bool = True,
) -> Tensor:
    """Each prompt once for each seed, (b, 3, h, w) in [0, 1]; the subject is `TOKEN_WORD` in the prompts.

    `words` are as for `tune`. `untouched_guidance` leads away from the untouched model, as our loader does; files in a
    stock pipeline lead away from the adapted one.
    """
    every = list(prompts) * len(sampling.seeds)
    prompts_read = read(model, every, TOKEN_WORD)
    text = conditioning_of(model, prompts_read, prediction.embeddings, vocabularies(model), alpha=alpha, words=words)
    empty = empty_prompt(model)
    nothing = both(empty, empty, alpha)
    with dual_path(model.unet, prediction.offsets, alpha, lambda: untouched_guidance and sampling.guidance > 1.0):
        return sampled(model, text, nothing, noise(model, len(prompts), sampling), sampling)


@torch.no_grad()
def sampled(
    model: DiffusionModel, text: Conditioning, nothing: Conditioning, start: Tensor, sampling: Sampling
) -> Tensor:
    """The pipeline's own sampler on given text states (b, n, d)."""
    with torch.autocast(model.device.type, torch.bfloat16, enabled=sampling.bfloat16):
        drawn = model.pipeline(
            prompt_embeds=text.states.to(model.unet.dtype),
            negative_prompt_embeds=nothing.states.expand(len(text.states), -1, -1).to(model.unet.dtype),
            latents=start.to(model.unet.dtype),
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance,
            output_type="pt",
        )
    images: Tensor = drawn.images.float().cpu()
    return images
