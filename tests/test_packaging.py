"""What a stranger installs: the content of wheel and sdist, and what every module says it exports."""

import fnmatch
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import facemill

ROOT = Path(__file__).parents[1]
PACKAGES = ("manifests", "masks", "detectors", "pipeline")
PAGES = {
    "facemill/pipeline/config/recipes/default.yaml",
    "facemill/pipeline/config/recipes/lrl.yaml",
    "facemill/pipeline/experiments/mat.yaml",
    "facemill/pipeline/experiments/sources.yaml",
}


def modules() -> list[str]:
    return ["facemill", *(info.name for info in pkgutil.walk_packages(facemill.__path__, "facemill."))]


@pytest.mark.parametrize("name", modules())
def test_all_names_what_is_there_and_public(name: str) -> None:
    module = importlib.import_module(name)
    assert isinstance(module.__all__, list)
    assert all(hasattr(module, exported) for exported in module.__all__)
    assert module.__all__ == sorted(set(module.__all__), key=lambda n: (not n.isupper(), not n[0].isupper(), n))


def test_every_folder_of_tests_is_collected(pytestconfig: pytest.Config) -> None:
    left_out = pytestconfig.getini("norecursedirs")
    folders = {folder for path in (ROOT / "tests").rglob("test_*.py") for folder in path.relative_to(ROOT).parts[:-1]}
    assert "build" in folders
    assert not [folder for folder in folders if any(fnmatch.fnmatch(folder, pattern) for pattern in left_out)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what packages are built from: a build leaves files beside what it builds."""
    source = tmp_path_factory.mktemp("packaging") / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in ("facemill", *PACKAGES, "tests", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored, symlinks=True)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", source.parent]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, source], check=True, cwd=source.parent)
    [wheel] = source.parent.glob("facemill-*.whl")
    return wheel


@pytest.mark.heavy
def test_the_wheel_holds_one_package_with_types_and_pages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"facemill"}
    assert {"facemill/py.typed", *(f"facemill/{package}/__init__.py" for package in PACKAGES), *PAGES} <= set(names)
    in_tree = {
        f"facemill/{path.relative_to(ROOT)}"
        for package in PACKAGES
        for pattern in ("*.py", "*.yaml", "*.css", "*.html", "*.js", "*.svg", "py.typed")
        for path in (ROOT / package).rglob(pattern)
    }
    assert in_tree <= set(names)


@pytest.mark.heavy
def test_the_sdist_builds_the_same_wheel(source: Path, wheel: Path) -> None:
    code = "from setuptools import build_meta; print(build_meta.build_sdist('..'))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=source, capture_output=True)
    [sdist] = source.parent.glob("facemill-*.tar.gz")
    unpacked = source.parent / "unpacked"
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    [folder] = unpacked.iterdir()
    rebuilt = source.parent / "rebuilt"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", rebuilt]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, folder], check=True, cwd=source.parent)
    [again] = rebuilt.glob("facemill-*.whl")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


@pytest.mark.heavy
def test_an_installed_wheel_works_beside_a_users_own_modules_of_the_short_names(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(installed)
    work = tmp_path / "work"
    (work / "manifests").mkdir(parents=True)
    for name in ("pipeline.py", "masks.py", "detectors.py", "manifests/__init__.py"):
        (work / name).write_text("raise ImportError('a user module was imported')\n")
    code = (
        f"import sys; sys.path.insert(1, {str(installed)!r})\n"
        "import facemill, facemill.masks, facemill.manifests, facemill.detectors.forgery\n"
        "from facemill.pipeline.config.recipe import load_recipe\n"
        "from facemill.pipeline.commands.cli import main\n"
        f"assert facemill.__file__.startswith({str(installed)!r}), facemill.__file__\n"
        "assert load_recipe('lrl').name == 'lrl'\n"
        "sys.argv = ['facemill', '--version']; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith(facemill.__version__), done.stderr


def test_what_works_without_torch_never_imports_it() -> None:
    code = "import sys, facemill.manifests, facemill.masks, facemill.pipeline.commands.cli as c; print([*sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "'torch'" not in done.stdout


@pytest.mark.heavy
def test_what_prepares_data_never_imports_what_only_training_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = {re.split(r"\W", requirement)[0] for requirement in project["optional-dependencies"]["train"]}
    assert "timm" in extra
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(extra)!r}))\n"  # None: the import fails, as of a missing package
        "import facemill.pipeline.commands.cli, facemill.pipeline.demo.run, facemill.pipeline.audit, facemill\n"
        "training = {'create_forgery_detector', 'train', 'evaluate', 'score'}\n"
        "assert all(hasattr(facemill, name) for name in facemill.__all__ if name not in training)\n"
        "facemill.train\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: facemill.train needs the package "), done.stderr
    assert last.endswith(': pip install "facemill[train]".')


def test_a_recipe_of_ours_is_read_for_a_build_without_torch() -> None:
    read = "load_recipe('lrl', ['sample.frames=4', 'filter.min_face=50'], purpose='build')"
    code = f"import sys; from facemill.pipeline.config.recipe import load_recipe; {read}; print([*sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "'torch'" not in done.stdout
