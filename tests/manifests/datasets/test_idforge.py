import pytest

from facemill import ManifestError
from facemill.manifests import scan
from tests.manifests.dataset_trees import idforge, touch

CELEBRITY = "main/{}/id00/id00_0{}/id00_scene_"


@pytest.fixture
def root(tmp_path) -> str:
    return idforge(tmp_path)


@pytest.fixture
def videos(root):
    return {entry.path: entry for entry in scan("idforge", root).entries}


@pytest.mark.parametrize(
    ("kind", "session", "file", "method", "audio"),
    [
        ("pristine", 0, "0027-11", "real", "real"),
        ("tts_textmismatch", 0, "0027-11", "real", "fake"),
        ("lip_tts_textgen", 0, "0027-11_fake", "lip", "fake"),
        ("lip_rvc_textmismatch", 0, "0027-11.mp3", "lip", "fake"),
        ("face_audiomismatch_textmismatch", 1, "0015_0_infoswap", "infoswap", "mismatched"),
        ("face_tts", 1, "0015_0_infoswap", "infoswap", "fake"),
    ],
)
def test_the_kind_tells_what_is_forged(videos, kind, session, file, method, audio):
    entry = videos[f"{CELEBRITY.format(kind, session)}{file}.mp4"]
    assert (entry.method, entry.label) == (method, int(method != "real"))
    assert entry.attributes == (f"audio={audio}",)
    assert entry.subject_ids == ("idforge-id00",)


def test_lips_have_the_pristine_video_as_original(videos):
    real = videos[f"{CELEBRITY.format('pristine', 0)}0027-11.mp4"].video_id
    fakes = [entry for entry in videos.values() if entry.method == "lip" and "id00" in entry.path]
    assert [fake.source_id for fake in fakes] == [real, real]


def test_a_model_s_name_may_be_missing(root, tmp_path):
    touch(tmp_path, ["main/face_tts/id00/id00_01/odd.mp4"])
    (entry,) = (e for e in scan("idforge", root, split="all-test").entries if e.path.endswith("odd.mp4"))
    assert entry.method == "face"


def test_videos_in_no_list_are_left_out_and_listed_ones_that_are_gone_missing(root, tmp_path):
    touch(tmp_path, ["main/pristine/id00/id00_09/new.mp4"])
    (tmp_path / "main/face_tts/id40/id40_01/id40_scene_0015_0_infoswap.mp4").unlink()
    report = scan("idforge", root)
    assert report.unsplit == ["main/pristine/id00/id00_09/new.mp4"]
    assert report.missing == ["face_tts/id40/id40_01/id40_scene_0015_0_infoswap.mp4"]


def test_lists_may_lie_beside_the_videos_and_are_needed(root, tmp_path):
    for split in ("train", "val", "test"):
        (tmp_path / f"IDForge_v1/{split}.csv").rename(tmp_path / f"main/{split}.csv")
    assert {entry.split for entry in scan("idforge", root).entries} == {"train", "val", "test"}
    (tmp_path / "main/val.csv").unlink()
    with pytest.raises(ManifestError, match=r"lacks val\.csv: copy it"):
        scan("idforge", root)
    assert scan("idforge", root, split="identity:40/30/30").entries
