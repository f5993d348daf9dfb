"""A small dataset to train on, and what makes a run on it small."""

from pathlib import Path

from tests.pipeline.data.built import build, default_samples, samples_of, video

__all__ = ["SMALL", "build_toy"]

SMALL = (
    *("train.model.backbone=tinynet_e", "train.model.size=64", "train.batch=12", "train.epochs=3"),
    *("train.schedule.name=step", "train.schedule.every=2", "train.augment.jpeg=0.5"),
)
"""Recipe values for a run of seconds. Meant for MAT, which has all that a checkpoint must hold: centres, an epoch
count, random heads."""


def build_toy(root: Path) -> Path:
    """Crops of noise in all three splits."""
    return build(root, [*default_samples(), *samples_of([video("test-0", 0, "test"), video("test-1", 1, "test")])])
