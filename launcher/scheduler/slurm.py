"""SLURM: one sbatch per array, one squeue per look. Scripts are made by submitit."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from launcher.errors import SubmissionError
from launcher.guard import shell_lines
from launcher.halves import other_gres
from launcher.records import SubmissionRecord
from launcher.scheduler.base import Job, JobStatus
from launcher.scheduler.client import (
    Answer,
    QueuedJob,
    SlurmClient,
    is_submit_limit,
    require_commands,
)
from launcher.scheduler.control import JobControl
from launcher.settings import PythonConfig, StudyLauncherConf
from launcher.sites.python_start import PythonStart, environment_lines, settled, start_of
from launcher.topology import Shape, sbatch_parameters

MAX_ARRAY_SIZE = 1001
"""SLURM's own default, where the site does not say."""
_IDS_PER_COMMAND = 500
_OUR_PARAMETERS = ("python",)
"""Parameters of a job that are ours and not submitit's."""
_AWAY = ("drain", "down", "maint", "fail", "reserved", "unknown")
"""How states of nodes begin that take no job at present."""


@dataclass(kw_only=True)
class SlurmScheduler:
    """The SLURM that sbatch and squeue of this machine talk to."""

    folder: Path
    """Where scripts, pickles and logs are kept."""
    client: SlurmClient = field(default_factory=SlurmClient)
    max_array_size: int | None = None
    """MaxArraySize; None asks SLURM."""
    avoid: Sequence[str] = ()
    """Nodes that jobs shall not use, because they failed again and again."""
    _ids: dict[str, str] = field(default_factory=dict)

    def check(self, jobs: Sequence[Job]) -> None:
        """Refuse what SLURM would refuse; what it would leave pending for ever, a preflight finds.

        Raises:
            SubmissionError: no SLURM here, or `sbatch --test-only` says no.
        """
        require_commands()
        for group in group_by_shape(jobs):
            self._test_only(group[0])

    def groups(self, jobs: Sequence[Job]) -> list[list[Job]]:
        """One array per identical shape, split at MaxArraySize."""
        size = self._array_size()
        return [
            group[i : i + size]
            for group in group_by_shape(jobs)
            for i in range(0, len(group), size)
        ]

    def script(self, job: Job, token: str, indexes: tuple[int, int] | None) -> str:
        """The sbatch script of a batch; `indexes` are the first and last of its array."""
        executor = self._executor(job, token)
        if indexes is not None:
            first, last = indexes
            parallel = executor.parameters.get("array_parallelism", last - first + 1)
            executor.parameters["map_count"] = last - first + 1
            extra = {**executor.parameters.get("additional_parameters", {})}
            extra["array"] = f"{first}-{last}%{min(parallel, last - first + 1)}"
            executor.parameters["additional_parameters"] = extra
        words = [executor.python, "-u", "-m", "launcher.start", str(self.batch_pickle(token))]
        command = " ".join([words[0], shlex.join(words[1:])])
        text = str(executor._make_submission_file_text(command, token))
        # For an array submitit renames all %j, those that are part of the folder's name too.
        folder = _inside_quotes(self._log_folder)
        return text.replace(folder.replace("%j", "%A_%a"), folder)

    @property
    def _log_folder(self) -> str:
        """The folder as sbatch and srun want to be told it."""
        return str(self.folder).replace("%", "%%")

    def batch_pickle(self, token: str) -> Path:
        """File of the attempts of a batch."""
        return self.folder / f"{token}.pkl"

    def sbatch(self, job: Job, token: str, indexes: tuple[int, int] | None) -> str:
        """Submit a batch, or a part of its array; returns the job id.

        Raises:
            SubmitLimitError: not now, because the user has as many jobs as SLURM permits.
            SubmissionError: SLURM refused it for another reason, or gave no answer.
        """
        path = self.folder / f"{token}.sh"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.script(job, token, indexes))
        return self.client.sbatch([str(path)], job.name)

    def queue(self) -> list[QueuedJob]:
        """Every job of this user that has not ended; SubmissionError if squeue does not say."""
        return self.client.queue()

    def owns(self, sent: SubmissionRecord) -> bool:
        """Whether it was sent to this SLURM."""
        return sent.scheduler == "slurm" and sent.environment == self.client.variables

    def watch(self, key: str, job_id: str) -> None:
        """Follow a job that was submitted earlier."""
        self._ids[key] = job_id

    def forget(self, key: str) -> None:
        """Drop the job of a run that will be sent again."""
        self._ids.pop(key, None)

    def is_watching(self, key: str) -> bool:
        """Whether a job of that run is known."""
        return key in self._ids

    def poll(self) -> dict[str, JobStatus]:
        """Status of all jobs from one squeue; what is no longer in the queue has ended."""
        if not self._ids:
            return {}
        try:
            rows = {row.job_id: row.status for row in self.queue()}
        except SubmissionError as error:
            return {key: JobStatus(state="unknown", reason=error.message) for key in self._ids}
        ended = JobStatus(state="ended")
        return {key: rows.get(job_id, ended) for key, job_id in self._ids.items()}

    def cancel(self, job_ids: Sequence[str]) -> None:
        """`scancel`; raises SubmissionError if SLURM does not take it."""
        for i in range(0, len(job_ids), _IDS_PER_COMMAND):
            done = self.client.run(["scancel", *job_ids[i : i + _IDS_PER_COMMAND]])
            if done.returncode != 0:
                raise SubmissionError(
                    f"scancel failed: {done.reason}", hint="issue the command again"
                )

    def interrupted(self, say: Callable[[str], None]) -> None:
        """Jobs outlive the command that follows them."""
        say("stopped watching; the jobs go on, `launch status` shows them")

    def _array_size(self) -> int:
        """Most elements of an array: indexes start at 0 and stay below MaxArraySize."""
        if self.max_array_size is None:
            done = self.client.run(["scontrol", "show", "config"])
            found = re.search(r"MaxArraySize\s*=\s*(\d+)", done.stdout)
            self.max_array_size = int(found.group(1)) if found else MAX_ARRAY_SIZE
        return max(1, self.max_array_size - 1)

    def _test_only(self, job: Job) -> None:
        executor = self._executor(job, "test", with_dependency=False)
        done = self.client.run(
            ["sbatch", "--test-only"],
            text=executor._make_submission_file_text("true", "test"),
            submits=True,
        )
        if done.returncode and not is_submit_limit(done.stderr) and not self._may_pass(job, done):
            raise SubmissionError(
                f"SLURM would refuse `{job.name}` ({job.shape}): {done.reason}",
                hint=self._hint(done),
            )

    def _hint(self, refusal: Answer) -> str:
        """What to change; the user's own accounts, where the account is what is wrong."""
        if "invalid account" in refusal.stderr.lower():
            from launcher.sites.asking import Asker

            known = Asker(client=self.client).accounts()
            if known is not None and (own := known.names):
                return f"cluster.account is one of yours: {', '.join(own)}"
        return "check cluster.* (partition, account, qos) and resources.*"

    def _may_pass(self, job: Job, refusal: Answer) -> bool:
        """Whether it is refused only for now: sbatch takes a job for nodes that are drained."""
        if "node configuration is not available" not in refusal.stderr:
            return False
        partition = job.parameters.get("partition")
        asked = [f"--partition={partition}"] if partition else []
        states = self.client.run(["sinfo", "--noheader", *asked, "--format=%T"]).stdout.split()
        return any(state.startswith(_AWAY) for state in states)

    def _executor(self, job: Job, token: str, *, with_dependency: bool = True) -> Any:
        import submitit

        start = self._start(job)
        # SLURM expands % in the paths of its logs; submitit passes them on as they are.
        executor = submitit.SlurmExecutor(self._log_folder, max_num_timeout=0, python=start.ranks)
        batch = shlex.quote(str(self.batch_pickle(token)))
        setup = [*_setup_lines(job), *shell_lines(start.guard, batch)]
        parameters = {k: v for k, v in job.parameters.items() if k not in _OUR_PARAMETERS}
        parameters["setup"] = setup
        # Some sites do not requeue unless a job says so, and then nothing could put it back.
        extra = parameters.get("additional_parameters", {})
        if "no-requeue" not in extra:
            parameters["additional_parameters"] = {"requeue": True, **extra}
        if avoided := self._avoided(job):
            parameters["exclude"] = ",".join(filter(None, [parameters.get("exclude"), *avoided]))
        parameters["comment"] = f"{parameters.get('comment') or ''} launcher:{token}".strip()
        after = [self._ids[key] for key in job.after if key in self._ids]
        if after and with_dependency:
            parameters["dependency"] = "afterok:" + ":".join(after)
            # Else a job whose requirement failed would stay pending for ever.
            extra = {**parameters.get("additional_parameters", {}), "kill-on-invalid-dep": "yes"}
            parameters["additional_parameters"] = extra
        executor.update_parameters(**parameters)
        return executor

    def _start(self, job: Job) -> PythonStart:
        """How Python starts in the job; a container sees the folders of the study's parent."""
        python = PythonConfig(**job.parameters.get("python", {}))
        outputs = self.folder.parent.parent
        return start_of(python, has_gpus=job.shape.gpus_per_node > 0, folders=[outputs])

    def _avoided(self, job: Job) -> list[str]:
        """Nodes to avoid, unless too few would be left: then none."""
        if not self.avoid:
            return []
        partition = str(job.parameters.get("partition") or "")
        usable = {name for name, _ in JobControl(job_id="", client=self.client).nodes(partition)}
        return list(self.avoid) if len(usable - set(self.avoid)) >= job.shape.nodes else []


def parameters_of(settings: StudyLauncherConf, shape: Shape) -> dict[str, Any]:
    """Everything sbatch is told about a run: shape, site, and the stock launcher's own keys."""
    parameters = sbatch_parameters(shape, settings.cluster)
    for name in ("partition", "account", "qos", "comment", "constraint", "exclude"):
        value = getattr(settings, name)
        if value is not None:
            parameters[name] = value
    if extra := other_gres(settings.gres):
        parameters["gres"] = ",".join([*filter(None, [parameters.get("gres")]), *extra])
    parameters.update(
        job_name=settings.name,
        # In a short job the announcement would come before the first step.
        signal_delay_s=min(settings.signal_delay_s, shape.timeout_min * 60 // 2),
        stderr_to_stdout=settings.stderr_to_stdout,
        array_parallelism=settings.array_parallelism,
        additional_parameters=dict(settings.additional_parameters),
        setup=_lines_of_site(settings),
        python=asdict(settled(settings.cluster.python)),
        wckey=None,
    )
    return parameters


def _lines_of_site(settings: StudyLauncherConf) -> list[str]:
    """The site's own lines, modules and Python, what its GPUs want, the command's own lines."""
    cluster = settings.cluster
    return [
        *cluster.setup,
        *start_of(cluster.python).setup,
        *environment_lines(cluster.job_environment, cluster.gpu_type),
        *(settings.setup or []),
    ]


def _setup_lines(job: Job) -> list[str]:
    """Shell lines before srun: the site's own, then what our job needs."""
    python_path = os.pathsep.join(job.python_path)
    threads = job.shape.cpus_per_rank
    return [
        *job.parameters.get("setup", []),
        f'export PYTHONPATH={shlex.quote(python_path)}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        "export PYTHONSAFEPATH=1",
        f"export OMP_NUM_THREADS={threads} MKL_NUM_THREADS={threads}",
        # The ranks of a dead rank would wait for it until the time limit.
        "export SLURM_KILL_BAD_EXIT=1",
    ]


def _inside_quotes(text: str) -> str:
    """As `shlex.quote` writes it, without the quotes around."""
    return text.replace("'", "'\"'\"'")


def group_by_shape(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that can be one array. Jobs come after what they wait for, and so do the groups."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        same = repr((job.parameters, job.shape, job.after, job.is_required, job.python_path))
        groups.setdefault(same, []).append(job)
    return list(groups.values())
