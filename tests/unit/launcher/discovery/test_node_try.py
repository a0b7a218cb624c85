"""The script of the job is run by a real bash with stand-ins for curl and getent."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from launcher.errors import SubmissionError
from launcher.scheduler.base import JobStatus
from launcher.scheduler.client import Answer, QueuedJob, SlurmClient
from launcher.sites import finding, node_try
from launcher.sites.asking import Asker
from launcher.sites.facts import Site
from launcher.sites.node_try import Tried
from launcher.sites.profile import Profile

KNOWN = '#!/bin/bash\n[ "$2" = gl001 ]\n'


def run_script(folder: Path, curl: str) -> Tried:
    programs = folder / "bin"
    programs.mkdir()
    for name, text in (("curl", curl), ("getent", KNOWN), ("timeout", "#!/bin/bash\nexit 1\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    text = node_try.script(folder, ["gl001", "gl002"])
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "SLURMD_NODENAME": "gl001"}
    subprocess.run(["bash", "-c", text], env=environment, check=True)
    return node_try.read((folder / "node.txt").read_text())


def test_a_node_with_internet_that_does_not_know_another_one(tmp_path: Path) -> None:
    tried = run_script(tmp_path, "#!/bin/bash\nexit 0\n")
    assert tried == Tried(
        node="gl001", is_shared=True, has_internet=True, names_resolve=False, unresolved=("gl002",)
    )


def test_a_node_without_internet(tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    folder.mkdir()
    assert run_script(folder, "#!/bin/bash\nexit 6\n").has_internet is False


def test_a_report_without_an_end_says_nothing() -> None:
    assert node_try.read("node=gl001\ninternet=1\n") == Tried()


class Willing(Asker):
    """A site that takes every job, and says nothing of its nodes."""

    def test(self, *options: str) -> str | None:
        return None

    def site(self) -> Site:
        return Site(version="22.05", settings={}, partitions=(), nodes=())


class Slurm(SlurmClient):
    """Takes a job, and lets it go on for some looks."""

    looks = 0
    cancelled: list[str]

    def run(self, command: list[str], text: str | None = None, *, submits: bool = False) -> Answer:
        if command[0] == "scancel":
            self.cancelled = command[1:]
        return Answer(0, "7;lab\n")

    def queue(self) -> list[QueuedJob]:
        self.looks -= 1
        job = QueuedJob(job_id="7", token="", status=JobStatus(state="running"))
        return [job] if self.looks >= 0 else []


def test_a_folder_that_only_this_machine_sees_is_not_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_try, "NET_FILE_S", 0.0)
    client = Slurm()
    client.looks = 3
    waits: list[float] = []
    tried = node_try.run(client, tmp_path, [], [], sleep=waits.append)
    assert tried == Tried(is_shared=False)
    assert len(waits) == 3


def test_a_job_that_does_not_end_in_time_is_cancelled(tmp_path: Path) -> None:
    client = Slurm()
    client.looks = 10**6
    with pytest.raises(SubmissionError, match="did not end within 0 s"):
        node_try.run(client, tmp_path, [], [], patience_s=0.0, sleep=lambda _: None)
    assert client.cancelled == ["7"]


@pytest.mark.parametrize(
    ("words", "gpu_type", "asked"),
    [
        ("gres", None, "--gres=gpu:1"),
        ("gres", "l40s", "--gres=gpu:l40s:1"),
        ("gpus_per_node", "l40s", "--gpus-per-node=l40s:1"),
    ],
)
def test_the_job_asks_for_a_gpu_in_the_words_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, gpu_type: str | None, asked: str
) -> None:
    found = Profile()
    found.add(("partition",), "main")
    found.add(("dialect", "gpus"), words)
    found.add(("partitions", "main", "gpu_type"), gpu_type)
    told: list[str] = []

    def run(client: SlurmClient, folder: Path, options: list[str], nodes: list[str]) -> Tried:
        told.extend(options)
        return Tried()

    monkeypatch.setattr(node_try, "run", run)
    finding.look_at_node(Willing(), found, tmp_path)
    assert told == ["--partition=main", asked]
