"""Order and choice that depend on a seed and a name alone: never on time, machine or what else there is."""

import hashlib

import numpy as np

__all__ = ["seeded_generator", "seeded_hash"]


def seeded_hash(seed: int, name: str) -> int:
    """A number of 128 bits, to sort by or to seed a generator with."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest(), "big")


def seeded_generator(*keys: int) -> np.random.Generator:
    """Create a generator from integers, such as (seed, epoch, step): equal keys give equal random numbers.

    It does not depend on earlier random numbers, so that a resumed run repeats them.
    """
    # NumPy takes no negative keys, and pads short lists with zeros: the length keeps (1,) and (1, 0) apart.
    return np.random.default_rng([len(keys), *(key % 2**63 for key in keys)])
