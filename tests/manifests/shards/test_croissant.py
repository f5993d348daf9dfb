"""croissant.json as the reference implementation of Croissant reads it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facemill.manifests.shards import EncodedSample
from facemill.manifests.shards.croissant import croissant_metadata
from facemill.manifests.shards.dataset import CROISSANT_FILE, DatasetInfo, read_dataset
from facemill.registry import SHARD_FORMATS
from tests.manifests.small_dataset import Parts

pytestmark = [
    # mlcroissant's own: of rdflib, of pandas, and files of a tar that it leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"),
]

LEFT_TO_THE_PUBLISHER = ("citeAs", "datePublished", "license", "version")


@pytest.fixture
def mlcroissant(tmp_path, monkeypatch) -> Any:
    """The library, unpacking archives into this test's folder rather than into the home."""
    module = pytest.importorskip("mlcroissant")
    from etils import epath

    monkeypatch.setattr("mlcroissant._src.operation_graph.operations.extract.EXTRACT_PATH", epath.Path(tmp_path / "x"))
    return module


@pytest.fixture(params=sorted(SHARD_FORMATS))
def root(request, tmp_path) -> Path:
    """A small dataset with its croissant.json, in every format."""
    root = Parts().write(tmp_path / "built é", request.param)
    (root / CROISSANT_FILE).write_text(croissant_metadata(read_dataset(root), root), "utf-8")
    return root


@pytest.fixture
def dataset(mlcroissant, root) -> Any:
    return mlcroissant.Dataset(jsonld=str(root / CROISSANT_FILE))


def stored(root: Path, split: str) -> dict[str, EncodedSample]:
    """The samples of a split, by id, as our own reader gives them."""
    info = read_dataset(root)
    shard_format = SHARD_FORMATS[info.recipe["shards"]["format"]]
    shards = [shard for shard in info.shards if shard.split == split]
    return {s.record.sample_id: s for shard in shards for s in shard_format.read(root / shard.path)}


def records(dataset: Any, record_set: str) -> Iterator[dict[str, Any]]:
    """Records with text as text, and without the record set's name before each field."""
    for record in dataset.records(record_set):
        yield {
            name.removeprefix(f"{record_set}/"): value.decode() if isinstance(value, bytes) else value
            for name, value in record.items()
        }


def content(picture: Image.Image) -> bytes:
    """The bytes that a picture was opened from; it must not have been decoded yet."""
    return picture.fp.getvalue()


def check_fields(record: dict[str, Any], sample: EncodedSample) -> None:
    ours = sample.record
    for name in ("sample_id", "video_id", "method", "label", "split", "source_id", "frame_index", "pair_offset", "row"):
        assert record[name] == getattr(ours, name), name
    for name in ("bbox", "landmarks", "affine", "subject_ids"):
        given = record[name] if name != "subject_ids" else [part.decode() for part in record[name]]
        assert given == list(getattr(ours, name)), name
    assert record["mask_coverage"] == ours.mask_coverage


def test_it_is_valid_and_lacks_only_what_its_publisher_knows(dataset):
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    assert len(issues.warnings) == len(LEFT_TO_THE_PUBLISHER)
    for warning in issues.warnings:
        assert warning.endswith("is recommended, but does not exist.")
        assert any(f'/{name}"' in warning for name in LEFT_TO_THE_PUBLISHER), warning


def test_its_context_is_the_standard_one(mlcroissant, root):
    from mlcroissant._src.core.rdf import make_context

    assert json.loads((root / CROISSANT_FILE).read_text("utf-8"))["@context"] == make_context()


def test_every_shard_is_there_with_its_checksum(dataset, root):
    files = {file.content_url: file for file in dataset.metadata.file_objects}
    shards = read_dataset(root).shards
    assert {shard.path for shard in shards} <= files.keys()
    for shard in shards:
        assert (files[shard.path].sha256, files[shard.path].content_size) == (shard.sha256, f"{shard.bytes} B")
    for path in files:
        assert (root / path).is_file()


@pytest.mark.parametrize("root", ["parquet"], indirect=True)
def test_parquet_shards_give_samples_whole(dataset, root):
    for split in ("train", "val"):
        samples = stored(root, split)
        found = list(records(dataset, split))
        assert [record["sample_id"] for record in found] == list(samples)
        for record in found:
            sample = samples[record["sample_id"]]
            check_fields(record, sample)
            assert content(record["image"]) == sample.image
            assert content(record["mask"]) == sample.mask
            assert np.array(record["mask"]).shape == (64, 64)
    assert {record_set.id for record_set in dataset.metadata.record_sets} == {"train", "val"}


@pytest.mark.parametrize("root", ["webdataset"], indirect=True)
def test_tars_give_pictures_that_lead_to_their_samples(dataset, root):
    everything = {record["sample_id"]: record for record in records(dataset, "samples")}
    for split in ("train", "val"):
        samples = stored(root, split)
        for kind in ("image", "mask"):
            found = {record["sample_id"]: content(record[kind]) for record in records(dataset, f"{split}-{kind}")}
            assert found == {sample_id: getattr(sample, kind) for sample_id, sample in samples.items()}
        for sample_id, sample in samples.items():
            check_fields(everything.pop(sample_id), sample)
    assert not everything
    leads_to = {
        f"{record_set.id}/{field.name}": field.references.field
        for record_set in dataset.metadata.record_sets
        for field in record_set.fields
        if field.references
    }
    pictures = [f"{split}-{kind}" for split in ("train", "val") for kind in ("image", "mask")]
    assert leads_to.items() >= {f"{one}/sample_id": "samples/sample_id" for one in pictures}.items()


@pytest.mark.parametrize("track", [9, 10, 123])
def test_pictures_of_every_track_are_found_in_tars(mlcroissant, tmp_path, track):
    parts = Parts()
    named = parts.samples[0].record.sample_id.replace("-t0", f"-t{track}")
    parts.change(0, track_id=track, sample_id=named)
    root = parts.write(tmp_path / "built", "webdataset")
    dataset = mlcroissant.Dataset(jsonld=str(root / CROISSANT_FILE))
    found = {record["sample_id"]: content(record["image"]) for record in records(dataset, "train-image")}
    assert found[named] == parts.samples[0].image
    assert len(found) == 6


@pytest.mark.parametrize("root", ["parquet"], indirect=True)
def test_a_split_without_samples_has_no_record_set(root):
    info = read_dataset(root)
    empty = DatasetInfo(info.recipe, {}, {}, (), 0)
    metadata = json.loads(croissant_metadata(empty, root))
    assert (metadata["distribution"], metadata["recordSet"]) == ([], [])


def test_equal_datasets_give_equal_bytes(root, tmp_path):
    other = Parts().write(tmp_path / "again", read_dataset(root).recipe["shards"]["format"])
    assert croissant_metadata(read_dataset(other), other) == (root / CROISSANT_FILE).read_text("utf-8")
