"""Merging shards into one dataset; integration tests cover building."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill.manifests import FailureRecord, FrameFaces, Reason, Stage, VideoFacts, from_table, schemas
from facemill.manifests.annotations import listing_schema
from facemill.manifests.checks.verify import verify
from facemill.manifests.shards.dataset import (
    DATASET_FILE,
    FACES_FILE,
    FACTS_FILE,
    SAMPLES_FILE,
    STATE_TABLES,
    state_path,
    state_results,
)
from facemill.pipeline.build import merge as module
from facemill.pipeline.build.merge import BuildReport, merge_shards, sweep
from facemill.pipeline.build.state import ShardFile, ShardResult, load_result, save_result
from facemill.pipeline.config.recipe import load_recipe


def test_only_its_own_temporaries_are_swept(tmp_path: Path) -> None:
    own = (
        *(
            ".samples.parquet.0badcafe.tmp",
            ".facts.parquet.0badcafe.tmp",
            ".dataset.json.0badcafe.tmp",
            "train/.train-000000.parquet.0badcafe.tmp",
        ),
        *("test/.test-000012.tar.0123abcd.tmp", "_state/tables/.train-000000.facts.parquet.0badcafe.tmp"),
        *("_state/.train-000000.json.0badcafe.tmp", ".facts.parquet.0badcafe.tmp"),
        *(
            "_state/train-001/.train-001000.json.0badcafe.tmp",
            "_state/tables/train-001/.train-001000.faces.parquet.0badcafe.tmp",
        ),
    )
    others = (
        *(".notes.tmp", "train/.thesis.tex.0badcafe.tmp", "mine/.train-000000.parquet.0badcafe.tmp"),
        *("train/.train-000000.parquet.swp.tmp", ".vim.tmp", "train/train-000000.parquet.0badcafe.tmp"),
    )
    for name in (*own, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sweep(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(others)


def test_results_of_later_shards_are_found_again(tmp_path: Path) -> None:
    (tmp_path / "table").touch()
    table = ShardFile.of(tmp_path, "table", 0)
    for shard_id in ("train-000999", "train-001000"):
        result = ShardResult(shard_id, "train", "f", "i", None, table, table, table, 1, 1, ())
        save_result(tmp_path, result)
        assert load_result(tmp_path, shard_id, "f") == result
    assert [path.parent.name for path in state_results(tmp_path)] == ["_state", "train-001"]


def test_what_several_shards_tell_of_a_reference_is_listed_once(tmp_path: Path) -> None:
    """The second shard has facts of the reference again and of a video of its own."""
    (tmp_path / STATE_TABLES).mkdir(parents=True)
    told = FailureRecord("reference", Stage.DETECT, Reason.NO_FACE, "No frame shows a face.")
    results = []
    for number in range(2):
        ids = ("reference", f"fake{number}")
        rows = [VideoFacts(name, 9, 9, 25, 25.0, False, "h264", 0, 1.0, False, 2, 0, (), None, None) for name in ids]
        tables = {
            SAMPLES_FILE: listing_schema({}).empty_table(),
            FACES_FILE: schemas.FACES.empty_table(),
            FACTS_FILE: schemas.to_table(rows, schemas.FACTS),
        }
        files = []
        for name, table in tables.items():
            path = state_path(f"train-{number:06d}", name)
            pq.write_table(table, tmp_path / path)
            files.append(ShardFile.of(tmp_path, path, len(table)))
        result = ShardResult(f"train-{number:06d}", "train", "f" * 64, "i", None, *files, 1, 1, (told,))
        save_result(tmp_path, result)
        results.append(result)
    assert merge_shards(tmp_path, load_recipe("default"), results, "CPU").failures == 1
    facts = from_table(pq.read_table(tmp_path / FACTS_FILE), VideoFacts)
    assert [row.video_id for row in facts] == ["reference", "fake0", "fake1"]
    assert not [problem for problem in verify(tmp_path, threads=1).problems if problem.check.startswith("state")]


def test_rows_are_written_once_in_groups_of_about_the_given_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five shards of three rows: groups of six, six and three."""
    monkeypatch.setattr(module, "FACES_ROWS", 5)
    results = []
    for number in range(5):
        faces = [FrameFaces(f"{number:016d}", f"v{number}", index, (), (), ()) for index in range(3)]
        results.append(shard_result(tmp_path, number, schemas.to_table(faces, schemas.FACES)))
    merge_shards(tmp_path, load_recipe("default"), results, "CPU")
    with pq.ParquetFile(tmp_path / FACES_FILE) as merged:
        assert [merged.metadata.row_group(n).num_rows for n in range(merged.num_row_groups)] == [6, 6, 3]
        assert merged.read()["video_id"].to_pylist() == [f"v{number}" for number in range(5) for _ in range(3)]


def test_tables_are_merged_that_another_version_of_arrow_wrote_and_empty_ones_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = schemas.to_table([FrameFaces("0" * 16, "v", 0, (), (), ())], schemas.FACES)
    column = faces.schema.get_field_index("video_id")
    other = faces.set_column(
        column, faces.schema.field(column).with_type(pa.large_string()), faces[column].cast(pa.large_string())
    )
    results = [
        shard_result(tmp_path, number, table)
        for number, table in enumerate([other, *[schemas.FACES.empty_table()] * 3, faces])
    ]
    parts: list[int] = []
    concat = pa.concat_tables

    def counted(tables: list[pa.Table]) -> pa.Table:
        parts.append(len(tables))
        return concat(tables)

    monkeypatch.setattr(module.pa, "concat_tables", counted)
    merge_shards(tmp_path, load_recipe("default"), results, "CPU")
    assert parts == [2]
    merged = pq.read_table(tmp_path / FACES_FILE)
    assert merged.schema.equals(schemas.FACES)
    assert merged["video_id"].to_pylist() == ["v", "v"]


def shard_result(root: Path, number: int, faces: pa.Table, failures: tuple[FailureRecord, ...] = ()) -> ShardResult:
    tables = {
        SAMPLES_FILE: listing_schema({}).empty_table(),
        FACES_FILE: faces,
        FACTS_FILE: schemas.FACTS.empty_table(),
    }
    files = []
    for name, table in tables.items():
        path = state_path(f"train-{number:06d}", name)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, root / path)
        files.append(ShardFile.of(root, path, len(table)))
    return ShardResult(f"train-{number:06d}", "train", "f", "i", None, *files, 1, 1, failures)


def test_dataset_json_is_the_last_thing_that_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = shard_result(tmp_path, 0, schemas.FACES.empty_table())
    for name in ("dataset_card", "croissant_metadata", "sweep"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                merge_shards(tmp_path, load_recipe("default"), [result], "CPU")
        assert not (tmp_path / DATASET_FILE).exists(), name
    merge_shards(tmp_path, load_recipe("default"), [result], "CPU")
    assert (tmp_path / DATASET_FILE).exists()


def test_the_rate_is_that_of_videos_without_samples_and_not_of_failures() -> None:
    report = BuildReport(Path(), videos=20, videos_without_samples=1, samples=70, shards=2, failures=9, retryable={})
    assert report.failure_rate == 0.05
    assert dataclasses.replace(report, videos=0, videos_without_samples=0).failure_rate == 0
