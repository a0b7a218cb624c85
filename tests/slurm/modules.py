"""Environment modules for the tests: Lmod as a package, Tcl modules unpacked beside it.

Debian's packages exclude each other, so only one of them can be installed.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from .errors import LabError

LMOD = Path("/usr/share/lmod/lmod/init/bash")
_TCL_ROOT = Path("/opt/launcher-lab/environment-modules")
TCL = _TCL_ROOT / "usr/share/modules/init/bash"

INIT_FILES = {"lmod": LMOD, "environment-modules": TCL}
"""By package, the shell file that defines `module`."""
_OWN_FOLDERS = ("/usr/lib", "/usr/share/modules", "/etc/environment-modules")


def missing() -> list[str]:
    """Packages whose modules are not there."""
    return [name for name, path in INIT_FILES.items() if not path.is_file()]


def unpack_tcl_modules() -> None:
    """Download the package and unpack it where nothing else is, with its paths changed.

    Raises:
        LabError: apt-get or dpkg-deb failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        _run(["apt-get", "download", "environment-modules"], folder)
        (package,) = Path(folder).glob("*.deb")
        shutil.rmtree(_TCL_ROOT, ignore_errors=True)
        _TCL_ROOT.mkdir(parents=True)
        _run(["dpkg-deb", "-x", str(package), str(_TCL_ROOT)], folder)
    for path in (TCL, *_TCL_ROOT.glob("usr/lib/*/modulecmd.tcl")):
        text = path.read_text()
        for own in _OWN_FOLDERS:
            text = text.replace(own, f"{_TCL_ROOT}{own}")
        path.write_text(text)


def _run(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr[-400:]}")
