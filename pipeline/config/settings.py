"""What every group of settings on a recipe's page has in common."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

__all__ = ["BYTES_STAY", "Positive", "Probability", "Settings"]

Positive = Annotated[int, Field(gt=0, lt=1 << 31)]
Probability = Annotated[float, Field(ge=0, le=1)]

BYTES_STAY: JsonDict = {"changes_bytes": False}
"""Marks a field, as its `json_schema_extra`, that no byte of a dataset depends on."""


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def deciding_values(self) -> dict[str, Any]:
        """The fields that bytes of a dataset may depend on, as plain values."""
        fields = type(self).model_fields
        return self.model_dump(
            mode="json", exclude={name for name, field in fields.items() if field.json_schema_extra == BYTES_STAY}
        )
