import json
import sys
from itertools import combinations, pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from facemill import ConfigError
from facemill.pipeline.demo import make_corpus
from facemill.pipeline.demo.corpus import write_splits
from facemill.pipeline.demo.portrait import load_portrait
from facemill.pipeline.demo.subject import create_subject, displacement

pytestmark = pytest.mark.heavy

METHODS = ("Deepfakes", "FaceSwap")
FRAMES = 5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("demo") / "corpus", subjects=6, frames=FRAMES)


def read(path: Path) -> np.ndarray:
    """All frames, uint8 RGB [N, H, W, 3]."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def luma(frames: np.ndarray) -> np.ndarray:
    return frames @ np.array([0.299, 0.587, 0.114])


def small(root: Path, **options) -> Path:
    return make_corpus(root, **{"subjects": 6, "frames": 2, "size": (192, 128), **options})


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_tree_is_that_of_faceforensics(corpus):
    pairs = [("000", "001"), ("002", "003"), ("004", "005")]
    fakes = [f"{a}_{b}" for pair in pairs for a, b in (pair, pair[::-1])]
    expected = {"train.json", "val.json", "test.json"}
    for quality in ("c23", "c40"):
        expected |= {f"original_sequences/youtube/{quality}/videos/{i:03d}.mp4" for i in range(6)}
        expected |= {f"manipulated_sequences/{m}/{quality}/videos/{stem}.mp4" for m in METHODS for stem in fakes}
    expected |= {f"manipulated_sequences/{m}/masks/videos/{stem}.mp4" for m in METHODS for stem in fakes}
    assert set(contents(corpus)) == expected
    splits = [json.loads((corpus / f"{split}.json").read_text()) for split in ("train", "val", "test")]
    assert splits == [[["000", "001"]], [["002", "003"]], [["004", "005"]]]


def test_larger_corpora_have_two_thirds_and_more_in_train(tmp_path):
    write_splits(tmp_path, pairs=12)
    sizes = [len(json.loads((tmp_path / f"{split}.json").read_text())) for split in ("train", "val", "test")]
    assert sizes == [8, 2, 2]


def test_every_video_is_h264_of_equal_length_and_size(corpus):
    for path in corpus.rglob("*.mp4"):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.width, stream.height, stream.average_rate) == (
                "h264",
                640,
                360,
                25,
            )
            assert sum(1 for _ in container.decode(stream)) == FRAMES


@pytest.mark.parametrize("quality", ["c23", "c40"])
@pytest.mark.parametrize("method", METHODS)
def test_fakes_differ_inside_their_mask_and_only_there(corpus, method, quality):
    folder = corpus / "manipulated_sequences" / method
    kernel = np.ones((9, 9), np.uint8)
    for path in (folder / quality / "videos").iterdir():
        real = read(corpus / "original_sequences" / "youtube" / quality / "videos" / f"{path.stem[:3]}.mp4")
        difference = np.abs(luma(read(path)) - luma(real)) / 255
        masks = (luma(read(folder / "masks" / "videos" / path.name)) > 127).astype(np.uint8)
        for frame, mask in zip(difference, masks, strict=True):
            core, around = cv2.erode(mask, kernel) > 0, cv2.dilate(mask, kernel) == 0
            assert 0.01 < mask.mean() < 0.12
            assert frame[core].mean() > 0.17
            assert np.mean(frame[core] > 0.15) > 0.7
            assert np.mean(frame[around] > 0.15) < 0.005


def test_mtcnn_finds_the_face_where_the_mask_is(corpus):
    facenet = pytest.importorskip("facenet_pytorch")
    detector = facenet.MTCNN()
    for path in sorted((corpus / "manipulated_sequences" / "Deepfakes" / "c40" / "videos").iterdir()):
        mask = luma(read(corpus / "manipulated_sequences" / "Deepfakes" / "masks" / "videos" / path.name)[:1])[0] > 127
        y, x = (indices.mean() for indices in np.nonzero(mask))
        real = corpus / "original_sequences" / "youtube" / "c40" / "videos" / f"{path.stem[:3]}.mp4"
        for video in (real, path):
            boxes, scores = detector.detect(read(video)[0])
            assert scores[0] > (0.95 if video is real else 0.9), video  # builds look for faces in originals
            left, top, right, bottom = boxes[0]
            assert left < x < right, video
            assert top < y < bottom, video


def test_subjects_move(corpus):
    for path in (corpus / "original_sequences" / "youtube" / "c23" / "videos").iterdir():
        assert all(np.abs(later - former).mean() > 0.1 for former, later in pairwise(luma(read(path))))


def test_subjects_have_faces_of_their_own():
    people = [create_subject(np.random.default_rng([7, i]), 0, lit=False) for i in range(6)]
    for one, other in combinations(people, 2):
        similarity, _ = cv2.estimateAffinePartial2D(one.landmarks, other.landmarks)
        moved = one.landmarks @ similarity[:, :2].T + similarity[:, 2]
        assert np.linalg.norm(moved - other.landmarks, axis=1).mean() > 1.5  # of a face some 170 pixels wide
        assert np.abs(one.image - other.image).mean() > 0.03


def test_equal_arguments_give_equal_bytes(tmp_path):
    """Of videos long enough for B-frames; the other method and quality are made twice in the next test."""
    made = {"frames": 10, "methods": ("Deepfakes",), "qualities": ("c23",)}
    first, again = contents(small(tmp_path / "a", **made)), contents(small(tmp_path / "b", **made))
    assert first == again
    other = contents(small(tmp_path / "c", seed=1, **made))
    assert not [name for name in first if name.endswith(".mp4") and first[name] == other[name]]


def test_a_video_does_not_depend_on_what_else_is_made(tmp_path):
    alone = contents(small(tmp_path / "a", methods=("FaceSwap",), qualities=("c40",)))
    among = contents(small(tmp_path / "b", methods=("NeuralTextures", "FaceSwap"), subjects=8))
    videos = {name: data for name, data in alone.items() if name.endswith(".mp4")}
    assert videos
    assert videos == {name: among[name] for name in videos}


def test_an_interrupted_corpus_is_made_anew(tmp_path):
    partial = tmp_path / "corpus.partial"
    partial.mkdir()
    (partial / "left.mp4").touch()
    root = small(tmp_path / "corpus", methods=("Deepfakes",), qualities=("c23",))
    assert not partial.exists()
    assert not (root / "left.mp4").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subjects": 7}, "not 7"),
        ({"subjects": 4}, "not 4"),
        ({"frames": 0}, "at least one frame"),
        ({"size": (641, 360)}, "641x360"),
        ({"size": (360, 640)}, "360x640"),
        ({"qualities": ("c24",)}, "c24: choose from c23, c40"),
        ({"qualities": ()}, r"quality \(none\)"),
        ({"methods": ("deepfakes",)}, "choose from Deepfakes"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        make_corpus(tmp_path / "c", **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="not empty"):
        make_corpus(tmp_path)


def test_missing_scikit_image_is_one_sentence(tmp_path, monkeypatch):
    load_portrait.cache_clear()
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ConfigError, match=r"pip install 'facemill\[demo\]'"):
        make_corpus(tmp_path / "c")


def test_displacement_leads_from_the_moved_points_to_the_original_ones():
    rng = np.random.default_rng(0)
    original = rng.uniform(200, 600, (12, 2)).astype(np.float32)
    moved = (original + rng.uniform(-4, 4, original.shape)).astype(np.float32)
    field = displacement(moved, original)
    coarse = 800 / field.shape[0]
    at = (moved + 0.5) / coarse - 0.5
    shift = cv2.remap(field, at[None, :, 0], at[None, :, 1], cv2.INTER_LINEAR)[0]
    np.testing.assert_allclose(moved + shift, original, atol=0.5)
