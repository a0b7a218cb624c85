"""When a rank is called hung, late or missing, and what is said about it; no thread, no clock."""

import sys
import timeit
from pathlib import Path

import pytest

from launcher import beats, store, watch
from launcher.beats import Alarm, Beat
from launcher.context import RunContext
from launcher.settings import RecoveryConfig
from launcher.watch import deadlines, diagnosis, process
from launcher.watch.diagnosis import Roll
from launcher.watch.heart import interval_s
from launcher.watch.movement import Movement
from launcher.watch.pace import RECENT, Mark, Pace
from launcher.watch.watcher import started_tasks
from launcher.world import World

RECOVERY = RecoveryConfig()


def beat(rank: int, phase: str = "training", step: int | None = 100, **fields: object) -> Beat:
    return Beat(
        **{
            "rank": rank,
            "host": f"gl00{rank // 2 + 1}",
            "pid": 100 + rank,
            "time": "2026-01-01T00:00:00.000+00:00",
            "phase": phase,
            "since": "2026-01-01T00:00:00.000+00:00",
            "step": step,
            "at": "all_reduce (c10d.py:1)",
            "busy": 0.0,
            **fields,
        }
    )


def roll(*given: Beat, world_size: int = 4, **ages_s: float) -> Roll:
    return Roll(
        nodes=["gl001", "gl002"],
        ranks_per_node=2,
        world_size=world_size,
        beats={beat.rank: beat for beat in given},
        ages_s={beat.rank: ages_s.get(f"rank{beat.rank}", 1.0) for beat in given},
        silent_after_s=150.0,
    )


def joining(*ranks: int) -> list[Beat]:
    return [beat(rank, "rendezvous", None) for rank in ranks]


def rendezvous(given: Roll) -> diagnosis.Finding:
    return diagnosis.rendezvous(given, timeout_s=300.0, folder="/study/run")


def hang(given: Roll) -> diagnosis.Finding:
    return diagnosis.hang(given, silence_s=312.0, usual_s=0.4, phase="training", step=120)


def marks(phase: str, *times_s: float) -> list[Mark]:
    return [(phase, step, time_s) for step, time_s in enumerate(times_s)]


# Rendezvous


def test_a_rank_without_any_beat_is_named_with_the_node_it_belongs_to() -> None:
    finding = rendezvous(roll(*joining(0, 1, 2)))
    assert finding.error == (
        "rank 3 on gl002 did not join within 300 s (3 of 4 ranks wait in the rendezvous)"
    )
    assert finding.missing == ["rank 3 on gl002"]
    assert "`/study/run` is not shared" in finding.text


def test_missing_ranks_of_a_node_are_named_together() -> None:
    finding = rendezvous(roll(*joining(0)))
    assert finding.error.startswith("rank 1 on gl001; ranks 2, 3 on gl002 did not join")


def test_a_rank_that_still_prepares_is_late_and_not_missing() -> None:
    finding = rendezvous(roll(*joining(0, 1, 3), beat(2, "starting", None, at="index (data.py:7)")))
    assert finding.missing == []
    assert "not there yet: rank 2 on gl002, starting since 2026" in finding.text
    assert "in index (data.py:7)" in finding.text
    assert "hydra.launcher.recovery.rendezvous_timeout_s" in finding.text


def test_a_rank_that_fell_silent_is_missing() -> None:
    finding = rendezvous(roll(*joining(0, 1, 2), beat(3, "starting", None), rank3=200.0))
    assert finding.missing == ["rank 3 on gl002"]
    assert "rank 3 on gl002 gave no sign of life for 200 s" in finding.text


def called(rank: int, result: str) -> Beat:
    return beat(rank, "rendezvous", None, connection=f"gl001:29500 {result}")


def test_where_all_are_there_the_network_is_to_blame() -> None:
    refused = "does not answer"
    finding = rendezvous(
        roll(*joining(0), called(1, beats.REACHED), called(2, refused), called(3, refused))
    )
    assert finding.error.startswith("all ranks are there, but they did not find each other")
    assert "gl001:29500 does not answer from ranks 2, 3 on gl002" in finding.details
    assert "the port is blocked" in finding.text
    assert "NCCL_SOCKET_IFNAME (GPU) or GLOO_SOCKET_IFNAME (CPU)" in finding.text


def test_where_rank_0_can_be_reached_its_interface_is_to_blame() -> None:
    finding = rendezvous(roll(*joining(0), *(called(r, beats.REACHED) for r in (1, 2, 3))))
    assert "gl001:29500 can be reached from rank 1 on gl001; ranks 2, 3 on gl002" in finding.text
    assert "a wrong interface" in finding.text


def test_both_numbers_are_named_where_tasks_and_ranks_disagree() -> None:
    error = diagnosis.mismatch(8, 4).error
    assert error == "SLURM started 8 tasks, the run has 4 ranks: ntasks and devices disagree"


def world(scheduler: str) -> World:
    return World(
        scheduler=scheduler, job_id="1", rank=0, local_rank=0, world_size=4,
        hostnames=["gl001"], restart=0, ends_s=None,
    )  # fmt: skip


def test_the_step_says_how_many_tasks_slurm_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    assert started_tasks(world("slurm")) == 3
    assert started_tasks(world("local")) == 4


def test_a_name_that_does_not_resolve_is_said_with_where_to_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "RESOLVE_PAUSES_S", (0.0,))
    assert process.resolve("localhost") is None
    reason = process.resolve("no-such-node.invalid")
    assert reason is not None
    text = diagnosis.unresolved("no-such-node.invalid", reason).text
    assert "`no-such-node.invalid`, does not resolve here: " in text
    assert "/etc/hosts" in text


# Hangs


def test_the_rank_that_is_behind_is_the_suspect() -> None:
    finding = hang(roll(beat(0), beat(1), beat(2, "validation", 99), beat(3)))
    assert finding.error == (
        "no step for 312 s (usually 0.4 s) since step 120;"
        " rank 2 on gl002 is behind at step 99 in validation, in all_reduce (c10d.py:1)"
    )
    assert finding.missing == ["rank 2 on gl002"]


def test_at_equal_steps_the_rank_at_another_place_is_the_suspect() -> None:
    finding = hang(roll(beat(0), beat(1, at="read (data.py:3)"), beat(2), beat(3)))
    assert finding.missing == ["rank 1 on gl001"]
    assert "rank 1 on gl001 is in read (data.py:3), the others in all_reduce" in finding.error


def test_where_nothing_tells_the_ranks_apart_none_is_blamed() -> None:
    finding = hang(roll(beat(0), beat(1), beat(2), beat(3)))
    assert finding.missing == []
    assert finding.error.endswith("all ranks are in all_reduce (c10d.py:1)")


def test_two_ranks_at_two_places_blame_nobody() -> None:
    finding = hang(roll(beat(0), beat(1, at="read (data.py:3)"), world_size=2))
    assert finding.missing == []


def test_silence_outweighs_being_behind() -> None:
    finding = hang(roll(beat(0, step=90), beat(1), beat(2), beat(3), rank3=310.0))
    assert finding.missing == ["rank 3 on gl002"]


def test_a_rank_that_left_is_the_suspect_of_those_that_wait() -> None:
    finding = hang(roll(beat(0), beat(1, beats.LEFT, 80), world_size=2, rank1=999.0))
    assert finding.missing == ["rank 1 on gl001"]
    assert "left already" in finding.error


def test_all_places_are_listed() -> None:
    details = hang(roll(*map(beat, range(4)))).details
    assert "rank 2 on gl002: training step 100, in all_reduce (c10d.py:1), seen 1 s ago" in details


def test_the_usual_pace_sets_the_limit_once_it_is_known() -> None:
    pace = Pace()
    pace.learn(marks("training", 0, 30, 60))
    assert pace.limit_s("training", RECOVERY) == 600.0
    pace.learn(marks("training", 0, 30, 60, 90, 120))
    assert pace.usual_s("training") == 30
    assert pace.limit_s("training", RECOVERY) == 600.0
    assert pace.limit_s("validation", RECOVERY) == 600.0


def test_a_quick_pace_falls_back_on_the_shortest_limit() -> None:
    pace = Pace()
    pace.learn(marks("training", 0, 1, 2, 3, 4))
    assert pace.limit_s("training", RECOVERY) == 300.0


def test_a_long_silence_that_ended_well_makes_the_next_one_less_alarming() -> None:
    pace = Pace()
    pace.learn(marks("validation", 0, 1, 2, 3, 4, 254, 255))
    assert pace.limit_s("validation", RECOVERY) == 500.0


def test_marks_that_are_seen_twice_count_once() -> None:
    pace = Pace()
    early = marks("training", 0, 1, 2)
    pace.learn(early)
    pace.learn(early)
    assert pace.usual_s("training") is None


def test_the_time_in_a_phase_is_that_phases_own() -> None:
    pace = Pace()
    switching: list[Mark] = []
    for n in range(RECENT // 2):
        switching += [("training", n, 10.0 * n), ("saving", n, 10.0 * n + 1)]
    pace.learn(switching)
    assert pace.usual_s("training") == 1
    assert pace.usual_s("saving") == 9


@pytest.mark.parametrize("phase", ["starting", "rendezvous", "evaluating", "leaving"])
def test_code_of_the_task_itself_never_hangs(phase: str) -> None:
    assert Pace().limit_s(phase, RECOVERY) is None


def test_a_thread_that_is_found_elsewhere_each_time_works() -> None:
    movement = Movement()
    for place in range(20):
        movement.see(1.0, place)
    assert movement.share == 1.0
    assert roll(beat(0), beat(1, busy=movement.share)).busy == [1]


def test_a_thread_that_is_found_at_one_place_waits() -> None:
    movement = Movement()
    for look in range(100):
        movement.see(1.0, 7 if look != 50 else 8)  # waiting in a loop shows another line at times
    assert movement.share == pytest.approx(0.02, abs=0.001)
    assert roll(beat(0, busy=movement.share)).busy == []


def test_a_rank_that_gave_a_mark_just_now_works() -> None:
    movement = Movement()
    for _ in range(50):
        movement.see(1.0, 7)
    movement.see(2.0, 7)
    assert movement.share == 1.0


# The end of the time limit


def test_a_task_has_its_grace() -> None:
    assert deadlines.stop_deadline_s(1000.0, "training", 60.0, None) == 1060.0
    assert deadlines.stop_deadline_s(1000.0, "training", 60.0, 2000.0) == 1060.0


def test_a_grace_that_is_longer_than_the_time_left_is_cut() -> None:
    assert deadlines.stop_deadline_s(1000.0, "training", 60.0, 1040.0) == 1035.0


def test_a_task_that_is_asked_after_its_time_has_its_grace() -> None:
    assert deadlines.stop_deadline_s(1000.0, "training", 60.0, 1002.0) == 1060.0


def test_a_checkpoint_in_writing_may_take_what_is_left() -> None:
    assert deadlines.stop_deadline_s(1000.0, "saving", 60.0, 2000.0) == 1995.0
    assert deadlines.stop_deadline_s(1000.0, "saving", 60.0, None) == 1600.0


def test_who_is_leaving_is_left_alone() -> None:
    assert deadlines.stop_deadline_s(1000.0, "leaving", 60.0, 2000.0) is None


def test_the_request_comes_early_enough_for_two_steps() -> None:
    assert deadlines.time_request_s(0.0, 3600.0, 90.0, 1.0) == 3510.0
    assert deadlines.time_request_s(0.0, 3600.0, 90.0, 100.0) == 3390.0
    assert deadlines.time_request_s(0.0, 3600.0, 0.0, None) == 3590.0


def test_a_time_limit_shorter_than_the_lead_does_not_stop_a_run_at_its_start() -> None:
    assert deadlines.time_request_s(100.0, 160.0, 90.0, None) == 130.0


# On disk


@pytest.mark.parametrize(("ranks", "expected_s"), [(1, 5.0), (4, 5.0), (200, 10.0), (2000, 50.0)])
def test_a_large_job_beats_more_slowly(ranks: int, expected_s: float) -> None:
    assert interval_s(ranks, RECOVERY) == expected_s


def test_beats_are_read_back_and_a_damaged_one_counts_as_none(tmp_path: Path) -> None:
    for rank in range(3):
        beats.write(tmp_path, "001-000", beat(rank))
    (beats.folder(tmp_path, "001-000") / "1.json").write_text("{")
    assert sorted(beats.read(tmp_path, "001-000")) == [0, 2]
    assert beats.ranks(tmp_path, "001-000") == {0, 1, 2}


def test_the_first_alarm_stands_and_is_no_beat_and_no_attempt(tmp_path: Path) -> None:
    def alarm(rank: int) -> Alarm:
        return Alarm(rank=rank, time="", outcome="hang", error="e", text="t", missing=[])

    assert beats.find_alarm(tmp_path, "001-000") is None
    assert beats.raise_alarm(tmp_path, "001-000", alarm(2)).rank == 2
    assert beats.raise_alarm(tmp_path, "001-000", alarm(1)).rank == 2
    assert beats.find_alarm(tmp_path, "001-000") == alarm(2)
    assert beats.read(tmp_path, "001-000") == {}
    assert store.attempts(tmp_path) == []


def test_the_place_of_the_main_thread_names_a_function() -> None:
    assert process.place().startswith("_main_frame (process.py:")
    assert "torch.distributed" in sys.modules or not process.has_joined()


def test_lightning_asking_for_the_address_of_rank_0_enters_the_rendezvous(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from launcher.callbacks.lightning import RankEnvironment

    monkeypatch.setenv("MASTER_ADDR", "gl001")
    context = RunContext(run_dir=tmp_path, key="key", name="run", attempt="001-000")
    assert RankEnvironment(context).main_address == "gl001"
    assert watch._marks[-1][0] == "rendezvous"


def test_a_mark_costs_next_to_nothing() -> None:
    number = 100_000
    best_s = min(timeit.repeat(lambda: watch.mark("training", 1), number=number, repeat=5))
    assert best_s / number < 2e-6
