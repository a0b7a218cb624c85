"""What of a config may leave the machine: no secrets, no folders of a person. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.settings import SWITCHES

_SECRET_KEY = re.compile(
    r"(^|_)(api_?key|secret|password|passwd|access_key|private_key|credentials?)(_|$)"
    r"|(^|_)(auth|access|api|bearer|hf|github|wandb)_token$|^token$",
    re.IGNORECASE,
)
"""Names of values that are secrets; `train_tokens` are scenes."""
_SECRET_VALUE = re.compile(
    r"\b[0-9a-f]{40}\b|\bwandb_v1_\w+|\bhf_\w{20,}|\bgh[pousr]_\w{20,}|\bsk-[\w-]{20,}"
    r"|://[^/\s:@]+:[^/\s@]+@"
)
"""What keys of W&B, Hugging Face, GitHub and others look like, and passwords in addresses."""
_DIGEST_KEY = re.compile(r"(^|_)(sha\d*|commit|digest|hash|revision)$", re.IGNORECASE)
"""Names of values that look like a key of W&B and are hashes."""
NOT_PUBLISHED = ("hydra", "paths", "cluster", "identity", "tracking", "scale", *SWITCHES)
"""Parts of a config that say where and for whom, not what."""


def publishable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The nested config without secrets, absolute paths and what says only where it runs."""
    kept = {key: value for key, value in config.items() if key not in NOT_PUBLISHED}
    cleaned: dict[str, Any] = _clean(kept)
    return cleaned


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        found = {str(key).replace(".", "_"): (str(key), below) for key, below in value.items()}
        return {
            name: _clean(below)
            for name, (key, below) in found.items()
            if not _is_withheld(key, below)
        }
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value if not _is_withheld("", item)]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _is_withheld(key: str, value: Any) -> bool:
    if _SECRET_KEY.search(key):
        return True
    if not isinstance(value, (str, Path)):
        return False
    text = str(value)
    is_key = bool(_SECRET_VALUE.search(text)) and not _DIGEST_KEY.search(key)
    return is_key or text.startswith(("/", "~")) or str(Path.home()) in text


def secrets_in(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys of a config whose values are secrets by their name; an empty value is none."""
    found: list[str] = []
    for key, value in config.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found += secrets_in(value, f"{dotted}.")
        elif isinstance(value, str) and value and _SECRET_KEY.search(str(key)):
            found.append(dotted)
    return found
