"""Forgery detectors behind one interface: face crops in, log-odds of being fake out.

detector = detectors.forgery.create("mat", num_attentions=4)
output = detector(images)  # [B, 3, H, W], normalised by `detector.input_spec`; `output.score` is [B]
loss = detectors.forgery.create_objective(detector)(output, batch, TrainingStep(detector)).total
"""

from facemill.detectors.forgery.base import (
    BackboneOptions,
    ClipOptions,
    ForgeryDetector,
    ForgeryOptions,
    ForgeryOutput,
    InputSpec,
)
from facemill.detectors.forgery.batch import ForgeryBatch
from facemill.detectors.forgery.creation import create, create_objective, describe_options, options_of
from facemill.detectors.forgery.objective import Classification, ForgeryObjective, LossTerms, TrainingStep
from facemill.detectors.forgery.saved import load_model

__all__ = [
    "BackboneOptions",
    "Classification",
    "ClipOptions",
    "ForgeryBatch",
    "ForgeryDetector",
    "ForgeryObjective",
    "ForgeryOptions",
    "ForgeryOutput",
    "InputSpec",
    "LossTerms",
    "TrainingStep",
    "create",
    "create_objective",
    "describe_options",
    "load_model",
    "options_of",
]
