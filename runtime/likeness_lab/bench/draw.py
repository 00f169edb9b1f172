"""Drawing what was learned for the judges, all prompts in one batch; the same for every method.

Guidance is a part of drawing, not of the method, so everything is drawn in two ways: leading away from the untouched
model, as our loader does, or from the adapted one, as stock pipelines do with published files.

Letters: k pictures, n tokens, d text width, c h w latent channels, height, width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from likeness_runtime.denoiser.lora import Offsets
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.preview import prompt_arguments
from likeness_runtime.denoiser.text import Conditioning, paired
from likeness_runtime.method.contrastive import vocabularies
from likeness_runtime.method.dual_prompt import dual_prompt
from likeness_runtime.method.predictor import Prediction

TOKEN_WORD = "<subject>"  # noqa: S105 - a word, not a secret


@dataclass(frozen=True)
class Learned:
    """What any method leaves behind of one subject; a model that learned nothing has no offsets."""

    prediction: Prediction
    called: str
    """The subject in a sentence: `a <subject>`, "a sks toy"."""
    alpha: float = 1.0
    words: Tensor | None = None
    """Token ids (1,) that the hard prompt names; the nearest word where there are none."""


@dataclass(frozen=True)
class Sampling:
    """How pictures are drawn; the same for every method."""

    steps: int = 25
    guidance: float = 3.0
    seeds: tuple[int, ...] = (0, 1)
    bfloat16: bool = False
    """Faster on processors and GPUs that compute in it."""


def wordless(model: DiffusionModel, offsets: Offsets) -> Prediction:
    """Offsets alone, for prompts of ordinary words: a word has to be there, but no prompt has a place for it."""
    return Prediction([table[:1].float() for table in model.text.token_tables], offsets)


def noise(model: DiffusionModel, count: int, sampling: Sampling) -> Tensor:
    """Starting noise of `count` prompts for each seed in turn, (k, c, h, w); prompt i of seed s is always the same."""
    draws = [
        torch.randn(*model.denoiser.latent_shape, generator=torch.Generator().manual_seed(1000 * seed + index))
        for seed in sampling.seeds
        for index in range(count)
    ]
    return torch.stack(draws).to(model.device)


@torch.no_grad()
def drawn(
    model: DiffusionModel, learned: Learned, prompts: Sequence[str], sampling: Sampling, *, untouched_guidance: bool
) -> Tensor:
    """Each prompt once for each seed, (k, 3, h, w) in [0, 1]."""
    every = list(prompts) * len(sampling.seeds)
    alpha, prediction = learned.alpha, learned.prediction
    text = dual_prompt(
        model,
        model.text.tokenize(every, TOKEN_WORD),
        prediction.embeddings,
        vocabularies(model),
        alpha=alpha,
        words=learned.words,
    )
    empty = model.text.empty()
    unconditional = paired(empty, empty, alpha).expanded(len(every))
    with model.denoiser.paths(prediction.offsets, alpha, lambda: untouched_guidance and sampling.guidance > 1.0):
        return _sampled(model, text, unconditional, noise(model, len(prompts), sampling), sampling)


@torch.no_grad()
def _sampled(
    model: DiffusionModel, text: Conditioning, unconditional: Conditioning, start: Tensor, sampling: Sampling
) -> Tensor:
    """The pipeline's own sampler on given text states (k, n, d)."""
    with torch.autocast(model.device.type, torch.bfloat16, enabled=sampling.bfloat16):
        answer = model.pipeline(
            **prompt_arguments(model, text, unconditional),
            latents=start.to(model.denoiser.dtype),
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance,
            output_type="pt",
        )
    images: Tensor = answer.images.float().cpu()
    return images
