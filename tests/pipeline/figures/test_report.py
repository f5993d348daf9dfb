"""Which samples the contact sheet shows, and in which order."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from facemill import DatasetError
from facemill.manifests.codes import MaskKind
from facemill.pipeline.figures import report
from facemill.pipeline.figures.contact_sheet import SheetPart
from tests.manifests.small_dataset import SIZE, Parts, make_sample, png

FAKE = "ffpp-deepfakes-c23-000_003"


def covered(share: float) -> dict[str, object]:
    """A mask of the upper rows, with its coverage."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[: round(share * SIZE)] = 255
    return {"mask": png(mask), "mask_coverage": float((mask > 0).mean())}


@pytest.fixture
def drawn(monkeypatch) -> list[SheetPart]:
    """What is put on the sheet, beside drawing it."""
    parts: list[SheetPart] = []
    write = report.write_contact_sheet

    def spy(given: list[SheetPart], path: Path) -> None:
        parts.extend(given)
        write(given, path)

    monkeypatch.setattr(report, "write_contact_sheet", spy)
    return parts


@pytest.fixture
def parts() -> Parts:
    """Three fakes of one real: of full, empty and middling masks; one without an original; two reals alone."""
    parts = Parts()
    fake = parts.videos[1]
    for number, share in enumerate((1.0, 0.0)):
        other = dataclasses.replace(fake, video_id=f"{FAKE}{number}")
        parts.samples[6:6] = [make_sample(other, frame) for frame in (0, 12, 24)]
        for position in (6, 7, 8):
            parts.change(position, **covered(share if position == 7 else 0.3))
    alone = dataclasses.replace(fake, video_id="alone", source_id=None)
    parts.samples.insert(12, make_sample(alone, 0))
    parts.change(12, mask_kind=MaskKind.NONE, mask_coverage=None, mask=png(np.zeros((SIZE, SIZE), np.uint8)))
    return parts


def labels(part: SheetPart) -> list[str]:
    return [strip.label for strip in part.strips]


def test_the_emptiest_and_the_fullest_masks_come_first(parts, drawn, tmp_path):
    report.draw_contact_sheet(parts.write(tmp_path / "built"), tmp_path / "sheet.png", rows=2)
    emptiest, fullest, unpaired, tracks, reals = drawn
    assert labels(emptiest)[0] == f"difference 0.0%  deepfakes  {FAKE}1  frame 12"
    assert labels(fullest)[0] == f"difference 100.0%  deepfakes  {FAKE}0  frame 12"
    assert [len(strip.images) for strip in (*emptiest.strips, *fullest.strips)] == [3] * 4
    assert labels(unpaired) == ["no mask  deepfakes  alone  frame 0"]
    assert len(unpaired.strips[0].images) == 1
    assert labels(reals) == ["real  ffpp-real-c23-001  frame 12"]
    assert len(tracks.strips) == 2
    assert cv2.imread(str(tmp_path / "sheet.png")).std() > 20


def test_a_pair_is_the_real_the_fake_and_the_mask_over_it(parts, drawn, tmp_path):
    report.draw_contact_sheet(parts.write(tmp_path / "built"), tmp_path / "sheet.png")
    real, fake, over = drawn[1].strips[0].images
    for shown, position in ((real, 1), (fake, 10)):
        stored = cv2.imdecode(np.frombuffer(parts.samples[position].image, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert (shown == stored).all()
    assert over[..., 0].mean() > fake[..., 0].mean()  # a mask over all of it: redder everywhere


def test_tracks_that_change_most_in_size_come_first_and_in_order(parts, drawn, tmp_path):
    parts.change(len(parts.samples) - 1, bbox=(100.0, 50.0, 400.0, 350.0))
    report.draw_contact_sheet(parts.write(tmp_path / "built"), tmp_path / "sheet.png", rows=1)
    [strip] = drawn[3].strips
    assert strip.label == "real  ffpp-real-c23-001  frame 0 to 24  track 0"
    for shown, sample in zip(strip.images, parts.samples[-3:], strict=True):
        assert (shown == cv2.imdecode(np.frombuffer(sample.image, np.uint8), cv2.IMREAD_COLOR_RGB)).all()


def test_nothing_to_draw(tmp_path):
    parts = Parts(samples=[])
    with pytest.raises(DatasetError, match="no samples"):
        report.draw_contact_sheet(parts.write(tmp_path), tmp_path / "sheet.png")


def test_a_picture_of_another_size_is_refused(tmp_path):
    parts = Parts()
    parts.change(0, image=png(np.zeros((4000, 4000, 3), np.uint8)))
    with pytest.raises(DatasetError, match="cannot be decoded"):
        report.draw_contact_sheet(parts.write(tmp_path / "built"), tmp_path / "sheet.png")


def test_a_shard_in_another_order_is_refused(parts, drawn, tmp_path):
    built, other = parts.write(tmp_path / "built"), Parts(samples=parts.samples[::-1]).write(tmp_path / "other")
    [shard] = built.glob("train/*")
    shard.write_bytes((other / shard.relative_to(built)).read_bytes())
    with pytest.raises(DatasetError, match=r"where samples\.parquet says"):
        report.draw_contact_sheet(built, tmp_path / "sheet.png")
