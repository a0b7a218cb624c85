"""Ranks that never come, stall, stop, or do not listen: named within seconds, and ended."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher import beats, store
from launcher.records import AttemptRecord
from launcher.stopping import EXIT_KILLED, EXIT_STOPPED

pytestmark = pytest.mark.local

PROGRAM = Path(__file__).with_name("watched.py")
REPOSITORY = PROGRAM.parents[2]
LONG_S = 120.0
"""More than a loaded machine needs for any of this."""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def wait_until(is_done: Callable[[], bool]) -> None:
    until = time.monotonic() + LONG_S
    while not is_done():
        assert time.monotonic() < until
        time.sleep(0.05)


class Ranks:
    """The processes of one attempt."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.steps = run_dir / "steps"
        self.steps.mkdir(parents=True)
        self.processes: dict[int, subprocess.Popen[str]] = {}

    def start(
        self,
        *behaviours: str,
        started: int | None = None,
        address: str = "127.0.0.1",
        **settings: Any,
    ) -> None:
        port = free_port()
        for rank, behaviour in enumerate(behaviours):
            if behaviour == "never":
                continue
            environment = {
                **os.environ,
                "PYTHONPATH": str(REPOSITORY),
                "LAUNCHER_RANK": str(rank),
                "LAUNCHER_WORLD_SIZE": str(started or len(behaviours)),
                "LAUNCHER_RESTARTS": "0",
                "LAUNCHER_JOB_ID": "1",
                "MASTER_ADDR": address,
                "MASTER_PORT": str(port),
                "RANK": str(rank),
                "WORLD_SIZE": str(len(behaviours)),
                "OMP_NUM_THREADS": "1",
                "STEPS": str(self.steps),
            }
            values = json.dumps({"ranks": len(behaviours), **settings})
            self.processes[rank] = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(self.run_dir), behaviour, values],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def wait(self, *ranks: int) -> dict[int, int]:
        """Exit codes."""
        return {rank: self.processes[rank].wait(LONG_S) for rank in ranks or self.processes}

    def step(self, rank: int) -> int:
        path = self.steps / str(rank)
        return int(path.read_text() or 0) if path.exists() else 0

    def record(self, rank: int = 0) -> AttemptRecord:
        return store.read_record(store.attempt_path(self.run_dir, "001-000", rank), AttemptRecord)

    def log(self, rank: int = 0) -> str:
        return (self.run_dir / f"rank{rank}.log").read_text()

    def stacks(self, rank: int) -> str:
        return beats.stacks_path(self.run_dir, "001-000", rank).read_text()

    def name(self, rank: int) -> str:
        return f"rank {rank} on {socket.gethostname()}"


@pytest.fixture
def ranks(tmp_path: Path) -> Iterator[Ranks]:
    ranks = Ranks(tmp_path / "run")
    yield ranks
    for process in ranks.processes.values():
        process.kill()
        process.communicate()


def test_a_rank_that_never_starts_is_named(ranks: Ranks) -> None:
    ranks.start("trains", "trains", "trains", "never", rendezvous_timeout_s=16)
    assert set(ranks.wait().values()) == {EXIT_KILLED}
    for rank in range(3):
        record = ranks.record(rank)
        assert record.outcome == "rendezvous"
        assert record.ended is not None
        assert record.missing == [ranks.name(3)]
        assert "did not join within 16 s" in (record.error or "")
        assert "init_process_group" in ranks.stacks(rank)
    assert f"no sign of life ever: {ranks.name(3)}" in ranks.log(0)
    assert "the task never started there" in ranks.log(0)
    assert "no sign of life ever" not in ranks.log(1)
    assert ranks.processes[0].communicate()[0] == "what the task printed\n"


def test_a_rank_that_is_busy_before_the_rendezvous_is_named(ranks: Ranks) -> None:
    ranks.start("trains", "trains", "late", "trains", rendezvous_timeout_s=12)
    assert set(ranks.wait().values()) == {EXIT_KILLED}
    assert ranks.record().outcome == "rendezvous"
    assert ranks.record().missing == []
    assert f"not there yet: {ranks.name(2)}, starting since" in ranks.log()
    assert "in stall (watched.py" in ranks.log()
    assert "hydra.launcher.recovery.rendezvous_timeout_s" in ranks.log()


def test_ranks_that_cannot_reach_rank_0_are_told_about_ports(ranks: Ranks) -> None:
    ranks.start("elsewhere", "trains", rendezvous_timeout_s=12)
    assert set(ranks.wait().values()) == {EXIT_KILLED}
    assert "all ranks are there" in (ranks.record().error or "")
    assert "refuses connections" in ranks.log()
    assert "GLOO_SOCKET_IFNAME" in ranks.log()


def test_other_numbers_of_tasks_than_ranks_fail_at_once(ranks: Ranks) -> None:
    ranks.start("trains", started=4)
    assert ranks.wait() == {0: EXIT_KILLED}
    error = "SLURM started 4 tasks, the run has 1 ranks: ntasks and devices disagree"
    assert ranks.record().error == error
    assert error in ranks.processes[0].communicate()[1]


def test_an_address_that_does_not_resolve_fails_at_once(ranks: Ranks) -> None:
    ranks.start("trains", "trains", address="no-such-node.invalid")
    assert set(ranks.wait().values()) == {EXIT_KILLED}
    assert "`no-such-node.invalid`, does not resolve" in (ranks.record().error or "")
    assert "/etc/hosts" in ranks.processes[0].communicate()[1]


def test_a_rank_that_is_stopped_in_training_is_named(ranks: Ranks) -> None:
    ranks.start("trains", "trains", "trains", "trains", hang_min_s=6)
    wait_until(lambda: ranks.step(2) > 20)
    ranks.processes[2].send_signal(signal.SIGSTOP)
    assert set(ranks.wait(0, 1, 3).values()) == {EXIT_KILLED}
    record = ranks.record()
    assert record.outcome == "hang"
    assert record.missing == [ranks.name(2)]
    assert f"{ranks.name(2)} gave no sign of life" in (record.error or "")
    assert all("all_reduce" in ranks.stacks(rank) for rank in (0, 1, 3))


def test_a_rank_that_stalls_in_code_of_its_own_is_named(ranks: Ranks) -> None:
    ranks.start("trains", "trains", "stalls", hang_min_s=6)
    assert set(ranks.wait().values()) == {EXIT_KILLED}
    record = ranks.record()
    assert record.outcome == "hang"
    assert record.missing == [ranks.name(2)]
    assert "(usually 0." in (record.error or "")
    assert "in stall" in ranks.stacks(2)
    assert "all_reduce" in ranks.stacks(0)


def test_a_rank_that_holds_the_lock_of_python_leaves_its_stacks(ranks: Ranks) -> None:
    ranks.start("trains", "locks", hang_min_s=6)
    assert ranks.wait() == {0: EXIT_KILLED, 1: 1}
    assert ranks.record().outcome == "hang"
    assert ranks.record().missing == [ranks.name(1)]
    assert beats.fused(ranks.run_dir, "001-000") == [1]
    assert "in hold_the_lock" in ranks.stacks(1)


def test_a_rank_that_left_while_the_others_wait_is_named(ranks: Ranks) -> None:
    ranks.start("stalls", "leaves", hang_min_s=6)
    assert ranks.wait() == {0: EXIT_KILLED, 1: 0}
    assert f"{ranks.name(1)} left already" in (ranks.record().error or "")


def test_a_task_that_swallows_the_request_to_stop_is_ended(ranks: Ranks) -> None:
    ranks.start("swallows", stop_grace_s=3)
    wait_until(store.attempt_path(ranks.run_dir, "001-000").exists)
    ranks.processes[0].send_signal(signal.SIGUSR2)
    assert ranks.wait() == {0: EXIT_KILLED}
    record = ranks.record()
    assert record.outcome is None
    assert record.ended is not None
    assert record.stop_signal == "SIGUSR2"
    assert "did not stop within" in (record.error or "")
    assert "after SIGUSR2; it was ended" in (record.error or "")
    assert "in swallow" in ranks.stacks(0)


def test_a_task_is_asked_to_stop_when_time_runs_out_and_no_signal_comes(ranks: Ranks) -> None:
    ranks.start("obeys", ends_in_s=20)
    assert ranks.wait() == {0: EXIT_STOPPED}


def test_a_healthy_task_that_forks_leaves_only_its_last_beat(ranks: Ranks) -> None:
    ranks.start("forks", hang_min_s=30)
    assert ranks.wait() == {0: 0}
    assert beats.read(ranks.run_dir, "001-000")[0].phase == beats.LEFT
    assert not beats.stacks_path(ranks.run_dir, "001-000", 0).parent.exists()
    assert beats.find_alarm(ranks.run_dir, "001-000") is None


def test_a_rank_that_works_long_between_two_steps_is_no_hang(ranks: Ranks) -> None:
    ranks.start("trains", "works", hang_min_s=6)
    assert ranks.wait() == {0: 0, 1: 0}
    assert ranks.step(0) == ranks.step(1) == 249


def test_ranks_wait_for_the_one_that_writes_their_checkpoint(ranks: Ranks) -> None:
    ranks.start("saves", "waits", stop_grace_s=3, hang_min_s=600, rendezvous_timeout_s=6)
    wait_until(lambda: len(beats.read(ranks.run_dir, "001-000")) == 2)
    wait_until(store.attempt_path(ranks.run_dir, "001-000").exists)
    for process in ranks.processes.values():
        process.send_signal(signal.SIGUSR2)
    assert ranks.wait() == {0: 0, 1: EXIT_KILLED}
    assert beats.read(ranks.run_dir, "001-000")[0].phase == beats.LEFT
    assert "did not stop within" in (ranks.record(1).error or "")


def test_an_exception_that_follows_an_alarm_is_not_taken_for_the_cause(ranks: Ranks) -> None:
    ranks.start("breaks")
    assert ranks.wait() == {0: EXIT_KILLED}
    assert ranks.record().outcome == "hang"
    assert ranks.record().error == "rank 1 said so"
