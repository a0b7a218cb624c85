"""What SLURM prints, in the forms of several versions; made from their manuals and sources.

Those of 22.05 were recorded on a lab. A line of each kind is enough: `--oneliner` prints more of
the same.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Answers of one version."""

    version: str
    partition: str
    node: str


_PARTITION_END = (
    "PriorityJobFactor=1 PriorityTier=10 RootOnly=NO ReqResv=NO OverSubscribe=NO"
    " OverTimeLimit=NONE PreemptMode=OFF State=UP TotalCPUs=256 TotalNodes=4"
    " SelectTypeParameters=NONE JobDefaults=(null) DefMemPerNode=UNLIMITED"
)
_PARTITION_BEGIN = (
    "PartitionName=gpu AllowGroups=ALL AllowAccounts=vision,robots AllowQos=ALL"
    " AllocNodes=ALL Default=YES QoS=part_gpu DefaultTime=NONE DisableRootJobs=NO"
)

VERSIONS = [
    Recorded(
        version="20.11.8",
        partition=f"{_PARTITION_BEGIN} ExclusiveUser=NO GraceTime=30 Hidden=NO MaxNodes=4"
        " MaxTime=2-00:00:00 MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED Nodes=gpu[01-04]"
        f" {_PARTITION_END} MaxMemPerNode=UNLIMITED",
        node="NodeName=gpu01 Arch=x86_64 CoresPerSocket=32  CPUAlloc=0 CPUTot=64 CPULoad=0.01"
        " AvailableFeatures=(null) ActiveFeatures=(null) Gres=gpu:a100:4(S:0-1) NodeAddr=gpu01"
        " NodeHostName=gpu01 Version=20.11.8 OS=Linux 3.10.0-1160.el7.x86_64 #1 SMP Mon Oct 19"
        "  RealMemory=515000 AllocMem=0 FreeMem=500123 Sockets=2 Boards=1 State=IDLE"
        " ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=gpu,all "
        " BootTime=2021-10-01T10:00:00 SlurmdStartTime=2021-10-01T10:01:00"
        " CfgTRES=cpu=64,mem=515000M,billing=64,gres/gpu=4 AllocTRES= CapWatts=n/a"
        " CurrentWatts=0 AveWatts=0 ExtSensorsJoules=n/s ExtSensorsWatts=0 Comment=(null)",
    ),
    Recorded(
        version="22.05.8",
        partition=f"{_PARTITION_BEGIN} ExclusiveUser=NO GraceTime=30 Hidden=NO MaxNodes=4"
        " MaxTime=2-00:00:00 MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED Nodes=gpu[01-04]"
        f" {_PARTITION_END} MaxMemPerNode=UNLIMITED"
        " TRES=cpu=256,mem=2060000M,node=4,billing=256,gres/gpu=16",
        node="NodeName=gpu01 Arch=x86_64 CoresPerSocket=32  CPUAlloc=0 CPUEfctv=64 CPUTot=64"
        " CPULoad=0.82 AvailableFeatures=(null) ActiveFeatures=(null) Gres=gpu:a100:4(S:0-1)"
        " NodeAddr=127.0.0.1 NodeHostName=gpu01 Port=31792 Version=22.05.8 OS=Linux 6.18.44 #1"
        " SMP PREEMPT_DYNAMIC @0  RealMemory=515000 AllocMem=0 FreeMem=22003 Sockets=2 Boards=1"
        " State=IDLE ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A"
        " Partitions=gpu,all  BootTime=2026-11-20T23:56:35 SlurmdStartTime=2026-11-21T10:17:39"
        " LastBusyTime=2026-11-21T10:17:39 CfgTRES=cpu=64,mem=515000M,billing=64,gres/gpu=4"
        " AllocTRES= CapWatts=n/a CurrentWatts=0 AveWatts=0 ExtSensorsJoules=n/s",
    ),
    Recorded(
        version="23.11.4",
        partition=f"{_PARTITION_BEGIN} ExclusiveUser=NO GraceTime=30 Hidden=NO MaxNodes=4"
        " MaxTime=2-00:00:00 MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED"
        f" MaxCPUsPerSocket=UNLIMITED NodeSets=a100 Nodes=gpu[01-04] {_PARTITION_END}"
        " MaxMemPerNode=UNLIMITED TRES=cpu=256,mem=2060000M,node=4,billing=256,gres/gpu=16",
        node="NodeName=gpu01 Arch=x86_64 CoresPerSocket=33 CPUAlloc=0 CPUEfctv=64 CPUTot=66"
        " CPULoad=0.01 AvailableFeatures=a100 ActiveFeatures=a100 Gres=gpu:a100:4(S:0-1)"
        " NodeAddr=gpu01 NodeHostName=gpu01 Version=23.11.4 OS=Linux 5.14.0 #1 SMP"
        " RealMemory=519096 AllocMem=0 FreeMem=500123 Sockets=2 Boards=1 CoreSpecCount=2"
        " CPUSpecList=64-65 MemSpecLimit=4096 State=IDLE+DRAIN ThreadsPerCore=1 TmpDisk=0"
        " Weight=1 Owner=N/A MCS_label=N/A Partitions=gpu,all BootTime=2024-03-01T10:00:00"
        " LastBusyTime=2024-03-01T10:00:00 ResumeAfterTime=None"
        " CfgTRES=cpu=64,mem=519096M,billing=64,gres/gpu=4,gres/gpu:a100=4 AllocTRES="
        " CapWatts=n/a Reason=Partitions=none Gres=lost [root@2024-03-01T11:00:00]",
    ),
    Recorded(
        version="24.05.2",
        partition=f"{_PARTITION_BEGIN} ExclusiveUser=NO ExclusiveTopo=NO GraceTime=30 Hidden=NO"
        " MaxNodes=4 MaxTime=2-00:00:00 MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED"
        f" MaxCPUsPerSocket=UNLIMITED Nodes=gpu[01-04] {_PARTITION_END}"
        " MaxMemPerNode=UNLIMITED TRES=cpu=256,mem=2060000M,node=4,billing=256,gres/gpu=16,"
        "gres/gpu:a100=16 ResumeTimeout=GLOBAL SuspendTimeout=GLOBAL SuspendTime=GLOBAL"
        " PowerDownOnIdle=NO",
        node="NodeName=gpu01 Arch=x86_64 CoresPerSocket=32 CPUAlloc=0 CPUEfctv=64 CPUTot=64"
        " CPULoad=0.01 AvailableFeatures=(null) ActiveFeatures=(null)"
        " Gres=gpu:a100:4(S:0-1),shard:16(S:0-1) NodeAddr=gpu01 NodeHostName=gpu01"
        " Version=24.05.2 OS=Linux 5.14.0 #1 SMP RealMemory=515000 AllocMem=0 FreeMem=500123"
        " Sockets=2 Boards=1 State=MIXED ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A"
        " MCS_label=N/A Partitions=gpu,all BootTime=2024-09-01T10:00:00"
        " LastBusyTime=2024-09-01T10:00:00 ResumeAfterTime=None"
        " CfgTRES=cpu=64,mem=515000M,billing=64,gres/gpu=4 AllocTRES= CurrentWatts=0 AveWatts=0",
    ),
]

CONFIG = """Configuration data as of 2026-11-21T10:23:21
AccountingStorageHost   = localhost
ClusterName             = helios
JobContainerType        =
JobRequeue              = 1
KillWait                = 30 sec
MaxArraySize            = 1001
PreemptParameters       = (null)
PreemptMode             = REQUEUE
PreemptType             = preempt/partition_prio
SLURM_VERSION           = 22.05.8
SlurmctldParameters     = preempt_send_user_signal

Slurmctld(primary) at head is UP
"""

ASSOC = """Cluster|Account|User|Partition|QOS|Def QOS|MaxSubmit|MaxTRES|MaxWall
helios|robots|ada||normal|||gres/gpu=8|
helios|vision|ada||normal,short|||| 1-00:00:00
helios|vision|||normal|||||
other|chemistry|ada||normal|||||
""".replace("| 1-00", "|1-00")

USERS = """User|Def Acct
ada|vision
"""

QOS = """Name|Preempt|GraceTime|MaxWall|MaxTRES|MaxTRESPU|MaxSubmitPU
normal||00:00:00||||
short|normal|00:01:30|01:00:00|node=2,gres/gpu=4|gres/gpu:a100=6|20
part_gpu||00:00:00|12:00:00|||200
"""
