"""What something derived from data is of, in plain words, so that two of them can be told apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from launcher.trees import leaves

Facts = dict[str, Any]


def sha256_of(facts: Facts) -> str:
    """Return the hex sha256 of facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def plain(facts: Facts) -> Facts:
    """Return facts as JSON holds them: tuples as lists."""
    held: Facts = json.loads(json.dumps(facts, sort_keys=True))
    return held


def differences(theirs: Facts, ours: Facts, skipped: Sequence[str]) -> list[str]:
    """Name each fact in which what is there differs from what is expected, with both values.

    Args:
        theirs: Of what is there.
        ours: Of what is expected.
        skipped: Dotted keys that are not compared, nor anything below them.
    """
    there, here = dict(leaves(theirs)), dict(leaves(ours))
    return [
        f"{key} is {there.get(key)!r} there and {here.get(key)!r} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
        and not any(key == name or key.startswith(f"{name}.") for name in skipped)
    ]
