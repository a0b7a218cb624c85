"""The Hydra launchers: compose, check, freeze, submit, record; then wait or give the prompt back.

Hydra's face of the launcher is thin on purpose: this file calls the rooms in order. Nothing
heavy is imported at the top, because Hydra imports every plugin at each start, also for --help.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launcher import uncaught

if TYPE_CHECKING:
    from pathlib import Path

    from launcher.compose import Choose, Composer, WantedRun
    from launcher.declaring import Declared
    from launcher.plan import Plan
    from launcher.scheduler.local import LocalScheduler
    from launcher.scheduler.slurm import SlurmScheduler
    from launcher.submit import Submission

uncaught.watch()  # Hydra imports this before it composes
_FIRST_VALUE = re.compile(r"\$\{(?P<key>[\w.]+)\}/")
_SWEEPERS_WITHOUT_VALUES = {"BasicSweeper", "StudySweeper"}


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
        self.declared: Declared | None = None
        """What earlier batches of this command declared."""
        self.multirun_before: bytes | None = None
        """What Hydra overwrites before it calls `launch`."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives before `launch`, and before it makes the sweep's folder."""
        from launcher import messages
        from launcher.errors import LauncherError

        messages.print_anything()  # a program of plain `hydra.main` did not
        self.config = config
        self.hydra_context = hydra_context
        self.task_function = task_function
        try:
            _refuse_empty_place(config)
        except LauncherError as error:
            # Hydra would print a traceback, in programs that do not use `launcher.main`.
            raise SystemExit(messages.show(error)) from error
        record = self._sweep_dir() / "multirun.yaml"
        self.multirun_before = record.read_bytes() if record.is_file() else None

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run one batch of a sweep; an empty answer means that it goes on without us."""
        from launcher import messages
        from launcher.errors import LauncherError

        uncaught.done()  # not in `setup`: Hydra makes the sweep's folder after it
        try:
            return self._compose_and_launch(job_overrides, initial_job_idx)
        except LauncherError as error:
            self._forget_sweep_dir()
            # Hydra would print a traceback, in programs that do not use `launcher.main`.
            raise SystemExit(messages.show(error)) from error
        except (HydraException, OmegaConfBaseException):
            self._forget_sweep_dir()
            raise

    def _forget_sweep_dir(self) -> None:
        """A refused command changes nothing, though Hydra wrote `multirun.yaml` before it."""
        from pathlib import Path

        folder = self._sweep_dir()
        if self.multirun_before is not None:
            (folder / "multirun.yaml").write_bytes(self.multirun_before)
            return
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else None
        if names is None or names & {"study.json", ".lease"}:
            return  # it belongs to a study, or another command is about to declare one
        for name in names & {"multirun.yaml", ".lock"}:
            (folder / name).unlink()
        if any(folder.iterdir()):
            return
        folder.rmdir()
        # Those in between Hydra made too, as in multirun/<day>/<time>; elsewhere we do not know.
        here = Path.cwd()
        for parent in folder.parents:
            if parent == here or not parent.is_relative_to(here) or any(parent.iterdir()):
                return
            parent.rmdir()

    def _sweep_dir(self) -> Path:
        from pathlib import Path

        assert self.config is not None
        return Path(str(self.config.hydra.sweep.dir)).absolute()

    def _compose_and_launch(
        self, job_overrides: Sequence[Sequence[str]], first_number: int
    ) -> Sequence[JobReturn]:
        from hydra.core.hydra_config import HydraConfig

        from launcher import snapshot
        from launcher.compose import Composer

        assert self.config is not None
        assert self.hydra_context is not None
        if not job_overrides:
            self._refuse_empty_sweep()
        snapshot.current.cache_clear()
        composer = Composer(self.hydra_context, self.config, self._chooser())
        follow: Any = OmegaConf.to_object(self.config.hydra.launcher.follow)
        if follow.study is None:
            wanted = composer.runs(job_overrides, first_number)
        else:
            from launcher import following

            wanted = following.runs(composer, follow, job_overrides)
        HydraConfig.instance().set_config(self.config)
        return self._launch(composer, wanted)

    def _refuse_empty_sweep(self) -> None:
        from launcher.sweeping import refuse_empty

        assert self.config is not None
        assert self.hydra_context is not None
        swept = self.config.hydra.sweeper.get("params") or {}
        overrides = [f"{key}={value}" for key, value in swept.items()]
        overrides.extend(self.config.hydra.overrides.task)
        refuse_empty(self.hydra_context.config_loader, overrides)

    def _launch(self, composer: Composer, wanted: list[WantedRun]) -> Sequence[JobReturn]:
        from launcher import ui
        from launcher.actions import act
        from launcher.declaring import Declared
        from launcher.submit import Submission

        assert self.config is not None
        assert self.task_function is not None
        settings = wanted[0].settings
        _refuse_name_without_place(settings.study, composer.study_dir)
        waits = self._waits(settings.wait)
        self._refuse_values_without_waiting(waits)
        submission = Submission(
            study_dir=composer.study_dir,
            wanted=wanted,
            scheduler_name=self.scheduler_name,
            scheduler=self._scheduler(wanted, composer),
            task_overrides=list(self.config.hydra.overrides.task),
            before=self.declared or Declared(),
        )
        if settings.action != "submit":
            self._forget_sweep_dir()
            act(settings.action, submission, self.task_function)
            return []
        plan = submission.plan()
        ui.show_plan(plan, submission.study_dir, self.scheduler_name, everything=settings.dry_run)
        submission.check(plan.to_submit(), self.task_function)
        if settings.show_script:
            ui.show_scripts(submission.scripts(plan))
        if settings.dry_run:
            self._forget_sweep_dir()
            ui.say("dry run: nothing was sent, no file was left")
            return []
        submission.confirm(plan, ui.asker())
        self.declared = submission.declared()
        return self._apply(submission, waits, len(plan.to_submit()))

    def _apply(self, submission: Submission, waits: bool, shown: int) -> Sequence[JobReturn]:
        from launcher import ui
        from launcher.lock import locked
        from launcher.manage import say_waiting
        from launcher.program import announce

        assert self.task_function is not None
        with locked(submission.lock_folders(), say_waiting) as descriptors:
            plan = submission.apply(self.task_function, descriptors)
            announce(submission.study_dir)
            if len(plan.to_submit()) < shown:
                taken = shown - len(plan.to_submit())
                ui.say(f"{taken} of them were sent by another command in the meantime")
            if self.scheduler_name == "local":
                # Local runs belong to this command until they have ended.
                return self._returns(submission, plan)
        if waits:
            return self._returns(submission, plan)
        submission.say_how_to_come_back()
        return []

    def _returns(self, submission: Submission, plan: Plan) -> Sequence[JobReturn]:
        from launcher.returning import job_returns
        from launcher.studies import Study

        return job_returns(
            Study(submission.study_dir),
            submission.wanted,
            submission.scheduler,
            plan.blocked(),
            submission.feed,
        )

    def _chooser(self) -> Choose | None:
        """What decides where `cluster.partition=auto` goes; only SLURM has a choice."""
        return None

    def _waits(self, wait: bool | None) -> bool:
        return self.waits_by_default if wait is None else wait

    def _refuse_values_without_waiting(self, waits: bool) -> None:
        """A sweeper that chooses runs by the results of others cannot go on without them."""
        from launcher.errors import ConfigError

        assert self.config is not None
        sweeper = str(self.config.hydra.sweeper.get("_target_", ""))
        if not waits and sweeper.rpartition(".")[2] not in _SWEEPERS_WITHOUT_VALUES:
            raise ConfigError(
                f"the sweeper `{sweeper.rpartition('.')[2]}` needs the value of each run, and"
                " runs on a cluster are not waited for by default",
                hint="add hydra.launcher.wait=true, in tmux or with nohup",
            )

    def _scheduler(
        self, wanted: list[WantedRun], composer: Composer
    ) -> SlurmScheduler | LocalScheduler:
        raise NotImplementedError


def _refuse_empty_place(config: DictConfig) -> None:
    """A place that begins with an empty value is in the root folder: a variable was not set."""
    from launcher.errors import ConfigError

    sweep: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    said = str(sweep["dir"])
    first = _FIRST_VALUE.match(said)
    if first is not None and not str(OmegaConf.select(config, first["key"]) or "").strip():
        raise ConfigError(
            f"`{first['key']}=` is empty, and the study's folder, `{said}`, begins with it",
            hint=f"is a variable of the shell not set? e.g. {first['key']}=outputs",
        )


def _refuse_name_without_place(name: str | None, study_dir: Path) -> None:
    """A study is found again by its folder, so a name that does not reach it means nothing."""
    from launcher.errors import ConfigError

    if name is not None and study_dir.name != name:
        raise ConfigError(
            f"`hydra.launcher.study={name}`, but the study's folder is `{study_dir}`",
            hint="let the folder follow: hydra.sweep.dir='outputs/${study_id:}'",
        )


class SlurmLauncherBase(StudyLauncherBase):
    """Sends runs to SLURM and detaches."""

    scheduler_name = "slurm"
    waits_by_default = False

    def _scheduler(self, wanted: list[WantedRun], composer: Composer) -> SlurmScheduler:
        from pathlib import Path

        from launcher.scheduler.client import SlurmClient, require_commands
        from launcher.scheduler.slurm import SlurmScheduler

        require_commands()
        settings = wanted[0].settings
        return SlurmScheduler(
            folder=Path(settings.submitit_folder).absolute(),
            client=SlurmClient(variables=dict(settings.cluster.environment)),
            max_array_size=settings.cluster.max_array_size,
        )

    def _chooser(self) -> Choose:
        from launcher.planning.choosing import Chooser

        return Chooser()


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

    def _scheduler(self, wanted: list[WantedRun], composer: Composer) -> LocalScheduler:
        from launcher.scheduler.local import LocalScheduler

        limit = getattr(wanted[0].settings, "max_parallel", None)
        return LocalScheduler(folder=composer.study_dir / ".submitit", max_parallel=limit)


class DebugLauncherBase(StudyLauncherBase):
    """Runs in this process, one after the other."""

    scheduler_name = "debug"

    def _launch(self, composer: Composer, wanted: list[WantedRun]) -> Sequence[JobReturn]:
        from launcher.debug import run_in_process
        from launcher.declaring import Declared

        assert self.config is not None
        assert self.task_function is not None
        if wanted[0].settings.action != "submit":
            return self._act(wanted)
        if wanted[0].settings.dry_run:
            return self._show_that_all_would_run(composer, wanted)
        self.declared = (self.declared or Declared()).plus(wanted)
        return run_in_process(
            composer.study_dir,
            wanted,
            self.task_function,
            self.declared,
            list(self.config.hydra.overrides.task),
        )

    def _act(self, wanted: list[WantedRun]) -> Sequence[JobReturn]:
        """A probe is a run and may be debugged; what else commands ask for needs a scheduler."""
        from launcher.errors import ConfigError

        assert self.config is not None
        assert self.task_function is not None
        self._forget_sweep_dir()
        if wanted[0].settings.action != "probe":
            raise ConfigError(
                f"the debug launcher has nothing to {wanted[0].settings.action}",
                hint="use hydra/launcher=slurm or hydra/launcher=local",
            )
        from launcher import probing

        probing.run_here(wanted, self.task_function, list(self.config.hydra.overrides.task))
        return []

    def _show_that_all_would_run(
        self, composer: Composer, wanted: list[WantedRun]
    ) -> Sequence[JobReturn]:
        """The plan of a launcher that keeps nothing: whoever debugs wants the run to run."""
        from launcher import ui
        from launcher.declaring import with_required
        from launcher.plan import Rules, make_plan
        from launcher.states import RunStatus

        runs = with_required(wanted)
        new = {run.key: RunStatus(key=run.key, name=run.name, state="new") for run in runs}
        plan = make_plan(runs, new, {}, "", Rules(failed=wanted[0].settings.failed))
        ui.show_plan(plan, composer.study_dir, self.scheduler_name, everything=True)
        self._forget_sweep_dir()
        ui.say("dry run: nothing was run, no file was left")
        return []
