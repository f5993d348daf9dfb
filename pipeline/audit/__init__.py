"""Audit of built datasets: what lets a detector score without the face, or see test data in training."""
