"""What an annotator says of a sample, from the build to PyTorch: numbers, words, vectors and images."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import facemill
from facemill import ConfigError, DatasetError
from facemill.manifests.annotations import Annotation
from facemill.manifests.shards import EncodedSample, format_of
from facemill.manifests.shards.dataset import read_dataset
from facemill.manifests.storage import sha256_of
from facemill.pipeline.config.recipe import Recipe, load_recipe
from facemill.pipeline.data import collate
from facemill.pipeline.demo import make_corpus
from facemill.pipeline.extract.annotators import Annotator
from facemill.registry import ANNOTATORS

BUILDS = {
    "parquet": ["annotate={halves: {}, quality: {}}"],
    "webdataset": ["annotate={halves: {}, quality: {}}", "shards.format=webdataset"],
    "plain": [],
}


class Halves(Annotator):
    outputs: Mapping[str, Annotation] = {
        "small": Annotation("image", "the crop, half its size"),
        "gray": Annotation("image", "the crop without colours"),
        "means": Annotation("float[3]", "mean of red, green and blue"),
        "dark": Annotation("int", "pixels below 64"),
        "word": Annotation("text", "which channel is brightest"),
    }

    def annotate(self, frame: Any, face: Any, crop: Any, affine: Any) -> dict[str, Any]:
        means = crop.mean(axis=(0, 1))
        return {
            "small": cv2.resize(crop, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
            "gray": cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY),
            "means": means,
            "dark": np.count_nonzero(crop < 64),
            "word": None if face.score < 0.5 else "rgb"[int(means.argmax())],
        }


@pytest.fixture(scope="module", autouse=True)
def halves() -> Iterator[None]:
    ANNOTATORS.register("halves", Halves)
    yield
    del ANNOTATORS._found["halves"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same videos in both formats, and without annotations."""
    folder = tmp_path_factory.mktemp("annotated")
    shape = {"subjects": 6, "frames": 8, "size": (320, 180)}
    corpus = make_corpus(folder / "corpus", qualities=("c23",), methods=("Deepfakes",), **shape)
    manifest = folder / "videos.parquet"
    facemill.write_manifest(facemill.scan("ffpp", str(corpus)).entries, manifest)
    for name in BUILDS:
        facemill.build(manifest, recipe_of(name), folder / name, executor="sequential", device="cpu")
    return {name: folder / name for name in BUILDS}


def recipe_of(name: str) -> Recipe:
    return load_recipe("default", ["sample.frames=3", "crop.size=64", *BUILDS[name]])


@pytest.mark.parametrize("name", ["parquet", "webdataset"])
def test_they_reach_the_table_and_pytorch(built: dict[str, Path], name: str) -> None:
    assert facemill.verify(built[name]).problems == ()
    wanted = ["halves_means", "halves_dark", "quality_yaw", "halves_small", "halves_gray"]
    faces = facemill.open_dataset(built[name], "train", fields=wanted)
    samples = list(faces)
    assert len(samples) == len(faces.labels) >= 6
    for sample in samples:
        pixels = sample["image"].permute(1, 2, 0).numpy()
        assert sample["halves_means"].numpy() == pytest.approx(pixels.mean(axis=(0, 1)), rel=1e-5)
        assert sample["halves_dark"] == np.count_nonzero(pixels < 64)
        assert np.array_equal(sample["halves_gray"][0], cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
        small = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        assert np.array_equal(sample["halves_small"].permute(1, 2, 0), small)
        row = faces.samples.slice(sample["index"], 1).to_pylist()[0]
        assert row["halves_word"] == "rgb"[int(np.argmax(row["halves_means"]))]
        assert sample["quality_yaw"] == torch.tensor(row["quality_yaw"])
    batch = collate(samples[:4]).to("cpu")
    assert batch["halves_small"].shape == (4, 3, 32, 32)
    assert batch["halves_means"].shape == (4, 3)


def test_both_formats_say_the_same_and_the_rest_stays(built: dict[str, Path]) -> None:
    tables = {name: pq.read_table(folder / "samples.parquet") for name, folder in built.items()}
    places = ["shard", "image", "mask", "halves_small", "halves_gray"]
    assert tables["parquet"].drop(places).equals(tables["webdataset"].drop(places))
    common = [name for name in tables["plain"].column_names if name not in ("image", "mask")]
    assert tables["parquet"].select(common).equals(tables["plain"].select(common))
    documented = read_dataset(built["parquet"]).annotations
    assert documented["halves_means"] == Annotation("float[3]", "mean of red, green and blue")


@pytest.mark.parametrize("name", ["parquet", "webdataset"])
def test_hugging_face_loads_them(built: dict[str, Path], name: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(built[name]), split="train", cache_dir=str(tmp_path))
    row = loaded[0]
    record = row if name == "parquet" else row["json"]
    image = row["halves_small"] if name == "parquet" else row["halves_small.png"]
    assert image.size == (32, 32)
    assert len(record["halves_means"]) == 3
    assert record["quality_sharpness"] > 0


@pytest.mark.parametrize("name", ["parquet", "webdataset"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_documents_describe_them(built: dict[str, Path], name: str) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    page = json.loads((built[name] / "croissant.json").read_text())
    fields = {field["@id"]: field for part in page["recordSet"] for field in part["field"]}
    mean = next(field for key, field in fields.items() if key.endswith("/halves_means"))
    assert (mean["description"], mean["dataType"], mean["repeated"]) == (
        "mean of red, green and blue",
        "sc:Float",
        True,
    )
    assert any("halves_small" in key for key in fields)
    assert "| `halves_small` | image | the crop, half its size |" in (built[name] / "README.md").read_text()
    read = mlcroissant.Dataset(jsonld=built[name] / "croissant.json")
    part = "train" if name == "parquet" else "samples"
    record = next(iter(read.records(part)))
    assert len(record[f"{part}/halves_means"]) == 3


@pytest.mark.parametrize("name", ["parquet", "webdataset"])
@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("annotation_missing", lambda s: dataclasses.replace(s, images={"halves_gray": s.images["halves_gray"]})),
        ("annotation_decodes", lambda s: dataclasses.replace(s, images={**s.images, "halves_gray": b"none"})),
        ("annotation_shape", lambda s: dataclasses.replace(s, images={**s.images, "halves_gray": png(65)})),
        ("annotation_finite", lambda s: annotated(s, halves_means=(1.0, float("inf"), 2.0))),
        ("listed_halves_dark", lambda s: annotated(s, halves_dark=s.record.annotations["halves_dark"] + 1)),
        ("listed_halves_means", lambda s: annotated(s, halves_means=(1.0, 2.0, 3.0))),
    ],
)
def test_damage_is_found(
    built: dict[str, Path], tmp_path: Path, name: str, check: str, change: Callable[[EncodedSample], EncodedSample]
) -> None:
    if name == "webdataset" and check == "annotation_finite":
        pytest.skip("JSON has no such number")
    if name == "parquet" and check == "annotation_missing":
        pytest.skip("a column cannot be missing in one row")
    problems = planted(built[name], tmp_path / "damaged", change)
    assert check in {problem.check for problem in problems}


@pytest.mark.parametrize("name", ["parquet", "webdataset"])
def test_an_annotation_that_was_damaged_is_made_anew(built: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Another image in its place, of as many bytes, which only the shard's hash tells."""
    out = tmp_path / "out"
    shutil.copytree(built[name], out)
    info = read_dataset(out)
    path = out / info.shards[0].path
    whole = path.read_bytes()
    image = next(format_of(path).read(path)).images["halves_gray"]
    path.write_bytes(whole.replace(image, bytes(len(image)), 1))
    facemill.build(built[name].parent / "videos.parquet", recipe_of(name), out, executor="sequential", device="cpu")
    assert path.read_bytes() == whole


def test_unknown_annotations_are_found(built: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "other"
    problems = planted(built["webdataset"], root, lambda s: annotated(s, quality_charm=3))
    assert "annotation_unknown" in {problem.check for problem in problems}


def planted(root: Path, target: Path, change: Callable[[EncodedSample], EncodedSample]) -> Any:
    """Problems of a copy whose first sample is changed; hashes and sizes are made anew."""
    shutil.copytree(root, target)
    info = read_dataset(target)
    shard = info.shards[0]
    path, shard_format = target / shard.path, format_of(shard.path)
    first, *others = list(shard_format.read(path))
    changed = change(first)
    annotations = dict(info.annotations)
    for name in changed.record.annotations.keys() - annotations.keys():
        annotations[name] = Annotation("int", "")
    if shard.path.endswith(".tar"):
        from facemill.manifests.shards import webdataset

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(webdataset, "placed", lambda sample, *rest: sample.record)
            write(shard_format, path, shard.path, annotations, [changed, *others])
    else:
        write(shard_format, path, shard.path, annotations, [changed, *others])
    page = json.loads((target / "dataset.json").read_text())
    page["shards"][0] |= {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    (target / "dataset.json").write_text(json.dumps(page))
    return facemill.verify(target).problems


def write(shard_format: Any, path: Path, shard: str, annotations: Any, samples: list[EncodedSample]) -> None:
    with shard_format.open_writer(path, shard, annotations) as writer:
        for sample in samples:
            writer.write(sample)


def annotated(sample: EncodedSample, **values: Any) -> EncodedSample:
    record = dataclasses.replace(sample.record, annotations={**sample.record.annotations, **values})
    return dataclasses.replace(sample, record=record)


def png(side: int) -> bytes:
    return cv2.imencode(".png", np.zeros((side, side), np.uint8))[1].tobytes()


def test_text_is_loaded_as_codes_and_what_is_not_there_is_refused(built: dict[str, Path]) -> None:
    faces = facemill.open_dataset(built["parquet"], "train", fields=["halves_word"])
    words = [faces.categories["halves_word"][sample["halves_word"]] for sample in faces]
    assert words == faces.samples["halves_word"].to_pylist()
    message = r"no field 'halves_mean' to load \(did you mean 'halves_means'\?\): it has mask, pair, .*, halves_small"
    with pytest.raises(DatasetError, match=message):
        facemill.open_dataset(built["parquet"], "train", fields=["halves_mean"])
    with pytest.raises(DatasetError, match="no field 'halves_means' to load"):
        facemill.open_dataset(built["plain"], "train", fields=["halves_means"])


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({}, "halves returns nothing, but declares small, gray, means, dark, word: correct it"),
        ({"small": np.zeros((65, 65), np.uint8)}, "a small that is not a finite image"),
        ({"small": np.zeros((8, 8), np.float32)}, "a small that is not a finite image"),
        ({"means": [1.0, 2.0]}, r"a means that is not a finite float\[3\]"),
        ({"means": [1.0, 2.0, float("nan")]}, r"a means that is not a finite float\[3\]"),
        ({"dark": 1.5}, "a dark that is not a finite int"),
        ({"word": 3}, "a word that is not a finite text"),
    ],
)
def test_what_was_not_declared_ends_the_build(
    monkeypatch: pytest.MonkeyPatch, returned: dict[str, Any], message: str
) -> None:
    from facemill.pipeline.extract.annotators import annotate, create_annotators

    sound = {
        "small": np.zeros((8, 8), np.uint8), "gray": np.zeros((8, 8), np.uint8),
        "means": [1.0, 2.0, 3.0], "dark": 1, "word": "r",
    }  # fmt: skip
    given = {**sound, **returned} if returned else {}
    monkeypatch.setattr(Halves, "annotate", lambda self, *rest: given)
    crop = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ConfigError, match=message):
        annotate(create_annotators({"halves": {}}), crop, None, crop, np.eye(2, 3))  # type: ignore[arg-type]


def test_kinds_are_checked() -> None:
    with pytest.raises(ValueError, match=r"'float\[0\]' is not a kind of annotation"):
        Annotation("float[0]", "")
