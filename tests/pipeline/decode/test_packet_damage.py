"""The tests of packets and frames that find damage in HEVC and VP8, each alone."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from facemill.pipeline.decode.damage import second_decoder
from facemill.pipeline.decode.damage.blockiness import Blockiness
from facemill.pipeline.decode.damage.second_decoder import VP8Check
from facemill.pipeline.decode.damage.single_packet import APPENDED, hevc_bits_fit
from facemill.pipeline.decode.damage.tracker import DamageTracker
from facemill.pipeline.decode.nal import hevc_parameters, hevc_slices, length_size
from tests.pipeline.decode.test_damage import write

X265 = "keyint=24:min-keyint=24:scenecut=0:log-level=none:pools=2"
LIBVPX = {"g": "60", "b": "300k", "deadline": "realtime", "cpu-used": "8", "threads": "1"}


@pytest.fixture(scope="module")
def scene(media: Path) -> np.ndarray:
    """uint8 [24, 280, 232, 3]: people who move fast."""
    with av.open(str(media / "pairs/ghost_real.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24", width=232, height=280) for f in container.decode(video=0)]
    return np.stack(frames[:24])


def packets_of(path: Path) -> tuple[bytes | None, int, list[bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        extradata = stream.codec_context.extradata
        return extradata, length_size(extradata, at=21), [bytes(p) for p in container.demux(stream) if p.size]


def with_other_bit(packet: bytes, rng: random.Random) -> bytes:
    data = bytearray(packet)
    data[rng.randrange(len(data) // 4, len(data) * 3 // 4)] ^= 1 << rng.randrange(8)
    return bytes(data)


@pytest.mark.parametrize(("suffix", "params"), [(".mp4", ":wpp=1"), (".mp4", ":wpp=0"), (".ts", ":slices=3")])
def test_an_hevc_packet_is_tested_without_others(tmp_path: Path, scene: np.ndarray, suffix: str, params: str) -> None:
    """Also packets of predicted frames; parameter sets outside the extradata are those of a keyframe."""
    path = write(tmp_path / f"clip{suffix}", scene, "libx265", **{"x265-params": X265 + params})
    extradata, size_bytes, packets = packets_of(path)
    sets = hevc_parameters(packets[0], size_bytes)
    assert all(hevc_bits_fit(extradata, packet, size_bytes, sets) for packet in packets)
    rng = random.Random(0)
    found = [not hevc_bits_fit(extradata, with_other_bit(p, rng), size_bytes, sets) for p in packets if len(p) > 800]
    assert len(found) >= 6
    assert np.mean(found) >= 0.8


def test_hevc_slices_that_are_too_short_or_too_long(tmp_path: Path, scene: np.ndarray) -> None:
    path = write(tmp_path / "clip.mp4", scene, "libx265", **{"x265-params": X265 + ":wpp=0"})
    extradata, size_bytes, packets = packets_of(path)
    whole = packets[1]
    start, end = hevc_slices(whole, size_bytes)[0]

    def resized(data: bytes) -> bytes:
        return whole[: start - size_bytes] + len(data).to_bytes(size_bytes, "big") + data + whole[end:]

    assert not hevc_bits_fit(extradata, resized(whole[start : start + (end - start) * 2 // 3]), size_bytes)
    assert not hevc_bits_fit(extradata, resized(whole[start:end] + APPENDED * 2), size_bytes)


def judged(stream: Any, packets: list[av.Packet], others: Mapping[int, bytes] = {}) -> list[bool]:
    """Which packets, some of them replaced, agree."""
    check = VP8Check(stream)
    own = av.CodecContext.create("vp8", "r")
    own.thread_count = 1
    results = []
    for number, packet in enumerate(packets):
        used = av.Packet(others[number]) if number in others else packet
        results.append(check.agrees(used, own.decode(used)))
    return results


@pytest.mark.parametrize("seed", [0, 11, 19])  # of the last two, only the last bytes tell
def test_vp8_frames_depend_on_their_last_bytes(
    tmp_path: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(Blockiness, "look_at", lambda *given: (True, True))
    path = write(tmp_path / "clip.webm", scene, "libvpx", **LIBVPX)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert all(judged(stream, packets))
        rng = random.Random(seed)
        damaged = judged(stream, packets, {9: with_other_bit(bytes(packets[9]), rng)})
    assert damaged[:9] == [True] * 9
    assert not any(damaged[9:])


def test_inconspicuous_vp8_frames_are_tested_once_damage_was_found_and_only_near_their_keyframe(
    tmp_path: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each test decodes the frames since the keyframe again."""
    tested: set[bytes] = set()
    monkeypatch.setattr(Blockiness, "look_at", lambda *given: (False, False))
    monkeypatch.setattr(VP8Check, "_depends_on", lambda check, data, end, frame: not tested.add(data))
    monkeypatch.setattr(second_decoder, "LONGEST", 5)
    with av.open(str(write(tmp_path / "clip.webm", scene, "libvpx", **{**LIBVPX, "g": "8"}))) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert [number for number, packet in enumerate(packets) if packet.is_keyframe] == [0, 8, 16]
        assert all(judged(stream, packets))
        assert tested == set()
        short = bytes(packets[3])[: packets[3].size * 2 // 3]
        assert judged(stream, packets, {3: short}) == [True] * 3 + [False] * 5 + [True] * 16
    found = [number for number, packet in enumerate(packets) if bytes(packet) in tested]
    assert found == [*range(9, 13), *range(17, 21)]


def shown(image: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(image, format="gray")


def test_blocks_and_changes_are_conspicuous() -> None:
    rng = np.random.default_rng(0)
    still = [
        np.clip(np.full((160, 160), 120) + rng.normal(0, 3, (160, 160)), 0, 255).astype(np.uint8) for _ in range(8)
    ]
    blocky = still[-1].copy()
    blocky[32:96] += np.repeat(np.tile(np.array([0, 60], np.uint8), 4), 8)[:, None]
    looks = Blockiness()
    assert [looks.look_at(shown(image)) for image in still] == [(False, False)] * 8
    assert looks.look_at(shown(blocky)) == (True, True)
    looks = Blockiness()
    assert [looks.look_at(shown(image)) for image in still] == [(False, False)] * 8
    assert looks.look_at(shown(still[-1] + 40)) == (False, True)


def test_a_packet_found_damaged_late_costs_the_rest_of_its_group() -> None:
    tracker = DamageTracker(keyframes={0, 4}, disposable={2})
    classified = {}
    for index in range(6):
        tracker.sent(index)
        tracker.arrived(index, clean=True)
        classified.update(tracker.settle(0))
        if index == 2:
            tracker.mark_damaged(1)
    assert classified == {0: True, 1: True, 2: True, 3: False, 4: True, 5: True}
    tracker = DamageTracker(keyframes={0}, disposable={1})
    for index in range(3):
        tracker.sent(index)
        tracker.arrived(index, clean=True)
        assert dict(tracker.settle(0)) == {index: True}
        if index == 1:
            tracker.mark_damaged(1)
