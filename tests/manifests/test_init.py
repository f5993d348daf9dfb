import subprocess
import sys

from facemill import manifests


def test_every_export_is_there():
    assert manifests.__all__ == sorted(manifests.__all__, key=lambda name: (not name.isupper(), name.islower(), name))
    for name in manifests.__all__:
        assert getattr(manifests, name) is not None


def test_importing_stays_light():
    heavy = ("torch", "cv2", "pandas", "scipy", "fsspec", "dask")
    code = f"import facemill.manifests, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
