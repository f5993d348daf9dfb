import dataclasses
import json
import logging
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from facemill import DatasetError
from facemill.manifests.shards.card import dataset_card
from facemill.manifests.shards.dataset import (
    DATASET_FILE,
    Count,
    DatasetInfo,
    ShardInfo,
    count_samples,
    read_dataset,
    write_dataset,
)
from facemill.registry import SHARD_FORMATS
from tests.manifests.small_dataset import Parts

INFO = DatasetInfo(
    recipe={
        "name": "lrl",
        "paper": "Local Relation Learning for Face Forgery Detection (AAAI 2021)",
        "crop": {"size": 299, "align": "none", "around": "face"},
        "encode": {"format": "png"},
        "shards": {"format": "parquet"},
    },
    versions={"av": "18.0.0", "ffmpeg": "8.0"},
    counts={"train": {"real": Count(3200, 100), "deepfakes": Count(3100, 99)}, "val": {"real": Count(32, 1)}},
    shards=(
        ShardInfo("train/train-000000.parquet", "train", 6300, 10**9, "a" * 64),
        ShardInfo("val/val-000000.parquet", "val", 32, 10**7, "b" * 64),
        ShardInfo("test/test-000000.parquet", "test", 0, 4000, "c" * 64),
    ),
    failures=1,
)


class TestDatasetJson:
    def test_what_is_written_is_read(self, tmp_path):
        write_dataset(tmp_path, INFO)
        assert read_dataset(tmp_path) == INFO

    def test_equal_datasets_give_equal_bytes(self, tmp_path):
        for name in ("a", "b"):
            write_dataset(tmp_path / name, INFO)
        assert (tmp_path / "a" / DATASET_FILE).read_bytes() == (tmp_path / "b" / DATASET_FILE).read_bytes()

    def test_it_is_plain_json(self, tmp_path):
        write_dataset(tmp_path, INFO)
        content = json.loads((tmp_path / DATASET_FILE).read_text())
        assert content["format_version"] == 2
        assert content["recipe"] == INFO.recipe
        assert content["counts"]["train"]["deepfakes"] == {"samples": 3100, "videos": 99}
        assert content["shards"][1] == {
            "path": "val/val-000000.parquet", "split": "val", "rows": 32, "bytes": 10**7, "sha256": "b" * 64
        }  # fmt: skip

    def test_missing(self, tmp_path):
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(DatasetError, match=r"has no dataset\.json"):
                read_dataset(folder)

    @pytest.mark.parametrize("share", [0, 0.3, 0.99])
    def test_half(self, tmp_path, share):
        write_dataset(tmp_path, INFO)
        whole = (tmp_path / DATASET_FILE).read_bytes().rstrip()
        (tmp_path / DATASET_FILE).write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DatasetError, match="cannot be read"):
            read_dataset(tmp_path)

    @pytest.mark.parametrize("version", [3, None, "1", True])
    def test_unknown_version(self, tmp_path, version):
        (tmp_path / DATASET_FILE).write_text(json.dumps({"format_version": version}))
        with pytest.raises(DatasetError, match=f"has format version {version}"):
            read_dataset(tmp_path)

    @pytest.mark.parametrize("content", ["[]", "3", "null", '"text"'])
    def test_other_json(self, tmp_path, content):
        (tmp_path / DATASET_FILE).write_text(content)
        with pytest.raises(DatasetError, match="it is not a JSON object"):
            read_dataset(tmp_path)

    @pytest.mark.parametrize(
        ("key", "value", "where"),
        [("shards", None, "shards"), ("shards", [{"path": "a"}], r"shards\.0"), ("recipe", 3, "recipe"),
         ("counts", {"train": {"real": 3}}, r"counts\.train\.real"), ("failures", "many", "failures")],
    )  # fmt: skip
    def test_damaged_values_are_named(self, tmp_path, key, value, where):
        write_dataset(tmp_path, INFO)
        content = json.loads((tmp_path / DATASET_FILE).read_text())
        (tmp_path / DATASET_FILE).write_text(json.dumps({**content, key: value}))
        with pytest.raises(DatasetError, match=rf"is damaged \({where}"):
            read_dataset(tmp_path)


class TestCard:
    def front_matter(self, card: str) -> dict:
        _, front_matter, _ = card.split("---\n", 2)
        return yaml.safe_load(front_matter)

    def test_front_matter_names_the_files_of_each_split(self):
        configs = self.front_matter(dataset_card(INFO))["configs"]
        assert configs == [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "train/*.parquet"},
                    {"split": "val", "path": "val/*.parquet"},
                ],
            }
        ]

    @pytest.mark.parametrize(
        ("rows", "category"),
        [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (6332, "1K<n<10K"), (10**6, "1M<n<10M"), (10**9, "n>1B")],
    )
    def test_front_matter_has_license_and_size(self, rows, category):
        info = dataclasses.replace(INFO, shards=(dataclasses.replace(INFO.shards[0], rows=rows),))
        card = dataset_card(info)
        front_matter = self.front_matter(card)
        assert front_matter["size_categories"] == [category]
        assert front_matter["license"] == "other"
        assert front_matter["license_name"] == "terms-of-the-source-datasets"
        assert "what the source datasets' terms allow" in card

    def test_front_matter_counts_samples_by_split(self):
        info = self.front_matter(dataset_card(INFO))["dataset_info"]
        assert info["splits"] == [
            {"name": "train", "num_examples": 6300, "num_bytes": 10**9},
            {"name": "val", "num_examples": 32, "num_bytes": 10**7},
        ]

    def test_body(self):
        card = dataset_card(INFO)
        assert "| train | deepfakes | 3,100 | 99 |\n| val | real | 32 | 1 |\n\n" in card
        assert "0 is real, 1 is fake." in card
        assert "(Local Relation Learning for Face Forgery Detection (AAAI 2021))." in card
        page = card.split("```yaml\n")[1].split("```")[0]
        assert yaml.safe_load(page) == INFO.recipe

    @pytest.mark.parametrize(("encoding", "suffix"), [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")])
    def test_front_matter_of_tars_names_the_pictures_by_their_suffix(self, encoding, suffix):
        recipe = {**INFO.recipe, "shards": {"format": "webdataset"}, "encode": {"format": encoding}}
        info = dataclasses.replace(INFO, recipe=recipe)
        features = self.front_matter(dataset_card(info))["dataset_info"]["features"]
        assert [feature["name"] for feature in features] == ["json", "mask.png", suffix, "__key__", "__url__"]
        types = {column.pop("name"): column for column in features[0]["struct"]}
        assert types["label"] == {"dtype": {"class_label": {"names": {"0": "real", "1": "fake"}}}}
        assert (types["bbox"], types["pts_s"]) == ({"list": "float32"}, {"dtype": "float64"})

    @pytest.mark.parametrize("format_name", sorted(SHARD_FORMATS))
    def test_datasets_loads_the_folder(self, tmp_path, format_name, caplog, monkeypatch):
        """With every field and its type, though the first samples are reals, whose `source_id` is null."""
        datasets = pytest.importorskip("datasets")
        monkeypatch.setattr(logging.getLogger("datasets"), "propagate", True)
        root: Path = Parts().write(tmp_path / "built", format_name)
        loaded = datasets.load_dataset(str(root), cache_dir=str(tmp_path / "hf"))
        assert not [said.getMessage() for said in caplog.records if "dataset card" in said.getMessage()]
        assert {split: len(rows) for split, rows in loaded.items()} == {"train": 6, "val": 3}
        row, features = loaded["train"][4], loaded["train"].features
        if format_name == "webdataset":
            row, features = row["json"], features["json"]
        assert features["label"] == datasets.ClassLabel(names=["real", "fake"])
        assert features["bbox"].feature == datasets.Value("float32")
        assert (row["label"], row["source_id"], row["pair_offset"]) == (1, "ffpp-real-c23-000", 0)
        assert row["subject_ids"] == ["ffpp-000", "ffpp-003"]


def test_reals_are_counted_first_and_splits_in_their_order():
    rows = [("test", "Aaa"), ("train", "real"), ("train", "Aaa"), ("train", "zzz"), ("test", "real")]
    table = pa.table({"split": [s for s, _ in rows], "method": [m for _, m in rows], "video_id": list("abcde")})
    counts = count_samples([table])
    assert {split: list(methods) for split, methods in counts.items()} == {
        "train": ["real", "Aaa", "zzz"],
        "test": ["real", "Aaa"],
    }
    assert list(counts) == ["train", "test"]


def test_a_video_in_two_parts_is_counted_once_and_no_part_gives_no_count():
    table = pa.table({"split": ["train"] * 3, "method": ["real"] * 3, "video_id": list("aab")})
    assert count_samples([table, table]) == count_samples([pa.concat_tables([table, table])])
    assert count_samples([table, table])["train"]["real"] == Count(samples=6, videos=2)
    assert count_samples([]) == {}
