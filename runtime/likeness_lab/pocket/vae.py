"""Stage 1: the autoencoder, 64x64x3 pixels to 16x16x4 latents.

Most of its time it sees crops of 32 px at edges of glyphs: four times as many steps per second as whole pictures.
The last part of the plan is whole pictures, because group norm sees different statistics in a crop. A second stage
refines the decoder alone; it leaves the latents as they are, so it may run while the UNet trains on them.

Letters: k pictures, c channels, h height, w width.
"""

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from likeness_lab.pocket.glyphs import ARTS, GlyphSet, Pixels
from likeness_lab.pocket.pixels import pixels_of
from likeness_lab.pocket.scene import Scene, draw_background, place, render
from likeness_lab.pocket.stage import channels_last, mixed_precision, open_stage
from likeness_runtime.pocket import IMAGE_SIZE_PX
from likeness_runtime.pretrain.plan import TrainingPlan
from likeness_runtime.pretrain.training import StepDraw, train

VAE_PLAN = TrainingPlan(minutes=19, batch=16, learning_rate=2e-3, weight_decay=0.0, ema_decay=0.995)

DECODER_PLAN = TrainingPlan(
    minutes=6, batch=8, learning_rate=5e-4, weight_decay=0.0, warmup_steps=30, ema_decay=0.99, seed=1
)

CROP_PX: int = 32
"""Side of the crops of the first part of the training."""

WHOLE_FROM: float = 0.8
"""Share of the plan after which whole pictures are shown."""

VAE_NOTO_SHARE: float = 0.4
"""Share of the pictures in flat art."""

KL_WEIGHT: float = 1e-4
"""Weight of the KL term per latent number; only keeps the latents bounded."""

SQUARE_WEIGHT: float = 4.0
"""Weight of the squared error beside the absolute one: the first is what PSNR measures, the second keeps edges."""


def new_autoencoder() -> AutoencoderKL:
    """A new, untrained autoencoder of 1.6 M parameters."""
    autoencoder: AutoencoderKL = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE_PX,
        mid_block_add_attention=False,
    )
    return autoencoder


def train_vae(glyphs: GlyphSet, folder: Path, plan: TrainingPlan, device: torch.device) -> AutoencoderKL:
    """Train or resume the autoencoder and return its averaged weights; `folder` keeps checkpoint and log."""
    torch.manual_seed(plan.seed)
    network = channels_last(new_autoencoder(), device)
    run = open_stage("vae", network, plan, folder)

    def loss_of(draw: StepDraw) -> Tensor:
        random = np.random.default_rng((plan.seed, draw.number))
        pixels = draw_pictures(glyphs, random, draw.count, run.share >= WHOLE_FROM, device)
        noise = torch.Generator().manual_seed(draw.number)
        with mixed_precision(device):
            posterior = network.encode(pixels).latent_dist
            drawn = torch.randn(posterior.mean.shape, generator=noise).to(device)
            decoded = network.decode(posterior.mean + posterior.std * drawn).sample
        mean, log_variance = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss: Tensor = reconstruction(decoded.float(), pixels) + KL_WEIGHT * kl
        return loss

    train(run, loss_of)
    return run.average


def refine_decoder(
    autoencoder: AutoencoderKL, glyphs: GlyphSet, folder: Path, plan: TrainingPlan, device: torch.device
) -> AutoencoderKL:
    """Train or resume the decoder alone, from where `autoencoder` stands, and return its averaged weights.

    The loss is the squared error, which is what PSNR measures.
    """
    network = channels_last(copy.deepcopy(autoencoder), device)
    network.requires_grad_(False)
    network.decoder.requires_grad_(True)
    run = open_stage("decoder", network, plan, folder)

    def loss_of(draw: StepDraw) -> Tensor:
        random = np.random.default_rng((plan.seed, draw.number))
        pixels = draw_pictures(glyphs, random, draw.count, True, device)
        with mixed_precision(device):
            with torch.no_grad():
                latents = network.encode(pixels).latent_dist.mean
            decoded: Tensor = network.decode(latents).sample
        return (decoded.float() - pixels).square().mean()

    train(run, loss_of)
    return run.average


def reconstruction(decoded: Tensor, pixels: Tensor) -> Tensor:
    """The part of the loss that compares pictures in [-1, 1]."""
    difference = decoded - pixels
    loss: Tensor = difference.abs().mean() + SQUARE_WEIGHT * difference.square().mean()
    return loss


def draw_pictures(
    glyphs: GlyphSet, random: np.random.Generator, count: int, whole: bool, device: torch.device
) -> Tensor:
    """A batch of whole pictures or of crops: (k, 3, h, w) in [-1, 1]."""
    pictures = []
    for row in random.choice(glyphs.seen(), size=count):
        art = ARTS[int(random.random() < VAE_NOTO_SHARE)]
        scene = place(random, int(row), art, draw_background(random))
        picture = render(scene, glyphs.pictures[art][row])
        pictures.append(picture if whole else crop(random, scene, picture))
    return pixels_of(pictures, device)


def crop(random: np.random.Generator, scene: Scene, picture: Pixels) -> Pixels:
    """A crop of 32 px whose centre lies within the glyph's box; on multiples of 4 px, as the latents do."""
    edge = IMAGE_SIZE_PX - CROP_PX
    centre = [scene.top_px + random.random() * scene.size_px, scene.left_px + random.random() * scene.size_px]
    top, left = (int(np.clip(value - CROP_PX / 2, 0, edge)) // 4 * 4 for value in centre)
    return picture[top : top + CROP_PX, left : left + CROP_PX]
