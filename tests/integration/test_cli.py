"""The command line: fast help, one sentence an error, an exit code for every ending."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from facemill import __version__
from facemill.pipeline.config.recipe import available_recipes, load_recipe
from facemill.registry import DATASETS
from tests.integration.command import facemill

pytestmark = pytest.mark.timeout(120)

COMMANDS = (
    *("scan", "merge", "check", "build", "verify", "inspect", "report", "view", "export"),
    *("train", "evaluate", "compare", "metrics", "score", "explain", "reproduce", "experiments"),
    *("datasets", "recipes", "detectors", "demo"),
)
HELP = "import sys; sys.argv = ['facemill', *{args}]; from facemill.pipeline.commands.cli import main; main()"


@pytest.mark.heavy
def test_help_answers_in_under_half_a_second() -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        assert facemill("--help").code == 0
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    assert any(seconds() < 0.5 for _ in range(8))


@pytest.mark.parametrize("args", [["--help"], ["build", "--help"], ["recipes"]], ids=" ".join)
def test_no_torch_is_imported_for(args: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", HELP.format(args=args)], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"typer", "facemill.pipeline.commands.cli"} <= imported
    assert not imported & {"torch", "torchvision", "distributed", "av"}


def test_help_names_every_command() -> None:
    shown = facemill("--help").out
    assert [command for command in COMMANDS if f" {command} " not in shown] == []
    assert "Exit codes" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    ended = facemill(command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert f"Usage: facemill {command}" in ended.out


@pytest.mark.heavy
def test_a_missing_extra_is_one_sentence() -> None:
    code = f"import sys; sys.modules['timm'] = None; {HELP.format(args=['detectors'])}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == 'Error: this command needs the package timm: pip install "facemill[train,demo]".\n'


def test_version() -> None:
    assert facemill("--version").out == f"{__version__}\n"


def test_recipes_are_listed_and_shown_in_full() -> None:
    listed = [line.split()[0] for line in facemill("recipes").out.splitlines()]
    assert listed == available_recipes()
    assert {"default", "lrl", "mat", "sola", "sia", "etd"} <= set(listed)
    shown = facemill("recipes", "lrl")
    assert yaml.safe_load(shown.out) == load_recipe("lrl").model_dump(mode="json")


def test_datasets_are_listed_and_shown_with_layout_and_link() -> None:
    listed = {line.split()[0] for line in facemill("datasets").out.splitlines()}
    assert listed == set(DATASETS)
    for name, link in (("ffpp", "github.com/ondyari/FaceForensics"), ("celebdf2", "yuezunli/celeb-deepfakeforensics")):
        shown = facemill("datasets", name).out
        assert "Layout: `" in shown
        assert shown.splitlines()[-1].startswith("Ask its authors for the files: https://")
        assert link in shown
    assert "`source` is the path or the stem of the original" in facemill("datasets", "csv").out


def test_detectors_are_listed() -> None:
    listed = [line.split() for line in facemill("detectors").out.splitlines()]
    assert listed[:2] == [["face", "mtcnn"], ["face", "retinaface", "resnet50,", "mobilenet0.25"]]
    assert {"etd", "lrl", "mat", "sia", "sola"} < {line[1] for line in listed if line[0] == "forgery"}
    assert ["forgery", "mat", "380", "px,", "tf_efficientnet_b4.ap_in1k"] in listed


WRONG = {
    "recipe key": (["build", "videos.parquet", "--out", "o", "--set", "crop.sise=380"], "did you mean 'size'"),
    "recipe value": (["build", "videos.parquet", "--out", "o", "--set", "crop.size=big"], "'crop.size' is invalid"),
    "override": (["build", "videos.parquet", "--out", "o", "--set", "crop.size"], "write section.key=value"),
    "format": (["build", "videos.parquet", "--out", "o", "--format", "zip"], "no shard format 'zip'"),
    "recipe": (["build", "videos.parquet", "--out", "o", "--recipe", "lrll"], "did you mean 'lrl'"),
    "recipe to show": (["recipes", "defualt"], "did you mean 'default'"),
    "dataset": (["scan", "ffp", ".", "--out", "videos.parquet"], "did you mean 'ffpp'"),
    "dataset folder": (["scan", "ffpp", "nowhere", "--out", "videos.parquet"], "nowhere"),
    "manifest": (["build", "missing.parquet", "--out", "o"], "missing.parquet"),
    "no manifest": (["build", __file__, "--out", "o"], "test_cli.py"),
    "no dataset to inspect": (["inspect", "nowhere"], "nowhere"),
    "no dataset to draw": (["report", "nowhere"], "nowhere"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_sentence(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args, hint = WRONG[what]
    ended = facemill(*args)
    assert ended.code == 2, ended
    assert ended.sentence.startswith("Error: ")
    assert ended.sentence.endswith(".")
    assert hint in ended.sentence
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_dataset_does_not_verify(tmp_path: Path) -> None:
    ended = facemill("verify", tmp_path)
    assert ended.code == 3
    assert "dataset.json" in ended.out


def test_a_folder_with_other_things_in_it_is_left_alone(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    ended = facemill("build", manifest, "--out", tmp_path)
    assert (ended.code, len(list(tmp_path.iterdir()))) == (2, 1)
    assert "is not empty and holds no build" in ended.sentence


def test_debug_shows_where_an_error_came_from() -> None:
    ended = facemill("--debug", "recipes", "defualt")
    assert ended.code == 2
    assert "Traceback (most recent call last)" in ended.err
    assert ended.err.splitlines()[-1].startswith("Error: There is no recipe")


@pytest.mark.parametrize("args", [[], ["fly"], ["build"], ["build", "videos.parquet", "--out", "o", "--workers", "0"]])
def test_wrong_usage(args: list[str]) -> None:
    ended = facemill(*args)
    assert ended.code == 2
    assert "Usage: facemill" in ended.out + ended.err
    assert "Traceback" not in ended.err
