"""Export to DeepfakeBench: the folders of pictures and the JSON files that its training reads.

FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003/012.png    a crop, by frame
                                               …/masks/000_003/012.png        where it is known what was forged
                                               …/landmarks/000_003/012.npy    5 points [5, 2], float32, where known
dataset_json/FaceForensics++.json  FF-DF.json  …

Its loader finds masks and landmarks by replacing `frames` in a picture's path, and takes those that are not there for
zeros. Points are pixels of the crop, the centre of the first one at (0, 0) as in dlib and OpenCV.

Its loader can also read pictures from LMDB environments, whose keys are the paths in the JSON files:

lmdb/FaceForensics++_lmdb/data.mdb

It then asks for a mask of every picture, and reads it in colour, which is what its LRL needs.

Yan et al., DeepfakeBench, NeurIPS 2023, https://github.com/SCLBD/DeepfakeBench
"""

import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from facemill import ConfigError, DatasetError
from facemill.manifests.export.base import ExportReport, claim, export_shards
from facemill.manifests.export.deepfakebench_names import BenchDataset, VideoNames, identify, is_known_label
from facemill.manifests.export.deepfakebench_notes import detector_notes
from facemill.manifests.records import SPLITS, MaskKind, SampleRecord, VideoEntry
from facemill.manifests.shards import EncodedSample
from facemill.manifests.shards.base import image_suffix
from facemill.manifests.shards.dataset import SAMPLES_FILE, VIDEOS_FILE, read_dataset
from facemill.manifests.storage import write_atomically
from facemill.manifests.videos import read_videos

__all__ = ["PREFIX", "export_deepfakebench", "export_deepfakebench_lmdb"]

PREFIX = "./datasets/rgb"
"""Where DeepfakeBench's own instructions put its pictures, seen from its folder, in which training is started."""

JSON_FOLDER = "dataset_json"
LMDB_FOLDER = "lmdb"
LMDB_SIZE = 1 << 40
"""Bytes that an environment may grow to: address space, not disk."""
C40_PAGES = ("FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT")
"""JSON files that its loader also knows with `_c40` behind the name, whatever the configured compression."""
ZERO_MASKS = (MaskKind.ZEROS, MaskKind.NONE)
"""Masks that are all zero, and not written."""
BATCH = 65536


@dataclass(frozen=True, slots=True)
class Clip:
    """The crops of one person of a video: a folder of frames.

    Attributes:
        label: as DeepfakeBench names it.
        folder: of the frames, below the root; ends in the name.
        frames: by index, whether its mask is written.
    """

    video: VideoEntry
    bench: BenchDataset
    label: str
    folder: str
    frames: dict[int, bool]

    @property
    def name(self) -> str:
        return self.folder.rpartition("/")[2]

    def path(self, kind: str, frame: int, suffix: str = ".png") -> str:
        """POSIX path of a file below the root; `kind` is frames, masks or landmarks."""
        return f"{self.folder}/{frame:03d}{suffix}".replace("frames", kind)

    def entry(self, prefix: str) -> dict[str, Any]:
        """What its JSON says of a video."""
        frames = sorted(self.frames)
        masked = [frame for frame in frames if self.frames[frame]]
        entry: dict[str, Any] = {"label": self.label, "frames": [f"{prefix}/{self.path('frames', f)}" for f in frames]}
        return entry | ({"masks": [f"{prefix}/{self.path('masks', f)}" for f in masked]} if masked else {})


Clips = dict[tuple[str, int], Clip]
"""Clips by video_id and track."""

Put = Callable[[Clip, str, bytes], None]
"""Stores the content of a path below the root."""


def export_deepfakebench(
    folder: Path, out: Path, *, prefix: str | None, threads: int, on_samples: Callable[[int], None]
) -> ExportReport:
    """As `Exporter`; the JSON files are written last. `prefix` is `PREFIX` unless told."""
    return _export(folder, out, prefix=prefix, threads=threads, on_samples=on_samples, lmdb=False)


def export_deepfakebench_lmdb(
    folder: Path, out: Path, *, prefix: str | None, threads: int, on_samples: Callable[[int], None]
) -> ExportReport:
    """As `export_deepfakebench`, with pictures and masks in LMDB environments instead of files.

    A killed export goes on; after a power cut the environments may be damaged, and `out` must be made anew.

    Raises:
        ConfigError: also if the package lmdb is not installed, or a path is longer than a key may be.
    """
    if find_spec("lmdb") is None:
        raise ConfigError('This export needs the package lmdb: pip install "facemill[lmdb]".')
    return _export(folder, out, prefix=prefix, threads=threads, on_samples=on_samples, lmdb=True)


def _export(
    folder: Path, out: Path, *, prefix: str | None, threads: int, on_samples: Callable[[int], None], lmdb: bool
) -> ExportReport:
    prefix = _checked(PREFIX if prefix is None else prefix)
    info = read_dataset(folder)
    clips = _find_clips(folder)
    claim(folder, out, "deepfakebench-lmdb" if lmdb else "deepfakebench")
    with _open_environments(out, clips.values(), prefix) if lmdb else _open_folder(out) as put:

        def write(sample: EncodedSample) -> None:
            clip = clips.get((sample.record.video_id, sample.record.track_id))
            if clip is None:
                raise DatasetError(f"{SAMPLES_FILE} does not list {sample.record.sample_id}: run `facemill verify`.")
            _write_sample(put, clip, sample, lmdb=lmdb)

        export_shards(folder, out, info.shards, write, threads=threads, on_samples=on_samples)
    for name, page in _pages(clips.values(), prefix):
        write_atomically(out / JSON_FOLDER / f"{name}.json", json.dumps(page).encode())
    return ExportReport(
        out=out,
        samples=sum(shard.rows for shard in info.shards),
        videos=len({video_id for video_id, _ in clips}),
        notes=tuple(_notes(out, list(clips.values()), prefix, lmdb=lmdb)),
    )


def _checked(prefix: str) -> str:
    """The prefix without a slash at its end.

    Raises:
        ConfigError: the loader would put a folder of its own in front of it, or find something to replace in it.
    """
    if not prefix.startswith(".") or any(part in prefix for part in ("frames", ".png", "\\")):
        raise ConfigError(
            f"DeepfakeBench cannot read paths that begin with {prefix!r}: --prefix must begin with a dot, "
            "and have no 'frames', no '.png' and no backslash in it."
        )
    return prefix.rstrip("/")


# What there is ----------------------------------------------------------------------------------------


def _find_clips(dataset: Path) -> Clips:
    """Every person of every video that has samples, in the order of the manifest.

    Raises:
        DatasetError: samples.parquet cannot be read, or lists a video that the manifest does not.
    """
    frames = _find_frames(dataset / SAMPLES_FILE)
    videos = {video.video_id: video for video in read_videos(dataset / VIDEOS_FILE)}
    tracks: dict[str, list[int]] = defaultdict(list)
    for video_id, track in sorted(frames):
        if video_id not in videos:
            raise DatasetError(f"{VIDEOS_FILE} does not list {video_id}: run `facemill verify`.")
        tracks[video_id].append(track)
    names = VideoNames()
    clips: Clips = {}
    for video in videos.values():
        bench, label = identify(video.dataset, video.method)
        for track in tracks[video.video_id]:
            folder = names.choose_folder(bench, label, video, track)
            clips[video.video_id, track] = Clip(video, bench, label, folder, frames[video.video_id, track])
    return clips


def _find_frames(samples: Path) -> dict[tuple[str, int], dict[int, bool]]:
    """By video_id and track, the frames, and whether each has a mask to write."""
    found: dict[tuple[str, int], dict[int, bool]] = defaultdict(dict)
    try:
        with pq.ParquetFile(samples, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH, columns=["video_id", "track_id", "frame_index", "mask_kind"]):
                for row in batch.to_pylist():
                    has_mask = row["mask_kind"] not in ZERO_MASKS
                    found[row["video_id"], row["track_id"]][row["frame_index"]] = has_mask
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DatasetError(f"{samples} cannot be read ({error}): run `facemill verify`.") from error
    return found


# Pictures ---------------------------------------------------------------------------------------------


def _write_sample(put: Put, clip: Clip, sample: EncodedSample, *, lmdb: bool) -> None:
    frame = sample.record.frame_index
    put(clip, clip.path("frames", frame), _as_png(sample.image))
    if lmdb or sample.record.mask_kind not in ZERO_MASKS:
        put(clip, clip.path("masks", frame), sample.mask)
    if not lmdb and any(sample.record.landmarks):  # an environment's landmarks must be 81 points
        content = io.BytesIO()
        np.save(content, _crop_landmarks(sample.record))
        put(clip, clip.path("landmarks", frame, ".npy"), content.getvalue())


@contextmanager
def _open_folder(out: Path) -> Iterator[Put]:
    """Every content becomes a file."""

    def put(clip: Clip, path: str, content: bytes) -> None:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(content)

    yield put


@contextmanager
def _open_environments(out: Path, clips: Iterable[Clip], prefix: str) -> Iterator[Put]:
    """Every content becomes a value, in the environment that the loader opens for the clip's dataset."""
    import lmdb

    with ExitStack() as stack:
        environments: dict[str, Any] = {}
        for clip in clips:
            if clip.bench.folder not in environments:
                folder = out / LMDB_FOLDER / f"{clip.bench.folder}_lmdb"
                folder.mkdir(parents=True, exist_ok=True)
                # Synced once a shard, by `export_shards`, and not at each of many small transactions.
                environment = lmdb.open(str(folder), map_size=LMDB_SIZE, sync=False)
                environments[clip.bench.folder] = stack.enter_context(environment)

        def put(clip: Clip, path: str, content: bytes) -> None:
            key = f"{prefix}/{path}".encode()
            environment = environments[clip.bench.folder]
            if len(key) > environment.max_key_size():
                raise ConfigError(f"{path} is too long for a key of LMDB: export to deepfakebench instead.")
            with environment.begin(write=True) as transaction:
                transaction.put(key, content)

        yield put


def _as_png(image: bytes) -> bytes:
    """A PNG is kept byte for byte; another picture is decoded, and encoded without loss."""
    if image_suffix(image) == ".png":
        return image
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".png", pixels)[1].tobytes()


def _crop_landmarks(record: SampleRecord) -> NDArray[np.float32]:
    """The five points [5, 2] in pixels of the crop, the centre of its first pixel at (0, 0)."""
    affine = np.array(record.affine).reshape(2, 3)
    points = np.array(record.landmarks).reshape(-1, 2)
    return np.asarray(points @ affine[:, :2].T + affine[:, 2] - 0.5, np.float32)


# JSON -------------------------------------------------------------------------------------------------


def _pages(clips: Iterable[Clip], prefix: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """Names and contents of the JSON files; that of a single method only where the method is there."""
    members: dict[str, list[Clip]] = defaultdict(list)
    main: set[str] = set()
    for clip in clips:
        main.add(next(iter(clip.bench.pages)))
        for name, labels in clip.bench.pages.items():
            if clip.label in labels:
                members[name].append(clip)
    for name, chosen in members.items():
        wanted = [clip for clip in chosen if name in main or clip.video.label == 1]
        if wanted:
            page = {name: _page(chosen, prefix)}
            yield name, page
            if name in C40_PAGES and any(clip.video.quality == "c40" for clip in wanted):
                yield f"{name}_c40", page


def _page(clips: list[Clip], prefix: str) -> dict[str, Any]:
    """Videos by label, split and, where the loader looks for it, compression level: every one of them is there."""
    levels = sorted({clip.video.quality for clip in clips})
    page: dict[str, Any] = {}
    for clip in clips:
        leveled = clip.bench.has_levels
        splits = page.setdefault(
            clip.label, {split: {level: {} for level in levels} if leveled else {} for split in SPLITS}
        )
        videos = splits[clip.video.split]
        (videos[clip.video.quality] if leveled else videos)[clip.name] = clip.entry(prefix)
    return page


def _notes(out: Path, clips: list[Clip], prefix: str, *, lmdb: bool) -> Iterable[str]:
    """What to set in DeepfakeBench before it reads this."""
    storage = f"lmdb: true, lmdb_dir: {prefix}/{LMDB_FOLDER}" if lmdb else "lmdb: false"
    yield (
        f"Make {prefix}, seen from DeepfakeBench's folder, a link to {out.absolute()}, and set {storage} and "
        f"dataset_json_folder: {prefix}/{JSON_FOLDER} in its configuration."
    )
    if levels := sorted({clip.video.quality for clip in clips if clip.bench.has_levels}):
        yield f"Set compression: {' or '.join(levels)}."
    unknown = {clip.label: clip.video.label for clip in clips if not is_known_label(clip.label)}
    if unknown:
        lines = ", ".join(f"{name}: {label}" for name, label in sorted(unknown.items()))
        yield f"Add to label_dict in its train_config.yaml and test_config.yaml: {lines}."
    yield from detector_notes(lmdb=lmdb)
