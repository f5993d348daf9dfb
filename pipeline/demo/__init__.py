"""A small synthetic corpus in the layout of FaceForensics++: no download, no dataset agreement."""

from facemill.pipeline.demo.corpus import make_corpus
from facemill.pipeline.demo.run import run_demo

__all__ = ["make_corpus", "run_demo"]
