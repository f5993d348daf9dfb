"""fsspec URLs: how long their servers are waited for, and their libraries' many errors as one kind."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["answered", "as_os_error", "is_url", "load_fsspec"]

PATIENCE: dict[str, dict[str, Any]] = {
    # s3fs makes five attempts of each of these series: 75 s on average with a server that always throttles, and
    # five minutes with one that never answers.
    "s3": {
        "config_kwargs": {
            "connect_timeout": 5,
            "read_timeout": 10,
            "retries": {"mode": "standard", "total_max_attempts": 6},
        }
    },
}
"""Arguments of file systems by protocol, where neither the URL nor fsspec's configuration says otherwise."""


def is_url(place: object) -> bool:
    """Whether a file or folder is named by an fsspec URL."""
    return "://" in str(place)


def load_fsspec() -> Any:
    """The package, with `PATIENCE`. Called late: importing takes a tenth of a second, and only URLs need it."""
    import fsspec

    for protocol, arguments in PATIENCE.items():
        fsspec.config.conf[protocol] = {**arguments, **fsspec.config.conf.get(protocol, {})}
    return fsspec


@contextmanager
def answered(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL, and the path in it.

    Raises:
        OSError: for whatever goes wrong in the context, as a library that is not installed.
    """
    with as_os_error():
        yield load_fsspec().core.url_to_fs(url)


@contextmanager
def as_os_error() -> Iterator[None]:
    """Raise any exception but an OSError as one: those of some libraries have no base class but Exception."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(" ".join(str(error).split()) or type(error).__name__) from error
