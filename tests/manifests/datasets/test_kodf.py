from facemill.manifests import scan
from tests.manifests.dataset_trees import KODF_PERSONS, kodf, touch


def test_persons_are_those_of_names_in_both_notations(tmp_path):
    report = scan("kodf", kodf(tmp_path))
    persons = {subject for entry in report.entries for subject in entry.subject_ids}
    assert persons == {f"kodf-{person}" for person in KODF_PERSONS}
    first, other = KODF_PERSONS[:2]
    subjects = {entry.path.rpartition("/")[2]: entry.subject_ids for entry in report.entries}
    assert subjects[f"{first}_{other}_1_0001.mp4"] == (f"kodf-{first}", f"kodf-{other}")
    assert subjects[f"{first}_{first}_5_0001.mp4"] == (f"kodf-{first}",)


def test_fakes_of_two_days_of_one_name_are_two_videos(tmp_path):
    report = scan("kodf", kodf(tmp_path))
    assert report.duplicate == []
    assert sum(entry.method == "dfl" for entry in report.entries) == 6 + 3
    assert {entry.method for entry in report.entries} == {"real", "audio-driven", "dffs", "dfl", "fo", "fsgan"}


def test_a_name_that_does_not_agree_with_its_folder_is_unknown(tmp_path):
    root = kodf(tmp_path)
    odd = f"original_videos/{KODF_PERSONS[0]}/{KODF_PERSONS[1]}_009.mp4"
    touch(tmp_path, [odd])
    assert odd in scan("kodf", root).unknown
    assert scan("kodf", root).notes == ["kodf has no official split: all videos are test."]
