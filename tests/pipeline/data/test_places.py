"""Places of images that samples.parquet lacks."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from facemill.manifests.annotations import listing_schema
from facemill.manifests.shards.dataset import SAMPLES_FILE
from facemill.manifests.shards.webdataset import WebDatasetShards
from facemill.pipeline.data.places import places_of, with_places
from tests.pipeline.data.built import build

IMAGES = ["image", "mask"]


@pytest.mark.parametrize("format_name", ["parquet", "webdataset"])
def test_they_are_those_that_a_build_writes_down(format_name: str, tmp_path: Path) -> None:
    located = build(tmp_path / "located", format_name=format_name)
    bare = build(tmp_path / "bare", format_name=format_name, located=False)
    for split in ("train", "val"):
        samples = pq.read_table(bare / SAMPLES_FILE, filters=[("split", "=", split)])
        expected = pq.read_table(located / SAMPLES_FILE, filters=[("split", "=", split)]).select(IMAGES)
        for _ in range(2):  # from the shards, then from the file of the first call
            found = with_places(bare, split, samples, listing_schema({}))
            assert found.select(IMAGES).to_pylist() == expected.to_pylist()
            assert all((places_of(found[name]) >= 0).all() for name in IMAGES)


def test_what_a_shard_does_not_hold_in_one_piece_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WebDatasetShards, "index", lambda *_: None)  # a compressed one
    folder = build(tmp_path, format_name="webdataset", located=False)
    samples = pq.read_table(folder / SAMPLES_FILE, filters=[("split", "=", "train")])
    found = with_places(folder, "train", samples, listing_schema({}))
    for name in IMAGES:
        assert found[name].null_count == len(samples)
        assert (places_of(found[name]) == -1).all()
