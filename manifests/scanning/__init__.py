"""From a dataset's folder to a manifest: listing, scanning, splitting, content hashes, merging."""

__all__: list[str] = []
