"""AUC of log-odds, since probabilities saturate: above log-odds of 37, a float64 sigmoid is 1.0."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat

__all__ = ["RankedAUROC", "ranks"]


def ranks(values: Tensor) -> Tensor:
    """Map `values` [N] to float64 in 0..1 with the same order and ties; torchmetrics applies no sigmoid to these."""
    distinct, place = torch.unique(values, return_inverse=True)
    scaled: Tensor = place.double() / len(distinct)
    return scaled


class RankedAUROC(Metric):  # type: ignore[misc]  # it has no types
    """Exact area under the ROC curve of log-odds, over all processes."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: log-odds [B] and labels, int [B]."""
        self.logits.append(logits.float())
        self.labels.append(labels)

    def compute(self) -> Tensor:
        """Return the AUC of all batches so far, a scalar."""
        auc: Tensor = binary_auroc(ranks(dim_zero_cat(self.logits)), dim_zero_cat(self.labels))
        return auc
