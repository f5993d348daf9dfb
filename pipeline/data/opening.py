"""Choice of the dataset class that can read a built dataset's shards."""

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
    """Open datasets for random access if all shards are Parquet, otherwise as a stream.

    Args:
        roots: folder of a built dataset, or several, for training across datasets.
        frames, every, seed, masks, annotations: as in `FaceDataset`.
        shuffle, balance, rank, world: as in `StreamingFaces`; unused with random access, where a sampler does this.

    Raises:
        DatasetError: if a dataset is unfinished or damaged, or has no such split.
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
