"""The identity of the work contains everything that may affect the bytes, and nothing else."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from facemill import ConfigError
from facemill.pipeline.build import identity as module
from facemill.pipeline.build.identity import WorkIdentity, detection_values, device_kind, differences
from facemill.pipeline.build.job import build
from facemill.pipeline.config.recipe import load_recipe
from tests.pipeline.build.test_shard import BIG, FRAMES
from tests.pipeline.conftest import film

HERE = WorkIdentity.here(load_recipe("default"), "cpu")


def with_recipe(*sets: str) -> WorkIdentity:
    return WorkIdentity.here(load_recipe("default", list(sets)), "cpu")


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (with_recipe("crop.size=64"), ["another recipe (crop.size 64 instead of 299)"]),
        (
            with_recipe("crop.size=64", "filter.min_face=41", "mask.open=3", "mask.close=4"),
            ["another recipe (crop.size 64 instead of 299, mask.open 3 instead of 1, mask.close 4 instead of 2, …)"],
        ),
        (dataclasses.replace(HERE, weights="0" * 64), ["another weights file"]),
        (
            dataclasses.replace(HERE, versions={**HERE.versions, "torch": "1.0"}, device="GPU"),
            [
                f"another version of facemill or its libraries (torch 1.0 instead of {HERE.versions['torch']})",
                f"another device (GPU instead of {HERE.device})",
            ],
        ),
        (with_recipe("name=mine"), ["another recipe (name mine instead of default)"]),
        (with_recipe("decode.timeout_s=7", "detect.batch=3"), []),
    ],
    ids=["one setting", "several", "weights", "versions and device", "its name", "nothing"],
)  # fmt: skip
def test_what_differs_is_named(other: WorkIdentity, told: list[str]) -> None:
    assert differences(HERE.values(), json.loads(json.dumps(other.values()))) == told
    assert (other.digest == HERE.digest) == (not told)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (with_recipe("crop.size=64", "sample.frames=3", "mask.threshold=0.15", "detect.on=each"), True),
        (with_recipe("detect.min_score=0.5"), False),
        (with_recipe("filter.min_face=50"), False),  # how far frames are shrunk
        (dataclasses.replace(HERE, weights="0" * 64), False),
        (dataclasses.replace(HERE, device="GPU"), False),
        (dataclasses.replace(HERE, versions={**HERE.versions, "torch": "1.0"}), False),
        (dataclasses.replace(HERE, versions={**HERE.versions, "pyarrow": "1.0"}), True),
        (dataclasses.replace(HERE, versions={**HERE.versions, "isal": "1.0"}), True),
    ],
)
def test_what_detections_depend_on(other: WorkIdentity, same: bool) -> None:
    assert (other.detection == HERE.detection) == same
    assert (detection_values(other.values()) == detection_values(HERE.values())) == same


def test_where_faces_are_never_shrunk_to_fit_the_smallest_does_not_count() -> None:
    fixed = "detect.max_side=640"
    assert with_recipe(fixed).detection == with_recipe(fixed, "filter.min_face=50").detection
    assert with_recipe(fixed).detection != with_recipe("detect.max_side=480").detection


@pytest.mark.parametrize(
    ("flags", "limited", "unit"),
    [
        ("fma avx2 avx512f avx512bw avx512dq avx512vl", False, "AVX512"),
        ("fma avx2 avx512f avx512bw avx512dq avx512vl", True, "AVX2"),
        ("fma avx2 avx512f", False, "AVX2"),
        ("sse4_2", True, ""),
    ],
)
def test_the_instruction_set_is_told_as_far_as_it_is_used(
    flags: str, limited: bool, unit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\nbugs\t: none\n")
    monkeypatch.setattr(module, "Path", lambda path: cpuinfo)
    for name, limit in module.LIMITS.items():
        monkeypatch.setenv(name, limit if limited else "")
    assert device_kind("cpu").split()[2:] == unit.split()


def test_a_gpu_detects_and_the_cpu_beside_it_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    cpu = device_kind("cpu")
    monkeypatch.setattr(module, "has_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    assert device_kind("auto") == f"GPU 0 and GPU 1, with {cpu}"
    here = WorkIdentity.here(load_recipe("default"), "cuda:1")
    assert here.device == f"GPU 1, with {cpu}"
    elsewhere = dataclasses.replace(here, device="GPU 1, with CPU riscv64")
    assert elsewhere.digest != here.digest
    assert elsewhere.detection == here.detection
    assert dataclasses.replace(here, device=f"GPU 2, with {cpu}").detection != here.detection


def test_what_is_told_here_is_what_torch_says() -> None:
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    told = device_kind("cpu").split()[2:]
    assert told == ([capability] if capability in ("AVX2", "AVX512") else [])


@pytest.mark.usefixtures("mark_detector")
def test_a_build_on_another_device_is_refused_and_each_result_says_what_made_it(
    add_video: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=3"])
    videos = [add_video("real", film([BIG], FRAMES))]
    out = tmp_path / "out"
    build(videos, recipe, out, executor="sequential", device="cpu")
    result = json.loads((out / "_state" / "train-000000.json").read_text())
    assert result["identity"] == WorkIdentity.here(recipe, "cpu").digest
    monkeypatch.setattr(module, "device_kind", lambda device: "CPU of tomorrow")
    with pytest.raises(ConfigError, match=r"another device \(CPU .* instead of CPU of tomorrow\)"):
        build(videos, recipe, out, executor="sequential", device="cpu")


@pytest.mark.usefixtures("mark_detector")
def test_results_of_a_facemill_that_did_not_say_are_refused(add_video: Callable, tmp_path: Path) -> None:
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=3"])
    videos = [add_video("real", film([BIG], FRAMES))]
    out = tmp_path / "out"
    build(videos, recipe, out, executor="sequential", device="cpu")
    told = json.loads((out / "_state" / "build.json").read_text())
    del told["device"]
    (out / "_state" / "build.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match="a build of an earlier facemill, which did not say"):
        build(videos, recipe, out, executor="sequential", device="cpu")
