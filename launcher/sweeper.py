"""A sweeper for our launchers: Hydra's basic one, composing each run once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override

from launcher.plugin import StudyLauncherBase


def register() -> None:
    """Offer `hydra/sweeper=study`."""
    ConfigStore.instance().store(
        group="hydra/sweeper", name="study", node=StudySweeperConf, provider="launcher"
    )


@dataclass
class StudySweeperConf(BasicSweeperConf):
    """Settings as of `hydra/sweeper=basic`."""

    _target_: str = "hydra_plugins.study_launcher.StudySweeper"


class StudySweeperBase(BasicSweeper):
    """Sweeps as `hydra/sweeper=basic` does.

    That one composes each run to see whether it can be composed, 30 to 70 ms each, before it
    calls the launcher. Ours composes all runs before it does anything else.
    """

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Leave it to the launcher, if it is one of ours."""
        if not isinstance(self.launcher, StudyLauncherBase):
            super().validate_batch_is_legal(batch)

    @staticmethod
    def split_arguments(
        overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Batches of runs, at least one: of a sweep that holds no run the launcher is told too."""
        return BasicSweeper.split_arguments(overrides, max_batch_size) or [[]]
