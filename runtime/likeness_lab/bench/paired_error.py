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
from likeness_runtime.method.contrastive import vocabularies
from likeness_runtime.method.dual_prompt import dual_prompt
from likeness_runtime.method.forms import FORMS

PAIRED_TIME_SHARES = (0.4, 0.7)
"""At which timesteps, as shares of the schedule: where shapes and where colours are settled."""


@torch.no_grad()
def paired_error(model: DiffusionModel, learned: Learned, subject: BenchSubject) -> float | None:
    """Mean squared error of z_0 over the subject's pixels; None where it is not known which these are."""
    if subject.masks is None:
        return None
    z = model.latent_space.encode(subject.reference_pictures)  # (v, c, h, w)
    masks = functional.interpolate(subject.masks[:, None].to(model.device), z.shape[-2:], mode="area")
    sentences = [FORMS[1].format(learned.called) + f" {context}" for context in subject.reference_contexts]
    text = dual_prompt(
        model,
        model.text.tokenize(sentences, TOKEN_WORD),
        learned.prediction.embeddings,
        vocabularies(model),
        alpha=learned.alpha,
        words=learned.words,
    )
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).to(model.device)
    errors: list[Tensor] = []
    with model.denoiser.paths(learned.prediction.offsets, learned.alpha):
        for time in model.noise.times_at(PAIRED_TIME_SHARES, "up"):
            times = time.expand(len(z))
            z_t = model.noise.noised(z, noise, times)
            z_0 = model.noise.signal(model.denoiser.predict(z_t, times, text).float(), z_t, times)
            errors.append(((z_0 - z).square() * masks).sum() / (masks.sum() * z.shape[1]))
    return float(torch.stack(errors).mean())
