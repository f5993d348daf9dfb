"""Forgery detectors behind one interface: face crops in, log-odds of being fake out.

detector = detectors.forgery.create("mat", num_attentions=4)
output = detector(images)  # [B, 3, H, W], normalised by `detector.input_spec`; `output.score` is [B]
loss = detector.loss(output, batch).total
"""

from facemill.detectors.forgery.base import (
    ForgeryDetector,
    ForgeryOptions,
    ForgeryOutput,
    InputSpec,
    LossTerms,
)
from facemill.detectors.forgery.batch import ForgeryBatch
from facemill.detectors.forgery.creation import create, describe_options, options_of

__all__ = [
    "ForgeryBatch",
    "ForgeryDetector",
    "ForgeryOptions",
    "ForgeryOutput",
    "InputSpec",
    "LossTerms",
    "create",
    "describe_options",
    "options_of",
]
