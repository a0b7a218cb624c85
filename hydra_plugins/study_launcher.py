"""Hydra 1.3 accepts launchers only from this namespace package; the classes live in launcher/."""

from launcher import resolvers, settings, sweeper
from launcher.plugin import DebugLauncherBase, LocalLauncherBase, SlurmLauncherBase


class SlurmLauncher(SlurmLauncherBase):
    """Chosen by hydra/launcher=slurm."""


class LocalLauncher(LocalLauncherBase):
    """Chosen by hydra/launcher=local."""


class DebugLauncher(DebugLauncherBase):
    """Chosen by hydra/launcher=debug."""


class StudySweeper(sweeper.StudySweeperBase):
    """Chosen by hydra/sweeper=study."""


settings.register()
sweeper.register()
resolvers.register()
