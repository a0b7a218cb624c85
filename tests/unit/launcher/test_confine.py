"""Where a run's cgroup is made, on a pretended /sys/fs/cgroup; tests/local makes real ones."""

from pathlib import Path

import pytest

from launcher import confine


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "cgroup"
    root.mkdir()
    monkeypatch.setattr(confine, "CGROUPS", root)
    monkeypatch.setattr(confine, "_MEMBERSHIP", tmp_path / "membership")
    return root


def belong(cgroups: Path, membership: str) -> None:
    (cgroups.parent / "membership").write_text(membership)


def test_in_version_2_it_is_made_below_the_nearest_that_offers_memory(cgroups: Path) -> None:
    belong(cgroups, "0::/user.slice/app.slice/shell.scope\n")
    (cgroups / "cgroup.controllers").touch()
    offers = {"": "cpu memory", "user.slice": "cpu memory pids", "user.slice/app.slice": "cpu"}
    (cgroups / "user.slice" / "app.slice" / "shell.scope").mkdir(parents=True)
    for name, controllers in offers.items():
        (cgroups / name / "cgroup.subtree_control").write_text(controllers)
    made = confine.Cgroup.make(1.5, "job_7")
    assert made is not None
    assert made.folder == cgroups / "user.slice" / "job_7"
    assert (made.folder / "memory.max").read_text() == str(3 << 29)
    assert (made.folder / "memory.swap.max").read_text() == "0"
    (made.folder / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert made.kills() == 2


def test_in_version_1_it_is_made_below_the_memory_cgroup_of_this_process(cgroups: Path) -> None:
    belong(cgroups, "5:devices:/x\n4:cpu,memory:/session\n0::/\n")
    own = cgroups / "memory" / "session"
    own.mkdir(parents=True)
    made = confine.Cgroup.make(1.0, "job_7")
    assert made is not None
    assert made.folder == own / "job_7"
    (made.folder / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert made.kills() == 1


@pytest.mark.parametrize("membership", ["", "0::/user.slice\n", "4:memory:/elsewhere\n"])
def test_where_none_can_be_made_the_run_is_watched(cgroups: Path, membership: str) -> None:
    belong(cgroups, membership)
    assert isinstance(confine.limit(1.0, "job_7"), confine.Watchdog)


def test_a_run_without_a_limit_has_none() -> None:
    assert isinstance(confine.limit(None, "job_7"), confine.NoLimit)
