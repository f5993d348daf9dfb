"""The report of a dataset: what it says, counts and shows, and that names in it stay text."""

import csv
import hashlib
import re
from base64 import b64decode, b64encode
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from facemill import DatasetError
from facemill.manifests.codes import MaskKind
from facemill.pipeline.commands.cli import app
from facemill.pipeline.report import report_dataset
from tests.manifests.small_dataset import Parts
from tests.pipeline.audit.planted import Corpus
from tests.pipeline.report.hostile import ESCAPES, LONG, MARKUP, write_hostile
from tests.pipeline.report.pages import Page


def report(folder: Path) -> Page:
    path = folder.with_suffix(".html")
    report_dataset(folder, path)
    return Page.of(path)


def verdict(page: Page, thing: str) -> str:
    """The word of a thing's lines on the first screen."""
    lines = re.findall(r"^(Problem|Look|Fine)(.*)$", page.text, re.MULTILINE)
    [word] = {word for word, rest in lines if rest.startswith(thing)}
    return str(word)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Fakes of method one have empty and full masks, one is out of step, one face is small, and one is blurred."""
    corpus = Corpus()
    one, two, *_ = corpus.of("train", "one")
    corpus.records = {
        one: {"mask_coverage": 0.0},
        two: {"mask_coverage": 1.0, "pair_offset": 10},
        corpus.of("val", "two")[0]: {"bbox": (100.0, 100.0, 130.0, 120.0), "score": 0.5},
    }
    corpus.change([corpus.of("test")[1]], lambda image: cv2.GaussianBlur(image, (0, 0), 6))
    return corpus


@pytest.fixture(scope="module")
def page(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report(corpus.write(tmp_path_factory.mktemp("report") / "planted"))


def test_the_first_screen_says_what_to_check(page: Page) -> None:
    assert verdict(page, "Classes") == verdict(page, "Splits") == verdict(page, "Yield") == "Fine"
    assert verdict(page, "Masks") == verdict(page, "Pairs") == "Look"
    assert "3 of 3 masks of the fake toy-one-000 are empty" in page.text
    assert "All 72 videos have crops" in page.text
    first = page.text.index("What to check")
    assert page.text.index("Look", first) < page.text.index("Fine", first)


def test_leaks_and_shortcuts_are_problems(tmp_path: Path) -> None:
    corpus = Corpus()
    corpus.change(corpus.fakes(), lambda image: image + 30)
    [moved, *_] = corpus.of("test")
    corpus.edit(moved, subject_ids=("toy-0",))
    found = report(corpus.write(tmp_path / "leaking"))
    assert "1 subject is in two splits, such as toy-0 in train and test" in found.text
    assert "Crop: brightness predicts fakes" in found.text


def test_what_failed_and_why_comes_with_the_videos(tmp_path: Path) -> None:
    found = report(Parts().write(tmp_path / "failed"))
    assert "1 of 4 videos (25.0%) have no crop, most often for no face" in found.text
    assert "ffpp-real-c23-002" in found.saved("worst-videos.csv")
    assert found.saved("failures-by-reason.csv").splitlines()[1] == "no face,detect,1,"


def test_histograms_count_every_crop_of_a_split_and_method(page: Page, corpus: Corpus) -> None:
    assert page.data["splits"] == ["train", "val", "test"]
    assert page.data["methods"] == ["real", "one", "two"]
    for name in ("face-size", "sharpness", "brightness", "detector-score"):
        counts = np.array(page.figure(name)["counts"])
        assert counts.sum(axis=2).tolist() == [[42] * 3, [15] * 3, [15] * 3], name
    coverage = page.figure("mask-coverage")
    counts, edges = np.array(coverage["counts"]), np.array(coverage["edges"])
    assert counts[:, 0].sum() == 0
    assert (edges[0], edges[-1]) == (0, 100)
    assert counts[0, 1, 0] == counts[0, 1, -1] == 3
    [inside] = np.flatnonzero(counts[1, 2])
    assert edges[inside] <= 25 <= edges[inside + 1]
    videos = page.figure("faces-per-video")
    assert np.array(videos["counts"]).sum() == len(corpus.videos)
    offsets = page.figure("pair-offset")
    assert offsets["edges"][:2] == [-1.5, -0.5]
    assert np.array(offsets["counts"])[0, 1].tolist() == [0, 39, *[0] * 9, 3, 0]


def test_figures_have_words_and_numbers(page: Page) -> None:
    plots = [one for one in page.every("div") if one.get("role") == "img"]
    assert len(plots) == len(page.data["figures"])
    assert all("Medians" in str(one["aria-label"]) and one["tabindex"] == "0" for one in plots)
    rows = list(csv.DictReader(page.saved("mask-coverage-percent-of-the-crop-that-is-forged.csv").splitlines()))
    assert {row["method"]: float(row["median"]) for row in rows} == {"one": 25.0, "two": 25.0}


def test_the_worst_crops_come_first(page: Page, corpus: Corpus) -> None:
    captions = [one["alt"] for one in page.every("img")]
    for words, video in (
        ("30 px", corpus.of("val", "two")[0]),
        ("0.0% forged", corpus.of("train", "one")[0]),
        ("100.0% forged", corpus.of("train", "one")[1]),
        ("score 0.500", corpus.of("val", "two")[0]),
    ):
        [first, *_] = [one for one in captions if str(one).startswith(words)]
        assert f", {video}, " in str(first)
    [blurred, *_] = [one for one in captions if str(one).startswith("sharpness")]
    assert corpus.of("test")[1] in str(blurred)


def test_pictures_are_those_of_the_shards(page: Page, corpus: Corpus) -> None:
    [first] = [one for one in page.every("img") if str(one["alt"]).startswith("Its original")]
    shown = np.frombuffer(b64decode(str(first["src"]).partition("base64,")[2]), np.uint8)
    name, frame = re.findall(r", (toy-real-\d+), frame (\d+)", str(first["alt"]))[0]
    stored = cv2.resize(corpus.images[name, int(frame)], (192, 192), interpolation=cv2.INTER_CUBIC)
    difference = cv2.imdecode(shown, cv2.IMREAD_COLOR).astype(int) - stored  # the corpus is of BGR
    assert np.abs(difference).mean() < 4


def test_the_page_is_whole_and_its_policy_admits_only_its_own_scripts(page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            assert str(attributes.get(name, "#")).startswith(("data:", "#")), tag
        assert not [name for name in attributes if name.startswith("on")]
    scripts = [text for tag, text in page.inside if tag == "script" and not text.startswith("{")]
    sources = [f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts]
    assert f"script-src {' '.join(sources)};" in f"{page.policy};"
    assert page.policy.startswith("default-src 'none'; ")


def test_names_stay_text(tmp_path: Path) -> None:
    folder = write_hostile(tmp_path / "hostile")
    page = report(folder)
    text = folder.with_suffix(".html").read_text()
    assert MARKUP in page.text
    assert not [one for one in page.every("img") if "onerror" in one or not str(one["src"]).startswith("data:")]
    assert len(page.every("script")) == 3
    assert not [one for one in page.every("a") if str(one["href"]).startswith("javascript")]
    for character in ESCAPES[:1] + "\u202e\x07":
        assert character not in text
    assert r"\x1b]0;title\x07\u202eevil" in page.text
    assert any(LONG in row for row in csv.reader(page.saved("worst-videos.csv").splitlines())) is False
    [_, row] = csv.reader(page.saved("worst-videos.csv").splitlines())
    assert row[3].startswith("'=1+1 <img")
    assert r"\{x\}" in page.saved("crops-by-split-and-videos.tex")
    assert "\x1b" not in page.saved("crops-by-split-and-videos.tex")


def test_fakes_without_originals_and_masks(tmp_path: Path) -> None:
    parts = Parts()
    for position in (3, 4, 5):
        parts.change(position, mask_kind=MaskKind.NONE, mask_coverage=None, source_id=None, pair_offset=None)
    page = report(parts.write(tmp_path / "unpaired"))
    assert "3 of 3 fake crops have no mask" in page.text
    assert "0.0% of the fake crops have a crop" in page.text
    assert {"mask-coverage", "pair-offset"}.isdisjoint(one["id"] for one in page.data["figures"])


def test_a_dataset_without_crops_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no crops: `facemill inspect"):
        report_dataset(Parts(samples=[]).write(tmp_path / "empty"), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_command_replaces_only_its_own_pages(tmp_path: Path) -> None:
    folder, out = Parts().write(tmp_path / "data"), tmp_path / "page.html"

    def call(*args: object) -> str:
        ended = CliRunner().invoke(app, ["report", str(folder), "--out", *map(str, args)])
        return ended.output + str(ended.exception or "")

    assert f"report -> {out}" in call(out)
    assert "pass --overwrite" in call(out)
    assert f"report -> {out}" in call(out, "--overwrite")
    out.write_text("<html>")
    assert "not written by this command" in call(out, "--overwrite")
    assert "ends neither in .html nor in .png" in call(tmp_path / "page.txt")
