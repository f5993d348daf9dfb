"""An export copies only the recorded images, and a rerun makes up for files that are missing or cut off."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from facemill import DatasetError, __version__
from facemill.manifests.export import export
from facemill.manifests.shards.dataset import SAMPLES_FILE
from tests.manifests.small_dataset import Parts, png


def files(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_rerun_writes_damaged_files_again(tmp_path: Path, damage: str) -> None:
    root, out = Parts().write(tmp_path / "dataset"), tmp_path / "out"
    export(root, out, "deepfakebench")
    whole = files(out)
    image = next(out.rglob("frames/**/*.png"))
    image.unlink() if damage == "missing" else image.write_bytes(image.read_bytes()[:50])
    export(root, out, "deepfakebench")
    assert files(out) == whole


def test_a_shard_is_marked_as_done_after_its_files_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, marks = Parts().write(tmp_path / "dataset"), []
    monkeypatch.setattr(os, "sync", lambda: marks.append(len(list((tmp_path / "out").rglob("*.done")))))
    export(root, tmp_path / "out", "deepfakebench", threads=1)
    assert marks == [0, 1]


def test_a_folder_says_what_it_is_the_export_of(tmp_path: Path) -> None:
    """Under a name that exports of other versions look for."""
    root, out = Parts().write(tmp_path / "dataset"), tmp_path / "out"
    export(root, out, "deepfakebench")
    claimed = json.loads((out / "_export" / "export.json").read_bytes())
    digest = hashlib.sha256((root / "dataset.json").read_bytes()).hexdigest()
    assert claimed == {"to": "deepfakebench", "dataset": digest, "facemill": __version__}


@pytest.mark.parametrize("what", ["image", "mask"])
def test_damaged_samples_are_not_copied(tmp_path: Path, what: str) -> None:
    parts = Parts()
    parts.change(0, **{what: png(np.zeros((64, 64, 3), np.uint8)) if what == "image" else b"no mask"})
    root = parts.write(tmp_path / "dataset")
    with pytest.raises(DatasetError, match=f"Row 0 of train/train-000000.parquet has a damaged {what}"):
        export(root, tmp_path / "out", "deepfakebench")


@pytest.mark.timeout(30)
def test_a_pipe_in_place_of_the_samples_is_not_waited_for(tmp_path: Path) -> None:
    root = Parts().write(tmp_path / "dataset")
    (root / SAMPLES_FILE).unlink()
    os.mkfifo(root / SAMPLES_FILE)
    with pytest.raises(DatasetError, match="not a regular file"):
        export(root, tmp_path / "out", "deepfakebench")
