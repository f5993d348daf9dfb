"""Creation of forgery detectors by name and options."""

from collections.abc import Mapping
from typing import Any

from facemill.detectors.forgery.base import ForgeryDetector, ForgeryOptions
from facemill.detectors.forgery.objective import ForgeryObjective
from facemill.options import Options, check_options
from facemill.registry import FORGERY_DETECTORS, OBJECTIVES

__all__ = ["create", "create_objective", "describe_options", "options_of"]


def options_of(name: str, options: Mapping[str, Any] | None = None) -> ForgeryOptions:
    """Validate a detector's options and fill in defaults.

    Raises:
        ConfigError: if the detector, an option or a value is unknown.
    """
    return check_options(name, FORGERY_DETECTORS[name].options_type, options or {})


def describe_options(name: str) -> list[str]:
    """List a detector's options, one line each: name, default and meaning.

    Raises:
        ConfigError: if the detector is unknown.
    """
    model = FORGERY_DETECTORS[name].options_type
    defaults = options_of(name).model_dump(mode="json")
    kinds = [kind for kind in model.__mro__ if issubclass(kind, Options)]
    meanings = {  # an option that is redefined only for its default has the description of its base class
        key: next(filter(None, (kind.model_fields[key].description for kind in kinds if key in kind.model_fields)), "")
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
        ConfigError: if the name, an option or a value is unknown.
        DetectorError: if the backbone's weights are missing or damaged.
    """
    return FORGERY_DETECTORS[name](options_of(name, options))


def create_objective(
    network: ForgeryDetector, name: str = "paper", options: Mapping[str, Any] | None = None
) -> ForgeryObjective:
    """Build an objective for a network, on the CPU.

    Args:
        name: `paper` for the network's own, or one of `registry.OBJECTIVES`.
        options: see the objective's `options_type`.

    Raises:
        ConfigError: if the name, an option or a value is unknown, or it would train only a part of the network.
    """
    kind = network.objective_type if name == "paper" else OBJECTIVES[name]
    objective = kind(network, check_options(f"The objective {name}", kind.options_type, options or {}))
    network.check_objective(objective)
    return objective
