"""What is recorded is what comes again, and the oldest recording makes room."""

from experiments.replay import Recordings


def test_a_recording_is_made_the_second_time_and_kept() -> None:
    recordings: Recordings[object] = Recordings(kept=2)
    assert recordings.of(("a",), object) is None
    first = recordings.of(("a",), object)
    assert first is not None
    assert recordings.of(("a",), object) is first


def test_the_oldest_makes_room_and_is_made_anew() -> None:
    recordings: Recordings[object] = Recordings(kept=2)
    made = {}
    for key in ("a", "b", "c"):
        recordings.of((key,), object)
        made[key] = recordings.of((key,), object)
    assert recordings.of(("b",), object) is made["b"]
    assert recordings.of(("c",), object) is made["c"]
    assert recordings.of(("a",), object) is None
    assert recordings.of(("a",), object) not in (None, made["a"])
