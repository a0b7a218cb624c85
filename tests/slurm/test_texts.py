"""The pure parts of the lab: texts that are written, texts that are read. No SLURM needed."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.slurm import LabError, LabOptions, carrying, furnishing
from tests.slurm.cgroups import find_hierarchies
from tests.slurm.configuration import (
    render_cgroup_conf,
    render_gres_conf,
    render_slurm_conf,
    render_task_prolog,
)
from tests.slurm.exposure import follow_links, group_by_closed_parent
from tests.slurm.jobs import have_ended_in_accounts, is_terminal, select
from tests.slurm.plan import LabPlan, make_plan
from tests.slurm.view import render_group, render_hosts, render_passwd

_LEGACY = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
_FREEZER = "37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
_UNIFIED = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def plan_of(**options: object) -> LabPlan:
    """Make a plan without looking for ports."""
    chosen = LabOptions(**options)  # type: ignore[arg-type]
    return LabPlan(directory=Path("/lab"), options=chosen, first_port=20_000, throw_away=True)


def test_legacy_cgroups_are_used_if_no_controller_is_missing() -> None:
    names = {hierarchy.mount_point.name for hierarchy in find_hierarchies(_LEGACY + _FREEZER)}
    assert names == {"cpu,cpuacct", "cpuset", "memory", "devices", "freezer"}
    assert find_hierarchies(_LEGACY) == []


def test_unified_cgroups_are_one_hierarchy() -> None:
    (hierarchy,) = find_hierarchies(_UNIFIED)
    assert (hierarchy.version, hierarchy.mount_point) == (2, Path("/sys/fs/cgroup"))


def test_systemd_is_left_alone_only_where_slurm_would_ask_it() -> None:
    assert "IgnoreSystemd=yes" in render_cgroup_conf(2)
    assert "IgnoreSystemd" not in render_cgroup_conf(1)


def test_each_node_has_its_own_port() -> None:
    text = render_slurm_conf(plan_of(nodes=2), "host")
    ports = [word for word in text.split() if word.startswith("Port=")]
    assert ports == ["Port=20002", "Port=20003"]
    assert "SlurmctldHost=host(127.0.0.1)\n" in text


def test_cluster_without_gpus_has_no_gres() -> None:
    plan = plan_of(gpus_per_node=0)
    assert render_gres_conf(plan) == ""
    assert "gres" not in render_slurm_conf(plan, "host").lower()


def test_user_signal_and_accounting_are_options() -> None:
    usual = render_slurm_conf(plan_of(), "host")
    assert "accounting_storage/slurmdbd" in usual
    assert "preempt_send_user_signal" not in usual
    other = render_slurm_conf(plan_of(accounting=False, preempt_user_signal=True), "host")
    assert "accounting_storage/none" in other
    assert "SlurmctldParameters=preempt_send_user_signal\n" in other


def test_plan_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    options = LabOptions(extra_conf=("DebugFlags=Gres",), expose=("/data",))
    plan = LabPlan(directory=tmp_path, options=options, first_port=20_000, throw_away=False)
    plan.save()
    assert LabPlan.load(tmp_path) == plan


def test_folder_with_a_long_path_is_refused() -> None:
    with pytest.raises(LabError, match=r"more than 60 characters\nin `/x+`\nhint: .*LAUNCHER_LAB"):
        make_plan(Path("/" + "x" * 60), LabOptions(), throw_away=True)


@pytest.mark.parametrize("options", [{"nodes": 0}, {"gpus_per_node": -1}, {"expose": ("data",)}])
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(LabError, match=f"\nin option `{name}`"):
        plan_of(**options)


def test_nodes_come_before_what_the_host_says() -> None:
    text = render_hosts("10.0.0.1 gl001\n", ["gl001"], "host")
    assert text.splitlines() == [
        "127.0.0.1 localhost",
        "127.0.0.1 host",
        "127.0.0.1 gl001",
        "10.0.0.1 gl001",
    ]


def test_user_replaces_those_with_its_name_or_number() -> None:
    accounts = "root:x:0:0::/root:/bin/sh\nresearcher:x:5:5::/:/bin/sh\nann:x:20001:7::/:/bin/sh\n"
    lines = render_passwd(accounts, Path("/home/r")).splitlines()
    assert [line.split(":")[:3] for line in lines] == [
        ["root", "x", "0"],
        ["researcher", "x", "20001"],
    ]
    assert render_group("root:x:0:\n").splitlines() == ["root:x:0:", "researcher:x:20001:"]


def test_links_are_followed_step_by_step(tmp_path: Path) -> None:
    (tmp_path / "real" / "bin").mkdir(parents=True)
    (tmp_path / "alias").symlink_to("real")
    (tmp_path / "start").symlink_to(tmp_path / "alias" / "bin")
    names = [str(hop.relative_to(tmp_path)) for hop in follow_links(tmp_path / "start")]
    assert names == ["start", "alias/bin", "real/bin"]


def test_paths_are_grouped_by_the_topmost_closed_folder(tmp_path: Path) -> None:
    root = tmp_path / "closed"
    inner = root / "a" / "b"
    inner.mkdir(parents=True)
    root.chmod(0o700)
    topmost = next(p for p in (*reversed(inner.parents),) if not p.stat().st_mode & 0o001)
    assert group_by_closed_parent([inner, Path("/usr/bin")]) == {topmost: [inner]}


def test_accounts_lag_behind_the_queue() -> None:
    queue = [{"raw_id": "7"}]
    row = {"JobIDRaw": "7", "State": "COMPLETED", "Partition": "gpu"}
    assert have_ended_in_accounts(queue, [row])
    assert not have_ended_in_accounts(queue, [row | {"Partition": ""}])
    assert not have_ended_in_accounts(queue, [row | {"State": "RUNNING"}])
    assert not have_ended_in_accounts(queue, [])


def test_array_is_selected_as_a_whole_or_by_element() -> None:
    rows = [{"id": f"8_{i}", "base_id": "8", "raw_id": str(8 + i)} for i in range(2)]
    assert select(rows, {"8"}) == rows
    assert select(rows, {"8_1"}) == rows[1:]


@pytest.mark.parametrize(
    ("state", "expected"),
    [("CANCELLED by 0", True), ("COMPLETING", False), ("PENDING", False), ("TIMEOUT", True)],
)
def test_terminal_states(state: str, *, expected: bool) -> None:
    assert is_terminal(state) is expected


def test_real_gpus_are_split_among_the_nodes() -> None:
    text = render_gres_conf(plan_of(nodes=2, gpus_per_node=2, real_gpus=True, gpu_type="h200"))
    assert text.splitlines() == [
        "NodeName=gl001 Name=gpu Type=h200 File=/dev/nvidia[0-1]",
        "NodeName=gl002 Name=gpu Type=h200 File=/dev/nvidia[2-3]",
    ]


@pytest.mark.parametrize(
    ("node", "given", "told"),
    [
        ("gl001", "0,1", "export CUDA_VISIBLE_DEVICES=0,1\n"),
        ("gl002", "0,1", "export CUDA_VISIBLE_DEVICES=2,3\n"),
        ("gl002", "1", "export CUDA_VISIBLE_DEVICES=3\n"),
        ("gl002", "2,3", "export CUDA_VISIBLE_DEVICES=2,3\n"),
        ("gl002", "", ""),
    ],
)
def test_a_task_is_told_the_gpus_of_its_node(node: str, given: str, told: str) -> None:
    script = render_task_prolog(plan_of(nodes=2, gpus_per_node=2, real_gpus=True))
    environment = {"SLURMD_NODENAME": node, "CUDA_VISIBLE_DEVICES": given}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, text=True, capture_output=True, check=True
    )
    assert done.stdout == told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root unpacks")
def test_what_is_no_archive_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    for name in ("text", "absent"):
        with pytest.raises(LabError, match="no archive"):
            carrying.unpack(tmp_path / name)


def test_gpus_that_are_not_there_are_named() -> None:
    plan = plan_of(nodes=32, gpus_per_node=32, real_gpus=True)
    with pytest.raises(LabError, match=r"/dev/nvidia\d+` is not there, 1024 GPUs are asked for"):
        furnishing.require_gpus(plan)
