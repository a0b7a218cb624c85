"""What starts on each node: `python -m launcher.start BATCH`, once per rank.

The attempts of a batch are pickled before sbatch is called and found by the array index, so a
job can start whatever became of the command that sent it.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from pathlib import Path

from launcher import stopping
from launcher.stopping import EXIT_STOPPED, RunStopped

LEAVE_WITHIN_S = 30.0
"""How long libraries may take to clean up after a failure [s]; peers wait for this rank to end."""


def main() -> int:
    """Run the attempt of this array element; returns the exit code of this rank."""
    stopping.install()
    attempts = pickle.loads(Path(sys.argv[1]).read_bytes())
    attempt = attempts[int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))]
    try:
        attempt()
    except RunStopped:
        _leave_soon(EXIT_STOPPED)
        return EXIT_STOPPED
    except Exception as error:
        from launcher.job import SupersededError, was_reported

        if isinstance(error, SupersededError):
            sys.stderr.write(f"launcher: {error}; this job does nothing\n")
        elif not was_reported(error):
            traceback.print_exc()
        _leave_soon(1)
        return 1
    return 0


def _leave_soon(code: int) -> None:
    """End this process even if a library hangs in its clean-up, waiting for ranks that are gone."""
    timer = threading.Timer(LEAVE_WITHIN_S, os._exit, (code,))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(main())
