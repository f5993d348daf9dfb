"""Detectors in files that need no facemill."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from facemill import ConfigError, DetectorError
from facemill.detectors.forgery import ForgeryDetector, ForgeryOptions, ForgeryOutput, InputSpec
from facemill.detectors.forgery.exported import FORMATS, export_detector, is_exported

ABOUT = {"format": 1, "facemill": "0.1.0", "crop": {"size": 24}, "detector": "Küche"}
CROPS = torch.arange(2 * 3 * 24 * 24, dtype=torch.int64).remainder(251).byte().reshape(2, 3, 24, 24)


class Options(ForgeryOptions):
    size: int = 24


class Small(ForgeryDetector):
    options_type = Options

    def __init__(self) -> None:
        super().__init__(Options())
        self.input_spec = InputSpec(24, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 1)

    @property
    def cam_layer(self) -> nn.Module:
        return self.conv

    def forward(self, images: Tensor) -> ForgeryOutput:
        return ForgeryOutput(self.head(self.conv(images).relu().mean((2, 3)))[:, 0])


class ByBatch(Small):
    """Scores depend on the number of crops, which an export for two must not keep."""

    def forward(self, images: Tensor) -> ForgeryOutput:
        output = super().forward(images)
        return ForgeryOutput(output.logit + torch.full_like(output.logit, 0.01 * len(output.logit)))


class Undecided(Small):
    """Does what no exported program can: it looks at a value."""

    def forward(self, images: Tensor) -> ForgeryOutput:
        return super().forward(images if images.mean() > 0 else -images)


def small(kind: type[Small] = Small) -> Small:
    torch.manual_seed(0)
    return kind().eval()


@pytest.mark.heavy
def test_a_program_runs_without_facemill(tmp_path: Path) -> None:
    detector = small()
    path = tmp_path / "small.pt2"
    path.write_bytes(export_detector(detector, ".pt2", ABOUT))
    torch.save(CROPS, tmp_path / "crops.pt")
    code = (
        "import sys, torch; sys.modules['facemill'] = None; files = {'facemill': ''}; "
        f"run = torch.export.load({str(path)!r}, extra_files=files).module(); "
        f"print(*run(torch.load({str(tmp_path / 'crops.pt')!r})).tolist(), sep='\\n'); print(files['facemill'])"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    with torch.no_grad():
        expected = detector(detector.preprocess(CROPS)).logit
    torch.testing.assert_close(torch.tensor([float(line) for line in lines[:2]]), expected, rtol=1e-5, atol=1e-6)
    assert json.loads(lines[2]) == ABOUT


@pytest.mark.heavy
def test_an_onnx_file_says_what_it_is() -> None:
    model = onnx.load(io.BytesIO(export_detector(small(), ".onnx", ABOUT)))
    assert {prop.key: json.loads(prop.value) for prop in model.metadata_props if prop.key == "facemill"} == {
        "facemill": ABOUT
    }
    [crops] = model.graph.input
    assert crops.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [size.dim_value for size in crops.type.tensor_type.shape.dim][1:] == [3, 24, 24]


@pytest.mark.heavy
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_what_was_written_here_is_known(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"own{suffix}"
    path.write_bytes(export_detector(small(), suffix, ABOUT))
    assert is_exported(path)
    other = tmp_path / f"other{suffix}"
    other.write_bytes(export_detector(small(), suffix, {}))
    assert not is_exported(other)


def test_a_file_with_other_scores_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = small()

    def shifted(*_: object) -> tuple[bytes, Callable[[Tensor], Tensor]]:
        return b"", lambda crops: detector(detector.preprocess(crops)).logit.detach() + 0.1

    monkeypatch.setitem(FORMATS, ".onnx", shifted)
    with pytest.raises(DetectorError, match=r"log-odds in \.onnx differ by up to 0\.1:"):
        export_detector(detector, ".onnx", ABOUT)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_what_cannot_be_exported_is_said(suffix: str) -> None:
    with pytest.raises(DetectorError, match=rf"cannot be exported to \{suffix} \("):
        export_detector(small(Undecided), suffix, ABOUT)


def test_batches_of_other_sizes_are_tried() -> None:
    with pytest.raises(DetectorError, match=r"cannot be exported|differ by"):
        export_detector(small(ByBatch), ".onnx", ABOUT)


def test_other_formats_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no export to \.h5: use \.onnx or \.pt2"):
        export_detector(small(), ".h5", ABOUT)
    with pytest.raises(ConfigError, match="a file without a suffix"):
        export_detector(small(), "", ABOUT)
