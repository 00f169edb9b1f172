from collections.abc import Callable

import torch
from PIL import Image

from likeness_runtime.denoiser.model import DiffusionModel
from likeness_runtime.denoiser.tiny import TinyKind


def test_latents_are_those_of_the_stock_pipeline(
    tiny_model: Callable[[TinyKind], DiffusionModel], photo: Image.Image
) -> None:
    model = tiny_model("sd15")
    square, vae = photo.resize((64, 64)), model.pipeline.vae
    pixels = model.pipeline.image_processor.preprocess(square)
    expected = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
    assert torch.allclose(model.latent_space.encode([square]), expected, atol=1e-5)
