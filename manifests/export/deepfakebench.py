"""Export to DeepfakeBench: the folders of images and the JSON files that its training code reads.

FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003/012.png    a crop, by frame
                                               …/masks/000_003/012.png        if the forged region is known
                                               …/landmarks/000_003/012.npy    5 points [5, 2], float32, if known
dataset_json/FaceForensics++.json  FF-DF.json  …

Its loader finds masks and landmarks by replacing `frames` in an image's path, and uses zeros for missing ones.
Points are pixels of the crop, with the centre of the first pixel at (0, 0) as in dlib and OpenCV.

Its loader can also read images from LMDB environments, whose keys are the paths in the JSON files:

lmdb/FaceForensics++_lmdb/data.mdb

It then requires a mask for every image, and reads it in colour, as its LRL needs.

Yan et al., DeepfakeBench, NeurIPS 2023, https://github.com/SCLBD/DeepfakeBench
"""

import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemill import ConfigError, DatasetError
from facemill.manifests.checks.bounded import open_parquet
from facemill.manifests.codes import MaskKind
from facemill.manifests.export.base import ExportReport, claim, export_shards
from facemill.manifests.export.deepfakebench_names import (
    BenchDataset,
    VideoNames,
    detector_notes,
    identify,
    is_known_label,
)
from facemill.manifests.records import SPLITS, SampleRecord, VideoEntry
from facemill.manifests.shards import EncodedSample
from facemill.manifests.shards.base import image_suffix
from facemill.manifests.shards.dataset import SAMPLES_FILE, VIDEOS_FILE, read_dataset
from facemill.manifests.storage import write_atomically
from facemill.manifests.videos import read_videos

__all__ = ["PREFIX", "export_deepfakebench", "export_deepfakebench_lmdb"]

PREFIX = "./datasets/rgb"
"""Folder for images in DeepfakeBench's instructions, relative to its own folder, where training is started."""

JSON_FOLDER = "dataset_json"
LMDB_FOLDER = "lmdb"
LMDB_SIZE = 1 << 40
"""Maximum size of an environment in bytes: reserves address space, not disk space."""
C40_PAGES = ("FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT")
"""JSON files that its loader also looks for with the suffix `_c40`, for any configured compression."""
ZERO_MASKS = (MaskKind.ZEROS, MaskKind.NONE)
"""Kinds of masks that are all zero, and not written."""
BATCH = 65536


@dataclass(frozen=True, slots=True)
class BenchVideo:
    """The crops of one face track of a video: one video of DeepfakeBench, a folder of frames.

    Attributes:
        label: DeepfakeBench's name of the label.
        folder: of the frames, below the root; ends in the name.
        frames: frame indices, and whether the frame's mask is written.
    """

    video: VideoEntry
    bench: BenchDataset
    label: str
    folder: str
    frames: dict[int, bool]

    def path(self, kind: str, frame: int, suffix: str = ".png") -> str:
        """POSIX path of a file below the root; `kind` is frames, masks or landmarks."""
        return f"{self.folder}/{frame:03d}{suffix}".replace("frames", kind)

    def entry(self, prefix: str) -> dict[str, Any]:
        """The video's entry in a JSON file."""
        frames = sorted(self.frames)
        masked = [frame for frame in frames if self.frames[frame]]
        entry: dict[str, Any] = {"label": self.label, "frames": [f"{prefix}/{self.path('frames', f)}" for f in frames]}
        return entry | ({"masks": [f"{prefix}/{self.path('masks', f)}" for f in masked]} if masked else {})


BenchVideos = dict[tuple[str, int], BenchVideo]
"""By video_id and track."""

Put = Callable[[BenchVideo, str, bytes], None]
"""Stores content under a path below the root."""


def export_deepfakebench_lmdb(folder: Path, out: Path, **settings: Any) -> ExportReport:
    """As `export_deepfakebench`, with images and masks in LMDB environments instead of files.

    A killed export can be resumed; after a power failure the environments may be damaged: export to a new folder.

    Raises:
        ConfigError: also if the package lmdb is not installed, or a path is too long for a key.
    """
    if find_spec("lmdb") is None:
        raise ConfigError('This export needs the package lmdb: pip install "facemill[lmdb]".')
    return export_deepfakebench(folder, out, **settings, lmdb=True)


def export_deepfakebench(
    folder: Path, out: Path, *, prefix: str | None, threads: int, on_samples: Callable[[int], None], lmdb: bool = False
) -> ExportReport:
    """As `Exporter`; the JSON files are written last. The default prefix is `PREFIX`."""
    prefix = _checked(PREFIX if prefix is None else prefix)
    info = read_dataset(folder)
    bench_videos = _find_bench_videos(folder)
    claim(folder, out, "deepfakebench-lmdb" if lmdb else "deepfakebench")
    files = nullcontext(partial(_put_file, out))
    with _open_environments(out, bench_videos.values(), prefix) if lmdb else files as put:

        def write(sample: EncodedSample) -> list[Path]:
            bench_video = bench_videos.get((sample.record.video_id, sample.record.track_id))
            if bench_video is None:
                raise DatasetError(f"{SAMPLES_FILE} does not list {sample.record.sample_id}: run `facemill verify`.")
            return _write_sample(put, bench_video, sample, lmdb=lmdb)

        export_shards(folder, out, info.shards, write, threads=threads, on_samples=on_samples)
    for name, page in _pages(bench_videos.values(), prefix):
        write_atomically(out / JSON_FOLDER / f"{name}.json", json.dumps(page).encode())
    return ExportReport(
        out=out,
        samples=sum(shard.rows for shard in info.shards),
        videos=len({video_id for video_id, _ in bench_videos}),
        notes=tuple(_notes(out, list(bench_videos.values()), prefix, lmdb=lmdb)),
    )


def _checked(prefix: str) -> str:
    """The prefix without a trailing slash; raises ConfigError if the loader would change a path with it."""
    if not prefix.startswith(".") or any(part in prefix for part in ("frames", ".png", "\\")):
        raise ConfigError(
            f"DeepfakeBench cannot read paths that start with {prefix!r}: --prefix must start with a dot, "
            "and must not contain 'frames', '.png' or a backslash."
        )
    return prefix.rstrip("/")


# Videos -----------------------------------------------------------------------------------------------


def _find_bench_videos(dataset: Path) -> BenchVideos:
    """Every face track of every video with samples, in the order of the manifest."""
    frames = _find_frames(dataset / SAMPLES_FILE)
    videos = {video.video_id: video for video in read_videos(dataset / VIDEOS_FILE)}
    tracks: dict[str, list[int]] = defaultdict(list)
    for video_id, track in sorted(frames):
        if video_id not in videos:
            raise DatasetError(f"{VIDEOS_FILE} does not list {video_id}: run `facemill verify`.")
        tracks[video_id].append(track)
    names = VideoNames()
    bench_videos: BenchVideos = {}
    for video in videos.values():
        bench, label = identify(video.dataset, video.method)
        for track in tracks[video.video_id]:
            folder = names.choose_folder(bench, label, video, track)
            bench_videos[video.video_id, track] = BenchVideo(video, bench, label, folder, frames[video.video_id, track])
    return bench_videos


def _find_frames(samples: Path) -> dict[tuple[str, int], dict[int, bool]]:
    """Frames by video_id and track, and whether each has a mask to write."""
    found: dict[tuple[str, int], dict[int, bool]] = defaultdict(dict)
    try:
        with open_parquet(samples) as file:
            for batch in file.iter_batches(BATCH, columns=["video_id", "track_id", "frame_index", "mask_kind"]):
                for row in batch.to_pylist():
                    has_mask = row["mask_kind"] not in ZERO_MASKS
                    found[row["video_id"], row["track_id"]][row["frame_index"]] = has_mask
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{samples} cannot be read ({error}): run `facemill verify`.") from error
    return found


# Images -----------------------------------------------------------------------------------------------


def _write_sample(put: Put, bench_video: BenchVideo, sample: EncodedSample, *, lmdb: bool) -> list[Path]:
    """Store a sample; returns the files that were written."""
    frame = sample.record.frame_index
    contents = {bench_video.path("frames", frame): _as_png(sample.image)}
    if lmdb or sample.record.mask_kind not in ZERO_MASKS:
        contents[bench_video.path("masks", frame)] = sample.mask
    if not lmdb and any(sample.record.landmarks):  # an environment's landmarks must be 81 points
        content = io.BytesIO()
        np.save(content, _crop_landmarks(sample.record))
        contents[bench_video.path("landmarks", frame, ".npy")] = content.getvalue()
    for path, encoded in contents.items():
        put(bench_video, path, encoded)
    return [] if lmdb else [Path(path) for path in contents]


def _put_file(out: Path, bench_video: BenchVideo, path: str, content: bytes) -> None:
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    (out / path).write_bytes(content)


@contextmanager
def _open_environments(out: Path, bench_videos: Iterable[BenchVideo], prefix: str) -> Iterator[Put]:
    """Yield a function that stores content in the environment that the loader opens for the video's dataset."""
    import lmdb

    with ExitStack() as stack:
        environments: dict[str, Any] = {}
        for bench_video in bench_videos:
            if bench_video.bench.folder not in environments:
                folder = out / LMDB_FOLDER / f"{bench_video.bench.folder}_lmdb"
                folder.mkdir(parents=True, exist_ok=True)
                # Synced once per shard by `export_shards`, not at each of many small transactions.
                environment = lmdb.open(str(folder), map_size=LMDB_SIZE, sync=False)
                environments[bench_video.bench.folder] = stack.enter_context(environment)

        def put(bench_video: BenchVideo, path: str, content: bytes) -> None:
            key = f"{prefix}/{path}".encode()
            environment = environments[bench_video.bench.folder]
            if len(key) > environment.max_key_size():
                raise ConfigError(f"{path} is too long for a key of LMDB: export to deepfakebench instead.")
            with environment.begin(write=True) as transaction:
                transaction.put(key, content)

        yield put


def _as_png(image: bytes) -> bytes:
    """Keep a PNG byte for byte; decode other images and encode them losslessly."""
    if image_suffix(image) == ".png":
        return image
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".png", pixels)[1].tobytes()


def _crop_landmarks(record: SampleRecord) -> NDArray[np.float32]:
    """The five points [5, 2] in pixels of the crop, with the centre of its first pixel at (0, 0)."""
    affine = np.array(record.affine).reshape(2, 3)
    points = np.array(record.landmarks).reshape(-1, 2)
    return np.asarray(points @ affine[:, :2].T + affine[:, 2] - 0.5, np.float32)


# JSON -------------------------------------------------------------------------------------------------


def _pages(bench_videos: Iterable[BenchVideo], prefix: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """Names and contents of the JSON files; a single method has a file only if it has videos."""
    members: dict[str, list[BenchVideo]] = defaultdict(list)
    main: set[str] = set()
    for bench_video in bench_videos:
        main.add(next(iter(bench_video.bench.pages)))
        for name, labels in bench_video.bench.pages.items():
            if bench_video.label in labels:
                members[name].append(bench_video)
    for name, chosen in members.items():
        if wanted := [bench_video for bench_video in chosen if name in main or bench_video.video.label == 1]:
            page = {name: _page(chosen, prefix)}
            yield name, page
            if name in C40_PAGES and any(bench_video.video.quality == "c40" for bench_video in wanted):
                yield f"{name}_c40", page


def _page(bench_videos: list[BenchVideo], prefix: str) -> dict[str, Any]:
    """Videos by label, split and, if the loader expects it, compression level; all splits and levels are present."""
    levels = sorted({bench_video.video.quality for bench_video in bench_videos})
    page: dict[str, Any] = {}
    for bench_video in bench_videos:
        leveled = bench_video.bench.has_levels
        splits = page.setdefault(
            bench_video.label, {split: {level: {} for level in levels} if leveled else {} for split in SPLITS}
        )
        videos = splits[bench_video.video.split]
        name = bench_video.folder.rpartition("/")[2]
        (videos[bench_video.video.quality] if leveled else videos)[name] = bench_video.entry(prefix)
    return page


def _notes(out: Path, bench_videos: list[BenchVideo], prefix: str, *, lmdb: bool) -> Iterable[str]:
    """How to configure DeepfakeBench to read the export."""
    storage = f"lmdb: true, lmdb_dir: {prefix}/{LMDB_FOLDER}" if lmdb else "lmdb: false"
    yield (
        f"In DeepfakeBench's folder, make {prefix} a link to {out.absolute()}, and set {storage} and "
        f"dataset_json_folder: {prefix}/{JSON_FOLDER} in its configuration."
    )
    if levels := sorted({bench_video.video.quality for bench_video in bench_videos if bench_video.bench.has_levels}):
        yield f"Set compression: {' or '.join(levels)}."
    if unknown := {each.label: each.video.label for each in bench_videos if not is_known_label(each.label)}:
        lines = ", ".join(f"{name}: {label}" for name, label in sorted(unknown.items()))
        yield f"Add to label_dict in its train_config.yaml and test_config.yaml: {lines}."
    yield from detector_notes(lmdb=lmdb)
