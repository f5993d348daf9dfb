"""The phase as an image, against NumPy's transforms."""

import numpy as np
import pytest
import torch

from facemill.detectors.forgery.spsl.phase import phase_image


def noisy(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(8, 8), (7, 10), (33, 16)])
def test_it_is_the_inverse_transform_of_amplitudes_of_one(shape: tuple[int, int]) -> None:
    images = noisy(2, 1, *shape)
    found = phase_image(images)
    for image, phase in zip(images[:, 0].double().numpy(), found[:, 0].numpy(), strict=True):
        angles = np.angle(np.fft.fft2(image))
        expected = np.fft.ifft2(np.exp(1j * angles))
        np.testing.assert_allclose(expected.imag, 0, atol=1e-12)
        np.testing.assert_allclose(phase, expected.real * np.sqrt(image.size), atol=1e-4)


def test_its_mean_square_is_one_for_every_size() -> None:
    for side in (16, 50):
        assert phase_image(noisy(1, 1, side, side)).square().mean().item() == pytest.approx(1, abs=1e-3)


def test_contrast_and_brightness_change_no_phase_but_that_of_the_mean() -> None:
    images = noisy(1, 1, 12, 12)
    changed = phase_image(0.3 * images + 0.1)
    torch.testing.assert_close(changed, phase_image(images), atol=1e-4, rtol=0)


def test_an_edge_stands_out_where_it_is() -> None:
    images = torch.zeros(1, 1, 16, 16)
    images[..., 4:11] = 1
    rows = phase_image(images)[0, 0, 8].abs()
    assert set(rows.topk(2).indices.tolist()) <= {3, 4, 10, 11}


def test_rounding_errors_of_a_flat_image_have_no_phase() -> None:
    flat = phase_image(torch.full((1, 1, 299, 299), 0.7))
    torch.testing.assert_close(flat, torch.full_like(flat, 1 / 299), atol=0.05, rtol=0)  # the mean's coefficient alone


def test_the_weakest_signal_of_8_bit_has_all_of_its_phase() -> None:
    levels = 100 + noisy(1, 1, 64, 64).round()
    assert phase_image(levels / 255).square().mean().item() == pytest.approx(1, abs=0.01)


def test_bf16_does_not_blur_it() -> None:
    images = noisy(1, 1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = phase_image(images)
    assert torch.equal(mixed, phase_image(images))
