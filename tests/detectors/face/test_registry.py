import subprocess
import sys

import pytest

import facemill.detectors.face
from facemill import ConfigError
from facemill.registry import FACE_DETECTORS


def test_available_detectors():
    variants = {name: kind.variants for name, kind in FACE_DETECTORS.items()}
    assert variants == {"mtcnn": (), "retinaface": ("resnet50", "mobilenet0.25")}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mtcn", {}, "mtcnn, retinaface"),
        ("mtcnn", {"variant": "resnet50"}, "no variant"),
        ("mtcnn", {"weights": "somewhere.pt"}, "comes with its weights"),
        ("retinaface", {"variant": "vgg"}, "resnet50, mobilenet0.25"),
        ("mtcnn", {"options": {"factr": 0.5}}, r"mtcnn has no option 'factr' \(did you mean 'factor'\?\)"),
        ("retinaface", {"options": {"factor": 0.5}}, "no option 'factor': it has none"),
        ("mtcnn", {"device": "quantum"}, "no device 'quantum'"),
        ("mtcnn", {"device": "cuda:99"}, "no device 'cuda:99'"),
    ],
)
def test_wrong_options_are_named(name, options, message):
    with pytest.raises(ConfigError, match=message):
        facemill.detectors.face.create(name, **options)


def test_the_package_alone_does_not_import_torch():
    code = "import sys, facemill.detectors; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
