"""Runs many cases: one lab for all with the same options, several cases at once where they fit."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tests.slurm import CommandFailedError, Lab, LabError, LabOptions, temporary_lab

from .faults import FAULTS, Fault
from .launchers import Launcher
from .run import Result, not_run, reference, run_case

PARALLEL = 2
"""Cases at once: each rank takes most of a core while it starts."""

Say = Callable[[str], None]
Key = tuple[str, int, tuple[str, ...]]
"""An undisturbed run: kind of launcher, ranks, what it trains."""
Undisturbed = str | LabError | CommandFailedError
"""Hash of its final state, or why it has none."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A cell of the matrix."""

    fault: Fault
    ranks: int
    launcher: Launcher

    def __str__(self) -> str:
        return f"{self.fault.name} x {self.ranks} ({self.launcher.name})"


def cases(
    launchers: Iterable[Launcher],
    *,
    names: Sequence[str] = (),
    ranks: Sequence[int] = (1, 4),
    third: bool = False,
) -> list[Case]:
    """The cells that are asked for."""
    return [
        Case(fault=fault, ranks=count, launcher=launcher)
        for fault in FAULTS
        for count in ranks
        if count not in fault.cannot_happen
        for launcher in launchers
        if (not names or fault.name in names) and (not third or count in fault.in_third)
    ]


def impossible(
    *, names: Sequence[str] = (), ranks: Sequence[int] = (1, 4)
) -> list[tuple[Fault, int, str]]:
    """The cells that are asked for and cannot be, each with the reason."""
    return [
        (fault, count, fault.cannot_happen[count])
        for fault in FAULTS
        for count in ranks
        if count in fault.cannot_happen and (not names or fault.name in names)
    ]


class Floor:
    """The nodes of a lab, some of them taken by cases."""

    def __init__(self, lab: Lab) -> None:
        self._free = list(lab.options.node_names)
        self._total = len(self._free)
        self._changed = threading.Condition()

    @contextmanager
    def nodes(self, count: int) -> Iterator[list[str]]:
        """Take so many nodes, or all for a case that must be alone, and give them back."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._free) >= count)
            taken, self._free = self._free[:count], self._free[count:]
        try:
            yield taken
        finally:
            with self._changed:
                self._free = sorted(self._free + taken)
                self._changed.notify_all()


class Bench:
    """One lab, and the undisturbed runs that the cases on it are compared with."""

    def __init__(self, lab: Lab, known: dict[Key, Undisturbed]) -> None:
        self.lab = lab
        self.floor = Floor(lab)
        self._known = known

    def prepare(self, wanted: Sequence[Case], pool: ThreadPoolExecutor) -> None:
        """Run the undisturbed runs that are not known yet."""
        keys = {_key(case): case for case in wanted if case.fault.end == "completes"}
        missing = {key: case for key, case in keys.items() if key not in self._known}
        runs = {
            key: pool.submit(reference, self.lab, case.launcher, case.ranks, case.fault.science)
            for key, case in missing.items()
        }
        for key, run in runs.items():
            try:
                self._known[key] = run.result()
            except (LabError, CommandFailedError) as error:
                self._known[key] = error

    def run(self, case: Case) -> Result:
        """Run one case on nodes of its own; not if there is nothing to compare it with."""
        sha = self._known.get(_key(case))
        if isinstance(sha, Exception):
            return not_run(case.launcher, case.fault, case.ranks, f"undisturbed: {sha}")
        count = 2 if case.ranks > 1 else 1
        total = len(self.lab.options.node_names)
        with self.floor.nodes(total if case.fault.is_alone else count) as nodes:
            return run_case(self.lab, case.launcher, case.fault, case.ranks, nodes[:count], sha)


def run_matrix(wanted: Sequence[Case], say: Say, parallel: int = PARALLEL) -> list[Result]:
    """Run all cases, in the order of their labs; each result is said as it comes."""
    known: dict[Key, Undisturbed] = {}
    results: dict[Case, Result] = {}
    for options in _labs(wanted):
        group = [case for case in wanted if case.fault.lab == options]
        with (
            temporary_lab(_with_job_ids_of_its_own(options)) as lab,
            ThreadPoolExecutor(parallel) as pool,
        ):
            bench = Bench(lab, known)
            bench.prepare(group, pool)

            def run(case: Case, bench: Bench = bench) -> None:
                say(f"{case} begins")
                results[case] = bench.run(case)
                say(f"{case} {results[case].summary()}")

            list(pool.map(run, [case for case in group if not case.fault.is_alone]))
            for case in group:
                if case.fault.is_alone:
                    run(case)
    return [results[case] for case in wanted]


def _with_job_ids_of_its_own(options: LabOptions) -> LabOptions:
    # Ports of a training follow from its job id, and all labs of a machine share its ports.
    first = f"FirstJobId={random.randrange(1000, 1_000_000)}"
    return replace(options, extra_conf=(*options.extra_conf, first))


def _labs(wanted: Iterable[Case]) -> list[LabOptions]:
    return list(dict.fromkeys(case.fault.lab for case in wanted))


def _key(case: Case) -> Key:
    # `stock` and `stock+last` train the same.
    kind = "ours" if case.launcher.is_ours else "stock"
    return kind, case.ranks, case.fault.science
