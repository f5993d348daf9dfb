"""Trees of empty files with each dataset's real names: one maker a registered dataset.

Every tree has several families of subjects, and one video that follows no rule: `stray.mp4`.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

FFPP_PAIRS = {"train": [["000", "003"]], "val": [["720", "672"]], "test": [["953", "974"]]}
FFPP_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
MASKED = FFPP_METHODS[:4]


def touch(root: Path, paths: Iterable[str]) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def ffpp_videos(quality: str = "c23") -> list[str]:
    """Paths of reals and fakes of `FFPP_PAIRS`, without DFD and masks."""
    pairs = [pair for pairs in FFPP_PAIRS.values() for pair in pairs]
    reals = [f"original_sequences/youtube/{quality}/videos/{name}.mp4" for pair in pairs for name in pair]
    stems = [f"{a}_{b}" for pair in pairs for a, b in (pair, pair[::-1])]
    return reals + [f"manipulated_sequences/{m}/{quality}/videos/{stem}.mp4" for m in FFPP_METHODS for stem in stems]


def write_splits(folder: Path, pairs: dict[str, list[list[str]]] = FFPP_PAIRS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, listed in pairs.items():
        (folder / f"{split}.json").write_text(json.dumps(listed))


def ffpp(root: Path) -> str:
    touch(root, ffpp_videos())
    touch(root, [f"manipulated_sequences/{method}/masks/videos/000_003.mp4" for method in MASKED])
    touch(root, ["README.md", "stray.mp4"])
    write_splits(root / "splits")
    return str(root)


def csv(root: Path) -> str:
    rows = ["path,label,method,source,split,subject"]
    for split, person in (("train", "ann"), ("val", "bob"), ("test", "eve")):
        rows += [f"real/{person}.mp4,0,,,{split},{person}", f"fake/{person}.mp4,FAKE,swap,{person},{split},{person}"]
    touch(root, [row.partition(",")[0] for row in rows[1:]])
    touch(root, ["stray.mp4"])
    (root / "corpus.csv").write_text("\n".join(rows))
    return str(root / "corpus.csv")


TREES: dict[str, Callable[[Path], str]] = {"ffpp": ffpp, "csv": csv}
"""Makes the tree below an empty folder and returns what `scan` takes as its root."""
