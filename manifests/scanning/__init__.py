"""Makes a manifest from a dataset's folder: listing, scanning, splitting, content hashes, merging."""

__all__: list[str] = []
