"""What scontrol and sacct print, read without being taken in by names of jobs."""

from __future__ import annotations

from datetime import datetime

import pytest

from launcher.scheduler.facts import expand, parse_account, parse_job, usable_nodes

JOB = """JobId=16 JobName=a JobState=FAILED Restarts=9
   UserId=researcher(20001) GroupId=researcher(20001) MCS_label=N/A
   Priority=4294901759 Nice=0 Account=(null) QOS=normal
   JobState=RUNNING Reason=None Dependency=(null)
   Requeue=1 Restarts=2 BatchFlag=1 Reboot=0 ExitCode=0:0
   RunTime=00:01:00 TimeLimit=1-02:03:00 TimeMin=N/A
   SubmitTime=2026-11-21T06:51:19 EligibleTime=2026-11-21T06:51:19
   StartTime=2026-11-21T06:51:19 EndTime=2026-11-22T08:54:19 Deadline=N/A
   PreemptEligibleTime=2026-11-21T06:51:19 PreemptTime={preempt}
   Partition=preempt AllocNode:Sid=host:1
   ReqNodeList=(null) ExcNodeList=gl[003-004]
   NodeList=gl[001-002]
   BatchHost=gl001
   NumNodes=2 NumCPUs=4 NumTasks=4 CPUs/Task=1 ReqB:S:C:T=0:0:*:*
   TRES=cpu=4,mem=8000M,node=2,billing=4,gres/gpu=16
   StdOut=/home/it's a "path"/16_0_log.out
   Power=
"""
ACCOUNTS = """16|REQUEUED|0:0|2026-11-21T06:51:09|2026-11-21T06:52:37|gl001
16.batch|FAILED|7:0|2026-11-21T06:51:09|2026-11-21T06:52:37|gl001
16.0|OUT_OF_MEMORY|0:125|2026-11-21T06:51:10|2026-11-21T06:52:37|gl001
16|CANCELLED by 20001|0:0|2026-11-21T06:53:00|2026-11-21T06:54:00|gl[002-003]
16.batch|CANCELLED|0:15|2026-11-21T06:53:00|2026-11-21T06:54:00|gl002
"""


def local_s(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def test_a_job_is_read_and_its_name_cannot_lie() -> None:
    facts = parse_job(JOB.format(preempt="None"))
    assert (facts.state, facts.reason, facts.restarts) == ("RUNNING", "", 2)
    assert not facts.is_preempted
    assert facts.nodes == ("gl001", "gl002")
    assert facts.excluded == ("gl003", "gl004")
    assert facts.limit_min == 26 * 60 + 3
    assert facts.limit_end_s == local_s("2026-11-22T08:54:19")
    assert facts.mem_gb == pytest.approx(4000 / 1024)
    assert facts.stdout == '/home/it\'s a "path"/16_0_log.out'
    assert facts.partition == "preempt"


def test_a_time_of_preemption_is_a_preemption() -> None:
    assert parse_job(JOB.format(preempt="2026-11-21T06:52:00")).is_preempted


def test_the_memory_of_a_job_that_waits_is_what_it_asked_for() -> None:
    text = "   NumNodes=2-2 NumCPUs=4\n   ReqTRES=cpu=4,mem=3G,node=2\n   AllocTRES=(null)\n"
    assert parse_job(text).mem_gb == 1.5


def test_the_accounts_of_a_life_are_those_of_the_time_when_it_was_under_way() -> None:
    first = parse_account(ACCOUNTS, local_s("2026-11-21T06:51:11"), 0)
    assert first is not None
    assert first.state == "REQUEUED"
    assert first.steps["0"] == ("OUT_OF_MEMORY", "0:125")
    last = parse_account(ACCOUNTS, local_s("2026-11-21T06:53:30"), 1)
    assert last is not None
    assert (last.state, last.nodes) == ("CANCELLED by 20001", ("gl002", "gl003"))
    assert set(last.steps) == {"batch"}
    assert parse_account(ACCOUNTS, local_s("2026-11-21T07:00:00"), 1) is None


def test_a_life_that_never_said_when_it_began_is_found_in_the_accounts_by_its_number() -> None:
    states = [parse_account(ACCOUNTS, None, restart) for restart in (0, 1, 2)]
    assert [state and state.state for state in states] == ["REQUEUED", "CANCELLED by 20001", None]
    assert parse_account("", None, 0) is None


def test_a_job_that_was_cancelled_before_it_began_is_cancelled() -> None:
    text = "7|CANCELLED by 20001|0:0|None|2026-11-21T06:54:00|None assigned\n"
    account = parse_account(text, None, 0)
    assert account is not None
    assert (account.state, account.nodes) == ("CANCELLED by 20001", ())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("gl001", ["gl001"]),
        ("gl[001-003,007],cpu1", ["gl001", "gl002", "gl003", "gl007", "cpu1"]),
        ("r[1-2]n[09-10]", ["r1n09", "r1n10", "r2n09", "r2n10"]),
        ("(null)", []),
        ("None assigned", []),
    ],
)
def test_lists_of_nodes_are_expanded(text: str, names: list[str]) -> None:
    assert list(expand(text)) == names


def test_nodes_that_take_no_jobs_are_not_usable() -> None:
    rows = ["a|idle|1024", "b|mixed|2048", "c|down*|1024", "d|drained|1024", "e|idle*|1024"]
    assert usable_nodes(rows) == [("a", 1.0), ("b", 2.0)]
