"""Small built datasets that call themselves those of the papers: crops of noise, two videos of each method."""

from itertools import product
from pathlib import Path

from facemill.manifests import VideoEntry, write_videos
from facemill.manifests.shards.dataset import VIDEOS_FILE
from tests.pipeline.data.built import build, samples_of

__all__ = ["METHODS", "SHORT", "TINY", "build_paper_data"]

METHODS = {
    "ffpp": ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"),
    "celebdf1": ("Celeb-synthesis",),
    "celebdf2": ("Celeb-synthesis",),
    "dfdc": ("fake",),
    "dfdcp": ("method_A",),
    "dfd": ("DeepFakeDetection",),
    "wild": ("fake",),
}
"""Forgery methods by dataset."""

TINY = {
    "etd": ("train.model={backbone: resnet18, width: 8, size: 64, n: 2}",),
    "lrl": ("train.model.backbone=resnet18", "train.model.size=64", "train.model.k=2"),
    "mat": ("train.model.backbone=tinynet_e", "train.model.size=64"),
    "sia": ("train.model.backbone=tinynet_e", "train.model.size=64"),
    "sola": ("train.model.size=64", "train.model.patch=8"),
}
"""Recipe values, by paper, for trainings of seconds."""
SHORT = ("train.epochs=1", "train.batch=8", "train.model.pretrained=false")


def build_paper_data(root: Path, data: str, quality: str = "native") -> Path:
    """Write a dataset into `root/DATA-QUALITY`, with all splits."""
    videos = []
    for split, method, n in product(("train", "val", "test"), ("real", *METHODS[data]), range(2)):
        name = f"{data}-{method}-{split}-{n}"
        entry = VideoEntry(name, data, method, int(method != "real"), quality, split, "/data", f"{name}.mp4")
        videos.append(entry)
    folder = build(root / f"{data}-{quality}", samples_of(videos, (0, 10)))
    write_videos(videos, folder / VIDEOS_FILE)
    return folder
