"""What the run says about itself, line by line, so that nothing is lost when it is killed."""

import hashlib
import json
import os
import time
from pathlib import Path

import torch


def rank():
    return int(os.environ.get("LAUNCHER_RANK") or os.environ.get("SLURM_PROCID", "0"))


def life():
    """Which life of which job this is."""
    job = os.environ.get("SLURM_JOB_ID", "local")
    return f"{job}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"


def append(path, **fields):
    line = json.dumps({"life": life(), "time": time.time(), **fields}) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def say_hello(run_dir):
    host = os.environ.get("SLURMD_NODENAME", "")
    append(Path(run_dir, "ranks.jsonl"), rank=rank(), pid=os.getpid(), host=host)


def say_card(run_dir, device):
    """Which GPU this rank trains on, by the name that it has for all processes."""
    host = os.environ.get("SLURMD_NODENAME", "")
    uuid = torch.cuda.get_device_properties(device).uuid if device.type == "cuda" else ""
    append(Path(run_dir, "cards.jsonl"), rank=rank(), host=host, card=str(uuid))


def say_step(run_dir, step):
    append(Path(run_dir, "steps.jsonl"), step=step)


def say_result(run_dir, step, **states):
    digests = {name: digest(state) for name, state in states.items()}
    content = {"life": life(), "step": step, "sha256": digest(digests), "parts": digests}
    draft = Path(run_dir, "result.json.new")
    draft.write_text(json.dumps(content, indent=2))
    draft.replace(Path(run_dir, "result.json"))


def digest(value):
    """Sha256 of nested plain values and tensors, down to the last bit."""
    hashed = hashlib.sha256()
    _feed(hashed, value)
    return hashed.hexdigest()


def _feed(hashed, value):
    if isinstance(value, torch.Tensor):
        hashed.update(f"{value.dtype}{tuple(value.shape)}".encode())
        hashed.update(value.detach().cpu().contiguous().numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            hashed.update(str(key).encode())
            _feed(hashed, value[key])
    elif isinstance(value, (list, tuple)):
        hashed.update(f"{len(value)}".encode())
        for item in value:
            _feed(hashed, item)
    else:
        hashed.update(repr(value).encode())
