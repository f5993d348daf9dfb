"""Workers are checked before any work, with a function sent by value, since they may not have facemill."""

import re
import sys
from pathlib import Path

import distributed
import pytest

from facemill import ConfigError
from facemill.pipeline.build.executors.dask import DaskExecutor
from facemill.pipeline.build.identity import WorkIdentity
from facemill.pipeline.build.workers import describe, fit_workers
from facemill.pipeline.config.recipe import load_recipe

LIBRARIES = "version of facemill or its libraries"


def test_what_is_in_sight_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "_state" / "run"
    folder.mkdir(parents=True)
    told = describe(None, "cpu", [str(tmp_path)], str(folder))
    assert told["unseen"] == []
    assert told["identity"] == {
        name: value
        for name, value in WorkIdentity.here(load_recipe("default"), "cpu").values().items()
        if name in (LIBRARIES, "device")
    }
    told = describe(str(tmp_path / "weights"), "cpu", [str(tmp_path / "data")], str(folder.with_name("gone")))
    assert told["unseen"] == [str(tmp_path / "data"), str(tmp_path / "out")]
    assert told["identity"]["weights file"] == "missing"


def test_that_facemill_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facemill", None)
    told = describe(None, "cpu", [], str(tmp_path))
    assert told["identity"] == {LIBRARIES: {"facemill": "missing (import of facemill halted; None in sys.modules)"}}


def test_another_version_is_refused_and_a_blind_worker_left_out() -> None:
    own = {"recipe": {}, LIBRARIES: {"facemill": "1", "av": "17"}, "device": "the driver's"}

    def worker(av: str = "17", device: str = "CPU x86_64 AVX512", unseen: tuple[str, ...] = ()) -> dict[str, object]:
        identity = {"recipe": {}, LIBRARIES: {"facemill": "1", "av": av}, "device": device}
        return {"identity": identity, "unseen": unseen}

    blind = worker(device="another", unseen=("/data",))
    fit, lines, device = fit_workers(own, {"tcp://a": worker(), "tcp://b": blind, "tcp://c": worker()})
    assert (fit, device) == (["tcp://a", "tcp://c"], "CPU x86_64 AVX512")
    assert lines == ["The worker at tcp://b is left out: it does not see /data."]
    with pytest.raises(ConfigError) as refused:
        fit_workers(own, {"tcp://a": worker(), "tcp://c": worker(av="16")})
    assert str(refused.value) == (
        f"The worker at tcp://c has another {LIBRARIES} (av 16 instead of 17): give all of them the same."
    )
    device = "tcp://d has another device (CPU x86_64 AVX2 instead of CPU x86_64 AVX512, with ATEN"
    with pytest.raises(ConfigError, match=re.escape(device)):
        fit_workers(own, {"tcp://a": worker(), "tcp://d": worker(device="CPU x86_64 AVX2")})


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_workers_without_facemill_answer(tmp_path: Path) -> None:
    preload = tmp_path / "bare.py"
    preload.write_text("import sys\nsys.modules.update(dict.fromkeys(('facemill.pipeline.build.workers',)))\n")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        silence_logs="CRITICAL",
        preload=[str(preload)],
    ) as cluster:
        asked: dict[str, dict[str, object]] = {}

        def choose(told: dict[str, dict[str, object]]) -> list[str]:
            asked.update(told)
            return sorted(told)[:1]

        with DaskExecutor(scheduler=cluster.scheduler_address) as executor:
            executor.choose_workers(describe, None, "cpu", [], str(tmp_path / "run"), choose=choose)
    assert len(asked) == 2
    assert all(told["identity"][LIBRARIES]["facemill"].startswith("missing (import") for told in asked.values())
