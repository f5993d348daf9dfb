"""Every registered shard format goes through the same contract; then what each promises to its readers."""

import dataclasses
import gc
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from facemill import DatasetError
from facemill.manifests.annotations import Annotation, samples_schema
from facemill.manifests.codes import MaskKind
from facemill.manifests.records import SampleRecord
from facemill.manifests.schemas import SAMPLES, from_table, to_table
from facemill.manifests.shards import EncodedSample, ShardFormat, format_of
from facemill.manifests.shards.parquet import ROWS_PER_GROUP
from facemill.registry import SHARD_FORMATS
from tests.manifests.small_dataset import SIZE, make_sample, make_videos

SHARD = "train/train-000000"


@pytest.fixture(params=sorted(SHARD_FORMATS))
def shard_format(request) -> ShardFormat:
    return SHARD_FORMATS[request.param]


@pytest.fixture(scope="module")
def samples() -> list[EncodedSample]:
    """Six samples of a real video, then six of its fake."""
    return [make_sample(video, frame) for video in make_videos()[:2] for frame in range(6)]


def write(shard_format: ShardFormat, path: Path, samples: list[EncodedSample]) -> list[SampleRecord]:
    with shard_format.open_writer(path, SHARD) as writer:
        return [writer.write(sample) for sample in samples]


class TestContract:
    def test_what_is_written_is_read(self, shard_format, samples, tmp_path):
        records = write(shard_format, tmp_path / "shard.part", samples)
        read = list(shard_format.read(tmp_path / "shard.part"))
        assert [sample.record for sample in read] == records
        assert [(s.image, s.mask) for s in read] == [(s.image, s.mask) for s in samples]

    def test_records_get_their_place_and_keep_the_rest(self, shard_format, samples, tmp_path):
        records = write(shard_format, tmp_path / "shard.part", samples)
        assert [(record.shard, record.row) for record in records] == [(SHARD, row) for row in range(12)]
        for record, sample in zip(records, samples, strict=True):
            given = dataclasses.replace(sample.record, shard=SHARD, row=record.row)
            narrow = {name: np.float32(getattr(given, name)) for name in ("score", "mask_coverage")}
            iou = None if given.mask_iou is None else np.float32(given.mask_iou)
            assert record == dataclasses.replace(given, **narrow, mask_iou=iou)

    def test_annotations_that_are_not_known_come_back_alike_from_files_and_table(self, shard_format, samples, tmp_path):
        """A build that resumes compares the two."""
        kinds = {"q_yaw": "float", "q_word": "text", "q_turn": "float[3]"}
        annotations = {name: Annotation(kind, "") for name, kind in kinds.items()}
        turned = {"q_turn": (0.5, -1.0, 2.0)}  # which no sample lacks
        values = [{"q_yaw": None, "q_word": "a", **turned}, {"q_yaw": 0.1, "q_word": None, **turned}, turned]
        given = [
            dataclasses.replace(sample, record=dataclasses.replace(sample.record, annotations=value))
            for sample, value in zip(samples, values, strict=False)
        ]
        with shard_format.open_writer(tmp_path / "shard", SHARD, annotations) as writer:
            records = [writer.write(sample) for sample in given]
        table = to_table(records, samples_schema(annotations))
        assert [sample.record for sample in shard_format.read(tmp_path / "shard")] == records
        assert from_table(table, SampleRecord) == records
        told = [{"q_word": "a", **turned}, {"q_yaw": np.float32(0.1), **turned}, turned]
        assert [dict(record.annotations) for record in records] == told

    def test_equal_samples_give_equal_bytes(self, shard_format, samples, tmp_path):
        for name in ("a", "b"):
            write(shard_format, tmp_path / name, samples)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_an_empty_shard_is_valid(self, shard_format, tmp_path):
        write(shard_format, tmp_path / "empty", [])
        assert list(shard_format.read(tmp_path / "empty")) == []

    @pytest.mark.parametrize("sample_id", ["a.b", "a/b", "", "a b"])
    def test_keys_hold_no_dots_or_slashes(self, shard_format, samples, tmp_path, sample_id):
        record = dataclasses.replace(samples[0].record, sample_id=sample_id)
        with pytest.raises(DatasetError, match="sample_id"):
            write(shard_format, tmp_path / "shard", [dataclasses.replace(samples[0], record=record)])

    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
    def test_every_picture_format(self, shard_format, tmp_path, suffix):
        samples = [make_sample(make_videos()[0], frame, suffix=suffix) for frame in (0, 1)]
        write(shard_format, tmp_path / "shard", samples)
        assert next(shard_format.read(tmp_path / "shard")).image == samples[0].image
        first, images = shard_format.read_block(tmp_path / "shard", 1)
        assert images[1 - first]["image"] == samples[1].image
        assert list(shard_format.layout_faults(tmp_path / "shard")) == []

    def test_other_pictures_are_refused(self, shard_format, samples, tmp_path):
        with pytest.raises(DatasetError, match="PNG, JPEG or WebP"):
            write(shard_format, tmp_path / "shard", [dataclasses.replace(samples[0], image=b"GIF89a")])

    def test_long_keys(self, shard_format, samples, tmp_path):
        record = dataclasses.replace(samples[0].record, sample_id="k" * 180)
        records = write(shard_format, tmp_path / "shard", [dataclasses.replace(samples[0], record=record)])
        assert [sample.record for sample in shard_format.read(tmp_path / "shard")] == records

    @pytest.mark.parametrize("kept", [0, 1, 100, 0.3, 0.9])
    def test_a_cut_shard_is_a_dataset_error(self, shard_format, samples, tmp_path, kept):
        write(shard_format, tmp_path / "shard", samples)
        whole = (tmp_path / "shard").read_bytes()
        size = kept if isinstance(kept, int) else int(len(whole) * kept)
        (tmp_path / "shard").write_bytes(whole[:size])
        with pytest.raises(DatasetError, match="shard cannot be read"):
            list(shard_format.read(tmp_path / "shard"))

    @pytest.mark.heavy
    def test_flipped_bytes_are_read_or_refused(self, shard_format, samples, tmp_path):
        """Whatever the damage, reading ends, or raises the one error it may raise."""
        write(shard_format, tmp_path / "shard", samples[4:8])
        whole = (tmp_path / "shard").read_bytes()
        rng = np.random.default_rng(0)
        pictures = [(whole.find(sample.image), len(sample.image)) for sample in samples[4:8]]
        refused = 0
        for position in rng.integers(0, len(whole), 1200):
            if any(start < position < start + length for start, length in pictures):
                continue  # pixels are of no interest to a reader: spend the time on structure
            damaged = bytearray(whole)
            damaged[position] ^= 1 << rng.integers(8)
            (tmp_path / "shard").write_bytes(damaged)
            try:
                list(shard_format.read(tmp_path / "shard"))
            except DatasetError:
                refused += 1
        assert refused > 0

    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_record_comes_back(self, shard_format, samples, tmp_path, data):
        record = data.draw(records())
        written = write(shard_format, tmp_path / "shard", [dataclasses.replace(samples[0], record=record)])
        [read] = shard_format.read(tmp_path / "shard")
        assert [read.record] == written
        assert written == [dataclasses.replace(record, shard=SHARD, row=0)]


def records() -> st.SearchStrategy[SampleRecord]:
    single = st.floats(width=32, allow_nan=False, allow_infinity=False)
    double = st.floats(allow_nan=False, allow_infinity=False)
    number = st.integers(-(2**31), 2**31 - 1)
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    return st.builds(
        SampleRecord,
        sample_id=st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True),
        **dict.fromkeys(("video_id", "dataset", "method", "quality", "split", "shard", "image_sha256"), text),
        **dict.fromkeys(("frame_index", "track_id", "crop_size", "row"), number),
        **dict.fromkeys(("mask_coverage", "mask_iou", "difference"), st.none() | single),
        label=st.integers(0, 1),
        source_id=st.none() | text,
        subject_ids=st.lists(text, max_size=3).map(tuple),
        pts_s=double,
        pair_offset=st.none() | number,
        bbox=st.tuples(*[single] * 4),
        landmarks=st.tuples(*[single] * 10),
        score=single,
        affine=st.tuples(*[double] * 6),
        mask_kind=st.sampled_from(MaskKind),
    )


def test_formats_are_found_by_suffix():
    for name, shard_format in SHARD_FORMATS.items():
        assert format_of(f"train/train-000000{shard_format.suffix}").name == name
    with pytest.raises(DatasetError, match=r"\.parquet, \.tar"):
        format_of("train/train-000000.zip")


def test_both_formats_hold_the_same(samples, tmp_path):
    read = []
    for shard_format in SHARD_FORMATS.values():
        write(shard_format, tmp_path / "shard", samples)
        read.append(list(shard_format.read(tmp_path / "shard")))
    assert read[0] == read[1]


class TestParquet:
    @pytest.fixture
    def path(self, samples, tmp_path) -> Path:
        write(SHARD_FORMATS["parquet"], tmp_path / "shard.parquet", samples)
        return tmp_path / "shard.parquet"

    def test_datasets_gives_pictures_and_class_labels(self, path, samples, tmp_path):
        datasets = pytest.importorskip("datasets")
        loaded = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "hf"))
        assert loaded.features["label"] == datasets.ClassLabel(names=["real", "fake"])
        assert isinstance(loaded.features["image"], datasets.Image)
        assert isinstance(loaded.features["mask"], datasets.Image)
        assert set(loaded.column_names) == {*SAMPLES.names, "image", "mask"}
        check_pictures([(row["image"], row["mask"]) for row in loaded], samples)
        assert loaded["label"][:] == [0] * 6 + [1] * 6
        assert loaded[7]["bbox"] == [100.0, 50.0, 180.0, 130.0]

    def test_pictures_lie_plain_in_the_file(self, path, samples):
        group = pq.ParquetFile(path).metadata.row_group(0)
        columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
        for name in ("image.bytes", "mask.bytes"):
            assert columns[name].compression == "UNCOMPRESSED"
            assert not columns[name].has_dictionary_page
            assert not columns[name].is_stats_set
        assert all(sample.image in path.read_bytes() for sample in samples)

    def test_row_groups(self, samples, tmp_path):
        many = (samples * (2 * ROWS_PER_GROUP // len(samples) + 1))[: 2 * ROWS_PER_GROUP + 1]
        write(SHARD_FORMATS["parquet"], tmp_path / "shard", many)
        metadata = pq.ParquetFile(tmp_path / "shard").metadata
        assert [metadata.row_group(i).num_rows for i in range(3)] == [ROWS_PER_GROUP, ROWS_PER_GROUP, 1]
        assert metadata.num_row_groups == 3
        assert [s.record.row for s in SHARD_FORMATS["parquet"].read(tmp_path / "shard")] == list(range(len(many)))


class TestWebDataset:
    @pytest.fixture
    def path(self, samples, tmp_path) -> Path:
        write(SHARD_FORMATS["webdataset"], tmp_path / "shard.tar", samples)
        return tmp_path / "shard.tar"

    @pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves closing to the garbage collector
    def test_webdataset_reads_it(self, path, samples):
        webdataset = pytest.importorskip("webdataset")
        read = list(webdataset.WebDataset(str(path), shardshuffle=False))
        gc.collect()
        assert [sample["__key__"] for sample in read] == [sample.record.sample_id for sample in samples]
        assert [sample["png"] for sample in read] == [sample.image for sample in samples]
        assert [sample["mask.png"] for sample in read] == [sample.mask for sample in samples]
        assert [json.loads(sample["json"])["label"] for sample in read] == [0] * 6 + [1] * 6

    def test_datasets_reads_it(self, path, samples, tmp_path):
        datasets = pytest.importorskip("datasets")
        loaded = datasets.load_dataset(
            "webdataset", data_files=str(path), split="train", cache_dir=str(tmp_path / "hf")
        )
        check_pictures([(row["png"], row["mask.png"]) for row in loaded], samples)
        assert [row["label"] for row in loaded["json"]] == [0] * 6 + [1] * 6

    def test_members_carry_no_time_and_no_user(self, path):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
            (0, 0, 0, "facemill", "facemill", 0o444)
        }
        assert [m.name.partition(".")[2] for m in members[:3]] == ["json", "mask.png", "png"]

    def test_a_damaged_header_is_not_taken_for_the_end(self, path):
        with tarfile.open(path) as tar:
            offset = tar.getmembers()[6].offset
        content = bytearray(path.read_bytes())
        content[offset] ^= 1
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=f"damaged header at byte {offset}"):
            list(SHARD_FORMATS["webdataset"].read(path))

    @pytest.mark.parametrize("text", [b"", b"3", b"[]", b"{}", b'{"label": 1e400}', b"\xff", b"%d" % 10**30, b"null"])
    def test_broken_json(self, path, samples, text):
        repack(path, text)
        with pytest.raises(DatasetError, match=r"shard\.tar cannot be read"):
            list(SHARD_FORMATS["webdataset"].read(path))

    @pytest.mark.parametrize(("field", "value"), [("row", 10**30), ("label", "x"), ("bbox", [1.0]), ("colour", 1)])
    def test_broken_fields(self, path, samples, field, value):
        record = dataclasses.asdict(samples[0].record)
        repack(path, json.dumps({**record, field: value}).encode())
        with pytest.raises(DatasetError, match=r"shard\.tar cannot be read"):
            list(SHARD_FORMATS["webdataset"].read(path))


def repack(path: Path, text: bytes) -> None:
    """Make the tar anew, of one sample with this text for its JSON."""
    with tarfile.open(path) as tar:
        files = [(member.name, tar.extractfile(member).read()) for member in tar.getmembers()[:3]]
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            data = text if name.endswith(".json") else content
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_importing_shards_does_not_import_torch():
    code = (
        "import sys, facemill.manifests.checks.verify, facemill.manifests.shards.card; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def check_pictures(pairs: list[tuple[Image.Image, Image.Image]], samples: list[EncodedSample]) -> None:
    assert len(pairs) == len(samples)
    for (image, mask), sample in zip(pairs, samples, strict=True):
        assert (image.mode, image.size, mask.mode, mask.size) == ("RGB", (SIZE, SIZE), "L", (SIZE, SIZE))
        assert np.array_equal(image, Image.open(io.BytesIO(sample.image)))
        assert np.array_equal(mask, Image.open(io.BytesIO(sample.mask)))


class TestFilesOfOthers:
    """Parquet shards as other libraries write them, and as nobody should."""

    def rewritten(self, tmp_path: Path, change: Callable[[pa.Table], pa.Table], **options: Any) -> Path:
        path = tmp_path / "train-000000.parquet"
        samples = [make_sample(video, frame) for video in make_videos()[:2] for frame in range(5)]
        with SHARD_FORMATS["parquet"].open_writer(path, "train/train-000000.parquet") as writer:
            for sample in samples:
                writer.write(sample)
        self.before = list(SHARD_FORMATS["parquet"].read(path))
        pq.write_table(change(pq.read_table(path)), path, **options)
        return path

    @pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
    def test_compressed_with_dictionaries(self, tmp_path, compression):
        path = self.rewritten(tmp_path, lambda table: table, compression=compression, use_dictionary=True)
        assert list(SHARD_FORMATS["parquet"].read(path)) == self.before

    def test_wide_types_and_lists_for_vectors(self, tmp_path):
        def widen(table: pa.Table) -> pa.Table:
            for place, field in enumerate(table.schema):
                if pa.types.is_string(field.type):
                    kind = pa.large_string()
                elif isinstance(field.type, pa.FixedSizeListType):
                    kind = pa.list_(field.type.value_type)
                elif pa.types.is_integer(field.type):
                    kind = pa.int64()
                else:
                    continue
                column = pa.array(table[field.name].to_pylist(), kind)
                table = table.set_column(place, pa.field(field.name, kind), column)
            return table.replace_schema_metadata(None)

        path = self.rewritten(tmp_path, widen)
        assert list(SHARD_FORMATS["parquet"].read(path)) == self.before

    @pytest.mark.parametrize("column", ["image", "message"])
    def test_cells_of_absurd_size_are_refused_unread(self, tmp_path, column):
        def blow_up(table: pa.Table) -> pa.Table:
            rows = table.to_pylist()
            if column == "image":
                rows[0]["image"]["bytes"] = bytes(30_000_000)
            else:
                rows[0]["quality"] = "x" * 30_000_000
            return pa.Table.from_pylist(rows, table.schema)

        path = self.rewritten(tmp_path, blow_up, compression="zstd")
        assert path.stat().st_size < 1_000_000
        with pytest.raises(DatasetError, match="bytes for 10 rows"):
            next(SHARD_FORMATS["parquet"].read(path))

    @pytest.mark.parametrize("format_name", sorted(SHARD_FORMATS))
    def test_what_is_no_regular_file_is_not_opened(self, tmp_path, format_name):
        path = tmp_path / f"pipe{SHARD_FORMATS[format_name].suffix}"
        os.mkfifo(path)
        with pytest.raises(DatasetError, match="not a regular file"):
            next(SHARD_FORMATS[format_name].read(path))
