from pathlib import Path

import av
import numpy as np
import pytest


@pytest.fixture(scope="module")
def scene(media: Path) -> np.ndarray:
    """uint8 [60, 140, 116, 3]: people who move fast."""
    with av.open(str(media / "pairs/ghost_real.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24", width=116, height=140) for f in container.decode(video=0)]
    return np.stack(frames[:60])
