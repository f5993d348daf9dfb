"""Mutation testing: small changes of the code, each of which the tests that cover it should notice."""
