"""A cheap score without drawing: how well the subject is denoised in pictures of it that nobody learned from.

Every method denoises the same noise on the same pictures under the same sentences, and only the subject's pixels
count. It takes a hundredth of the time that drawing for the judges takes, and tells settings apart on few subjects.

Letters: v pictures, t timesteps, c h w latent channels, height, width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from likeness_lab.bench.draw import TOKEN_WORD, Learned
from likeness_lab.bench.subject import BenchSubject
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.text import read
from likeness_runtime.method.contrastive import vocabularies
from likeness_runtime.method.dual_path import conditioning_of, dual_path
from likeness_runtime.method.forms import FORMS
from likeness_runtime.method.losses import noised, signal
from likeness_runtime.method.tune import denoise, latents_of

PAIRED_TIMESTEP_SHARES = (0.4, 0.7)
"""At which timesteps, as shares of the schedule: where shapes and where colours are settled."""


@torch.no_grad()
def paired_error(model: DiffusionModel, learned: Learned, subject: BenchSubject) -> float | None:
    """Mean squared error of z_0 over the subject's pixels; None where it is not known which these are."""
    if subject.masks is None:
        return None
    z = latents_of(model, subject.reference_pictures)  # (v, c, h, w)
    masks = functional.interpolate(subject.masks[:, None].to(model.device), z.shape[-2:], mode="area")
    sentences = [FORMS[1].format(learned.called) + f" {context}" for context in subject.reference_contexts]
    text = conditioning_of(
        model,
        read(model, sentences, TOKEN_WORD),
        learned.prediction.embeddings,
        vocabularies(model),
        alpha=learned.alpha,
        words=learned.words,
    )
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).to(model.device)
    errors: list[Tensor] = []
    with dual_path(model.unet, learned.prediction.offsets, learned.alpha):
        for share in PAIRED_TIMESTEP_SHARES:
            timesteps = torch.full((len(z),), round(share * len(model.alphas_cumprod)), device=model.device)
            alpha_bar = model.alphas_cumprod[timesteps]
            z_t = noised(z, noise, alpha_bar)
            predicted = denoise(model, z_t, timesteps, text.states, text.pooled)
            z_0 = signal(predicted.float(), z_t, alpha_bar, model.prediction_type)
            errors.append(((z_0 - z).square() * masks).sum() / (masks.sum() * z.shape[1]))
    return float(torch.stack(errors).mean())
