"""A trained detector is loaded from two files, by few packages, and scores as it does in an evaluation."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_model
from torch import Tensor

import facemill
from facemill import ConfigError, DetectorError
from facemill.detectors.forgery import InputSpec, create
from facemill.pipeline.data import FaceDataset, FaceLoader
from facemill.pipeline.evaluate.scoring import score_faces
from facemill.pipeline.runs import load_run
from facemill.pipeline.train import TrainResult

ALONE = '''
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

allowed, waiting = set(), ["torch", "timm", "safetensors", "pydantic", "numpy"]
while waiting:
    name = waiting.pop().lower().replace("_", "-")
    if name not in allowed:
        allowed.add(name)
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            needed = []
        waiting += ["".join(c if c.isalnum() or c in "-_" else " " for c in line).split()[0] for line in needed
                    if "extra ==" not in line]
owners = packages_distributions()


class Hide:
    """A finder that does not find what is not allowed, as if it were not installed."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        packages = {owner.lower().replace("_", "-") for owner in owners.get(name.partition(".")[0], [])}
        strange = not name.startswith("facemill") and packages and not packages & allowed
        if strange or name in ("facemill.pipeline", "facemill.manifests"):
            return None
        return self.finder.find_spec(name, path, target)


sys.meta_path[:] = map(Hide, sys.meta_path)
for name in ("lightning", "kornia", "pyarrow", "dask"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{name} is not hidden")
import torch
import facemill

detector = facemill.load_model(sys.argv[1])
with torch.no_grad():
    output = detector(detector.preprocess(torch.load(sys.argv[2])))
torch.save(output.logit, sys.argv[3])
assert not detector.training and output.score.shape == output.logit.shape
assert not {"lightning", "kornia", "pyarrow", "dask", "torchmetrics", "scipy", "cv2"} & set(sys.modules), sys.modules
'''


@pytest.fixture
def folder(finished: TrainResult, tmp_path: Path) -> Path:
    """The two files of a model, alone."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.safetensors", "model.json"):
        shutil.copy(finished.run / name, folder)
    return folder


@pytest.fixture(scope="module")
def crops() -> Tensor:
    """uint8 [5, 3, 80, 80]."""
    return torch.randint(256, (5, 3, 80, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def change(folder: Path, **values: Any) -> None:
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(content | values))


@pytest.mark.heavy
def test_two_files_are_loaded_without_the_packages_of_training(folder: Path, crops: Tensor, tmp_path: Path) -> None:
    torch.save(crops, tmp_path / "crops.pt")
    arguments = [str(path) for path in (folder, tmp_path / "crops.pt", tmp_path / "logits.pt")]
    done = subprocess.run([sys.executable, "-c", ALONE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    detector = facemill.load_model(folder)
    with torch.no_grad():
        expected = detector(detector.preprocess(crops)).logit
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), expected)


def test_it_scores_as_an_evaluation(finished: TrainResult, folder: Path, toy: Path) -> None:
    detector, faces = facemill.load_model(folder), FaceDataset(toy, "test", fields=())
    with torch.no_grad():
        found = [detector(detector.preprocess(raw.images)).logit for raw in FaceLoader(faces, batch_size=32)]
    scores = score_faces(load_run(finished.run)[0], faces)
    assert torch.cat(found).double().tolist() == scores["logit"].to_pylist()


def test_another_format_is_refused_in_one_sentence(folder: Path) -> None:
    change(folder, format=2, facemill="9.0", unknown="field")
    with pytest.raises(ConfigError, match=r"has the format 2, which this facemill does not read") as refused:
        facemill.load_model(folder)
    assert "install facemill 9.0, which wrote it." in str(refused.value)


def test_a_run_of_before_the_format_is_loaded(finished: TrainResult, crops: Tensor, tmp_path: Path) -> None:
    for name in ("model.safetensors", "config.json"):
        shutil.copy(finished.run / name, tmp_path)
    old, new = facemill.load_model(tmp_path), facemill.load_model(finished.run)
    with torch.no_grad():
        assert torch.equal(old(old.preprocess(crops)).logit, new(new.preprocess(crops)).logit)


def test_a_run_of_before_the_normalisation_was_an_option_keeps_what_it_had(tmp_path: Path) -> None:
    """SIA's input was normalised by 0.5 whatever its backbone; now by what the backbone's weights were trained with."""
    detector = create("sia", backbone="tinynet_e", positions=(2, 3), size=64)
    save_model(detector, str(tmp_path / "model.safetensors"))
    options = detector.options.model_dump(mode="json", exclude={"mean", "std"})
    (tmp_path / "config.json").write_text(json.dumps({"facemill": "0.1.0", "detector": "sia", "options": options}))
    assert detector.input_spec.mean != (0.5, 0.5, 0.5)
    assert facemill.load_model(tmp_path).input_spec == InputSpec(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', "[" * 100_000, '{"format": 1, "options": NaN}'])
def test_a_damaged_description_is_refused(folder: Path, content: str) -> None:
    (folder / "model.json").write_text(content)
    with pytest.raises(ConfigError, match=r"model\.json is damaged"):
        facemill.load_model(folder)


def test_damaged_and_missing_files_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"0" * 100)
    with pytest.raises(DetectorError, match="cannot be loaded"):
        facemill.load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="has not finished"):
        facemill.load_model(folder)
    with pytest.raises(ConfigError, match="holds no model"):
        facemill.load_model(tmp_path / "nowhere")


def test_a_detector_that_takes_another_input_now_is_refused(folder: Path) -> None:
    spec = {"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    change(folder, input=spec)
    with pytest.raises(DetectorError, match=r"had the input .*mean=\(0\.5, 0\.5, 0\.5\)"):
        facemill.load_model(folder)


def test_code_beside_a_model_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's model must not choose what is run in the folder it was unpacked into."""
    (folder / "unpacked.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(folder))])
    code = {"name": "unpacked:Net", "file": "/elsewhere/unpacked.py", "sha256": "0" * 64}
    change(folder, detector="unpacked:Net", code=code)
    with pytest.raises(ConfigError, match="cannot be imported here"):
        facemill.load_model(folder)
    change(folder, code={**code, "name": "other:Net", "file": str(folder / "unpacked.py")})
    with pytest.raises(ConfigError, match="cannot be imported"):
        facemill.load_model(folder)
    assert not (folder / "ran").exists()


def test_crops_of_both_kinds_make_one_input(crops: Tensor) -> None:
    spec = InputSpec(64)
    assert torch.equal(spec.preprocess(crops), spec.preprocess(crops.float() / 255))
    assert spec.preprocess(crops[..., :50]).shape == (5, 3, 64, 64)
    whole = InputSpec(80, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).preprocess(crops)
    torch.testing.assert_close(whole, crops.float() / 127.5 - 1)


@pytest.mark.parametrize(
    "crops",
    [torch.full((1, 3, 8, 8), 255.0), torch.full((1, 3, 8, 8), torch.nan), torch.zeros(1, 3, 8, 8, dtype=torch.int64)],
)
def test_crops_of_another_range_are_refused(crops: Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8, or float in 0\.\.1"):
        InputSpec(8).preprocess(crops)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8, 3), (1, 1, 8, 8)])
def test_crops_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="put the channels second"):
        InputSpec(8).preprocess(torch.zeros(shape))
