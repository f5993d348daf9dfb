"""What makes one dataset of shards; building itself is tested from the outside."""

from pathlib import Path

from facemill.pipeline.build.merge import sweep


def test_only_its_own_temporaries_are_swept(tmp_path: Path) -> None:
    own = (
        *(
            ".samples.parquet.0badcafe.tmp",
            ".facts.parquet.0badcafe.tmp",
            ".dataset.json.0badcafe.tmp",
            "train/.train-000000.parquet.0badcafe.tmp",
        ),
        *("test/.test-000012.tar.0123abcd.tmp", "_state/tables/.train-000000.faces.parquet.0badcafe.tmp"),
        "_state/.train-000000.json.0badcafe.tmp",
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
