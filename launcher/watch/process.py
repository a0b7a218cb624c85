"""What the main thread of this process is doing, seen from outside of it."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from types import FrameType

from launcher.beats import REACHED

CONNECT_WITHIN_S = 5.0
RESOLVE_PAUSES_S = (0.0, 1.0, 2.0)


def place() -> str:
    """Function that the main thread is in, e.g. `all_reduce (distributed_c10d.py:2806)`."""
    frame = _main_frame()
    if frame is None:
        return ""
    code = frame.f_code
    return f"{code.co_name} ({os.path.basename(code.co_filename)}:{frame.f_lineno})"  # noqa: PTH119


def position() -> int:
    """Stands for where the main thread is, calls included; the same number is the same place."""
    frame, steps = _main_frame(), []
    while frame is not None:
        steps.append((id(frame.f_code), frame.f_lasti))
        frame = frame.f_back
    return hash(tuple(steps))


def has_joined() -> bool:
    """Whether torch.distributed is initialised; this process may not have imported it."""
    distributed = sys.modules.get("torch.distributed")
    is_initialized = getattr(distributed, "is_initialized", None)  # absent while it is imported
    return is_initialized is not None and bool(is_initialized())


def is_joining() -> bool:
    """Whether the main thread is inside of torch's `init_process_group`."""
    if "torch.distributed" not in sys.modules:
        return False
    frame = _main_frame()
    while frame is not None:
        if frame.f_code.co_name == "init_process_group":
            return True
        frame = frame.f_back
    return False


def _main_frame() -> FrameType | None:
    return sys._current_frames().get(threading.main_thread().ident or 0)


def resolve(host: str) -> str | None:
    """Why a host name means nothing on this node, or None if it means something."""
    reason = None
    for pause_s in RESOLVE_PAUSES_S:  # a name server may be busy when a large job starts
        time.sleep(pause_s)
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return None
    return reason


def connect(host: str, port: int) -> str:
    """What comes of a TCP connection to rank 0, as the end of a sentence about it."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_WITHIN_S).close()
    except ConnectionRefusedError:
        return "refuses connections"
    except TimeoutError:
        return "does not answer"
    except OSError as error:
        return f"cannot be reached ({error.strerror or error})"
    return REACHED
