"""The base class of a recipe's groups of settings."""

from typing import Annotated, Any

from pydantic import Field
from pydantic.config import JsonDict

from facemill.options import Options

__all__ = ["BYTES_STAY", "Positive", "Settings"]

Positive = Annotated[int, Field(gt=0, lt=1 << 31)]

BYTES_STAY: JsonDict = {"changes_bytes": False}
"""Marks, as `json_schema_extra`, a field that does not affect a dataset's bytes."""


class Settings(Options):
    """A frozen group of settings that rejects unknown keys."""

    def deciding_values(self) -> dict[str, Any]:
        """The fields that can affect a dataset's bytes, as plain values."""
        fields = type(self).model_fields
        return self.model_dump(
            mode="json", exclude={name for name, field in fields.items() if field.json_schema_extra == BYTES_STAY}
        )
