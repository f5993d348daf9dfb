"""Detectors of clips, through the commands: what only time shows, crops that are in no clip, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

import facemill
from facemill import ConfigError, DatasetError
from facemill.detectors.forgery import create
from facemill.pipeline.commands.cli import app
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.evaluate.corruptions import Corruption, corrupt
from facemill.pipeline.evaluate.evaluation import evaluate
from facemill.pipeline.evaluate.scoring import score_faces
from facemill.pipeline.runs.folder import read_trained_on
from facemill.pipeline.train import train
from facemill.pipeline.train.device import channels_last
from facemill.pipeline.train.trials import find_rates
from tests.pipeline.train.flicker import SIDE, flicker

CLIP = 4
TEMPORAL = ("train.model.backbone=test_resnet", f"train.model.size={SIDE}", f"train.model.clip={CLIP}")
HERE: dict[str, Any] = {"device": "cpu", "progress": False}
WEAK = ("train.model.pretrained=false", "train.epochs=2")
COMMON = ("train.epochs=6", "train.batch=8", "train.optimizer.lr=0.003")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flicker(tmp_path_factory.mktemp("flicker"), frames=(*range(8), 20))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    recipe = load_recipe("default", [*TEMPORAL, *COMMON, "train.augment.jpeg=0.5", "train.augment.affine=0.5"])
    train("temporal", [data], out, recipe, device="cpu", progress=False)
    return out


def command(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.heavy
def test_a_clip_shows_what_no_frame_does(data: Path, run: Path, tmp_path: Path) -> None:
    evaluation = evaluate(run, [data], tmp_path / "clips", device="cpu")
    assert evaluation.metrics["video"]["overall"]["auc"] > 0.95
    frames = [one for one in TEMPORAL if "clip" not in one]
    train("timm/test_resnet", [data], tmp_path / "run", load_recipe("default", [*frames, *COMMON, *WEAK]), **HERE)
    alone = evaluate(tmp_path / "run", [data], tmp_path / "frames", device="cpu")
    assert 0.3 < alone.metrics["video"]["overall"]["auc"] < 0.7
    assert 0.4 < alone.metrics["frame"]["overall"]["auc"] < 0.6


def test_a_clip_s_score_is_that_of_its_crops_and_what_is_in_none_is_counted(
    data: Path, run: Path, tmp_path: Path
) -> None:
    evaluation = evaluate(run, [data], tmp_path, device="cpu")
    scores = pq.read_table(tmp_path / "scores.parquet")
    assert len(scores) == 128
    assert set(scores["frame_index"].to_pylist()) == set(range(8))
    faces = FaceDataset(data, "test", fields=(), clip=CLIP)
    detector = facemill.load_model(run)
    logits = dict(zip(scores["sample_id"].to_pylist(), scores["logit"].to_pylist(), strict=True))
    for index in range(0, len(faces), 5):
        with torch.no_grad():
            expected = float(detector(detector.preprocess(faces[index]["image"][None])).logit)
        start = faces.samples["frame_index"][index].as_py()
        for t in range(start, start + CLIP):
            name = f"{faces.samples['video_id'][index].as_py()}-f{t:06d}-t0"
            assert logits[name] == pytest.approx(expected, abs=1e-4)
    assert evaluation.metrics["frame"]["overall"]["frames_unscored"] == 16
    assert any("16 crops are in no clip" in warning for warning in evaluation.warnings)
    known = read_trained_on(run)
    assert known is not None
    assert len(known) == 2 * 128
    validation = pq.read_table(run / "validation.parquet")
    assert len(validation) == 128


def test_videos_without_a_clip_are_counted(run: Path, tmp_path: Path) -> None:
    apart = flicker(tmp_path / "apart", 2, frames=range(0, 80, 10), splits=["test"])
    with pytest.raises(DatasetError, match=r"No face was sampled in 4 frames in a row.*sample\.strategy=runs"):
        evaluate(run, [apart], tmp_path / "none", device="cpu")
    mixed = flicker(tmp_path / "mixed", 4, frames=[0, 1, 2, 3], splits=["test"])
    listing = pq.read_table(mixed / "samples.parquet")
    lacking = [row for row, name in enumerate(listing["sample_id"].to_pylist()) if "fake-3-f000002" not in name]
    pq.write_table(listing.take(lacking), mixed / "samples.parquet")
    evaluation = evaluate(run, [mixed], tmp_path / "mixed-out", device="cpu")
    overall = evaluation.metrics["frame"]["overall"]
    assert (overall["videos_unscored"], overall["frames_unscored"]) == (1, 3)
    assert any("test-fake-3 among them" in warning for warning in evaluation.warnings)


def test_corruptions_are_those_of_the_crops(data: Path, run: Path) -> None:
    """Noise depends on the crop's name: a clip's frames get what they would get alone."""
    faces = FaceDataset(data, "test", fields=(), clip=CLIP)
    seen: list[torch.Tensor] = []
    detector = facemill.load_model(run)
    detector.register_forward_pre_hook(lambda _m, x: seen.append(x[0]))
    score_faces(detector, faces, batch=4, corruption=Corruption("noise", 5))
    keys = [f"test-real-1-f{t:06d}-t0" for t in range(4, 8)]
    index = faces.samples["sample_id"].to_pylist().index(keys[0])
    clip = detector.input_spec.restore(torch.cat(seen))[index]
    torch.testing.assert_close(
        clip, corrupt(faces[index]["image"].float() / 255, Corruption("noise", 5), keys), atol=0.003, rtol=0
    )


@pytest.mark.heavy
def test_every_command_takes_clips(data: Path, run: Path, tmp_path: Path) -> None:
    evaluated = tmp_path / "evaluated"
    told = command("evaluate", run, data, "--out", evaluated, "--localisation", "--device", "cpu")
    assert "are in no clip" in " ".join(told.split())
    located = pq.read_table(evaluated / "localisation.parquet")
    assert len(located) == 2 * 128  # Grad-CAM, and the mean mask
    fake = np.array(located["label"].to_pylist()) == 1
    mean = np.array(located["map"].to_pylist()) == "mean mask"
    assert set(located.filter(fake & mean)["iou"].to_pylist()) == {1.0}
    robust = evaluate(run, [data], tmp_path / "robust", robustness=["contrast"], device="cpu")
    assert len(pq.read_table(robust.out / "scores.parquet")) == 128 * 6
    command("explain", run, data, "--out", tmp_path / "explained", "--samples", 4, "--device", "cpu")
    assert (tmp_path / "explained" / "explanations-01.png").is_file()
    told = command("export-model", run, "--out", tmp_path / "model.onnx")
    assert f"uint8 crops [B, {CLIP}, 3, {SIDE}, {SIDE}]" in told
    clips = torch.stack([FaceDataset(data, "test", clip=CLIP)[n]["image"] for n in range(3)])
    detector = facemill.load_model(run)
    [found] = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(["log_odds"], {"crops": clips.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, detector(detector.preprocess(clips)).logit.numpy(), atol=1e-3)
    rates = find_rates("temporal", [data], load_recipe("default", [*TEMPORAL, "train.batch=8"]), device="cpu", steps=2)
    assert len(rates) == 2


@pytest.mark.long
def test_the_3d_network_trains_and_is_evaluated(data: Path, tmp_path: Path) -> None:
    sets = [f"train.model.size={SIDE}", "train.model.clip=4", "train.model.stride=2", "train.batch=8", "train.epochs=1"]
    settings = [part for one in (*sets, "train.limit=0.5") for part in ("--set", one)]
    command("train", "video_resnet", data, "--out", tmp_path / "run", "--device", "cpu", *settings)
    command("evaluate", tmp_path / "run", data, "--out", tmp_path / "out", "--device", "cpu")
    scores = pq.read_table(tmp_path / "out" / "scores.parquet")
    assert len(scores) == 128
    first = scores.filter(np.array(scores["video_id"].to_pylist()) == "test-fake-0")
    logits = dict(zip(first["frame_index"].to_pylist(), first["logit"].to_pylist(), strict=True))
    assert logits[0] == logits[2] == logits[4] == logits[6]
    assert logits[1] == logits[3] != logits[0]


def test_what_does_not_fit_is_refused_in_a_sentence(data: Path, run: Path, tmp_path: Path) -> None:
    def trained(detector: str, *sets: str) -> None:
        train(detector, [data], tmp_path / "run", load_recipe("default", [*sets, "train.batch=8"]), **HERE)

    with pytest.raises(ConfigError, match=r"train\.forgeries=sbi makes single crops, and temporal takes clips"):
        trained("temporal", *TEMPORAL, "train.forgeries=sbi")
    with pytest.raises(ConfigError, match="leave out frames and every, and use stride"):
        trained("temporal", *TEMPORAL, "train.frames=4")
    with pytest.raises(ConfigError, match="resnet18 has no option 'clip'"):
        trained("resnet18", "train.model.clip=4")
    with pytest.raises(DatasetError, match="No face was sampled in 16 frames in a row"):
        trained("temporal", *TEMPORAL[:2])
    assert not (tmp_path / "run").exists()
    clips, crops = (FaceDataset(data, "test", fields=(), clip=clip) for clip in (CLIP, None))
    with pytest.raises(ConfigError, match=r"takes clips of 4 frames, and these are single crops: .* clip=4"):
        score_faces(facemill.load_model(run), crops)
    with pytest.raises(ConfigError, match=r"takes single crops, and these are clips of 4 frames: .* clip=None"):
        score_faces(create("resnet18", size=SIDE), clips)
    with pytest.raises(ValueError, match=r"Crops are \[N, 4, 3, H, W\], not \[4, 3, 32, 32\]"):
        facemill.load_model(run).preprocess(clips[0]["image"])


def test_weights_of_3d_convolutions_keep_their_layout() -> None:
    """What a GPU's run does first, which PyTorch's own conversion refuses for five dimensions."""
    module = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 3), torch.nn.Conv2d(3, 4, 3))
    before = [weight.clone() for weight in module.parameters()]
    channels_last(module)
    assert module[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert module[0].weight.is_contiguous()
    assert all(torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))
