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
from likeness_runtime.denoiser.text import Conditioning
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
        """Each subject is asked about alone, so that company changes nothing."""
        empty = model.text.empty()
        answers = [
            self._one(model, own, rank, generator, empty) for own, generator in zip(pictures, generators, strict=True)
        ]
        embeddings = [torch.stack(of_all) for of_all in zip(*(answer[0] for answer in answers), strict=True)]
        offsets = {
            path: Factors(
                torch.stack([answer[1][path].A for answer in answers]),
                torch.stack([answer[1][path].B for answer in answers]),
            )
            for path in answers[0][1]
        }
        return Prediction(embeddings, offsets, self.trained.negatives)

    def _one(
        self,
        model: DiffusionModel,
        pictures: list[Image.Image],
        rank: int,
        generator: torch.Generator,
        empty: Conditioning,
    ) -> tuple[list[Tensor], Offsets]:
        """One subject's v* (d,) of each text encoder, and its factors without a subject axis."""
        encoder, tower = self.trained.encoder, self.trained.image_tower
        m = len(ENCODER_TIME_SHARES)
        squares = [squared(picture, model.resolution_px) for picture in pictures]
        latents = model.latent_space.encode(squares).repeat_interleave(m, dim=0)  # (k m, c, h, w)
        times = model.noise.times_at(ENCODER_TIME_SHARES, "nearest").repeat(len(pictures))
        noise = torch.randn(latents.shape, generator=generator).to(model.device)
        z_t = model.noise.noised(latents, noise, times)
        seen = image_features(tower, tower_pixels(pictures, tower.config.image_size, self.trained.normalisation, model))
        features = encoder.mixed(seen.repeated(m), model.denoiser.features(z_t, times, empty))
        embeddings = [v_star.mean(0) for v_star in encoder.embeddings(features, vocabularies(model))]
        offsets = {path: averaged(each, rank, generator) for path, each in encoder.offsets(features).items()}
        return embeddings, offsets


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
    """
    m, _, i = factors.A.shape
    A = rearrange(factors.A, "m r i -> (m r) i")
    B = rearrange(factors.B, "m o r -> o (m r)") / m
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
