"""Order and choice that depend on a seed and a name alone: never on time, machine or what else there is."""

import hashlib

__all__ = ["seeded_hash"]


def seeded_hash(seed: int, name: str) -> int:
    """A number of 128 bits, to sort by or to seed a generator with."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest(), "big")
