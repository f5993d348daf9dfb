"""The losses of Exposing the Deception, all in float32.

Predictions are two-class logits (real, fake). P_Z, the prediction from all local features, is the teacher in both
information losses and gets no gradient from them: otherwise it would move towards its students.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["TEMPERATURE", "LearnedWeighting", "global_information_loss", "local_information_loss", "soft_cross_entropy"]

TEMPERATURE = 1.5  # of the softmaxes in both information losses; the paper does not give it


class LearnedWeighting(nn.Module):
    """Sum of losses whose weights are learned with the network (Liebel and Koerner, 2018, Eq. 6).

    `sum_k L_k / (2 sigma_k^2) + ln(1 + sigma_k^2)`, with every sigma_k initially 1: alpha and beta of Eq. 13.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.sigma = nn.Parameter(torch.ones(count))

    def forward(self, losses: Tensor) -> Tensor:
        """Combine losses [K] into one scalar."""
        variance = self.sigma.square()
        return (0.5 * losses / variance + variance.log1p()).sum()


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Two-class cross-entropy of each head, averaged over the batch.

    Args:
        logits: [B, K, 2] of K heads.
        labels: [B] in 0..1, the probability of fake.

    Returns:
        float32 [K].
    """
    log_p = logits.float().log_softmax(-1)
    fake = labels.float()[:, None]
    return -(fake * log_p[..., 1] + (1 - fake) * log_p[..., 0]).mean(0)


def local_information_loss(joint: Tensor, without: Tensor) -> Tensor:
    """Eq. 8, `exp(-sum_i KL(P_Z || P_{Z without z_i}))`: small if leaving out each z_i changes the prediction.

    Args:
        joint: logits of P_Z, [B, 2].
        without: logits of P_{Z without z_i}, [B, n, 2].

    Returns:
        float32 scalar in 0..1; each divergence is averaged over the batch.
    """
    return (-_divergence(joint, without)).exp()


def global_information_loss(joint: Tensor, fused: Tensor) -> Tensor:
    """Eq. 12, `KL(P_Z || P_G)`, averaged over the batch: small if G holds as much information on the label as Z.

    Args:
        joint, fused: logits of P_Z and P_G, [B, 2].

    Returns:
        float32 scalar, 0 or more.
    """
    return _divergence(joint, fused[:, None])


def _divergence(teacher: Tensor, students: Tensor) -> Tensor:
    """`sum_k KL(teacher || student_k)` of logits [B, 2] and [B, K, 2], averaged over the batch."""
    target = (teacher.detach().float() / TEMPERATURE).log_softmax(-1)[:, None].expand_as(students)
    log_p = (students.float() / TEMPERATURE).log_softmax(-1)
    return F.kl_div(log_p, target, reduction="batchmean", log_target=True)
