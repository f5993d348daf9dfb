"""Adaptive SRM: the noise of a picture by three high-pass filters (SOLA, section 3.1).

Fei et al., Learning Second Order Local Anomaly for General Face Forgery Detection, CVPR 2022.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.precision import without_autocast

__all__ = ["NoiseFilters", "srm_kernels"]

# Below this an off-centre sum cannot be scaled to 1 without blowing the kernel up. Kernels of SRM sum to 1, and a
# usual step moves that by some thousandths, so that only a step out of all proportion gets there.
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
    """Three 5x5 filters over RGB, [B, 3, H, W] -> [B, 3, H, W], that start as SRM's (Fig. 3).

    Args:
        kind: `srm` never changes, `lsrm` learns freely, `asrm` learns and is held to Eq. 4 by `constrain`.
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
        # In bf16 neighbouring pixels are rounded to the same value, which is all of the noise.
        with without_autocast(images):
            return F.conv2d(images.float(), self.weight.float(), padding=2)

    @torch.no_grad()
    def constrain(self) -> None:
        """Bring every 5x5 slice back to a predictor minus the pixel: centre -1, the rest summing to 1 (Eq. 4).

        The rest is scaled; where it sums to about 0 and no scale would do, each value is moved by the same amount.
        """
        rest = self.weight.clone()
        rest[:, :, 2, 2] = 0
        total = rest.sum((2, 3), keepdim=True)
        scaled = rest / torch.where(total.abs() > _SMALLEST_SUM, total, 1)
        moved = rest + (1 - total) / (rest[0, 0].numel() - 1)
        self.weight.copy_(torch.where(total.abs() > _SMALLEST_SUM, scaled, moved))
        self.weight[:, :, 2, 2] = -1
