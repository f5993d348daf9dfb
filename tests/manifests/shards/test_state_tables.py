"""Where the tables of a build's state lie."""

from facemill.manifests.checks.verify import verify
from facemill.manifests.shards.dataset import STATE_FOLDER, STATE_TABLES, state_path, state_results
from tests.manifests.small_dataset import Parts


def test_a_glob_over_folders_finds_shards_only(tmp_path):
    root = Parts().write(tmp_path, state=True)
    shards = {path.parent.name for path in root.glob("*/*.parquet")}
    assert shards == {"train", "val"}
    assert list((root / STATE_TABLES).glob("*.samples.parquet"))


def test_tables_right_in_the_state_folder_are_still_verified(tmp_path):
    root = Parts().write(tmp_path, state=True)
    for path in (root / STATE_TABLES).iterdir():
        path.rename(root / STATE_FOLDER / path.name)
    assert verify(str(root)).problems == ()
    (root / STATE_FOLDER / "train-000000.samples.parquet").unlink()
    assert {problem.check for problem in verify(root).problems} == {"state_table", "state_merged"}


def test_a_folder_holds_a_thousand_shards_of_a_split_at_most(tmp_path):
    paths = {number: state_path(f"train-{number:06d}") for number in (0, 999, 1000, 94_208, 1_234_567)}
    assert paths == {
        0: "_state/train-000000.json",
        999: "_state/train-000999.json",
        1000: "_state/train-001/train-001000.json",
        94_208: "_state/train-094/train-094208.json",
        1_234_567: "_state/train-1234/train-1234567.json",
    }
    assert state_path("val-001000", "faces.parquet") == "_state/tables/val-001/val-001000.faces.parquet"
    for path in (*paths.values(), "_state/build.json", "_state/run-1", state_path("val-001000", "faces.parquet")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert state_results(tmp_path) == sorted((tmp_path / path for path in paths.values()), key=lambda path: path.name)
