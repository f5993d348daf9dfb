"""Damage that FFmpeg's decoders do not report: every frame is right or withheld; intact files lose no frame."""

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from facemill.pipeline.decode import VideoReader
from facemill.pipeline.decode.damage import hevc_check
from facemill.pipeline.decode.damage.blockiness import Blockiness
from facemill.pipeline.decode.damage.second_decoder import decoder_for
from facemill.pipeline.decode.frame import Frame
from facemill.pipeline.decode.nal import hevc_parameters, hevc_slices, nal_units
from facemill.pipeline.decode.orientation import UPRIGHT, Orientation
from facemill.pipeline.decode.source import Deadline, is_conforming
from tests.pipeline.decode.test_damage import PYRAMID, differing, pictures_of, remux, write

pytestmark = pytest.mark.heavy

X265 = "keyint=24:min-keyint=24:scenecut=0:log-level=none:pools=1"
LIBVPX = {"g": "24", "b": "100k", "deadline": "realtime", "cpu-used": "8", "threads": "1"}
KINDS = {
    "hevc.mp4": ("libx265", {"preset": "fast", "x265-params": X265}),  # open groups of pictures
    "hevc.ts": ("libx265", {"preset": "fast", "x265-params": X265 + ":open-gop=0"}),
    "vp8.webm": ("libvpx", LIBVPX),
    "vp9.webm": ("libvpx-vp9", LIBVPX),
    "vp9.mp4": ("libvpx-vp9", LIBVPX),
    "av1.mkv": ("libsvtav1", {"g": "24", "crf": "35", "preset": "10"}),
}


@pytest.fixture(scope="module")
def intact(scene: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("intact")

    def path_of(name: str) -> Path:
        codec, options = KINDS[name]
        return folder / name if (folder / name).exists() else write(folder / name, scene, codec, **options)

    return path_of


def changed(old: av.Packet, data: bytes) -> av.Packet:
    new = av.Packet(data)
    new.pts, new.dts, new.time_base, new.is_keyframe = old.pts, old.dts, old.time_base, old.is_keyframe
    return new


def flipped(packet: av.Packet, rng: random.Random) -> av.Packet:
    """Two bits of a packet are others, behind its headers."""
    data = bytearray(bytes(packet))
    for _ in range(2):
        data[rng.randrange(len(data) // 4, len(data) * 3 // 4)] ^= 1 << rng.randrange(8)
    return changed(packet, bytes(data))


def shortened(packet: av.Packet, rng: random.Random) -> av.Packet:
    """The last third of a packet is missing."""
    data = bytes(packet)
    return changed(packet, data[: len(data) * 2 // 3])


def blanked(packet: av.Packet, rng: random.Random) -> av.Packet:
    """A quarter of a packet is zeros."""
    data = bytes(packet)
    start, length = len(data) // 3, len(data) // 4
    assert length >= 32
    return changed(packet, data[:start] + bytes(length) + data[start + length :])


def zeros_from_here_on(packet: av.Packet, rng: random.Random) -> av.Packet:
    """The last third of a packet is zeros, as where a download has stopped in a file of full size."""
    data = bytes(packet)
    kept = len(data) * 2 // 3
    assert len(data) - kept >= 32
    return changed(packet, data[:kept] + bytes(len(data) - kept))


def damage(
    path: Path, to: Path, number: Callable[[list[av.Packet]], int], how: Callable[..., av.Packet], seed: int = 0
) -> Path:
    """The file with one packet damaged."""

    def change(packets: list[av.Packet]) -> list[av.Packet]:
        at = number(packets)
        return [*packets[:at], how(packets[at], random.Random(seed)), *packets[at + 1 :]]

    return remux(path, to, change)


def second_keyframe(packets: list[av.Packet]) -> int:
    return [number for number, packet in enumerate(packets) if packet.is_keyframe][1]


def large_one_in_between(packets: list[av.Packet]) -> int:
    return max(range(2, 20), key=lambda number: packets[number].size)


def read(path: Path, threads: int = 1, chosen: list[int] | None = None) -> list[Frame]:
    with VideoReader(path, threads=threads) as reader:
        return list(reader.read(range(reader.info.frame_count) if chosen is None else chosen))


@pytest.mark.parametrize("name", KINDS)
def test_a_keyframe_with_other_bits_costs_its_group_of_pictures(
    tmp_path: Path, intact: Callable[[str], Path], name: str
) -> None:
    path = intact(name)
    truth = pictures_of(path)
    assert differing(path, truth) == (len(truth), [])
    for seed in range(3):
        damaged = damage(path, tmp_path / f"{seed}{path.suffix}", second_keyframe, flipped, seed)
        given, wrong = differing(damaged, truth)
        assert wrong == []
        assert given >= 30
        assert all(frame.image is not None for frame in read(damaged)[:20])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("vp8.webm", shortened),
        ("vp9.webm", shortened),
        ("vp9.webm", flipped),
        ("vp9.mp4", flipped),
        ("av1.mkv", flipped),
    ],
)
def test_a_damaged_predicted_picture_costs_the_rest_of_its_group(
    tmp_path: Path, intact: Callable[[str], Path], name: str, how: Callable[..., av.Packet]
) -> None:
    path = intact(name)
    truth = pictures_of(path)
    for seed in range(3):
        damaged = damage(path, tmp_path / f"{seed}{path.suffix}", large_one_in_between, how, seed)
        given, wrong = differing(damaged, truth)
        assert wrong == []
        assert 36 <= given < len(truth)


def test_an_hevc_keyframe_that_lacks_its_end_is_withheld(tmp_path: Path, intact: Callable[[str], Path]) -> None:
    path = intact("hevc.ts")  # with start codes, so that no length tells
    given, wrong = differing(damage(path, tmp_path / "short.ts", second_keyframe, shortened), pictures_of(path))
    assert wrong == []
    assert given == 36


@pytest.mark.parametrize("name", ["vp8.webm", "vp9.webm", "av1.mkv"])
@pytest.mark.parametrize("number", [second_keyframe, large_one_in_between])
def test_a_packet_that_ends_in_zeros_is_damaged(
    tmp_path: Path, intact: Callable[[str], Path], name: str, number: Callable[..., int]
) -> None:
    path = intact(name)
    given, wrong = differing(damage(path, tmp_path / path.name, number, zeros_from_here_on), pictures_of(path))
    assert wrong == []
    assert given >= 30


def test_an_av1_file_with_a_damaged_start_is_not_taken_for_one_that_breaks_the_standard(
    tmp_path: Path, intact: Callable[[str], Path]
) -> None:
    path = intact("av1.mkv")
    for seed in range(3):
        damaged = damage(path, tmp_path / f"{seed}.mkv", lambda packets: 0, flipped, seed)
        given, wrong = differing(damaged, pictures_of(path))
        assert (given, wrong) == (36, [])


def test_a_download_that_stops_in_the_first_packet_gives_no_frame(
    tmp_path: Path, intact: Callable[[str], Path]
) -> None:
    path = intact("av1.mkv")
    stopped = remux(path, tmp_path / "a.mkv", lambda packets: [zeros_from_here_on(packets[0], random.Random(0))])
    assert differing(stopped, pictures_of(path)) == (0, [])


@pytest.mark.parametrize("number", [second_keyframe, large_one_in_between])
def test_damaged_hevc_without_times_is_withheld(
    tmp_path: Path, intact: Callable[[str], Path], number: Callable[..., int]
) -> None:
    """Frames of a raw stream are counted; none is given until a keyframe that is certainly another packet's."""
    path = remux(intact("hevc.ts"), tmp_path / "clip.hevc", list)
    truth = dict(enumerate(pictures_of(intact("hevc.ts")).values()))
    assert differing(path, truth) == (len(truth), [])
    withheld = 0
    for seed in range(3):
        timed = damage(intact("hevc.ts"), tmp_path / f"{seed}.ts", number, flipped, seed)
        given, wrong = differing(remux(timed, tmp_path / f"{seed}.hevc", list), truth)
        assert wrong == []
        assert given <= differing(timed, truth)[0]
        withheld += len(truth) - given
    assert withheld > 0


@pytest.mark.parametrize("name", ["hevc.mp4", "vp8.webm", "vp9.webm", "h264"])
@pytest.mark.parametrize("number", [second_keyframe, large_one_in_between])
def test_zeros_in_a_packet_are_damage(
    tmp_path: Path, scene: np.ndarray, intact: Callable[[str], Path], name: str, number: Callable[..., int]
) -> None:
    h264 = {"x264-params": PYRAMID + ":open-gop=1", "crf": "12"}
    path = write(tmp_path / "clip.mkv", scene, "libx264", **h264) if name == "h264" else intact(name)
    damaged = damage(path, tmp_path / f"damaged{path.suffix}", number, blanked)
    given, wrong = differing(damaged, pictures_of(path))
    assert wrong == []
    assert given >= 20


@pytest.mark.parametrize("name", KINDS)
def test_hidden_damage_is_the_same_for_any_threads_and_frames(
    tmp_path: Path, intact: Callable[[str], Path], name: str
) -> None:
    path = intact(name)
    some = [3, 21, 25, 34, 42]
    for seed, number in enumerate((second_keyframe, large_one_in_between)):
        damaged = damage(path, tmp_path / f"{seed}{path.suffix}", number, flipped, seed)
        every = [frame.image for frame in read(damaged)]
        for frames in (read(damaged), read(damaged, 2), read(damaged, 1, some), read(damaged, 2, some)):
            for frame in frames:
                assert np.array_equal(frame.image, every[frame.index]), frame.index


@pytest.mark.parametrize("name", ["vp9.webm", "vp8.webm", "av1.mkv"])
def test_an_intact_file_gives_ffmpegs_pixels(intact: Callable[[str], Path], name: str) -> None:
    with av.open(str(intact(name))) as container:
        own = [picture.to_ndarray(format="rgb24", threads=1) for picture in container.decode(video=0)]
    assert all(np.array_equal(frame.image, image) for frame, image in zip(read(intact(name)), own, strict=True))


@pytest.mark.parametrize(
    ("name", "layout", "orientation", "libvpx"),
    [
        ("vp9.webm", "yuv420p", UPRIGHT, True),
        ("vp9.webm", "yuv420p", Orientation(flip_y=True), False),  # libvpx's pictures say nothing of it
        ("vp9.webm", "yuv420p10le", UPRIGHT, False),  # PyAV's libvpx has 8 bits
        ("hevc.mp4", "yuv420p", UPRIGHT, False),
    ],
)
def test_libvpx_decodes_what_it_can(
    intact: Callable[[str], Path], name: str, layout: str, orientation: Orientation, libvpx: bool
) -> None:
    probed = SimpleNamespace(info=SimpleNamespace(pix_fmt=layout), orientation=orientation)
    with av.open(str(intact(name))) as container:
        stream = container.streams.video[0]
        assert (decoder_for(stream, probed) is not stream.codec_context) == libvpx


def fading(images: np.ndarray) -> np.ndarray:
    return (images * np.linspace(0, 1, len(images))[:, None, None, None]).astype(np.uint8)


def barred(images: np.ndarray) -> np.ndarray:
    """Black from the middle down."""
    below = images.copy()
    below[:, images.shape[1] // 2 :] = 0
    return below


def drawn(images: np.ndarray) -> np.ndarray:
    """A disc that moves over one colour."""
    plain = np.full_like(images, (30, 120, 200))
    for number, image in enumerate(plain):
        cv2.circle(image, (30 + 4 * number, 60), 30, (250, 20, 20), -1)
    return plain


@pytest.mark.parametrize("params", ["sao=1", "slices=3", "hash=1", "wpp=0:aq-mode=0"])
@pytest.mark.parametrize("change", [np.array, fading, barred, drawn, np.zeros_like])
def test_intact_hevc_packets_pass(
    tmp_path: Path, media: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., np.ndarray], params: str
) -> None:
    """Though each packet is tested, and most of its picture may be flat."""
    monkeypatch.setattr(Blockiness, "look_at", lambda *given: (True, True))
    with av.open(str(media / "videos/fsgan_conan.mp4")) as container:
        pictures = [next(container.decode(video=0)).to_ndarray(format="rgb24", width=320, height=240) for _ in range(8)]
    options = {"crf": "30", "preset": "ultrafast", "x265-params": f"keyint=3:log-level=none:pools=1:{params}"}
    path = write(tmp_path / "clip.mp4", change(np.stack(pictures)), "libx265", **options)
    for file in (path, remux(path, tmp_path / "clip.ts", list)):  # with lengths, and with start codes
        found = read(file)
        assert len(found) == len(pictures)
        assert all(frame.image is not None for frame in found)


def test_few_packets_of_an_intact_file_are_tested(
    scene: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested: list[int] = []
    fit = hevc_check.hevc_bits_fit
    monkeypatch.setattr(hevc_check, "hevc_bits_fit", lambda *given: tested.append(len(given[1])) or fit(*given))
    options = {"preset": "fast", "x265-params": "scenecut=0:log-level=none:pools=1"}
    moving = np.concatenate([scene, scene[::-1]])
    read(write(tmp_path / "moving.mp4", moving, "libx265", **options))
    of_moving = len(tested)
    assert 1 <= of_moving <= len(moving) // 8
    read(write(tmp_path / "cut.mp4", np.concatenate([scene, 255 - scene[::-1]]), "libx265", **options))
    assert of_moving < len(tested) - of_moving <= len(moving) // 8


def test_nal_units_end_before_zeros() -> None:
    first, second = bytes([2 << 1, 1, 7, 9]), bytes([40 << 1, 1, 5])  # a slice, and a remark
    annex_b = b"\0\0\1" + first + b"\0\0\0\1" + second + bytes(5)
    assert nal_units(annex_b, 0) == [(3, 7), (11, 14)]
    assert hevc_slices(annex_b, 0) == [(3, 7)]
    sets = b"\0\0\0\1" + bytes([33 << 1, 1, 8])
    assert hevc_parameters(sets + annex_b, 0) == sets[1:]
    assert hevc_parameters((3).to_bytes(4, "big") + sets[4:], 4) == (3).to_bytes(4, "big") + sets[4:]
    sized = (6).to_bytes(4, "big") + first + bytes(2) + (3).to_bytes(4, "big") + second
    assert nal_units(sized, 4) == [(4, 8), (14, 17)]
    assert hevc_slices((3).to_bytes(4, "big") + second, 4) == []


def test_an_av1_file_that_does_not_keep_to_the_standard_is_read(tmp_path: Path, intact: Callable[[str], Path]) -> None:
    """The bits after the data of each picture are not those that the standard wants."""
    path = intact("av1.mkv")

    def pad(packets: list[av.Packet]) -> list[av.Packet]:
        return [changed(packet, bytes(packet)[:-1] + bytes([bytes(packet)[-1] | 1])) for packet in packets]

    other = remux(path, tmp_path / "other.mkv", pad)
    deadline = Deadline(path, 10)
    assert (is_conforming(path, deadline), is_conforming(other, deadline)) == (True, False)
    truth = pictures_of(path)
    assert differing(other, truth) == (len(truth), [])
