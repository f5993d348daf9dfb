"""A small built dataset of which it is known why frames gave no sample, and its videos."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from facemill.manifests import VideoEntry
from facemill.pipeline.build.job import build
from facemill.pipeline.config.recipe import load_recipe
from tests.conftest import encode_video
from tests.pipeline.conftest import Actor, MarkDetector, film

__all__ = ["FRAMES", "HOSTILE", "Staged", "stage"]

BIG, TINY = Actor(20, 60, side=110, dx=1), Actor(200, 60, side=30)
FRAMES = 24
HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J"
"""A method's name that is markup and a terminal's escape sequence."""


@dataclass(frozen=True)
class Staged:
    """`shards`, the dataset; `videos`, the folder of its videos."""

    shards: Path
    videos: Path


def _chapters(forged: int | None = None) -> np.ndarray:
    """A face in 12 frames, nobody in 6, and after a cut a face of 30 pixels in 6: [24, H, W, 3]."""
    return np.concatenate([film([BIG], 12, forged=forged), film([], 6, start=12), film([TINY], 6, seed=3)])


def stage(root: Path) -> Staged:
    """Build it: of each video, 12 frames are sampled."""
    videos = root / "videos"
    made = {"r": (_chapters(), 0), "f": (_chapters(0), 1), "s": (film([BIG], FRAMES, seed=5), 0)}
    made["e"] = film([], FRAMES), 0
    entries = []
    for name, (frames, label) in made.items():
        encode_video(videos / f"{name}.mp4", frames)
        method, source = (HOSTILE, "r") if label else ("real", None)
        fixed = {"dataset": "stage", "quality": "native", "split": "train", "root": str(videos), "path": f"{name}.mp4"}
        entries.append(VideoEntry(video_id=name, method=method, label=label, source_id=source, **fixed))
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=12", "track.min_share=0"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facemill.pipeline.build.groups.load_detector", lambda *_: MarkDetector())
        build(entries, recipe, root / "shards", executor="sequential", device="cpu")
    return Staged(root / "shards", videos)
