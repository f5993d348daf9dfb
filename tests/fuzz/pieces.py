"""Ways to damage the structure of a video or an archive: its boxes, elements, chunks, packets or members.

A file is a list of pieces of (start, end, place of its size field): what a parser of the format steps over.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

__all__ = ["damage_structure"]

Piece = tuple[int, int, slice | None]
EXTREMES = (0, 1, 7, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HOLDS_BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf")
HOLDS_CHUNKS = (b"RIFF", b"LIST")
EBML_MASTERS = ("1a45dfa3", "18538067", "1549a966", "1654ae6b", "ae", "e0", "1f43b675", "1c53bb6b", "bb", "b7", "a0")


def damage_structure(path: Path, other: Path, rng: np.random.Generator) -> str:
    """Damage a file in one way, drawn by `rng`, if need be with bytes of another file; returns what was done."""
    content = path.read_bytes()
    pieces = list(_pieces(content, path.suffix))
    way = WAYS[rng.integers(len(WAYS))]
    damaged = way(content, pieces, rng) if way is not _join else _join(content, other.read_bytes(), rng)
    if path.suffix == ".png" and rng.integers(2):
        damaged = _with_checksums(damaged)
    path.write_bytes(damaged)
    return f"{path.name}: {way.__name__[1:]}" + (f" {other.name}" if way is _join else "")


def _pieces(content: bytes, suffix: str) -> Iterator[Piece]:
    if suffix in (".mp4", ".mov", ".3gp"):
        yield from _boxes(content, 0, len(content))
    elif suffix in (".mkv", ".webm"):
        yield from _elements(content, 0, len(content))
    elif suffix in (".avi", ".webp"):
        yield from _chunks(content, 0, len(content))
    elif suffix == ".png":
        yield from _png_chunks(content)
    elif suffix == ".jpg":
        yield from _segments(content)
    else:  # packets of an MPEG transport stream, or blocks
        step = {".ts": 188, ".tar": 512}.get(suffix, 256)
        yield from ((start, min(start + step, len(content)), None) for start in range(0, len(content), step))


def _boxes(content: bytes, start: int, end: int) -> Iterator[Piece]:
    """Boxes of ISO/IEC 14496-12, also those inside of others."""
    while start + 8 <= end:
        size = int.from_bytes(content[start : start + 4], "big")
        until = start + size if 8 <= size <= end - start else end
        yield start, until, slice(start, start + 4)
        if content[start + 4 : start + 8] in HOLDS_BOXES:
            yield from _boxes(content, start + 8, until)
        start = until


def _chunks(content: bytes, start: int, end: int) -> Iterator[Piece]:
    """Chunks of a RIFF file, also those inside of lists."""
    while start + 8 <= end:
        until = min(end, start + 8 + int.from_bytes(content[start + 4 : start + 8], "little"))
        yield start, until, slice(start + 4, start + 8)
        if content[start : start + 4] in HOLDS_CHUNKS:
            yield from _chunks(content, start + 12, until)
        start = until + until % 2


def _elements(content: bytes, start: int, end: int) -> Iterator[Piece]:
    """Elements of EBML (RFC 8794), also those inside of others."""
    while start + 2 <= end and content[start]:
        at = start + 9 - content[start].bit_length()
        if at >= end or not content[at]:
            return
        body = at + 9 - content[at].bit_length()
        size = int.from_bytes(content[at:body], "big") & ((1 << 7 * (body - at)) - 1)
        until = body + size if body + size <= end else end
        yield start, until, slice(at, body)
        if content[start:at].hex() in EBML_MASTERS:
            yield from _elements(content, body, until)
        start = until


def _png_chunks(content: bytes) -> Iterator[Piece]:
    start = 8
    while start + 12 <= len(content):
        until = start + 12 + int.from_bytes(content[start : start + 4], "big")
        yield start, min(until, len(content)), slice(start, start + 4)
        start = until


def _with_checksums(content: bytes) -> bytes:
    """A PNG with the right checksum of each chunk, so that what is in the chunks is looked at."""
    whole = bytearray(content)
    for start, end, _ in _png_chunks(content):
        whole[end - 4 : end] = zlib.crc32(content[start + 4 : end - 4]).to_bytes(4, "big")
    return bytes(whole)


def _segments(content: bytes) -> Iterator[Piece]:
    """Segments of a JPEG file (ITU-T T.81, B.1.1); the last one is all that follows."""
    start = 2
    while start + 4 <= len(content) and content[start] == 0xFF and content[start + 1] != 0xDA:
        until = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
        yield start, min(until, len(content)), slice(start + 2, start + 4)
        start = until
    if start < len(content):
        yield start, len(content), slice(start + 2, start + 4)


def _flip_in_header(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    return _flipped(content, 0, max(64, len(content) // 20), rng)


def _flip_in_end(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    return _flipped(content, len(content) - max(64, len(content) // 10), len(content), rng)


def _flip_in_payload(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    return _flipped(content, 0, len(content), rng)


def _flip_in_piece(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    return _flipped(content, *_drawn(pieces, rng)[:2], rng)


def _flipped(content: bytes, start: int, end: int, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    start, end = max(0, start), min(end, len(content))
    for place in rng.integers(start, end, size=int(rng.choice([1, 3, 20]))) if end > start else ():
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def _put_extreme(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    """Another number in a small piece, as headers are."""
    small = [piece for piece in pieces if piece[1] - piece[0] <= 512] or pieces
    start, end, _ = _drawn(small, rng)
    at, kind = int(rng.integers(start, max(start + 1, end - 1))), (">I", "<I", ">H", "<H", "B")[rng.integers(5)]
    number = EXTREMES[rng.integers(len(EXTREMES))] & ((1 << 8 * struct.calcsize(kind)) - 1)
    field = struct.pack(kind, number)[: len(content) - at]
    return content[:at] + field + content[at + len(field) :]


def _resize(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    """Another size of a piece; the piece stays."""
    _, _, size = _drawn([piece for piece in pieces if piece[2]] or pieces, rng)
    if size is None:
        return _put_extreme(content, pieces, rng)
    width = size.stop - size.start
    big = int.from_bytes(content[size], "big")
    number = [0, 1, (1 << 8 * width) - 1, big + 1, max(big - 1, 0), big * 2, big // 2, 1 << 31][rng.integers(8)]
    return content[: size.start] + (number & ((1 << 8 * width) - 1)).to_bytes(width, "big") + content[size.stop :]


def _drop(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    start, end, _ = _drawn(pieces, rng)
    return content[:start] + content[end:]


def _blank(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    """Zeros, or noise, in place of a piece."""
    start, end, _ = _drawn(pieces, rng)
    return content[:start] + (bytes(end - start), rng.bytes(end - start))[rng.integers(2)] + content[end:]


def _double(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    start, end, _ = _drawn(pieces, rng)
    return content[:end] + content[start:end] * int(rng.choice([1, 1, 40])) + content[end:]


def _swap(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    (a, b, _), (c, d, _) = sorted([_drawn(pieces, rng), _drawn(pieces, rng)], key=lambda piece: piece[:2])
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:] if b <= c else content[c:]


def _move(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    """A piece at the file's end, or at its start."""
    start, end, _ = _drawn(pieces, rng)
    rest, piece = content[:start] + content[end:], content[start:end]
    return rest + piece if rng.integers(2) else piece + rest


def _cut(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))]


def _begin_late(content: bytes, pieces: list[Piece], rng: np.random.Generator) -> bytes:
    return content[rng.integers(len(content)) :]


def _join(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Two files after each other, or the start of one with the rest of the other."""
    return (content + other, other + content, content[: len(content) // 2] + other[len(other) // 2 :])[rng.integers(3)]


def _drawn(pieces: list[Piece], rng: np.random.Generator) -> Piece:
    return pieces[rng.integers(len(pieces))]


WAYS: tuple[Callable[..., bytes], ...] = (
    *(_flip_in_header, _flip_in_end, _flip_in_payload, _flip_in_piece, _put_extreme, _put_extreme, _resize, _resize),
    *(_drop, _blank, _double, _swap, _move, _cut, _begin_late, _join),
)
