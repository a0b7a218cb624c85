"""Replays the passes of a training, forward and back, as CUDA graphs, part by part.

A step of TransFuser is some 3,000 small operations: a host needs longer to launch them than a fast
GPU to do them, and a rank whose host is slower holds all others up. A part whose operations are
always the same is launched as one. That there are several parts lets DDP exchange the gradients of
one while those of the parts before it are still computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from experiments.replay import Recordings, recorded

Runner = Callable[..., tuple[Tensor, ...]]
"""Calls its first argument, a module, with the others."""

_KEPT = 2
"""Recordings of a part, each for other shapes."""


def plainly(part: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Call a part as it is."""
    outputs: tuple[Tensor, ...] = part(*inputs)
    return outputs


class Passes:
    """Runs parts of a model; in trainings on GPUs as recordings, from the second time on.

    A part waits for nothing and copies nothing from the host. What it returns is good until it runs
    again. The numbers are those of the part itself, to the bit.
    """

    def __init__(self) -> None:
        self._parts: dict[nn.Module, _Part] = {}

    def __call__(self, part: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the part makes of the inputs."""
        if not (inputs[0].is_cuda and torch.is_grad_enabled()):
            return plainly(part, *inputs)
        if part not in self._parts:
            self._parts[part] = _Part(part)
        return self._parts[part](inputs)


class _Part:
    """One part and its recordings."""

    def __init__(self, part: nn.Module) -> None:
        self._part = part
        # Looked up once: walking through hundreds of modules takes longer than a step may.
        self._modules = list(part.modules())
        self._parameters = dict(part.named_parameters())
        self._tensors = [*self._parameters.values(), *part.buffers()]
        self._recordings: Recordings[_Recording] = Recordings(_KEPT)

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        learning = {name: p for name, p in self._parameters.items() if p.requires_grad}
        if not learning:
            return plainly(self._part, *inputs)
        known = self._recordings.of(
            self._key(inputs), lambda: _Recording(self._part, learning, inputs)
        )
        if known is None:
            return plainly(self._part, *inputs)
        outputs: tuple[Tensor, ...] = _Replayed.apply(known, *inputs, *known.learning)
        return outputs

    def _key(self, inputs: Sequence[Tensor]) -> tuple[object, ...]:
        """All that a recording is for: it reads the very memory that it was made with."""
        return (
            *((x.shape, x.stride(), x.dtype, x.device, x.requires_grad) for x in inputs),
            torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
            *(module.training for module in self._modules),
            *((tensor.data_ptr(), tensor.requires_grad) for tensor in self._tensors),
        )


class _Recording:
    """The passes of a part, with memory for what goes in and comes out."""

    def __init__(
        self, part: nn.Module, learning: dict[str, nn.Parameter], inputs: Sequence[Tensor]
    ) -> None:
        self._inputs = [x.detach().clone().requires_grad_(x.requires_grad) for x in inputs]
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # Other leaves of the same memory: those of the model belong to the stream of the training.
        leaves = {name: p.detach().requires_grad_() for name, p in learning.items()}
        with recorded(self._forward), _uncached_autocast():
            made: tuple[Tensor, ...] = functional_call(part, leaves, tuple(self._inputs))
        sought = [*(x for x in self._inputs if x.requires_grad), *leaves.values()]
        passed = [value for value in made if value.requires_grad]
        self._given = [torch.empty_like(value) for value in passed]
        outside = torch.autocast("cuda", enabled=False)  # where trainings go back
        # Left where the last ones lie: in DDP's buckets, so that none is copied there.
        spaces = {
            p: torch.empty_like(p) if p.grad is None else p.grad.detach() for p in learning.values()
        }
        with recorded(self._backward, self._forward.pool()), outside:
            found = iter(torch.autograd.grad(passed, sought, self._given, allow_unused=True))
            self._of_inputs = [next(found) if x.requires_grad else None for x in self._inputs]
            used = {p: of for p, of in zip(learning.values(), found, strict=True) if of is not None}
            # Gradients outlive the pass, whose memory the next pass forward takes.
            self._of_learning = [spaces[parameter] for parameter in used]
            torch._foreach_copy_(self._of_learning, list(used.values()))
        self.learning = list(used)
        """Parameters that it has gradients of; others may be ready before it goes back."""
        self._outputs = [value.detach() for value in made]
        self._passes_on = [value.requires_grad for value in made]
        self.run = 0
        """How often it went forward."""

    def forward(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Replay; all outputs, and those that nothing can be learnt through."""
        self.run += 1
        for mine, value in zip(self._inputs, inputs, strict=True):
            mine.copy_(value)
        self._forward.replay()
        outputs = [value.detach() for value in self._outputs]
        pairs = zip(outputs, self._passes_on, strict=True)
        return outputs, [value for value, passes_on in pairs if not passes_on]

    def backward(self, run: int, given: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """Replay; gradients of the inputs and of what learns.

        Raises:
            RuntimeError: it went forward again since: what lies between is of that run.
        """
        if run != self.run:
            raise RuntimeError("a recorded part went forward twice before it went back")
        wanted = (value for value, on in zip(given, self._passes_on, strict=True) if on)
        for mine, value in zip(self._given, wanted, strict=True):
            mine.zero_() if value is None else mine.copy_(value)
        # A gradient that is being accumulated may still lie where the next one will.
        for parameter, of_it in zip(self.learning, self._of_learning, strict=True):
            held = parameter.grad
            if held is not None and held.data_ptr() == of_it.data_ptr():
                parameter.grad = held.clone()
        self._backward.replay()
        found = [*self._of_inputs, *self._of_learning]
        return tuple(None if value is None else value.detach() for value in found)


class _Replayed(torch.autograd.Function):
    """A recording as one operation."""

    @staticmethod
    def forward(ctx: Any, recording: _Recording, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(tensors) - len(recording.learning)
        outputs, constant = recording.forward(tensors[:count])
        ctx.recording, ctx.run = recording, recording.run
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*constant)
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *ctx.recording.backward(ctx.run, given)


def _uncached_autocast() -> torch.autocast:
    """Autocast as it is, but casts of weights are recorded rather than remembered."""
    return torch.autocast(
        "cuda",
        dtype=torch.get_autocast_dtype("cuda"),
        enabled=torch.is_autocast_enabled("cuda"),
        cache_enabled=False,
    )
