"""Builds that write to an object store: the files of a build into a folder, whatever happens on the way."""

from pathlib import Path
from typing import Any

import pytest

from facemill.manifests import VideoEntry
from facemill.manifests.checks.verify import verify
from facemill.pipeline.build.job import build
from tests.object_store import files
from tests.pipeline.build.test_job import RECIPE, videos  # noqa: F401, a fixture

pytestmark = pytest.mark.usefixtures("mark_detector")
OUT = "s3://bucket/data/faces"


def test_the_objects_are_the_files_of_a_build_into_a_folder(videos: list[VideoEntry], tmp_path: Path, s3: Any) -> None:  # noqa: F811
    here = build(videos, RECIPE, tmp_path / "here", executor="sequential")
    there = build(videos, RECIPE, OUT, executor="sequential")
    assert (there.out, there.samples, there.shards) == (OUT, here.samples, here.shards)
    print(s3.requests)
    for k in files(OUT):
        print(k)
    assert verify(OUT).problems == ()
