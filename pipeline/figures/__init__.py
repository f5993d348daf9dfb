"""Images and plots made from datasets and evaluations: contact sheets, explanation sheets, curves."""

__all__: list[str] = []
