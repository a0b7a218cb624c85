"""Time of `train.py --help` against the smallest hydra.main program, in turn in one run.

python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
BARE = """
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(config):
    pass

main()
"""


def seconds(program: Path) -> float:
    """Wall time of one `--help`."""
    started = time.perf_counter()
    subprocess.run([sys.executable, str(program), "--help"], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE)
        for program in (bare, TRAIN):
            seconds(program)  # fills the file cache
        measured = [(seconds(bare), seconds(TRAIN)) for _ in range(pairs)]
    ratios = sorted(ours / theirs for theirs, ours in measured)
    print(f"hydra.main --help  {statistics.median(m[0] for m in measured):.3f} s")
    print(f"train.py --help    {statistics.median(m[1] for m in measured):.3f} s")
    print(
        f"ratio              {statistics.median(ratios):.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    main()
