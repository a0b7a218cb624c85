"""Words that sbatch and srun understand, and how they take their values. Pure.

From SLURM 22.05, with the few names that later versions added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from launcher.errors import nearest

_SHARED = """
account= bb= bbf= begin= chdir= cluster-constraint= clusters= comment= constraint= container=
container-id= contiguous core-spec= cores-per-socket= cpu-freq= cpus-per-gpu= cpus-per-task=
deadline= delay-boot= dependency= distribution= error= exclude= exclusive? export= extra=
extra-node-info= gid= gpu-bind= gpu-freq= gpus= gpus-per-node= gpus-per-socket= gpus-per-task=
gres= gres-flags= help hint= hold input= job-name= licenses= mail-type= mail-user= mcs-label= mem=
mem-bind= mem-per-cpu= mem-per-gpu= mincpus= network= nice? no-kill? nodefile= nodelist= nodes=
ntasks= ntasks-per-core= ntasks-per-gpu= ntasks-per-node= ntasks-per-socket= open-mode= output=
overcommit oversubscribe partition= power= prefer= priority= profile= propagate? qos= quiet reboot
reservation= segment= signal= sockets-per-node= spread-job switches= tasks-per-node=
thread-spec= threads-per-core= time= time-min= tmp= tres-bind= tres-per-task= uid= usage
use-min-nodes verbose version wckey=
"""
_SBATCH_ONLY = """
array= batch= export-file= get-user-env? ignore-pbs kill-on-invalid-dep= no-requeue ntasks-per-tres=
parsable requeue test-only wait wait-all-nodes= wrap=
"""
_SRUN_ONLY = """
accel-bind= acctg-freq= bcast? bcast-exclude= compress? cpu-bind= disable-status epilog= exact
het-group= immediate? jobid= kill-on-bad-exit? label mpi= msg-timeout= multi-prog
no-allocate overlap preserve-env prolog= pty? quit-on-interrupt relative= resv-ports? send-libs?
slurmd-debug= stepmgr task-epilog= task-prolog= test-only threads= treewidth= unbuffered wait=
whole
"""
_SHORT: Mapping[str, str] = {
    "A": "account",
    "B": "extra-node-info",
    "C": "constraint",
    "D": "chdir",
    "F": "nodefile",
    "G": "gpus",
    "H": "hold",
    "J": "job-name",
    "L": "licenses",
    "M": "clusters",
    "N": "nodes",
    "O": "overcommit",
    "Q": "quiet",
    "S": "core-spec",
    "V": "version",
    "b": "begin",
    "c": "cpus-per-task",
    "d": "dependency",
    "e": "error",
    "h": "help",
    "i": "input",
    "k": "no-kill",
    "m": "distribution",
    "n": "ntasks",
    "o": "output",
    "p": "partition",
    "q": "qos",
    "s": "oversubscribe",
    "t": "time",
    "v": "verbose",
    "w": "nodelist",
    "x": "exclude",
}
_SAME = {"tasks-per-node": "ntasks-per-node"}


def _takes(*blocks: str) -> dict[str, str]:
    """Name -> `=` (needs a value), `?` (may have one behind `=`), or nothing."""
    words = " ".join(blocks).split()
    return {word.rstrip("=?"): word[len(word.rstrip("=?")) :] for word in words}


@dataclass(frozen=True)
class Words:
    """The options of one command."""

    command: str
    takes: Mapping[str, str]
    short: Mapping[str, str]

    def resolve(self, name: str) -> str:
        """The full name of a long option, which may be cut off where that is unambiguous.

        Raises:
            ValueError: there is none, with the nearest one.
        """
        if name in self.takes:
            return name
        begin = [known for known in self.takes if known.startswith(name)]
        if len(begin) == 1:
            return begin[0]
        if begin:
            raise ValueError(f"`--{name}` could be any of --" + ", --".join(sorted(begin)))
        match = nearest(name.lower().replace("_", "-"), self.takes)
        meant = f"; did you mean `--{match}`?" if match else ""
        raise ValueError(f"{self.command} knows no option `--{name}`{meant}")


SBATCH = Words("sbatch", _takes(_SHARED, _SBATCH_ONLY), {**_SHORT, "a": "array", "W": "wait"})
SRUN = Words(
    "srun",
    _takes(_SHARED, _SRUN_ONLY),
    {
        **_SHORT,
        "E": "preserve-env",
        "I": "immediate",
        "K": "kill-on-bad-exit",
        "T": "threads",
        "W": "wait",
        "X": "disable-status",
        "Z": "no-allocate",
        "l": "label",
        "r": "relative",
        "u": "unbuffered",
    },
)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option as it is written: its full name, its value, or why it cannot be read."""

    name: str
    value: str = ""
    written: str = ""
    problem: str = ""


def read_options(words: Sequence[str], legal: Words) -> tuple[list[Option], list[str]]:
    """Options up to the first word that is none, and the words from there on."""
    rest = list(words)
    found: list[Option] = []
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        found.extend(_one(rest, legal))
    if rest and rest[0] == "--":
        rest.pop(0)
    return found, rest


def _one(rest: list[str], legal: Words) -> Iterator[Option]:
    """Take the first option off `rest`, with its value."""
    word = rest.pop(0)
    if not word.startswith("--"):
        yield from _short(word, rest, legal)
        return
    name, equals, value = word[2:].partition("=")
    try:
        name = legal.resolve(name)
    except ValueError as problem:
        yield Option(name=name, value=value, written=word, problem=str(problem))
        return
    if legal.takes[name] == "=" and not equals:
        if not rest or rest[0].startswith("--"):
            yield Option(name=name, written=word, problem=f"`--{name}` has no value")
            return
        value = rest.pop(0)
        word = f"{word} {value}"
    yield Option(name=_SAME.get(name, name), value=value, written=word)


def _short(word: str, rest: list[str], legal: Words) -> Iterator[Option]:
    """`-N2`, `-N 2`, and flags written together such as `-lu`."""
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        name = legal.short.get(letter)
        if name is None:
            problem = f"{legal.command} knows no option `-{letter}`"
            yield Option(name=letter, written=word, problem=problem)
            return
        value = ""
        if legal.takes[name] == "=" or (legal.takes[name] == "?" and letters):
            value, letters = letters, ""
            if not value and rest:
                value = rest.pop(0)
                word = f"{word} {value}"
        problem = ""
        if value.startswith("="):
            problem = f"`{word}` gives the value `{value}`: short options take no `=`"
        yield Option(name=name, value=value, written=word, problem=problem)
