"""Where W&B shows a study, for `launch status`. Reads little, whatever the size of the study."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from launcher.tracking import card as cards

STATE = "published.json"
"""Beside the card: where the run is at W&B."""
MOST_LOOKED_AT = 50
"""Runs that are looked at before a study is taken to be untracked."""


def line(run_dirs: Iterable[str], study: str) -> str:
    """Where the runs of a study are at W&B, or how to bring them there; empty if not tracked.

    Raises:
        StoreError: a card is damaged.
    """
    for _, run_dir in zip(range(MOST_LOOKED_AT), run_dirs, strict=False):
        card = cards.read(run_dir)
        if card is None:
            continue
        url = url_of(run_dir)
        if url is None:
            return f"W&B: on disk; `launch sync {study}` sends it from a machine with a way out"
        return f"W&B: {study_url(url, card.group)}"
    return ""


def study_url(run_url: str, study: str) -> str:
    """Address of a study, from that of one of its runs."""
    return f"{run_url.split('/runs/')[0]}/groups/{quote(study)}"


def url_of(run_dir: Path | str) -> str | None:
    """Address of a run at W&B; None where it was never online."""
    try:
        state = json.loads((cards.path_of(run_dir).parent / STATE).read_text())
    except (OSError, ValueError):
        return None
    url = str(state.get("url"))
    return url if url.startswith(("https://", "http://")) else None
