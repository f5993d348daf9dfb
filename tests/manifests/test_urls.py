"""URLs, how long their servers are waited for, and errors of the libraries behind them."""

import fsspec
import pytest

from facemill.manifests.urls import PATIENCE, answered, as_os_error, is_url, load_fsspec


def test_a_place_is_a_url_by_its_protocol() -> None:
    assert is_url("s3://bucket/data")
    assert not is_url("/data/s3:bucket")


def test_servers_are_waited_for_unless_the_configuration_says_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", {"anon": True})
    assert load_fsspec().config.conf["s3"] == {**PATIENCE["s3"], "anon": True}
    timeouts = PATIENCE["s3"]["config_kwargs"]
    assert timeouts["connect_timeout"] + timeouts["read_timeout"] <= 15  # five attempts at most in 75 s
    assert timeouts["retries"] == {"mode": "standard", "total_max_attempts": 6}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 60}})
    assert load_fsspec().config.conf["s3"] == {"config_kwargs": {"read_timeout": 60}}


def test_the_file_system_and_the_path_in_it() -> None:
    with answered("memory://folder/file") as (filesystem, path):
        assert (filesystem.protocol, path) == ("memory", "/folder/file")


def test_a_protocol_that_nobody_knows_is_an_os_error() -> None:
    with pytest.raises(OSError, match="Protocol not known: nowhere"), answered("nowhere://file"):
        pass


def test_errors_are_os_errors_of_one_line() -> None:
    with pytest.raises(OSError, match=r"^no such bucket$") as told, as_os_error():
        raise ValueError("no such\n  bucket")
    assert isinstance(told.value.__cause__, ValueError)
    with pytest.raises(OSError, match=r"^ValueError$"), as_os_error():
        raise ValueError
    with pytest.raises(FileNotFoundError), as_os_error():
        raise FileNotFoundError("it stays what it is")
