from pathlib import Path

import numpy as np
import pytest

from facemill.pipeline.tracking.cuts import _details, _zooms, find_cuts
from tests.composed.shots import camera, dissolve, fade, flash, photo, shot

CONTINUOUS = [
    "videos/fsgan_conan.mp4",
    "videos/lp_d18.mp4",
    "videos/lp_s29.mp4",
    "videos/moviepy_chaplin.mp4",
    "pairs/ghost_real.mp4",
]


@pytest.fixture(scope="module")
def shots(media: Path) -> dict[str, np.ndarray]:
    """Sixty frames of each of five continuous clips, by name."""
    return {Path(name).stem: shot(media, name, 60) for name in CONTINUOUS}


@pytest.mark.heavy
def test_continuous_clips_have_no_cut(shots: dict[str, np.ndarray], media: Path) -> None:
    for frames in shots.values():
        assert find_cuts(frames) == []
    assert find_cuts(shot(media, "videos/moviepy_chaplin.mp4", 241)) == []
    assert find_cuts(shot(media, "videos/fsgan_shinzo.mp4", 150)) == []


def test_a_real_film_has_its_dissolve_and_its_cut(media: Path) -> None:
    dissolved, cut = find_cuts(shot(media, "videos/tc_nasa_13013.mp4", 325))
    assert 125 <= dissolved <= 155
    assert cut == 202


@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_every_join_of_two_shots_is_found_at_its_frame(shots: dict[str, np.ndarray], gain: float) -> None:
    order = [0, 1, 2, 3, 4, 0, 2, 4, 1, 3, 0]  # each clip meets every other one
    lengths = [12, 25, 40, 9, 30, 17, 22, 8, 50, 14, 33]
    names = list(shots)
    parts = [shots[names[i]][:length] for i, length in zip(order, lengths, strict=True)]
    film = (np.concatenate(parts) * gain).astype(np.uint8)
    assert find_cuts(film) == np.cumsum(lengths)[:-1].tolist()


def test_a_cut_between_two_faces_framed_alike_is_found(media: Path) -> None:
    """Eyes and mouths lie at the same place: parts of two portraits correlate by 0.65."""
    first, second = shot(media, "videos/lp_d18.mp4", 60), shot(media, "hostile/bitrot_lp_d10.mp4", 60)
    for film in (np.concatenate([first[:30], second]), np.concatenate([second[:30], first])):
        assert find_cuts(film) == [30]


def test_a_shot_of_which_a_later_frame_happens_to_match_is_another_one(media: Path) -> None:
    first, second = shot(media, "hostile/bitrot_lp_d10.mp4", 50), shot(media, "pairs/ghost_real.mp4", 50)
    assert find_cuts(np.concatenate([first[40:], second[30:]])) == [10]


@pytest.mark.parametrize("length", [8, 12, 20, 30, 44])
def test_a_dissolve_is_a_cut_somewhere_inside_it(shots: dict[str, np.ndarray], length: int) -> None:
    names = list(shots)
    for first, second in [(0, 1), (1, 3), (3, 2), (2, 4), (4, 0)]:
        film = dissolve(shots[names[first]], shots[names[second]], length)
        [found] = find_cuts(film)
        assert 60 - length <= found <= 60, (names[first], names[second])


def test_a_fade_that_leads_back_is_no_cut_and_one_to_another_shot_is(shots: dict[str, np.ndarray]) -> None:
    for half in (5, 12, 20):
        assert find_cuts(fade(shots["fsgan_conan"], middle=30, half=half)) == []
    film = np.concatenate([shots["fsgan_conan"], shots["lp_s29"]])
    [found] = find_cuts(fade(film, middle=60, half=15))
    assert 55 <= found <= 65


@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.parametrize("strength", [60.0, 150.0, 300.0])
def test_a_flash_is_no_cut(shots: dict[str, np.ndarray], length: int, strength: float) -> None:
    for frames in shots.values():
        assert find_cuts(flash(flash(frames, 20, length, strength), 40, length, strength)) == []


def test_a_cut_in_a_flash_is_found(shots: dict[str, np.ndarray]) -> None:
    film = np.concatenate([shots["lp_s29"], shots["lp_d18"]])
    [found] = find_cuts(flash(film, 59, 2, 200.0))
    assert 59 <= found <= 61


@pytest.mark.parametrize("name", ["dlib_2008_001322.jpg", "dlib_2007_007763.jpg", "dlib_2009_004587.jpg"])
@pytest.mark.parametrize("speed", [2.0, 12.0, 40.0])
def test_pans_zooms_and_shaking_are_no_cuts(media: Path, name: str, speed: float) -> None:
    """`speed`: pixels a frame of a window that is 200 pixels wide; the fastest pan crosses it in five frames."""
    image = photo(media, name)
    time = np.arange(60)
    x = 110 + np.abs((time * speed + 150) % 600 - 300)
    y = np.full(60, 150.0)
    assert find_cuts(camera(image, np.stack([x, y], axis=1), np.full(60, 200.0), blur=speed / 4)) == []
    rng = np.random.default_rng(0)
    shaking = np.stack([220 + rng.normal(0, speed / 3, 60), 150 + rng.normal(0, speed / 3, 60)], axis=1)
    assert find_cuts(camera(image, shaking, np.full(60, 200.0))) == []
    zoom = 240 / (1 + 0.002 * speed) ** time
    assert find_cuts(camera(image, np.full((60, 2), (220.0, 150.0)), np.maximum(zoom, 80))) == []


def test_a_scene_is_known_again_at_twice_its_size(media: Path) -> None:
    names = ("dlib_2008_001322.jpg", "dlib_2007_007763.jpg", "dlib_2009_004587.jpg")
    ends = [camera(photo(media, name), np.full((2, 2), (220.0, 150.0)), np.array([240.0, 120.0])) for name in names]
    assert all(_zooms(*pair) for pair in ends)
    assert not any(_zooms(one, two) for (one, _), (_, two) in zip(ends, ends[1:] + ends[:1], strict=True))


def test_a_cut_between_two_pans_is_found(media: Path) -> None:
    x = 110 + 8.0 * np.arange(30)
    pans = [
        camera(photo(media, name), np.stack([x, np.full(30, 150.0)], axis=1), np.full(30, 200.0), blur=3)
        for name in ("dlib_2008_001322.jpg", "dlib_2007_007763.jpg")
    ]
    assert find_cuts(np.concatenate(pans)) == [30]


def test_nothing_to_see_and_nothing_at_all() -> None:
    assert find_cuts(np.zeros((0, 54, 96), np.uint8)) == []
    assert find_cuts(np.zeros((1, 54, 96), np.uint8)) == []
    assert find_cuts(np.zeros((80, 54, 96), np.uint8)) == []
    noise = np.random.default_rng(0).integers(0, 3, (80, 54, 96)).astype(np.uint8)
    assert find_cuts(noise) == []


@pytest.mark.parametrize(("contrast", "deviation"), [(1.0, 20.0), (0.1, 20.0), (0.005, 8.0)])
def test_details_have_one_contrast_unless_they_are_noise(contrast: float, deviation: float) -> None:
    """`PLAIN` and the search for parts mean gray levels of this contrast: 20, and less from fine structure below 1."""
    image = np.random.default_rng(0).normal(128, 300 * contrast, (54, 96)).clip(0, 255).astype(np.uint8)
    assert float(_details(image).std()) == pytest.approx(deviation, rel=0.01 if deviation == 20 else 0.3)
    brighter = np.clip(image.astype(int) + 20, 0, 255).astype(np.uint8) if contrast < 0.1 else image
    np.testing.assert_allclose(_details(brighter), _details(image), atol=0.01)
