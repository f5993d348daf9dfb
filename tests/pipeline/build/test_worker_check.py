"""Workers are asked before any work: by value, since they may have no facemill at all."""

import sys
from pathlib import Path

import distributed
import pytest

from facemill import __version__
from facemill.pipeline.build.executors.dask import DaskExecutor
from facemill.pipeline.build.worker_check import describe, fit_workers
from tests.pipeline.build.executors.test_dask import where


def test_what_is_in_sight_is_told(tmp_path: Path) -> None:
    (tmp_path / "out" / "_state").mkdir(parents=True)
    run_file = tmp_path / "out" / "_state" / "run"
    run_file.touch()
    told = describe(["facemill", "no-such-package"], None, [str(tmp_path), "s3://far"], str(run_file))
    assert told["unseen"] == []
    assert told["versions"]["facemill"] == __version__
    assert told["versions"]["no-such-package"] == "missing"
    told = describe([], str(tmp_path / "weights"), [str(tmp_path / "data")], str(run_file.with_name("gone")))
    assert told["unseen"] == [str(tmp_path / "data"), str(tmp_path / "out")]
    assert told["versions"]["the weights"] == "missing"


def test_another_version_is_refused_and_a_blind_worker_left_out() -> None:
    own = {"facemill": "1", "av": "17"}
    seeing, blind = {"versions": own, "unseen": []}, {"versions": own, "unseen": ["/data"]}
    other = {"versions": {"facemill": "1", "av": "16"}, "unseen": []}
    fit, lines, difference = fit_workers(own, {"tcp://a": seeing, "tcp://b": blind})
    assert (fit, difference) == (["tcp://a"], None)
    assert lines == ["The worker at tcp://b is left out: it does not see /data."]
    fit, _, difference = fit_workers(own, {"tcp://a": seeing, "tcp://c": other})
    assert fit == []
    assert difference == "The worker at tcp://c has av 16 instead of 17: give all of them the same versions."


@pytest.mark.timeout(300)
def test_workers_without_facemill_answer_and_only_chosen_ones_work(tmp_path: Path) -> None:
    preload = tmp_path / "bare.py"
    preload.write_text("import sys\nsys.modules.update(dict.fromkeys(('facemill.pipeline.build.worker_check',)))\n")
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
            executor.choose_workers(describe, ["facemill"], None, [], str(tmp_path / "run"), choose=choose)
            with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:  # now they get it
                client.run(lambda: sys.modules.pop("facemill.pipeline.build.worker_check"))
            places = [outcome.result for outcome in executor.run(where, range(4))]
    assert len(asked) == 2
    assert {told["versions"]["facemill"] for told in asked.values()} == {__version__}
    assert len({pid for pid, _, _ in places}) == 1
