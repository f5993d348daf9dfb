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


def df40_folders() -> list[str]:
    """Folders of crops as the release spells them: six ids of FaceForensics++ in pairs, and celebrities."""
    pairs = [pair for pairs in FFPP_PAIRS.values() for pair in pairs]
    stems = [f"{a}_{b}" for pair in pairs for a, b in (pair, pair[::-1])]
    return [
        *(f"DF40_train/{method}/frames/{stem}" for method in ("simswap", "lia") for stem in stems[:2]),
        *(f"DF40_train/VQGAN/{name}" for name in ("000", "003")),
        *(f"DF40/{method}/ff/frames/{stem}" for method in ("simswap", "lia") for stem in stems[-2:]),
        "DF40/e4s/ff/frames/000_003",
        "DF40/VQGAN/ff/953",
        "DF40/simswap/cdf/frames/id0_id1_0002",
        "DF40/VQGAN/cdf/Fake_from_Celeb-real/id0_0002",
        "DF40/sd2.1/cdf/YouTube-real/00170",
        "DF40/deepfacelab/fake/frames/clip_7",
        "DF40/deepfacelab/real/frames/clip_7",
        "DF40/heygen/heygen_new/fake/frames/Ann+Lee_1",
        "DF40/CollabDiff/fake/101",
        *(f"FaceForensics++/original_sequences/youtube/c23/frames/{name}" for pair in pairs for name in pair),
        "Celeb-DF-v2/Celeb-real/frames/id0_0002",
        "Celeb-DF-v2/YouTube-real/frames/00170",
    ]


DF40_IMAGES = [
    "DF40/CollabDiff/real/7.jpg",
    "DF40/MidJourney/fake/a.gif",
    "DF40/stargan/fake/fake/000001.jpg",
    "DF40/stargan/real/real/000001.jpg",
    "DF40/e4e/e4e/cdf/Celeb-real/inversions/id0_0002_003.jpg",
]
"""Images that are alone."""


def df40(root: Path) -> str:
    touch(root, [f"{folder}/{number:03d}.png" for folder in df40_folders() for number in (0, 12)])
    touch(root, [*DF40_IMAGES, "stray.mp4"])
    touch(root, ["DF40/simswap/ff/landmarks/953_974/000.npy", "DF40/simswap/ff/masks/953_974/000.png"])
    write_splits(root / "FaceForensics++/splits")
    return str(root)


FORGERYNET_IMAGES = {
    "train": [
        "7/aa/b0/frame00038.jpg",
        "7/aa/b1/frame00002.jpg",
        "11/ab/c0.jpg",
        "16/aa/frame00001.jpg",
        "19/ac/1.jpg",
    ],
    "val": ["7/ba/b0/frame00038.jpg", "18/bb/frame00014.jpg"],
}
FORGERYNET_VIDEOS = {
    "train": ["1 {}1/ca/00/video.mp4 0 30 1 1 1 1", "1 {}17/cb/00.mp4 0 9 0 0 0 16"],
    "val": ["2 {}1/da/00/video.mp4 0 30 0 40 9 1 1 1 1", "0 {}19/db/00.mp4 0 0 16"],
}
"""Lines of the lists: segments of first frame, number of frames and label; path, and three labels."""


def forgerynet(root: Path) -> str:
    """Train with folders between, val without; train has videos of two methods that are in no list."""
    for split, part, images in (("train", "Training", "image/images/"), ("val", "Validation", "")):
        release = {"train": "train_release", "val": "val_perturb_release"}[split]
        paths = FORGERYNET_IMAGES[split]
        touch(root / part / images / release, paths)
        masks = {"train": "train_mask_release", "val": "val_perturb_release"}[split]
        touch(root / part / "spatial_localize" / masks, [path for path in paths if path.startswith("7/")])
        lines = [line.format(f"{split}_video_release/") for line in FORGERYNET_VIDEOS[split]]
        touch(root / part / "video", [line.split()[1] for line in lines])
        folder = root / "list" / part
        folder.mkdir(parents=True)
        # The last column of a fake is another method than that of its folder.
        labels = {path: "0 0 16" if int(path.partition("/")[0]) > 15 else "1 1 15" for path in paths}
        (folder / "image_list.txt").write_text("".join(f"{release}/{p} {labels[p]}\n" for p in paths))
        (folder / "video_list.txt").write_text("\n".join([*lines, ""]))
    touch(root / "Training/video/train_video_release", ["2/ea/00.mp4", "8/eb/00.mp4"])
    touch(root, ["Test/video/test_video_release/0a.mp4", "Test/image/0b.jpg", "stray.mp4"])
    return str(root)


_DEEPSPEAK = "video-file,kind,engine,identity-source,identity-target,recording-source,recording-target"
DEEPSPEAK_FAKES = {
    1: [
        f",{_DEEPSPEAK},recording-target-ai-generated,gesture-type,script-type",
        "0,facefusion--0-1--40-41--0.mp4,face-swap,facefusion,0,1,40,41,False,no-gesture,scripted",
        "1,facefusion_gan--2-3--42-43--0.mp4,face-swap,facefusion_gan,2,3,42,43,False,no-gesture,scripted",
        "2,wav2lip--4-4--44-44--0.mp4,lip-sync,wav2lip,4,4,44,44,True,no-gesture,scripted",
    ],
    2: [
        f"{_DEEPSPEAK},audio-config,gen-config,gesture-type,script-type",
        "facefusion-40-41.mp4,face-swap,facefusion,0,1,40,41,real,x,no-gesture,scripted",
        "diff2lip-42-43-playht.mp4,lip-sync,diff2lip,3,3,42,43,playht,x,no-gesture,scripted",
        "memo-44-44-speechify.mp4,avatar,memo,4,4,44,44,speechify,x,no-gesture,scripted",
        "hellomeme-45-45-real.mp4,avatar,hellomeme,5,5,45,45,real,x,no-gesture,scripted",
        "latentsync-40-43-real.mp4,lip-sync,latentsync,2,3,40,43,real,x,no-gesture,scripted",
    ],
}
"""Lines of the tables of fakes of both versions."""


def deepspeak(root: Path, version: int = 2) -> str:
    """Six people of a recording each, of whom the last two are test."""
    reals = [f"{person}-{40 + person}.mp4" for person in range(6)]
    tables = {
        "real": ["video-file,identity,recording", *(f"{name},{name[0]},{name[2:4]}" for name in reals)],
        "fake": DEEPSPEAK_FAKES[version],
        "split-def": [",identity,split", *(f"{n},{n},{'train' if n < 4 else 'test'}" for n in range(6))],
    }
    root.mkdir(parents=True, exist_ok=True)
    for name, lines in tables.items():
        (root / f"annotations-{name}.csv").write_text("\n".join([*lines, ""]))
    fakes = [cell for line in tables["fake"][1:] for cell in line.split(",") if cell.endswith(".mp4")]
    touch(root, [*(f"deepspeak-0/{name}" for name in reals), *(f"deepspeak-1/{name}" for name in fakes), "stray.mp4"])
    return str(root)


KODF_PERSONS = ["0123456789abcdef0123", "ffffffffffffffffffff", "100001", "100002", "100003", "100004"]


def kodf(root: Path) -> str:
    """A person in each notation of names, swapped in pairs; one is heard saying what another said."""
    pairs = list(zip(KODF_PERSONS[::2], KODF_PERSONS[1::2], strict=True))
    made = root / "kodf_release/synthesized_videos"
    touch(
        root / "kodf_release/original_videos", [f"{name}/{name}_{n:03d}.mp4" for name in KODF_PERSONS for n in (1, 2)]
    )
    for method, code in (("dfl", 1), ("dffs", 2), ("fsgan", 3), ("fo", 4)):
        touch(made / method, [f"20201105/{a}/{a}_{b}_{code}_0001.mp4" for x, y in pairs for a, b in ((x, y), (y, x))])
    touch(made / "dfl/20201106", [f"{a}/{a}_{b}_1_0001.mp4" for a, b in pairs])
    touch(made / "audio-driven/20201105", [f"{a}/{a}_{a}_5_0001.mp4" for a, _ in pairs])
    touch(root, ["stray.mp4"])
    return str(root)


def dfdm(root: Path) -> str:
    """Swaps of celebrities 0 and 1, whom `celebdf` shows, in two qualities; folders of models have any name."""
    for quality in ("0", "23"):
        for folder, tag in (("A", "1original"), ("B", "5dfl-h128")):
            fakes = [f"{a}_0000_{tag}.mp4" for a in ("id0_id1", "id1_id0", "id2_id0")]
            touch(root / f"DFDM_crf{quality}" / folder, fakes)
    touch(root, ["stray.mp4"])
    return str(root)


def talkingheadbench(root: Path) -> str:
    for generator in ("Hallo", "LivePortrait"):
        for split, image in (("train", "00012"), ("train", "00040"), ("val", "00100"), ("test", "65001")):
            names = [f"{image}--{driver}--{generator}.mp4" for driver in ("-3kq_9xT_1", "M2Ohb0FAaJU_1")]
            touch(root / "fake" / generator / split, names)
    touch(root / "fake/additional_dataset", ["MAGI-1/7.mp4", "Hallo3/7-M2Ohb0FAaJU_1.mp4"])
    touch(root, ["audio/ff++/000.wav", "stray.mp4"])
    write_json(root / "true/true_dataset_split.json", {"Train": {"FaceForensics++": ["000.mp4"]}})
    return str(root)


IDFORGE_VIDEOS = [
    "pristine/{0}/{0}_00/{0}_scene_0027-11.mp4",
    "lip_tts_textgen/{0}/{0}_00/{0}_scene_0027-11_fake.mp4",
    "lip_rvc_textmismatch/{0}/{0}_00/{0}_scene_0027-11.mp3.mp4",
    "face_audiomismatch_textmismatch/{0}/{0}_01/{0}_scene_0015_0_infoswap.mp4",
    "face_tts/{0}/{0}_01/{0}_scene_0015_0_infoswap.mp4",
    "tts_textmismatch/{0}/{0}_00/{0}_scene_0027-11.mp4",
]
"""Videos of a celebrity; two of them have one name."""


def idforge(root: Path) -> str:
    for split, celebrities in (("train", ("id00", "id01", "id02")), ("val", ("id03",)), ("test", ("id40",))):
        paths = [path.format(celebrity) for celebrity in celebrities for path in IDFORGE_VIDEOS]
        touch(root / "main", paths)
        (root / "IDForge_v1").mkdir(exist_ok=True)
        (root / f"IDForge_v1/{split}.csv").write_text("\n".join([*paths, ""]))
    touch(root, ["stray.mp4"])
    return str(root)


TREES: dict[str, Callable[[Path], str]] = {
    "ffpp": ffpp,
    "deepspeak": deepspeak,
    "df40": df40,
    "dfd": dfd,
    "avdeepfake1m": avdeepfake1m,
    "celebdf1": celebdf,
    "celebdf2": celebdf,
    "celebdfpp": celebdfpp,
    "fakeavceleb": fakeavceleb,
    "ffiw": ffiw,
    "forgerynet": forgerynet,
    "idforge": idforge,
    "kodf": kodf,
    "lavdf": lavdf,
    "uadfv": uadfv,
    "dfdc": dfdc,
    "dfdcp": dfdcp,
    "wild": wild,
    "csv": csv,
}
"""Makes the tree below an empty folder and returns what `scan` takes as its root."""

FAKES_ONLY = {"deeperforensics", "dfdm", "talkingheadbench"}
"""Datasets that have no reals of their own: they have tests of their own."""

OFFICIAL_SPLITS = {
    **{name: {"train", "val"} for name in ("avdeepfake1m", "forgerynet")},
    **{name: {"test"} for name in ("dfd", "fakeavceleb", "kodf", "uadfv")},
}
"""Splits of a dataset whose official one does not fill all three."""

TELLS_NO_PAIRS = {
    "celebdfpp": ("Celeb-synthesis/FaceReenact/", "Celeb-synthesis/TalkingFace/"),
    "deepspeak": ("deepspeak-1/memo", "deepspeak-1/hellomeme"),
    "df40": ("DF40",),
    "dfdc": ("test/",),
    "forgerynet": ("Training/", "Validation/"),
    "idforge": ("main/face_",),
    "kodf": ("kodf_release/",),
    "wild": ("fake_",),
}
"""How paths start of which a dataset does not tell the original."""
