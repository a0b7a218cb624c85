"""What an exception of the task says about why the attempt ended."""

from __future__ import annotations

import errno
import re
import traceback

from launcher.memory import oom_kills
from launcher.records import Outcome

_PEER_LOST = re.compile(
    r"Connection (closed|reset) by peer|Connection refused|Broken pipe"
    r"|ncclRemoteError|NCCL .*(remote process|unhandled system error|timeout)"
    r"|Socket Timeout|Timed out waiting .*ms for (recv|send)"
    r"|Application timeout caused pair closure"
)
_GPU_OOM = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|HIP out of memory"
    r"|CU(BLAS|DNN)_STATUS_ALLOC_FAILED"
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED_WORKER = re.compile(r"DataLoader worker .*(killed by signal: Killed|exited unexpectedly)")


def outcome_of(error: BaseException, world_size: int = 1) -> Outcome:
    """The outcome that an exception stands for; `task_error` where the task itself is to blame."""
    for cause in _chain(error):
        name = type(cause).__name__
        if name == "OutOfMemoryError":  # torch's; this process may not have imported it
            return "gpu_oom"
        if _GPU_OOM.search(str(cause)):
            return "gpu_oom"
        if isinstance(cause, MemoryError):
            return "host_oom"
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return "disk_full"
        if "No space left on device" in str(cause) or "Disk quota exceeded" in str(cause):
            return "disk_full"
        if _CLOSED_WORKER.search(str(cause)) and oom_kills():
            return "host_oom"
        if world_size > 1 and _is_lost_peer(cause):
            return "crash"
    return "task_error"


def _is_lost_peer(error: BaseException) -> bool:
    """Whether it says that another rank is gone; why, that rank's own end says."""
    is_ours = type(error).__name__ in ("DistBackendError", "DistNetworkError", "DistStoreError")
    return is_ours or (isinstance(error, RuntimeError) and bool(_PEER_LOST.search(str(error))))


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        if cause in chain:
            break
        chain.append(cause)
    return chain


def one_line(error: BaseException) -> str:
    """An exception in one line; the whole of it stands in the traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    message = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"
    return f"{type(error).__name__}: {message}"


def task_traceback(error: BaseException) -> str:
    """The traceback without our own frames and Hydra's: it starts in the task."""
    trace = error.__traceback__
    step = trace
    while step is not None:
        if step.tb_frame.f_code.co_name == "run_job" and step.tb_next is not None:
            trace = step.tb_next
        step = step.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))
