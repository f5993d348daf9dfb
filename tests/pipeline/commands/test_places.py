import inspect
from pathlib import Path
from typing import get_type_hints

import pytest
from typer.testing import CliRunner

from facemill import ConfigError
from facemill.pipeline.commands.cli import app
from facemill.pipeline.commands.places import (
    dataset_folder,
    free_file,
    free_folder,
    free_names,
    local_path,
    whole_dataset,
)


@pytest.mark.parametrize("text", ["s3://bucket/x", "file:///x", "hf://datasets/x", "https://host/x"])
def test_urls_are_no_paths(text: str) -> None:
    with pytest.raises(ConfigError, match="a local path is needed"):
        local_path(text)
    assert local_path("a:b/c") == Path("a:b/c")


OWN = ("facemill.pipeline.commands.dataset", "facemill.pipeline.commands.training", "facemill.pipeline.commands.about")


READ_ANYWHERE = {
    **{(command, "data"): dataset_folder for command in ("train", "evaluate", "explain")},
    **{(command, "folder"): whole_dataset for command in ("verify", "inspect", "export")},
}
"""Parameters that may be URLs of datasets."""


def path_parameters() -> list[tuple[str, str]]:
    found = []
    for command in app.registered_commands:
        if command.callback is not None and command.callback.__module__ in OWN:
            for name, hint in get_type_hints(command.callback, include_extras=True).items():
                if "Path" in str(hint):
                    found.append((command.callback.__name__, name))
    return found


@pytest.mark.parametrize(("command", "name"), path_parameters())
def test_every_command_parses_every_path_by_the_one_rule(command: str, name: str) -> None:
    (callback,) = [c.callback for c in app.registered_commands if c.callback and c.callback.__name__ == command]
    assert inspect.isfunction(callback)
    options = [o for o in get_type_hints(callback, include_extras=True)[name].__metadata__ if hasattr(o, "parser")]
    expected = READ_ANYWHERE.get((command, name), local_path)
    assert [option.parser for option in options] == [expected]


def test_a_url_given_to_build_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["build", "s3://bucket/x", "--out", "out"])
    assert isinstance(ended.exception, ConfigError)
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_stay_and_own_ones_go_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    assert free_file(target) == target
    target.write_bytes(b"a video")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="was not written by this command"):
            free_file(target, overwrite=overwrite)
    with pytest.raises(ConfigError, match="pass --overwrite"):
        free_file(target, is_own=lambda path: True)
    assert free_file(target, overwrite=True, is_own=lambda path: True) == target
    with pytest.raises(ConfigError, match="is a folder"):
        free_file(tmp_path)


def test_names_are_free_in_anybodys_folder_until_they_are_taken(tmp_path: Path) -> None:
    (tmp_path / "scores.parquet").touch()
    assert free_names(tmp_path, "sheet-*.png") == tmp_path
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "sheet-01.png").touch()
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=r"sheet-01\.png exists and was not written by this command"):
            free_names(tmp_path, "sheet-*.png", overwrite=overwrite)
    with pytest.raises(ConfigError, match="pass --overwrite"):
        free_names(tmp_path, "sheet-*.png", is_own=Path.is_file)
    assert free_names(tmp_path, "sheet-*.png", overwrite=True, is_own=Path.is_file)
    with pytest.raises(ConfigError, match="is a file"):
        free_names(tmp_path / "scores.parquet", "sheet-*.png")
    with pytest.raises(ConfigError, match="is not writable"):
        free_names(tmp_path / "scores.parquet" / "below", "sheet-*.png")


def test_folders_of_others_stay_and_own_ones_go_when_asked(tmp_path: Path) -> None:
    def own(folder: Path) -> bool:
        return (folder / "scores.parquet").is_file()

    assert free_folder(tmp_path, is_own=own) == tmp_path
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="contains files that this command did not write"):
        free_folder(tmp_path, overwrite=True, is_own=own)
    (tmp_path / "scores.parquet").touch()
    with pytest.raises(ConfigError, match="pass --overwrite"):
        free_folder(tmp_path, is_own=own)
    assert free_folder(tmp_path, overwrite=True, is_own=own)
    with pytest.raises(ConfigError, match="is a file"):
        free_folder(tmp_path / "thesis.txt", is_own=own)
    with pytest.raises(ConfigError, match="is not writable"):
        free_folder(tmp_path / "thesis.txt" / "below", is_own=own)
