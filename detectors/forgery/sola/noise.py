"""Adaptive SRM: noise of an image by three high-pass filters (SOLA, section 3.1)."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.precision import without_autocast

__all__ = ["NoiseFilters", "srm_kernels"]

# Below this, scaling an off-centre sum to 1 would make the kernel's weights explode. Off-centre weights of SRM kernels
# sum to 1, and a typical optimiser step changes that by some thousandths, so only an extreme step gets this low.
_SMALLEST_SUM = 1e-3


def srm_kernels() -> Tensor:
    """The three filters of the Spatial Rich Model, [3, 5, 5]: centre -1, the rest summing to 1 (Eq. 3)."""
    square_3 = torch.tensor([[-1.0, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
    square_5 = (
        torch.tensor(
            [[-1.0, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
        )
        / 12
    )
    second_difference = torch.tensor([[1.0, -2, 1]]) / 2
    return torch.stack([F.pad(square_3, (1, 1, 1, 1)), square_5, F.pad(second_difference, (1, 1, 2, 2))])


class NoiseFilters(nn.Module):
    """Three 5x5 filters over RGB, [B, 3, H, W] -> [B, 3, H, W], initialised as SRM's (Fig. 3).

    Of Eq. 2 only the division by q is done. Its rounding to integers would make nearly all residuals of values in 0..1
    zero, and passes no gradient to learned filters; the paper's own form of the filters, Eqs. 3 and 4, has none.

    Args:
        kind: `srm` is fixed, `lsrm` is learned, `asrm` is learned and constrained to Eq. 4 by `constrain`.
    """

    weight: Tensor  # [3, 3, 5, 5]

    def __init__(self, kind: Literal["srm", "lsrm", "asrm"]) -> None:
        super().__init__()
        self.kind = kind
        weight = srm_kernels()[:, None].repeat(1, 3, 1, 1)
        if kind == "srm":
            self.register_buffer("weight", weight)
        else:
            self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        # bf16 rounds neighbouring pixels to the same value, which removes the noise.
        with without_autocast(images):
            return F.conv2d(images.float(), self.weight.float(), padding=2)

    @torch.no_grad()
    def constrain(self) -> None:
        """Project every 5x5 slice to a predictor minus the pixel: centre -1, the rest summing to 1 (Eq. 4).

        The rest is scaled; if it sums to about 0, so that scaling is impossible, each value is shifted equally.
        """
        rest = self.weight.clone()
        rest[:, :, 2, 2] = 0
        total = rest.sum((2, 3), keepdim=True)
        scaled = rest / torch.where(total.abs() > _SMALLEST_SUM, total, 1)
        moved = rest + (1 - total) / (rest[0, 0].numel() - 1)
        self.weight.copy_(torch.where(total.abs() > _SMALLEST_SUM, scaled, moved))
        self.weight[:, :, 2, 2] = -1
