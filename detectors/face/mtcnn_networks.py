"""MTCNN's three networks with facenet-pytorch's weights and results, rearranged for speed.

Only the weights of the package are read: importing it imports torchvision, which takes longer than torch itself
and 150 MiB, in each worker of a build.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facemill.detectors.installed import package_folder

__all__ = ["ProposalNetwork", "RefinementNetwork"]

# Ten channels do not fill a vector register; two more, all zeros, halve the time of the first layers on a CPU.
PADDED_CHANNELS = 12

State = dict[str, Tensor]


class ProposalNetwork(nn.Module):
    """P-Net: classifies each cell of an image as face or not.

    It returns one logit per cell instead of a softmax over two classes. The box regression, a 1x1
    convolution, is computed separately, only for the few cells that pass the threshold.
    """

    def __init__(self) -> None:
        super().__init__()
        state = _package_weights("pnet")
        spare = PADDED_CHANNELS - len(state["conv1.weight"])
        for name in ("conv1.weight", "conv1.bias", "prelu1.weight"):
            state[name] = F.pad(state[name], (0, 0) * (state[name].ndim - 1) + (0, spare))
        state["conv2.weight"] = F.pad(state["conv2.weight"], (0, 0, 0, 0, 0, spare))
        self.conv1, self.conv2, self.conv3 = (_convolution(state, f"conv{i}") for i in (1, 2, 3))
        self.prelu1, self.prelu2, self.prelu3 = (_prelu(state, f"prelu{i}") for i in (1, 2, 3))
        self.face = _linear(state["conv4_1.weight"].flatten(1).diff(dim=0), state["conv4_1.bias"].diff())
        self.box = _linear(state["conv4_2.weight"].flatten(1), state["conv4_2.bias"])

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
    """R-Net or O-Net: classifies a crop as face or not, and regresses its box.

    Args:
        name: of its weights: `rnet`, for crops of 24 pixels, or `onet`, for crops of 48.
        pools: kernels of the max pooling, with step 2, after the first convolutions.
    """

    def __init__(self, name: str, pools: tuple[int, ...]) -> None:
        super().__init__()
        state = _package_weights(name)
        layers: list[nn.Module] = []
        count = sum(key.startswith("conv") and key.endswith("weight") for key in state)
        for i in range(1, count + 1):
            layers += [_convolution(state, f"conv{i}"), _prelu(state, f"prelu{i}")]
            if i <= len(pools):
                layers.append(nn.MaxPool2d(pools[i - 1], 2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        first, face, *regressions = sorted({key.split(".")[0] for key in state if key.startswith("dense")})
        self.dense = nn.Sequential(
            _linear(state[f"{first}.weight"], state[f"{first}.bias"]), _prelu(state, f"prelu{count + 1}")
        )
        self.face = _linear(state[f"{face}.weight"].diff(dim=0), state[f"{face}.bias"].diff())
        self.regression = _linear(
            *(torch.cat([state[f"{part}.{kind}"] for part in regressions]) for kind in ("weight", "bias"))
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


def _package_weights(network: str) -> State:
    """Weights of `pnet`, `rnet` or `onet` in the installed facenet-pytorch."""
    folder = package_folder("facenet_pytorch", "whose weights find faces")
    state: State = torch.load(folder / "data" / f"{network}.pt", weights_only=True)
    return state


def _convolution(state: State, name: str) -> nn.Conv2d:
    weight = state[f"{name}.weight"]
    outputs, inputs, height, width = weight.shape
    layer = nn.Conv2d(inputs, outputs, kernel_size=(height, width))
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(state[f"{name}.bias"])
    return layer


def _prelu(state: State, name: str) -> nn.PReLU:
    layer = nn.PReLU(len(state[f"{name}.weight"]))
    layer.weight = nn.Parameter(state[f"{name}.weight"])
    return layer


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer
