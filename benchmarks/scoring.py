"""`facemill score` on a 720p clip against `facemill build` of the same frames: whole commands, start-up included."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.clips import source_clip
from benchmarks.row import Row
from facemill.manifests import scan, write_videos
from facemill.pipeline.build import build
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.demo.corpus import make_corpus
from facemill.pipeline.train import train

__all__ = ["measure"]

FRAMES, ROUNDS = 32, 3
COMMAND = [sys.executable, "-c", "from facemill.pipeline.commands.cli import main; main()"]


def measure(scratch: Path) -> list[Row]:
    """Seconds of both commands, the least of three in turn, with a small detector of random weights."""
    folder = scratch / "scoring"
    shutil.rmtree(folder, ignore_errors=True)
    clip = folder / "clips" / source_clip(scratch).name
    clip.parent.mkdir(parents=True)
    shutil.copy(source_clip(scratch), clip)
    settings = ("train.epochs=1", "train.batch=8", "train.model.size=64", "train.optimizer.lr=0.001")
    make_corpus(folder / "corpus", subjects=6, frames=8, seed=5, qualities=("c23",))
    write_videos(scan("ffpp", str(folder / "corpus"), quality="c23").entries, folder / "corpus.parquet")
    small = load_recipe("default", ["crop.size=96", "sample.frames=4"])
    data = build(folder / "corpus.parquet", small, folder / "shards", executor="sequential").out
    train("resnet18", [data], folder / "run", load_recipe("default", settings), device="cpu", progress=False)
    (folder / "clips.csv").write_text(f"path,label\nclips/{clip.name},real\n")
    write_videos(scan("csv", str(folder / "clips.csv"), split="all-test").entries, folder / "videos.parquet")
    reading = ["build", f"{folder}/videos.parquet", "--set", f"sample.frames={FRAMES}", "--executor", "sequential"]
    score = ["score", f"{folder}/run", f"{clip}", "--recipe", "default", "--frames", f"{FRAMES}"]
    building, scoring = (
        min(times) for times in zip(*[_seconds(folder, reading, score) for _ in range(ROUNDS)], strict=True)
    )
    details = f"{scoring:.1f} s, {building:.1f} s; {FRAMES} frames of {clip.name}"
    return [Row("scoring", "facemill score / facemill build of the same frames", scoring / building, "", details)]


def _seconds(folder: Path, *commands: list[str]) -> list[float]:
    found = []
    for command in commands:
        shutil.rmtree(folder / "out", ignore_errors=True)
        begin = time.perf_counter()
        subprocess.run(
            [*COMMAND, *command, "--out", f"{folder}/out", "--device", "cpu"], check=True, capture_output=True
        )
        found.append(time.perf_counter() - begin)
    return found
