"""A trained detector as one file that needs no facemill: an ONNX model, or a program of `torch.export`."""

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facemill.detectors.forgery.base import ForgeryDetector, InputSpec
from facemill.errors import ConfigError, DetectorError

__all__ = ["FORMATS", "export_detector", "is_exported"]

_TOLERANCE = 1e-3  # absolute and relative, between log-odds of the detector and of its file
_SHARED = "facemill"  # key under which the description is stored in both formats


class _Exported(nn.Module):
    """What is exported: crops in, log-odds out."""

    def __init__(self, detector: ForgeryDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, crops: Tensor) -> Tensor:
        images = self.detector.input_spec.normalise(crops.float() / 255)
        logit: Tensor = self.detector(images).logit
        return logit


def export_detector(detector: ForgeryDetector, suffix: str, about: dict[str, Any]) -> bytes:
    """Export a detector; its input `crops` is uint8 [B, 3, size, size], RGB, for any B, and its output log-odds [B].

    The input of a detector of clips is [B, T, 3, size, size].

    The file's log-odds of random crops, in batches of other sizes than that of its making, are compared with the
    detector's.

    Args:
        detector: on the CPU, in eval mode.
        suffix: one of `FORMATS`: `.onnx`, or `.pt2` for `torch.export.load`.
        about: stored in the file as JSON, under the key `facemill` of its metadata or its extra files.

    Raises:
        ConfigError: for another suffix, or if the packages of ONNX are not installed.
        DetectorError: if the detector cannot be exported, or the file gives other log-odds.
    """
    if suffix not in FORMATS:
        raise ConfigError(f"There is no export to {suffix or 'a file without a suffix'}: use {' or '.join(FORMATS)}.")
    module, crops = _Exported(detector).eval(), _random_crops(detector.input_spec, 2)
    try:
        with warnings.catch_warnings():  # torch's own, about its internals
            warnings.simplefilter("ignore")
            shapes = ({0: torch.export.Dim("batch")},)
            program = torch.export.export(module, (crops,), dynamic_shapes=shapes)
            data, run = FORMATS[suffix](program, crops, json.dumps(about))
    except ImportError as error:
        raise ConfigError(f"{error.name} is needed for {suffix}: install `facemill[export]`.") from None
    except Exception as error:  # torch raises exceptions of many types
        reason = " ".join(str(error).split())[:300]
        raise DetectorError(
            f"The detector cannot be exported to {suffix} ({type(error).__name__}: {reason})."
        ) from error
    for count in (1, 3):
        crops = _random_crops(detector.input_spec, count)
        with torch.no_grad():
            expected = module(crops)
        if not torch.allclose(found := run(crops), expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            worst = float((found - expected).abs().max())
            raise DetectorError(f"The detector's log-odds in {suffix} differ by up to {worst:.3g}: it is not exported.")
    return data


def is_exported(path: Path) -> bool:
    """Whether a file was written from `export_detector`, for a detector with a description as of `describe_model`."""
    return path.suffix in FORMATS and b'"facemill": "' in path.read_bytes()


def _random_crops(spec: InputSpec, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    shape = (count, 3, spec.size, spec.size) if spec.clip is None else (count, spec.clip, 3, spec.size, spec.size)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


Run = Callable[[Tensor], Tensor]


def _to_onnx(program: torch.export.ExportedProgram, crops: Tensor, about: str) -> tuple[bytes, Run]:
    import onnxruntime

    made = torch.onnx.export(
        program, (crops,), dynamo=True, input_names=["crops"], output_names=["log_odds"], verbose=False
    )
    if made is None:
        raise TypeError("torch made no ONNX program")
    made.model.metadata_props[_SHARED] = about
    data = made.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda crops: torch.from_numpy(session.run(None, {"crops": crops.numpy()})[0])


def _to_program(program: torch.export.ExportedProgram, crops: Tensor, about: str) -> tuple[bytes, Run]:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={_SHARED: about})
    loaded = torch.export.load(io.BytesIO(file.getvalue())).module()
    return file.getvalue(), lambda crops: loaded(crops)


FORMATS: dict[str, Callable[[torch.export.ExportedProgram, Tensor, str], tuple[bytes, Run]]] = {
    ".onnx": _to_onnx,
    ".pt2": _to_program,
}
