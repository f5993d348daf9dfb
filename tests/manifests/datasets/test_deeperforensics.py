"""Fakes whose originals another dataset holds."""

from dataclasses import replace
from pathlib import Path

import pytest

from facemill import ConfigError, ManifestError
from facemill.manifests import REFERENCE, group_clips, merge, scan, shared_subjects, validate, write_videos
from facemill.pipeline.commands import cli
from tests.manifests.dataset_trees import deeperforensics, ffpp


@pytest.fixture
def root(tmp_path: Path) -> str:
    return deeperforensics(tmp_path / "deeper")


@pytest.fixture
def ff(tmp_path: Path) -> str:
    return ffpp(tmp_path / "ff")


def test_alone_its_fakes_have_no_originals_and_that_is_told(root):
    report = scan("deeperforensics", root)
    assert {entry.label for entry in report.entries} == {1}
    assert len(report.unpaired) == len(report.entries) == 12
    assert report.unknown == ["stray.mp4"]
    assert {entry.split for entry in report.entries if "720_" in entry.path} == {"val"}


@pytest.mark.parametrize("as_manifest", [False, True])
def test_originals_of_the_other_dataset_are_references(root, ff, as_manifest):
    originals = scan("ffpp", ff, quality="c23").entries if as_manifest else ff
    report = scan("deeperforensics", root, originals=originals)
    assert report.unpaired == []
    assert validate(report.entries) == []
    entries = {entry.video_id: entry for entry in report.entries}
    fake = entries["deeperforensics-end_to_end-c23-000_M000"]
    real = entries[fake.source_id]
    assert (real.dataset, real.split, Path(real.path).stem) == ("ffpp", REFERENCE, "000")
    assert fake.subject_ids == (*real.subject_ids, "deeperforensics-M000")
    assert len(report.entries) == 12 + 6
    assert not any(line.startswith("ffpp") for line in report.lines())  # of which nothing is sampled


def test_merged_with_the_other_dataset_an_original_is_read_once_for_all_its_fakes(root, ff):
    faceforensics = scan("ffpp", ff, quality="c23").entries
    deeper = scan("deeperforensics", root, originals=faceforensics).entries
    for manifests in ([faceforensics, deeper], [deeper, faceforensics]):
        merged = merge(manifests)
        assert merged.duplicates == []
        assert REFERENCE not in {entry.split for entry in merged.entries}
        assert shared_subjects(merged.entries) == []
        [group] = [g for g in group_clips(merged.entries) if g.real and Path(g.real.path).stem == "000"]
        assert {fake.dataset for fake in group.fakes} == {"ffpp", "deeperforensics"}


def test_originals_of_another_quality_or_dataset_are_refused(root, ff, tmp_path):
    c40 = ffpp(tmp_path / "c40")
    for path in sorted(Path(c40).rglob("c23"), reverse=True):
        path.rename(path.with_name("c40"))
    given = scan("ffpp", c40, quality="c40").entries
    with pytest.raises(ManifestError, match="None of the given originals is one of ffpp in quality c23"):
        scan("deeperforensics", root, originals=given)
    with pytest.raises(ManifestError, match="None of the given originals"):
        scan("deeperforensics", root, originals=[replace(e, dataset="dfd", quality="c23") for e in given])
    with pytest.raises(ConfigError, match="ffpp has its originals itself"):
        scan("ffpp", ff, originals=given)


def test_the_command_takes_a_folder_or_a_manifest(root, ff, tmp_path):
    write_videos(scan("ffpp", ff, quality="c23").entries, tmp_path / "ff.parquet")
    written = []
    for name, originals in (("a", ff), ("b", str(tmp_path / "ff.parquet"))):
        out = tmp_path / f"{name}.parquet"
        cli.app(["scan", "deeperforensics", root, "--originals", originals, "--out", str(out)], standalone_mode=False)
        written.append(out.read_bytes())
    assert written[0] == written[1]


def test_a_missing_list_is_told(root):
    (Path(root) / "lists/splits/val.txt").unlink()
    with pytest.raises(ManifestError, match=r"lacks lists/splits/val\.txt: copy it"):
        scan("deeperforensics", root)
