"""What tuning minimises. Letters: b batch, c h w latent channels, height, width."""

from __future__ import annotations

from typing import Literal

from einops import reduce
from torch import Tensor


def noised(z: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """z_t = sqrt(a) z + sqrt(1 - a) noise, with a (b,) the cumulative alpha at each row's timestep (DDPM, eq. 4)."""
    a = alpha_bar[:, None, None, None]
    return a.sqrt() * z + (1.0 - a).sqrt() * noise


def signal(
    prediction: Tensor, z_t: Tensor, alpha_bar: Tensor, prediction_type: Literal["epsilon", "v_prediction"]
) -> Tensor:
    """z_0 as a prediction (b, c, h, w) has it: (z_t - sqrt(1 - a) noise) / sqrt(a), or sqrt(a) z_t - sqrt(1 - a) v."""
    a = alpha_bar[:, None, None, None]
    if prediction_type == "epsilon":
        return (z_t - (1.0 - a).sqrt() * prediction) / a.sqrt()
    return a.sqrt() * z_t - (1.0 - a).sqrt() * prediction


def diffusion_loss(
    prediction: Tensor,
    z: Tensor,
    noise: Tensor,
    alpha_bar: Tensor,
    prediction_type: Literal["epsilon", "v_prediction"],
) -> Tensor:
    """Mean squared error of each row, (b,), in float32.

    The target is the noise (DDPM, arXiv:2006.11239, eq. 14) or v = sqrt(a) noise - sqrt(1 - a) z (Salimans and Ho,
    arXiv:2202.00512, appendix D).
    """
    a = alpha_bar[:, None, None, None]
    target = noise if prediction_type == "epsilon" else a.sqrt() * noise - (1.0 - a).sqrt() * z
    return reduce((prediction.float() - target.float()).square(), "b c h w -> b", "mean")
