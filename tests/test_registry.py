"""What can be added to facemill: by name, by entry point, and by a package that is installed beside it."""

import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import facemill.registry
from facemill import ConfigError
from facemill.pipeline.demo import make_corpus
from facemill.registry import Registry
from tests.integration.forked import forked

PLUGIN = Path(__file__).parent / "plugin"
EVERY = [value for name in facemill.registry.__all__ if isinstance(value := getattr(facemill.registry, name), Registry)]


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> Registry[str]:
    """What `string` has, and what two packages offer."""
    offers = [
        EntryPoint("gamma", "string:ascii_letters", "x"),
        EntryPoint("delta", "string:nothing", "x"),
        EntryPoint("twice", "string:digits", "x"),
        EntryPoint("twice", "string:hexdigits", "x"),
    ]
    monkeypatch.setattr(facemill.registry, "entry_points", lambda group: offers if group == "facemill.letters" else [])
    return Registry("letter", "facemill.letters", {"alpha": "errors:ConfigError"})


def test_names_are_listed_without_an_import_and_found_with_one(letters: Registry[object]) -> None:
    assert list(letters) == ["alpha", "delta", "gamma", "twice"]
    assert letters["alpha"] is ConfigError
    assert letters["gamma"] == "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    letters.register("omega", "z")
    assert letters["omega"] == "z"
    assert len(letters) == 5


def test_installed_packages_are_looked_through_once(letters: Registry[object], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "gamma" in letters
    monkeypatch.setattr(facemill.registry, "entry_points", lambda group: pytest.fail("again"))
    assert list(letters) == ["alpha", "delta", "gamma", "twice"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gama", r"There is no letter 'gama' \(did you mean 'gamma'\?\): use one of alpha, delta, gamma, twice\."),
        ("delta", r"The letter 'delta' of string:nothing cannot be imported \(AttributeError"),
        ("twice", r"offered by string:digits and string:hexdigits: uninstall all but one\."),
    ],
)
def test_what_cannot_be_had_is_one_sentence(letters: Registry[object], name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        letters[name]


@pytest.mark.parametrize("name", ["alpha", "gamma", "omega"])
def test_names_are_taken_once(letters: Registry[object], name: str) -> None:
    letters.register("omega", "z")
    with pytest.raises(ConfigError, match=f"The letter '{name}' already exists"):
        letters.register(name, "y")


@pytest.mark.parametrize("registry", EVERY, ids=lambda registry: registry.kind)
def test_all_that_comes_with_facemill_can_be_imported(registry: Registry[object]) -> None:
    assert len(registry) >= {"transform": 0, "optimiser": 0, "schedule": 0, "annotator": 1, "objective": 1}.get(
        registry.kind, 2
    )
    for name, thing in registry.items():
        assert getattr(thing, "name", name) == name


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the plug-in is installed: nowhere else."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", folder / "site"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, folder / "source"], check=True, cwd=folder)
    return folder / "site"


def run(*arguments: object, site: Path) -> str:
    """What a command with the plug-in says."""
    done = forked(*arguments, folder=site, site=site, limit_s=240)
    assert done.code == 0, done.err
    return done.out


@pytest.mark.heavy
def test_a_package_adds_one_of_each(installed: Path, tmp_path: Path) -> None:
    shape = {"subjects": 8, "frames": 8, "size": (320, 180)}
    corpus = make_corpus(tmp_path / "corpus", qualities=("c23",), methods=("Deepfakes",), **shape)
    manifest, shards = tmp_path / "videos.parquet", tmp_path / "shards"
    assert "twins" in run("datasets", site=installed)
    run("scan", "twins", corpus, "--out", manifest, site=installed)
    chosen = {
        "sample.frames": 4,
        "crop.size": 64,
        "detect": "{detector: centre, options: {share: 0.7}}",
        "filter.more": "{dark: {least: 2}}",
        "annotate": "{edges: {size: 8}, quality: {}}",
        "shards.format": "lines",
    }
    sets = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    said = run("build", manifest, "--out", shards, "--executor", "here", *sets, site=installed)
    assert "a task of the plug-in's executor ended" in said
    samples = pq.read_table(shards / "samples.parquet").to_pylist()
    assert {row["method"] for row in samples} == {"real", "swap"}
    assert all(row["bbox"][3] - row["bbox"][1] == pytest.approx(180 * 0.7, abs=0.02) for row in samples)
    assert all(len(row["edges_quarters"]) == 4 and row["edges_side"] in ("left", "right") for row in samples)
    assert "0 problems" in run("verify", shards, site=installed)
    run("export", shards, "--to", "names", "--out", tmp_path / "names", site=installed)
    assert set((tmp_path / "names/names.txt").read_text().split()) == {row["sample_id"] for row in samples}
    small = [part for key in ("train.epochs=1", "train.batch=8") for part in ("--set", key)]
    run(
        "train", "probe", shards, "--out", tmp_path / "run", "--device", "cpu", "--workers", "0", *small, site=installed
    )
    assert (tmp_path / "run/model.safetensors").is_file()
    dark = [*sets, "--set", "filter.more={dark: {least: 255}}", "--max-failure-rate", "1"]
    run("build", manifest, "--out", tmp_path / "dark", "--executor", "sequential", *dark, site=installed)
    assert "filtered" in pq.read_table(tmp_path / "dark/failures.parquet")["reason"].to_pylist()


@pytest.mark.heavy
def test_wrong_options_of_a_plug_in_are_refused_at_once(installed: Path, tmp_path: Path) -> None:
    for setting, message in {
        "detect={detector: centre, options: {shar: 1}}": "no option 'shar' (did you mean 'share'?)",
        "detect={detector: centre, options: {share: 3}}": "less than or equal to 1, got 3",
        "filter.more={drak: {}}": "no filter 'drak' (did you mean 'dark'?)",
        "filter.more={dark: {lest: 1}}": "no option 'lest' (did you mean 'least'?)",
        "annotate={edgs: {}}": "no annotator 'edgs' (did you mean 'edges'?)",
        "annotate={edges: {sise: 1}}": "no option 'sise' (did you mean 'size'?)",
    }.items():
        done = forked("build", "none.parquet", "--out", "o", "--set", setting, folder=tmp_path, site=installed)
        assert (done.code, message in done.err) == (2, True), done.err
