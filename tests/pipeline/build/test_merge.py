"""Merging shards into one dataset; integration tests cover building."""

from pathlib import Path

import pyarrow.parquet as pq

from facemill.manifests import FailureRecord, Reason, Stage, VideoFacts, from_table, schemas
from facemill.manifests.annotations import listing_schema
from facemill.manifests.checks.verify import verify
from facemill.manifests.shards.dataset import (
    FACES_FILE,
    FACTS_FILE,
    SAMPLES_FILE,
    STATE_TABLES,
    state_path,
    state_results,
)
from facemill.pipeline.build.merge import merge_shards, sweep
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
    assert merge_shards(tmp_path, load_recipe("default"), results).failures == 1
    facts = from_table(pq.read_table(tmp_path / FACTS_FILE), VideoFacts)
    assert [row.video_id for row in facts] == ["reference", "fake0", "fake1"]
    assert not [problem for problem in verify(tmp_path, threads=1).problems if problem.check.startswith("state")]
