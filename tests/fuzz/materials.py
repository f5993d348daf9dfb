"""What commands are tried on, all of it whole: each target damages some of its files."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2

from facemill.manifests import VideoEntry, write_videos
from facemill.manifests.shards.dataset import DATASET_FILE
from facemill.pipeline.build import build
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.train import train
from tests.fuzz.films import FILMS, encode, face_frames
from tests.integration.command import committed
from tests.manifests.dataset_trees import write_archive, write_zip
from tests.manifests.small_dataset import Parts
from tests.pipeline.trained import SMALL, build_toy

__all__ = ["ARCHIVES", "BRIEF", "BUILD_SETS", "IMAGES", "VIDEOS", "make_materials"]

VIDEOS = ("h264.mp4", "vp9.webm", "mpeg4.avi")
IMAGES = ("png", "jpg", "webp")
ARCHIVES = ("plain.tar", "compressed.tgz", "deflated.zip")
BRIEF = (*SMALL, "train.epochs=1", "train.model.pretrained=false")
"""Recipe values of the run."""
BUILD_SETS = ("sample.frames=2", "crop.size=64", "shards.samples_per_shard=4")
"""Recipe values of builds."""


def make_materials(root: Path) -> Path:
    """Make these below a folder.

    videos/, manifest, table.csv, mine.yaml; images/, images.parquet; packed/, packed.parquet; built/, half/ (a build
    that was interrupted); dataset/ (Parquet), tar/ (WebDataset); toy/ to train on, run/.
    """
    rows = ["path,label,split,source,subject"]
    entries: list[VideoEntry] = []
    for name in VIDEOS:
        codec, options, sound = FILMS[name]
        for label in (0, 1):
            path = f"{'fake' if label else 'real'}-{name}"
            encode(root / "videos" / path, face_frames(fake=bool(label)), codec, options, sound)
            entries.append(_entry(path, root / "videos", label))
            rows.append(f"videos/{path},{label},train,{f'videos/real-{name}' if label else ''},{name}")
    (root / "table.csv").write_text("\n".join(rows))
    write_videos(entries, root / "manifest", places=False)
    _make_images(root)
    _make_archives(root)
    build(root / "manifest", load_recipe("default", BUILD_SETS), root / "built", executor="sequential", device="cpu")
    shutil.copytree(root / "built", root / "half")
    (root / "half" / DATASET_FILE).unlink()
    max(committed(root / "half")).unlink()
    Parts().write(root / "dataset", state=True)
    Parts().write(root / "tar", "webdataset", state=True)
    build_toy(root / "toy")
    train("mat", [root / "toy"], root / "run", load_recipe("mat", BRIEF), device="cpu", workers=0, progress=False)
    (root / "mine.yaml").write_text(
        "name: mine\nsample: {frames: 2}\ncrop: {size: 64, scale: 1.3}\nmask: {threshold: auto}\n"
    )
    return root


def _entry(path: str, root: Path, label: int = 0, content: str | None = None) -> VideoEntry:
    name = path.replace(".", "-").replace("/", "-")
    how = ("fuzz", "swap" if label else "real", label, "native", "train", str(root))
    source = path.replace("fake", "real").replace(".", "-") if label else None
    return VideoEntry(name, *how, path, source_id=source, content=content)


def _make_images(root: Path) -> None:
    """Full frames, and crops, in a folder for each format."""
    entries = []
    for suffix in IMAGES:
        for content, size in (("frames", 128), ("crops", 64)):
            folder = f"{content}-{suffix}"
            (root / "images" / folder).mkdir(parents=True)
            for number, encoded in enumerate(_encoded(suffix, size)):
                (root / "images" / folder / f"{number:03d}.{suffix}").write_bytes(encoded)
            entries.append(_entry(folder, root / "images", content=content))
    write_videos(entries, root / "images.parquet", places=False)


def _make_archives(root: Path) -> None:
    """A video, full frames and crops in each archive."""
    video = (root / "videos" / f"real-{VIDEOS[0]}").read_bytes()
    members = {"a/v.mp4": video}
    for folder, suffix, size in (("frames", "jpg", 128), ("crops", "png", 64)):
        members |= {f"{folder}/{number}.{suffix}": one for number, one in enumerate(_encoded(suffix, size))}
    write: dict[str, Callable[[Path], None]] = {
        "plain.tar": lambda path: write_archive(path, members, "w"),
        "compressed.tgz": lambda path: write_archive(path, members),
        "deflated.zip": lambda path: write_zip(path, members),
    }
    entries = []
    for name in ARCHIVES:
        write[name](root / "packed" / name)
        for path, content in (("a/v.mp4", None), ("frames", "frames"), ("crops", "crops")):
            entries.append(_entry(f"{name}/{path}", root / "packed", content=content))
    write_videos(entries, root / "packed.parquet", places=False)


def _encoded(suffix: str, side: int) -> list[bytes]:
    """Some of the frames as image files."""
    frames = face_frames()[::4] if side == 128 else face_frames()[::4, 20:84, 20:84]
    return [cv2.imencode(f".{suffix}", frame[..., ::-1])[1].tobytes() for frame in frames]
