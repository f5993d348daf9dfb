"""The dataset card (README.md), for readers and for the Hugging Face `datasets` library.

The front matter names the files of each split, so that `datasets.load_dataset("path/to/dataset")` finds them.
It is written here, since huggingface_hub's `DatasetCard` is installed with training only.
"""

from functools import cache
from itertools import pairwise
from typing import Any

import pyarrow as pa
import yaml
from jinja2 import Environment, StrictUndefined, Template

from facemill.manifests.annotations import Annotations, image_names, samples_schema
from facemill.manifests.records import LABELS
from facemill.manifests.shards.base import IMAGE_SUFFIXES
from facemill.manifests.shards.dataset import DatasetInfo
from facemill.registry import SHARD_FORMATS

__all__ = ["dataset_card"]

TEMPLATE = """\
---
{{ front_matter -}}
---

# {{ recipe.name }}

Face crops from real and forged videos, made by facemill {{ info.facemill }} with the recipe `{{ recipe.name }}`
{%- if recipe.paper %} ({{ recipe.paper }}){% endif %}.

| split | method | samples | videos |
|---|---|---:|---:|
{%- for split, methods in info.counts.items() %}
{%- for method, count in methods.items() %}
| {{ split }} | {{ method }} | {{ "{:,}".format(count.samples) }} | {{ "{:,}".format(count.videos) }} |
{%- endfor %}
{%- endfor %}

Labels: {% for name in labels %}{{ loop.index0 }} is {{ name }}{{ ", " if not loop.last }}{% endfor %}.
A sample is a square crop of {{ recipe.crop.size }} pixels, its forgery mask (one channel, 0 or 255; all zero for real
faces, and where `mask_kind` is `none`), and what is known of it: video, frame, face box, five landmarks, and the affine
that maps pixels of the video to pixels of the crop.
{%- if info.annotations %} Its annotations:

| name | kind | |
|---|---|---|
{%- for name, one in info.annotations.items() %}
| `{{ name }}` | {{ one.kind }} | {{ one.description }} |
{%- endfor %}
{%- endif %}

```python
from datasets import load_dataset

dataset = load_dataset("path/to/this/folder", split="{{ splits[0] if splits else "train" }}")
```

`samples.parquet` has a row for every sample, without the pictures; `videos.parquet` for every video;
`faces.parquet` for every frame that a face detector looked at; `failures.parquet` ({{ info.failures }} rows) for
what gave no sample, and why. `dataset.json` has the checksum of every shard: `facemill verify` goes through them.
`croissant.json` describes files and fields for programs.

## License

The videos are their authors': what may be done with these crops is what the source datasets' terms allow. facemill
grants nothing.

## Recipe

```yaml
{{ recipe_page -}}
```
"""


def dataset_card(info: DatasetInfo) -> str:
    """Render README.md: YAML front matter, then Markdown."""
    return _template().render(
        info=info,
        recipe=info.recipe,
        labels=LABELS,
        splits=_splits(info),
        front_matter=_yaml(_front_matter(info)),
        recipe_page=_yaml(info.recipe),
    )


@cache
def _template() -> Template:
    made = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    return made.from_string(TEMPLATE)


def _front_matter(info: DatasetInfo) -> dict[str, Any]:
    suffix = SHARD_FORMATS[info.recipe["shards"]["format"]].suffix
    files = [{"split": split, "path": f"{split}/*{suffix}"} for split in _splits(info)]
    front_matter: dict[str, Any] = {
        "pretty_name": info.recipe["name"],
        "license": "other",
        "license_name": "terms-of-the-source-datasets",
        "license_link": "#license",
        "size_categories": [_size_category(sum(shard.rows for shard in info.shards))],
        "task_categories": ["image-classification", "image-segmentation"],
        "tags": ["deepfake-detection", "face-forgery-detection", "facemill"],
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": {"splits": [_split(name, info) for name in _splits(info)]},
    }
    if suffix == ".tar":
        image = IMAGE_SUFFIXES[info.recipe["encode"]["format"]].removeprefix(".")
        front_matter["dataset_info"]["features"] = _tar_features(image, info.annotations)
    return front_matter


def _split(name: str, info: DatasetInfo) -> dict[str, Any]:
    """`datasets` ignores splits that lack one of these."""
    shards = [shard for shard in info.shards if shard.split == name]
    return {
        "name": name,
        "num_examples": sum(shard.rows for shard in shards),
        "num_bytes": sum(shard.bytes for shard in shards),
    }


def _size_category(samples: int) -> str:
    """The Hugging Face hub's name for a number of samples."""
    for power, (low, high) in enumerate(pairwise(("n<1K", "1K", "10K", "100K", "1M", "10M", "100M", "1B")), 3):
        if samples < 10**power:
            return low if power == 3 else f"{low}<n<{high}"
    return "n>1B"


def _tar_features(image: str, annotations: Annotations) -> list[dict[str, Any]]:
    """Types of a WebDataset sample's parts: a tar has none, and `datasets` would infer them from five samples."""
    return [
        {"name": "json", "struct": [_feature(field.name, field.type) for field in samples_schema(annotations)]},
        *({"name": f"{name}.png", "dtype": "image"} for name in ("mask", *sorted(image_names(annotations)))),
        {"name": image, "dtype": "image"},
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
    ]


def _feature(name: str, kind: pa.DataType) -> dict[str, Any]:
    if name == "label":
        return {"name": name, "dtype": {"class_label": {"names": {str(n): label for n, label in enumerate(LABELS)}}}}
    if isinstance(kind, pa.ListType | pa.FixedSizeListType):
        return {"name": name, "list": _dtype(kind.value_type)}
    return {"name": name, "dtype": _dtype(kind)}


def _dtype(kind: pa.DataType) -> str:
    """Arrow's float and double are called float32 and float64 elsewhere."""
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


def _splits(info: DatasetInfo) -> list[str]:
    return list(dict.fromkeys(shard.split for shard in info.shards if shard.rows))


def _yaml(values: Any) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
