"""The predictor that looks at the picture: one encoder's answers at a few fixed timesteps, averaged.

The encoder sees a noisy latent, so its answer changes with the timestep and the noise; an artifact needs one. The
average over fixed timesteps with seeded noise is ours [docs/method.md].

Letters: k pictures, m answers a picture, r rank, i and o an adapter site's widths.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from likeness_runtime.denoiser.lora import Factors, Offsets
from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.image.decode import squared
from likeness_runtime.method.contrastive import vocabularies
from likeness_runtime.method.encoder import image_features
from likeness_runtime.method.encoder_folder import Normalisation, TrainedEncoder
from likeness_runtime.method.predictor import Prediction

ENCODER_TIME_SHARES = (0.2, 0.4, 0.6, 0.8)
"""The noise that the encoder sees, as shares of the training schedule."""


class FromEncoder:
    """Predicts v* and the offsets from the pictures."""

    def __init__(self, trained: TrainedEncoder) -> None:
        self.trained = trained

    @torch.no_grad()
    def predict(
        self,
        model: DiffusionModel,
        pictures: list[list[Image.Image]],
        rank: int,
        generators: list[torch.Generator],
    ) -> Prediction:
        """All subjects go through the tower and the denoiser side by side, each with noise from its own generator."""
        encoder, m = self.trained.encoder, len(ENCODER_TIME_SHARES)
        rows = [len(own) * m for own in pictures]
        features = self._features(model, pictures, generators)  # (sum of rows, f + n, w)
        v_stars = [v_star.split(rows) for v_star in encoder.embeddings(features, vocabularies(model))]
        answers = {path: _split(factors, rows) for path, factors in encoder.offsets(features).items()}
        offsets: Offsets = {}
        for path, of_subjects in answers.items():
            means = [averaged(own, rank, each) for own, each in zip(of_subjects, generators, strict=True)]
            offsets[path] = Factors(torch.stack([each.A for each in means]), torch.stack([each.B for each in means]))
        embeddings = [torch.stack([own.mean(0) for own in of_encoder]) for of_encoder in v_stars]
        return Prediction(embeddings, offsets, self.trained.negatives)

    def _features(
        self, model: DiffusionModel, pictures: list[list[Image.Image]], generators: list[torch.Generator]
    ) -> Tensor:
        """What the encoder sees of every picture at every timestep, subject by subject, picture by picture."""
        tower, m = self.trained.image_tower, len(ENCODER_TIME_SHARES)
        every = [picture for own in pictures for picture in own]
        squares = [squared(picture, model.resolution_px) for picture in every]
        latents = model.latent_space.encode(squares).repeat_interleave(m, dim=0)  # (k m, c, h, w)
        times = model.noise.times_at(ENCODER_TIME_SHARES, "nearest").repeat(len(every))
        drawn = [
            torch.randn(len(own) * m, *latents.shape[1:], generator=generator)
            for own, generator in zip(pictures, generators, strict=True)
        ]
        z_t = model.noise.noised(latents, torch.cat(drawn).to(model.device), times)
        seen = image_features(tower, tower_pixels(every, tower.config.image_size, self.trained.normalisation, model))
        return self.trained.encoder.mixed(seen.repeated(m), model.denoiser.features(z_t, times, model.text.empty()))


def _split(factors: Factors, rows: list[int]) -> list[Factors]:
    """Each subject's own answers."""
    return [Factors(A, B) for A, B in zip(factors.A.split(rows), factors.B.split(rows), strict=True)]


def tower_pixels(
    pictures: list[Image.Image], side_px: int, normalisation: Normalisation, model: DiffusionModel
) -> Tensor:
    """Squared pictures as the image tower takes them, (k, 3, h, w)."""
    bytes_ = np.stack([np.asarray(squared(picture, side_px)) for picture in pictures])
    pixels = rearrange(torch.from_numpy(bytes_).to(model.device), "k h w c -> k c h w").float() / 255.0
    return normalised(pixels, normalisation)


def normalised(pixels: Tensor, normalisation: Normalisation) -> Tensor:
    """From [0, 1] to what the tower was trained on, (k, 3, h, w)."""
    mean, std = (
        torch.tensor(each, device=pixels.device)[:, None, None] for each in (normalisation.mean, normalisation.std)
    )
    return (pixels - mean) / std


def averaged(factors: Factors, rank: int, generator: torch.Generator) -> Factors:
    """The best approximation of rank r (Eckart and Young) of the mean of m offsets B A, as A (r, i) and B (o, r).

    The mean of products is not the product of means. A's rows come out orthonormal, the size lies in B. Where the
    answers have a lower rank, further rows of A are drawn and B's columns are zero: nothing changes, but can learn.
    Answers that are not finite stay so.
    """
    m, _, i = factors.A.shape
    A = rearrange(factors.A, "m r i -> (m r) i")
    B = rearrange(factors.B, "m o r -> o (m r)") / m
    if not (A.isfinite().all() and B.isfinite().all()):
        # A singular value decomposition would raise, for all subjects; so this one's loss says it.
        return Factors(A.new_full((rank, i), torch.nan), B.new_full((len(B), rank), torch.nan))
    left, left_rest = torch.linalg.qr(B)
    right, right_rest = torch.linalg.qr(A.mT)
    u, sizes, v = torch.linalg.svd(left_rest @ right_rest.mT)
    kept = min(rank, len(sizes))
    best_A = v[:kept] @ right.mT
    best_B = left @ u[:, :kept] * sizes[:kept]
    missing = rank - kept
    if missing:
        drawn = (torch.rand(missing, i, generator=generator) * 2.0 - 1.0) / math.sqrt(i)
        best_A = torch.cat([best_A, drawn.to(best_A.device)])
        best_B = torch.cat([best_B, best_B.new_zeros(len(best_B), missing)], dim=1)
    return Factors(best_A, best_B)
