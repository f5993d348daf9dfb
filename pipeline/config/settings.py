"""What every group of settings on a recipe's page has in common."""

from typing import Annotated, Any

from pydantic import Field
from pydantic.config import JsonDict

from facemill.options import Options

__all__ = ["BYTES_STAY", "Positive", "Settings"]

Positive = Annotated[int, Field(gt=0, lt=1 << 31)]

BYTES_STAY: JsonDict = {"changes_bytes": False}
"""Marks a field, as its `json_schema_extra`, that no byte of a dataset depends on."""


class Settings(Options):
    """A frozen group of settings that refuses unknown keys."""

    def deciding_values(self) -> dict[str, Any]:
        """The fields that bytes of a dataset may depend on, as plain values."""
        fields = type(self).model_fields
        return self.model_dump(
            mode="json", exclude={name for name, field in fields.items() if field.json_schema_extra == BYTES_STAY}
        )
