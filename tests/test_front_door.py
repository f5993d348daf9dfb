"""What `import facemill` offers: lazily, and with examples that run as they stand in the docstrings."""

import doctest
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import facemill
from facemill.pipeline.demo import make_corpus

IN_ORDER = (
    *("load_recipe", "scan", "read_manifest", "write_manifest", "build", "verify", "inspect", "open_dataset"),
    *("difference_mask", "create_face_detector", "create_forgery_detector", "train", "evaluate"),
    *("score", "load_model"),
)
"""As a notebook would go through them: each example goes on with the files of those before."""


def test_importing_it_takes_no_time_and_no_torch() -> None:
    say = "import sys, time; start = time.perf_counter(); import facemill; print(time.perf_counter() - start)\n"
    say += "print({'torch', 'numpy', 'pyarrow', 'cv2', 'dask'} & set(sys.modules))"
    took = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True)
        seconds, heavy = done.stdout.splitlines()
        assert heavy == "set()"
        took.append(float(seconds))
        time.sleep(0.1)
    assert min(took) < 0.1


def test_names_are_found_and_others_are_not() -> None:
    assert set(IN_ORDER) < set(facemill.__all__) & set(dir(facemill))
    assert set(facemill.__all__) - set(IN_ORDER) == {name for name in facemill.__all__ if name in vars(facemill)}
    with pytest.raises(AttributeError, match="module 'facemill' has no attribute 'buidl'"):
        _ = facemill.buidl


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_corpus(tmp_path / "corpus", subjects=6, frames=12, qualities=("c23",), methods=("Deepfakes",), size=(320, 180))
    runner = doctest.DocTestRunner(verbose=False)
    names = {"facemill": facemill, "np": np}
    for name in IN_ORDER:
        examples = doctest.DocTestParser().get_doctest(getattr(facemill, name).__doc__, names, name, None, 0)
        assert examples.examples, f"{name} has no example"
        said: list[str] = []
        runner.run(examples, out=said.append, clear_globs=False)
        names.update(examples.globs)
        assert said == [], "".join(said)
