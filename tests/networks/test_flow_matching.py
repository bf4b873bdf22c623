"""The convention of the whole project: tau = 0 is data, tau = 1 is noise."""

import torch

from networks.flow_matching import integrate, interpolate, sample_tau, velocity, velocity_from_clean


def test_ends_of_the_path_and_its_velocity() -> None:
    z0, z1 = torch.randn(4, 3), torch.randn(4, 3)
    assert torch.equal(interpolate(z0, z1, torch.zeros(4)), z0)
    assert torch.equal(interpolate(z0, z1, torch.ones(4)), z1)
    step = interpolate(z0, z1, torch.full((4,), 0.6)) - interpolate(z0, z1, torch.full((4,), 0.4))
    torch.testing.assert_close(step, 0.2 * velocity(z0, z1))


def test_the_exact_field_is_integrated_exactly_in_any_number_of_steps() -> None:
    z0, z1 = torch.randn(5, 2), torch.randn(5, 2)
    for steps in (1, 3, 10):
        found = integrate(lambda z, tau: velocity(z0, z1), z1, steps)
        torch.testing.assert_close(found, z0)


def test_a_clean_prediction_is_the_same_field() -> None:
    z0, z1, tau = torch.randn(5, 2), torch.randn(5, 2), torch.rand(5) * 0.9 + 0.1
    torch.testing.assert_close(velocity_from_clean(interpolate(z0, z1, tau), z0, tau), velocity(z0, z1))
    torch.testing.assert_close(integrate(lambda z, t: velocity_from_clean(z, z0, t), z1, 4), z0)


def test_shift_and_pure_noise_share() -> None:
    torch.manual_seed(0)
    plain, shifted = sample_tau(20_000), sample_tau(20_000, shift=5.0)
    assert abs(plain.mean() - 0.5) < 0.02
    assert shifted.mean() > 0.7  # Wan's schedule spends its time at high noise
    half = sample_tau(20_000, pure_noise_share=0.5)
    assert abs((half == 1).float().mean() - 0.5) < 0.02
