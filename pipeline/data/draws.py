"""Random draws that depend on what they are for, never on what was drawn before: a resumed run repeats them."""

import numpy as np

__all__ = ["draws"]


def draws(*keys: int) -> np.random.Generator:
    """A generator made from whole numbers, such as (seed, epoch, step): equal keys give equal draws."""
    # NumPy takes no negative ones, and fills short lists up with zeros: the length keeps (1,) and (1, 0) apart.
    return np.random.default_rng([len(keys), *(key % 2**63 for key in keys)])
