"""What the scores of some runs show, and what they do not; imports no torch."""

from experiments.statistics.aligning import AlignedScores, align
from experiments.statistics.comparing import (
    Comparison,
    as_family,
    compare,
    compare_family,
    compare_groups,
    holm,
)
from experiments.statistics.efficiency import Efficiency, FractionNeeded, label_efficiency
from experiments.statistics.extremes import TokenDifference, extremes
from experiments.statistics.improvement import Improvement, probability_of_improvement
from experiments.statistics.latex import latex_table
from experiments.statistics.measures import MEASURES, Measure, measure
from experiments.statistics.resampling import Bootstrap, Interval
from experiments.statistics.sentences import sentence
from experiments.statistics.storage import load, save
from experiments.statistics.summaries import Summary, summarise
from experiments.statistics.table import CONSTANT_VELOCITY, Cell, Run, TokenScores

__all__ = [
    "CONSTANT_VELOCITY",
    "MEASURES",
    "AlignedScores",
    "Bootstrap",
    "Cell",
    "Comparison",
    "Efficiency",
    "FractionNeeded",
    "Improvement",
    "Interval",
    "Measure",
    "Run",
    "Summary",
    "TokenDifference",
    "TokenScores",
    "align",
    "as_family",
    "compare",
    "compare_family",
    "compare_groups",
    "extremes",
    "holm",
    "label_efficiency",
    "latex_table",
    "load",
    "measure",
    "probability_of_improvement",
    "save",
    "sentence",
    "summarise",
]
