"""The shares of time in which a GPU is busy, by a program that prints what nvidia-smi does."""

import sys
import time

from benchmarks.busy import Busy, watch_gpu

FAKE = """
import sys, time
for line in ("10, 0, 500", "[N/A], [N/A], 700", "30, 50, 900", "35, 4"):
    print(line, flush=True)
open(sys.argv[1], "w").close()
time.sleep(60)
"""


def test_means_of_what_is_sampled_until_the_end(tmp_path) -> None:
    printed = tmp_path / "printed"
    start = time.monotonic()
    with watch_gpu((sys.executable, "-c", FAKE, str(printed))) as busy:
        while not printed.exists() and time.monotonic() < start + 30:
            time.sleep(0.02)
        assert busy == Busy()
    assert busy == Busy(2, 0.2, 0.25, 900)
    assert str(busy) == "GPU busy 20%, its decoders 25%, 900 MiB"
    assert time.monotonic() < start + 50  # the program has been ended


def test_without_the_program_nothing_is_told() -> None:
    with watch_gpu(("no-such-program",)) as busy:
        pass
    assert str(busy) == "nvidia-smi tells nothing"
