"""The demo's steps."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from facemill import DatasetError
from facemill.pipeline.demo import run


@pytest.mark.long
def test_a_dataset_without_faces_is_no_success(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "SUBJECTS", 6)
    monkeypatch.setattr(run, "FRAMES", 2)
    monkeypatch.setattr(run, "OVERRIDES", ("filter.min_face=8000",))
    said = io.StringIO()
    with pytest.raises(DatasetError, match=r"^100% of the demo's videos gave no crop: `facemill inspect .*` says why"):
        run.run_demo(tmp_path / "out", workers=1, training=False, console=Console(file=said))
    assert "built: 0 face crops" in said.getvalue()
    assert "verified" not in said.getvalue()
