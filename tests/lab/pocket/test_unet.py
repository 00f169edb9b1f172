from typing import Any

import pytest
import torch

from likeness_lab.pocket.unet import SNR_LIMIT, diffuse, new_unet, scheduler


def test_pictures_and_noise_can_be_told_from_noisy_latents_and_velocity() -> None:
    clean, noise = torch.randn(2, 5, 4, 16, 16).unbind(0)
    alpha = torch.rand(5)
    noisy, velocity, _ = diffuse(clean, noise, alpha)
    signal, sigma = alpha.sqrt().view(-1, 1, 1, 1), (1 - alpha).sqrt().view(-1, 1, 1, 1)
    assert torch.allclose(signal * noisy - sigma * velocity, clean, atol=1e-5)
    assert torch.allclose(sigma * noisy + signal * velocity, noise, atol=1e-5)


def test_the_weight_is_one_in_noise_and_bounds_the_weight_of_clean_pictures() -> None:
    alpha = torch.tensor([0.0, 0.5, 0.8, 0.9, 0.99])
    _, _, weight = diffuse(torch.zeros(5, 4, 2, 2), torch.zeros(5, 4, 2, 2), alpha)
    assert torch.allclose(weight[:3], torch.ones(3))
    assert torch.allclose(weight / (1 - alpha), (1 / (1 - alpha)).clamp(max=SNR_LIMIT))


def test_the_schedule_ends_in_pure_noise() -> None:
    alphas = scheduler().alphas_cumprod
    assert alphas[-1] == 0
    assert alphas[0] > 0.99


def test_sampling_starts_at_the_step_of_pure_noise() -> None:
    schedule = scheduler()
    schedule.set_timesteps(25)
    assert schedule.timesteps[0] == len(schedule.alphas_cumprod) - 1


def test_a_perfect_velocity_takes_ddim_to_the_picture() -> None:
    schedule = scheduler()
    schedule.set_timesteps(10)
    clean, noise = torch.randn(2, 1, 4, 16, 16).unbind(0)
    z_t: Any = noise
    for timestep in schedule.timesteps:
        alpha = schedule.alphas_cumprod[timestep]
        epsilon = (z_t - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        velocity = alpha.sqrt() * epsilon - (1 - alpha).sqrt() * clean
        z_t = schedule.step(velocity, timestep, z_t, return_dict=False)[0]
    assert torch.allclose(z_t, clean, atol=1e-3)


def test_the_unet_takes_latents_and_words_of_the_pocket_size() -> None:
    unet = new_unet(text_width=192)
    out = unet(torch.randn(1, 4, 16, 16), torch.tensor([7]), torch.randn(1, 24, 192)).sample
    assert out.shape == (1, 4, 16, 16)
    assert sum(parameter.numel() for parameter in unet.parameters()) == pytest.approx(8.1e6, rel=0.01)
