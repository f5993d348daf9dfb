"""One small dataset in each shard format."""

from pathlib import Path

import pytest

from tests.pipeline.data.built import build


@pytest.fixture(scope="session")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built") / "parquet")


@pytest.fixture(scope="session")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built") / "tar", format_name="webdataset")
