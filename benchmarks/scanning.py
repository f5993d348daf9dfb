"""Scanning and planning a tree of empty files of DFDC's size: seconds and peak memory."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.peak import peak_gib
from benchmarks.row import Row
from facemill.manifests import group_clips, read_videos, scan, write_videos

__all__ = ["measure"]

PARTS = 50
ORIGINALS = 400
FAKES = 5
VIDEOS = PARTS * ORIGINALS * (FAKES + 1)
"""120,000; the training set has 119,154."""


def measure(scratch: Path) -> list[Row]:
    """Scan in a separate process, so that its peak memory is measured separately."""
    tree = scratch / "dfdc"
    _make_tree(tree)
    try:
        command = [sys.executable, "-m", __name__, str(tree)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        shutil.rmtree(tree)
    scanning, reading, planning, gibibytes = map(float, told.split())
    return [
        Row("scanning", f"seconds for {VIDEOS} files / 30", scanning / 30, "<= 1", f"{scanning:.1f} s"),
        Row(
            "scanning", "seconds to read and plan them / 30", planning / 30, "<= 1", f"{reading:.1f} + {planning:.1f} s"
        ),
        Row("scanning", "peak memory / 1 GiB", gibibytes, "<= 1", f"{gibibytes:.2f} GiB"),
    ]


def _make_tree(tree: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    for part in range(PARTS):
        folder = tree / f"dfdc_train_part_{part}"
        folder.mkdir(parents=True)
        rows: dict[str, dict[str, str]] = {}
        for number in range(ORIGINALS):
            original = f"{part:02d}real{number:04d}.mp4"
            rows[original] = {"label": "REAL", "split": "train"}
            for fake in range(FAKES):
                rows[f"{part:02d}f{fake}ke{number:04d}.mp4"] = {
                    "label": "FAKE",
                    "split": "train",
                    "original": original,
                }
        for name in rows:
            (folder / name).touch()
        (folder / "metadata.json").write_text(json.dumps(rows))


def _main(tree: Path) -> None:
    start = time.perf_counter()
    report = scan("dfdc", str(tree))
    write_videos(report.entries, tree / "videos.parquet")
    scanned = time.perf_counter()
    assert len(report.entries) == VIDEOS
    assert not report.unpaired
    peak = peak_gib()  # before planning imports its modules

    from facemill.pipeline.build.plan import plan_shards
    from facemill.pipeline.config.recipe import load_recipe

    ready = time.perf_counter()
    entries = read_videos(tree / "videos.parquet")
    read = time.perf_counter()
    specs = plan_shards(group_clips(entries), load_recipe("default"))
    planned = time.perf_counter()
    assert sum(len(spec.groups) for spec in specs) == PARTS * ORIGINALS
    print(scanned - start, read - ready, planned - ready, peak)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
