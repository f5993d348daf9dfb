"""Options and settings: frozen models that reject unknown keys."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from facemill.errors import ConfigError
from facemill.registry import nearest

__all__ = ["Options", "Probability", "check_options"]

Probability = Annotated[float, Field(ge=0, le=1)]


class Options(BaseModel):
    """A frozen group of options that rejects unknown keys; each field's docstring describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


OptionsModel = TypeVar("OptionsModel", bound=Options)


def check_options(name: str, model: type[OptionsModel], options: Mapping[str, Any]) -> OptionsModel:
    """Validate options and fill in defaults; `name` is used in error messages.

    Raises:
        ConfigError: for an unknown option or value.
    """
    try:
        return model.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = f"its options are {', '.join(model.model_fields)}" if model.model_fields else "it has none"
            hint = nearest(key, model.model_fields)
            raise ConfigError(f"{name} has no option {key!r}{hint}: {known}.") from None
        where = f"Option {key!r} of {name}" if key else f"An option of {name}"
        raise ConfigError(f"{where} is invalid: {first['msg']}, got {first['input']!r}.") from None
