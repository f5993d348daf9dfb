"""Random generators seeded by purpose, independent of earlier random numbers, so that a resumed run repeats them."""

import numpy as np

__all__ = ["seeded_generator"]


def seeded_generator(*keys: int) -> np.random.Generator:
    """Create a generator from integers, such as (seed, epoch, step): equal keys give equal random numbers."""
    # NumPy takes no negative keys, and pads short lists with zeros: the length keeps (1,) and (1, 0) apart.
    return np.random.default_rng([len(keys), *(key % 2**63 for key in keys)])
