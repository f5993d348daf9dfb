"""AUC of log-odds, since probabilities saturate: above log-odds of 37, a float64 sigmoid is 1.0."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

__all__ = ["ranked_auroc", "ranks"]


def ranks(values: Tensor) -> Tensor:
    """Map `values` [N] to float64 in 0..1 with the same order and ties; torchmetrics applies no sigmoid to these."""
    distinct, place = torch.unique(values, return_inverse=True)
    scaled: Tensor = place.double() / len(distinct)
    return scaled


def ranked_auroc(logits: Tensor, labels: Tensor) -> float:
    """Exact area under the ROC curve of log-odds [N] against labels, int [N]."""
    return float(binary_auroc(ranks(logits), labels))
