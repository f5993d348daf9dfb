"""DeepfakeBench's names of datasets, methods, JSON files and detectors, and what the detectors need of an export."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import PurePosixPath

from facemill.manifests.records import LABELS, VideoEntry

__all__ = ["BenchDataset", "VideoNames", "detector_notes", "identify", "is_known_label"]


@dataclass(frozen=True, slots=True)
class BenchDataset:
    """A dataset in DeepfakeBench.

    Attributes:
        folder: below its root of images.
        labels: by forgery method, including `real`.
        pages: names of the JSON files, each with its labels; the first one contains the whole dataset.
        has_levels: whether its loader expects the compression level below the split.
    """

    folder: str
    labels: Mapping[str, str]
    pages: Mapping[str, tuple[str, ...]]
    has_levels: bool = False


def _plain(folder: str, labels: Mapping[str, str]) -> BenchDataset:
    return BenchDataset(folder, labels, {folder: tuple(labels.values())})


_FFPP = {"Deepfakes": "FF-DF", "Face2Face": "FF-F2F", "FaceSwap": "FF-FS", "NeuralTextures": "FF-NT"}

_KNOWN = {
    "ffpp": BenchDataset(
        folder="FaceForensics++",
        labels={"real": "FF-real", **_FFPP, "FaceShifter": "FF-FH"},
        pages={
            "FaceForensics++": ("FF-real", *_FFPP.values()),
            **{label: ("FF-real", label) for label in _FFPP.values()},
            "FaceShifter": ("FF-real", "FF-FH"),
        },
        has_levels=True,
    ),
    "dfd": BenchDataset(
        folder="FaceForensics++",
        labels={"real": "DFD_real", "DeepFakeDetection": "DFD_fake"},
        pages={"DeepFakeDetection": ("DFD_real", "DFD_fake")},
        has_levels=True,
    ),
    "celebdf1": _plain("Celeb-DF-v1", {"real": "CelebDFv1_real", "Celeb-synthesis": "CelebDFv1_fake"}),
    "celebdf2": _plain("Celeb-DF-v2", {"real": "CelebDFv2_real", "Celeb-synthesis": "CelebDFv2_fake"}),
    "dfdc": _plain("DFDC", {"real": "DFDC_Real", "fake": "DFDC_Fake"}),
    "dfdcp": _plain("DFDCP", {"real": "DFDCP_Real", "method_A": "DFDCP_FakeA", "method_B": "DFDCP_FakeB"}),
}
_KNOWN_LABELS = {label for known in _KNOWN.values() for label in known.labels.values()}

# Detectors, by what they train on.
_IMAGE = (
    "capsule_net, clip, core, effort, efficientnetb4, f3net, ffd, meso4, meso4Inception, multi_attention, recce, "
    "resnet34, rfm, sia, spsl, srm, ucf, uia_vit and xception"
)
_VIDEO = "altfreezing, ftcn, i3d, stil, tall, timesformer, videomae and xclip"
_POINTS = "facexray, fwa, pcl_xception, sbi and sladd"


def identify(dataset: str, method: str) -> tuple[BenchDataset, str]:
    """The dataset and label of a video; labels of datasets unknown to DeepfakeBench end in `_Real` and `_Fake`."""
    known = _KNOWN.get(dataset)
    if known is not None and method in known.labels:
        return known, known.labels[method]
    name = _safe(dataset)
    real, fake = f"{name}_Real", f"{name}_Fake"
    return BenchDataset(name, {}, {name: (real, fake)}), real if method == "real" else fake


def is_known_label(label: str) -> bool:
    """Whether the label is in the `label_dict` of DeepfakeBench's configuration."""
    return label in _KNOWN_LABELS


class VideoNames:
    """Chooses unique names of videos: the file's own name if it is not taken.

    The loader identifies videos by label and name, and video metrics by name alone: no two videos of a label share
    a name, nor do a real and a fake. Fakes of several methods may share one, as in FaceForensics++.
    """

    def __init__(self) -> None:
        self._taken: set[tuple[str, ...]] = set()

    def choose_folder(self, bench: BenchDataset, label: str, video: VideoEntry, track: int) -> str:
        """The folder of frames of one face track of a video, which ends in the name: `…/frames/<name>`.

        The names are the same for every call sequence in the same order.
        """
        folders = PurePosixPath(video.path).parts[:-1]
        if folders and folders[-1] == "videos":  # the frames are its sibling
            folders = folders[:-1]
        parents = "/".join([bench.folder, *map(_safe, folders), "frames"])
        scope = (next(iter(bench.pages)), video.quality if bench.has_levels else "")

        def keys(name: str, kind: int) -> set[tuple[str, ...]]:
            return {(parents, name), (*scope, label, name), (*scope, LABELS[kind], name)}

        free = (name for name in _candidates(video, track) if not keys(name, 1 - video.label) & self._taken)
        name = next(free)
        self._taken |= keys(name, video.label)
        return f"{parents}/{name}"


def _candidates(video: VideoEntry, track: int) -> Iterator[str]:
    # A prefix, because some of its detectors read an identity from the end of the name.
    track_prefix = f"t{track}_" if track else ""
    names = (_safe(PurePosixPath(video.path).stem), _safe(video.video_id))
    return chain((track_prefix + name for name in names), (f"{track_prefix}{names[1]}-{n}" for n in count(2)))


def _safe(part: str) -> str:
    """A path component without `frames` and `.png`, which its loader would replace anywhere in a path."""
    return re.sub(r"[^\w+-]", "_", part).replace("frames", "Frames")


def detector_notes(*, lmdb: bool) -> Iterator[str]:
    """One sentence per group of detectors, named by their files in training/config/detector.

    Args:
        lmdb: whether the export is in LMDB environments.
    """
    yield f"These DeepfakeBench detectors train on the export without changes: {_IMAGE}."
    # Its LRLDataset moves the third channel of a mask to the front, and only its LMDB reader returns three channels;
    # the axis that this reader adds keeps OpenCV from rotating the mask.
    if lmdb:
        yield "lrl does too, with rotate_prob: 0 in its data_aug, since it cannot rotate a mask read from LMDB."
    else:
        yield "lrl needs masks in colour, which only LMDB provides: export --to deepfakebench-lmdb for it."
    yield (
        f"{_VIDEO} treat neighbouring frames as consecutive: build with --set sample.strategy=all for them, "
        "and set frame_num to at least clip_size."
    )
    yield "iid reads an identity from the number at the end of a video's name, which FaceForensics++ and Celeb-DF have."
    yield (
        "lsda needs real videos and all four forgery methods of FaceForensics++ c23 with 32 frames each, and the "
        "official train.json in ./datasets/FaceForensics++."
        + (" It reads images from files: export --to deepfakebench for it." if lmdb else "")
    )
    yield (
        f"{_POINTS} cannot train on the export: they blend faces inside dlib's 81 points, and it has "
        + ("none in LMDB." if lmdb else "5, in pixels of the crop (set resolution to its side).")
    )
