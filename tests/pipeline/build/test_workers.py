"""Which files a worker must see to be used."""

import dataclasses
from pathlib import Path

from facemill.pipeline.build.workers import _files
from tests.manifests.small_dataset import make_videos


def test_what_a_worker_must_see_is_a_file_of_each_root(tmp_path: Path) -> None:
    """The folder of an unmounted disk is there, and empty."""
    videos = [dataclasses.replace(video, root=str(tmp_path / "a")) for video in make_videos()]
    assert _files(videos) == [str(tmp_path / "a")]
    (tmp_path / "a" / videos[1].path).parent.mkdir(parents=True)
    (tmp_path / "a" / videos[1].path).touch()
    packed = dataclasses.replace(videos[0], root=str(tmp_path / "b"), path="1.tar.gz/0")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.tar.gz").touch()
    far = dataclasses.replace(videos[0], root="s3://far")
    assert _files([*videos, packed, far]) == [str(tmp_path / "a" / videos[1].path), str(tmp_path / "b" / "1.tar.gz")]
