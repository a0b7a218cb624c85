"""Fills the folder of a lab before its daemons start."""

import os
import secrets
import shutil
import socket
import stat
from pathlib import Path

from . import configuration
from .errors import LabError
from .layout import USER_ID, LabLayout
from .plan import LabPlan

_NULL_DEVICE = os.makedev(1, 3)
_KEY_BYTES = 128


def furnish(plan: LabPlan, cgroup_version: int) -> None:
    """Write all configuration, the key, the devices and the user's home."""
    layout = plan.layout
    layout.controller.mkdir()
    layout.devices.mkdir()
    for name in plan.options.node_names:
        (layout.spool / name).mkdir(parents=True, exist_ok=True)
    _write_configuration(plan, cgroup_version)
    if plan.options.real_gpus:
        require_gpus(plan)
        layout.task_prolog.write_text(configuration.render_task_prolog(plan))
        layout.task_prolog.chmod(0o755)
    else:
        _make_devices(layout, plan.options.gpus_per_node)
    _make_key(layout)
    _make_home(layout)


def _write_configuration(plan: LabPlan, cgroup_version: int) -> None:
    hostname = socket.gethostname().split(".")[0]
    texts = {
        "slurm.conf": configuration.render_slurm_conf(plan, hostname),
        "gres.conf": configuration.render_gres_conf(plan),
        "cgroup.conf": configuration.render_cgroup_conf(cgroup_version),
    }
    for name, text in texts.items():
        (plan.layout.etc / name).write_text(text)
    database = plan.layout.etc / "slurmdbd.conf"
    database.write_text(configuration.render_slurmdbd_conf(plan))
    # slurmdbd refuses a file that others can read.
    database.chmod(0o600)


def require_gpus(plan: LabPlan) -> None:
    """Refuse to hand out GPUs that the machine has not.

    Raises:
        LabError: names the first that is missing.
    """
    count = plan.options.nodes * plan.options.gpus_per_node
    devices = [Path(f"/dev/nvidia{number}") for number in range(count)]
    missing = next((path for path in devices if not path.exists()), None)
    if missing is not None:
        raise LabError(
            f"`{missing}` is not there, {count} GPUs are asked for",
            hint="lower --nodes or --gpus-per-node, or leave --real-gpus out: they are pretended",
        )


def _make_devices(layout: LabLayout, count: int) -> None:
    for index in range(count):
        path = layout.devices / f"gpu{index}"
        if not path.exists():
            os.mknod(path, stat.S_IFCHR | 0o666, _NULL_DEVICE)


def _make_key(layout: LabLayout) -> None:
    layout.munge.mkdir(mode=0o755, exist_ok=True)
    key = layout.munge / "key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(_KEY_BYTES))
    for path in (layout.munge, key):
        shutil.chown(path, "munge", "munge")


def _make_home(layout: LabLayout) -> None:
    layout.home.mkdir(parents=True, exist_ok=True)
    layout.scratch.mkdir(exist_ok=True)
    # The checkout belongs to somebody else, which git would refuse.
    (layout.home / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")
    for path in (layout.home, layout.home / ".gitconfig", layout.scratch):
        os.chown(path, USER_ID, USER_ID)
