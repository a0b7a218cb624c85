from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from launcher.sites import access, cards, dialect, folders, nodes, profile, reading
from launcher.sites.access import Way
from launcher.sites.facts import Accounts, Node, Partition, Site
from launcher.sites.profile import Profile
from tests.unit.launcher.discovery import recorded


def node(name: str, *partitions: str, gpus: dict[str, int] | None = None, **other: Any) -> Node:
    values = {"cpus": 64, "mem_gb": 503.2, "state": "IDLE", **other}
    return Node(name=name, partitions=partitions, gpus=gpus or {}, **values)


def site(partitions: Sequence[Partition], nodes_: Sequence[Node], *, accounts: bool = True) -> Site:
    known = reading.accounts(recorded.ASSOC, recorded.USERS, recorded.QOS, "helios")
    return Site(
        version="22.05.8",
        settings=reading.settings(recorded.CONFIG),
        partitions=tuple(partitions),
        nodes=tuple(nodes_),
        accounts=known if accounts else None,
        has_accounting=accounts,
    )


A100 = {"a100": 4}
GPU = Partition(name="gpu", is_default=True, max_time_min=2880, priority_tier=10)
LOW = Partition(name="low", preempt_mode="REQUEUE", grace_time_s=60, max_time_min=10080)
CPU = Partition(name="cpu", max_time_min=1440)
SITE = site(
    [GPU, LOW, CPU],
    [*(node(f"g{i}", "gpu", "low", gpus=A100) for i in range(4)), node("c0", "cpu", cpus=32)],
)


class Slurm:
    """Refuses what it is told to, and remembers what it was asked."""

    def __init__(self, **refusals: str) -> None:
        self.refusals = {word.replace("_", "-"): said for word, said in refusals.items()}
        self.asked: list[str] = []

    def __call__(self, *options: str) -> str | None:
        line = " ".join(options)
        self.asked.append(line)
        return next((said for word, said in self.refusals.items() if word in line), None)


def built(site: Site, slurm: Slurm | None = None, account: str | None = None) -> Profile:
    test = slurm or Slurm()
    ways, words = dialect.find(site, test)
    return profile.build(site, ways, words, {}, test, account=account)


def test_what_slurm_says_becomes_the_keys_of_a_profile() -> None:
    tree = built(SITE).tree()
    assert (tree["name"], tree["partition"]) == ("helios", "gpu")
    assert tree["dialect"] == {"gpus": "gres", "memory": "node"}
    assert (tree["max_array_size"], tree["requeue"], tree["has_accounting"]) == (1001, True, True)
    gpu = tree["partitions"]["gpu"]
    assert (gpu["gpu_type"], gpu["gpus_per_node"], gpu["num_nodes"]) == ("a100", 4, 4)
    assert (gpu["cpus_per_node"], gpu["mem_gb_per_node"]) == (64, 503.2)
    assert "gpu_mem_gb" not in gpu  # an A100 has 40 or 80 GB
    assert tree["partitions"]["cpu"]["gpus_per_node"] == 0


def test_the_tightest_of_partition_qos_and_account_is_the_limit() -> None:
    found = built(SITE)
    key = ("partitions", "gpu", "max_time_min")
    assert found.values[key].value == 1440
    assert "account vision" in found.values[key].note
    with_qos = replace(SITE, partitions=(replace(GPU, qos="part_gpu"), LOW, CPU))
    found = built(with_qos)
    assert found.values[key].value == 720
    assert "QOS part_gpu" in found.values[key].note
    assert found.values[("partitions", "gpu", "max_submit")].value == 200


def test_limits_are_those_of_the_account_that_is_asked_for() -> None:
    found = built(SITE, account="robots").tree()["partitions"]["gpu"]
    assert (found["account"], found["max_gpus"], found["max_time_min"]) == ("robots", 8, 2880)
    assert found["accounts"] == ["vision", "robots"]


def test_an_account_that_a_partition_does_not_let_in_is_not_tried_there() -> None:
    closed = replace(SITE, partitions=(replace(GPU, accounts=("robots",)), LOW, CPU))
    slurm = Slurm()
    found = built(closed, slurm).tree()["partitions"]["gpu"]
    assert (found["account"], found["accounts"]) == ("robots", ["robots"])
    assert not [a for a in slurm.asked if "--partition=gpu" in a and "--account=vision" in a]


def test_a_partition_that_lets_nobody_in_is_said_and_left_out() -> None:
    closed = replace(SITE, partitions=(GPU, replace(LOW, groups=("admins",)), CPU))
    found = built(closed)
    assert list(found.tree()["partitions"]) == ["gpu", "cpu"]
    assert "partition low: not for you: only for the groups admins" in found.remarks


def test_a_partition_whose_nodes_are_all_away_stays_in_the_profile_as_unclear() -> None:
    refusal = "allocation failure: Requested node configuration is not available"
    found = built(SITE, Slurm(**{"--partition=low": refusal}))
    assert "low" in found.tree()["partitions"]
    assert f"partition low: unclear: {refusal}" in found.remarks


def test_a_slurm_without_accounts_is_asked_without_them() -> None:
    slurm = Slurm()
    found = built(site([GPU], SITE.nodes, accounts=False), slurm)
    assert "--account" not in " ".join(slurm.asked)
    assert "accounts" not in found.tree()["partitions"]["gpu"]
    assert "sacctmgr does not answer: accounts and QOS are unknown" in found.remarks


def test_no_more_combinations_are_tried_than_a_site_can_bear_and_the_rest_is_counted() -> None:
    many = [replace(CPU, name=f"p{i}") for i in range(40)]
    ways = access.find(site(many, []), slurm := Slurm(), groups=[])
    assert len(slurm.asked) == access.MOST_TESTS
    assert len(ways.untested) == 120 - access.MOST_TESTS
    # The way that most jobs take was tried in every partition.
    assert {w.partition for w in ways.open} == {p.name for p in many}


def test_the_dialect_is_what_slurm_takes() -> None:
    _, words = dialect.find(SITE, Slurm(__gres="Invalid generic resource (gres)"))
    assert (words.gpus, words.gpu_option("a100")) == ("gpus_per_node", "--gpus-per-node=a100:1")
    _, words = dialect.find(SITE, Slurm(__mem="Memory specification can not be satisfied"))
    assert words.memory == "none"
    _, words = dialect.find(SITE, Slurm(**{"__mem=": "Memory specification"}))
    assert words.memory == "cpu"


def test_a_type_that_slurm_does_not_take_is_not_asked_for() -> None:
    found = built(SITE, Slurm(**{"gpu:a100": "Invalid generic resource"}))
    assert "gpu_type" not in found.tree()["partitions"]["gpu"]


def test_only_partitions_below_another_one_on_the_same_nodes_are_preemptible() -> None:
    tree = built(SITE).tree()["partitions"]
    assert (tree["low"]["is_preemptible"], tree["low"]["grace_time_s"]) == (True, 60)
    assert "is_preemptible" not in tree["gpu"]
    assert "is_preemptible" not in tree["cpu"]


def test_under_preemption_by_qos_the_qos_decides() -> None:
    settings = {**SITE.settings, "PreemptType": "preempt/qos"}
    tree = built(replace(SITE, settings=settings)).tree()["partitions"]
    assert all(there["is_preemptible"] for there in tree.values())  # `short` preempts `normal`
    assert SITE.accounts is not None
    calm = Accounts(associations=SITE.accounts.associations, default="vision", qos={})
    tree = built(replace(SITE, settings=settings, accounts=calm)).tree()["partitions"]
    assert not any("is_preemptible" in there for there in tree.values())


def test_of_different_nodes_the_most_frequent_kind_counts_and_the_others_are_named() -> None:
    found = nodes.usual(
        [
            node("a", gpus={"a100": 4}, cpus=64, mem_gb=503.27),
            node("b", gpus={"a100": 4}, cpus=48, mem_gb=1007.0, state="IDLE+DRAIN"),
            node("c", gpus={"v100": 8}),
            node("d"),
            node("e", gpus={"a100": 4}, state="FUTURE"),
        ]
    )
    assert found is not None
    assert (found.gpu_type, found.gpus, found.count, found.away) == ("a100", 4, 2, 1)
    assert (found.cpus, found.mem_gb) == (48, 503.2)
    said = "; ".join(found.remarks)
    assert "1 without GPUs, 1 with 8 x v100" in said
    assert "48 to 64 CPUs" in said


def test_a_card_that_is_sold_in_two_sizes_has_no_known_memory() -> None:
    known = {
        "l40s": 48, "nvidia_h100_80gb_hbm3": 80, "h200": 141, "a100_3g.20gb": 20,
        "nvidia_geforce_rtx_3090": 24, "tesla_t4": 16, "h100_nvl": 94, "a100": None, "": None,
        "v100": None, "fpga": None,
    }  # fmt: skip
    assert {word: cards.mem_gb(word) for word in known} == known


def test_folders_come_from_the_environment_with_what_their_file_system_says(tmp_path: Any) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "s p").mkdir()
    point = str(tmp_path / "s p").replace(" ", "\\040")
    mounts = f"/dev/sda / ext4 rw 0 0\nfs:/s {point} lustre rw 0 0\n"
    variables = {"WORK": str(tmp_path / "w"), "SCRATCH": str(tmp_path / "s p"), "PROJECT": "/nope"}
    found = folders.find(variables, mounts, user="ada")
    assert found["work_dir"].shared == "on this machine only: ext4"
    assert (found["scratch_dir"].source, found["scratch_dir"].shared) == (
        "$SCRATCH", "shared: lustre",
    )  # fmt: skip
    assert folders.how_shared("/x", "a / fuse.odd rw 0 0\n") == "unknown whether shared: fuse.odd"


def test_a_way_is_told_to_sbatch_without_what_it_leaves_open() -> None:
    assert Way(partition="gpu").options == ["--partition=gpu"]
    assert Way(partition="gpu", account="a", qos="q").options[1:] == ["--account=a", "--qos=q"]
