"""SIA: An Information Theoretic Approach for Attention-Driven Face Forgery Detection (ECCV 2022)."""
