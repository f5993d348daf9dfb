from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from facemill import ConfigError
from facemill.pipeline.config.recipe import available_recipes, load_recipe, parse_recipe


@pytest.mark.parametrize("name", available_recipes())
def test_every_shipped_recipe_loads_under_its_own_name(name: str) -> None:
    assert load_recipe(name).name == name


def test_the_papers_settings() -> None:
    recipes = {name: load_recipe(name) for name in available_recipes()}
    assert {name: recipe.crop.size for name, recipe in recipes.items()} == {
        "default": 299, "lrl": 299, "mat": 380, "sola": 256, "sia": 299, "etd": 224,
        "f3net": 299, "recce": 299, "spsl": 299, "temporal": 224, "video_resnet": 224,
    }  # fmt: skip
    assert recipes["lrl"].mask.threshold == 0.15
    assert recipes["mat"].crop.align == "similarity"
    assert (recipes["sola"].crop.around, recipes["sola"].crop.scale) == ("mask", 2.6)
    assert (recipes["sia"].sample.strategy, recipes["sia"].sample.frames) == ("random", 50)
    assert (recipes["etd"].sample.strategy, recipes["etd"].sample.every) == ("stride", 5)
    assert recipes["temporal"].work_values() == {**recipes["video_resnet"].work_values(), "name": "temporal"}
    assert recipes["default"].detect.detector == recipes["sia"].detect.detector == "mtcnn"


@pytest.mark.parametrize(
    ("name", "lr", "weight_decay", "batch", "epochs"),
    [
        ("etd", 5e-4, None, 256, 20),
        ("lrl", 2e-4, 1e-5, 32, 50),
        ("mat", 1e-3, 1e-6, 48, None),
        ("sia", 1e-3, 1e-5, 32, None),
        ("sola", 1e-3, None, 32, 50),
    ],
)
def test_the_papers_training(name: str, lr: float, weight_decay: float | None, batch: int, epochs: int | None) -> None:
    """None where the paper gives no number."""
    train = load_recipe(name).train
    assert (train.optimizer.name, train.optimizer.lr, train.batch) == ("adam", lr, batch)
    assert weight_decay in (None, train.optimizer.weight_decay)
    assert epochs in (None, train.epochs)
    steps = {"etd": (5, 0.5), "lrl": (10, 0.5), "sia": (5, 0.1)}
    if name in steps:
        assert (train.schedule.name, train.schedule.every, train.schedule.gamma) == ("step", *steps[name])
    if name in ("lrl", "sia", "sola"):
        assert train.optimizer.betas == (0.9, 0.999)


@pytest.mark.parametrize(
    ("name", "optimizer", "lr", "batch", "schedule"),
    [
        ("f3net", "sgd", 2e-3, 128, "cosine"),
        ("recce", "adam", 2e-4, 32, "step"),
        ("spsl", "adam", 2e-4, 32, "constant"),
    ],
)
def test_the_baselines_training(name: str, optimizer: str, lr: float, batch: int, schedule: str) -> None:
    train = load_recipe(name).train
    assert (train.optimizer.name, train.optimizer.lr, train.batch) == (optimizer, lr, batch)
    assert train.schedule.name == schedule
    assert train.model["pretrained"]


def test_overrides_are_applied_in_order_and_read_as_yaml() -> None:
    recipe = load_recipe("default", ["crop.size=380", "crop.size=64", "detect.max_side=null", "mask.threshold=auto"])
    assert recipe.crop.size == 64
    assert recipe.detect.max_side is None
    assert recipe.mask.threshold == "auto"


def test_changing_the_strategy_needs_its_options_only() -> None:
    recipe = load_recipe("default", ["sample={strategy: stride, every: 3}"])
    assert recipe.sample.frames is None
    assert load_recipe("default", ["sample={strategy: all}"]).sample.strategy == "all"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "crop": {"sise": 3}}, r"'crop\.sise' \(did you mean 'size'\?\)"),
        ({"name": "x", "corp": {}}, r"'corp' \(did you mean 'crop'\?\)"),
        ({"name": "x", "crop": {"size": 0}}, r"'crop\.size' is invalid.*greater than 0"),
        ({"name": "x", "sample": {"strategy": "stride"}}, "'stride' takes 'every'"),
        ({"name": "x", "sample": {"strategy": "uniform", "every": 2}}, "'uniform' and 'random' take 'frames'"),
        ({"name": "x", "mask": {"threshold": 1.5}}, "mask.threshold"),
    ],
)
def test_a_bad_key_or_value_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_recipe(values)


def test_a_recipe_file_and_what_is_none(tmp_path: Path) -> None:
    page = tmp_path / "mine.yaml"
    page.write_text("name: mine\ncrop: {size: 112}\n")
    assert load_recipe(page).crop.size == 112
    with pytest.raises(ConfigError, match=r"did you mean 'sola'"):
        load_recipe("solar")
    page.write_text("- just\n- a list\n")
    with pytest.raises(ConfigError, match="not a YAML mapping"):
        load_recipe(page)
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        load_recipe("default", ["crop.size"])
    with pytest.raises(ConfigError, match="not a key of a section"):
        load_recipe("default", ["crop.size.x=3"])


def test_settings_that_change_no_byte_may_differ_between_the_runs_of_a_build() -> None:
    slow = load_recipe("default", ["decode.timeout_s=600", "detect.batch=2"])
    assert slow.work_values() == load_recipe("default").work_values()
    assert slow.build_values()["decode"]["timeout_s"] == 600
    for other in ("detect.max_side=320", "crop.size=64", "seed=1", "sample.frames=3"):
        assert load_recipe("default", [other]).work_values() != slow.work_values()


def test_a_wrong_value_is_blamed_on_its_key_without_a_types_name() -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("default", ["mask.threshold=2"])
    assert str(caught.value) == (
        "Recipe key 'mask.threshold' is invalid: Input should be less than 1, or Input should be 'auto', got 2."
    )


@pytest.mark.parametrize("order", [1, -1])
def test_overrides_come_to_the_same_in_any_order(order: int) -> None:
    given = ["sample.frames=50", "sample.strategy=random", "crop={size: 64, scale: 2}", "crop.scale=3"]
    recipe = load_recipe("etd", given[::order])
    assert (recipe.sample.strategy, recipe.sample.frames) == ("random", 50)
    assert (recipe.crop.size, recipe.crop.scale) == (64, 3)


def test_what_a_command_would_leave_unused_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'crop.size' affects a dataset's bytes, .* `facemill build`"):
        load_recipe("default", ["train.epochs=3", "crop.size=380"], purpose="train")
    with pytest.raises(ConfigError, match=r"'train.epochs' affects training, .* `facemill train`"):
        load_recipe("default", ["crop.size=380", "train.epochs=3"], purpose="build")
    assert load_recipe("default", ["seed=3", "train.epochs=3"], purpose="train").seed == 3
    with pytest.raises(ConfigError, match=r"Unknown recipe key 'tain' .did you mean 'train'"):
        load_recipe("default", ["tain.epochs=3"], purpose="train")


@pytest.mark.parametrize("name", ["open", "close"])
def test_mask_radii_are_bounded(name: str) -> None:
    """A radius of 100,000 pixels makes a kernel of 298 GiB."""
    assert load_recipe("default", [f"mask.{name}=256"])
    with pytest.raises(ConfigError, match=name):
        load_recipe("default", [f"mask.{name}=100000"])


number = st.floats(0, 1, allow_subnormal=False)
SECTIONS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "decode": {"backend": st.sampled_from(["pyav", "decord", "nvdec"]), "timeout_s": st.floats(1, 86400)},
    "detect": {
        "detector": st.sampled_from(["mtcnn", "retinaface"]),
        "max_side": st.none() | st.just("auto") | st.integers(1, 9999),
        "min_score": number,
        "weights": st.none() | st.just("a b/wéights.pth"),
        "on": st.sampled_from(["pristine", "each"]),
    },
    "track": {"keep": st.sampled_from(["forged", "largest", "all"]), "min_share": number, "drop_still": st.booleans()},
    "crop": {"size": st.integers(16, 1024), "scale": st.floats(1, 3), "align": st.sampled_from(["none", "similarity"])},
    "mask": {
        "threshold": st.just("auto") | st.floats(0.01, 0.99),
        "open": st.integers(0, 9),
        "fill_holes": st.booleans(),
    },
    "filter": {"min_face": st.floats(0, 500), "more": st.just({}) | st.just({"too_small": {"min_face": 12.5}})},
    "encode": {"format": st.sampled_from(["png", "jpeg", "webp"]), "quality": st.integers(1, 100)},
}


@settings(max_examples=50)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20),
    st.integers(0, 2**31),
    st.fixed_dictionaries({}, optional={name: st.fixed_dictionaries({}, optional=of) for name, of in SECTIONS.items()}),
)
def test_any_recipe_survives_dump_and_load(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int, sections: dict[str, dict[str, Any]]
) -> None:
    """As a user keeps one: what `facemill recipes` shows, in a file."""
    recipe = parse_recipe({"name": name, "seed": seed, **sections})
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    assert load_recipe(path) == recipe
    for section, values in sections.items():
        for key, value in values.items():
            kept = recipe.model_dump(mode="json")[section][key]
            assert kept == value, (section, key)
