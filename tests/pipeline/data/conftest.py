"""One small dataset in each shard format, and one as earlier versions wrote it."""

from pathlib import Path

import pytest

from tests.pipeline.data.built import build

MADE = {
    "parquet": {},
    "tar": {"format_name": "webdataset"},
    "parquet without places": {"located": False},
    "tar without places": {"format_name": "webdataset", "located": False},
}


@pytest.fixture(scope="session")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built") / "parquet")


@pytest.fixture(scope="session")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built") / "tar", format_name="webdataset")


@pytest.fixture(scope="session", params=MADE)
def root(request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built") / "any", **MADE[request.param])
