"""Which of DeepfakeBench's detectors train on an export, and what the others lack."""

from collections.abc import Iterator

__all__ = ["detector_notes"]

_IMAGE = (
    "capsule_net, clip, core, effort, efficientnetb4, f3net, ffd, meso4, meso4Inception, multi_attention, recce, "
    "resnet34, rfm, sia, spsl, srm, ucf, uia_vit and xception"
)
_VIDEO = "altfreezing, ftcn, i3d, stil, tall, timesformer, videomae and xclip"
_POINTS = "facexray, fwa, pcl_xception, sbi and sladd"


def detector_notes(*, lmdb: bool) -> Iterator[str]:
    """A sentence for each group of detectors, by the names of their files in training/config/detector.

    Args:
        lmdb: the export is in LMDB environments.
    """
    yield f"These of its detectors train on this as it is: {_IMAGE}."
    # Its LRLDataset moves the third channel of a mask to the front, and only its LMDB reader gives a mask three; the
    # axis that the reader adds then stops OpenCV from rotating the mask.
    if lmdb:
        yield "lrl does too, with rotate_prob: 0 in its data_aug: its rotation cannot turn a mask read from LMDB."
    else:
        yield "lrl reads masks in colour, as only LMDB gives them: export --to deepfakebench-lmdb for it."
    yield (
        f"{_VIDEO} take neighbouring frames for consecutive ones: build with --set sample.strategy=all for them, "
        "and set frame_num to at least clip_size."
    )
    yield "iid reads an identity from the number at the end of a video's name, which FaceForensics++ and Celeb-DF have."
    yield (
        "lsda needs real videos and all four forgery methods of FaceForensics++ c23 with 32 frames each, and the "
        "official train.json in ./datasets/FaceForensics++."
        + (" It reads pictures from files: export --to deepfakebench for it." if lmdb else "")
    )
    yield (
        f"{_POINTS} do not train on this: they blend faces inside dlib's 81 points, and there are "
        + ("none in LMDB." if lmdb else "5, in pixels of the crop (set resolution to its side).")
    )
