"""Reads JSON files that describe a dataset's videos by file name or path."""

import json
from collections.abc import Mapping
from typing import Any

from facemill import ManifestError
from facemill.manifests.scanning.listing import Listing

__all__ = ["read_json_table"]


def read_json_table(listing: Listing, path: str) -> Mapping[str, Mapping[str, Any]]:
    """Read the description of each video.

    Raises:
        ManifestError: the file cannot be read, or is not an object of objects.
    """
    try:
        table = json.loads(listing.read_text(path))
    except ValueError as error:
        raise ManifestError(f"{path} is not JSON ({error}): download it again.") from error
    if not isinstance(table, dict) or not all(isinstance(row, dict) for row in table.values()):
        raise ManifestError(f"{path} does not describe videos by name: restore the file.")
    return table
