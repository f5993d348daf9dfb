import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_half_made_clients_left() -> Iterator[None]:
    """Dask locks up where a client that never connected is collected while the next one is being made."""
    yield
    gc.collect()
