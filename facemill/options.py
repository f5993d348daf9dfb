"""Options and settings: frozen models that reject unknown keys."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from facemill.errors import ConfigError
from facemill.registry import nearest

__all__ = ["Configurable", "Options", "Probability", "check_options", "create_all"]

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


class Configurable:
    """Base of what a mapping from names to options creates: filters, annotators, transforms.

    Args:
        options: an instance of `options_type`.
    """

    options_type: ClassVar[type[Options]] = Options

    def __init__(self, options: Any) -> None:
        self.options = options


Thing = TypeVar("Thing", bound=Configurable)


def create_all(
    registry: Mapping[str, type[Thing]], wanted: Mapping[str, Mapping[str, Any]], *, prefix: str = ""
) -> dict[str, Thing]:
    """Create one of each wanted entry, in order; `prefix` is what precedes names in messages.

    Raises:
        ConfigError: for an unknown entry, option or value.
    """
    kinds = {name: registry[name] for name in wanted}
    return {name: kind(check_options(prefix + name, kind.options_type, wanted[name])) for name, kind in kinds.items()}
