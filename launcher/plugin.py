"""The Hydra launchers: compose, check, freeze, submit, record; then wait or give the prompt back.

Hydra's face of the launcher is thin on purpose: this file calls the rooms in order. Nothing
heavy is imported at the top, because Hydra imports every plugin at each start, also for --help.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from launcher.compose import WantedRun
    from launcher.scheduler import Scheduler
    from launcher.submit import Submission


class StudyLauncherBase(Launcher):
    """What our three launchers share."""

    scheduler_name = "?"
    waits_by_default = True

    def __init__(self, **settings: Any) -> None:
        # The settings are read again from each composed run, where they may differ.
        del settings
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives before `launch`."""
        self.config = config
        self.hydra_context = hydra_context
        self.task_function = task_function

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run one batch of a sweep; an empty answer means that it goes on without us."""
        from launcher import messages
        from launcher.errors import LauncherError

        try:
            return self._compose_and_launch(job_overrides, initial_job_idx)
        except LauncherError as error:
            self._forget_sweep_dir()
            # Hydra would print a traceback, in programs that do not use `launcher.main`.
            raise SystemExit(messages.show(error)) from error

    def _forget_sweep_dir(self) -> None:
        """A refused command leaves nothing: Hydra made the folder before it called us."""
        from pathlib import Path

        assert self.config is not None
        folder = Path(str(self.config.hydra.sweep.dir))
        if [path.name for path in folder.glob("*")] == ["multirun.yaml"]:
            (folder / "multirun.yaml").unlink()
            folder.rmdir()

    def _compose_and_launch(
        self, job_overrides: Sequence[Sequence[str]], first_number: int
    ) -> Sequence[JobReturn]:
        from hydra.core.hydra_config import HydraConfig

        from launcher.compose import Composer

        assert self.config is not None
        assert self.hydra_context is not None
        composer = Composer(self.hydra_context, self.config)
        wanted = composer.runs(job_overrides, first_number)
        HydraConfig.instance().set_config(self.config)
        return self._launch(composer, wanted)

    def _launch(self, composer: Any, wanted: list[WantedRun]) -> Sequence[JobReturn]:
        from launcher.submit import Submission

        assert self.config is not None
        assert self.task_function is not None
        submission = Submission(
            study_dir=composer.study_dir,
            wanted=wanted,
            scheduler_name=self.scheduler_name,
            scheduler=self._scheduler(wanted, composer),
            task_overrides=list(self.config.hydra.overrides.task),
        )
        waits = self._waits(wanted[0].settings.wait)
        submission.send(self.task_function)
        if not waits:
            submission.say_how_to_come_back()
            return []
        return _job_returns(submission)

    def _waits(self, wait: bool | None) -> bool:
        return self.waits_by_default if wait is None else wait

    def _scheduler(self, wanted: list[WantedRun], composer: Any) -> Scheduler:
        raise NotImplementedError


class SlurmLauncherBase(StudyLauncherBase):
    """Sends runs to SLURM and detaches."""

    scheduler_name = "slurm"
    waits_by_default = False

    def _scheduler(self, wanted: list[WantedRun], composer: Any) -> Scheduler:
        from pathlib import Path

        from launcher.scheduler.slurm import SlurmScheduler

        settings = wanted[0].settings
        return SlurmScheduler(
            folder=Path(settings.submitit_folder).absolute(),
            variables=dict(settings.cluster.environment),
        )


class LocalLauncherBase(StudyLauncherBase):
    """Runs on this machine and waits."""

    scheduler_name = "local"

    def _waits(self, wait: bool | None) -> bool:
        from launcher.errors import ConfigError

        if wait is False:
            raise ConfigError(
                "`hydra.launcher.wait=false`: local runs are started by the command that waits",
                hint="put the command into tmux or `nohup ... &`, or use hydra/launcher=slurm",
            )
        return True

    def _scheduler(self, wanted: list[WantedRun], composer: Any) -> Scheduler:
        from launcher.scheduler.local import LocalScheduler

        limit = getattr(wanted[0].settings, "max_parallel", None)
        return LocalScheduler(folder=composer.study_dir / ".submitit", max_parallel=limit)


class DebugLauncherBase(StudyLauncherBase):
    """Runs in this process, one after the other."""

    scheduler_name = "debug"

    def _launch(self, composer: Any, wanted: list[WantedRun]) -> Sequence[JobReturn]:
        from launcher.debug import run_in_process

        assert self.config is not None
        assert self.task_function is not None
        return run_in_process(
            composer.study_dir, wanted, self.task_function, list(self.config.hydra.overrides.task)
        )


def _job_returns(submission: Submission) -> Sequence[JobReturn]:
    """Wait for all runs; what they returned, in the order that Hydra asked for them."""
    from launcher.errors import RunsFailedError

    statuses = {status.key: status for status in submission.follow()}
    returns = []
    for run in submission.wanted:
        status = statuses[run.key]
        returned = JobReturn(overrides=list(run.overrides), working_dir=str(run.run_dir))
        if status.state == "completed":
            returned.status = JobStatus.COMPLETED
            returned.return_value = status.result
        else:
            returned.status = JobStatus.FAILED
            returned.return_value = RunsFailedError(submission.failure_summary())
        returns.append(returned)
    return returns
