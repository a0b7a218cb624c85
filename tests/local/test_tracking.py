"""Runs that W&B's real library tracks: offline, online against a server on loopback, in trouble.

The server keeps what the real client sends and answers as that expects. It shows that each row
leaves this machine once and in order; what the real service stores and draws it does not show.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from launcher.files import set_aside
from launcher.tracking import card, fragments, journal
from launcher.tracking.fragments import Fragment
from tests.programs import REPOSITORY, run
from tests.wandb_server import Server, serving

pytestmark = pytest.mark.local

PROJECT = REPOSITORY / "tests" / "projects" / "tracked"
KEY = "5ec2e7" * 6 + "5ec2"
"""A key that is in the environment, and must be nowhere else."""
STEPS = 60
LAUNCH = ["-c", "from launcher.cli import main; main()"]


@dataclass(frozen=True)
class Tracked:
    """A run of the project and what is on disk of it."""

    folder: Path

    @property
    def run_dir(self) -> Path:
        return self.folder / "outputs" / "s" / "0"

    @property
    def fragments(self) -> list[Fragment]:
        return fragments.of_run(self.run_dir / "tracking")

    @property
    def steps(self) -> list[int]:
        return [step for fragment in self.fragments for step in fragment.steps]

    def csv_rows(self) -> dict[int, dict[str, float]]:
        """What Lightning's own files say, the latest life of a step counts."""
        found: dict[int, dict[str, float]] = {}
        for number, path in enumerate(sorted(self.run_dir.glob("metrics/*/metrics.csv"))):
            with open(path) as file:
                for row in csv.DictReader(file):
                    values = {k: float(v) for k, v in row.items() if v and k != "step"}
                    known = found.setdefault(int(row["step"]), {"file": float(number)})
                    if known["file"] != number and "train/loss" in values:
                        known.clear()
                    known.update({**values, "file": float(number)})
        return {step: {k: v for k, v in row.items() if k != "file"} for step, row in found.items()}

    def launch(self, *words: str, server: Server) -> subprocess.CompletedProcess[str]:
        return run(*LAUNCH, *words, cwd=self.folder, env=_environment(server.url))


def _environment(url: str = "http://127.0.0.1:9") -> dict[str, str]:
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {
        "WANDB_API_KEY": KEY,
        "WANDB_BASE_URL": url,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def train(
    folder: Path, *overrides: str, launcher: str = "debug", url: str = "http://127.0.0.1:9"
) -> tuple[Tracked, subprocess.CompletedProcess[str]]:
    """Run the project in a folder of its own."""
    shutil.copytree(PROJECT, folder)
    done = run(
        "app.py", "-m", f"hydra/launcher={launcher}", "hydra.sweep.dir=outputs/s",
        f"steps={STEPS}", *overrides, cwd=folder, env=_environment(url), timeout_s=400,
    )  # fmt: skip
    return Tracked(folder), done


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    """Killed at step 25, asked to stop at 37, killed again at 44."""
    signals = "signals=[[25,SIGKILL],[37,SIGUSR2],[44,SIGKILL]]"
    found, done = train(tmp_path_factory.mktemp("i") / "it's 1", signals, launcher="local")
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def test_a_run_that_is_interrupted_three_times_reads_back_as_one(interrupted: Tracked) -> None:
    found = interrupted.fragments
    key = json.loads((interrupted.run_dir / "tracking" / "card.json").read_text())["id"]
    attempts = [
        json.loads(p.read_text()) for p in interrupted.run_dir.glob("attempts/001-00?.json")
    ]
    assert len(attempts) == 4
    assert {fragment.run_id for fragment in found} == {key}
    assert {attempt["key"] for attempt in attempts} == {key}
    assert interrupted.steps == list(range(STEPS))


def test_its_config_is_one_and_knows_what_the_task_found_out(interrupted: Tracked) -> None:
    configs = [{k: v for k, v in f.config.items() if k != "_wandb"} for f in interrupted.fragments]
    assert all(config == configs[0] for config in configs)
    assert configs[0]["steps"] == STEPS
    assert configs[0]["facts"] == {"parameters": 5}
    assert configs[0]["study"] == {"name": "s", "run": "base", "arm": "base"}


def test_its_best_checkpoint_is_an_artifact_by_reference(interrupted: Tracked) -> None:
    last = interrupted.fragments[-1]
    path = "outputs/s/0/kept/best.ckpt"
    assert last.artifacts == {f"checkpoint-{last.run_id}": [f"file:{path}"]}
    assert (interrupted.folder / path).is_file()
    assert not any(fragment.artifacts for fragment in interrupted.fragments[:-1])


def test_its_rows_have_the_values_of_the_csv_log(interrupted: Tracked) -> None:
    told = [row for fragment in interrupted.fragments for row in fragment.rows]
    known = interrupted.csv_rows()
    assert sorted(known) == list(range(STEPS))
    for row in told:
        step = row["_step"]
        assert row["trainer/global_step"] == step
        assert {name: row[name] for name in known[step]} == known[step]
    assert "val/loss" in told[19]


def test_how_its_lives_ended_is_told(interrupted: Tracked) -> None:
    last = interrupted.fragments[-1]
    lives = [(life["outcome"], life["saved_step"]) for life in last.summary["lives"]]
    assert lives == [("crash", 20), ("preempted", 37), ("crash", 37), ("completed", STEPS)]
    assert last.exit_code == 0
    assert last.summary["outcome"] == "completed"
    told = {row["_step"]: row["life/number"] for f in interrupted.fragments for row in f.rows}
    assert [told[step] for step in (0, 19, 20, 36, 37, STEPS - 1)] == [1, 1, 2, 2, 4, 4]


def test_a_planted_key_is_in_no_file_of_the_study(interrupted: Tracked) -> None:
    files = [path for path in interrupted.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".pkl" for path in files)
    assert any(path.suffix == ".wandb" for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_sync_brings_all_lives_as_one_run_and_nothing_twice(
    interrupted: Tracked, server: Server, tmp_path: Path
) -> None:
    copy = Tracked(shutil.copytree(interrupted.folder, tmp_path / "copy"))
    shown = copy.launch("sync", "--dry-run", "--json", server=server)
    assert json.loads(shown.stdout)[0]["state"] == "to sync"
    assert not server.bodies
    done = copy.launch("sync", "--json", server=server)
    assert done.returncode == 0, done.stderr
    (received,) = server.runs.values()
    assert [row["_step"] for row in received.rows] == list(range(STEPS))
    assert (received.facts["groupName"], received.exit_codes[-1]) == ("s", 0)
    assert str(copy.folder) not in "".join(server.bodies)
    (artifact,) = received.artifacts.values()
    (file,) = artifact["manifest"]["contents"].values()
    assert file["ref"] == "file:outputs/s/0/kept/best.ckpt"
    assert json.loads(artifact["about"]["metadata"])["monitor"] == "val/loss"
    assert json.loads(done.stdout)[0]["state"] == "synced"
    assert not (copy.folder / "wandb").exists()
    sent = len(server.bodies)
    assert copy.launch("sync", "--json", server=server).returncode == 0
    assert not [body for body in server.bodies[sent:] if "history" in body]


def test_a_life_that_nobody_published_is_synced_from_the_journal(
    interrupted: Tracked, server: Server, tmp_path: Path
) -> None:
    copy = Tracked(shutil.copytree(interrupted.folder, tmp_path / "copy"))
    shutil.rmtree(copy.fragments[-1].path.parents[2])
    assert copy.steps != list(range(STEPS))
    done = copy.launch("sync", server=server)
    assert done.returncode == 0, done.stderr
    (received,) = server.runs.values()
    assert [row["_step"] for row in received.rows] == list(range(STEPS))
    assert received.summary["outcome"] == "completed"


def test_a_dashboard_is_written_where_there_is_no_network(
    interrupted: Tracked, server: Server, tmp_path: Path
) -> None:
    copy = Tracked(shutil.copytree(interrupted.folder, tmp_path / "copy"))
    server.mood = "500"
    done = copy.launch("dashboard", server=server)
    assert done.returncode == 0, done.stderr
    assert "not applied" in done.stderr
    specs = [copy.run_dir.parent / "dashboard" / f"{n}.json" for n in ("workspace", "report")]
    texts = [path.read_text() for path in specs]
    assert all("result/loss" in text and "val/loss" in text for text in texts)
    assert not [text for text in texts if str(tmp_path) in text or KEY in text]
    assert (specs[0].parent / "preview.png").read_bytes().startswith(b"\x89PNG")
    wrong = copy.launch("dashboard", "--metric", "lost", server=server)
    assert wrong.returncode == 2
    assert "returns `lost`" in wrong.stderr
    assert "W&B: on disk" in copy.launch("status", server=server).stderr


def test_a_dashboard_that_is_made_again_is_updated(
    interrupted: Tracked, server: Server, tmp_path: Path
) -> None:
    copy = Tracked(shutil.copytree(interrupted.folder, tmp_path / "copy"))
    (copy.run_dir.parent / "report").mkdir()
    (copy.run_dir.parent / "report" / "index.html").write_text("<p>page</p>")
    for question in ("Does it?", "Does it now?"):
        words = ["--entity", "team", "--question", question]
        done = copy.launch("dashboard", *words, server=server)
        assert done.returncode == 0, done.stderr
    assert len(server.views) == 2
    (artifact,) = server.runs["report-s"].artifacts.values()
    (file,) = artifact["manifest"]["contents"].values()
    assert file["ref"] == "file:outputs/s/report/index.html"
    view, page = server.views.values()
    assert (view["entityName"], page["projectName"]) == ("team", "tests")
    assert "Run Comparer" in view["spec"]
    assert "result/loss" in page["spec"]
    assert "Does it now?" in page["spec"]


def test_a_run_that_is_begun_anew_after_rows_were_told_has_an_id_of_its_own(
    interrupted: Tracked, tmp_path: Path
) -> None:
    copy = Tracked(shutil.copytree(interrupted.folder, tmp_path / "copy"))
    key = copy.fragments[0].run_id
    again: Any = SimpleNamespace(run_dir=copy.run_dir, key=key, attempt="002-000")
    assert card._id(again) == key  # it goes on from its checkpoint
    set_aside(copy.run_dir / "checkpoints" / "resume")
    assert card._id(again) == f"{key}-2"
    again.attempt = "001-004"
    assert card._id(again) == key


def test_a_torn_file_of_wandb_is_whole_before_the_tear(
    interrupted: Tracked, tmp_path: Path
) -> None:
    whole = interrupted.fragments[-1]
    content = whole.path.read_bytes()
    torn = tmp_path / "run.wandb"
    for size in range(0, len(content), 997):
        torn.write_bytes(content[:size])
        assert whole.steps[: len(fragments.read(torn).steps)] == fragments.read(torn).steps
    torn.write_bytes(content[:2000] + b"x" + content[2001:])
    assert len(fragments.read(torn).steps) < len(whole.steps)


def test_a_life_whose_disk_was_full_is_synced_with_what_its_file_lacks(
    interrupted: Tracked, server: Server, tmp_path: Path
) -> None:
    copy = Tracked(shutil.copytree(interrupted.folder, tmp_path / "copy"))
    last = copy.fragments[-1].path
    os.truncate(last, last.stat().st_size // 2)
    torn = last.read_bytes()
    assert copy.steps != list(range(STEPS))
    done = copy.launch("sync", server=server)
    assert done.returncode == 0, done.stderr
    (received,) = server.runs.values()
    assert [row["_step"] for row in received.rows] == list(range(STEPS))
    assert received.exit_codes[-1] == 0
    rest = last.with_name(last.name + fragments.TORN)
    assert last.read_bytes() + (rest.read_bytes()) == torn


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--job"], "are not jobs of SLURM"),
        (["--job", "--dry-run"], "drop one of them"),
        (["--partition=gpu"], "add --job"),
    ],
)
def test_a_wrong_wish_for_a_job_sends_nothing(
    words: list[str], said: str, interrupted: Tracked, server: Server
) -> None:
    done = interrupted.launch("sync", *words, server=server)
    assert (done.returncode, len(server.bodies)) == (2, 0)
    assert said in done.stderr
    assert not (interrupted.run_dir.parent / "sync.sh").exists()


def test_a_file_of_a_format_that_nobody_knows_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(b":NEW format")
    assert fragments.trim(path) == 0
    assert path.read_bytes() == b":NEW format"


def test_without_a_server_sync_says_so_and_leaves_all(interrupted: Tracked, server: Server) -> None:
    server.mood = "500"
    done = interrupted.launch("sync", server=server)
    assert done.returncode == 2
    assert "answers 500" in done.stderr
    assert not any(fragment.is_synced for fragment in interrupted.fragments)


def test_an_online_run_is_told_while_it_lives(server: Server, tmp_path: Path) -> None:
    found, done = train(tmp_path / "p", "tracking.wandb.mode=online", url=server.url)
    assert done.returncode == 0, done.stderr
    (received,) = server.runs.values()
    assert [row["_step"] for row in received.rows] == list(range(STEPS))
    assert received.exit_codes == [0]
    assert list(received.artifacts) == [f"checkpoint-{found.fragments[0].run_id}"]
    assert all(fragment.is_synced for fragment in found.fragments)
    assert not [query for query in server.unknown if query.strip()]


def test_a_checkpoint_that_is_refused_costs_no_row_and_is_synced_later(
    server: Server, tmp_path: Path
) -> None:
    server.refuses = "CreateArtifact"
    found, done = train(tmp_path / "p", "tracking.wandb.mode=online", url=server.url)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("the best checkpoint is no artifact") == 1
    (received,) = server.runs.values()
    assert [row["_step"] for row in received.rows] == list(range(STEPS))
    assert not received.artifacts
    server.refuses = ""
    assert found.launch("sync", server=server).returncode == 0
    assert len(received.artifacts) == 1
    assert [row["_step"] for row in received.rows] == list(range(STEPS))


def test_a_checkpoint_is_uploaded_only_if_asked(server: Server, tmp_path: Path) -> None:
    wished = "+tracking.wandb.checkpoint=upload"
    _, done = train(tmp_path / "p", "tracking.wandb.mode=online", wished, url=server.url)
    assert done.returncode == 0, done.stderr
    (received,) = server.runs.values()
    ((artifact,),) = [list(received.artifacts.values())]
    (file,) = artifact["manifest"]["contents"].values()
    assert "ref" not in file
    assert server.uploaded["best.ckpt"] == file["size"]


@pytest.mark.parametrize("trouble", ["500", "hangs"])
def test_a_server_that_fails_half_way_costs_no_training(
    trouble: Any, server: Server, tmp_path: Path
) -> None:
    """It takes the first rows, which the client sends every 15 s, then nothing more."""

    def fail() -> None:
        until = time.monotonic() + 90
        while not any(run.rows for run in server.runs.values()) and time.monotonic() < until:
            time.sleep(0.02)
        server.mood = trouble

    failing = threading.Thread(target=fail)
    failing.start()
    options = ["tracking.wandb.mode=online", "+tracking.wandb.finish_s=5", "step_s=0.4"]
    found, done = train(tmp_path / "p", *options, launcher="local", url=server.url)
    failing.join()
    assert done.returncode == 0, done.stderr
    assert len(found.csv_rows()) == STEPS
    (received,) = server.runs.values()
    assert 0 < len(received.rows) < STEPS
    # The command ends with the training; its process lives on until W&B is given up.
    (said,) = found.run_dir.parent.glob(".submitit/*/*_log.out")
    until = time.monotonic() + 90
    while "the training is unharmed" not in said.read_text() and time.monotonic() < until:
        time.sleep(0.2)
    server.mood = "well"
    synced = found.launch("sync", server=server)
    assert synced.returncode == 0, synced.stderr
    assert said.read_text().count("the training is unharmed, `launch sync`") == 1
    assert [row["_step"] for row in received.rows] == list(range(STEPS))


def test_a_run_that_was_deleted_at_wandb_costs_no_training_and_is_named(
    server: Server, tmp_path: Path
) -> None:
    server.deleted = "f6c6d5f491e3"
    found, done = train(tmp_path / "p", "tracking.wandb.mode=online", url=server.url)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("W&B is offline") == 1, done
    assert found.steps == list(range(STEPS))
    synced = found.launch("sync", server=server)
    assert synced.returncode == 1
    assert "previously created and deleted" in synced.stderr
    assert {fragment.run_id for fragment in found.fragments} == {server.deleted}
    files = [str(fragment.path.parent) for fragment in found.fragments if not fragment.is_online]
    again = ["-m", "wandb", "sync", "--id", "anew", *files]
    assert run(*again, cwd=found.folder, env=_environment(server.url)).returncode == 0
    assert [row["_step"] for row in server.runs["anew"].rows] == list(range(STEPS))


@pytest.mark.parametrize("trouble", ["401", "500", "hangs", "refused"])
def test_a_server_in_trouble_costs_no_training(
    trouble: Any, server: Server, tmp_path: Path
) -> None:
    server.mood = trouble if trouble != "refused" else "well"
    url = server.url if trouble != "refused" else "http://127.0.0.1:9"
    found, done = train(tmp_path / "p", "tracking.wandb.mode=online", url=url)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert said.count("W&B is offline") == 1, said
    assert len(found.csv_rows()) == len(journal.read(found.run_dir / "tracking" / journal.NAME))
    assert found.steps == list(range(STEPS))
    server.mood = "well"
    assert found.launch("sync", server=server).returncode == 0
    (received,) = server.runs.values()
    assert [row["_step"] for row in received.rows] == list(range(STEPS))


def test_a_killed_wandb_core_costs_no_training_and_no_row(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    killed: list[int] = []

    def kill() -> None:
        until = time.monotonic() + 90
        while not killed and time.monotonic() < until:
            time.sleep(0.05)
            if not any(server.runs.values()):
                continue
            for process in psutil.process_iter(["name", "environ"]):
                about = process.info["environ"] or {}
                is_core = "wandb-core" in (process.info["name"] or "")
                if is_core and about.get("WANDB_BASE_URL") == server.url:
                    process.kill()
                    killed.append(process.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    found, done = train(folder, "tracking.wandb.mode=online", "step_s=0.2", url=server.url)
    killer.join()
    assert killed
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("the training is unharmed, `launch sync`") == 1
    assert found.launch("sync", server=server).returncode == 0
    (received,) = server.runs.values()
    assert [row["_step"] for row in received.rows] == list(range(STEPS))


def test_python_that_submits_does_not_load_wandb() -> None:
    code = "import launcher.cli, launcher.tracking.settings, sys; print('wandb' in sys.modules)"
    assert run("-c", code, cwd=REPOSITORY).stdout.strip() == "False"
