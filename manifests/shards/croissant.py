"""Croissant metadata (croissant.json): a dataset's files and fields, for readers of Croissant 1.0.

Parquet shards: a record set per split, with every field of a sample, its image and its mask. WebDataset shards:
Croissant cannot join the files of a tar into samples, so there is one record set of all samples without images (from
samples.parquet), and per split one of images and one of masks, which refer to it by `sample_id`.

Written as plain JSON-LD, so that building needs no mlcroissant; the tests load it with that package.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from facemill.manifests.annotations import Annotations, image_names, samples_schema
from facemill.manifests.records import LABELS, SPLITS
from facemill.manifests.shards.base import IMAGE_SUFFIXES
from facemill.manifests.shards.dataset import SAMPLES_FILE, DatasetInfo, ShardInfo
from facemill.manifests.storage import sha256_of

__all__ = ["croissant_metadata"]

Node = dict[str, Any]
"""A JSON-LD node."""

CONTEXT: Node = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        name: f"cr:{name}"
        for name in (
            *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet"),
            *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
            "transform",
        )
    },
}
"""The context that Croissant 1.0 prescribes."""

PARQUET = "application/x-parquet"
TAR = "application/x-tar"
IMAGE = "sc:ImageObject"

DESCRIPTIONS = {
    "image": "the face crop",
    "mask": "the forgery mask of the crop, one channel, 0 or 255; all zero for real faces, and where mask_kind is none",
    "label": ", ".join(f"{number} is {name}" for number, name in enumerate(LABELS)),
    "method": "the forgery method, real for a pristine video",
    "quality": "raw, c23, c40, or native where the dataset knows no compression levels",
    "split": "train, val or test",
    "source_id": "the pristine video that a fake was made from",
    "subject_ids": "who is seen, then who was swapped in",
    "frame_index": "index of the frame in its video, from 0",
    "pts_s": "presentation time of the frame, seconds",
    "pair_offset": "frame of the fake minus the frame of its original that shows the same moment",
    "track_id": "the person, the same in a real video and in its fakes",
    "bbox": "face box x1, y1, x2, y2 in pixels of the video's frame, not of the crop",
    "landmarks": "x, y of both eyes, nose and both mouth corners, in pixels of the video's frame, not of the crop",
    "score": "the face detector's confidence, 0 to 1",
    "affine": "2x3, row by row: a point of the video's frame to a point of the crop",
    "crop_size": "side of the crop, pixels",
    "mask_kind": "difference, official, zeros for a real face, none where nobody knows what was forged, unreliable",
    "mask_coverage": "forged share of the crop, 0 to 1",
    "mask_iou": "agreement of the difference mask with the official one, 0 to 1",
    "label_source": "what says that this face is real or fake: video, difference, mask or periods",
    "difference": "forgery score of the face against its original, in units of the noise",
    "shard": "path of the shard",
    "row": "position in the shard, from 0",
    "image_sha256": "SHA-256 of the encoded picture, hex",
    "attributes": "what the dataset says of the person shown and of the sound, name=value",
}


def croissant_metadata(info: DatasetInfo, root: Path) -> str:
    """Render croissant.json; equal datasets give equal text.

    Licence, URL and date are left for the dataset's publisher to add.

    Args:
        root: the dataset's folder, which must contain samples.parquet.
    """
    name = info.recipe["name"]
    samples = sum(shard.rows for shard in info.shards)
    shards = [shard for shard in info.shards if shard.rows]
    known = {"parquet": _describe_parquet, "webdataset": _describe_tars}
    describe = known.get(info.recipe["shards"]["format"], _plainly)
    distribution, record_sets = describe(info, shards, root)
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": f"{samples:,} face crops from real and forged videos, with forgery masks, made by facemill "
        f"{info.facemill} with the recipe {name}.",
        "keywords": ["deepfake detection", "face forgery detection", "facemill"],
        "distribution": distribution,
        "recordSet": record_sets,
    }
    return f"{json.dumps(content, indent=2, ensure_ascii=False)}\n"


# Parquet ----------------------------------------------------------------------------------------------


def _describe_parquet(info: DatasetInfo, shards: list[ShardInfo], root: Path) -> tuple[list[Node], list[Node]]:
    """A set of files and a record set per split."""
    distribution = [_file(shard.path, PARQUET, shard.bytes, shard.sha256) for shard in shards]
    record_sets = []
    for split in _splits(shards):
        distribution.append(_file_set(f"{split}-shards", PARQUET, [f"{split}/*.parquet"]))
        source = {"fileSet": {"@id": f"{split}-shards"}}
        names = ("image", "mask", *image_names(info.annotations))
        # An image is a struct of its bytes and a name.
        images = [
            _field(split, name, IMAGE, {**source, "extract": {"column": name}, "transform": {"jsonPath": "bytes"}})
            for name in names
        ]
        fields = [*_sample_fields(split, source, info.annotations), *images]
        record_sets.append(_record_set(split, f"samples for {split}", fields))
    return distribution, record_sets


def _plainly(
    info: DatasetInfo, shards: list[ShardInfo], root: Path, kind: str = "application/octet-stream"
) -> tuple[list[Node], list[Node]]:
    """A record set of samples.parquet; the content of shards is not described."""
    samples = root / SAMPLES_FILE
    distribution = [
        _file(SAMPLES_FILE, PARQUET, samples.stat().st_size, sha256_of(samples)),
        *(_file(shard.path, kind, shard.bytes, shard.sha256) for shard in shards),
    ]
    fields = list(_sample_fields("samples", {"fileObject": {"@id": SAMPLES_FILE}}, info.annotations))
    return distribution, [_record_set("samples", "all samples, without their pictures", fields)]


# WebDataset -------------------------------------------------------------------------------------------


def _describe_tars(info: DatasetInfo, shards: list[ShardInfo], root: Path) -> tuple[list[Node], list[Node]]:
    """A record set of samples.parquet, and per split the images and the masks inside the tars."""
    distribution, record_sets = _plainly(info, shards, root, TAR)
    encoding = info.recipe["encode"]["format"]
    # A glob cannot exclude `.mask` before the suffix, but every sample_id ends in -t and the track's number.
    images = [f"*-t{'[0-9]' * digits}{IMAGE_SUFFIXES[encoding]}" for digits in (1, 2, 3)]
    for split in _splits(shards):
        more = [(name, "image/png", [f"*.{name}.png"]) for name in ("mask", *image_names(info.annotations))]
        for name, kind, patterns in (("image", f"image/{encoding}", images), *more):
            files = f"{split}-{name}-files"
            tars = [shard.path for shard in shards if shard.split == split]
            distribution.append({**_file_set(files, kind, patterns), "containedIn": [{"@id": tar} for tar in tars]})
            record_sets.append(_tar_images(split, name, {"fileSet": {"@id": files}}))
    return distribution, record_sets


def _tar_images(split: str, name: str, source: Node) -> Node:
    """Record set of the images or masks of a split, each with its sample_id."""
    record_set = f"{split}-{name}"
    named = {**source, "extract": {"fileProperty": "filename"}, "transform": {"regex": r"^([^.]+)\."}}
    sample_id = _field(record_set, "sample_id", "sc:Text", named)
    sample_id["references"] = {"field": {"@id": "samples/sample_id"}}
    image = _field(record_set, name, IMAGE, {**source, "extract": {"fileProperty": "content"}})
    return _record_set(record_set, f"{name}s for {split}", [sample_id, image])


# Both -------------------------------------------------------------------------------------------------


def _splits(shards: list[ShardInfo]) -> list[str]:
    present = {shard.split for shard in shards}
    return [split for split in SPLITS if split in present]


def _file(path: str, encoding: str, size: int, sha256: str) -> Node:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{size} B",
        "encodingFormat": encoding,
        "sha256": sha256,
    }


def _file_set(name: str, encoding: str, patterns: list[str]) -> Node:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": encoding, "includes": patterns}


def _record_set(name: str, description: str, fields: list[Node]) -> Node:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": description, "field": fields}


def _sample_fields(record_set: str, source: Node, annotations: Annotations) -> Iterator[Node]:
    for column in samples_schema(annotations):
        many = isinstance(column.type, pa.ListType | pa.FixedSizeListType)
        kind = column.type.value_type if many else column.type
        field = _field(record_set, column.name, _data_type(kind), {**source, "extract": {"column": column.name}})
        if column.name in annotations:
            field["description"] = annotations[column.name].description
        yield {**field, "repeated": True} if many else field


def _field(record_set: str, name: str, data_type: str, source: Node) -> Node:
    node = {"@type": "cr:Field", "@id": f"{record_set}/{name}", "name": name}
    if name in DESCRIPTIONS:
        node["description"] = DESCRIPTIONS[name]
    return {**node, "dataType": data_type, "source": source}


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
