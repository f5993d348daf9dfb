"""Decoded crops on disk, which are read ten times as fast as they are decoded."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import xxhash
from torch import Tensor

from facemill import ConfigError, DatasetError
from facemill.pipeline.data.fields import MASK
from facemill.pipeline.data.split import Split

__all__ = ["PixelCache"]

CHANNELS = {"image": 3, MASK: 1}
DIGEST_BYTES = 16


class PixelCache:
    """Images and masks of samples as uint8, in a folder that trainings and datasets may share.

    For each shard there are files named by its hash. A sample has a row in them, written when the sample is first
    read: its pixels, and a digest of these, of the crop's hash and of the decoder's version. A row that is half
    written, damaged or of something else does not have its digest, and is written again, so that any number of
    processes may use a folder at the same time, and be killed. Files are sparse: they take the space of rows in use.

    Args:
        folder: is made if it does not exist.
        names: `image`, and `mask` if it is read; the masks of real faces are zero and not stored.

    Raises:
        ConfigError: if the samples take more space than there is, if the folder cannot be made, or for another name.
    """

    def __init__(self, folder: Path, split: Split, names: Sequence[str]) -> None:
        if odd := [name for name in names if name not in CHANNELS]:
            raise ConfigError(f"A cache holds images and masks only: leave out the field {odd[0]}, or the cache.")
        self._folder, self._split = folder, split
        self._hashes = split.samples["image_sha256"].combine_chunks()
        files = [self._file(shard, name) for shard in range(len(split.shards)) for name in names]
        needed = split.size**2 * sum(
            CHANNELS[name] * (int((~split.all_zero).sum()) if name == MASK else len(split)) for name in names
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            room = shutil.disk_usage(folder).free + sum(f.stat().st_blocks * 512 for f in files if f.exists())
        except OSError as error:
            raise ConfigError(f"{folder} cannot hold a cache ({error}): choose another folder.") from None
        if needed > room:
            raise ConfigError(
                f"The decoded crops take {needed / 2**30:.1f} GiB, and {folder} has {room / 2**30:.1f} GiB: choose "
                "another folder for the cache, or leave it out."
            )

    def read(self, index: int, into: Mapping[str, Tensor]) -> bool:
        """Read a sample's images [C, S, S]; false if they are not in the cache, and `into` has no meaning."""
        return all(self._read(index, name, tensor) for name, tensor in into.items())

    def write(self, index: int, images: Mapping[str, Tensor]) -> None:
        """Write a sample's images.

        Raises:
            DatasetError: if the folder cannot be written.
        """
        try:
            for name, image in images.items():
                if not (name == MASK and self._split.all_zero[index]):
                    self._write(index, name, image)
        except OSError as error:
            raise DatasetError(
                f"{self._folder} cannot hold more of the cache ({error}): make space, choose another, or leave it out."
            ) from None

    def _read(self, index: int, name: str, into: Tensor) -> bool:
        pixels, digest = _bytes(into), bytearray(DIGEST_BYTES)
        if name == MASK and self._split.all_zero[index]:
            into.numpy().fill(0)
            return True
        try:
            with self._file(int(self._split.shard[index]), name).open("rb", buffering=0) as file:
                os.preadv(file.fileno(), [pixels, digest], self._offset(index, len(pixels)))
        except OSError:  # there is none; or writing the row raises the error
            return False
        return any(digest) and digest == self._digest(index, pixels)

    def _write(self, index: int, name: str, image: Tensor) -> None:
        pixels = _bytes(image)
        file = os.open(self._file(int(self._split.shard[index]), name), os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            # On a full disk a part may be written, which its digest tells; the next row raises the error.
            os.pwritev(file, [pixels, self._digest(index, pixels)], self._offset(index, len(pixels)))
        finally:
            os.close(file)

    def _file(self, shard: int, name: str) -> Path:
        return self._folder / f"{self._split.hashes[shard]}.{name}.u8"

    def _offset(self, index: int, size: int) -> int:
        return int(self._split.row[index]) * (size + DIGEST_BYTES)

    def _digest(self, index: int, pixels: memoryview) -> bytes:
        digest = xxhash.xxh3_128(f"{self._hashes[index].as_py()} {cv2.__version__}".encode())
        digest.update(pixels)
        return digest.digest()


def _bytes(pixels: Tensor) -> memoryview:
    return pixels.numpy().reshape(-1).data
