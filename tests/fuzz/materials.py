"""What the fuzz target damages: small videos, a manifest, two datasets, a recipe and a trained run, all whole."""

from pathlib import Path

import av
import numpy as np

from facemill.manifests import VideoEntry, write_videos
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.train import train
from tests.manifests.small_dataset import Parts
from tests.pipeline.trained import SMALL, build_toy

__all__ = ["BRIEF", "CODECS", "make_materials"]

CODECS = {"mp4": "libx264", "mkv": "mpeg4", "ts": "libx264", "avi": "mjpeg", "webm": "libvpx-vp9"}
BRIEF = (*SMALL, "train.epochs=1", "train.model.pretrained=false")
"""Recipe values of the run."""
FRAMES, HEIGHT, WIDTH = 10, 96, 128


def make_materials(root: Path) -> Path:
    """videos/, manifest, dataset/ (Parquet), tar/, toy/ to train on, run/, mine.yaml."""
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    frames = frames.repeat(8, axis=1).repeat(8, axis=2)
    entries: list[VideoEntry] = []
    for suffix, codec in CODECS.items():
        for label in (0, 1):
            name = f"{'fake' if label else 'real'}-{suffix}"
            encode(root / "videos" / f"{name}.{suffix}", frames, codec)
            source = f"real-{suffix}" if label else None
            how = ("fuzz", "swap" if label else "real", label, "native", "train", str(root / "videos"))
            entries.append(VideoEntry(name, *how, f"{name}.{suffix}", source_id=source))
    write_videos(entries, root / "manifest", places=False)
    Parts().write(root / "dataset", state=True)
    Parts().write(root / "tar", "webdataset", state=True)
    build_toy(root / "toy")
    train("mat", [root / "toy"], root / "run", load_recipe("mat", BRIEF), device="cpu", workers=0, progress=False)
    (root / "mine.yaml").write_text(
        "name: mine\nsample: {frames: 2}\ncrop: {size: 64, scale: 1.3}\nmask: {threshold: auto}\n"
    )
    return root


def encode(path: Path, frames: np.ndarray, codec: str) -> None:
    """Frames [N, H, W, 3] as a video of 25 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for picture in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
