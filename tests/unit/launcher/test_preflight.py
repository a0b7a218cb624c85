"""Each check of a submission, with a case that must fail it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from omegaconf import OmegaConf

from launcher.compose import WantedRun
from launcher.errors import ConfigError, SubmissionError
from launcher.hydra_config import pickled
from launcher.measures import Measure
from launcher.preflight import _ORDER, inspect, refuse, warnings
from launcher.preflight.facts import SiteFacts, kinds_of
from launcher.preflight.findings import CHECKS, Finding, Subject
from launcher.records import PhaseUse, Place, RankUse
from launcher.scheduler.client import Answer, SlurmClient
from launcher.settings import ClusterConfig, RecoveryConfig, StudyLauncherConf
from launcher.sites.facts import Node
from launcher.topology import Shape

SHAPE = Shape(
    nodes=2, gpus_per_node=4, ranks_per_node=4, cpus_per_rank=8, mem_gb=200, timeout_min=1440
)
PARTITIONS = """\
PartitionName=l40s_public AllowGroups=ALL Default=YES MaxNodes=8 MaxTime=2-00:00:00 \
Nodes=gl[001-004] PreemptMode=OFF State=UP TotalCPUs=512
PartitionName=spot AllowGroups=ALL Default=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED \
Nodes=gl[001-004] PreemptMode=CANCEL State=UP
PartitionName=old AllowGroups=ALL Default=NO MaxNodes=UNLIMITED MaxTime=04:00:00 \
Nodes=gl[001-004] PreemptMode=REQUEUE State=INACTIVE
"""
NODES = """\
NodeName=localhost CPUTot=128 Gres=gpu:l40s:4(S:0-1) NodeHostName=gl001 RealMemory=525312 \
State=IDLE Partitions=l40s_public,spot,old
NodeName=127.0.0.1 CPUTot=128 Gres=gpu:l40s:4(S:0-1) NodeHostName=gl002 RealMemory=525312 \
State=MIXED Partitions=l40s_public,spot,old
NodeName=127.0.0.2 CPUTot=128 Gres=gpu:l40s:4 NodeHostName=gl003 RealMemory=525312 \
State=IDLE+DRAIN Partitions=l40s_public,spot,old
NodeName=127.0.0.3 CPUTot=64 Gres=(null) NodeHostName=gl004 RealMemory=262144 \
State=IDLE Partitions=l40s_public,spot,old
"""
CONFIG = """\
ClusterName             = site
JobRequeue              = 1
PreemptType             = preempt/partition_prio
"""
ASSOC = """\
Cluster|Account|User|Partition|QOS|Def QOS|MaxSubmit|MaxTRES|MaxWall
site|lab|me||normal,short|normal|500||
"""
QOS = """\
Name|Preempt|GraceTime|MaxWall|MaxTRES|MaxTRESPU|MaxSubmitPU
normal||00:00:00||||
short||00:00:00|01:00:00|node=1|gres/gpu=4|2
"""


class Site(SlurmClient):
    """A site of which the answers are known."""

    answers: ClassVar[dict[str, str]] = {}

    def run(
        self,
        command: list[str],
        text: str | None = None,
        *,
        submits: bool = False,
        timeout_s: float = 60,
    ) -> Answer:
        return Answer(0, next(a for word, a in self.answers.items() if word in command))


def site(**answers: str) -> SiteFacts:
    client = Site()
    known = {"partition": PARTITIONS, "config": CONFIG, "node": NODES}
    accounts = {"assoc": ASSOC, "user": "User|Def Acct\nme|lab\n", "qos": QOS}
    vars(client)["answers"] = known | accounts | answers
    return SiteFacts(client)


@pytest.fixture(autouse=True)
def _with_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


def run(
    *, config: dict[str, Any] | None = None, shape: Shape = SHAPE, **settings: Any
) -> WantedRun:
    return WantedRun(
        key="k",
        name="lr=1",
        overrides=(),
        run_dir=Path("k"),
        pickle=pickled(OmegaConf.create({**(config or {}), "hydra": {}})),
        settings=StudyLauncherConf(**settings),
        shape=shape,
        profile_dir=Path("profiles/p"),
    )


def subject(tmp_path: Path, *runs: WantedRun, **changes: Any) -> Subject:
    made = Subject(
        runs=runs or (run(),),
        scheduler="slurm",
        study_dir=str(tmp_path / "outputs" / "study"),
        site=site(),
        measures=lambda _: (),
    )
    return replace(made, **changes)


def found(name: str, seen: Subject) -> list[Finding]:
    return [finding for finding in CHECKS[name](seen) if finding.level != "ok"]


def one(name: str, seen: Subject) -> Finding:
    (finding,) = found(name, seen)
    assert finding.hint
    return finding


def measured(**values: Any) -> Callable[[WantedRun], Sequence[Measure]]:
    use = RankUse(
        attempt="001-000",
        key="k",
        rank=0,
        local_rank=0,
        host="gl001",
        world_size=1,
        num_nodes=1,
        ranks_per_node=1,
        cpus_per_rank=1,
        **values,
    )
    measure = Measure(ranks=[use], run_dir=Path("k"), attempt="001-000")
    return lambda _: [measure]


def test_every_check_has_its_place_in_the_order() -> None:
    assert set(CHECKS) == set(_ORDER)


def test_a_submission_in_which_all_is_right_raises_no_error(tmp_path: Path) -> None:
    levels = {f.check: f.level for f in inspect(subject(tmp_path))}
    assert "error" not in levels.values()
    assert levels["node_size"] == levels["walltime"] == levels["node_names"] == "ok"


def cluster(**values: Any) -> ClusterConfig:
    return ClusterConfig(name="university", **values)


def test_a_partition_that_is_gone_is_refused_with_the_nearest(tmp_path: Path) -> None:
    gone = subject(tmp_path, run(cluster=cluster(partition="l40s")))
    finding = one("partition", gone)
    assert finding.level == "error"
    assert "`l40s` does not exist; there are: l40s_public, old, spot" in finding.reason
    assert "cluster.partition=l40s_public" in finding.hint
    assert "launch cluster discover" in finding.hint


def test_of_a_partition_that_is_gone_nothing_else_is_asked(tmp_path: Path) -> None:
    gone = subject(tmp_path, run(cluster=cluster(partition="l40s")))
    assert [finding.check for finding in inspect(gone)] == ["partition"]


def test_a_partition_that_is_down_is_said_to_be_down(tmp_path: Path) -> None:
    (finding,) = found("partition", subject(tmp_path, run(cluster=cluster(partition="old"))))
    assert finding.level == "warning"
    assert "is not up" in finding.reason


@pytest.mark.parametrize(
    ("changes", "nearest"),
    [
        (
            {"gpus_per_node": 8, "ranks_per_node": 8, "nodes": 1},
            "nodes=2 resources.gpus_per_node=4",
        ),
        ({"cpus_per_rank": 64}, "cpus_per_rank=32"),
        ({"mem_gb": 600}, "mem_gb=513"),
        ({"nodes": 4}, "12 GPUs of one kind"),
    ],
)
def test_a_shape_that_no_node_holds_is_refused_with_the_nearest(
    tmp_path: Path, changes: dict[str, Any], nearest: str
) -> None:
    finding = one("node_size", subject(tmp_path, run(shape=replace(SHAPE, **changes))))
    assert finding.level == "error"
    assert "3 x (4 GPUs, 128 CPUs, 513 GB)" in finding.reason or "2 x" in finding.reason
    assert nearest in finding.hint


def test_nodes_that_are_drained_are_waited_for(tmp_path: Path) -> None:
    three = run(shape=replace(SHAPE, nodes=3))
    (finding,) = found("node_size", subject(tmp_path, three))
    assert finding.level == "warning"
    assert "2 of 3 nodes" in finding.reason


def test_a_time_limit_above_max_time_is_refused(tmp_path: Path) -> None:
    finding = one("walltime", subject(tmp_path, run(shape=replace(SHAPE, timeout_min=2881))))
    assert finding.level == "error"
    assert "above the limit of 2880 min (partition l40s_public)" in finding.reason
    assert "resources.timeout_min=2880" in finding.hint
    unlimited = run(shape=replace(SHAPE, timeout_min=99999), cluster=cluster(partition="spot"))
    assert not found("walltime", subject(tmp_path, unlimited))


def test_of_several_partitions_each_is_looked_at(tmp_path: Path) -> None:
    both = run(cluster=cluster(partition="l40s_public,old"))
    finding = one("walltime", subject(tmp_path, both))
    assert "240 min (partition old)" in finding.reason


def test_limits_of_a_qos_that_test_only_does_not_look_at_are_refused(tmp_path: Path) -> None:
    quick = subject(tmp_path, run(cluster=cluster(qos="short")))
    assert "above the limit of 60 min (QOS short)" in one("walltime", quick).reason
    reasons = [finding.reason for finding in found("limits", quick)]
    assert reasons == [
        "2 nodes are asked for, 1 are permitted (QOS short)",
        "8 GPUs are asked for, 4 are permitted (QOS short, per user)",
    ]
    assert not found("limits", subject(tmp_path, run(cluster=cluster(qos="normal"))))
    stock = subject(tmp_path, run(qos="short"))
    assert found("walltime", stock)


def test_a_site_without_accounts_has_only_the_limits_of_its_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "sacctmgr" else name)
    quick = subject(tmp_path, run(cluster=cluster(qos="short")))
    assert not found("walltime", quick)
    assert not found("limits", quick)


def test_more_nodes_or_gpus_than_one_job_may_have_are_refused(tmp_path: Path) -> None:
    wide = one("limits", subject(tmp_path, run(shape=replace(SHAPE, nodes=9))))
    assert "9 nodes are asked for, 8 are permitted (partition l40s_public)" in wide.reason
    greedy = one("limits", subject(tmp_path, run(cluster=cluster(max_gpus=4))))
    assert "8 GPUs are asked for, 4 are permitted (profile university)" in greedy.reason
    assert wide.level == greedy.level == "error"


def test_more_runs_than_the_queue_takes_are_announced(tmp_path: Path) -> None:
    many = [run(cluster=cluster(max_submit=2)) for _ in range(3)]
    (finding,) = found("limits", subject(tmp_path, *many))
    assert finding.level == "warning"
    assert "launch resume" in finding.hint


def test_a_job_that_may_not_come_back_is_refused_unless_one_life_is_enough(tmp_path: Path) -> None:
    once = {"additional_parameters": {"no-requeue": True}}
    assert one("requeue", subject(tmp_path, run(**once))).level == "error"
    never = run(**once, recovery=RecoveryConfig(max_attempts=1))
    assert not found("requeue", subject(tmp_path, never))


def test_preempted_jobs_that_slurm_cancels_are_warned_of(tmp_path: Path) -> None:
    (finding,) = found("requeue", subject(tmp_path, run(cluster=cluster(partition="spot"))))
    assert finding.level == "warning"
    assert "cancelled, not requeued" in finding.reason


def test_node_names_that_do_not_resolve_are_named_where_ranks_must_meet(tmp_path: Path) -> None:
    names = NODES.replace("localhost", "gl1.invalid").replace("127.0.0.1", "gl2.invalid")
    nowhere = site(node=names)
    finding = one("node_names", subject(tmp_path, site=nowhere))
    assert "2 of 4 node names do not resolve here (gl1.invalid, gl2.invalid)" in finding.reason
    alone = run(shape=replace(SHAPE, nodes=1))
    assert not found("node_names", subject(tmp_path, alone, site=nowhere))


def test_a_folder_without_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    little = usage._replace(free=2**20) if hasattr(usage, "_replace") else usage
    monkeypatch.setattr(shutil, "disk_usage", lambda _: little)
    finding = one("output_folder", subject(tmp_path, site=None))
    assert finding.level == "error"
    assert "0.0 GB are free" in finding.reason


def test_checkpoints_of_the_measured_size_must_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=20 * 2**30))
    large = measured(weights_gb=2.0, optimizer_gb=4.0)
    finding = one("output_folder", subject(tmp_path, site=None, measures=large))
    assert "need about 24.0 GB" in finding.reason
    small = measured(weights_gb=0.2, optimizer_gb=0.4)
    assert not found("output_folder", subject(tmp_path, site=None, measures=small))


def test_a_folder_on_a_disk_of_this_machine_alone_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "launcher.preflight.place_checks.psutil.disk_partitions",
        lambda all: [type("M", (), {"mountpoint": "/", "fstype": "ext4"})()],
    )
    seen = [f for f in found("output_folder", subject(tmp_path)) if "looks like" in f.reason]
    assert [finding.level for finding in seen] == ["warning"]


def test_a_task_that_loads_nowhere_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lonely.py").write_text("def task(config): return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import lonely  # type: ignore[import-not-found]

    finding = one("importable", subject(tmp_path, task_function=lonely.task))
    assert finding.level == "error"
    assert "No module named 'lonely'" in finding.reason
    assert not found(
        "importable", subject(tmp_path, task_function=test_every_check_has_its_place_in_the_order)
    )


def test_a_task_that_cannot_be_pickled_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "open", "w") as file:

        def task(config: Any) -> None:
            file.write(str(config))

        finding = one("importable", subject(tmp_path, task_function=task))
    assert "cannot be pickled" in finding.reason


@pytest.fixture
def without_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.mark.usefixtures("without_key")
def test_a_run_that_logs_to_wandb_without_a_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logging = subject(tmp_path, run(config={"logger": {"wandb": {"project": "p"}}}))
    assert one("wandb", logging).level == "error"
    assert not found("wandb", subject(tmp_path, run(config={"logger": {"wandb": None}})))
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert not found("wandb", logging)


@pytest.mark.usefixtures("without_key")
def test_a_key_in_netrc_is_a_key_and_nodes_without_internet_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    config = {"wandb": {"project": "p"}}
    assert not found("wandb", subject(tmp_path, run(config=config)))
    cut_off = run(config=config, cluster=cluster(nodes_have_internet=False))
    assert one("wandb", subject(tmp_path, cut_off)).level == "warning"


def test_more_workers_than_cpus_are_warned_of(tmp_path: Path) -> None:
    busy = subject(tmp_path, run(config={"data": {"num_workers": 9}}))
    finding = one("workers", busy)
    assert finding.level == "warning"
    assert "resources.cpus_per_rank=10" in finding.hint
    assert not found("workers", subject(tmp_path, run(config={"data": {"num_workers": 8}})))


def test_a_micro_batch_that_ran_out_of_memory_on_such_a_gpu_is_refused(tmp_path: Path) -> None:
    place = Place(gpu_type="l40s", accelerator="gpu")
    seen = measured(micro_batch_size=64, outcome="gpu_oom", place=place)
    for most, level in ((64, "error"), (32, "unknown")):
        config = {"trainer": {"batch_size": 8 * most, "max_micro_batch_size": most}}
        wanted = run(config=config, cluster=cluster(gpu_type="l40s"))
        (finding,) = CHECKS["gpu_memory"](subject(tmp_path, wanted, measures=seen))
        assert finding.level == level, finding
    assert "ran out" in one_of_error(tmp_path, seen)


def one_of_error(tmp_path: Path, seen: Callable[[WantedRun], Sequence[Measure]]) -> str:
    config = {"trainer": {"batch_size": 1024, "max_micro_batch_size": 128}}
    wanted = run(config=config, cluster=cluster(gpu_type="l40s"))
    return one("gpu_memory", subject(tmp_path, wanted, measures=seen)).reason


def test_runs_of_one_profile_that_differ_in_workers_are_looked_at_each(tmp_path: Path) -> None:
    few = run(config={"data": {"num_workers": 1}})
    many = run(config={"data": {"num_workers": 99}})
    both = subject(tmp_path, replace(few, planned_with=(1,)), replace(many, planned_with=(99,)))
    assert "99 dataloader workers" in one("workers", both).reason


def test_memory_that_was_never_measured_is_unknown_and_refuses_nothing(tmp_path: Path) -> None:
    for name in ("host_memory", "gpu_memory"):
        (finding,) = found(name, subject(tmp_path))
        assert finding.level == "unknown"
        assert "launch probe" in finding.reason


@pytest.mark.parametrize(("limit_gb", "level"), [(200.0, "ok"), (30.0, "error")])
def test_a_run_that_was_seen_to_need_more_than_its_job_has_is_refused_with_what_fits(
    tmp_path: Path, limit_gb: float, level: str
) -> None:
    phase = PhaseUse(phase="train", seconds=60, looks=9, node_gb=40.0, rank_gb=38.0)
    place = Place(accelerator="gpu")
    seen = measured(phases=[phase], micro_batch_size=22, mem_gb=300.0, place=place)
    small = run(shape=replace(SHAPE, nodes=1, gpus_per_node=1, ranks_per_node=1, mem_gb=limit_gb))
    (finding,) = CHECKS["host_memory"](subject(tmp_path, small, measures=seen))
    assert finding.level == level
    assert finding.budget is not None
    if level == "error":
        assert "the job asks for 30 GB" in finding.reason
        assert "resources.mem_gb=" in finding.hint


def test_a_micro_batch_that_no_card_holds_is_refused(tmp_path: Path) -> None:
    phase = PhaseUse(
        phase="train", seconds=60, looks=9, rank_gb=3.0, gpu_gb=40.0, gpu_reserved_gb=44.0
    )
    place = Place(gpu_type="h200", accelerator="gpu")
    seen = measured(
        phases=[phase], micro_batch_size=22, gpu_mem_gb=141.0, weights_gb=1.0, place=place
    )
    config = {"trainer": {"batch_size": 400, "max_micro_batch_size": 50}}
    for card_gb, level in ((47.5, "error"), (141.0, "ok")):
        wanted = run(config=config, cluster=cluster(gpu_mem_gb=card_gb, gpu_type="l40s"))
        (finding,) = CHECKS["gpu_memory"](subject(tmp_path, wanted, measures=seen))
        assert finding.level == level, finding


def test_a_lead_that_is_shorter_than_a_checkpoint_is_warned_of(tmp_path: Path) -> None:
    place = Place(accelerator="gpu")
    slow = subject(tmp_path, measures=measured(checkpoint_s=150.0, step_s=2.0, place=place))
    finding = one("signal_lead", slow)
    assert finding.level == "warning"
    assert "took 152 s, the signal comes 120 s before" in finding.reason
    assert finding.hint == "hydra.launcher.signal_delay_s=364"
    short = replace(slow, runs=[run(shape=replace(SHAPE, timeout_min=2))])
    assert one("signal_lead", short).hint.startswith("resources.timeout_min=13 and")
    quick = measured(checkpoint_s=5.0, step_s=2.0, place=place)
    assert not found("signal_lead", subject(tmp_path, measures=quick))
    assert one("signal_lead", subject(tmp_path)).level == "unknown"


def test_a_check_that_is_to_be_skipped_is_not_made_and_must_exist(tmp_path: Path) -> None:
    gone = {"cluster": cluster(partition="l40s")}
    skipping = subject(tmp_path, run(**gone, skip_checks=["partition"]))
    assert "partition" not in {finding.check for finding in inspect(skipping)}
    with pytest.raises(ConfigError, match="skip_checks=partitions"):
        list(inspect(subject(tmp_path, run(skip_checks=["partitions"]))))


def test_a_task_that_takes_long_to_load_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.preflight.place_checks._IMPORT_S", 0.001)
    (finding,) = found("importable", subject(tmp_path, task_function=shutil.copy))
    assert finding.level == "unknown"


@pytest.mark.usefixtures("without_key")
@pytest.mark.parametrize(
    "switch", [{"mode": "offline"}, {"mode": "disabled"}, {"enabled": False}, {"offline": True}]
)
def test_a_wandb_that_is_switched_off_needs_no_key(tmp_path: Path, switch: dict[str, Any]) -> None:
    off = run(config={"wandb": {"project": "p", **switch}})
    assert not found("wandb", subject(tmp_path, off))


def test_a_partition_of_which_no_node_is_shown_is_unknown(tmp_path: Path) -> None:
    (finding,) = found("node_size", subject(tmp_path, site=site(node="")))
    assert finding.level == "unknown"


def test_what_sbatch_would_refuse_is_refused(tmp_path: Path) -> None:
    def test_only() -> None:
        raise SubmissionError("SLURM would refuse `lr=1`: Invalid account", hint="check cluster.*")

    finding = one("scheduler", subject(tmp_path, test_only=test_only))
    assert (finding.level, finding.reason) == (
        "error",
        "SLURM would refuse `lr=1`: Invalid account",
    )


def test_a_refusal_names_every_error_and_what_to_do_about_the_first() -> None:
    findings = [
        Finding(check="walltime", level="error", reason="too long", hint="shorter", runs="lr=1"),
        Finding(check="workers", level="warning", reason="busy", hint="fewer"),
        Finding(check="limits", level="error", reason="too many", hint="less"),
    ]
    with pytest.raises(SubmissionError) as caught:
        refuse(findings)
    assert caught.value.message == "`lr=1`: too long\nlimits: too many"
    assert caught.value.hint == "shorter; hydra.launcher.skip_checks=[walltime] sends it"
    assert warnings(findings) == ["warning: busy (fewer)"]


@pytest.mark.parametrize(
    ("state", "is_usable"),
    [
        ("IDLE", True),
        ("ALLOCATED", True),
        ("MIXED+PLANNED", True),
        ("IDLE+CLOUD+POWERED_DOWN", True),
        ("DOWN*", False),
        ("IDLE*", False),
        ("IDLE+DRAIN", False),
        ("MIXED+MAINT", False),
    ],
)
def test_nodes_that_take_no_jobs_are_told_from_those_that_sleep(
    state: str, is_usable: bool
) -> None:
    node = Node(name="n", cpus=8, mem_gb=16, gpus={}, partitions=("p",), state=state)
    assert [kind.is_usable for kind in kinds_of([node])] == [is_usable]


def test_a_check_that_is_left_out_is_not_begun(tmp_path: Path) -> None:
    def task() -> None:
        raise AssertionError

    held = (tmp_path / "open").open("w")  # what cannot be pickled
    task.held = held  # type: ignore[attr-defined]
    seen = subject(
        tmp_path,
        run(skip_checks=[name for name in _ORDER if name != "workers"]),
        task_function=task,
    )
    assert {finding.check for finding in inspect(seen)} <= {"workers"}
    held.close()
