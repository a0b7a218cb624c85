"""What a report says of the scores of a study: means, differences, and how many labels it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments.data.errors import DataError
from experiments.reporting.scores import StudyScores
from experiments.statistics import (
    MEASURES,
    Bootstrap,
    Cell,
    Comparison,
    Efficiency,
    Summary,
    as_family,
    compare_family,
    compare_groups,
    label_efficiency,
    measure,
    summarise,
)
from experiments.statistics.aligning import Grouping

GROUPINGS: tuple[Grouping, ...] = ("city", "command")


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The main metric in each city or at each command, at the largest common fraction.

    Attributes:
        sizes: Group -> its tokens and logs.
        means: Group -> arm -> mean, as stored.
        comparisons: Of arms with the reference, one family over arms and groups.
        untested: Groups that lie in one log, of which nothing can be tested.
    """

    by: Grouping
    fraction: float
    sizes: dict[str, tuple[int, int]]
    means: dict[str, dict[str, float]]
    comparisons: tuple[Comparison, ...]
    untested: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """All numbers of a report.

    Attributes:
        metric: What is compared.
        metrics: It and the others that the runs were scored by.
        reference: Arm that the others are compared with.
        summaries: Each metric of each cell, controls last.
        against: Arms with the reference at equal fractions, a family.
        looking: Arms with the ego status alone at equal fractions, a family; empty where that is
            the reference or is not there.
        parts: Arms with the reference in the other metrics at the largest common fraction, a
            family.
        groups: Of cities and of commands.
        curves: Label efficiency of each arm with several fractions, controls included.
        remarks: What is not said, and why.
    """

    metric: str
    metrics: tuple[str, ...]
    reference: str
    bootstrap: Bootstrap
    summaries: dict[tuple[Cell, str], Summary]
    against: tuple[Comparison, ...]
    looking: tuple[Comparison, ...]
    parts: tuple[Comparison, ...]
    groups: tuple[Groups, ...]
    curves: tuple[Efficiency, ...]
    remarks: tuple[str, ...]

    def cells(self) -> list[Cell]:
        """Rows of the main table."""
        return list(dict.fromkeys(cell for cell, _ in self.summaries))


def analyse(
    study: StudyScores,
    *,
    against: str | None = None,
    metric: str | None = None,
    bootstrap: Bootstrap | None = None,
) -> Analysis:
    """Work out what the scores of a study show.

    Args:
        study: The scores.
        against: Arm that the others are compared with; the first one, or the ego status alone
            where there is one arm.
        metric: What is compared; the main metric if left out.
        bootstrap: How to resample.

    Raises:
        ConfigError: there is no such arm, or nothing is known of the metric.
        DataError: the runs were not scored by the metric.
    """
    return _Work(study, against, metric, bootstrap or Bootstrap()).analysis()


class _Work:
    """The study, what is asked of it, and remarks that come up on the way."""

    def __init__(
        self, study: StudyScores, against: str | None, metric: str | None, bootstrap: Bootstrap
    ) -> None:
        self.study, self.scores, self.bootstrap = study, study.scores, bootstrap
        self.metric = metric or study.main_metric
        measure(self.metric)
        if self.metric not in self.scores.values:
            raise DataError(
                f"the runs were not scored by `{self.metric}`",
                hint=f"there are: {', '.join(self.scores.values)}",
            )
        others = [name for name in MEASURES if name in self.scores.values and name != self.metric]
        self.metrics = (self.metric, *others)
        is_alone = len(study.arms) == 1 and bool(study.controls)
        default = study.controls[0] if is_alone else study.arms[0]
        self.reference = default if against is None else study.arm(against)
        self.remarks: list[str] = []

    def analysis(self) -> Analysis:
        everyone = [*self.study.arms, *self.study.controls]
        cells = [cell for arm in everyone for cell in self.study.cells(arm)]
        return Analysis(
            metric=self.metric,
            metrics=self.metrics,
            reference=self.reference,
            bootstrap=self.bootstrap,
            summaries={
                (cell, metric): summarise(self.scores, cell, metric, self.bootstrap)
                for cell in cells
                for metric in self.metrics
            },
            against=self._family(self._pairs(self.reference), [self.metric]),
            looking=self._looking(),
            parts=self._family(self._pairs_at_most(), self.metrics[1:]),
            groups=tuple(found for by in GROUPINGS if (found := self._groups(by)) is not None),
            curves=tuple(self._curves(everyone)),
            remarks=tuple(dict.fromkeys(self.remarks)),
        )

    def _pairs(self, reference: str) -> list[tuple[Cell, Cell]]:
        """Each other arm with the reference at the same fraction."""
        fractions = self.scores.fractions(reference)
        pairs = []
        for arm in self.study.arms:
            for cell in self.study.cells(arm) if arm != reference else []:
                # What learns from no labels is the same at every fraction.
                fraction = fractions[0] if len(fractions) == 1 else cell.fraction
                is_there = cell.fraction in fractions or reference in self.study.controls
                if fraction in fractions and is_there:
                    pairs.append((cell, Cell(reference, fraction)))
                else:
                    self.remarks.append(
                        f"{arm} at {100 * cell.fraction:g} % of the labels is compared with"
                        f" nothing: {reference} has no runs there"
                    )
        return pairs

    def _pairs_at_most(self) -> list[tuple[Cell, Cell]]:
        """Of the pairs with the reference those at the largest fraction."""
        pairs = self._pairs(self.reference)
        most = max((a.fraction for a, _ in pairs), default=1.0)
        return [(a, b) for a, b in pairs if a.fraction == most]

    def _looking(self) -> tuple[Comparison, ...]:
        controls = [arm for arm in self.study.controls if self.scores.fractions(arm)]
        if len(controls) < 2 or controls[0] == self.reference or len(controls) > 2:
            return ()
        return self._family(self._pairs(controls[0]), [self.metric])

    def _family(
        self, pairs: Iterable[tuple[Cell, Cell]], metrics: Sequence[str]
    ) -> tuple[Comparison, ...]:
        listed = list(pairs)
        if not listed or not metrics:
            return ()
        try:
            return compare_family(self.scores, listed, metrics, bootstrap=self.bootstrap)
        except DataError as error:  # all scenes of one log: means stand, tests cannot
            self.remarks.append(f"nothing is tested: {error.message}")
            return ()

    def _groups(self, by: Grouping) -> Groups | None:
        pairs = self._pairs_at_most()
        groups = self.scores.groups(by)
        if not pairs or len(groups) < 2:
            return None
        compared: list[Comparison] = []
        untested: tuple[str, ...] = ()
        for a, b in pairs:
            try:
                found, untested = compare_groups(
                    self.scores, a, b, self.metric, by, bootstrap=self.bootstrap
                )
            except DataError as error:
                self.remarks.append(f"no test by {by}: {error.message}")
                return None
            compared += found
        cells = list(dict.fromkeys([pairs[0][1], *(a for a, _ in pairs)]))
        return Groups(
            by=by,
            fraction=pairs[0][0].fraction,
            sizes={name: (len(part.tokens), len(set(part.logs))) for name, part in groups.items()},
            means={
                name: {cell.arm: float(part.of(cell, self.metric).mean()) for cell in cells}
                for name, part in groups.items()
            },
            comparisons=as_family(compared),
            untested=untested,
        )

    def _curves(self, everyone: Sequence[str]) -> Iterable[Efficiency]:
        reference = self.study.cells(self.reference)[-1]
        for arm in everyone:
            if len(self.scores.fractions(arm)) < 2:
                continue
            try:
                yield label_efficiency(
                    self.scores, arm, self.metric, reference, bootstrap=self.bootstrap
                )
            except DataError as error:
                self.remarks.append(f"no curve of {arm}: {error.message}")
