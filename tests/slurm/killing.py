"""Kill a launching command with SIGKILL, over and over, then issue it again: `python killing.py`.

Runs inside a lab as its user, from a folder with `app.py`. Prints one JSON object per trial:
how long the first command lived, how many jobs it had sent, how many there are in the end, and
what the second command had to send.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

RUNS = 50
HELD = "+hydra.launcher.additional_parameters.hold=true"
"""Jobs that never start: what is counted is what was sent."""


def command(folder: str) -> list[str]:
    """The command of one study, in a folder of its own."""
    return [
        sys.executable, "app.py", "-m", "hydra/launcher=slurm", "hydra/sweeper=study",
        f"hydra.sweep.dir={folder}", f"x=range({RUNS})", HELD,
    ]  # fmt: skip


def start(folder: str) -> tuple["subprocess.Popen[str]", float]:
    """Start the command, and return it when it begins to write: moments before matter little."""
    process = subprocess.Popen(command(folder), stderr=subprocess.PIPE, text=True)
    while not Path(folder, ".lease").exists() and process.poll() is None:
        time.sleep(0.001)
    return process, time.monotonic()


def queued(folder: str) -> Counter[str]:
    """How often each run of a study is in the queue: `token_index`, from comment and job id."""
    tokens = {path.stem for path in Path(folder, "batches").glob("*.json")}
    listed = subprocess.run(
        ["squeue", "--noheader", "--array", "--format=%i %k"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found: Counter[str] = Counter()
    for line in listed.splitlines():
        job_id, comment = line.split(maxsplit=1)
        token = comment.rpartition("launcher:")[2].strip()
        if token in tokens:
            found[f"{token}_{job_id.partition('_')[2]}"] += 1
    return found


def recorded(folder: str) -> Counter[str]:
    """Which element of which batch each run's own record names."""
    found: Counter[str] = Counter()
    for number in range(RUNS):
        latest = sorted(Path(folder, str(number)).glob("submissions/*/submission.json"))[-1]
        sent = json.loads(latest.read_text())
        found[f"{sent['token']}_{sent['index']}"] += 1
    return found


def trial(folder: str, after_s: float) -> dict[str, object]:
    """One killing and one repetition."""
    process, began = start(folder)
    time.sleep(after_s)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    lived_s = time.monotonic() - began
    again = subprocess.run(command(folder), capture_output=True, text=True, check=False)
    jobs = queued(folder)
    return {
        "killed": process.returncode == -signal.SIGKILL,
        "lived_s": round(lived_s, 3),
        "summary": next((x for x in again.stderr.splitlines() if "to submit" in x), again.stderr),
        "jobs": sum(jobs.values()),
        "is_each_run_once": jobs == recorded(folder) and len(jobs) == RUNS,
    }


def undisturbed_s(folder: str) -> float:
    """How long a command writes that nobody kills; the first on a busy machine takes longest."""
    process, began = start(folder)
    process.communicate()
    return time.monotonic() - began


def main() -> None:
    """Measure undisturbed submissions, then kill so many at moments within the shortest of them."""
    trials, seed = int(sys.argv[1]), int(sys.argv[2])
    whole_s = min(undisturbed_s(f"undisturbed{number}") for number in range(3))
    moments = random.Random(seed)
    for number in range(trials):
        sys.stdout.write(json.dumps(trial(f"s{number}", moments.uniform(0, whole_s))) + "\n")
        sys.stdout.flush()
        subprocess.run(["scancel", "--user", os.environ["USER"]], check=True)


if __name__ == "__main__":
    main()
