"""Carries SLURM in one archive to a machine that can install no packages, such as a bare GPU host.

Programs and plugins are those of Debian, with the libraries that they need besides libc's, which
has to be at least as new there. Accounting is left behind: a lab there has none.
"""

import os
import pwd
import shutil
import subprocess
import tarfile
from pathlib import Path

from .errors import LabError

_PROGRAMS = (
    *("munged", "slurmctld", "slurmd", "slurmstepd", "sbatch", "srun", "squeue", "scontrol"),
    *("sinfo", "scancel", "sattach", "sbcast"),
)
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_PLUGINS = "*-linux-gnu*/slurm*"
_LIBC = ("libc.so", "libm.so", "libdl.so", "librt.so", "libpthread.so", "libresolv.so", "ld-linux")
_MUNGE = "munge:x:{id}:{id}::/nonexistent:/usr/sbin/nologin\n"
_MUNGE_ID = 20002


def pack(archive: Path) -> None:
    """Write the archive; SLURM is installed here.

    Raises:
        LabError: it is not.
    """
    programs = [_program(name) for name in _PROGRAMS]
    plugins = [path for path in Path("/usr/lib").glob(f"{_PLUGINS}/*.so") if path.is_file()]
    files = {*programs, *plugins}
    for path in list(files):
        files |= _libraries(path)
    with tarfile.open(archive, "w:xz") as content:
        for path in sorted(files):
            # The file itself under each of its names: where links lead differs between machines.
            content.add(path.resolve(), arcname=str(path).lstrip("/"))


def unpack(archive: Path) -> None:
    """Put its files in their places, but replace none, and add the user of munge.

    Raises:
        LabError: there is no such archive, or this is not root.
    """
    if os.geteuid() != 0:
        raise LabError("only root can put files into /usr", hint="use sudo")
    if not (archive.is_file() and tarfile.is_tarfile(archive)):
        raise LabError("no archive", where=f"`{archive}`", hint="python -m tests.slurm pack FILE")
    with tarfile.open(archive) as content:
        for member in content.getmembers():
            if not Path("/", member.name).exists():
                content.extract(member, "/", filter="tar")
    subprocess.run(["ldconfig"], check=True)
    try:
        pwd.getpwnam("munge")
    except KeyError:
        for path, line in (
            (Path("/etc/passwd"), _MUNGE.format(id=_MUNGE_ID)),
            (Path("/etc/group"), f"munge:x:{_MUNGE_ID}:\n"),
        ):
            path.write_text(path.read_text().rstrip("\n") + f"\n{line}")


def _program(name: str) -> Path:
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise LabError(f"`{name}` not found", hint="python -m tests.slurm install")
    return Path(found)


def _libraries(path: Path) -> set[Path]:
    lines = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    named = [line.split(" => ")[1].split(" (")[0] for line in lines.splitlines() if "=> /" in line]
    return {Path(name) for name in named if not Path(name).name.startswith(_LIBC)}
