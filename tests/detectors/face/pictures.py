"""Reading of test pictures."""

from pathlib import Path

import cv2
import numpy as np

__all__ = ["read_rgb"]


def read_rgb(path: Path) -> np.ndarray:
    """A picture as uint8 RGB [H, W, 3]."""
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
