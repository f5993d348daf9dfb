"""Inputs are normalised as the paper or its release states, or otherwise as the backbone's weights were trained."""

import json
from pathlib import Path

import pytest
import timm
import torch

from facemill import ConfigError
from facemill.detectors.forgery import create, options_of
from facemill.pipeline.config.train_settings import TrainSettings
from facemill.pipeline.runs.folder import RunConfig, read_config, write_config
from facemill.registry import FORGERY_DETECTORS
from tests.detectors.forgery.test_contract import SMALL

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

TRAINED_WITH = {
    "legacy_xception.tf_in1k": HALF,
    "mobilenetv1_100.ra4_e3600_r224_in1k": HALF,
    "mobilenetv2_100.ra_in1k": IMAGENET,
    "resnet18.tv_in1k": IMAGENET,
    "resnet34.tv_in1k": IMAGENET,
    "resnet50.tv_in1k": IMAGENET,
    "resnet101.tv_in1k": IMAGENET,
    "tf_efficientnet_b0.aa_in1k": IMAGENET,
    "tf_efficientnet_b4.aa_in1k": IMAGENET,
    "tf_efficientnet_b4.ap_in1k": HALF,  # AdvProp's weights
    "tinynet_e.in1k": IMAGENET,
}
"""What each backbone of the papers' tables and of the tests was trained with, by its authors."""

STATED = {
    ("sia", "tf_efficientnet_b4.aa_in1k"): HALF,
    ("sia", "tf_efficientnet_b4.ap_in1k"): HALF,
    **{("sola", backbone): UNIT for backbone in TRAINED_WITH},
}
"""What papers and releases state where that is something else."""


def normalisation(name: str, **options: object) -> tuple[object, object]:
    spec = options_of(name, options).input_spec
    return spec.mean, spec.std


@pytest.mark.parametrize("backbone", TRAINED_WITH)
@pytest.mark.parametrize("name", [name for name in FORGERY_DETECTORS if hasattr(options_of(name), "backbone")])
def test_every_detector_with_every_backbone_of_the_tables(name: str, backbone: str) -> None:
    expected = STATED.get((name, backbone), TRAINED_WITH[backbone])
    assert normalisation(name, backbone=backbone) == expected


@pytest.mark.parametrize("module", ["efficientnet", "resnet", "xception"])
def test_every_network_of_the_supported_families_brings_its_own(module: str) -> None:
    names = timm.list_models(module=module, pretrained=True)  # with tags
    assert names
    for name in [*names, *timm.list_models(module=module)]:
        network = timm.get_pretrained_cfg(name)
        assert normalisation("lrl", backbone=name) == (network.mean, network.std), name


@pytest.mark.parametrize("name", list(FORGERY_DETECTORS))
def test_the_options_override_it_and_the_images_get_it(name: str) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    detector = create(name, **SMALL[name], mean=mean, std=std)
    images = torch.rand(2, 3, 8, 8)
    expected = torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    torch.testing.assert_close(detector.input_spec.normalise(images), expected)
    alone = create(name, **SMALL[name], mean=mean).input_spec
    assert (alone.mean, alone.std) == (mean, create(name, **SMALL[name]).input_spec.std)


def test_values_that_no_image_has_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Option 'std\.1' of lrl is invalid: .*greater than 0"):
        options_of("lrl", {"std": (0.5, 0, 0.5)})
    with pytest.raises(ConfigError, match=r"Option 'mean\.0' of lrl is invalid: .*less than or equal to 1"):
        options_of("lrl", {"mean": (123.7, 116.3, 103.5)})


def saved(run: Path, name: str, **options: object) -> RunConfig:
    dumped = options_of(name, options).model_dump(mode="json")
    config = RunConfig(
        detector=name, options=dumped, train=TrainSettings(), seed=0, data=("a",), dataset_sha256=("0" * 64,)
    )
    run.mkdir()
    write_config(run, config)
    return config


def test_a_run_records_it(tmp_path: Path) -> None:
    saved(tmp_path / "run", "mat", mean=(0.1, 0.2, 0.3))
    options = read_config(tmp_path / "run").options
    assert (options["mean"], options["std"]) == ([0.1, 0.2, 0.3], [0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "backbone", "then"),
    [
        ("mat", "legacy_xception.tf_in1k", IMAGENET),
        ("lrl", "legacy_xception.tf_in1k", IMAGENET),
        ("etd", "mobilenetv1_100.ra4_e3600_r224_in1k", IMAGENET),
        ("sia", "tf_efficientnet_b0.aa_in1k", HALF),
        ("sola", "resnet18.tv_in1k", UNIT),
        ("xception", "legacy_xception.tf_in1k", HALF),
    ],
)
def test_a_run_that_does_not_record_it_keeps_what_it_was_trained_with(
    tmp_path: Path, name: str, backbone: str, then: object
) -> None:
    saved(tmp_path / "run", name, backbone=backbone)
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    del content["options"]["mean"], content["options"]["std"]
    path.write_text(json.dumps(content))
    assert normalisation(name, **read_config(tmp_path / "run").options) == then
