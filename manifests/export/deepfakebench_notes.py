"""Notes on which of DeepfakeBench's detectors train on an export, and what the others need."""

from collections.abc import Iterator

__all__ = ["detector_notes"]

_IMAGE = (
    "capsule_net, clip, core, effort, efficientnetb4, f3net, ffd, meso4, meso4Inception, multi_attention, recce, "
    "resnet34, rfm, sia, spsl, srm, ucf, uia_vit and xception"
)
_VIDEO = "altfreezing, ftcn, i3d, stil, tall, timesformer, videomae and xclip"
_POINTS = "facexray, fwa, pcl_xception, sbi and sladd"


def detector_notes(*, lmdb: bool) -> Iterator[str]:
    """One sentence per group of detectors, named by their files in training/config/detector.

    Args:
        lmdb: whether the export is in LMDB environments.
    """
    yield f"These DeepfakeBench detectors train on the export without changes: {_IMAGE}."
    # Its LRLDataset moves the third channel of a mask to the front, and only its LMDB reader returns three channels;
    # the axis that this reader adds keeps OpenCV from rotating the mask.
    if lmdb:
        yield "lrl does too, with rotate_prob: 0 in its data_aug, since it cannot rotate a mask read from LMDB."
    else:
        yield "lrl needs masks in colour, which only LMDB provides: export --to deepfakebench-lmdb for it."
    yield (
        f"{_VIDEO} treat neighbouring frames as consecutive: build with --set sample.strategy=all for them, "
        "and set frame_num to at least clip_size."
    )
    yield "iid reads an identity from the number at the end of a video's name, which FaceForensics++ and Celeb-DF have."
    yield (
        "lsda needs real videos and all four forgery methods of FaceForensics++ c23 with 32 frames each, and the "
        "official train.json in ./datasets/FaceForensics++."
        + (" It reads images from files: export --to deepfakebench for it." if lmdb else "")
    )
    yield (
        f"{_POINTS} cannot train on the export: they blend faces inside dlib's 81 points, and it has "
        + ("none in LMDB." if lmdb else "5, in pixels of the crop (set resolution to its side).")
    )
