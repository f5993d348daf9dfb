"""Training runs: what they leave, and that being killed changes nothing."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from facemill import ConfigError, DatasetError, DetectorError
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.evaluate.auroc import ranked_auroc
from facemill.pipeline.runs import load_run
from facemill.pipeline.train import TrainResult, epoch_log, train
from facemill.pipeline.train.epoch_log import EpochLog, best_row
from facemill.pipeline.train.module import ForgeryModule
from tests.pipeline.train.tiny import killed_in_epoch
from tests.pipeline.trained import SMALL, build_toy

RECIPE = load_recipe("default", SMALL)


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_holds_all_that_is_promised(finished: TrainResult) -> None:
    present = {path.relative_to(finished.run).as_posix() for path in finished.run.rglob("*") if path.is_file()}
    expected = {"config.json", "log.csv", "metrics.json", "model.safetensors", "checkpoints/best.ckpt"}
    assert present >= expected | {"checkpoints/last.ckpt"}
    assert any(name.startswith("logs/events.out.tfevents") for name in present)
    assert not [name for name in present if name.endswith(".tmp")]


def test_the_weights_may_be_read_by_whoever_may_read_the_rest_of_the_run(finished: TrainResult) -> None:
    modes = {name: (finished.run / name).stat().st_mode for name in ("model.safetensors", "metrics.json")}
    assert modes["model.safetensors"] == modes["metrics.json"]


def test_the_log_has_a_row_per_epoch_with_losses_metrics_and_rate(finished: TrainResult) -> None:
    rows = log_of(finished.run)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["learning_rate"]) for row in rows] == [1e-3, 1e-3, 5e-4]
    terms = {"train_loss", "train_classification", "train_ril", "train_agda", "val_loss", "val_auc", "val_acc"}
    assert rows[0].keys() >= terms


def test_the_weights_are_those_of_the_best_validation_auc(finished: TrainResult) -> None:
    aucs = [float(row["val_auc"]) for row in log_of(finished.run)]
    metrics = json.loads((finished.run / "metrics.json").read_text())
    assert metrics["epoch"] == finished.best_epoch == aucs.index(max(aucs))
    assert metrics["val_auc"] == finished.metrics["val_auc"] == max(aucs)
    best = torch.load(finished.run / "checkpoints/best.ckpt", weights_only=True)
    assert best["epoch"] == finished.best_epoch
    released = load_file(finished.run / "model.safetensors")
    assert all(torch.equal(value, best["state_dict"][f"detector.{key}"]) for key, value in released.items())


def test_of_equal_epochs_the_one_of_the_lowest_loss_is_the_best() -> None:
    aucs_and_losses = [(0.9, 0.1), (1.0, 1.8), (1.0, 0.2), (1.0, 0.3)]
    rows = [{"epoch": n, "val_auc": auc, "val_loss": loss} for n, (auc, loss) in enumerate(aucs_and_losses)]
    assert best_row(rows)["epoch"] == 2


def test_the_best_weights_come_back_in_eval_mode(finished: TrainResult) -> None:
    detector, config = load_run(finished.run)
    assert (config.detector, config.options["backbone"], detector.training) == ("mat", "tinynet_e", False)
    released = load_file(finished.run / "model.safetensors")
    assert all(torch.equal(value, released[key]) for key, value in detector.state_dict().items())


def test_a_run_killed_and_resumed_ends_as_an_undisturbed_one(toy: Path, finished: TrainResult, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with killed_in_epoch(2):
        train("mat", [toy], out, RECIPE, progress=False)
    with pytest.raises(ConfigError, match="has not finished"):
        load_run(out)
    cache = tmp_path / "cache"  # which changes no result, no more than readers do
    resumed = train("mat", [toy], out, RECIPE, resume=True, workers=2, cache=cache, progress=False)
    assert resumed.metrics == finished.metrics
    assert [*cache.glob("*.image.u8")]
    for name in ("log.csv", "metrics.json", "model.safetensors"):
        assert (out / name).read_bytes() == (finished.run / name).read_bytes()


def test_a_finished_run_is_not_trained_again(toy: Path, finished: TrainResult) -> None:
    assert train("mat", [toy], finished.run, RECIPE, resume=True, progress=False) == finished


def test_a_run_is_not_overwritten(toy: Path, finished: TrainResult) -> None:
    with pytest.raises(ConfigError, match="add --resume"):
        train("mat", [toy], finished.run, RECIPE, progress=False)


def test_another_run_s_folder_is_refused_naming_what_differs(toy: Path, finished: TrainResult) -> None:
    with pytest.raises(ConfigError, match=r"different settings \(train\)"):
        train("mat", [toy], finished.run, load_recipe("default", [*SMALL, "train.batch=6"]), resume=True)


def test_a_folder_with_other_things_is_refused(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="choose another --out"):
        train("mat", [toy], tmp_path, RECIPE)


def test_wrong_words_are_refused_before_anything_is_written(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match="no forgery detector 'matt'"):
        train("matt", [toy], out, RECIPE)
    with pytest.raises(ConfigError, match="has no option 'heads'"):
        train("mat", [toy], out, load_recipe("default", ["train.model.heads=4"]))
    with pytest.raises(ConfigError, match="no device 'tpu'"):
        train("mat", [toy], out, RECIPE, device="tpu")
    with pytest.raises(DatasetError, match=r"no dataset\.json"):
        train("mat", [tmp_path], out, RECIPE)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file cannot hold a cache"):
        train("mat", [toy], out, RECIPE, cache=tmp_path / "file")
    assert not out.exists()


def test_a_failed_start_leaves_nothing_behind(toy: Path, tmp_path: Path) -> None:
    missing = load_recipe("default", [*SMALL, f"train.model.weights={tmp_path / 'none.pth'}"])
    with pytest.raises(DetectorError, match="no weights file"):
        train("mat", [toy], tmp_path / "run", missing)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="more than one crop per device"):
        train("mat", [toy], tmp_path / "other", load_recipe("default", [*SMALL, "train.batch=1"]))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_crop_is_one_sentence_from_any_process(tmp_path: Path, workers: int) -> None:
    root = build_toy(tmp_path / "data")
    shard = next((root / "train").glob("*0000.parquet"))
    content = bytearray(shard.read_bytes())
    content[content.index(b"\x89PNG") + 60] ^= 0xFF
    shard.write_bytes(content)
    with pytest.raises(DatasetError, match=r"Row 0 of .*train-000000\.parquet") as caught:
        train("mat", [root], tmp_path / "run", RECIPE, workers=workers, progress=False)
    assert "Traceback" not in str(caught.value)


def test_validation_auc_is_exact_whatever_range_and_precision_the_scores_have() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (512,), generator=generator)
    for scale, kind in ((0.05, torch.float32), (6.0, torch.bfloat16), (60.0, torch.float32)):
        logits = (scale * (labels + torch.rand(512, generator=generator))).to(kind)
        assert ranked_auroc(logits, labels) == pytest.approx(roc_auc_score(labels, logits.double()), abs=1e-6)


def test_damaged_weights_are_an_error_that_names_them(finished: TrainResult, tmp_path: Path) -> None:
    run = shutil.copytree(finished.run, tmp_path / "run")
    (run / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(DetectorError, match=r"model\.safetensors cannot be loaded"):
        load_run(run)


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(toy: Path, tmp_path: Path) -> None:
    recipe = load_recipe("default", SMALL)
    optimizer = recipe.train.optimizer.model_copy(update={"lr": 1e30})  # more than a recipe may say: at once
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"optimizer": optimizer})})
    with pytest.raises(ConfigError, match=r"loss is not finite in epoch 1: lower train\.optimizer\.lr"):
        train("mat", [toy], tmp_path / "run", recipe, progress=False)


def test_the_control_trains_on_permuted_labels(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, float] = {}
    keep = ForgeryModule.forward

    def step(self: ForgeryModule, take, epoch, number):
        raw = take()
        self.objective.forward = lambda output, batch, at: record(
            raw, batch, type(self.objective).forward(self.objective, output, batch, at)
        )
        return keep(self, take, epoch, number)

    def record(raw, batch, loss):
        seen.update(zip(raw.index.tolist(), batch.labels.tolist(), strict=True))
        assert batch.has_mask is None or not batch.has_mask.any()
        return loss

    monkeypatch.setattr(ForgeryModule, "forward", step)
    recipe = load_recipe("default", [*SMALL, "train.epochs=1", "train.shuffle_labels=true"])
    train("mat", [toy], tmp_path / "run", recipe, progress=False)
    labels = FaceDataset(toy, "train").labels
    permuted = [seen[index] for index in sorted(seen)]
    assert permuted != [float(labels[index]) for index in sorted(seen)]
    assert set(permuted) == {0.0, 1.0}


def test_the_bar_counts_epochs_from_one(tmp_path: Path) -> None:
    with EpochLog(tmp_path, epochs=1, steps=3, progress=True) as log:
        log.start_epoch(0)
        log.step()
        [task] = log._bar.tasks
        assert (task.description, task.completed, task.total) == ("epoch 1/1", 1, 3)


def test_without_a_terminal_a_long_epoch_prints_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(epoch_log, "LINE_EVERY_S", 0)
    with EpochLog(tmp_path, epochs=2, steps=4, progress=True) as log:
        log.start_epoch(1)
        log.step()
        log.loss(0.25, 5)
    assert re.fullmatch(r"epoch 2/2: 1/4 steps  loss 0\.2500  \d+\.\d/s  \d:\d\d:\d\d left\n", capsys.readouterr().out)
    with EpochLog(tmp_path, epochs=2, steps=4, progress=False) as log:
        log.loss(0.25, 6)
    assert not capsys.readouterr().out
