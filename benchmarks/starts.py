"""How good the estimates of starts in `launch plan` are: `python benchmarks/starts.py [NUMBER]`.

A lab of four nodes in two partitions is filled with jobs that end one after the other. Runs of 1
to 8 GPUs are planned and then sent; for each the estimate and the start are compared, beside what
`sbatch --test-only` says of a bare script, asked again and again while ours is made.
"""

from __future__ import annotations

import sys
from statistics import median

from tests.slurm.starts import estimates, lab_with_a_choice, project_of_site, table


def main(number: int) -> None:
    """Measure and print."""
    with lab_with_a_choice() as lab:
        found = estimates(lab, project_of_site(lab, "starts"), number)
    print(table(found))
    ours = median(one.our_error_s for one in found)
    schedulers = median(one.schedulers_error_s for one in found)
    print(f"median error: {ours:.0f} s; of sbatch --test-only itself: {schedulers:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 10)
