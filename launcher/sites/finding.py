"""Finds out what a site is, and keeps it as a file."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import files
from launcher.errors import ConfigError, SubmissionError
from launcher.sites import dialect, folders, node_try, profile, writing
from launcher.sites.access import Way
from launcher.sites.asking import Asker
from launcher.sites.facts import Site
from launcher.sites.profile import Key, Profile

GROUP = Path("conf/cluster")
"""Where this project's profiles lie."""
ELSEWHERE = "hydra.launcher.cluster"
"""Where a profile belongs in a program that has no group `cluster` of its own."""
_SEEN_FROM_NODE = ("nodes_have_internet",)
_VARIABLES = ("SLURM_CONF", "SLURM_CLUSTERS")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The file that a profile goes to."""

    path: Path
    package: str | None
    before: str | None
    """Its text, None where there is none."""

    @classmethod
    def of(cls, to: Path | None, package: str | None) -> Target:
        """Where `--to` and `--package` lead; without them this project's own place, or here.

        Raises:
            ConfigError: the file that is there cannot be read.
        """
        is_ours = GROUP.is_dir()
        path = to or (GROUP / "site.yaml" if is_ours else Path("site.yaml"))
        try:
            before = path.read_text() if path.exists() else None
        except OSError as error:
            raise ConfigError(f"cannot read `{path}`: {error.strerror}") from error
        if package is None:
            package = writing.package_of(before or "") or (None if is_ours else ELSEWHERE)
        return cls(path=path, package=package, before=before)

    def misplaced(self) -> str | None:
        """Where it has to lie to be a choice of the group `cluster`; None if it lies there."""
        folder = self.path.absolute().parent
        if self.package is None:
            is_found = folder.resolve() == GROUP.resolve()
            return None if is_found else f"`{GROUP}`, as {GROUP}/{self.path.name}"
        if folder.name == "cluster":
            return None
        return f"a folder `cluster` of your configs, as cluster/{self.path.name}"

    @property
    def account(self) -> str | None:
        """The account that the file has chosen for its partitions."""
        text = self.before
        if text is None or writing.PLACEHOLDER in text:
            return None
        values = writing.values_of(text)
        chosen = [v for key, v in values.items() if key[0] == "partitions" and key[-1] == "account"]
        return Counter(chosen).most_common(1)[0][0] if chosen else values.get(("account",))

    def carry_over(self, found: Profile) -> None:
        """Keep what an earlier look saw from a node, where this one does not look from there."""
        seen = writing.values_of(self.before or "").get(_SEEN_FROM_NODE)
        found.add(_SEEN_FROM_NODE, seen, "seen from a node earlier")

    def save(self, found: Profile, *, force: bool, answers: Mapping[Key, Any]) -> writing.Written:
        """Write the file; what was changed by hand stays unless `force`.

        Raises:
            StoreError: the disk refuses.
        """
        before = None if force else self.before
        written = writing.write(found, before, package=self.package, answers=answers)
        files.write_bytes(self.path, written.text.encode())
        return written


def find(asker: Asker, *, name: str | None = None, account: str | None = None) -> Profile:
    """Ask the site; takes some seconds, most of them for `sbatch --test-only`.

    Raises:
        SubmissionError: there is no SLURM here, or it does not answer.
        ConfigError: the account is none of the user's.
    """
    site = asker.site()
    _check_account(site, account)
    ways, words = dialect.find(site, asker.test)
    found = profile.build(site, ways, words, folders.find(), asker.test, name=name, account=account)
    for variable in _VARIABLES:
        value = os.environ.get(variable)
        found.add(("environment", variable), value, "from your environment")
    return found


def accounts_in(found: Profile) -> list[str]:
    """Accounts that are let in somewhere."""
    lists = [what.value for key, what in found.values.items() if key[-1] == "accounts"]
    return list(dict.fromkeys(account for names in lists for account in names))


def partitions_in(found: Profile) -> list[str]:
    """Partitions of a profile."""
    return list(dict.fromkeys(key[1] for key in found.values if key[0] == "partitions"))


def look_at_node(asker: Asker, found: Profile, folder: Path) -> node_try.Tried:
    """Have a short job look from a node, and add to the profile what it saw.

    Raises:
        SubmissionError: the job was refused, or did not end in time.
    """
    way = _way_of(found)
    gpu = _one_gpu(found)
    options = [*way.options, *([gpu] if asker.test(*way.options, gpu) is None else [])]
    names = [node.name for node in asker.site().nodes_of(way.partition)][:8]
    with files.storing(folder), tempfile.TemporaryDirectory(dir=folder, prefix=".node-") as here:
        tried = node_try.run(asker.client, Path(here), options, names)
    where = f"seen from {tried.node}" if tried.node else "the job left no report"
    found.add(_SEEN_FROM_NODE, tried.has_internet, f"{node_try.TRACKER}, {where}")
    found.remarks += _told(tried, folder.absolute())
    return tried


def _told(tried: node_try.Tried, folder: Path) -> list[str]:
    if not tried.is_shared:
        return [f"nodes do not share {folder}: choose outputs elsewhere (paths.output_dir)"]
    said = [f"nodes share {folder}: a file of {tried.node} was seen here"]
    if tried.unresolved:
        said.append(f"{tried.node} does not know the address of {', '.join(tried.unresolved)}")
    return said


def _one_gpu(found: Profile) -> str:
    """The option that asks for one GPU, in the words of the site."""
    words = found.tree().get("dialect", {}).get("gpus")
    return dialect.Dialect(gpus=words).gpu_option(_there(found).get("gpu_type") or "")


def _way_of(found: Profile) -> Way:
    partition = found.tree().get("partition")
    if partition is None:
        raise SubmissionError("no partition lets you in, so that no job can look at a node")
    there = _there(found)
    return Way(partition=partition, account=there.get("account"), qos=there.get("qos"))


def _there(found: Profile) -> Mapping[str, Any]:
    """What was found of the partition of jobs that name none."""
    tree = found.tree()
    there: Mapping[str, Any] = tree.get("partitions", {}).get(tree.get("partition"), {})
    return there


def _check_account(site: Site, account: str | None) -> None:
    if account is None or site.accounts is None:
        return
    own = site.accounts.names
    if own and account not in own:
        raise ConfigError(
            f"`{account}` is none of your accounts; yours are: {', '.join(own)}",
            hint=f"--account {own[0]}",
        )
