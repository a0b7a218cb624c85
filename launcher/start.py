"""What srun starts on a node: `python -m launcher.start BATCH`.

The attempts of a batch are pickled before sbatch is called and found by the array index, so a
job can start whatever became of the command that sent it. submitit would rename its pickles
after sbatch, by job id; the pickle that its runner looks for is made here, by the job itself.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path


def main() -> None:
    """Hand the attempt of this array element to submitit's runner."""
    import submitit
    from submitit.core.submission import process_job
    from submitit.core.utils import DelayedSubmission

    batch = Path(sys.argv[1])
    os.environ["SUBMITIT_FOLDER"] = str(batch.parent)
    submitted = submitit.JobEnvironment().paths.submitted_pickle
    if not submitted.exists():
        attempts = pickle.loads(batch.read_bytes())
        attempt = attempts[int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))]
        delayed = DelayedSubmission(attempt)
        delayed.set_timeout(attempt.shape.timeout_min, max_num_timeout=0)
        # Each rank may do it; the last rename wins, and they are all the same.
        own = submitted.with_name(f".{submitted.name}.{os.getpid()}.{os.uname().nodename}")
        delayed.dump(own)
        own.replace(submitted)
    process_job(batch.parent)


if __name__ == "__main__":
    main()
