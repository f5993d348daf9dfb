"""What a run computes in."""

import torch
from torch import nn

from facemill.pipeline.train.device import launched


class UsedTwice(nn.Module):
    """A scalar weight, whose gradient is the sum of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        both: torch.Tensor = self.layer(first).float() + self.layer(second).float()
        return both


def test_gradients_of_a_weight_that_is_used_twice_are_added_in_float32() -> None:
    with launched(on_gpu=False, nodes=1, processes=1, mixed=True) as fabric:
        module = UsedTwice()
        fabric.backward(fabric.setup(module)(torch.tensor([[256.0]]), torch.tensor([[1.0]])).sum())
    assert module.layer.weight.grad is not None
    assert float(module.layer.weight.grad) == 257  # bfloat16 has no number between 256 and 258
