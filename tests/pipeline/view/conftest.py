"""A dataset to look at, built once."""

import pytest

from tests.pipeline.view.staged import Staged, stage


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    return stage(tmp_path_factory.mktemp("staged"))
