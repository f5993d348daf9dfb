"""A video that kills every process that opens it costs nothing but itself."""

import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from facemill.manifests import FailureRecord, Reason, SampleRecord, from_table, read_videos
from tests.integration.command import build_args, facemill

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(900)]

DEADLY_AV = """
import os, signal, av
open_video = av.open
def open_or_die(file, *args, **options):
    if os.path.basename(str(file)) == "poison.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    return open_video(file, *args, **options)
av.open = open_or_die
"""
"""Python runs a `sitecustomize` at the start of each process: here, also of workers and of their children."""


@pytest.fixture
def deadly(tmp_path: Path) -> dict[str, str]:
    """Environment in which the decoder crashes on poison.mp4."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(DEADLY_AV)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])}


def test_poison_is_recorded_and_all_else_is_kept(manifest: Path, deadly: dict[str, str], tmp_path: Path) -> None:
    """Two shards: one of a healthy and a poisonous video, and one without poison."""
    folder = tmp_path / "data"
    folder.mkdir()
    sources = [Path(video.root) / video.path for video in read_videos(manifest) if video.label == 0]
    rows = []
    for name, split, source in zip(("poison", "beside", "apart"), ("train", "train", "val"), sources[:3], strict=True):
        shutil.copy(source, folder / f"{name}.mp4")
        rows.append(f"{name}.mp4,0,{split}")
    (folder / "mine.csv").write_text("\n".join(["path,label,split", *rows]))
    videos, out = tmp_path / "videos.parquet", tmp_path / "out"
    assert facemill("scan", "csv", folder / "mine.csv", "--out", videos).code == 0

    ended = facemill(*build_args(videos, out, "--max-failure-rate", 0.33), env=deadly)
    assert ended.code == 3, ended.err
    assert "33.3% of the videos yielded no sample" in ended.err
    assert "Traceback" not in ended.err
    failures: list[FailureRecord] = from_table(pq.read_table(out / "failures.parquet"), FailureRecord)
    ids = {Path(video.path).stem: video.video_id for video in read_videos(videos)}
    assert [(failure.video_id, failure.reason) for failure in failures] == [(ids["poison"], Reason.WORKER_CRASHED)]
    samples: list[SampleRecord] = from_table(pq.read_table(out / "samples.parquet"), SampleRecord)
    per_video = {name: sum(sample.video_id == video_id for sample in samples) for name, video_id in ids.items()}
    assert per_video == {"poison": 0, "beside": 4, "apart": 4}
    assert facemill("verify", out).code == 0
