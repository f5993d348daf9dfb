import subprocess
import sys

import pytest

import facemill.detectors.face
from facemill import ConfigError
from facemill.detectors.face.mtcnn import MTCNN


def test_available_detectors():
    assert facemill.detectors.face.available() == ["mtcnn", "retinaface"]
    assert facemill.detectors.face.variants("mtcnn") == ()
    assert facemill.detectors.face.variants("retinaface") == ("resnet50", "mobilenet0.25")


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="already"):
        facemill.detectors.face.register("mtcnn", MTCNN)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mtcn", {}, "mtcnn, retinaface"),
        ("mtcnn", {"variant": "resnet50"}, "no variant"),
        ("mtcnn", {"weights": "somewhere.pt"}, "comes with its weights"),
        ("retinaface", {"variant": "vgg"}, "resnet50, mobilenet0.25"),
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
