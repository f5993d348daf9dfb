"""`verify` counts the frames that an original has in common with its fakes, as a build does."""

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from facemill.manifests.checks.facts_checks import check_frames_accounted

FRAMES = 64


@pytest.mark.parametrize(
    ("fake_frames", "alignment", "offset", "least", "content"),
    [
        (64, "in_step", 0, 64, None),
        (61, "in_step", None, 61, None),  # a fake without samples ends earlier
        (64, "shifted", -3, 61, None),  # one that begins late
        (64, "shifted", None, 0, None),  # by how much is not known without samples
        (20, "in_step", None, 64, None),  # of fakes below half of the length, a build takes no account
        (90, "in_step", None, 64, None),
        (64, "in_step", 0, 64, "frames"),
        (61, None, 0, 0, "frames"),  # images may be missing anywhere
        (64, None, -3, 0, "frames"),
    ],
)
def test_frames_in_common(
    fake_frames: int, alignment: str | None, offset: int | None, least: int, content: str | None
) -> None:
    facts = pa.table({"video_id": ["real", "fake"], "frames": [64, fake_frames], "alignment": [None, alignment]})
    strings = {"source_id": [None, "real"], "content": [content, content]}
    videos = pa.table({"video_id": ["real", "fake"]} | {k: pa.array(v, pa.string()) for k, v in strings.items()})
    failures = pa.table({"video_id": ["fake"], "frames": [FRAMES]})

    def problems(kept: int) -> list[str]:
        rows: list[dict[str, Any]] = [{"video_id": "real", "frame_index": number} for number in range(kept)]
        if offset is not None:
            rows.append({"video_id": "fake", "frame_index": 0, "source_id": "real", "pair_offset": offset})
        kinds = {
            "video_id": pa.string(),
            "source_id": pa.string(),
            "frame_index": pa.int64(),
            "pair_offset": pa.int64(),
        }
        recipe = SimpleNamespace(sample=SimpleNamespace(frames=FRAMES, strategy="uniform"))
        table = pa.Table.from_pylist(rows, pa.schema(kinds))
        given: Any = SimpleNamespace(table=table, recipe=recipe)
        return [str(problem) for problem in check_frames_accounted(given, videos, failures, facts)]

    assert problems(max(1, least)) == []
    assert [f"samples of {least - 1} frames" in line for line in problems(least - 1)] == [True] * (least > 0)
