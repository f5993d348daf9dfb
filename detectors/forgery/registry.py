"""The forgery detectors by name."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from facemill import ConfigError
from facemill.detectors.forgery.base import ForgeryDetector, ForgeryOptions

__all__ = ["available", "create", "describe_options", "options_of", "register"]

_DETECTORS: dict[str, tuple[type[ForgeryDetector], dict[str, Any]]] = {}


def register(name: str, detector: type[ForgeryDetector], **defaults: Any) -> None:
    """Make a detector known to `create`.

    Args:
        defaults: options that differ from those of the detector's own `options_type`.

    Raises:
        ValueError: where the name is taken.
    """
    if name in _DETECTORS:
        raise ValueError(f"There is a forgery detector {name!r} already: choose another name.")
    _DETECTORS[name] = (detector, defaults)


def available() -> list[str]:
    """Names of the registered forgery detectors, sorted."""
    return sorted(_DETECTORS)


def options_of(name: str, options: Mapping[str, Any] | None = None) -> ForgeryOptions:
    """A detector's options, checked and complete.

    Raises:
        ConfigError: for an unknown detector, option or value.
    """
    detector, defaults = _find(name)
    known = detector.options_type.model_fields
    try:
        return detector.options_type.model_validate({**defaults, **(options or {})})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"{name} has no option {key!r}: its options are {', '.join(known)}.") from None
        where = f"Option {key!r} of {name}" if key else f"An option of {name}"
        raise ConfigError(f"{where} is wrong: {first['msg']}, got {first['input']!r}.") from None


def describe_options(name: str) -> list[str]:
    """A line for each of a detector's options: its name, default and meaning.

    Raises:
        ConfigError: for an unknown detector.
    """
    defaults = options_of(name).model_dump(mode="json")
    meanings = {
        key: field.description or ForgeryOptions.model_fields[key].description or ""  # redefined for its default only
        for key, field in _find(name)[0].options_type.model_fields.items()
    }
    return [f"{key}={defaults[key]}  {' '.join(meaning.split())}" for key, meaning in meanings.items()]


def create(name: str, **options: Any) -> ForgeryDetector:
    """Build a forgery detector, in training mode, on the CPU.

    >>> detector = facemill.create_forgery_detector("resnet18")
    >>> detector.input_spec.size
    256

    Args:
        name: one of `available()`.
        options: see the detector's `options_type`.

    Raises:
        ConfigError: for an unknown name, option or value.
        DetectorError: for backbone weights that are missing or damaged.
    """
    return _find(name)[0](options_of(name, options))


def _find(name: str) -> tuple[type[ForgeryDetector], dict[str, Any]]:
    if name not in _DETECTORS:
        raise ConfigError(f"There is no forgery detector {name!r}: say one of {', '.join(available())}.")
    return _DETECTORS[name]
