import pytest

from facemill import ManifestError
from facemill.manifests import scan
from tests.manifests.dataset_trees import FAKEAV_HEADER, fakeavceleb, fakeavceleb_rows

PLACE = "African/men/id00000"


def by_path(report):
    return {entry.path: entry for entry in report.entries}


def test_a_cloned_voice_leaves_a_face_real(tmp_path):
    entry = by_path(scan("fakeavceleb", fakeavceleb(tmp_path)))[f"RealVideo-FakeAudio/{PLACE}/00109_fake.mp4"]
    assert (entry.label, entry.method) == (0, "real")
    assert entry.attributes == ("race=African", "gender=men", "audio=fake")


def test_a_fake_is_paired_with_its_source_s_own_video(tmp_path):
    entries = by_path(scan("fakeavceleb", fakeavceleb(tmp_path)))
    swap = entries[f"FakeVideo-RealAudio/{PLACE}/00109_id00002.mp4"]
    assert swap.source_id == entries[f"RealVideo-RealAudio/{PLACE}/00109.mp4"].video_id
    assert (swap.method, swap.attributes[-1]) == ("faceswap", "audio=real")
    assert swap.subject_ids == ("fakeavceleb-id00000", "fakeavceleb-id00002")
    synced = entries[f"FakeVideo-FakeAudio/{PLACE}/00109_0_wavtolip.mp4"]
    assert (synced.source_id, synced.subject_ids) == (swap.source_id, ("fakeavceleb-id00000",))


def test_a_file_with_two_rows_is_taken_once_and_told(tmp_path):
    root = fakeavceleb(tmp_path)
    rows = fakeavceleb_rows()
    (tmp_path / "meta_data.csv").write_text("\n".join([FAKEAV_HEADER, *rows, rows[3]]))
    report = scan("fakeavceleb", root)
    assert len(report.entries) == len(rows)
    assert report.duplicate == [f"FakeVideo-RealAudio/{PLACE}/00109_id00002.mp4"]


def test_the_folder_is_that_of_the_last_column_where_columns_differ(tmp_path):
    root = fakeavceleb(tmp_path)
    rows = [row.replace(",African,men,", ",African American,men,") for row in fakeavceleb_rows()]
    (tmp_path / "meta_data.csv").write_text("\n".join([FAKEAV_HEADER, *rows]))
    report = scan("fakeavceleb", root)
    assert report.missing == []
    assert by_path(report)[f"RealVideo-RealAudio/{PLACE}/00109.mp4"].attributes[0] == "race=African American"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source,path\n", "lacks the columns gender, method, race, target1, type"),
        (f"{FAKEAV_HEADER}\nid1,-,-,x,A,Video,African,men,a.mp4,", "Line 2 of meta_data.csv describes no video"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, text, message):
    root = fakeavceleb(tmp_path)
    (tmp_path / "meta_data.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        scan("fakeavceleb", root)
