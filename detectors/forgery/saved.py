"""A trained detector in a folder: `model.safetensors` and `model.json`, which are all that loading it takes.

Of other packages, loading needs torch, timm, safetensors, pydantic (options are its models) and numpy alone.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_model as load_weights

from facemill.detectors.forgery.base import IMAGENET_MEAN, IMAGENET_STD, ForgeryDetector, InputSpec
from facemill.detectors.forgery.creation import create
from facemill.errors import ConfigError, DetectorError
from facemill.options import Options
from facemill.own_code import OwnCode, admit

__all__ = [
    *("FORMAT", "INFO_FILE", "MODEL_FILE", "SavedModel", "complete", "describe_model", "load_detector", "load_model")
]

MODEL_FILE = "model.safetensors"
INFO_FILE = "model.json"
FORMAT = 1
"""Version of the two files' format, which is changed when an older facemill would misread them."""

_OLD_FILE = "config.json"
"""Of the runs before model.json: it has these values among others, but no version and no input."""
_IMAGENET = {"mean": [*IMAGENET_MEAN], "std": [*IMAGENET_STD]}
_UNRECORDED = {
    **dict.fromkeys(("etd", "lrl", "mat"), _IMAGENET),
    "sia": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


class SavedModel(Options):
    """The content of model.json."""

    format: int = FORMAT
    facemill: str
    """Version that wrote the model."""
    detector: str
    """Name in the registry, or `module:Class`."""
    options: dict[str, Any]
    """All of the detector's options, including defaults."""
    input: InputSpec | None = None
    """Side, mean and standard deviation of the input; None for a run that has no model.json."""
    crop: dict[str, Any] | None = None
    """How the crops were framed that the detector was trained on: the `crop` section of the datasets' recipe."""
    code: OwnCode | None = None
    """The file of a detector that is named as `module:Class`."""


def complete(detector: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a run with mean and std, which were not options at first, as the detector then had them."""
    return {**_UNRECORDED.get(detector, {}), **options}


def load_model(run: str | Path, device: torch.device | str = "cpu") -> ForgeryDetector:
    """Load a trained detector, in eval mode.

    `detector.preprocess` makes its input of RGB crops [N, 3, H, W], uint8 or float in 0..1. Crops must be framed as
    those that the detector was trained on (`crop` in model.json).

    Examples:
        >>> import torch
        >>> detector = facemill.load_model("run")
        >>> crops = torch.zeros(2, 3, 80, 80, dtype=torch.uint8)
        >>> with torch.no_grad():
        ...     output = detector(detector.preprocess(crops))
        >>> output.logit.shape, output.score.shape  # log-odds and probability of fake
        (torch.Size([2]), torch.Size([2]))

    Args:
        run: folder of a finished run, or one with its model.safetensors and model.json only.

    Raises:
        ConfigError: if there is no model, or it is of another format or needs code that is not here.
        DetectorError: if the weights are damaged or of another detector.
    """
    run = Path(run)
    saved = _read(run)
    if not (run / MODEL_FILE).is_file():
        raise ConfigError(f"The run in {run} has not finished: continue it with `facemill train … --resume` first.")
    return load_detector(saved, run / MODEL_FILE).to(device).eval()


def describe_model(run: str | Path) -> dict[str, Any]:
    """The content of a model's model.json.

    Raises:
        ConfigError: as `load_model`.
    """
    return _read(Path(run)).model_dump(mode="json")


def load_detector(saved: SavedModel, weights: Path) -> ForgeryDetector:
    """Create a saved model's detector with weights from a safetensors file, on the CPU.

    Raises:
        ConfigError: if it needs code that is not here.
        DetectorError: if the weights are damaged or of another detector, or it now takes another input.
    """
    admit([saved.code] if saved.code is not None and saved.code.name == saved.detector else [])
    # All weights come from the file, so pretrained weights of the backbone are not needed.
    alone = {name: value for name, value in {"pretrained": False, "weights": None}.items() if name in saved.options}
    detector = create(saved.detector, **{**saved.options, **alone})
    if saved.input is not None and _values(saved.input) != _values(detector.input_spec):
        raise DetectorError(
            f"{saved.detector} of facemill {saved.facemill} had the input {saved.input}, and here it has "
            f"{detector.input_spec}: use the code that the model was trained with."
        )
    try:
        load_weights(detector, weights)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DetectorError(f"{weights} cannot be loaded ({reason}): train again.") from None
    return detector


def _values(spec: InputSpec) -> tuple[float, ...]:
    return (spec.size, *spec.mean, *spec.std, spec.clip or 1)


def _read(run: Path) -> SavedModel:
    path = run / INFO_FILE
    try:
        if not path.is_file():
            path = run / _OLD_FILE
            if not path.is_file():
                raise FileNotFoundError
            return _of_old_run(json.loads(path.read_bytes()))
        content = json.loads(path.read_bytes())
        version = content["format"]
        if version != FORMAT:
            raise ConfigError(
                f"{path} has the format {version!r}, which this facemill does not read (it reads {FORMAT}): install "
                f"facemill {content.get('facemill', 'of its version')}, which wrote it."
            )
        return SavedModel.model_validate(content)
    except FileNotFoundError:
        raise ConfigError(f"{run} holds no model: give a folder with {MODEL_FILE} and {INFO_FILE}.") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        fault = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error or type(error).__name__
        raise ConfigError(f"{path} is damaged ({fault}): copy it again, or train again.") from None


def _of_old_run(config: dict[str, Any]) -> SavedModel:
    detector = config["detector"]
    code = [one for one in config.get("code", ()) if one["name"] == detector]
    values = {name: config.get(name) for name in ("facemill", "crop")}
    options = complete(detector, config["options"])
    return SavedModel.model_validate({"detector": detector, "options": options, "code": (code or [None])[0], **values})
