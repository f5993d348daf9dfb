"""The dataset class that a built dataset's shards ask for."""

from collections.abc import Sequence

from facemill.manifests.shards.dataset import read_dataset
from facemill.pipeline.data.balance import Balance
from facemill.pipeline.data.dataset import FaceDataset
from facemill.pipeline.data.split import Roots, list_folders
from facemill.pipeline.data.stream import StreamingFaces

__all__ = ["open_faces"]


def open_faces(
    roots: Roots,
    split: str,
    *,
    frames: int | None = None,
    every: int = 1,
    seed: int = 0,
    masks: bool = True,
    annotations: Sequence[str] = (),
    shuffle: bool = False,
    balance: Balance = "none",
    rank: int = 0,
    world: int = 1,
) -> FaceDataset | StreamingFaces:
    """Random access where all shards are Parquet, else a stream.

    Args:
        roots: folder of a built dataset, or several, for training across datasets.
        frames, every, seed, masks, annotations: as in `FaceDataset`.
        shuffle, balance, rank, world: as in `StreamingFaces`; with random access they are a sampler's business.

    Raises:
        DatasetError: for a dataset that is unfinished or damaged, or has no such split.
    """
    folders = list_folders(roots)
    if all(shard.path.endswith(".parquet") for folder in folders for shard in read_dataset(folder).shards):
        return FaceDataset(folders, split, frames=frames, every=every, seed=seed, masks=masks, annotations=annotations)
    return StreamingFaces(
        folders,
        split,
        frames=frames,
        every=every,
        seed=seed,
        masks=masks,
        annotations=annotations,
        shuffle=shuffle,
        balance=balance,
        rank=rank,
        world=world,
    )
