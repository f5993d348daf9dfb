"""AUC by log-odds, whose order probabilities lose where they are sure: above 37 a sigmoid is 1.0 in float64."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat

__all__ = ["RankedAUROC", "ranks"]


def ranks(values: Tensor) -> Tensor:
    """Numbers in 0..1, float64 [N], of the order and ties of `values` [N]: torchmetrics takes these as they are."""
    distinct, place = torch.unique(values, return_inverse=True)
    scaled: Tensor = place.double() / len(distinct)
    return scaled


class RankedAUROC(Metric):  # type: ignore[misc]  # it has no types
    """Exact area under the ROC curve of log-odds, over all ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take log-odds [B] of labels int [B] into account."""
        self.logits.append(logits.float())
        self.labels.append(labels)

    def compute(self) -> Tensor:
        """The AUC so far, a scalar."""
        auc: Tensor = binary_auroc(ranks(dim_zero_cat(self.logits)), dim_zero_cat(self.labels))
        return auc
