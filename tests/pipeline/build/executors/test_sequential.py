import pytest

from facemill import ConfigError
from facemill.pipeline.build.executors import tell
from facemill.registry import EXECUTORS


def halve(task: int, number: int, threads: int) -> int:
    tell(f"{task} came")
    if task % 2:
        raise ValueError(f"{task} is odd")
    return task // 2


def test_tasks_run_here_one_after_another_and_errors_are_told() -> None:
    heard: list[str] = []
    with EXECUTORS["sequential"]() as executor:
        outcomes = executor.run(halve, iter([4, 3, 2]), heard.append)
        assert next(outcomes).result == 2
        assert heard == ["4 came"]  # nothing runs ahead
        failed, last = outcomes
    assert str(failed.error) == "3 is odd"
    assert (failed.task, failed.result, failed.killed, last.result) == (3, None, False, 1)
    tell("nobody listens")
    assert heard == ["4 came", "3 came", "2 came"]


def test_what_a_listener_raises_ends_its_task() -> None:
    def refuse(message: object) -> None:
        raise ConfigError("enough")

    with EXECUTORS["sequential"]() as executor:
        (outcome,) = executor.run(halve, [4], refuse)
    assert isinstance(outcome.error, ConfigError)


def test_options_of_dask_are_refused() -> None:
    EXECUTORS["sequential"](workers=1)
    for options in ({"workers": 2}, {"scheduler": "tcp://far:1"}, {"performance_report": "page.html"}):
        with pytest.raises(ConfigError, match="has no workers: leave out --workers"):
            EXECUTORS["sequential"](**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no executor 'spark': use one of dask, sequential"):
        EXECUTORS["spark"]
