"""Forgery detectors by name and options."""

from collections.abc import Mapping
from typing import Any

from facemill.detectors.forgery.base import ForgeryDetector, ForgeryOptions
from facemill.options import Options, check_options
from facemill.registry import FORGERY_DETECTORS

__all__ = ["create", "describe_options", "options_of"]


def options_of(name: str, options: Mapping[str, Any] | None = None) -> ForgeryOptions:
    """A detector's options, checked and complete.

    Raises:
        ConfigError: for an unknown detector, option or value.
    """
    return check_options(name, FORGERY_DETECTORS[name].options_type, options or {})


def describe_options(name: str) -> list[str]:
    """A line for each of a detector's options: its name, default and meaning.

    Raises:
        ConfigError: for an unknown detector.
    """
    model = FORGERY_DETECTORS[name].options_type
    defaults = options_of(name).model_dump(mode="json")
    meanings = {  # an option that is only given another default says what its first definition says
        key: next((told for kind in model.__mro__ if (told := _description(kind, key))), "")
        for key in model.model_fields
    }
    return [f"{key}={defaults[key]}  {' '.join(meaning.split())}" for key, meaning in meanings.items()]


def create(name: str, **options: Any) -> ForgeryDetector:
    """Build a forgery detector, in training mode, on the CPU.

    Examples:
        >>> detector = facemill.create_forgery_detector("resnet18")
        >>> detector.input_spec.size
        256

    Args:
        name: one of `registry.FORGERY_DETECTORS`.
        options: see the detector's `options_type`.

    Raises:
        ConfigError: for an unknown name, option or value.
        DetectorError: for backbone weights that are missing or damaged.
    """
    return FORGERY_DETECTORS[name](options_of(name, options))


def _description(model: type, key: str) -> str | None:
    field = model.model_fields.get(key) if issubclass(model, Options) else None
    return None if field is None else field.description
