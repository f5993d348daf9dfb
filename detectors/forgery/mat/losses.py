"""MAT's losses on attended regions: regional independence, and the paper's alternative, additive margin softmax."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.forgery.mat.pooling import bilinear_attention_pool
from facemill.detectors.forgery.precision import without_autocast

__all__ = ["AdditiveMarginLoss", "RegionIndependenceLoss", "region_vectors"]

_CENTRE_RATE = 0.05  # alpha of Eq. 4, in the first epoch
_CENTRE_RATE_DECAY = 0.9  # alpha is multiplied by this after every epoch
_REAL_MARGIN = 0.05  # m_in of Eq. 3 for reals
_FAKE_MARGIN = 0.1  # and for fakes, whose textures vary more
_CENTRE_MARGIN = 0.2  # m_out of Eq. 3

_RELEASED_REAL_MARGIN, _RELEASED_FAKE_MARGIN = 0.01, 0.02  # the same of the released code's first form
_RELEASED_CENTRE_MARGIN = 1.0

_SCALE, _COSINE_MARGIN = 30.0, 0.35  # of additive margin softmax, from its own paper; MAT's paper gives none


def region_vectors(pooled: Tensor, attentions: Tensor) -> Tensor:
    """Vectors V of the attended regions: attention pooling of the shallow map's local averages.

    The paper's margins are constants, so vectors must have a known scale: each channel of D is
    standardised over space, as in the authors' released code, and each vector has unit length. The release adds
    1e-8 to the deviation; here it is 1e-5 to the variance, which bounds the gradient of a channel that is constant.

    Args:
        pooled: D, [B, C, h, w].
        attentions: [B, M, h, w].

    Returns:
        [B, M, C], float32.
    """
    return bilinear_attention_pool(F.instance_norm(pooled.float()), attentions)


class RegionIndependenceLoss(nn.Module):
    """Regional independence loss (Eq. 3): pulls a head's vectors to their centre, pushes the heads' centres apart.

    Centres follow Eq. 4 with a gradient through the batch's mean, without which the second part of the loss would have
    none. It is alpha / B of the centres' own gradient, so that Eq. 3 hardly repels: with 48 images, four heads and
    vectors scattered around one direction for each head, the second part's gradient in the first step is 4e-4 of the
    first part's for the sums of Eq. 3, 6e-3 for the means here, and 0.5 for the released form.

    Args:
        num_attentions, channels: M and C of the vectors.
        form: `paper`: squared distances, with means instead of the sums over samples, heads and ordered pairs of heads.
            `release`: as the first form in the authors' code (Auxiliary_Loss_v1), distances, their mean over samples
            and heads, and the sum over pairs of heads, with other margins; repulsion is half of attraction.

    Attributes:
        centres: c, [M, C]; initially zero.
        epochs: completed epochs, an integer: alpha is 0.05 * 0.9^epochs.
        gathered: [M, C], sum of the means of the batches since the last step; like gradients, not in checkpoints.
        batches: number of those batches, an integer; above 1 with gradient accumulation.
    """

    centres: Tensor
    epochs: Tensor
    gathered: Tensor
    batches: Tensor

    def __init__(self, num_attentions: int, channels: int, form: Literal["paper", "release"] = "paper") -> None:
        super().__init__()
        self.form = form
        self.register_buffer("centres", torch.zeros(num_attentions, channels))
        self.register_buffer("epochs", torch.tensor(0))
        self.register_buffer("gathered", torch.zeros(num_attentions, channels), persistent=False)
        self.register_buffer("batches", torch.tensor(0), persistent=False)

    def forward(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar; in training mode relative to the centres as moved by this batch alone.

        Args:
            vectors: V, [B, M, C], float32, of unit length.
            labels: [B] in 0..1; the inner margin is interpolated between those of the two classes.
        """
        centres = self._moved(self._gather(vectors)) if self.training else self.centres
        fake = labels.float()[:, None]  # [B, 1]
        if self.form == "release":
            inner_margins = _RELEASED_REAL_MARGIN + (_RELEASED_FAKE_MARGIN - _RELEASED_REAL_MARGIN) * fake
            intra = F.relu(torch.linalg.vector_norm(vectors - centres, dim=-1) - inner_margins)  # [B, M]
            first, second = torch.combinations(torch.arange(len(centres), device=centres.device)).unbind(1)
            between = torch.linalg.vector_norm(centres[first] - centres[second], dim=-1)
            return intra.mean() + F.relu(_RELEASED_CENTRE_MARGIN - between).sum()
        inner_margins = _REAL_MARGIN + (_FAKE_MARGIN - _REAL_MARGIN) * fake
        intra = F.relu((vectors - centres).square().sum(-1) - inner_margins)  # [B, M]
        # Squared distances: the gradient of a square root is infinite at zero, where all centres start.
        between = (centres[:, None] - centres).square().sum(-1)  # [M, M]
        heads = len(centres)
        inter = F.relu(_CENTRE_MARGIN - between) * (1 - torch.eye(heads, device=between.device))
        return intra.mean() + inter.sum() / (heads * (heads - 1))

    def after_step(self) -> None:
        """Move the centres by the mean of all batches since the last step, if there were any."""
        moved = self._moved(self.gathered / self.batches.clamp(min=1))
        self.centres.copy_(torch.where(self.batches > 0, moved, self.centres))
        self.gathered.zero_()
        self.batches.zero_()

    def after_epoch(self) -> None:
        """Decay the rate at which centres move."""
        self.epochs += 1

    def _gather(self, vectors: Tensor) -> Tensor:
        """Return the batch's mean [M, C] over all ranks, with gradient; accumulate it without."""
        mean = vectors.mean(0)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            shared = mean.detach().clone()
            torch.distributed.all_reduce(shared)
            shared /= torch.distributed.get_world_size()
            mean = mean + (shared - mean).detach()  # value over all ranks, gradient of this one
        self.gathered += mean.detach()
        self.batches += 1
        return mean

    def _moved(self, mean: Tensor) -> Tensor:
        """Centres moved one step towards a mean (Eq. 4)."""
        rate = _CENTRE_RATE * _CENTRE_RATE_DECAY**self.epochs
        return self.centres - rate * (self.centres - mean)


class AdditiveMarginLoss(nn.Module):
    """Additive margin softmax over heads: aligns each region's vector with the learned direction of its head.

    The paper only names the method, and says that it can replace the regional independence loss because it
    also forces vectors close to their centres; hence a class here is a head, not real or fake.
    """

    def __init__(self, num_attentions: int, channels: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(num_attentions, channels))

    def forward(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar, of vectors [B, M, C], float32, of unit length; labels are not used."""
        with without_autocast(vectors):
            cosines = vectors @ F.normalize(self.directions.float(), dim=-1).mT  # [B, M, M]
        own = torch.eye(cosines.shape[-1], device=cosines.device)
        heads = torch.arange(cosines.shape[-1], device=cosines.device).expand(cosines.shape[:2])
        return F.cross_entropy((_SCALE * (cosines - _COSINE_MARGIN * own)).flatten(0, 1), heads.flatten())
