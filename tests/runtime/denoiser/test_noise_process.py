import math

import pytest
import torch
from torch import Tensor

from likeness_runtime.denoiser.noise_process import DDPM, PredictionType, Rounding, prediction_losses

A = torch.tensor([0.9, 0.5, 0.1])
T = torch.arange(3)
Z = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
NOISE = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(1))
EPSILON, VELOCITY = DDPM(A, "epsilon"), DDPM(A, "v_prediction")
THOUSAND = DDPM(torch.linspace(1.0, 0.0, 1000), "epsilon")


def losses(process: DDPM, prediction: Tensor) -> Tensor:
    return prediction_losses(process, prediction, Z, NOISE, T)


def test_noising_keeps_the_variance_of_unit_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    z, noise = (torch.randn(3, 4, 64, 64, generator=generator) for _ in range(2))
    assert torch.allclose(EPSILON.noised(z, noise, T).var(dim=(1, 2, 3)), torch.ones(3), atol=0.05)


def test_the_true_noise_has_no_epsilon_loss() -> None:
    assert losses(EPSILON, NOISE).tolist() == [0.0, 0.0, 0.0]


def test_the_picture_and_the_noise_follow_from_z_t_and_the_true_velocity() -> None:
    a = A[:, None, None, None]
    v = a.sqrt() * NOISE - (1 - a).sqrt() * Z
    z_t = VELOCITY.noised(Z, NOISE, T)
    assert losses(VELOCITY, v).max() < 1e-12
    assert torch.allclose(a.sqrt() * z_t - (1 - a).sqrt() * v, Z, atol=1e-6)
    assert torch.allclose((1 - a).sqrt() * z_t + a.sqrt() * v, NOISE, atol=1e-6)


def test_each_row_has_its_own_loss() -> None:
    wrong = NOISE.clone()
    wrong[1] += 2.0
    assert torch.allclose(losses(EPSILON, wrong), torch.tensor([0.0, 4.0, 0.0]))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_signal_of_the_target_is_the_picture(prediction_type: PredictionType) -> None:
    process = DDPM(A, prediction_type)
    z_t = process.noised(Z, NOISE, T)
    assert torch.allclose(process.signal(process.target(Z, NOISE, T), z_t, T), Z, atol=1e-5)


def test_a_draw_has_one_time_in_each_part_of_the_schedule() -> None:
    times = THOUSAND.draw_times(8, torch.Generator().manual_seed(0))
    assert (times * 8 // 1000).tolist() == list(range(8))
    assert not torch.equal(times, THOUSAND.draw_times(8, torch.Generator().manual_seed(1)))


def test_times_drawn_independently_are_all_of_the_schedule() -> None:
    times = THOUSAND.draw_independent_times(5000, torch.Generator().manual_seed(0))
    assert times.min() < 10
    assert times.max() > 990
    assert math.isclose(float(times.float().mean()), 499.5, abs_tol=15.0)


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [("down", [0, 199, 699, 999]), ("nearest", [0, 200, 699, 999]), ("up", [0, 200, 700, 999])],
)
def test_a_share_of_the_schedule_is_rounded_as_its_caller_wants(rounding: Rounding, expected: list[int]) -> None:
    assert THOUSAND.times_at([0.0, 0.2, 0.7, 1.0], rounding).tolist() == expected
