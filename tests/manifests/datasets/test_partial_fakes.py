"""LAV-DF and AV-Deepfake1M: what is forged, when, and of which original."""

import pytest

from facemill import ManifestError
from facemill.manifests import read_videos, scan, write_videos
from tests.manifests.dataset_trees import avdeepfake1m, avdeepfake1m_rows, lavdf, lavdf_rows, touch, write_json

CLIP = "id00001/21Uxsk56VDQ/00001"


def by_path(report):
    return {entry.path: entry for entry in report.entries}


def test_lavdf_a_changed_picture_is_forged_within_its_periods(tmp_path):
    entries = by_path(scan("lavdf", lavdf(tmp_path)))
    fake, both = entries["train/000002.mp4"], entries["train/000003.mp4"]
    assert fake.fake_periods == both.fake_periods == ((0.2, 0.48), (1.5, 2.0))
    assert (fake.method, fake.attributes) == ("visual-modified", ("audio=real",))
    assert (both.method, both.attributes) == ("both-modified", ("audio=fake",))
    assert fake.source_id == both.source_id == entries["train/000001.mp4"].video_id


def test_lavdf_a_changed_sound_leaves_the_picture_real(tmp_path):
    entries = by_path(scan("lavdf", lavdf(tmp_path)))
    heard = entries["train/000004.mp4"]
    assert (heard.label, heard.method, heard.fake_periods, heard.source_id) == (0, "real", None, None)
    assert heard.attributes == ("audio=fake",)


def test_lavdf_dev_is_val(tmp_path):
    entries = by_path(scan("lavdf", lavdf(tmp_path)))
    assert {path.partition("/")[0]: entry.split for path, entry in entries.items()} == {
        "dev": "val",
        "test": "test",
        "train": "train",
    }


def test_avdeepfake1m_the_picture_has_periods_of_its_own(tmp_path):
    entries = by_path(scan("avdeepfake1m", avdeepfake1m(tmp_path)))
    fake, both = (entries[f"train/{CLIP}/fake_video_{sound}_audio.mp4"] for sound in ("real", "fake"))
    assert fake.fake_periods == ((3.28, 3.46),)
    assert both.fake_periods == ((3.28, 3.46),)  # an empty period is none
    assert fake.source_id == entries[f"train/{CLIP}/real.mp4"].video_id
    assert fake.subject_ids == ("avdeepfake1m-id00001",)


def test_avdeepfake1m_periods_of_the_sound_do_not_make_a_picture_fake(tmp_path):
    entries = by_path(scan("avdeepfake1m", avdeepfake1m(tmp_path)))
    heard = entries[f"val/{CLIP.replace('id00001', 'id00051')}/real_video_fake_audio.mp4"]
    assert (heard.label, heard.fake_periods, heard.attributes) == (0, None, ("audio=fake",))


def test_avdeepfake1m_plus_plus_has_a_folder_for_each_corpus(tmp_path):
    rows = avdeepfake1m_rows("train")
    for row in rows:
        row |= {name: f"vox_celeb_2/{row[name]}" for name in ("file", "original") if row[name]}
    write_json(tmp_path / "train_metadata.json", rows)
    touch(tmp_path / "train", [str(row["file"]) for row in rows])
    entries = by_path(scan("avdeepfake1m", str(tmp_path)))
    fake = entries[f"train/vox_celeb_2/{CLIP}/fake_video_real_audio.mp4"]
    assert fake.subject_ids == ("avdeepfake1m-id00001",)
    assert fake.source_id == entries[f"train/vox_celeb_2/{CLIP}/real.mp4"].video_id


def test_avdeepfake1m_videos_without_published_labels_are_told(tmp_path):
    report = scan("avdeepfake1m", avdeepfake1m(tmp_path))
    assert report.unknown == ["stray.mp4"]
    assert report.notes == ["1 videos below test have no published labels, and are left out."]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "bonus"}, "does not tell split and label of train/000001.mp4"),
        ({"modify_video": None}, "does not tell split and label"),
        ({"fake_periods": [[1.0]]}, r"gives train/000001.mp4 the forged periods \[\[1.0\]\]"),
        ({"fake_periods": "soon"}, "gives train/000001.mp4 the forged periods"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path, change, message):
    root = lavdf(tmp_path)
    rows = lavdf_rows()
    rows[0] |= change
    write_json(tmp_path / "metadata.min.json", rows)
    with pytest.raises(ManifestError, match=message):
        scan("lavdf", root)


@pytest.mark.parametrize("name", ["lavdf", "avdeepfake1m"])
def test_a_missing_list_is_told(tmp_path, name):
    touch(tmp_path, ["train/000001.mp4"])
    with pytest.raises(ManifestError, match=r"lacks .*metadata.*\.json: copy it from the dataset's download"):
        scan(name, str(tmp_path))


def test_periods_and_attributes_survive_the_manifest(tmp_path):
    entries = scan("lavdf", lavdf(tmp_path / "data")).entries
    write_videos(entries, tmp_path / "videos.parquet")
    assert read_videos(tmp_path / "videos.parquet") == entries
