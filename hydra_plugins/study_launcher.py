"""Hydra 1.3 accepts launchers only from this namespace package; the classes live in launcher/."""

from launcher import resolvers, settings
from launcher.plugin import DebugLauncherBase, LocalLauncherBase, SlurmLauncherBase


class SlurmLauncher(SlurmLauncherBase):
    """hydra/launcher=slurm"""


class LocalLauncher(LocalLauncherBase):
    """hydra/launcher=local"""


class DebugLauncher(DebugLauncherBase):
    """hydra/launcher=debug"""


settings.register()
resolvers.register()
