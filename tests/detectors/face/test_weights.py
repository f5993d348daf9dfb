from pathlib import Path

import pytest
import torch
from torch import nn

import facemill.detectors.face
from facemill import DetectorError
from facemill.detectors.face import retinaface_resnet50
from facemill.detectors.face.weights import load_weights


def save(path: Path, **state: torch.Tensor) -> Path:
    torch.save(state, path)
    return path


def test_a_prefix_of_data_parallel_is_ignored(tmp_path):
    path = save(tmp_path / "weights.pth", **{"module.weight": torch.ones(1, 2), "module.bias": torch.zeros(1)})
    network = nn.Linear(2, 1)
    load_weights(network, path)
    assert network.weight.tolist() == [[1, 1]]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DetectorError, match=r"nowhere\.pth.*detect\.weights"):
        load_weights(nn.Linear(2, 1), tmp_path / "nowhere.pth")


@pytest.mark.parametrize("content", [b"", b"<html>Not Found</html>", b"PK\x03\x04 cut off"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(DetectorError, match="cannot be read as weights"):
        load_weights(nn.Linear(2, 1), path)


def test_code_in_a_weights_file_is_not_run(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"weight": nn.Linear(2, 1)}, path)
    with pytest.raises(DetectorError, match="cannot be read as weights"):
        load_weights(nn.Linear(2, 1), path)


@pytest.mark.parametrize("state", [{"weight": torch.ones(1, 2)}, {"weight": torch.ones(1, 3), "bias": torch.ones(1)}])
def test_weights_of_another_network_are_refused(tmp_path, state):
    with pytest.raises(DetectorError, match="does not fit Linear"):
        load_weights(nn.Linear(2, 1), save(tmp_path / "weights.pth", **state))


def test_a_damaged_copy_of_published_weights_is_refused(tmp_path):
    state = {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}
    known = {"sha256": "0" * 64, "published_as": "known.pth"}
    with pytest.raises(DetectorError, match=r"not the published known\.pth"):
        load_weights(nn.Linear(2, 1), save(tmp_path / "known.pth", **state), **known)
    load_weights(nn.Linear(2, 1), save(tmp_path / "trained_by_me.pth", **state), **known)


def test_resnet50_without_weights_says_where_to_put_them(tmp_path, monkeypatch):
    def fail(**_):
        raise ValueError("no network")

    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    monkeypatch.setattr(retinaface_resnet50, "download_weights_if_necessary", fail)
    with pytest.raises(DetectorError) as caught:
        facemill.detectors.face.create("retinaface", device="cpu")
    message = str(caught.value)
    assert "retinaface.pth" in message
    assert str(tmp_path / ".deepface" / "weights" / "retinaface.pth") in message
    assert "--set detect.weights=PATH" in message


def test_resnet50_takes_what_the_package_has_fetched(tmp_path, monkeypatch, random_resnet50):
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    folder = tmp_path / ".deepface" / "weights"
    folder.mkdir(parents=True)
    (folder / "retinaface.pth").symlink_to(random_resnet50)
    expected = torch.load(random_resnet50, weights_only=True)["conv0.weight"]
    detector = facemill.detectors.face.create("retinaface", device="cpu")
    torch.testing.assert_close(detector.network.network.conv0.weight.data, expected)


def test_mobilenet_without_weights_says_where_to_put_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    with pytest.raises(DetectorError) as caught:
        facemill.detectors.face.create("retinaface", variant="mobilenet0.25", device="cpu")
    assert str(tmp_path / "hub" / "checkpoints" / "mobilenet0.25_Final.pth") in str(caught.value)
    assert "--set detect.weights=PATH" in str(caught.value)
