"""`python -m tests.slurm`: a SLURM cluster to try things on by hand."""

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())
