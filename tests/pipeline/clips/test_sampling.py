import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemill.pipeline.clips.sampling import expected_frames, sample_frames
from facemill.pipeline.config.sections import SampleSettings


def sample(length: int, group_id: str = "a", seed: int = 0, **settings: object) -> list[int]:
    return sample_frames(SampleSettings.model_validate(settings), length, seed=seed, group_id=group_id).tolist()


def test_uniform_frames_reach_from_the_first_to_the_last() -> None:
    assert sample(11, frames=3) == [0, 5, 10]
    chosen = sample(300, frames=32)
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 299, 32)
    assert set(np.diff(chosen)) <= {9, 10}  # 299 / 31 = 9.65: evenly spaced, not the first 32


def test_stride_and_all() -> None:
    assert sample(11, strategy="stride", every=5) == [0, 5, 10]
    assert sample(4, strategy="all") == [0, 1, 2, 3]


def test_random_depends_on_seed_and_video_only() -> None:
    chosen = sample(1000, strategy="random", frames=50)
    assert chosen == sample(1000, strategy="random", frames=50)
    assert chosen != sample(1000, strategy="random", frames=50, group_id="b")
    assert chosen != sample(1000, strategy="random", frames=50, seed=1)


def test_runs_are_of_consecutive_frames_all_over_the_video() -> None:
    four = sample(400, strategy="runs")
    assert four == [*range(16), *range(128, 144), *range(256, 272), *range(384, 400)]
    assert sample(101, strategy="runs", frames=6, runs=3) == [0, 1, 50, 51, 99, 100]
    assert sample(100, strategy="runs", frames=10, runs=1) == list(range(45, 55))
    assert sample(10, strategy="runs", frames=12, runs=3) == list(range(10))


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 200))
def test_runs_keep_their_length_and_never_overlap(runs: int, size: int, length: int) -> None:
    chosen = sample(length, strategy="runs", frames=runs * size, runs=runs)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(length, runs * size)
    if length > runs * size:
        for start in range(0, runs * size, size):
            assert np.ptp(chosen[start : start + size]) == size - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "runs", "frames": 10, "runs": 4}, "multiple of 'runs'"),
        ({"strategy": "runs", "every": 2}, "'runs' takes 'frames' and 'runs'"),
        ({"strategy": "uniform", "runs": 2}, "'runs' takes 'frames' and 'runs'"),
        ({"strategy": "all", "runs": 2}, "'all' takes none"),
    ],
)
def test_options_of_another_strategy_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SampleSettings.model_validate(options)


settings = st.one_of(
    st.builds(lambda n, s: {"strategy": s, "frames": n}, st.integers(1, 60), st.sampled_from(["uniform", "random"])),
    st.builds(lambda k: {"strategy": "stride", "every": k}, st.integers(1, 60)),
    st.just({"strategy": "all"}),
)


@given(settings, st.integers(0, 500))
def test_indices_ascend_without_repeats_inside_the_video(options: dict[str, object], length: int) -> None:
    chosen = sample(length, **options)
    assert chosen == sorted(set(chosen))
    assert all(0 <= index < length for index in chosen)
    if "frames" in options:
        assert len(chosen) == min(length, options["frames"])


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ({"frames": 7}, 7),
        ({"strategy": "runs", "frames": 8}, 8),
        ({"strategy": "stride", "every": 5}, 80),
        ({"strategy": "all"}, 400),
    ],
)
def test_expected_frames(options: dict[str, object], frames: int) -> None:
    assert expected_frames(SampleSettings.model_validate(options)) == frames
