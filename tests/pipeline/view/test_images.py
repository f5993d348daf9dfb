"""Images out of shards, and frames of source videos."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill import DatasetError, ManifestError, VideoError
from facemill.manifests.shards.dataset import read_dataset, write_dataset
from facemill.pipeline.decode import VideoReader
from facemill.pipeline.view.catalogue import Catalogue
from facemill.pipeline.view.images import ShardImages, SourceFrames
from tests.pipeline.data.built import build, default_samples
from tests.pipeline.view.staged import FRAMES, Staged


@pytest.mark.parametrize("format_name", ["parquet", "webdataset"])
@pytest.mark.parametrize("located", [True, False])
def test_bytes_are_those_of_the_shard(tmp_path: Path, format_name: str, located: bool) -> None:
    catalogue = Catalogue(build(tmp_path, format_name=format_name, located=located))
    images = ShardImages(tmp_path, catalogue.info)
    for number, sample in enumerate(default_samples()):
        assert images.read(*catalogue.place(number, "image"), "image") == (sample.image, "image/png")
        assert images.read(*catalogue.place(number, "mask"), "mask") == (sample.mask, "image/png")
    assert (catalogue.place(0, "image")[2] is None) is not located


def test_nothing_but_images_of_the_datasets_shards_is_read(tmp_path: Path) -> None:
    root = build(tmp_path / "data")
    info = read_dataset(root)
    images = ShardImages(root, info)
    shard = info.shards[0].path
    for name, place in (("../secret", (0, 9)), ("dataset.json", (0, 9)), (str(root / shard), None), (shard, (0, 4))):
        with pytest.raises(DatasetError, match=r"no shard of this dataset|cannot be read|not PNG, JPEG or WebP"):
            images.read(name, 0, place, "image")
    for place in ((0, 1 << 40), (0, -1)):
        with pytest.raises(DatasetError, match="cannot be read"):
            images.read(shard, 0, place, "image")


@pytest.mark.parametrize("link", [False, True])
def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, link: bool) -> None:
    root = build(tmp_path / "data")
    info = read_dataset(root)
    outside = tmp_path / "outside.parquet"
    (root / info.shards[0].path).rename(outside)
    if link:
        (root / info.shards[0].path).symlink_to(outside)
    else:
        first = dataclasses.replace(info.shards[0], path="../outside.parquet")
        info = dataclasses.replace(info, shards=(first, *info.shards[1:]))
    write_dataset(root, info)
    with pytest.raises(DatasetError, match="lists a shard outside its folder"):
        ShardImages(root, read_dataset(root))


def test_frames_of_the_video(staged: Staged) -> None:
    sources = SourceFrames(staged.shards, read_dataset(staged.shards), [str(staged.videos)])
    with VideoReader(staged.videos / "f.mp4") as reader:
        expected = [frame.image for frame in reader.read([3, 20])]
    for index, image in zip((3, 20), expected, strict=True):
        found = cv2.imdecode(np.frombuffer(sources.jpeg("f", index), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(found.astype(int) - image).mean() < 4
    assert sources.jpeg("s", 3) != sources.jpeg("f", 3)
    sources.close()


def test_what_keeps_a_frame_from_being_shown_is_one_sentence(staged: Staged, tmp_path: Path) -> None:
    info = read_dataset(staged.shards)
    sources = SourceFrames(staged.shards, info, [str(staged.videos)])
    with pytest.raises(VideoError, match=f"f has {FRAMES} frames: there is no {FRAMES}"):
        sources.jpeg("f", FRAMES)
    with pytest.raises(VideoError, match="does not list nobody"):
        sources.jpeg("nobody", 0)
    with pytest.raises(VideoError, match="does not locate videos on this machine: pass --root videos=DIR"):
        SourceFrames(staged.shards, info).jpeg("f", 0)
    with pytest.raises(VideoError, match=r"f\.mp4"):
        SourceFrames(staged.shards, info, [str(tmp_path)]).jpeg("f", 0)
    with pytest.raises(VideoError, match="not on this machine"):
        SourceFrames(staged.shards, info, ["videos=s3://bucket/videos"]).jpeg("f", 0)
    with pytest.raises(ManifestError, match="--root other=/x matches no root"):
        SourceFrames(staged.shards, info, ["other=/x"])


def test_paths_that_leave_their_root_are_refused(staged: Staged, tmp_path: Path) -> None:
    table = pq.read_table(staged.shards / "videos.parquet")
    for path in ("../videos/f.mp4", str(staged.videos / "f.mp4")):
        position = table.schema.get_field_index("path")
        changed = table.set_column(position, table.schema.field("path"), pa.array([path] * len(table)))
        pq.write_table(changed, tmp_path / "videos.parquet")
        sources = SourceFrames(tmp_path, read_dataset(staged.shards), [str(staged.videos)])
        with pytest.raises(VideoError, match="outside its root"):
            sources.jpeg("f", 0)
