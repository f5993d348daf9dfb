"""Figures of datasets and evaluations: contact sheets, explanation sheets, plots."""

__all__: list[str] = []
