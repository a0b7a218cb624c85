"""Bytes and samples of batches, loaders, weights and optimizers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import BatchSampler

from launcher.records import LoaderUse

GB = 2**30


def tensors(batch: Any) -> Iterator[Tensor]:
    """All tensors in a batch, however it nests them."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from tensors(value)
    elif isinstance(batch, (list, tuple)):
        for value in batch:
            yield from tensors(value)
    elif dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        for field in dataclasses.fields(batch):
            yield from tensors(getattr(batch, field.name))


def bytes_of(found: Iterable[Tensor]) -> int:
    """What tensors take on this rank; sparse ones are left out."""
    local = (getattr(tensor, "to_local", lambda tensor=tensor: tensor)() for tensor in found)
    return sum(int(tensor.nbytes) for tensor in local if tensor.layout == torch.strided)


def gb_of(found: Iterable[Tensor]) -> float:
    """The same in GB of 2**30 bytes."""
    return round(bytes_of(found) / GB, 6)


def first_dimension(batch: Any) -> int | None:
    """Samples in a batch: the first dimension of its first tensor that has any."""
    return next((int(found.shape[0]) for found in tensors(batch) if found.dim()), None)


def batch_size_of(loader: Any) -> int | None:
    """Samples of a batch as a loader, or its batch sampler, is told; None where neither is."""
    batches = getattr(loader, "batch_sampler", None)
    # What a sampler of somebody's own calls its batch may be that of all ranks.
    told = batches if isinstance(batches, BatchSampler) else loader
    size = getattr(told, "batch_size", None)
    return size if isinstance(size, int) else None


def loader_use(loader: Any, stage: Literal["train", "validate"], world_size: int = 1) -> LoaderUse:
    """What is known of a dataloader before it is used."""
    workers = getattr(loader, "num_workers", None)
    prefetch = getattr(loader, "prefetch_factor", None)
    return LoaderUse(
        stage=stage,
        workers=workers if isinstance(workers, int) else 0,
        is_persistent=bool(getattr(loader, "persistent_workers", False)),
        prefetch=prefetch if isinstance(prefetch, int) else None,
        batch_size=batch_size_of(loader),
        samples=_samples(loader, stage, world_size),
    )


def _samples(loader: Any, stage: str, world_size: int) -> int | None:
    """Of the data set over all ranks; None of a stream, which has no length."""
    try:
        if stage == "validate" and isinstance(loader.batch_sampler, BatchSampler):
            # Its data set may be this rank's share already.
            return len(loader.sampler) * world_size
        return len(loader.dataset)
    except (AttributeError, TypeError):
        return None


def weights_gb(module: torch.nn.Module) -> float:
    """Parameters and buffers of a module, as this rank holds them [GB]."""
    return gb_of([*module.parameters(), *module.buffers()])


def gradients_gb(module: torch.nn.Module) -> float:
    """Gradients as they are now [GB]."""
    return gb_of(p.grad for p in module.parameters() if p.grad is not None)


def optimizer_gb(optimizers: Iterable[torch.optim.Optimizer]) -> float:
    """What optimizers remember of each parameter [GB]."""
    return gb_of(t for o in optimizers for state in o.state.values() for t in tensors(state))
