"""Forgery detectors behind one interface: face crops in, log-odds of being fake out.

detector = detectors.forgery.create("mat", num_attentions=4)
output = detector(images)  # [B, 3, H, W], normalised by `detector.input_spec`; `output.score` is [B]
loss = detector.loss(output, batch).total
"""

from facemill.detectors.forgery.base import (
    ForgeryBatch,
    ForgeryDetector,
    ForgeryOptions,
    ForgeryOutput,
    InputSpec,
    LossTerms,
)
from facemill.detectors.forgery.etd.network import ETD
from facemill.detectors.forgery.lrl.network import LRL
from facemill.detectors.forgery.mat.network import MAT
from facemill.detectors.forgery.plain import Plain
from facemill.detectors.forgery.registry import available, create, describe_options, options_of, register
from facemill.detectors.forgery.sia.network import SIA
from facemill.detectors.forgery.sola.network import SOLA

__all__ = [
    "ForgeryBatch",
    "ForgeryDetector",
    "ForgeryOptions",
    "ForgeryOutput",
    "InputSpec",
    "LossTerms",
    "available",
    "create",
    "describe_options",
    "options_of",
    "register",
]

register("lrl", LRL)
register("mat", MAT)
register("sola", SOLA)
register("sia", SIA)
register("etd", ETD)
register("xception", Plain, backbone="legacy_xception.tf_in1k", size=299)
register("efficientnet_b4", Plain, backbone="tf_efficientnet_b4.aa_in1k", size=299, dropout=0.4)
register("resnet18", Plain, backbone="resnet18.tv_in1k", size=256)
register("resnet34", Plain, backbone="resnet34.tv_in1k", size=224)
