"""`facemill inspect`: the same summary as tables and as JSON."""

import dataclasses
import json
from pathlib import Path

from typer.testing import CliRunner

from facemill.pipeline.commands.cli import app
from tests.manifests.small_dataset import Parts


def test_json_has_what_the_tables_show_and_is_plain_ascii(tmp_path: Path) -> None:
    parts = Parts()
    parts.failures = [dataclasses.replace(parts.failures[0], video_id="\x1b[31m\u202e")]
    folder = parts.write(tmp_path / "data")
    printed = CliRunner().invoke(app, ["inspect", str(folder), "--json"]).stdout
    assert printed.isascii()
    assert "\x1b" not in printed
    found = json.loads(printed)
    assert [(one["split"], one["method"], one["samples"]) for one in found["samples"]] == [
        ("train", "real", 3),
        ("train", "deepfakes", 3),
        ("val", "real", 3),
    ]
    [failure] = found["failures"]
    assert (failure["reason"], failure["names"]) == ("no_face", ["\x1b[31m\u202e"])
    assert (found["videos"], found["verdict"]) == (4, None)
    assert found["masks"][1]["mean"] == 0.25
