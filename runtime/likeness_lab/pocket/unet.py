"""Stage 4: the denoiser, trained on cached latents under the frozen text tower.

v-prediction on a schedule that ends in pure noise (Lin et al., 2023, "Common Diffusion Noise Schedules and Sample
Steps are Flawed"): without it no plain background is ever quite black or white.

Letters: k pictures, c latent channels, h height, w width, n tokens, d text width.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from likeness_lab.pocket.clip import WIDTH
from likeness_lab.pocket.latents import Latents
from likeness_lab.pocket.stage import channels_last, mixed_precision, open_stage
from likeness_runtime.pretrain.plan import TrainingPlan
from likeness_runtime.pretrain.training import StepDraw, train

UNET_PLAN = TrainingPlan(minutes=95, batch=48, learning_rate=1e-3, weight_decay=0.01, ema_decay=0.998, warmup_steps=100)

EMPTY_SHARE: float = 0.1
"""Share of the captions replaced by the empty one, for classifier-free guidance."""

SNR_LIMIT: float = 5.0
"""Gamma of min-SNR weighting."""


def new_unet(text_width: int) -> UNet2DConditionModel:
    """A new, untrained UNet of 8.1 M parameters: 64 channels at 16x16, 192 with attention at 8x8."""
    unet: UNet2DConditionModel = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=6,
        norm_num_groups=16,
    )
    return unet


def scheduler() -> DDIMScheduler:
    """The schedule of Stable Diffusion, rescaled to end in pure noise; sampling starts at the very last step."""
    schedule: DDIMScheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    return schedule


def train_unet(
    latents: Latents,
    text_encoder: nn.Module,
    empty: Tensor,
    *,
    folder: Path,
    plan: TrainingPlan,
    device: torch.device,
    start: Path | None = None,
) -> UNet2DConditionModel:
    """Train or resume the UNet and return its averaged weights. `empty`: tokens (n,) of the empty caption.

    A new run begins with the UNet of the finished model in `start`, or with random weights.
    """
    torch.manual_seed(plan.seed)
    begun = UNet2DConditionModel.from_pretrained(start / "unet") if start else new_unet(WIDTH)
    network = channels_last(begun.float().train(), device)
    run = open_stage("unet", network, plan, folder)
    alphas = scheduler().alphas_cumprod.to(device)

    def loss_of(draw: StepDraw) -> Tensor:
        random = np.random.default_rng((plan.seed, draw.number))
        chosen = torch.from_numpy(random.integers(len(latents.latents), size=draw.count))
        clean = latents.latents[chosen].to(device).float()  # (k, c, h, w)
        tokens = latents.tokens[chosen]  # (k, n)
        tokens[torch.from_numpy(random.random(draw.count) < EMPTY_SHARE)] = empty
        timesteps = torch.from_numpy(random.integers(len(alphas), size=draw.count)).to(device)
        noise = torch.from_numpy(random.standard_normal(clean.shape, dtype=np.float32)).to(device)
        noisy, target, weight = diffuse(clean, noise, alphas[timesteps])
        with mixed_precision(device):
            with torch.no_grad():
                states = text_encoder(tokens.to(device)).last_hidden_state  # (k, n, d)
            noisy = noisy.contiguous(memory_format=torch.channels_last)
            predicted = network(noisy, timesteps, states, return_dict=False)[0]
        error = (predicted.float() - target).square().mean(dim=(1, 2, 3))
        loss: Tensor = (weight * error).mean()
        return loss

    train(run, loss_of)
    average: UNet2DConditionModel = run.average
    return average


def diffuse(clean: Tensor, noise: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents z_t, the velocity v to be predicted, and the weight of each picture.

    z_t = √ᾱ z_0 + √(1-ᾱ) ε and v = √ᾱ ε - √(1-ᾱ) z_0 (Salimans & Ho, 2022). A plain error in v weighs the error in z_0
    by SNR + 1; the weight (k,) limits that to `SNR_LIMIT` (Hang et al., 2023, carried over to v).
    """
    signal, sigma = (value.sqrt().view(-1, 1, 1, 1) for value in (alpha, 1 - alpha))
    snr_plus_one = 1 / (1 - alpha)
    weight = snr_plus_one.clamp(max=SNR_LIMIT) / snr_plus_one
    return signal * clean + sigma * noise, signal * noise - sigma * clean, weight
