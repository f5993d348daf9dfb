"""Connecting to an existing scheduler: with a time limit, and an explanation of each kind of failure."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

__all__ = ["explain_failure", "within"]

Result = TypeVar("Result")

CERTIFICATES = "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY"


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Return or raise the result of `call`, run in a thread that is abandoned after this many seconds.

    Raises:
        TimeoutError: it does not end in time. Dask has no time limit for a handshake, or for a worker that hangs.
    """
    ended: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            ended.append((call(), None))
        except BaseException as error:
            ended.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        raise TimeoutError(f"no answer within {seconds:g} s")
    result, error = ended[0]
    if error is not None:
        raise error
    value: Result = result
    return value


def explain_failure(address: str, error: BaseException, seconds: float) -> str:
    """Explain why the scheduler at `address` cannot be reached, and what to do.

    Args:
        error: raised by the attempt to connect.
        seconds: time limit of the attempt.
    """
    told = " ".join(f"{type(cause).__name__}: {cause}" for cause in _causes(error))
    secured = address.startswith("tls://")
    if "encryption required" in told:
        return f"Dask's setting distributed.comm.require-encryption refuses {address}: give the address with tls://."
    if secured and "ssl_context" in told:
        return f"{address} needs certificates: name them in {CERTIFICATES}."
    if secured and ("FileNotFound" in told or "Permission" in told or "PEM" in told):
        return f"The certificates for {address} cannot be read: check the files named by {CERTIFICATES}."
    if secured and "SSL" in told:
        return f"The server at {address} has no TLS, or other certificates: try tcp://, or see {CERTIFICATES}."
    if "no answer within" in told:
        return f"The server at {address} has not answered within {seconds:g} s: restart it, or check the address."
    if ("CommClosed" in told and "Refused" not in told) or isinstance(error, MemoryError):
        return f"The server at {address} is not a Dask scheduler, or needs tls:// and certificates ({CERTIFICATES})."
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"No Dask scheduler answers at {address} ({reason}): check the address, or leave --scheduler out."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
