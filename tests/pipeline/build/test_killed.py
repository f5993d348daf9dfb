"""Shards whose workers die: built again, each group on its own, for as long as that tells more of the cause."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facemill import DatasetError
from facemill.pipeline.build import job as module
from facemill.pipeline.build.executors import Executor, Outcome
from facemill.pipeline.build.isolate import deaths_file
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.config.recipe import load_recipe

SPECS = [ShardSpec(f"train-{number:06d}", "train", ()) for number in range(3)]


class Deadly(Executor):
    """Workers die `deaths[shard]` times with a shard; `told`: whether they leave word of a group each time."""

    def __init__(self, out: Path, deaths: dict[str, int], *, told: bool) -> None:
        super().__init__()
        self.out, self.left, self.told = out, dict(deaths), told
        self.tried: list[tuple[str, bool]] = []

    def run(
        self, function: Callable[..., Any], tasks: Iterable[Any], on_message: Callable[[Any], None] = print
    ) -> Iterator[Outcome[Any, Any]]:
        for spec in tasks:
            self.tried.append((spec.shard_id, spec.isolated))
            if not self.left.get(spec.shard_id):
                yield Outcome(spec, result=(spec.shard_id, True))
                continue
            self.left[spec.shard_id] -= 1
            if self.told and spec.isolated:
                file = deaths_file(self.out, spec.shard_id)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text((file.read_text() if file.exists() else "") + "run group\n")
            yield Outcome(spec, killed=True)


def run(out: Path, executor: Deadly) -> list[str]:
    job = BuildJob(out, load_recipe("default"))
    return [shard_id for shard_id, _ in module._run(executor, SPECS, job, lambda message: None)]


def test_a_shard_that_kills_is_built_again_in_isolation_and_the_others_once(tmp_path: Path) -> None:
    executor = Deadly(tmp_path, {"train-000001": 1}, told=False)
    assert run(tmp_path, executor) == ["train-000000", "train-000002", "train-000001"]
    assert executor.tried == [*((spec.shard_id, False) for spec in SPECS), ("train-000001", True)]


def test_it_goes_on_while_each_death_is_blamed_on_a_group(tmp_path: Path) -> None:
    """A group is left out after the second death: a shard of two such groups needs five attempts and more."""
    executor = Deadly(tmp_path, {"train-000000": 5, "train-000002": 2}, told=True)
    assert sorted(run(tmp_path, executor)) == [spec.shard_id for spec in SPECS]
    assert [isolated for shard_id, isolated in executor.tried if shard_id == "train-000000"] == [False] + [True] * 5


def test_deaths_that_no_group_is_to_blame_for_end_the_build(tmp_path: Path) -> None:
    executor = Deadly(tmp_path, {"train-000001": 99}, told=False)
    with pytest.raises(DatasetError, match="building shard train-000001, but not because of its videos"):
        run(tmp_path, executor)
    assert executor.tried.count(("train-000001", True)) == 1
