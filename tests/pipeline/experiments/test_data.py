"""Which dataset a row uses, how it differs from what the row names, and the part of it that is used."""

import dataclasses
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from facemill import ConfigError
from facemill.manifests.shards.dataset import SAMPLES_FILE, read_dataset, write_dataset
from facemill.pipeline.experiments import select_experiments
from facemill.pipeline.experiments.data import TESTED, TRAINED, Catalogue, Given, differences, parse_places
from facemill.pipeline.experiments.figures import Source, find_source
from facemill.pipeline.experiments.plan import Wanted, make_plan
from facemill.pipeline.experiments.reproduce import describe, prepare
from tests.pipeline.experiments.papers_data import build_paper_data

C23 = Wanted("ffpp", "c23", "official", "etd")


@pytest.fixture(scope="module")
def ffpp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_paper_data(tmp_path_factory.mktemp("papers"), "ffpp", "c23")


def with_recipe(folder: Path, wanted: Wanted, **changed: object) -> Given:
    recipe = wanted.load().build_values()
    for key, value in changed.items():
        section, _, name = key.partition("__")
        recipe[section] = {**recipe[section], name: value}
    write_dataset(folder, dataclasses.replace(read_dataset(folder), recipe=recipe))
    return Given(wanted.data, folder)


def test_a_dataset_serves_rows_of_its_quality_methods_and_splits(ffpp: Path, tmp_path: Path) -> None:
    catalogue = Catalogue([Given("ffpp", ffpp)], [], tmp_path)

    def served(name: str, splits: tuple[str, ...] = TRAINED) -> bool:
        source = find_source(name)
        return catalogue.find(Wanted(source.data, source.quality, source.split, "etd"), source, splits) is not None

    assert served("FF++ c23")
    assert served("FF++ c23 FaceShifter", TESTED)
    assert not served("FF++ c40")
    assert not served("Celeb-DF v2")
    table = pq.read_table(ffpp / SAMPLES_FILE)
    fewer = table.filter((pc.field("method") != "FaceSwap") | (pc.field("split") != "val"))
    pq.write_table(fewer.replace_schema_metadata(table.schema.metadata), ffpp / SAMPLES_FILE)
    try:
        assert not Catalogue([Given("ffpp", ffpp)], [], tmp_path).find(C23, find_source("FF++ c23 FaceSwap"), TRAINED)
        assert Catalogue([Given("ffpp", ffpp)], [], tmp_path).find(C23, find_source("FF++ c23 FaceSwap"), TESTED)
        found = [*differences(Given("ffpp", ffpp), C23, find_source("FF++ c23"), TRAINED)]
        assert f"{ffpp} has no FaceSwap in val." in found
    finally:
        pq.write_table(table, ffpp / SAMPLES_FILE)


def test_the_dataset_with_the_rows_recipe_is_preferred(tmp_path: Path) -> None:
    other = with_recipe(build_paper_data(tmp_path / "a", "ffpp", "c23"), C23, crop__scale=2.0)
    same = with_recipe(build_paper_data(tmp_path / "b", "ffpp", "c23"), C23)
    source = find_source("FF++ c23")
    for given in ([other, same], [same, other]):
        assert Catalogue(given, [], tmp_path).find(C23, source, TRAINED) is same


def test_differences_are_told(ffpp: Path) -> None:
    source = find_source("FF++ c23")
    given = with_recipe(ffpp, C23, crop__scale=2.0, sample__every=10)
    told = [*differences(given, C23, source, TRAINED)]
    assert told[0] == f"{ffpp} was built with sample.every=10 instead of 5, crop.scale=2.0 instead of 1.3."
    assert told[1:] == [
        f"{ffpp} has 10 videos in train, where the authors published 3600.",
        f"{ffpp} has 10 videos in val, where the authors published 700.",
    ]
    [_, test] = differences(given, C23, source, TESTED)
    assert test == f"{ffpp} has 10 videos in test, where the authors published 700."
    named = [*differences(given, dataclasses.replace(C23, data="dfd"), Source(data="dfd", quality="c23"), TESTED)]
    assert named[0] == f"{ffpp} says that its videos are of ffpp, not of dfd."


def test_the_places_of_files_and_names_are_no_difference(ffpp: Path) -> None:
    given = with_recipe(ffpp, C23, detect__weights="/elsewhere.pth", detect__batch=2, shards__samples_per_shard=9)
    assert not any(
        "was built with" in sentence for sentence in differences(given, C23, find_source("FF++ c23"), TESTED)
    )


def test_rows_without_data_say_which(ffpp: Path, tmp_path: Path) -> None:
    jobs = prepare(["etd/table2"], tmp_path / "out", data=[f"ffpp={ffpp}"])
    lines = [*describe(jobs)]
    assert "etd/table2/dfdc lacks dfdc native in test" in lines
    assert not jobs.all  # nothing can be tested, and so nothing is trained
    assert not (tmp_path / "out").exists()


def test_a_row_is_measured_as_far_as_there_are_data(ffpp: Path, tmp_path: Path) -> None:
    jobs = prepare(["etd/table4/both"], tmp_path, data=[f"ffpp={ffpp}"])
    assert [name.partition("/")[0] for name in jobs.all] == ["train", "evaluate"]
    assert jobs.lacking(select_experiments(["etd/table4/both"])[0]) == ["celebdf2 native in test"]


@pytest.mark.parametrize("text", ["ffp=/data", "/data", "ffpp="])
def test_a_place_needs_the_name_of_a_dataset(text: str) -> None:
    with pytest.raises(ConfigError, match="is not NAME=DIR with the name of a dataset"):
        parse_places([text], "--data")


def test_no_dataset_is_wanted_twice() -> None:
    wanted = make_plan(select_experiments(["all"])).wanted()
    assert len({one.name for one in wanted}) == len(wanted)
