"""Measures in a small process of its own.

A long session has a large heap in which a collection frees, or a forked child copies, as much as
a test wants to see: what is measured must not depend on which tests ran before.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Seen = TypeVar("Seen")


def in_fresh_process(measure: Callable[[], Seen]) -> Seen:
    """What a function of a module returns in a new interpreter, which may start workers."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(measure).result()
