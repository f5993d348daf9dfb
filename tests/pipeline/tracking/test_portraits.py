from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

from facemill.detectors import installed
from facemill.errors import DetectorError
from facemill.pipeline.tracking import embedding
from facemill.pipeline.tracking.portraits import MOST, Album, Portrait, distances
from tests.composed.people import Scene, backdrop, cast, stand


@pytest.fixture
def no_network() -> None:
    """The network is loaded anew."""
    embedding._network.cache_clear()


def test_faces_of_one_person_are_closer_than_those_of_two(media: Path) -> None:
    """People of clips, in several poses and at two sizes."""
    people: dict[str, list[Portrait]] = {}
    for person in cast(media)[:4]:
        people[person.name] = []
        for side, index in ((60, 0), (110, 9), (60, 18)):
            scene = Scene([person], [stand(320, 180, side)], 20, backdrop(media, (360, 640)))
            [face] = scene.faces(index).values()
            people[person.name].append(Portrait.of(scene.frame(index), face))
    for name, portraits in people.items():
        assert distances(portraits, portraits).max() < 0.45
        assert all(distances(portraits, other).min() > 0.5 for them, other in people.items() if them != name)


def test_an_embedding_does_not_depend_on_its_company_and_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chips = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), np.uint8)
    together = embedding.embed(chips)
    portrait = Portrait(chips[1])
    assert together.shape == (3, 128)
    assert portrait.embedding.tobytes() == together[1].tobytes()
    monkeypatch.setattr(embedding, "embed", lambda chips: pytest.fail("embedded again"))
    assert portrait.embedding.tobytes() == together[1].tobytes()


def test_an_album_is_spread_evenly_and_bounded() -> None:
    album = Album()
    for number in range(40):
        if album.wants():
            album.add(Portrait(np.array([number], np.float32)))
    numbers = [float(portrait.embedding[0]) for portrait in album.portraits]
    assert 3 <= len(numbers) <= MOST
    assert len(set(np.diff(numbers))) == 1
    assert numbers[-1] >= 30


@pytest.mark.parametrize(
    ("state", "message"), [("absent", "is missing"), ("unreadable", "cannot be read"), ("damaged", "are damaged")]
)
def test_missing_weights_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None, state: str, message: str
) -> None:
    spec = ModuleSpec("face_recognition_models", None)
    spec.submodule_search_locations = [str(tmp_path)]
    if state == "damaged":
        (tmp_path / embedding.FILE).parent.mkdir()
        (tmp_path / embedding.FILE).write_bytes(b"not weights")
    monkeypatch.setattr(installed, "find_spec", lambda name: None if state == "absent" else spec)
    with pytest.raises(DetectorError, match=message):
        embedding.embed(np.zeros((1, 150, 150, 3), np.uint8))
