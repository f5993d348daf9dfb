"""Annotators: additional named outputs per sample."""

from facemill.pipeline.extract.annotators.base import Annotated, Annotator, annotate, create_annotators, declared

__all__ = ["Annotated", "Annotator", "annotate", "create_annotators", "declared"]
