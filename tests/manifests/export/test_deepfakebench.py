"""The export to DeepfakeBench, read as its training would read it."""

import dataclasses
import json
import re
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from facemill import ConfigError, DatasetError
from facemill.manifests.codes import MaskKind
from facemill.manifests.export import export
from facemill.manifests.records import VideoEntry
from facemill.manifests.shards import EncodedSample
from facemill.pipeline.commands.cli import app
from facemill.registry import SHARD_FORMATS
from tests.manifests.export.bench_loader import LABEL_DICT, BenchSample, load, load_lrl
from tests.manifests.small_dataset import Parts, make_sample

FRAMES = (0, 12, 1003)


def entry(
    video_id: str, method: str, path: str, split: str = "train", dataset: str = "ffpp", quality: str = "c23"
) -> VideoEntry:
    return VideoEntry(video_id, dataset, method, int(method != "real"), quality, split, "/data", path)


def ffpp(method: str, name: str, split: str = "train", quality: str = "c23") -> VideoEntry:
    folder = "original_sequences/youtube" if method == "real" else f"manipulated_sequences/{method}"
    return entry(
        f"ffpp-{method}-{quality}-{name}", method, f"{folder}/{quality}/videos/{name}.mp4", split, quality=quality
    )


FAMILY = [
    ffpp("real", "000"),
    ffpp("real", "001", "val"),
    ffpp("real", "002", "test"),
    ffpp("Deepfakes", "000_003"),
    ffpp("Face2Face", "000_003"),
    ffpp("FaceShifter", "002_001", "test"),
    ffpp("real", "000", quality="c40"),
    ffpp("Deepfakes", "000_003", quality="c40"),
]


def samples_of(videos: Iterable[VideoEntry]) -> list[EncodedSample]:
    """Three frames of each, by split as shards want them."""
    ordered = sorted(videos, key=lambda video: ("train", "val", "test").index(video.split))
    return [make_sample(video, frame) for video in ordered for frame in FRAMES]


def write(root: Path, videos: list[VideoEntry], format_name: str = "parquet", more: list[EncodedSample] | None = None):
    samples = sorted(samples_of(videos) + (more or []), key=lambda s: ("train", "val", "test").index(s.record.split))
    return Parts(videos=videos, samples=samples, failures=[], faces=[]).write(root, format_name)


class Bench:
    """DeepfakeBench's folder, whose `datasets/rgb` is an export."""

    def __init__(self, folder: Path, out: Path) -> None:
        (folder / "datasets").mkdir(parents=True)
        (folder / "datasets" / "rgb").symlink_to(out, target_is_directory=True)
        self.json_folder = "./datasets/rgb/dataset_json"

    def load(self, name: str, mode: str = "train", **settings) -> list[BenchSample]:
        return load(name, mode, json_folder=self.json_folder, **settings)


@pytest.fixture
def bench(tmp_path, monkeypatch) -> Bench:
    folder = tmp_path / "bench"
    bench = Bench(folder, tmp_path / "my export")
    monkeypatch.chdir(folder)
    return bench


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "my export"


def by_video(found: list[BenchSample]) -> dict[str, list[BenchSample]]:
    return {video: list(items) for video, items in groupby(found, key=lambda item: item.video)}


def landmarks_in_the_crop(sample: EncodedSample) -> list[list[float]]:
    """Point by point: through the affine, then from edges to centres of pixels."""
    a, b, c, d, e, f = sample.record.affine
    points = zip(sample.record.landmarks[::2], sample.record.landmarks[1::2], strict=True)
    return [[a * x + b * y + c - 0.5, d * x + e * y + f - 0.5] for x, y in points]


def check_same(found: list[BenchSample], video: VideoEntry) -> None:
    assert [int(Path(item.path).stem) for item in found] == list(FRAMES)
    for item, frame in zip(found, FRAMES, strict=True):
        sample = make_sample(video, frame)
        assert item.label == video.label
        assert np.array_equal(item.image, cv2.imdecode(np.frombuffer(sample.image, np.uint8), cv2.IMREAD_COLOR))
        assert np.array_equal(item.mask, cv2.imdecode(np.frombuffer(sample.mask, np.uint8), cv2.IMREAD_GRAYSCALE))
        np.testing.assert_allclose(item.landmarks, landmarks_in_the_crop(sample), atol=1e-5)


@pytest.mark.parametrize("format_name", sorted(SHARD_FORMATS))
def test_its_training_reads_our_samples(tmp_path, out, bench, format_name):
    report = export(write(tmp_path / "built", FAMILY, format_name), out, "deepfakebench")
    assert (report.samples, report.videos) == (24, 8)
    videos = by_video(bench.load("FaceForensics++"))
    assert set(videos) == {"FF-real_000", "FF-DF_000_003", "FF-F2F_000_003"}
    for name, video in (("FF-real_000", FAMILY[0]), ("FF-DF_000_003", FAMILY[3]), ("FF-F2F_000_003", FAMILY[4])):
        check_same(videos[name], video)
    assert videos["FF-DF_000_003"][0].path == (
        "./datasets/rgb/FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003/000.png"
    )


def test_a_json_file_for_each_name_that_it_knows(tmp_path, out, bench):
    export(write(tmp_path / "built", FAMILY), out, "deepfakebench")
    names = {path.stem for path in (out / "dataset_json").iterdir()}
    assert names == {"FaceForensics++", "FF-DF", "FF-F2F", "FaceShifter", "FaceForensics++_c40", "FF-DF_c40"}
    assert set(by_video(bench.load("FF-DF"))) == {"FF-real_000", "FF-DF_000_003"}
    assert set(by_video(bench.load("FaceShifter", "test"))) == {"FF-real_002", "FF-FH_002_001"}
    assert set(by_video(bench.load("FaceForensics++", "val"))) == {"FF-real_001"}
    assert bench.load("FF-F2F", "test", compression="c40") == []


def test_both_compression_levels_side_by_side(tmp_path, out, bench):
    export(write(tmp_path / "built", FAMILY), out, "deepfakebench")
    for found in (bench.load("FF-DF", compression="c40"), bench.load("FF-DF_c40")):
        videos = by_video(found)
        assert set(videos) == {"FF-real_000", "FF-DF_000_003"}
        check_same(videos["FF-DF_000_003"], FAMILY[7])


@pytest.mark.parametrize(
    ("dataset", "paths", "page", "names"),
    [
        ("celebdf1", {"real": "Celeb-real/id0_0000.mp4", "Celeb-synthesis": "Celeb-synthesis/id0_id1_0000.mp4"},
         "Celeb-DF-v1", {"CelebDFv1_real_id0_0000", "CelebDFv1_fake_id0_id1_0000"}),
        ("celebdf2", {"real": "YouTube-real/videos/00170.mp4", "Celeb-synthesis": "Celeb-synthesis/id0_id1_0000.mp4"},
         "Celeb-DF-v2", {"CelebDFv2_real_00170", "CelebDFv2_fake_id0_id1_0000"}),
        ("dfdc", {"real": "dfdc_train_part_0/aaa.mp4", "fake": "dfdc_train_part_0/bbb.mp4"},
         "DFDC", {"DFDC_Real_aaa", "DFDC_Fake_bbb"}),
        ("dfdcp", {"real": "original_videos/1/1_A_001.mp4", "method_A": "method_A/1/1_A/2_1_A_001.mp4",
                   "method_B": "method_B/1/1_A/2_1_A_001.mp4"},
         "DFDCP", {"DFDCP_Real_1_A_001", "DFDCP_FakeA_2_1_A_001", "DFDCP_FakeB_2_1_A_001"}),
        ("dfd", {"real": "original_sequences/actors/c23/videos/01__hug.mp4",
                 "DeepFakeDetection": "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__hug__ABCDEFGH.mp4"},
         "DeepFakeDetection", {"DFD_real_01__hug", "DFD_fake_01_02__hug__ABCDEFGH"}),
    ],
)  # fmt: skip
def test_every_dataset_that_it_knows(tmp_path, out, bench, dataset, paths, page, names):
    videos = [entry(f"{dataset}-{method}", method, path, "test", dataset) for method, path in paths.items()]
    report = export(write(tmp_path / "built", videos), out, "deepfakebench")
    found = by_video(bench.load(page, "test"))
    assert set(found) == names
    for video, items in zip(videos, found.values(), strict=True):
        check_same(items, video)
    assert not any("label_dict" in note for note in report.notes)


class TestUnknownDataset:
    videos = (
        entry("mine-1", "real", "a frames/my frames é.png.mp4", dataset="mine", quality="native"),
        entry("mine-2", "real", "b/clip.mp4", dataset="mine", quality="native"),
        entry("mine-3", "real", "c/clip.mp4", dataset="mine", quality="native"),
        entry("mine-4", "swap", "b/clip.avi", dataset="mine", quality="native"),
        entry("mine-5", "reenact", "real_train/1.tar.gz/1/real/0", dataset="mine", quality="native"),
    )

    def test_its_labels_are_asked_for(self, tmp_path, out, bench):
        report = export(write(tmp_path / "built", list(self.videos)), out, "deepfakebench")
        [note] = [note for note in report.notes if "label_dict" in note]
        assert note.endswith(": mine_Fake: 1, mine_Real: 0.")
        with pytest.raises(KeyError, match="mine_Real"):
            bench.load("mine")

    def test_no_name_misleads_it(self, tmp_path, out, bench):
        """Names with `frames` and `.png` in them, a stem in two folders, and of a real video and a fake."""
        export(write(tmp_path / "built", list(self.videos)), out, "deepfakebench")
        found = by_video(bench.load("mine", labels={"mine_Real": 0, "mine_Fake": 1}))
        assert len(found) == len(self.videos)
        for video, items in zip(self.videos, found.values(), strict=True):
            check_same(items, video)
        folders = [Path(items[0].path).parent.name for items in found.values()]
        assert folders == ["my_Frames_é_png", "clip", "mine-3", "mine-4", "0"]


def test_two_persons_of_a_video_are_two_videos(tmp_path, out, bench):
    video = FAMILY[3]
    record, other = make_sample(video, 0).record, make_sample(FAMILY[4], 0)
    record = dataclasses.replace(record, sample_id="x-t1", track_id=1, image_sha256=other.record.image_sha256)
    other = dataclasses.replace(other, record=record)
    export(write(tmp_path / "built", [FAMILY[0], video], more=[other]), out, "deepfakebench")
    found = by_video(bench.load("FF-DF"))
    check_same(found["FF-DF_000_003"], video)
    [item] = found["FF-DF_t1_000_003"]
    assert np.array_equal(item.image, cv2.imdecode(np.frombuffer(other.image, np.uint8), cv2.IMREAD_COLOR))


def test_what_nobody_knows_is_not_written(tmp_path, out, bench):
    blank = np.zeros(10).tolist()
    samples = samples_of([FAMILY[0], FAMILY[3]])
    unknown = [
        dataclasses.replace(
            s, record=dataclasses.replace(s.record, mask_kind=MaskKind.NONE, mask_coverage=None, landmarks=tuple(blank))
        )
        for s in samples[3:]
    ]
    built = Parts(videos=[FAMILY[0], FAMILY[3]], samples=[*samples[:3], *unknown], failures=[], faces=[])
    export(built.write(tmp_path / "built"), out, "deepfakebench")
    assert not list(out.rglob("masks"))
    [fakes] = [items for items in by_video(bench.load("FF-DF")).values() if items[0].label == 1]
    assert not any(item.mask.any() or item.landmarks.any() for item in fakes)
    page = json.loads((out / "dataset_json" / "FF-DF.json").read_text())["FF-DF"]
    assert "masks" not in page["FF-DF"]["train"]["c23"]["000_003"]


def test_masks_are_listed(tmp_path, out):
    export(write(tmp_path / "built", [FAMILY[0], FAMILY[3]]), out, "deepfakebench", prefix="./elsewhere/")
    page = json.loads((out / "dataset_json" / "FF-DF.json").read_text())["FF-DF"]
    folder = "./elsewhere/FaceForensics++/manipulated_sequences/Deepfakes/c23/masks/000_003"
    assert page["FF-DF"]["train"]["c23"]["000_003"]["masks"] == [f"{folder}/{frame:03d}.png" for frame in FRAMES]
    assert "masks" not in page["FF-real"]["train"]["c23"]["000"]


def test_other_pictures_become_png(tmp_path, out, bench):
    video = FAMILY[0]
    jpeg = make_sample(video, 0, suffix=".jpg")
    Parts(videos=[video], samples=[jpeg], failures=[], faces=[]).write(tmp_path / "built")
    export(tmp_path / "built", out, "deepfakebench")
    [item] = bench.load("FaceForensics++")
    assert Path(item.path).read_bytes().startswith(b"\x89PNG")
    assert np.array_equal(item.image, cv2.imdecode(np.frombuffer(jpeg.image, np.uint8), cv2.IMREAD_COLOR))


class TestLmdb:
    @pytest.mark.parametrize(
        ("name", "videos"),
        [
            ("FF-DF", {"FF-real_000": FAMILY[0], "FF-DF_000_003": FAMILY[3]}),
            ("mine", {"mine_Real_a": entry("mine-1", "real", "a.mp4", dataset="mine", quality="native")}),
        ],
    )
    def test_its_lrl_reads_a_mask_of_every_picture(self, tmp_path, out, bench, monkeypatch, name, videos):
        monkeypatch.setitem(LABEL_DICT, "mine_Real", 0)
        export(write(tmp_path / "built", list(videos.values())), out, "deepfakebench-lmdb")
        found = load_lrl(name, "train", json_folder=bench.json_folder, lmdb_folder="./datasets/rgb/lmdb")
        assert {video for video, *_ in found} == set(videos)
        for video, of_video in groupby(found, key=lambda item: item[0]):
            for (_, label, image, mask), frame in zip(of_video, FRAMES, strict=True):
                sample = make_sample(videos[video], frame)
                assert label == videos[video].label
                assert np.array_equal(image, cv2.imdecode(np.frombuffer(sample.image, np.uint8), cv2.IMREAD_COLOR))
                expected = cv2.imdecode(np.frombuffer(sample.mask, np.uint8), cv2.IMREAD_GRAYSCALE)
                np.testing.assert_allclose(mask[0], expected / 255)
                assert mask.any() == (label == 1)
        assert {path.name for path in out.iterdir()} == {"_export", "dataset_json", "lmdb"}

    def test_an_interrupted_export_goes_on(self, tmp_path, out, bench):
        def interrupt(samples: int) -> None:
            raise KeyboardInterrupt

        built = write(tmp_path / "built", FAMILY)
        with pytest.raises(KeyboardInterrupt):
            export(built, out, "deepfakebench-lmdb", threads=1, on_samples=interrupt)
        with pytest.raises(ConfigError, match="contains another export"):
            export(built, out, "deepfakebench")
        export(built, out, "deepfakebench-lmdb")
        for page, samples in (("FaceForensics++", 9), ("FF-F2F", 6)):
            found = load_lrl(page, "train", json_folder=bench.json_folder, lmdb_folder="./datasets/rgb/lmdb")
            assert len(found) == samples

    def test_a_path_longer_than_a_key_may_be(self, tmp_path, out):
        video = entry("mine-1", "real", f"{'/'.join(['x' * 200] * 3)}/a.mp4", dataset="mine", quality="native")
        with pytest.raises(ConfigError, match="too long for a key"):
            export(write(tmp_path / "built", [video]), out, "deepfakebench-lmdb")

    def test_without_the_package_the_folder_is_left_alone(self, tmp_path, out, monkeypatch):
        monkeypatch.setitem(sys.modules, "lmdb", None)
        with pytest.raises(ConfigError, match=r"facemill\[lmdb\]"):
            export(write(tmp_path / "built", FAMILY), out, "deepfakebench-lmdb")
        assert not out.exists()


DETECTORS = (
    *(
        "altfreezing",
        "capsule_net",
        "clip",
        "core",
        "effort",
        "efficientnetb4",
        "f3net",
        "facexray",
        "ffd",
        "ftcn",
        "fwa",
    ),
    *("i3d", "iid", "lrl", "lsda", "meso4", "meso4Inception", "multi_attention", "pcl_xception", "recce", "resnet34"),
    *("rfm", "sbi", "sia", "sladd", "spsl", "srm", "stil", "tall", "timesformer", "ucf", "uia_vit", "videomae"),
    *("xception", "xclip"),
)
"""Every one that it registers."""


@pytest.mark.parametrize("to", ["deepfakebench", "deepfakebench-lmdb"])
def test_the_notes_speak_of_each_of_its_detectors_once(tmp_path, out, to):
    notes = export(write(tmp_path / "built", FAMILY[:1]), out, to).notes
    for name in DETECTORS:
        assert len(re.findall(rf"(?<![\w-]){name}(?!\w)", " ".join(notes))) == 1, name
    [points] = [note for note in notes if "81 points" in note]
    assert all(name in points for name in ("facexray", "sbi", "sladd"))
    [lrl] = [note for note in notes if note.startswith("lrl")]
    assert ("rotate_prob: 0" in lrl) == (to == "deepfakebench-lmdb")
    [lsda] = [note for note in notes if note.startswith("lsda")]
    assert ("reads images from files" in lsda) == (to == "deepfakebench-lmdb")


class TestResuming:
    def test_an_interrupted_export_goes_on(self, tmp_path, out, bench):
        built = write(tmp_path / "built", FAMILY)

        def interrupt(samples: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            export(built, out, "deepfakebench", threads=1, on_samples=interrupt)
        assert not (out / "dataset_json").exists()
        first = next(out.rglob("frames/000/000.png"))
        written = first.stat().st_mtime_ns
        told: list[int] = []
        export(built, out, "deepfakebench", on_samples=told.append)
        assert sum(told) == 24
        assert first.stat().st_mtime_ns == written
        check_same(by_video(bench.load("FaceForensics++"))["FF-real_000"], FAMILY[0])

    def test_what_a_killed_export_left_half_is_written_anew(self, tmp_path, out, bench):
        built = write(tmp_path / "built", FAMILY)
        export(built, out, "deepfakebench")
        for path in (*out.glob("_export/*.done"), *out.glob("dataset_json/*")):
            path.unlink()
        next(out.rglob("frames/000/000.png")).write_bytes(b"half")
        export(built, out, "deepfakebench")
        check_same(by_video(bench.load("FaceForensics++"))["FF-real_000"], FAMILY[0])

    def test_equal_exports_give_equal_bytes(self, tmp_path, out):
        built = write(tmp_path / "built", FAMILY)
        for folder, threads in ((out, 1), (tmp_path / "again", 4)):
            export(built, folder, "deepfakebench", threads=threads)
        files = [path.relative_to(out) for path in sorted(out.rglob("*")) if path.is_file()]
        assert len(files) > 50
        assert all((out / path).read_bytes() == (tmp_path / "again" / path).read_bytes() for path in files)


class TestRefusals:
    def test_a_folder_of_something_else(self, tmp_path, out):
        out.mkdir()
        (out / "thesis.tex").touch()
        with pytest.raises(ConfigError, match="is not empty and not an export"):
            export(write(tmp_path / "built", FAMILY), out, "deepfakebench")

    def test_the_export_of_another_dataset(self, tmp_path, out):
        export(write(tmp_path / "one", FAMILY), out, "deepfakebench")
        with pytest.raises(ConfigError, match="contains another export"):
            export(write(tmp_path / "two", FAMILY[:1]), out, "deepfakebench")

    def test_an_unknown_name(self, tmp_path, out):
        with pytest.raises(ConfigError, match=r"no export 'deepfakebank' \(did you mean 'deepfakebench'\?\)"):
            export(tmp_path, out, "deepfakebank")

    @pytest.mark.parametrize("prefix", ["/data/rgb", "rgb", "", "./my frames", ".\\rgb", "./a.png"])
    def test_a_prefix_that_its_loader_would_change(self, tmp_path, out, prefix):
        with pytest.raises(ConfigError, match="--prefix must start with a dot"):
            export(write(tmp_path / "built", FAMILY), out, "deepfakebench", prefix=prefix)
        assert not out.exists()

    def test_a_shard_with_fewer_samples(self, tmp_path, out):
        built = write(tmp_path / "built", FAMILY)
        content = json.loads((built / "dataset.json").read_text())
        content["shards"][0]["rows"] += 1
        (built / "dataset.json").write_text(json.dumps(content))
        with pytest.raises(DatasetError, match="holds 15 samples, not 16"):
            export(built, out, "deepfakebench")
        assert not (out / "dataset_json").exists()

    @pytest.mark.parametrize("damage", ["samples.parquet", "videos.parquet"])
    def test_tables_that_disagree(self, tmp_path, out, damage):
        built = write(tmp_path / "built", FAMILY)
        other = write(tmp_path / "other", FAMILY[:1])
        (built / damage).write_bytes((other / damage).read_bytes())
        with pytest.raises(DatasetError, match=f"{damage} does not list ffpp-"):
            export(built, out, "deepfakebench")


def test_the_command(tmp_path, out):
    built = write(tmp_path / "built", FAMILY)
    ended = CliRunner().invoke(app, ["export", str(built), "--to", "deepfakebench", "--out", str(out)])
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"24 samples of 8 videos -> {out}\nIn DeepfakeBench's folder, make ./datasets/rgb ")
    assert "Set compression: c23 or c40." in ended.stdout
    assert (out / "dataset_json" / "FF-DF.json").is_file()
