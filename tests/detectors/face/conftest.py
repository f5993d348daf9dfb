"""Weights for RetinaFace on ResNet-50, which cannot be downloaded in a test: random ones with a realistic spread."""

from pathlib import Path

import pytest
import torch
from retinaface.model import retinaface_pth_model

SPREAD = {"cls_score": 2.0, "bbox_pred": 0.2, "landmark_pred": 0.2}


@pytest.fixture(scope="session")
def random_resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file whose network scores some anchors above 0.9 and moves boxes by a fifth of their side."""
    path = tmp_path_factory.mktemp("weights") / "random_resnet50.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = retinaface_pth_model.RetinaFace().eval()
        image = torch.randint(0, 256, (1, 128, 160, 3)).float()
    found: dict[str, torch.Tensor] = {}
    heads = {
        f"{name}.{part}": head.get_submodule(part)
        for name, head in network.named_children()
        if isinstance(head, retinaface_pth_model.Head)
        for part in SPREAD
    }
    for name, conv in heads.items():
        conv.bias.data.zero_()
        conv.register_forward_hook(lambda _module, _inputs, output, name=name: found.update({name: output}))
    with torch.inference_mode():
        network(image)
    for name, conv in heads.items():
        values = found[name]
        factor = SPREAD[name.split(".")[1]] / values.std()
        conv.weight.data *= factor
        conv.bias.data -= values.mean() * factor
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def mobilenet_weights(media: Path) -> Path:
    path = media.parent / "weights" / "mobilenet0.25_Final.pth"
    if not path.is_file():
        pytest.skip(f"no weights at {path}")
    return path
