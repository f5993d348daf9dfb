"""What a stranger installs: the wheel's content, and what every package says it exports."""

import importlib
import pkgutil
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("facemill", "manifests", "masks", "detectors", "pipeline")


def modules() -> list[str]:
    found = []
    for package in PACKAGES:
        module = importlib.import_module(package)
        found.append(package)
        found += [info.name for info in pkgutil.walk_packages(module.__path__, f"{package}.")]
    return found


@pytest.mark.parametrize("name", modules())
def test_all_names_what_is_there_and_public(name: str) -> None:
    module = importlib.import_module(name)
    assert isinstance(module.__all__, list)
    assert all(hasattr(module, exported) for exported in module.__all__)
    assert module.__all__ == sorted(set(module.__all__), key=lambda n: (not n.isupper(), not n[0].isupper(), n))


def test_the_wheel_has_packages_types_and_recipes_and_no_tests(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a copy: a build leaves files beside what it builds
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for package in (*PACKAGES, "tests", "benchmarks"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, source], check=True, cwd=tmp_path)
    [wheel] = tmp_path.glob("facemill-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    assert {"pipeline/recipes/default.yaml", "pipeline/recipes/lrl.yaml"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_what_works_without_torch_never_imports_it() -> None:
    code = "import sys, manifests, masks, pipeline.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
