"""`facemill view`: what it is given, and what it prints."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import CliRunner, Result

from facemill.pipeline.commands.cli import app
from facemill.pipeline.data.split import open_split
from facemill.pipeline.evaluate.scores import COPIED, SCORES


def view(*args: object) -> Result:
    return CliRunner().invoke(app, ["view", *map(str, args), "--stop-after", "0"])


def test_it_prints_the_address(toy: Path) -> None:
    done = view(toy)
    assert done.exit_code == 0, done.output
    assert re.search(r"54 samples of .+\nhttp://127\.0\.0\.1:\d+/[\w-]{32}/\n$", done.output)


def test_an_evaluation_is_read_and_must_be_one(toy: Path, tmp_path: Path) -> None:
    assert "scores.parquet does not exist" in str(view(toy, "--evaluation", tmp_path).exception)
    samples = open_split(toy, "test").samples.select([*COPIED])
    more = {"logit": 0.5, "score": 0.6, "corruption": "none", "severity": 0, "group": "g"}
    table = samples.to_pydict() | {name: [value] * len(samples) for name, value in more.items()}
    pq.write_table(pa.table(table, schema=SCORES), tmp_path / "scores.parquet")
    assert view(toy, "--evaluation", tmp_path).exit_code == 0


def test_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    assert "has no dataset.json: give the folder of a finished build" in str(view(tmp_path).exception)
