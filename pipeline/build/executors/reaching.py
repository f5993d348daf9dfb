"""Connecting to an existing scheduler: certificates, and an explanation of each kind of failure."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

__all__ = ["explain_failure", "plain_warning"]

CERTIFICATES = (
    "--tls-ca, --tls-cert and --tls-key, or DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY"
)


def plain_warning(address: str) -> str | None:
    """A line on what an address without TLS means; None if other machines cannot reach it, or if it has TLS."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme in ("tls", "wss", "inproc") or _is_loopback(parts.hostname or ""):
        return None
    return (
        f"{address} is not secured: anyone who reaches the scheduler runs code there, on the workers and here, and "
        "reads what is sent; use tls:// with --tls-ca, --tls-cert and --tls-key."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
