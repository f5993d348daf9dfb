import gc
from collections.abc import Iterator

import pytest

from facemill.pipeline.build.executors import forks


@pytest.fixture(autouse=True)
def _no_half_made_clients_left() -> Iterator[None]:
    """Dask locks up where a client that never connected is collected while the next one is being made."""
    yield
    gc.collect()


@pytest.fixture(autouse=True, scope="module")
def _no_imports_that_no_task_needs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Workers of these tests build nothing: torch alone would take seconds in each test that starts some."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.module.__name__.endswith("test_forks"):
            patch.setattr(forks, "NEEDED", [])
        yield
