"""Run an encoder over windows and write its tokens: read, encode, fetch and write overlap.

Dataloader workers decode ahead; a GPU encodes a batch while the tokens of the one before are on
their way to the host; shards are hashed and written by threads of their own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from experiments.data.errors import DataError
from experiments.data.sharded import Numbers
from experiments.features.store import StoreFolder
from experiments.models.backbone import Backbone
from experiments.replay import Replayer
from launcher.callbacks.underway import fetched
from launcher.context import RunContext
from launcher.errors import StoreError

TORCH_DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}
_AHEAD = 3
"""Batches on the GPU or on their way from it."""
_WRITES = 4
"""Shards that are written at a time, each held in memory: one thread hashes and copies about
0.7 GB/s, a GPU makes more than that of whole token grids."""


@dataclass(frozen=True, slots=True)
class _Fetched:
    """Tokens that come from the device; to be looked at once `ready` has happened."""

    tokens: Tensor
    is_finite: Tensor
    windows: Tensor
    ready: torch.cuda.Event | None

    def numbers(self) -> Numbers:
        """Wait, and return the tokens (B, N, C) as they are stored.

        Raises:
            DataError: some are not finite.
        """
        if self.ready is not None:
            self.ready.synchronize()
        if not bool(self.is_finite.all()):
            window = int(self.windows[~self.is_finite][0])
            raise DataError(
                f"features of window {window} are not finite in {self.tokens.dtype}",
                hint="use features.dtype=bfloat16 or float32, whose range is larger",
            )
        if self.tokens.dtype == torch.bfloat16:
            return self.tokens.view(torch.int16).numpy().view(np.uint16)
        return self.tokens.numpy()


@torch.no_grad()
def encoded(
    backbone: Backbone,
    batches: Iterable[Mapping[str, Tensor]],
    *,
    device: torch.device,
    dtype: torch.dtype,
    context: RunContext | None = None,
) -> Iterator[Numbers]:
    """Yield the tokens of each batch in order, as arrays.

    Args:
        backbone: On `device`, in evaluation mode.
        batches: What its `encode` reads, and `index`; in pinned memory for a GPU.
        device: Where it runs.
        dtype: Of the stored numbers.
        context: Of the run, which may be asked to stop.
    """
    under_way: deque[_Fetched] = deque()
    names = sorted(backbone.spec.sensors)
    # An H200 idles for 4 % of the time between the 430 operations of a ViT-H/14.
    replayed = Replayer(kept=1)

    def encode(*sensors: Tensor) -> tuple[Tensor, Tensor]:
        tokens = backbone(dict(zip(names, sensors, strict=True))).tokens.to(dtype)
        return tokens, torch.isfinite(tokens).flatten(1).all(dim=1)

    for batch in batches:
        if context is not None:
            context.raise_if_stopping()
        sensors = [batch[name].to(device, non_blocking=True) for name in names]
        tokens, is_finite = replayed(encode, sensors)
        (here, is_finite), ready = fetched([tokens, is_finite])
        under_way.append(_Fetched(here, is_finite, batch["index"], ready))
        if len(under_way) == _AHEAD:
            yield under_way.popleft().numbers()
    for last in under_way:
        yield last.numbers()


class ShardsWriter:
    """Cuts a stream of tokens into the shards that it is for, and writes them meanwhile."""

    def __init__(self, store: StoreFolder, shards: Iterable[int]) -> None:
        self._store = store
        self._left = deque(shards)
        self._rows: Numbers | None = None
        self._filled = 0
        self._pool = ThreadPoolExecutor(max_workers=_WRITES, thread_name_prefix="features")
        self._writes: deque[Future[None]] = deque()
        self.waited_s = 0.0
        """How long the disk was waited for [s]."""

    def __enter__(self) -> ShardsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._settle(0)
        finally:
            self._pool.shutdown(wait=True)

    def take(self, tokens: Numbers) -> None:
        """Add rows (B, N, C) behind those that came before.

        Raises:
            StoreError: the disk refuses.
        """
        while len(tokens):
            rows = self._buffer()
            count = min(len(tokens), len(rows) - self._filled)
            rows[self._filled : self._filled + count] = tokens[:count]
            self._filled += count
            tokens = tokens[count:]
            if self._filled == len(rows):
                self._write(rows)

    def _buffer(self) -> Numbers:
        if self._rows is None:
            layout = self._store.layout
            shape = (len(layout.rows_of(self._left[0])), *layout.row_shape)
            self._rows = np.empty(shape, layout.numpy_dtype)
        return self._rows

    def _write(self, rows: Numbers) -> None:
        self._settle(_WRITES - 1)
        shard = self._left.popleft()
        self._writes.append(self._pool.submit(self._store.write, shard, rows))
        self._rows, self._filled = None, 0

    def _settle(self, most: int) -> None:
        began = time.monotonic()
        while len(self._writes) > most:
            try:
                self._writes.popleft().result()
            except OSError as error:
                raise StoreError(
                    f"cannot write features into `{self._store.folder}`: {error.strerror or error}",
                    hint="free space there, or store less: features.pool_hw, features.dtype",
                ) from error
        self.waited_s += time.monotonic() - began
