"""Where the tables of a build's state lie."""

from facemill.manifests.checks.verify import verify
from facemill.manifests.shards.dataset import STATE_FOLDER, STATE_TABLES
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
