"""facenet-pytorch's three MTCNN networks, with the same weights and results, rearranged for speed."""

import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ProposalNetwork", "RefinementNetwork"]

# Ten channels do not fill a vector register; two more, all zeros, halve the time of the first layers on a CPU.
PADDED_CHANNELS = 12


class ProposalNetwork(nn.Module):
    """P-Net: classifies each cell of an image as face or not.

    It returns one logit per cell instead of a softmax over two classes. The box regression, a 1x1
    convolution, is computed separately, only for the few cells that pass the threshold.
    """

    def __init__(self) -> None:
        super().__init__()
        original = PNet()
        spare = PADDED_CHANNELS - original.conv1.out_channels
        self.conv1 = nn.Conv2d(3, PADDED_CHANNELS, kernel_size=3)
        self.conv1.weight = nn.Parameter(F.pad(original.conv1.weight.data, (0, 0, 0, 0, 0, 0, 0, spare)))
        self.conv1.bias = nn.Parameter(F.pad(original.conv1.bias.data, (0, spare)))
        self.prelu1 = nn.PReLU(PADDED_CHANNELS)
        self.prelu1.weight = nn.Parameter(F.pad(original.prelu1.weight.data, (0, spare)))
        self.conv2 = nn.Conv2d(PADDED_CHANNELS, 16, kernel_size=3)
        self.conv2.weight = nn.Parameter(F.pad(original.conv2.weight.data, (0, 0, 0, 0, 0, spare)))
        self.conv2.bias = original.conv2.bias
        self.prelu2, self.conv3, self.prelu3 = original.prelu2, original.conv3, original.prelu3
        self.face = _linear(original.conv4_1.weight.flatten(1).diff(dim=0), original.conv4_1.bias.diff())
        self.box = _linear(original.conv4_2.weight.flatten(1), original.conv4_2.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images [N, 3, H, W] in -1..1 to logits [N, h, w] and the features [N, h, w, 32] they come from."""
        x = max_pool_2x2(self.prelu1(self.conv1(images)))
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        features = x.permute(0, 2, 3, 1)
        return self.face(features).squeeze(-1), features

    def regress(self, features: Tensor) -> Tensor:
        """Map features [K, 32] of some cells to box offsets [K, 4], in units of box sides."""
        return torch.as_tensor(self.box(features))


class RefinementNetwork(nn.Module):
    """R-Net or O-Net: classifies a crop as face or not, and regresses its box."""

    def __init__(self, original: RNet | ONet) -> None:
        super().__init__()
        layers = dict(original.named_children())
        dense = [name for name in layers if name.startswith("dense")]
        names = list(layers)
        split = names.index(dense[0])
        self.features = nn.Sequential(*(layers[name] for name in names[:split]))
        self.dense = nn.Sequential(*(layers[name] for name in names[split : split + 2]))
        face, *regressions = (layers[name] for name in dense[1:])
        self.face = _linear(face.weight.diff(dim=0), face.bias.diff())
        self.regression = _linear(
            torch.cat([layer.weight for layer in regressions]), torch.cat([layer.bias for layer in regressions])
        )

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Map crops [K, 3, S, S] in -1..1 to scores [K] and regressions [K, 4] (R-Net) or [K, 14] (O-Net).

        A regression is four box offsets, then five x and five y of the landmarks, all in units of box sides.
        """
        x = self.dense(self.features(crops).permute(0, 3, 2, 1).flatten(1))
        return self.face(x).squeeze(1).sigmoid(), self.regression(x)


def max_pool_2x2(x: Tensor) -> Tensor:
    """Compute `max_pool2d(x, 2, ceil_mode=True)`; on a CPU torch's own takes as long as the convolutions around it."""
    if x.is_cuda:
        return F.max_pool2d(x, 2, ceil_mode=True)
    return _max_of_pairs(_max_of_pairs(x, 2), 3)


def _max_of_pairs(x: Tensor, dim: int) -> Tensor:
    """Maximum of neighbours 0 and 1, 2 and 3, ... along a dimension; an odd last one is kept as it is."""
    pairs, odd = divmod(x.shape[dim], 2)
    paired = x.narrow(dim, 0, 2 * pairs).view(*x.shape[:dim], pairs, 2, *x.shape[dim + 1 :])
    maximum = torch.maximum(*paired.unbind(dim + 1))
    return torch.cat([maximum, x.narrow(dim, -1, 1)], dim) if odd else maximum


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return layer
