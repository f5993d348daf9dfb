"""What a run takes over from another run's weights."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor

from facemill import ConfigError
from facemill.detectors.forgery import create, options_of
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.runs.folder import MODEL_FILE, RunConfig, write_config
from facemill.pipeline.train.initial import start_from
from tests.detectors.forgery.test_contract import SMALL


def config_of(name: str, **options: object) -> RunConfig:
    dumped = options_of(name, {**SMALL[name], **options}).model_dump(mode="json")
    return RunConfig(detector=name, options=dumped, train=TrainSettings(), seed=0, data=("a",), dataset_sha256=("0",))


def finished(run: Path, name: str, **options: object) -> dict[str, Tensor]:
    """A run whose weights are all 2; returns them."""
    config = config_of(name, **options)
    detector = create(name, **config.options)
    for tensor in detector.state_dict().values():
        tensor.fill_(2)
    run.mkdir()
    write_config(run, config)
    save_model(detector, str(run / MODEL_FILE))
    return load_file(run / MODEL_FILE)


def twos(state: dict[str, Tensor], prefix: str) -> bool:
    return all(bool((value == 2).all()) for key, value in state.items() if key.startswith(prefix))


def test_mat_starts_from_the_backbone_of_a_plain_network(tmp_path: Path) -> None:
    weights = finished(tmp_path / "plain", "efficientnet_b4")
    found = start_from(config_of("mat"), tmp_path / "plain")
    state = found.detector.state_dict()
    assert twos(state, "backbone.")
    assert sorted(found.taken) == sorted(key for key in state if key.startswith("backbone."))
    assert sorted(found.own) == sorted(key for key in state if not key.startswith("backbone."))
    assert found.unused == ["classifier.bias", "classifier.weight"] == [key for key in weights if "classifier" in key]
    untouched = create("mat", **SMALL["mat"]).state_dict()
    assert all(untouched[key].shape == state[key].shape for key in found.own)
    assert not any(bool((state[key] == 2).all()) for key in found.own)
    sentence = found.describe(tmp_path / "plain")
    assert sentence.startswith(f"{len(found.taken)} tensors start from those of {tmp_path / 'plain'}; not in it, or of")
    assert "attention.0" in sentence
    assert "not used of it: classifier.bias, classifier.weight. Optimiser" in sentence


@pytest.mark.parametrize(
    ("name", "backbones"),
    [("etd", [f"blocks.{index}." for index in range(4)]), ("xception", ["backbone."])],
)
def test_every_backbone_starts_from_that_of_another_detector(tmp_path: Path, name: str, backbones: list[str]) -> None:
    finished(tmp_path / "plain", "resnet18")
    found = start_from(
        config_of(name, backbone="resnet18", **({"width": None} if name == "etd" else {})), tmp_path / "plain"
    )
    state = found.detector.state_dict()
    assert all(twos(state, backbone) for backbone in backbones)


def test_both_streams_of_sola_start_from_a_plain_network(tmp_path: Path) -> None:
    """Its stages hold several of the backbone's each, of which the second is the fifth layer on."""
    weights = finished(tmp_path / "plain", "resnet18")
    for index in range(4):
        name = f"backbone.stages.{index}.0.{'weight' if index == 0 else 'conv1.weight'}"
        weights[name] = weights[name].fill_(10 + index)
    save_file(weights, tmp_path / "plain" / MODEL_FILE)
    found = start_from(config_of("sola", width=None), tmp_path / "plain")
    state = found.detector.state_dict()
    for stream in ("colour", "noise"):
        first = {
            place: int(state[f"stages.{place}.weight"].flatten()[0])
            for place in (f"0.{stream}.0.0", f"0.{stream}.1.0.conv1", f"1.{stream}.0.0.conv1", f"2.{stream}.0.0.conv1")
        }
        assert list(first.values()) == [10, 11, 12, 13]
    streams = [name for name in state if ".colour." in name or ".noise." in name]
    assert set(found.taken) == {name for name in streams if ".fusion." not in name}


def test_a_plain_network_starts_from_the_first_of_several_backbones(tmp_path: Path) -> None:
    finished(tmp_path / "etd", "etd", width=None)
    found = start_from(config_of("resnet18"), tmp_path / "etd")
    assert twos(found.detector.state_dict(), "backbone.")
    assert found.own == ["classifier.weight", "classifier.bias"]


def test_another_number_of_attention_maps_keeps_everything_else(tmp_path: Path) -> None:
    finished(tmp_path / "four", "mat")
    found = start_from(config_of("mat", num_attentions=3), tmp_path / "four")
    layers = {key.rpartition(".")[0] for key in found.own} - {"region_loss"}
    assert layers == {"attention.0", "attention.1", "local_projection.1"}
    assert {key.rpartition(".")[0] for key in found.unused} - {"region_loss"} == layers


def test_all_of_it_is_said_in_a_sentence_without_lists(tmp_path: Path) -> None:
    finished(tmp_path / "run", "sia")
    found = start_from(config_of("sia"), tmp_path / "run")
    assert found.own == found.unused == []
    assert twos(found.detector.state_dict(), "")
    sentence = f"Weights start from those of {tmp_path}; optimiser, learning rate and epochs start anew."
    assert found.describe(tmp_path) == sentence


def test_nothing_that_fits_is_refused(tmp_path: Path) -> None:
    """Both stems have the same shape, by chance."""
    finished(tmp_path / "run", "xception")
    with pytest.raises(ConfigError, match=r"No layer of the run in .*run fits mat: start from another run"):
        start_from(config_of("mat"), tmp_path / "run")


def test_a_norm_that_fits_by_chance_is_nothing(tmp_path: Path) -> None:
    weights = finished(tmp_path / "run", "mat")
    norm = {key: value for key, value in weights.items() if key.startswith("attention.1.")}
    assert len(norm) == 5
    save_file(norm, tmp_path / "run" / MODEL_FILE)
    with pytest.raises(ConfigError, match="No layer of the run"):
        start_from(config_of("mat"), tmp_path / "run")


def test_pretrained_weights_are_read_for_a_backbone_that_is_not_taken_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(tmp_path / "run", "efficientnet_b4")
    made: list[object] = []

    def noted(name: str, **options: object) -> object:
        made.append(options["weights"])
        return create(name, **{**options, "weights": None})

    monkeypatch.setattr("facemill.pipeline.train.initial.create", noted)
    config = config_of("mat")
    config.options["weights"] = "file.safetensors"
    start_from(config, tmp_path / "run")
    assert made == [None]
    other = load_file(tmp_path / "run" / MODEL_FILE)
    del other["backbone.stages.2.0.conv_pw.weight"]
    save_file(other, tmp_path / "run" / MODEL_FILE)
    start_from(config, tmp_path / "run")
    assert made == [None, None, "file.safetensors"]
