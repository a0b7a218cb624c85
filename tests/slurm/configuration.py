"""The text of SLURM's configuration files. Pure: a plan comes in, text goes out."""

import itertools

from .plan import LabPlan

_GPU_MAX_TIME = "2-00:00:00"
_PREEMPT_MAX_TIME = "4:00:00"


def render_slurm_conf(plan: LabPlan, hostname: str) -> str:
    """Render slurm.conf, the only file that clients read."""
    sections = (
        _identity_lines(plan, hostname),
        _resource_lines(),
        _scheduling_lines(plan),
        _accounting_lines(plan),
        _node_lines(plan),
        _partition_lines(plan),
        plan.options.extra_conf,
    )
    return "\n".join(itertools.chain(*sections)) + "\n"


def render_gres_conf(plan: LabPlan) -> str:
    """Render gres.conf: nodes have GPUs of their own, or all share the same pretended ones."""
    options = plan.options
    if not options.gpus_per_node:
        return ""
    if options.real_gpus:
        count, lines = options.gpus_per_node, []
        for node, first in zip(options.node_names, itertools.count(0, count)):
            files = f"/dev/nvidia[{first}-{first + count - 1}]"
            lines.append(f"NodeName={node} Name=gpu Type={options.gpu_type} File={files}\n")
        return "".join(lines)
    files = plan.layout.devices / f"gpu[0-{options.gpus_per_node - 1}]"
    return f"Name=gpu Type={options.gpu_type} File={files}\n"


def render_task_prolog(plan: LabPlan) -> str:
    """Render what tells each task its GPUs: on every node SLURM counts them from 0."""
    return f"""#!/bin/bash
number=${{SLURMD_NODENAME##*[!0-9]}}
first=$(((10#$number - 1) * {plan.options.gpus_per_node}))
found=
for gpu in ${{CUDA_VISIBLE_DEVICES//,/ }}; do found+=,$((gpu < first ? gpu + first : gpu)); done
[ -z "$found" ] || echo "export CUDA_VISIBLE_DEVICES=${{found#,}}"
"""


def render_cgroup_conf(version: int) -> str:
    """Render cgroup.conf for the version of cgroups that the machine has."""
    lines = [f"CgroupPlugin=cgroup/v{version}", "ConstrainRAMSpace=yes", "ConstrainSwapSpace=yes"]
    if version == 2:
        lines.append("IgnoreSystemd=yes")
    return "\n".join(lines) + "\n"


def render_slurmdbd_conf(plan: LabPlan) -> str:
    """Render slurmdbd.conf. MariaDB listens on a private socket only, hence no password."""
    layout = plan.layout
    lines = (
        "DbdHost=localhost",
        f"DbdPort={plan.database_port}",
        "SlurmUser=root",
        "AuthType=auth/munge",
        f"AuthInfo=socket={layout.munge_socket}",
        "StorageType=accounting_storage/mysql",
        "StorageHost=localhost",
        "StorageUser=root",
        "StorageLoc=slurm",
        f"ArchiveDir={layout.run}",
        f"PidFile={layout.run}/slurmdbd.pid",
    )
    return "\n".join(lines) + "\n"


def _identity_lines(plan: LabPlan, hostname: str) -> tuple[str, ...]:
    layout = plan.layout
    return (
        "ClusterName=lab",
        # The address spares a look-up of the name.
        f"SlurmctldHost={hostname}(127.0.0.1)",
        f"SlurmctldPort={plan.controller_port}",
        "SlurmUser=root",
        "AuthType=auth/munge",
        # Credentials that expire soon cut the delay before a requeued job starts from 120 s.
        f"AuthInfo=socket={layout.munge_socket},cred_expire=5",
        f"StateSaveLocation={layout.controller}",
        f"SlurmdSpoolDir={layout.spool}/%n",
        f"SlurmctldPidFile={layout.run}/slurmctld.pid",
        f"SlurmdPidFile={layout.run}/slurmd.%n.pid",
        "MpiDefault=none",
        *([f"TaskProlog={layout.task_prolog}"] if plan.options.real_gpus else []),
    )


def _resource_lines() -> tuple[str, ...]:
    return (
        "ProctrackType=proctrack/cgroup",
        "TaskPlugin=task/cgroup",
        "JobAcctGatherType=jobacct_gather/cgroup",
        "JobAcctGatherFrequency=task=2",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        # Believe the configured hardware, not the machine's.
        "SlurmdParameters=config_overrides",
    )


def _scheduling_lines(plan: LabPlan) -> tuple[str, ...]:
    options = plan.options
    controller = "preempt_send_user_signal" if options.preempt_user_signal else ""
    return (
        "SchedulerType=sched/backfill",
        "SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0",
        *([f"SlurmctldParameters={controller}"] if controller else []),
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        "JobRequeue=1",
        f"MaxArraySize={options.max_array_size}",
        f"KillWait={options.kill_wait_s}",
        "InactiveLimit=0",
        "SlurmctldTimeout=10",
        # Node loss shows within seconds, and a node that comes back is used again.
        "SlurmdTimeout=10",
        "ReturnToService=2",
    )


def _accounting_lines(plan: LabPlan) -> tuple[str, ...]:
    if not plan.options.accounting:
        return ("AccountingStorageType=accounting_storage/none",)
    gpus = ("AccountingStorageTRES=gres/gpu",) if plan.options.gpus_per_node else ()
    return (
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=localhost",
        f"AccountingStoragePort={plan.database_port}",
        # With munge the password means its socket; AuthInfo does not count here.
        f"AccountingStoragePass={plan.layout.munge_socket}",
        "AccountingStoreFlags=job_comment",
        *gpus,
    )


def _node_lines(plan: LabPlan) -> tuple[str, ...]:
    options = plan.options
    gpus = f" Gres=gpu:{options.gpu_type}:{options.gpus_per_node}" if options.gpus_per_node else ""
    common = f"CPUs={options.cpus_per_node} RealMemory={options.real_memory_mb}{gpus}"
    nodes = tuple(
        f"NodeName={name} NodeAddr=127.0.0.1 Port={plan.node_port(index)} {common} State=UNKNOWN"
        for index, name in enumerate(options.node_names)
    )
    return ("GresTypes=gpu", *nodes) if gpus else nodes


def _partition_lines(plan: LabPlan) -> tuple[str, ...]:
    options = plan.options
    nodes = ",".join(options.node_names)
    return (
        # Without a default a job takes all memory of its node and keeps others out.
        f"DefMemPerCPU={options.real_memory_mb // options.cpus_per_node}",
        f"PartitionName=gpu Nodes={nodes} Default=YES PriorityTier=10 PreemptMode=OFF"
        f" MaxTime={_GPU_MAX_TIME} State=UP",
        f"PartitionName=preempt Nodes={nodes} PriorityTier=1 PreemptMode=REQUEUE"
        f" GraceTime={options.grace_time_s} MaxTime={_PREEMPT_MAX_TIME} State=UP",
    )
