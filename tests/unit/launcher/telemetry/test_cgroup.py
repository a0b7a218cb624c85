"""What a job holds, from the files of its cgroup."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher import memory
from launcher.telemetry.cgroup import JobCgroup

GB = 2**30


def cgroup(folder: Path, *, is_legacy: bool, **files: str) -> JobCgroup:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_dot_", ".")).write_text(content)
    return JobCgroup(folder, is_legacy)


def version_2(folder: Path, current: int, **stat: int) -> JobCgroup:
    lines = "".join(f"{name} {value}\n" for name, value in stat.items())
    files = {"memory_dot_current": f"{current}\n", "memory_dot_stat": lines}
    return cgroup(folder, is_legacy=False, **files)


def test_file_pages_and_slabs_that_can_be_taken_back_do_not_count(tmp_path: Path) -> None:
    job = version_2(
        tmp_path,
        10 * GB,
        anon=5 * GB,
        file=4 * GB,
        shmem=1 * GB,
        inactive_file=2 * GB,
        active_file=1 * GB,
        inactive_anon=1 * GB,
        slab_reclaimable=GB // 2,
    )
    held = job.look()
    assert held is not None
    assert (held.kept_gb, held.with_cache_gb) == (6.5, 10.0)


def test_in_version_1_the_totals_of_all_cgroups_below_count(tmp_path: Path) -> None:
    stat = f"inactive_file 0\nactive_file 0\ntotal_inactive_file {GB}\ntotal_active_file {2 * GB}\n"
    job = cgroup(
        tmp_path,
        is_legacy=True,
        memory_dot_usage_in_bytes=f"{4 * GB}\n",
        memory_dot_stat=stat,
    )
    held = job.look()
    assert held is not None
    assert (held.kept_gb, held.with_cache_gb) == (1.0, 4.0)


def test_cache_that_is_freed_between_two_reads_was_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = version_2(tmp_path, 4 * GB, inactive_file=3 * GB)
    original = Path.read_text

    def freed_first(path: Path) -> str:
        if path.name == "memory.stat":
            version_2(tmp_path, 2 * GB, inactive_file=1 * GB)
        return original(path)

    monkeypatch.setattr(Path, "read_text", freed_first)
    held = job.look()
    assert held is not None
    assert (held.kept_gb, held.with_cache_gb) == (1.0, 4.0)


def test_files_that_are_read_one_after_the_other_never_give_less_than_nothing(
    tmp_path: Path,
) -> None:
    held = version_2(tmp_path, GB, inactive_file=2 * GB).look()
    assert held is not None
    assert held.kept_gb == 0


@pytest.mark.parametrize(
    ("is_legacy", "name", "content", "limit_gb"),
    [
        (False, "memory.max", "max\n", None),
        (False, "memory.max", f"{3 * GB}\n", 3.0),
        (True, "memory.limit_in_bytes", "9223372036854771712\n", None),
        (True, "memory.limit_in_bytes", f"{2 * GB}\n", 2.0),
    ],
)
def test_a_limit_that_is_none_is_unknown(
    is_legacy: bool, name: str, content: str, limit_gb: float | None, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    assert JobCgroup(tmp_path, is_legacy).limit_gb() == limit_gb


def test_the_first_cgroup_that_counts_is_taken(tmp_path: Path) -> None:
    version_2(tmp_path / "b", GB)
    folders = [(tmp_path / "gone", True), (tmp_path / "b", False)]
    found = JobCgroup.find(lambda: folders)
    assert found is not None
    assert found.folder == tmp_path / "b"
    assert JobCgroup.find(list) is None


@pytest.mark.parametrize(
    ("line", "below", "is_legacy"),
    [
        (
            "4:cpu,memory:/slurm_gl001/uid_1000/job_12/step_0/task_1",
            "memory/slurm_gl001/uid_1000/job_12",
            True,
        ),
        (
            "0::/system.slice/slurmstepd.scope/job_12/step_0/user/task_0",
            "system.slice/slurmstepd.scope/job_12",
            False,
        ),
        ("4:cpu:/slurm/uid_1000/job_12/step_0", None, False),
        ("0::/user.slice", None, False),
    ],
)
def test_a_job_is_the_cgroup_above_its_steps(
    line: str, below: str | None, is_legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text(line + "\n")
    monkeypatch.setattr(memory, "_MEMBERSHIP", membership)
    expected = [] if below is None else [(memory.CGROUPS / below, is_legacy)]
    assert memory.job_cgroups() == expected
