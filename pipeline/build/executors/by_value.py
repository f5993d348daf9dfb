"""Sending functions to processes that may not have this version of facemill, or none."""

import pickle
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

__all__ = ["ByValue"]


class ByValue:
    """A function that is pickled with its code: unpickled, it is the function itself.

    Args:
        function: imports everything of facemill inside, and refers to other functions of its module only.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        module = sys.modules[function.__module__]
        cloudpickle.register_pickle_by_value(module)
        try:
            self._pickled = cloudpickle.dumps(function)
        finally:
            cloudpickle.unregister_pickle_by_value(module)

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return pickle.loads, (self._pickled,)

    def __call__(self, *arguments: Any) -> Any:
        """Dask accepts callables only."""
        raise NotImplementedError("only the unpickled function is called")
