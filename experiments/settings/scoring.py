"""What plans are scored by."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.errors import ConfigError, one_of

SCENES = ("maps", "metric_cache")
LEAST_FUTURE_FRAMES = 10
"""5 s of a window of a log, which the PDM score looks ahead. Metric caches hold their own."""


@dataclass(kw_only=True)
class ScoringConfig:
    """What plans are scored by, besides displacement, collisions and leaving the road."""

    pdm: bool | str = "auto"
    """Whether the PDM score is computed: `true`, `false` or `auto` (where it can be: with a metric
    cache, or with polygon maps and windows of 5 s and more)."""
    metric_cache: str | None = None
    """Folder of metric caches that NAVSIM v1.1 wrote; needed for its own data, whose maps it
    holds. The same caches may lie anywhere."""
    scenes: str = "maps"
    """Whose scenes are scored: `maps` (the logs' own, against a reference plan of ours, never to be
    called NAVSIM's score) or `metric_cache`. The group `scoring=auto` follows `metric_cache`."""

    def __post_init__(self) -> None:
        if isinstance(self.pdm, str):
            one_of("scoring.pdm", self.pdm.lower(), ("auto", "true", "false"))
            self.pdm = {"true": True, "false": False}.get(self.pdm.lower(), "auto")
        one_of("scoring.scenes", self.scenes, SCENES)
        wanted = scenes_of(self.metric_cache)
        if self.scenes != wanted:
            raise ConfigError(
                f"`scoring.scenes={self.scenes}` with `scoring.metric_cache={self.metric_cache}`",
                hint=f"leave scoring.scenes out: the group scoring=auto makes it {wanted}",
            )
        if self.pdm is False and self.metric_cache is not None:
            raise ConfigError(
                f"`scoring.metric_cache={self.metric_cache}` is not read with `scoring.pdm=false`",
                hint="leave one of them out",
            )


def scenes_of(metric_cache: str | None) -> str:
    """Return whose scenes are scored, given `scoring.metric_cache`."""
    return "maps" if metric_cache is None else "metric_cache"


def check_scenes(config: ScoringConfig, source: str, num_future_frames: int) -> None:
    """Refuse what no data of `data.source` can be scored by, before anything is run.

    Raises:
        ConfigError: NAVSIM's metric caches for generated scenes, or windows that are too short.
    """
    if config.metric_cache is not None and source == "synthetic":
        raise ConfigError(
            f"`scoring.metric_cache={config.metric_cache}` holds none of the scenes that"
            " `data.source=synthetic` generates",
            hint="leave it out: generated scenes have maps",
        )
    if config.pdm is True and config.scenes == "maps" and num_future_frames < LEAST_FUTURE_FRAMES:
        raise ConfigError(
            f"`data.num_future_frames={num_future_frames}` ends windows before 5 s, and the PDM"
            " score looks so far ahead",
            hint=f"set data.num_future_frames={LEAST_FUTURE_FRAMES}",
        )
