"""A released checkpoint becomes a run, which is evaluated and explained as any other."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor
from typer.testing import CliRunner

from facemill import ConfigError, DetectorError
from facemill.manifests.storage import sha256_of
from facemill.pipeline.commands.cli import app
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.evaluate.evaluation import evaluate
from facemill.pipeline.figures.explain import draw_explanations
from facemill.pipeline.runs import load_run
from facemill.pipeline.train.imported import import_checkpoint
from tests.detectors.forgery.released.layouts import etd_tensors, mat_tensors, sia_tensors
from tests.detectors.forgery.released.networks import etd_log_odds

LAYOUTS = {"mat": mat_tensors, "etd": etd_tensors, "sia": sia_tensors}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints as the releases' training scripts save them."""
    folder = tmp_path_factory.mktemp("released")
    for name, layout in LAYOUTS.items():
        torch.save({"state_dict": layout(), "epoch": 3, "logs": {"ensemble_acc": 0.5}}, folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in LAYOUTS}


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name != "mat" else []) for name in LAYOUTS]
)
def test_an_imported_run_is_evaluated_and_explained(
    name: str, files: dict[str, Path], toy: Path, tmp_path: Path
) -> None:
    import_checkpoint(name, files[name], tmp_path / "run")
    evaluation = evaluate(tmp_path / "run", [toy], tmp_path / "evaluation")
    assert evaluation.metrics["videos_trained_on"] is None
    assert "keeps no list of its training videos" in evaluation.warnings[0]
    assert 0 <= evaluation.metrics["frame"]["overall"]["auc"] <= 1
    detector, _ = load_run(tmp_path / "run")
    sheets = draw_explanations(detector, FaceDataset([toy], "test"), tmp_path / "sheets", rows=2)
    assert [sheet.name for sheet in sheets] == ["explanations-01.png"]


def test_its_card_claims_nothing_that_the_checkpoint_does_not_say(files: dict[str, Path], tmp_path: Path) -> None:
    import_checkpoint("mat", files["mat"], tmp_path / "run")
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"`mat.pth` (SHA-256 {sha256_of(files['mat'])})" in card
    assert "does not say what it was trained on" in card
    assert yaml.safe_load(card.split("---")[1])["tags"][-1] == "mat"
    example = card.partition("```python\n")[2].partition("```")[0].replace("path/to/this/folder", f"{tmp_path}/run")
    names = {"crops": torch.zeros(2, 3, 64, 64, dtype=torch.uint8)}
    exec(compile(example, "card", "exec"), names)
    assert torch.isfinite(names["output"].score).all()


def test_the_run_scores_as_the_release(files: dict[str, Path], tmp_path: Path) -> None:
    import_checkpoint("etd", files["etd"], tmp_path / "run")
    detector, config = load_run(tmp_path / "run")
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = detector(detector.input_spec.normalise(images)).logit
    torch.testing.assert_close(found, etd_log_odds(etd_tensors(), 2, images), rtol=1e-3, atol=1e-3)
    assert config.init_from == str(files["etd"])


def test_the_command_lists_what_is_left_over(files: dict[str, Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["import-checkpoint", "mat", str(files["mat"]), "--out", str(tmp_path / "run")])
    *left_over, summary = result.output.splitlines()
    names = ["net._fc.weight", "net._fc.bias", "auxiliary_loss.alpha", "auxiliary_loss.inner_margin"]
    names += ["auxiliary_loss.feature_centers"]
    assert sorted(left_over) == sorted(f"left over: {name}" for name in names)
    assert summary.startswith(f"{len(mat_tensors()) - 5} tensors placed, 5 left over -> ")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["options"]["form"] == "release"


class Touch:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    state: dict[str, Tensor] = etd_tensors()
    torch.save({"state_dict": state, "args": Touch(tmp_path / "touched")}, tmp_path / "file.pth")
    with pytest.raises(DetectorError, match="holds more than tensors"):
        import_checkpoint("etd", tmp_path / "file.pth", tmp_path / "run")
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "run").exists()


def test_a_folder_with_something_in_it_is_kept(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        import_checkpoint("etd", files["etd"], tmp_path)
    with pytest.raises(DetectorError, match="There is no file"):
        import_checkpoint("etd", tmp_path / "nowhere.pth", tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
