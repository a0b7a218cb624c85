"""The five scripts that failed: the first finding is the reason, on one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.scripts import doctor_script, examine
from launcher.settings import ClusterConfig

DATA = Path(__file__).parent / "data"
L40S = ClusterConfig(
    name="l40s",
    partition="l40s_public",
    gpu_type="l40s",
    gpus_per_node=4,
    cpus_per_node=128,
    mem_gb_per_node=513,
    max_time_min=2880,
)
REASONS = {
    "a": ("ranks-over-gpus", ["8 ranks", "1 GPU", "1/8"]),
    "b": ("trainer-devices", ["1 task per node", "4 devices x 2 nodes", "2 of 8"]),
    "c": ("no-srun", ["without srun", "1/16 clients joined"]),
    "d": ("cramped-loaders", ["4 ranks x 8 workers", "64 loader processes", "256", "3.8 GB each"]),
    "e": ("persistent-workers", ["8 persistent", "16 loader processes", "256"]),
}


@pytest.mark.parametrize("cluster", [None, L40S], ids=["no-profile", "profile"])
@pytest.mark.parametrize("name", REASONS)
def test_the_first_finding_of_a_failed_script_is_the_reason(
    name: str, cluster: ClusterConfig | None
) -> None:
    rule, words = REASONS[name]
    first = doctor_script(DATA / f"{name}.slurm", cluster)[0]
    assert (first.rule, first.severity) == (rule, "error")
    assert all(word in first.reason for word in words), first.reason
    assert "\n" not in first.reason
    assert first.instead


@pytest.mark.parametrize("name", ["d", "e"])
def test_with_a_profile_the_memory_that_nobody_can_use_is_part_of_the_reason(name: str) -> None:
    first = doctor_script(DATA / f"{name}.slurm", L40S)[0]
    assert "256 of 513 GB" in first.reason
    assert "--mem=513G" in first.instead


@pytest.mark.parametrize(("name", "gpus"), [("a", 8), ("b", 8), ("c", 16), ("d", 16), ("e", 16)])
def test_the_command_instead_asks_for_what_was_meant(name: str, gpus: int) -> None:
    found = examine(DATA / f"{name}.slurm", L40S)
    assert f" resources.gpus={gpus} resources.cpus_per_rank=16 " in found.instead
    assert found.instead.endswith(" cluster=l40s")
    assert found.exit_code == 1


def test_without_a_profile_it_is_said_what_was_not_checked() -> None:
    found = doctor_script(DATA / "e.slurm")
    assert [one.rule for one in found if one.severity == "note"] == ["no-profile"]
