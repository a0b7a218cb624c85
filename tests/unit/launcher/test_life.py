"""What the controller of a local run says of its ranks' ends."""

import pytest

from launcher.life import Life
from launcher.stopping import EXIT_KILLED, EXIT_STOPPED


def life(**known: object) -> Life:
    return Life(restart=0, ends_s=0.0, **known)  # type: ignore[arg-type]


def test_the_rank_that_failed_first_is_named_not_those_that_were_killed_after_it() -> None:
    ended = life(exits={0: 0, 2: -11, 1: -9}, has_begun=True)
    assert ended.seen(60, None) == {
        "crash": ["controller: rank 2 was ended by signal 11 (SIGSEGV)"]
    }


def test_a_rank_that_leaves_before_any_record_never_started() -> None:
    assert list(life(exits={0: 1}).seen(60, None)) == ["launch_failure"]
    assert list(life(exits={0: 1}, has_begun=True).seen(60, None)) == ["crash"]


@pytest.mark.parametrize("code", [EXIT_STOPPED, EXIT_KILLED])
def test_who_leaves_when_asked_to_has_run_out_of_time(code: int) -> None:
    found = life(exits={0: code}, asked=["SIGUSR2"], has_begun=True).seen(60, None)
    assert "the time limit of 60 min was near" in found["walltime"][0]


def test_who_was_asked_by_somebody_else_and_saved_was_preempted() -> None:
    ended = life(exits={0: EXIT_STOPPED, 1: EXIT_STOPPED}, has_begun=True)
    assert list(ended.seen(60, None)) == ["preempted"]
    assert list(life(exits={0: EXIT_STOPPED, 1: -15}, has_begun=True).seen(60, None)) == ["crash"]


def test_a_crash_after_the_announcement_is_a_crash() -> None:
    found = life(exits={0: -11}, asked=["SIGUSR2"], has_begun=True).seen(60, None)
    assert list(found) == ["crash"]


def test_a_stopped_run_has_not_run_out_of_time() -> None:
    ended = life(exits={0: -9}, asked=["SIGTERM"], stopped_by="ctrl-C", has_begun=True)
    assert ended.seen(60, None)["cancelled"] == ["controller: ctrl-C"]
    assert "walltime" not in ended.seen(60, None)


def test_memory_is_named_beside_the_signal_that_it_came_with() -> None:
    found = life(exits={0: -9}, has_begun=True).seen(60, "the kernel killed it")
    assert set(found) == {"host_oom", "crash"}
