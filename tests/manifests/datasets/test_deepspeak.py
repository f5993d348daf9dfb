import pytest

from facemill import ManifestError
from facemill.manifests import scan
from tests.manifests.dataset_trees import deepspeak


def by_name(report):
    return {entry.path.rpartition("/")[2]: entry for entry in report.entries}


def test_swaps_and_lips_have_the_target_s_recording_as_original_and_avatars_have_none(tmp_path):
    videos = by_name(scan("deepspeak", deepspeak(tmp_path)))
    swap = videos["facefusion-40-41.mp4"]
    assert (swap.method, swap.source_id) == ("facefusion", videos["1-41.mp4"].video_id)
    assert swap.subject_ids == ("deepspeak-v2-1", "deepspeak-v2-0")
    assert videos["diff2lip-42-43-playht.mp4"].source_id == videos["3-43.mp4"].video_id
    assert videos["diff2lip-42-43-playht.mp4"].subject_ids == ("deepspeak-v2-3",)
    assert videos["memo-44-44-speechify.mp4"].source_id is None


@pytest.mark.parametrize(
    ("version", "generated"),
    [(1, {"wav2lip--4-4--44-44--0.mp4"}), (2, {"diff2lip-42-43-playht.mp4", "memo-44-44-speechify.mp4"})],
)
def test_a_generated_voice_is_an_attribute_in_both_versions(tmp_path, version, generated):
    videos = by_name(scan("deepspeak", deepspeak(tmp_path, version)))
    assert {name for name, entry in videos.items() if entry.attributes == ("audio=fake",)} == generated
    assert {entry.attributes for entry in videos.values()} == {("audio=fake",), ("audio=real",)}
    assert {entry.subject_ids[0] for entry in videos.values()} == {f"deepspeak-v{version}-{n}" for n in range(6)}


def test_people_are_in_the_split_of_the_table_and_fakes_of_two_splits_in_none(tmp_path):
    root = deepspeak(tmp_path)
    table = tmp_path / "annotations-split-def.csv"
    table.write_text(table.read_text().replace("0,0,train", "0,0,test"))
    report = scan("deepspeak", root)
    assert {path.rpartition("/")[2] for path in report.unsplit} == {"facefusion-40-41.mp4"}
    tests = {name for name, entry in by_name(report).items() if entry.split == "test"}
    assert tests == {"0-40.mp4", "4-44.mp4", "5-45.mp4", "memo-44-44-speechify.mp4", "hellomeme-45-45-real.mp4"}


def test_a_listed_file_that_is_not_there_is_missing(tmp_path):
    root = deepspeak(tmp_path)
    (tmp_path / "deepspeak-0/1-41.mp4").unlink()
    report = scan("deepspeak", root)
    assert report.missing == ["1-41.mp4"]
    assert report.unpaired == ["deepspeak-1/facefusion-40-41.mp4"]


def test_two_versions_in_a_root_or_a_missing_table_are_refused(tmp_path):
    root = deepspeak(tmp_path)
    deepspeak(tmp_path / "other", 1)
    with pytest.raises(ManifestError, match="scan each version of DeepSpeak on its own"):
        scan("deepspeak", root)
    (tmp_path / "other/annotations-fake.csv").unlink()
    with pytest.raises(ManifestError, match=r"lacks annotations-fake\.csv: copy it"):
        scan("deepspeak", str(tmp_path / "other"))


def test_a_row_of_an_unknown_kind_is_refused(tmp_path):
    root = deepspeak(tmp_path)
    table = tmp_path / "annotations-fake.csv"
    table.write_text(table.read_text().replace("avatar,memo", "audio,memo"))
    with pytest.raises(ManifestError, match=r"Line 4 of annotations-fake\.csv describes no fake"):
        scan("deepspeak", root)
