"""SIA: An Information Theoretic Approach for Attention-Driven Face Forgery Detection (ECCV 2022)."""

__all__: list[str] = []
