"""A part of DFDC, of real clips: as files, in a zip and as folders of frames, through scan, check, build and verify."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from facemill.manifests.shards import EncodedSample, format_of
from facemill.pipeline.decode import VideoReader
from tests.integration.command import build_here, content, facemill
from tests.manifests.dataset_trees import write_zip

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(900)]

CLIPS = {"aaaaaaaaaa": "ghost_real", "xbaaaaaaaa": "ghost_fake_elon", "xcaaaaaaaa": "ghost_fake_mark"}
PART = "dfdc_train_part_0"


def make_part(root: Path, media: Path) -> Path:
    folder = root / "files" / PART
    folder.mkdir(parents=True)
    rows: dict[str, dict[str, str]] = {}
    for name, clip in CLIPS.items():
        shutil.copy(media / "pairs" / f"{clip}.mp4", folder / f"{name}.mp4")
        rows[f"{name}.mp4"] = {"label": "FAKE", "original": "aaaaaaaaaa.mp4"} if rows else {"label": "REAL"}
    (folder / "metadata.json").write_text(json.dumps(rows))
    return folder


def unpack(folder: Path, root: Path) -> None:
    root.mkdir(parents=True)
    shutil.copy(folder / "metadata.json", root)
    for path in folder.glob("*.mp4"):
        (root / path.stem).mkdir()
        with VideoReader(path) as reader:
            for frame in reader.read(range(reader.info.frame_count)):
                assert frame.image is not None
                cv2.imwrite(str(root / path.stem / f"{frame.index + 1:04d}.png"), frame.image[..., ::-1])


def samples(out: Path) -> dict[str, EncodedSample]:
    [shard] = out.glob("train/*.parquet")
    found = format_of(shard.name).read(shard)
    return {sample.record.sample_id: replace(sample, record=replace(sample.record, pts_s=0.0)) for sample in found}


def test_real_clips_give_the_same_crops_and_masks_packed_and_as_frames(tmp_path: Path, media: Path) -> None:
    folder = make_part(tmp_path, media)
    write_zip(
        tmp_path / "zip" / f"{PART}0.zip", {f"{PART}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    )
    unpack(folder, tmp_path / "frames" / PART)
    for name in ("files", "zip", "frames"):
        manifest = tmp_path / f"{name}.parquet"
        scanned = facemill("scan", "dfdc", tmp_path / name, "--split", "all-train", "--hash", "--out", manifest)
        assert scanned.code == 0, scanned.err
        checked = facemill("check", manifest)
        assert checked.out == "3 videos: 0 missing or changed\n"
        build_here(manifest, tmp_path / f"{name}-out", "sample.frames=4", "crop.size=128")
        verified = facemill("verify", tmp_path / f"{name}-out")
        assert verified.out == "12 samples in 1 shards, 3 videos: 0 problems, 0 warnings\n"
    files, packed, frames = (tmp_path / f"{name}-out" for name in ("files", "zip", "frames"))
    assert samples(packed) == samples(files) == samples(frames)
    differing = {name for name, data in content(files).items() if content(packed)[name] != data}
    assert "samples.parquet" not in differing
    assert f"train/{next(files.glob('train/*.parquet')).name}" not in differing
