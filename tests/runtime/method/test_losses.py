import torch

from likeness_runtime.method.losses import diffusion_loss, noised

A = torch.tensor([0.9, 0.5, 0.1])
Z = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
NOISE = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(1))


def test_noising_keeps_the_variance_of_unit_latents() -> None:
    generator = torch.Generator().manual_seed(0)
    z, noise = (torch.randn(3, 4, 64, 64, generator=generator) for _ in range(2))
    assert torch.allclose(noised(z, noise, A).var(dim=(1, 2, 3)), torch.ones(3), atol=0.05)


def test_the_true_noise_has_no_epsilon_loss() -> None:
    assert diffusion_loss(NOISE, Z, NOISE, A, "epsilon").tolist() == [0.0, 0.0, 0.0]


def test_the_picture_and_the_noise_follow_from_z_t_and_the_true_velocity() -> None:
    a = A[:, None, None, None]
    v = a.sqrt() * NOISE - (1 - a).sqrt() * Z
    z_t = noised(Z, NOISE, A)
    assert diffusion_loss(v, Z, NOISE, A, "v_prediction").max() < 1e-12
    assert torch.allclose(a.sqrt() * z_t - (1 - a).sqrt() * v, Z, atol=1e-6)
    assert torch.allclose((1 - a).sqrt() * z_t + a.sqrt() * v, NOISE, atol=1e-6)


def test_each_row_has_its_own_loss() -> None:
    wrong = NOISE.clone()
    wrong[1] += 2.0
    assert torch.allclose(diffusion_loss(wrong, Z, NOISE, A, "epsilon"), torch.tensor([0.0, 4.0, 0.0]))
