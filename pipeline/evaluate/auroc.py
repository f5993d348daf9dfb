"""AUC of log-odds, since probabilities saturate: above log-odds of 37, a float64 sigmoid is 1.0."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

__all__ = ["ranked_auroc"]


def ranked_auroc(logits: Tensor, labels: Tensor) -> float:
    """Exact area under the ROC curve of log-odds [N] against labels, int [N]."""
    distinct, place = torch.unique(logits, return_inverse=True)
    return float(binary_auroc(place.double() / len(distinct), labels))  # in 0..1: torchmetrics applies no sigmoid
