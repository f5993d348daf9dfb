"""Merging shards into one dataset; integration tests cover building."""

from pathlib import Path

from facemill.manifests.shards.dataset import state_results
from facemill.pipeline.build.merge import sweep
from facemill.pipeline.build.state import ShardFile, ShardResult, load_result, save_result


def test_only_its_own_temporaries_are_swept(tmp_path: Path) -> None:
    own = (
        *(
            ".samples.parquet.0badcafe.tmp",
            ".facts.parquet.0badcafe.tmp",
            ".dataset.json.0badcafe.tmp",
            "train/.train-000000.parquet.0badcafe.tmp",
        ),
        *("test/.test-000012.tar.0123abcd.tmp", "_state/tables/.train-000000.faces.parquet.0badcafe.tmp"),
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
        result = ShardResult(shard_id, "train", "f", "i", None, table, table, 1, 1, ())
        save_result(tmp_path, result)
        assert load_result(tmp_path, shard_id, "f") == result
    assert [path.parent.name for path in state_results(tmp_path)] == ["_state", "train-001"]
