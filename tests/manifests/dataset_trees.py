"""Trees of empty files with each dataset's real names: one maker a registered dataset.

Every tree has several families of subjects, and one video that follows no rule: `stray.mp4`.
"""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

FFPP_PAIRS = {"train": [["000", "003"]], "val": [["720", "672"]], "test": [["953", "974"]]}
FFPP_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
MASKED = FFPP_METHODS[:4]

DFD_SCENES = ("exit_phone_room", "walking_outside_cafe_disgusted")
DFD_SWAPS = [("01", "02"), ("02", "01"), ("03", "04"), ("04", "03"), ("05", "06"), ("06", "05"), ("02", "03")]

CELEB_TEST = ["Celeb-real/id0_0000.mp4", "Celeb-real/id1_0000.mp4", "YouTube-real/00170.mp4"]
CELEB_TEST_FAKES = ["Celeb-synthesis/id0_id1_0000.mp4", "Celeb-synthesis/id1_id0_0000.mp4"]

DFDCP_ROWS = {
    "original_videos/1229756/1229756_A_001.mp4": ("real", "train"),
    "original_videos/1072996/1072996_B_002.mp4": ("real", "train"),
    "original_videos/2222222/2222222_C_003.mp4": ("real", "train"),
    "original_videos/643012/643012_A_000.mp4": ("real", "test"),
    "method_A/1229756/1229756_A/1072996_1229756_A_001.mp4": ("fake", "train"),
    "method_B/1229756/1229756_A/1072996_1229756_A_001.mp4": ("fake", "train"),
    "method_A/643012/643012_A/7777777_643012_A_000.mp4": ("fake", "test"),
}
"""Label and set by path."""


def touch(root: Path, paths: Iterable[str]) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_archive(path: Path, members: Mapping[str, bytes], mode: str = "w:gz") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_zip(path: Path, members: Mapping[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def ffpp_videos(quality: str = "c23") -> list[str]:
    """Paths of reals and fakes of `FFPP_PAIRS`, without masks."""
    pairs = [pair for pairs in FFPP_PAIRS.values() for pair in pairs]
    reals = [f"original_sequences/youtube/{quality}/videos/{name}.mp4" for pair in pairs for name in pair]
    stems = [f"{a}_{b}" for pair in pairs for a, b in (pair, pair[::-1])]
    return reals + [f"manipulated_sequences/{m}/{quality}/videos/{stem}.mp4" for m in FFPP_METHODS for stem in stems]


def write_splits(folder: Path, pairs: dict[str, list[list[str]]] = FFPP_PAIRS) -> None:
    for split, listed in pairs.items():
        write_json(folder / f"{split}.json", listed)


def ffpp(root: Path) -> str:
    touch(root, ffpp_videos())
    touch(root, [f"manipulated_sequences/{method}/masks/videos/000_003.mp4" for method in MASKED])
    touch(root, ["README.md", "stray.mp4"])
    write_splits(root / "splits")
    return str(root)


def dfd_videos(quality: str = "c23") -> list[str]:
    actors = sorted({actor for swap in DFD_SWAPS for actor in swap})
    scene, other_scene = DFD_SCENES
    return [
        *(f"original_sequences/actors/{quality}/videos/{actor}__{scene}.mp4" for actor in actors),
        f"original_sequences/actors/{quality}/videos/02__{other_scene}.mp4",
        *(
            f"manipulated_sequences/DeepFakeDetection/{quality}/videos/{a}_{b}__{scene}__YVGY8L{a}.mp4"
            for a, b in DFD_SWAPS
        ),
    ]


def dfd(root: Path) -> str:
    touch(root, dfd_videos())
    touch(root, ["manipulated_sequences/DeepFakeDetection/masks/videos/01_02__exit_phone_room__YVGY8L01.mp4"])
    touch(root, ["stray.mp4"])
    return str(root)


def celebdf_videos() -> list[str]:
    """Celebrities id0 and id1 for test, id2 to id9 in pairs for the rest, and a fake that joins two pairs."""
    pairs = [(f"id{n}", f"id{n + 1}") for n in range(2, 10, 2)]
    reals = [f"Celeb-real/{celebrity}_0000.mp4" for pair in pairs for celebrity in pair]
    fakes = [f"Celeb-synthesis/{a}_{b}_0000.mp4" for pair in pairs for a, b in (pair, pair[::-1])]
    others = ["YouTube-real/00001.mp4", "YouTube-real/00002.mp4", "Celeb-synthesis/id2_id8_0000.mp4"]
    return [*CELEB_TEST, *CELEB_TEST_FAKES, *reals, *fakes, *others]


def write_test_list(root: Path) -> None:
    """With 1 for real and 0 for fake, as the authors have it."""
    lines = [f"1 {path}" for path in CELEB_TEST] + [f"0 {path}" for path in CELEB_TEST_FAKES]
    (root / "List_of_testing_videos.txt").write_text("\n".join([*lines, ""]))


def celebdf(root: Path) -> str:
    touch(root, [*celebdf_videos(), "stray.mp4"])
    write_test_list(root)
    return str(root)


def celebdf2_release(root: Path) -> str:
    """A tree of Celeb-DF v2's published shape: 59 celebrities, 590 + 300 reals and 5639 fakes in groups of about ten
    celebrities, and a test list of 108 + 70 reals and 340 fakes, which shows 56 celebrities, of whose originals
    106 are test.
    """
    clips = [(celebrity, clip) for clip in range(10) for celebrity in range(59)]
    reals = [f"Celeb-real/id{celebrity}_{clip:04d}.mp4" for celebrity, clip in clips]
    youtube = [f"YouTube-real/{number:05d}.mp4" for number in range(300)]
    swaps = [(a, b, clip) for a, clip in clips for b in range(59) if a // 10 == b // 10 and a != b]
    fakes = [f"Celeb-synthesis/id{a}_id{b}_{clip:04d}.mp4" for a, b, clip in swaps]
    extra = [f"Celeb-synthesis/id{a}_id{(a + 10) % 59}_{clip:04d}.mp4" for a, clip in clips]
    fakes = [*fakes, *extra][:5639]
    tested = {(celebrity, clip) for celebrity, clip in clips if celebrity < 56 and clip < 2}
    tested -= {(55, 0), (54, 0), (53, 0), (52, 0)}  # 108: the last four show one clip
    listed = [f"Celeb-real/id{a}_{clip:04d}.mp4" for a, clip in sorted(tested)]
    mine = [(a, b, clip) for a, b, clip in swaps if a < 56 and b < 56]
    within = [swap for swap in mine if (swap[0], swap[2]) in tested][:106]
    across = [swap for swap in mine if (swap[0], swap[2]) not in tested][-234:]
    listed_fakes = [f"Celeb-synthesis/id{a}_id{b}_{clip:04d}.mp4" for a, b, clip in within + across]
    touch(root, [*reals, *youtube, *fakes])
    lines = [f"1 {path}" for path in (*listed, *youtube[:70])] + [f"0 {path}" for path in listed_fakes]
    (root / "List_of_testing_videos.txt").write_text("\n".join([*lines, ""]))
    return str(root)


def dfdc_part(root: Path, part: int, originals: Iterable[str]) -> None:
    """A part of training: two fakes of each original."""
    folder = root / f"dfdc_train_part_{part}"
    rows: dict[str, object] = {}
    for name in originals:
        rows[f"{name}.mp4"] = {"label": "REAL", "split": "train"}
        for letter in "xy":
            rows[f"{letter}{name[1:]}.mp4"] = {"label": "FAKE", "split": "train", "original": f"{name}.mp4"}
    write_json(folder / "metadata.json", rows)
    touch(folder, rows)


def dfdc(root: Path) -> str:
    for part, originals in {0: ["aaaaaaaaaa", "abaaaaaaaa"], 35: ["acaaaaaaaa"], 49: ["adaaaaaaaa"]}.items():
        dfdc_part(root, part, originals)
    touch(root, ["test/zaaaaaaaaa.mp4", "test/zbaaaaaaaa.mp4", "stray.mp4"])
    (root / "test/labels.csv").write_text("filename,label\nzaaaaaaaaa.mp4,0\nzbaaaaaaaa.mp4,1\n")
    return str(root)


def write_dfdcp(root: Path, rows: Mapping[str, tuple[str, str]] = DFDCP_ROWS) -> None:
    table = {path: {"set": where, "label": label, "augmentations": []} for path, (label, where) in rows.items()}
    write_json(root / "dataset.json", table)


def dfdcp(root: Path) -> str:
    touch(root, [*DFDCP_ROWS, "stray.mp4"])
    write_dfdcp(root)
    return str(root)


def wild_shard(shard: int, label: str, sequences: int) -> dict[str, bytes]:
    """Frames by name in the archive, each of its own bytes."""
    names = [f"{shard}/{label}/{n}/{frame}.png" for n in range(sequences) for frame in (3, 20)]
    return {name: name.encode() for name in names}


def wild(root: Path) -> str:
    for label in ("real", "fake"):
        for shard in range(3):
            write_archive(root / f"{label}_train/{shard}.tar.gz", wild_shard(shard, label, 2))
        for name, content in wild_shard(0, label, 2).items():
            path = root / f"{label}_test" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    touch(root, ["stray.mp4"])
    return str(root)


def csv(root: Path) -> str:
    rows = ["path,label,method,source,split,subject"]
    for split, person in (("train", "ann"), ("val", "bob"), ("test", "eve")):
        rows += [f"real/{person}.mp4,0,,,{split},{person}", f"fake/{person}.mp4,FAKE,swap,{person},{split},{person}"]
    touch(root, [row.partition(",")[0] for row in rows[1:]])
    touch(root, ["fake/stray.mp4"])  # beside videos of the table: nothing else is listed
    (root / "corpus.csv").write_text("\n".join(rows))
    return str(root / "corpus.csv")


def celebdfpp_videos() -> list[str]:
    """The videos of `celebdf`, each swap by two methods, and a reenacted and a talking face of each celebrity."""
    reals, swaps = ([p for p in celebdf_videos() if p.startswith("Celeb-synth") == fake] for fake in (False, True))
    names = [PurePosixPath(path).name for path in swaps]
    fakes = [f"Celeb-synthesis/FaceSwap/{method}/{name}" for method in ("Celeb-DF", "GHOST") for name in names]
    fakes += [f"Celeb-synthesis/FaceReenact/LIA/id{n}_id{n ^ 1}_0000.mp4" for n in range(10)]
    return [*reals, *fakes, *(f"Celeb-synthesis/TalkingFace/FLOAT/id{n}_{n:05d}.mp4" for n in range(10))]


CELEBPP_TEST = [
    *CELEB_TEST,
    "Celeb-synthesis/FaceSwap/GHOST/id0_id1_0000.mp4",
    "Celeb-synthesis/FaceReenact/LIA/id1_id0_0000.mp4",
]


def celebdfpp(root: Path) -> str:
    touch(root, [*celebdfpp_videos(), "stray.mp4"])
    lines = [f"{int('real' in path)} {path}" for path in CELEBPP_TEST]
    (root / "List_of_testing_videos.txt").write_text("\n".join(lines))
    return str(root)


def uadfv(root: Path) -> str:
    touch(root, [f"{kind}.mp4" for n in range(5) for kind in (f"real/{n:04d}", f"fake/{n:04d}_fake")])
    touch(root, ["stray.mp4"])
    return str(root)


def ffiw(root: Path) -> str:
    names = {"train": ("000001", "000002"), "val": ("000001",), "test": ("000001",)}
    for kind in ("source", "target", "target_mask"):
        touch(root, [f"{kind}/{split}/{name}.mp4" for split, of_split in names.items() for name in of_split])
    touch(root, ["target/stray.mp4"])
    return str(root)


FAKEAV_HEADER = "source,target1,target2,method,category,type,race,gender,path,"


def fakeavceleb_rows() -> list[str]:
    """Four celebrities with an original, a cloned voice and a lip-synced fake; swaps among two pairs of them."""
    rows = []
    for number, (race, gender) in enumerate((("African", "men"), ("Asian (East)", "women")) * 2):
        source, place = f"id{number:05d}", f"{race}/{gender}/id{number:05d}"
        target = f"id{(number + 2) % 4:05d}"
        for kind, method, name in (
            ("RealVideo-RealAudio", "real", "00109.mp4"),
            ("RealVideo-FakeAudio", "rtvc", "00109_fake.mp4"),
            ("FakeVideo-FakeAudio", "wav2lip", "00109_0_wavtolip.mp4"),
            ("FakeVideo-RealAudio", "faceswap", f"00109_{target}.mp4"),
        ):
            other = target if method == "faceswap" else "-"
            rows.append(f"{source},{other},-,{method},A,{kind},{race},{gender},{name},FakeAVCeleb/{kind}/{place}")
    return rows


def fakeavceleb(root: Path) -> str:
    rows = fakeavceleb_rows()
    for row in rows:
        *_, name, folder = row.split(",")
        touch(root, [f"{folder.removeprefix('FakeAVCeleb/')}/{name}"])
    (root / "meta_data.csv").write_text("\n".join([FAKEAV_HEADER, *rows]))
    touch(root, ["stray.mp4"])
    return str(root)


def lavdf_rows() -> list[dict[str, object]]:
    """Of each split an original, a changed picture, both changed, and a changed sound; two originals in train."""
    rows: list[dict[str, object]] = []
    for split, first in (("train", 1), ("train", 5), ("dev", 1), ("test", 1)):
        original = f"{split}/{first:06d}.mp4"
        periods = [[1.5, 2.0], [0.2, 0.48]]
        for number, (video, audio) in enumerate(((False, False), (True, False), (True, True), (False, True)), first):
            changed = video or audio
            row = {"file": f"{split}/{number:06d}.mp4", "split": split, "modify_video": video, "modify_audio": audio}
            row |= {"original": original if changed else None, "n_fakes": 2 * changed}
            rows.append(row | {"fake_periods": periods if changed else []})
    return rows


def lavdf(root: Path) -> str:
    rows = lavdf_rows()
    write_json(root / "metadata.min.json", rows)
    touch(root, [str(row["file"]) for row in rows])
    touch(root, ["stray.mp4"])
    return str(root)


def avdeepfake1m_rows(split: str) -> list[dict[str, object]]:
    """Four clips of a subject each; the sound's periods also stand as the picture's where only the sound is changed."""
    rows: list[dict[str, object]] = []
    for number in range(4):
        folder = f"id{number + (50 if split == 'val' else 0):05d}/21Uxsk56VDQ/00001"
        for kind, name, visual in (
            ("real", "real", []),
            ("visual_modified", "fake_video_real_audio", [[3.28, 3.46]]),
            ("both_modified", "fake_video_fake_audio", [[3.28, 3.46], [5.0, 5.0]]),
            ("audio_modified", "real_video_fake_audio", [[1.0, 1.2]]),
        ):
            row = {"file": f"{folder}/{name}.mp4", "split": split, "modify_type": kind, "fake_segments": [[3.2, 3.5]]}
            original = None if kind == "real" else f"{folder}/real.mp4"
            rows.append(row | {"original": original, "visual_fake_segments": visual, "audio_fake_segments": []})
    return rows


def avdeepfake1m(root: Path) -> str:
    for split in ("train", "val"):
        rows = avdeepfake1m_rows(split)
        write_json(root / f"{split}_metadata.json", rows)
        touch(root / split, [str(row["file"]) for row in rows])
    touch(root, ["test/000000.mp4", "stray.mp4"])
    return str(root)


def deeperforensics(root: Path) -> str:
    """Two variants of swaps onto the videos of `FFPP_PAIRS`, one actor each; and an actor's own video."""
    names = {split: [f"{t}_M{t}" for pair in pairs for t in pair] for split, pairs in FFPP_PAIRS.items()}
    for variant in ("end_to_end", "end_to_end_level_3"):
        touch(root, [f"manipulated_videos/{variant}/{name}.mp4" for listed in names.values() for name in listed])
    for split, listed in names.items():
        (root / "lists/splits").mkdir(parents=True, exist_ok=True)
        (root / f"lists/splits/{split}.txt").write_text("".join(f"{name}.mp4\n" for name in listed))
    touch(root, ["source_videos/M000/BlendShape/camera_front/M000_BlendShape_camera_front.mp4", "stray.mp4"])
    return str(root)


TREES: dict[str, Callable[[Path], str]] = {
    "ffpp": ffpp,
    "dfd": dfd,
    "avdeepfake1m": avdeepfake1m,
    "celebdf1": celebdf,
    "celebdf2": celebdf,
    "celebdfpp": celebdfpp,
    "fakeavceleb": fakeavceleb,
    "ffiw": ffiw,
    "lavdf": lavdf,
    "uadfv": uadfv,
    "dfdc": dfdc,
    "dfdcp": dfdcp,
    "wild": wild,
    "csv": csv,
}
"""Makes the tree below an empty folder and returns what `scan` takes as its root."""

FAKES_ONLY = {"deeperforensics"}
"""Datasets whose originals are another one's: they have tests of their own."""

OFFICIAL_SPLITS = {
    "avdeepfake1m": {"train", "val"},
    **{name: {"test"} for name in ("dfd", "fakeavceleb", "uadfv")},
}
"""Splits of a dataset whose official one does not fill all three."""

TELLS_NO_PAIRS = {
    "celebdfpp": ("Celeb-synthesis/FaceReenact/", "Celeb-synthesis/TalkingFace/"),
    "dfdc": ("test/",),
    "wild": ("fake_",),
}
"""How paths start of which a dataset does not tell the original."""
