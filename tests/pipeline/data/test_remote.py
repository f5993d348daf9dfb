"""Datasets behind URLs: read by byte ranges, as from a folder; whole shards are copied only where that fails."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner

from facemill import DatasetError
from facemill.manifests.remote import local_folder
from facemill.pipeline.commands.cli import app
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.data.loader import FaceLoader
from tests.pipeline.data.built import build, default_samples


@pytest.fixture(params=["parquet", "webdataset"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return build(tmp_path / "data", default_samples(), request.param)


Reads = list[tuple[str, int | None]]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """What is read of the shards in memory: the path, and how many bytes; None for a whole file."""
    found: Reads = []
    cat, get = MemoryFileSystem.cat_file, MemoryFileSystem.get_file

    def cat_file(self: MemoryFileSystem, path: str, *arguments: Any, **options: Any) -> bytes:
        content: bytes = cat(self, path, *arguments, **options)
        found.append((path, len(content)))
        return content

    def get_file(self: MemoryFileSystem, path: str, *arguments: Any, **options: Any) -> None:
        if "/train/" in path:
            found.append((path, None))
        get(self, path, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    monkeypatch.setattr(MemoryFileSystem, "get_file", get_file)
    return found


@pytest.fixture
def url(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    fsspec.filesystem("memory").put(str(dataset), "/bucket/data", recursive=True)
    local_folder.cache_clear()
    yield "memory://bucket/data"
    local_folder.cache_clear()


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_those_of_the_folder(dataset: Path, url: str, workers: int) -> None:
    here, there = FaceDataset(dataset, "train"), FaceDataset(url, "train")
    assert there.samples == here.samples
    for one, other in zip(
        FaceLoader(here, batch_size=5), FaceLoader(there, batch_size=5, num_workers=workers), strict=True
    ):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one["mask"], other["mask"])


def test_a_sample_costs_the_bytes_of_its_images(dataset: Path, url: str, reads: Reads) -> None:
    faces = FaceDataset(url, "train")
    assert not reads
    _ = faces[3], faces[0]
    assert len(reads) == 4
    assert all(size is not None for _, size in reads)
    read = sum(size or 0 for _, size in reads)
    assert read < 0.5 * (dataset / faces.samples["shard"][0].as_py()).stat().st_size


def test_a_damaged_image_is_refused_and_named(dataset: Path, url: str) -> None:
    faces = FaceDataset(url, "train")
    name = faces.samples["shard"][0].as_py()
    content = bytearray((dataset / name).read_bytes())
    offset, _ = faces._split.places["image"][2]
    content[offset + 60] ^= 255
    fsspec.filesystem("memory").pipe_file(f"/bucket/data/{name}", bytes(content))
    _ = faces[1]
    with pytest.raises(DatasetError, match=r"Row 2 of .* holds another image"):
        _ = faces[2]


def test_a_shard_of_another_size_is_copied_and_indexed(tmp_path: Path) -> None:
    dataset = build(tmp_path / "data", default_samples(), "parquet")
    expected = FaceDataset(dataset, "train")[4]["image"]
    path = dataset / FaceDataset(dataset, "train").samples["shard"][0].as_py()
    pq.write_table(pq.read_table(path), path, compression="zstd")
    faces = FaceDataset(f"file://{dataset}", "train")
    assert torch.equal(faces[4]["image"], expected)


def test_a_server_that_sends_whole_files_serves_too(dataset: Path) -> None:
    handler = functools.partial(Quiet, directory=str(dataset))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        faces = FaceDataset(f"http://127.0.0.1:{server.server_port}", "train")
        here = FaceDataset(dataset, "train")
        for index in (0, 5, 1):
            assert torch.equal(faces[index]["image"], here[index]["image"])
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


def test_what_is_not_there_is_one_sentence(url: str) -> None:
    with pytest.raises(DatasetError, match=r"memory://bucket/none has no dataset.json"):
        FaceDataset("memory://bucket/none", "train")
    with pytest.raises(DatasetError, match=r"nofs://x/dataset.json cannot be read .*: check the URL"):
        FaceDataset("nofs://x", "train")
    faces = FaceDataset(url, "train")
    fsspec.filesystem("memory").rm("/bucket/data/train", recursive=True)
    with pytest.raises(DatasetError, match=r"memory://bucket/data/train/.* cannot be read"):
        _ = faces[0]


@pytest.mark.heavy
def test_commands_take_urls(tmp_path: Path) -> None:
    dataset = build(tmp_path / "data", default_samples(), "parquet")
    sets = ["train.epochs=1", "train.batch=8", "train.model.size=64"]
    arguments = ["train", "resnet18", f"file://{dataset}", "--out", str(tmp_path / "run"), "--device", "cpu"]
    arguments += ["--workers", "0", *(part for one in sets for part in ("--set", one))]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run/config.json").read_text())["data"] == [f"file://{dataset}"]
    assert "| `data` |" in (tmp_path / "run/README.md").read_text()
