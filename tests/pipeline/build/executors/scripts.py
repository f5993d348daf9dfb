"""Scripts of a user that start workers."""

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["run_script"]


def run_script(script: str, folder: Path) -> tuple[int, str, str]:
    """Run it in a process of its own, which finds the tests: its exit code, and what it wrote to stdout and stderr."""
    (folder / "script.py").write_text(script)
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])}
    done = subprocess.run([sys.executable, folder / "script.py"], capture_output=True, text=True, check=False, env=here)
    return done.returncode, done.stdout, done.stderr
