"""Scores of videos and images of unknown labels: those of `evaluate`, for everyone who is shown."""

import html
import json
import os
import re
import shutil
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.special import expit, logit

from facemill import ConfigError
from facemill.manifests import VideoEntry
from facemill.manifests.printable import printable
from facemill.pipeline.build import build
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.data.overlap import read_part
from facemill.pipeline.evaluate.evaluation import evaluate
from facemill.pipeline.runs.folder import TRAINED_ON_FILE, write_trained_on
from facemill.pipeline.score import Scored, page, score
from tests.pipeline.conftest import Actor, MarkDetector, film
from tests.pipeline.score.conftest import RECIPE, Shoot, change_config, choose_threshold

LARGE, OTHER, SMALL = Actor(20, 100, 90, dx=1), Actor(210, 60, 70, dx=-0.5), Actor(200, 150, 30)


def rows_of(scored: Scored, path: Path) -> list[dict[str, Any]]:
    return [row for row in scored.faces.to_pylist() if row["file"] == str(path)]


def file_of(scored: Scored, path: Path) -> dict[str, Any]:
    [found] = [result for result in scored.summary["files"] if result["file"] == str(path)]
    return found


def evaluated(run: Path, paths: list[Path], label: int, out: Path, **how: Any) -> dict[Any, float]:
    """Log-odds that `evaluate` gives, by file, frame and box, in a dataset built with the run's own recipe."""
    entries = [
        VideoEntry(f"v{n}", "own", ("real", "swap")[label], label, "native", "test", str(path.parent), path.name)
        for n, path in enumerate(paths)
    ]
    build(entries, RECIPE, out / "data", executor="sequential", device="cpu")
    with pytest.MonkeyPatch.context() as patch:  # plots take longer than all else
        patch.setattr("facemill.pipeline.evaluate.evaluation.draw_plots", lambda *args, **how: None)
        evaluate(run, out / "data", out / "evaluation", device="cpu", **how)
    logits = pq.read_table(out / "evaluation/scores.parquet").to_pylist()
    boxes = {row["sample_id"]: tuple(row["bbox"]) for row in pq.read_table(out / "data/samples.parquet").to_pylist()}
    names = {f"v{n}": str(path) for n, path in enumerate(paths)}
    return {(names[row["video_id"]], row["frame_index"], boxes[row["sample_id"]]): row["logit"] for row in logits}


@pytest.mark.parametrize(("label", "calibrated"), [(0, False), (1, True)])
def test_scores_are_those_of_evaluate(
    label: int, calibrated: bool, run: Path, shoot: Shoot, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    """Of a video alone and of one with two people, of whom a dataset of unpaired videos keeps the largest."""
    paths = [shoot("two.mp4", film([LARGE, OTHER], 24)), shoot("one.mp4", film([OTHER], 24, seed=3))]
    wanted = evaluated(run, paths, label, tmp_path, calibrated=calibrated)
    assert len(wanted) == 12
    scored = score(run, paths, tmp_path / "scored", calibrated=calibrated, device="cpu")
    found = {(row["file"], row["frame_index"], tuple(row["bbox"])): row["logit"] for row in scored.faces.to_pylist()}
    assert len(found) == 18
    assert {key: found[key] for key in wanted} == pytest.approx(wanted, abs=1e-6)
    limits = json.loads((tmp_path / "evaluation/metrics.json").read_text())["thresholds"]
    assert [scored.summary["thresholds"]] == limits


def test_real_media_are_scored_as_evaluate_does(run: Path, media: Path, tmp_path: Path) -> None:
    """With the real face detector: a clip, and images of one person and of three, of whom a dataset keeps one."""
    paths = [media / "videos/lp_d18.mp4", media / "images/astronaut.png", media / "images/dlib_2008_001322.jpg"]
    wanted = evaluated(run, paths, 0, tmp_path)
    scored = score(run, paths, tmp_path / "scored", device="cpu")
    found = {(row["file"], row["frame_index"], tuple(row["bbox"])): row["logit"] for row in scored.faces.to_pylist()}
    assert {key: found[key] for key in wanted} == pytest.approx(wanted, abs=1e-6)
    assert [len(rows_of(scored, path)) for path in paths] == [6, 1, 3]
    assert [row["pts_s"] for row in rows_of(scored, paths[0])][-1] == pytest.approx(215 / 30, abs=0.05)


def test_a_person_is_scored_by_their_faces_and_a_file_by_the_highest_person(
    run: Path, shoot: Shoot, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    """Two people, then a cut to one of them elsewhere; the threshold is between the highest and the others."""
    path = shoot("cut.mp4", np.concatenate([film([LARGE, OTHER], 20), film([OTHER], 20, seed=5)]))
    limited = tmp_path / "limited"
    shutil.copytree(run, limited)
    for judge, way, of_faces in ((run, "max", np.max), (limited, "mean", np.mean)):
        scored = score(judge, path, tmp_path / way, every=4, video_score=way, device="cpu")
        rows, result = rows_of(scored, path), file_of(scored, path)
        faces = {track: [row["score"] for row in rows if row["track_id"] == track] for track in (0, 1, 2)}
        assert [len(each) for each in faces.values()] == [5, 5, 5]
        wanted = {track: float(of_faces(each)) for track, each in faces.items()}
        assert {person["track_id"]: person["score"] for person in result["persons"]} == pytest.approx(wanted)
        scores = [person["score"] for person in result["persons"]]
        assert scores == sorted(scores, reverse=True)
        assert (result["score"], result["above_threshold"]) == (scores[0], result["persons"][0]["above_threshold"])
        kept = [face for person in result["persons"] for face in person["faces"]]
        assert sorted(face["logit"] for face in kept) == sorted(row["logit"] for row in rows)
        means = sorted(map(np.mean, faces.values()))
        choose_threshold(limited, float(logit(means[1:]).mean()))
    assert [person["above_threshold"] for person in result["persons"]] == [True, False, False]


def test_without_validation_scores_there_is_no_threshold(
    run: Path, shoot: Shoot, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(run, bare)
    (bare / "validation.parquet").unlink()
    path = shoot("a.mp4", film([LARGE], 8))
    result = file_of(score(bare, path, tmp_path / "out", device="cpu"), path)
    assert result["above_threshold"] is None
    assert "no validation scores" in (tmp_path / "out/score.html").read_text()
    with pytest.raises(ConfigError, match="leave out --calibrated"):
        score(bare, path, tmp_path / "new", calibrated=True, device="cpu")


def test_what_could_not_be_scored_is_listed(
    run: Path, shoot: Shoot, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    """Nobody, then one whose face is too small, then also one whose face is not."""
    parts = [film([], 4), film([SMALL], 4, start=4), film([LARGE, SMALL], 16, start=8)]
    path = shoot("late.mp4", np.concatenate(parts))
    scored = score(run, path, tmp_path / "out", every=4, device="cpu")
    result = file_of(scored, path)
    assert [person["frames"] for person in result["persons"]] == [4]
    left = result["not_scored"]
    assert left["frames"] == [0, 4]
    assert [(face["frame_index"], face["reason"]) for face in left["faces"]] == [
        (frame, "too_small") for frame in (4, 8, 12, 16, 20)
    ]
    x1, y1, x2, y2 = left["faces"][0]["bbox"]
    assert (x1, y1) == pytest.approx((SMALL.x, SMALL.y), abs=4)
    assert (x2 - x1, y2 - y1) == pytest.approx((30, 30), abs=4)
    assert {failure["reason"] for failure in left["failures"]} == {"no_face", "too_small"}
    assert [failure["frames"] for failure in left["failures"]] == [1, 1]


def test_a_track_that_is_left_out_is_listed_with_the_reason(
    run: Path, shoot: Shoot, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    """The second person is seen in one frame of twenty."""
    path = shoot("brief.mp4", np.concatenate([film([LARGE, OTHER], 2), film([LARGE], 38, start=2)]))
    left = file_of(score(run, path, tmp_path / "out", every=2, device="cpu"), path)["not_scored"]
    assert [(face["frame_index"], face["reason"]) for face in left["faces"]] == [(0, "too_brief")]
    assert left["frames"] == []


def test_bad_files_are_named_and_the_others_are_scored(
    run: Path, shoot: Shoot, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    good = shoot("good.mp4", film([LARGE], 12))
    shoot("text.mp4", b"no video at all")
    shoot("wall.mp4", film([], 6))
    shoot("cut.mp4", good.read_bytes()[:-4000])
    shoot("notes.txt", b"notes")
    folder = good.parent
    os.mkfifo(folder / "pipe.mp4")
    (tmp_path / "empty").mkdir()
    nowhere, odd = tmp_path / "nowhere.mp4", tmp_path / os.fsdecode(b"\xff.mp4")
    odd.write_bytes(b"")
    given = [folder, good, tmp_path / "empty", nowhere, odd]
    scored = score(run, given, tmp_path / "out", device="cpu")
    failed = {Path(row["file"]).name: row["not_scored"]["failures"] for row in scored.failed}
    assert len(rows_of(scored, good)) == 6
    assert scored.summary["notes"] == [f"1 files below {folder} are hidden or have no suffix of a video or an image."]
    told = {
        "cut.mp4": "FFmpeg cannot read",
        "text.mp4": "FFmpeg cannot read",
        "wall.mp4": "show no face",
        "pipe.mp4": "no regular file",
        "empty": "no video and no image",
        "nowhere.mp4": "no such file",
        odd.name: "not UTF-8",
    }
    assert failed.keys() == told.keys()
    for name, words in told.items():
        assert words in failed[name][0]["message"]
    with pytest.raises(ConfigError, match=r"nothing to score. .*nowhere.mp4: There is no such file"):
        score(run, nowhere, tmp_path / "new", device="cpu")
    assert not (tmp_path / "new").exists()


def test_frames_that_do_not_decode_are_counted(run: Path, media: Path, tmp_path: Path) -> None:
    path = media / "hostile/bitrot_lp_d10.mp4"
    scored = score(run, path, tmp_path / "out", device="cpu")
    [failure] = file_of(scored, path)["not_scored"]["failures"]
    assert (failure["stage"], failure["reason"]) == ("decode", "truncated")
    assert failure["frames"] + len(rows_of(scored, path)) == 6
    assert scored.failed == []


def test_nothing_written_says_what_is_real_or_fake(
    run: Path, shoot: Shoot, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    scored = score(run, shoot("a.mp4", film([LARGE, SMALL], 8)), tmp_path / "out", device="cpu")
    assert pq.read_schema(scored.out / "scores.parquet").names == [
        *("file", "frame_index", "pts_s", "track_id", "bbox", "detection_score", "logit", "score")
    ]
    written = json.loads((scored.out / "scores.json").read_text())
    assert written == json.loads(json.dumps(scored.summary))
    page = (scored.out / "score.html").read_text()
    shown = re.sub('base64,[^"]+|<style>.*?</style>', "", page, flags=re.DOTALL)  # of all pages, with colours of both
    text = json.dumps(written["files"]) + shown
    assert re.findall(r"\b(real|fake|label)\b", text) == []
    assert sorted(path.name for path in scored.out.iterdir()) == ["score.html", "scores.json", "scores.parquet"]


def test_the_page_stands_alone(
    run: Path, shoot: Shoot, tmp_path: Path, mark_detector: MarkDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are text, never markup; figures are those of the files with the highest scores."""
    paths = [shoot(f"{name}.mp4", film([LARGE, OTHER], 12, seed=n)) for n, name in enumerate(["<script>", "b\u202e"])]
    monkeypatch.setattr(page, "MOST_FIGURES", 1)
    scored = score(run, paths, tmp_path / "out", device="cpu")
    text = (tmp_path / "out/score.html").read_text()
    assert "default-src 'none'" in text
    assert re.findall(r"(?:src|href)=\"(?!#|data:image/png)", text) == []
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\u202e" not in text
    figures = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)">', text)
    assert len(figures) == 2  # of one file: a timeline, and faces
    for figure, _ in figures:
        Image.open(BytesIO(b64decode(figure)), formats=["PNG"]).verify()
    timeline, faces = (alt for _, alt in figures)
    highest = max(scored.summary["files"], key=lambda result: result["score"])
    for person in highest["persons"]:
        scores = [face["score"] for face in person["faces"]]
        assert f"person {person['track_id']} from {min(scores):.2f} to {max(scores):.2f} in 6 frames" in timeline
    [section] = [part for part in text.split("<h2")[1:] if "<img" in part]
    assert html.escape(printable(highest["file"])) in section
    every = [{**face, "person": person["track_id"]} for person in highest["persons"] for face in person["faces"]]
    every.sort(key=lambda face: -face["logit"])
    shown = [(str(face["frame_index"]), str(face["person"])) for face in every[:4]]
    assert re.findall(r"frame (\d+) .*? person (\d+)", faces) == shown
    assert "Grad-CAM" in faces


def test_crops_are_those_of_the_run_s_recipe(
    run: Path, shoot: Shoot, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    """Around faces where the training data had masks, since a video alone has none; anything else is said, too."""
    masked, path = tmp_path / "masked", shoot("a.mp4", film([LARGE], 8))
    shutil.copytree(run, masked)
    recipe = load_recipe("default", ["crop.size=96", "crop.around=mask", "crop.scale=2.6", "sample.frames=6"])
    change_config(masked, recipe=recipe.build_values(), crop={"scale": 2.6, "around": "mask"})
    scored = score(masked, path, tmp_path / "out", device="cpu")
    assert scored.summary["notes"] == [
        "The crops of these files are not those of the run's training data: around face instead of mask."
    ]
    crop = {"size": 96, "scale": 2.6, "align": "none", "around": "face", "steady": False}
    assert scored.summary["recipe"]["crop"] == crop
    own = score(run, path, tmp_path / "own", device="cpu")
    assert own.summary["notes"] == []
    assert np.abs(np.subtract(own.faces["logit"], scored.faces["logit"])).max() > 1e-6
    given = score(run, path, tmp_path / "given", recipe=recipe, frames=3, device="cpu")
    assert given.faces["logit"].to_pylist()[0] == pytest.approx(scored.faces["logit"][0].as_py(), abs=1e-6)
    assert given.faces["frame_index"].to_pylist() == [0, 4, 7]
    assert "scale 2.6 instead of 1.3" in given.summary["notes"][0]


def test_files_that_the_run_was_trained_on_are_told(
    run: Path, shoot: Shoot, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    known, new = (shoot(f"{n}.mp4", film([LARGE], 8, seed=n)) for n in range(2))
    evaluated(run, [known], 0, tmp_path)
    trained = tmp_path / "trained"
    shutil.copytree(run, trained)
    write_trained_on(trained, read_part(tmp_path / "data", "test").contents)
    [note] = score(trained, [new, known], tmp_path / "out", device="cpu").summary["notes"]
    assert note.startswith(f"The run was trained or validated on {known}: ")
    (trained / TRAINED_ON_FILE).unlink()
    [note] = score(trained, new, tmp_path / "out", device="cpu").summary["notes"]
    assert "keeps no list of its training videos" in note


def test_a_run_that_cannot_score_is_one_sentence(run: Path, shoot: Shoot, tmp_path: Path) -> None:
    path, older, seeds = shoot("a.mp4", b"-"), tmp_path / "older", tmp_path / "seeds"
    shutil.copytree(run, older)
    change_config(older, recipe=None)
    with pytest.raises(ConfigError, match=r"does not record how its training data was built.* pass --recipe"):
        score(older, path, tmp_path / "out")
    shutil.copytree(run, seeds / "seed-0")
    with pytest.raises(ConfigError, match=r"score with one of them, such as .*seed-0"):
        score(seeds, path, tmp_path / "out")
    with pytest.raises(ConfigError, match="two ways to sample"):
        score(run, path, tmp_path / "out", frames=2, every=2)
    with pytest.raises(ConfigError, match=r"sample"):
        score(run, path, tmp_path / "out", frames=0)
    with pytest.raises(ConfigError, match="not scored by 'most'"):
        score(run, path, tmp_path / "out", video_score="most")
    assert not (tmp_path / "out").exists()


def test_scores_do_not_depend_on_other_files(
    run: Path, shoot: Shoot, tmp_path: Path, mark_detector: MarkDetector
) -> None:
    """Not even of frames at random; a file that is given twice counts once, and files come in the given order."""
    paths = [shoot(f"{n}/same.mp4", film([LARGE], 30, seed=n)) for n in range(3)]
    recipe = load_recipe("default", ["crop.size=96", "sample.strategy=random", "sample.frames=4"])
    done: list[tuple[float, float]] = []
    how: dict[str, Any] = {"recipe": recipe, "device": "cpu"}
    both = score(run, [*paths, paths[0]], tmp_path / "both", **how, on_progress=lambda *told: done.append(told))
    other_way = score(run, paths[1::-1], tmp_path / "other", **how)
    assert len(both.faces) == 12
    one, other = (rows_of(scored, paths[1]) for scored in (both, other_way))
    assert [row["frame_index"] for row in one] == [row["frame_index"] for row in other]
    assert [row["logit"] for row in one] == pytest.approx([row["logit"] for row in other], abs=1e-6)
    assert [row["score"] for row in one] == pytest.approx(expit([row["logit"] for row in one]))
    for scored, order in ((both, paths), (other_way, paths[1::-1])):
        places = [(order.index(Path(row["file"])), row["frame_index"]) for row in scored.faces.to_pylist()]
        assert places == sorted(places)
    assert sum(part for part, _ in done) == pytest.approx(6)
    assert {whole for _, whole in done} == {6}
