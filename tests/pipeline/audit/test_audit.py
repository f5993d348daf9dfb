"""Audits of datasets with planted faults: each is found, and nothing in a dataset without them."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from facemill import ConfigError
from facemill.pipeline.audit.audit import audit
from facemill.pipeline.audit.findings import Audit
from facemill.pipeline.commands.cli import app
from tests.pipeline.audit.planted import FRAMES, SIDE, Corpus


def kinds(found: Audit) -> set[str]:
    return {one.kind for one in found.findings}


def predicting(found: Audit) -> set[str]:
    return {one.column for every in found.shortcuts.values() for one in every if one.found} - {"all together"}


def jpeg(quality: int) -> Callable[[np.ndarray], bytes]:
    return lambda image: cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Corpus().write(tmp_path_factory.mktemp("clean") / "data")


def test_nothing_is_found_in_a_clean_dataset(clean: Path) -> None:
    found = audit([clean])
    assert found.findings == ()
    assert (found.crops, found.looked_at) == (216, 216)
    assert found.duplicates == ()
    assert found.notes == ()
    assert {one.column for one in found.shortcuts["data"]} >= {"crop: brightness", "face: size", "video: bit rate"}
    [count] = [one for one in found.counts if (one.split, one.method) == ("val", "two")]
    assert (count.videos, count.crops, count.crops_per_video, count.faces_per_video) == (5, 15, 3.0, 1.0)


def test_fewer_crops_are_looked_at_if_told(clean: Path) -> None:
    found = audit([clean], frames=2)
    assert found.looked_at == 144  # the first and the last of three
    assert found.findings == ()


def test_crops_whose_originals_were_not_looked_at_tell_no_colours(tmp_path: Path) -> None:
    corpus = Corpus()
    corpus.lacking = dict.fromkeys(corpus.fakes(), (0,))  # the first one that each has is looked at
    assert "colour_tells" not in kinds(audit([corpus.write(tmp_path / "data")], frames=1))


# Shortcuts --------------------------------------------------------------------------------------------


def bright(corpus: Corpus) -> None:
    corpus.change(corpus.fakes(), lambda image: image + 40)


def dark_or_bright(corpus: Corpus) -> None:
    """No line through brightness separates these: reals lie between two kinds of fakes."""
    for number, name in enumerate(corpus.fakes()):
        corpus.change([name], lambda image, sign=(-1) ** (number // 2): image + sign * 60)


def blurred(corpus: Corpus) -> None:
    corpus.change(corpus.fakes(), lambda image: cv2.GaussianBlur(image, (0, 0), 1.5))


def encoded(corpus: Corpus) -> None:
    corpus.encode = dict.fromkeys(corpus.fakes(), jpeg(95))


def suffixes(corpus: Corpus) -> None:
    for name in corpus.fakes():
        corpus.edit(name, path=f"{name}.AVI")


def codecs(corpus: Corpus) -> None:
    corpus.change_facts({"codec": "mpeg4"})


def widths(corpus: Corpus) -> None:
    corpus.change_facts({"width": 1280, "height": 720})


def rates(corpus: Corpus) -> None:
    corpus.change_facts({"size_bytes": 150_000})


def unknown(corpus: Corpus) -> None:
    """That something is not known tells the label, too."""
    corpus.change_facts({"size_bytes": None})


def places(corpus: Corpus) -> None:
    corpus.records = {name: {"bbox": (0.0, 0.0, 100.0, 100.0)} for name in corpus.fakes()}


PLANTED = {
    (bright, suffixes, widths, places): ("crop: brightness", "file type", "video: width", "face: place across"),
    (blurred, encoded, rates): ("crop: sharpness", "crop: format", "video: bit rate"),
    (dark_or_bright, codecs, unknown): ("crop: brightness", "video: codec", "video: bit rate"),
}


@pytest.mark.parametrize("plants", PLANTED)
def test_planted_shortcuts_are_found(plants: tuple[Callable[[Corpus], None], ...], tmp_path: Path) -> None:
    corpus = Corpus()
    for plant in plants:
        plant(corpus)
    found = audit([corpus.write(tmp_path / "data")])
    assert predicting(found) >= {*PLANTED[plants]}
    assert "face: time" not in predicting(found)
    for column in PLANTED[plants]:
        [one] = [one for one in found.shortcuts["data"] if one.column == column]
        low, high = one.interval
        assert 0.6 < low <= one.auc <= high <= 1
        assert any(f"{column} predicts fakes with an AUC of {one.auc:.2f}" in each.message for each in found.findings)


def test_a_shortcut_to_one_method_is_named(tmp_path: Path) -> None:
    corpus = Corpus()
    corpus.change(corpus.fakes("two"), lambda image: image + 22)
    found = audit([corpus.write(tmp_path / "data")])
    assert ("crop: brightness", "two") in {(one.column, one.method) for one in found.shortcuts["data"] if one.found}
    assert not [one for one in found.shortcuts["data"] if one.method == "one"]


def test_few_originals_say_nothing(tmp_path: Path) -> None:
    corpus = Corpus()
    bright(corpus)
    for name in [*corpus.videos]:
        if int(name[-3:]) not in (0, 1, 14, 19):
            del corpus.videos[name]
    found = audit([corpus.write(tmp_path / "data")])
    assert found.findings == ()
    assert "fewer than 5 clip groups" in found.notes[0]


# Leaks ------------------------------------------------------------------------------------------------


def test_nearly_equal_crops_in_two_splits_are_found(tmp_path: Path) -> None:
    corpus = Corpus()
    copy, original = corpus.of("test")[0], corpus.of("train")[0]
    for frame in FRAMES:
        small = cv2.resize(corpus.images[original, frame], (32, 32), interpolation=cv2.INTER_AREA)
        darker = (cv2.resize(small, (SIDE, SIDE)) * 0.8).astype(np.uint8)
        corpus.images[copy, frame] = cv2.imdecode(np.frombuffer(jpeg(40)(darker), np.uint8), cv2.IMREAD_COLOR)
    found = audit([corpus.write(tmp_path / "data")])
    assert kinds(found) == {"duplicate"}
    [one] = found.duplicates
    assert one.places == (("data", "train", original), ("data", "test", copy))
    assert one.crops == 3
    assert one.correlation > 0.98
    assert all(cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR).shape[2] == 3 for image in one.images)
    [finding] = found.findings
    assert "3 crops of 1 videos in train of data are nearly equal to crops in test of data" in finding.message


def test_equal_crops_within_a_split_are_no_leak(tmp_path: Path) -> None:
    corpus = Corpus()
    first, second = corpus.of("train")[:2]
    for frame in FRAMES:
        corpus.images[second, frame] = cv2.GaussianBlur(corpus.images[first, frame], (0, 0), 0.8)
    assert audit([corpus.write(tmp_path / "data")]).findings == ()


def test_black_crops_are_no_duplicates(tmp_path: Path) -> None:
    corpus = Corpus()
    vignette = np.linspace(0, 6, SIDE)[:, None, None]
    corpus.change([corpus.of("train")[0], corpus.of("test")[0]], lambda image: vignette + np.zeros_like(image))
    found = audit([corpus.write(tmp_path / "data")])
    assert found.duplicates == ()
    assert "duplicate" not in kinds(found)


def test_subjects_originals_files_and_images_in_two_splits_are_found(tmp_path: Path) -> None:
    corpus = Corpus()
    (a, b), (c, d) = corpus.of("train")[:2], corpus.of("test")[:2]
    corpus.edit(c, subject_ids=("toy-0",))
    corpus.edit(b, content_hash="xxh3:1")
    corpus.edit(d, content_hash="xxh3:1")
    corpus.edit(corpus.of("train", "one")[3], split="val")
    corpus.images[c, 10] = corpus.images[a, 10]
    found = audit([corpus.write(tmp_path / "data")])
    said = " ".join(one.message for one in found.findings if one.kind == "shared")
    for text in (
        "2 subjects are in two splits, such as toy-0 in train and test",
        "1 original is in two splits, such as toy toy-real-003 in train and val",
        "1 video file is in two splits, such as xxh3:1 in train and test",
        "1 image is in two splits",
    ):
        assert text in said
    assert all(one.sure == "certain" for one in found.findings if one.kind == "shared")


def test_a_test_split_in_another_dataset_s_training_is_found(clean: Path, tmp_path: Path) -> None:
    other = Corpus(first=100, dataset="other")
    copy = other.of("test")[1]
    for frame in FRAMES:
        other.images[copy, frame] = cv2.GaussianBlur(face_of(frame), (0, 0), 0.7)
    found = audit([clean, other.write(tmp_path / "second")])
    assert [one.places for one in found.duplicates] == [(("data", "train", "toy-real-002"), ("second", "test", copy))]
    assert audit([clean, Corpus(first=100, dataset="other").write(tmp_path / "third")]).findings == ()
    with pytest.raises(ConfigError, match="given twice"):
        audit([clean, clean])


def face_of(frame: int) -> np.ndarray:
    return Corpus().images["toy-real-002", frame]


# Labels -----------------------------------------------------------------------------------------------


def test_empty_masks_and_reals_that_are_fakes_are_found(tmp_path: Path) -> None:
    corpus = Corpus()
    fake, real = corpus.of("train", "one")[0], corpus.of("train")[1]
    corpus.records[fake] = {"mask_coverage": 0.0}
    corpus.edit(real, content_hash="xxh3:2")
    corpus.edit(corpus.of("train", "two")[5], content_hash="xxh3:2")
    corpus.images[corpus.of("val")[0], 0] = corpus.images[corpus.of("val", "two")[0], 0]
    found = audit([corpus.write(tmp_path / "data")])
    assert kinds(found) == {"empty_masks", "real_file_is_fake", "real_is_fake"}
    assert any(f"3 of 3 masks of the fake {fake} are empty" in one.message for one in found.findings)


def test_a_split_without_reals_or_fakes_is_found(tmp_path: Path) -> None:
    corpus = Corpus()
    for name in corpus.of("val"):
        corpus.edit(name, split="train")
        for method in ("one", "two"):
            corpus.edit(name.replace("real", method), source_id=None)
    found = audit([corpus.write(tmp_path / "data")])
    assert "val has no real videos: nothing can be measured on it" in [one.message for one in found.findings]


# Command ----------------------------------------------------------------------------------------------


def call(*args: object) -> Result:
    return CliRunner().invoke(app, ["audit", *map(str, args)], env={"COLUMNS": "80"})


def test_the_command_prints_tables_json_and_a_page(clean: Path, tmp_path: Path) -> None:
    corpus = Corpus()
    bright(corpus)
    corpus.images[corpus.of("test")[0], 0] = cv2.GaussianBlur(corpus.images[corpus.of("train")[0], 0], (0, 0), 0.7)
    data, page = corpus.write(tmp_path / "<b>&data"), tmp_path / "page.html"
    ended = call(data, "--out", page, "--quiet")
    assert ended.exit_code == 0
    assert max(map(len, ended.output.replace(str(page), "").splitlines())) <= 80
    for text in ("crop: brightness", "predicts fakes", "findings", "nearly"):
        assert text in ended.output
    html = page.read_text()
    assert "<b>" not in html
    assert "&lt;b&gt;&amp;data" in html
    assert "default-src 'none'" in html
    assert html.count("data:image/png;base64,") == 2
    assert "crop: brightness predicts fakes" in html
    assert "--overwrite" in str(call(data, "--out", page).exception)
    ended = call(data, "--json", "--strict", "--out", page, "--overwrite")
    assert ended.exit_code == 3
    content = json.loads(ended.stdout)
    assert {one["kind"] for one in content["findings"]} == {"shortcut", "duplicate", "colour_tells"}
    assert "images" not in content["duplicates"][0]
    assert call(clean, "--strict", "--quiet").exit_code == 0


def test_another_file_is_not_replaced(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.html").write_text("<html>")
    ended = call(clean, "--out", tmp_path / "thesis.html", "--overwrite")
    assert isinstance(ended.exception, ConfigError)
    assert (tmp_path / "thesis.html").read_text() == "<html>"
