"""A plan has each build, training and evaluation once."""

import pytest

from facemill import ConfigError
from facemill.pipeline.experiments import all_experiments, select_experiments
from facemill.pipeline.experiments.plan import make_plan
from facemill.pipeline.experiments.tables import leave_one_out


def test_all_rows_have_a_plan() -> None:
    plan = make_plan(all_experiments())
    idle = {name for name, runs in plan.runs.items() if not runs}
    assert idle == {"sia/text/sia-size"}
    assert len(plan.trainings) < len(plan.runs) - len(idle)
    used = {name for runs in plan.runs.values() for name in runs}
    assert used == set(plan.trainings) == {evaluation.training for evaluation in plan.tests}


def test_rows_share_a_training_and_its_evaluations() -> None:
    """Within a method, to other methods, and the default of the ablation: one training on Deepfakes."""
    names = ("sola/table1/deepfakes-weak", "sola/table2/deepfakes-weak", "sola/table7/patch-16")
    plan = make_plan(select_experiments(names))
    assert len({plan.runs[name][0] for name in names}) == len(plan.trainings) == 1
    assert {(e.wanted.data, e.wanted.quality) for e in plan.tests} == {("ffpp", "raw"), ("dfd", "c23")}
    assert {source.methods for source in plan.tests[min(plan.tests, key=lambda e: e.wanted.quality != "raw")]} == {
        (method,) for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
    }


def test_options_at_their_default_make_no_training_of_their_own() -> None:
    plan = make_plan(select_experiments(["mat/table5/m4", "mat/table6/ril-soft", "mat/table2/efficientnet-b4-c23"]))
    assert len(plan.trainings) == 1


def test_trainings_differ_by_options_settings_data_and_seed() -> None:
    def names(targets: list[str], **more: object) -> set[str]:
        return set(make_plan(select_experiments(targets), **more).trainings)  # type: ignore[arg-type]

    full = names(["lrl/table4/full"])
    assert full == names(["lrl/table1/lq"])
    others = [
        names(["lrl/table4/rgb"]),
        names(["lrl/table1/hq"]),
        names(["lrl/table2/deepfakes"]),
        names(["lrl/table4/full"], overrides=["train.epochs=2"]),
        names(["lrl/table4/full"], overrides=["crop.scale=1.5"]),
        names(["lrl/table4/full"], overrides=["seed=1"]),
    ]
    assert len(full.union(*others)) == 1 + len(others)
    assert full < names(["lrl/table4/full"], seeds=3)
    assert len(names(["lrl/table4/full"], seeds=3)) == 3


def test_only_rows_of_degraded_images_ask_for_corruptions() -> None:
    assert not make_plan(select_experiments(["etd/table2", "etd/table6/normal"])).corrupted
    plan = make_plan(select_experiments(["etd/table6"]))
    assert plan.corrupted == set(plan.tests)
    assert len(plan.tests) == 1


def test_settings_of_the_data_are_those_of_the_build() -> None:
    plan = make_plan(select_experiments(["mat/table4/mat"]), overrides=["sample.frames=4", "train.epochs=1"])
    [training] = plan.trainings.values()
    assert training.load().train.epochs == 1
    assert {wanted.load().sample.frames for wanted in plan.wanted()} == {4}
    assert {wanted.recipe for wanted in plan.wanted()} == {"mat"}


def test_each_method_is_left_out_of_a_training_and_tested() -> None:
    rows = leave_one_out(select_experiments(["lrl/table1/lq", "lrl/table4/full", "lrl/table4/rgb", "lrl/table2"]))
    methods = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
    assert [row.name for row in rows if "table1" in row.name] == [f"lrl/table1/lq-without-{one}" for one in methods]
    assert len(rows) == 8  # the full row of table 4 is that of table 1, and table 2 has rows of one method
    plan = make_plan(rows)
    assert len(plan.trainings) == 8
    for row in rows:
        [training] = [plan.trainings[name] for name in plan.runs[row.name]]
        assert set(training.load().train.methods) == set(methods) - {row.left_out}
        assert training.load().train.qualities == ("c40",)
        [evaluation] = [one for one in plan.tests if one.training == training.name]
        assert {source.methods for source in plan.tests[evaluation]} == {(row.left_out,)}
    with pytest.raises(ConfigError, match="none can be left out"):
        leave_one_out(select_experiments(["lrl/table2"]))
