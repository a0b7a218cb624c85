"""Where a run goes that leaves its partition to us (`cluster.partition=auto`)."""

from __future__ import annotations

from omegaconf import DictConfig

from launcher import ui
from launcher.compose import Choice
from launcher.errors import ConfigError, LauncherError, SubmissionError
from launcher.planning.comparing import Comparer, Comparison
from launcher.planning.options import Option, span
from launcher.planning.questions import Question, question_of
from launcher.ui import options as ui_options


class Chooser:
    """Decides once for runs of equal need; within a command they go to the same place."""

    def __init__(self) -> None:
        self._known: dict[str, Choice] = {}
        self._comparer = Comparer()
        self._said: set[str] = set()

    def __call__(self, config: DictConfig) -> Choice:
        """Decide by a composed config.

        Raises:
            ConfigError: it fits nowhere.
            SubmissionError: there is no SLURM on this machine, or it says nothing.
        """
        question = question_of(config)
        if question.key not in self._known:
            settings = question.settings
            # A plan compares all the same, and says why.
            comparison = self._comparer.compare(question, [settings.name], compares=False)
            option = comparison.chosen
            if option is None:
                raise _nowhere(comparison, question)
            if settings.action != "plan":
                self._say(_why(option, comparison))
            self._known[question.key] = _choice(option)
        return self._known[question.key]

    def _say(self, line: str) -> None:
        """Once, where many runs of a sweep go to one place for one reason."""
        if line not in self._said:
            ui.say(line)
        self._said.add(line)


def _choice(option: Option) -> Choice:
    assert option.shape is not None
    return Choice(
        partition=option.partition,
        nodes=option.shape.nodes,
        gpus_per_node=option.shape.gpus_per_node,
    )


def _why(option: Option, comparison: Comparison) -> str:
    """One line: what was chosen, what is expected of it, and what the next best would mean."""
    parts = [f"starts {ui_options.when(option.wait_s)}"]
    if option.finish_s is not None:
        parts.append(f"done in {span(option.finish_s)}")
    if option.gpu_hours:
        parts.append(f"{option.gpu_hours:.3g} GPU-hours")
    line = f"cluster.partition=auto: {ui_options.place(option)}, {', '.join(parts)}"
    line += f"; {option.verdict}"
    others = [o for o in comparison.options if o is not option and not o.problem]
    if others and others[0].verdict:
        line += f" (next: {ui_options.place(others[0])}, {others[0].verdict})"
    return line


def _nowhere(comparison: Comparison, question: Question) -> LauncherError:
    """What keeps a run out of each place, and what would let it in."""
    silent = [option for option in comparison.options if not option.problem]
    if silent:
        return SubmissionError(
            "`cluster.partition=auto`: SLURM does not say when anything would start:"
            f" {silent[0].start.reason}",
            hint="try `sinfo` by hand; or name a partition, which needs no estimate",
        )
    reasons = [f"{ui_options.place(o)}: {o.problem or o.verdict}" for o in comparison.options]
    site = question.settings.cluster
    return ConfigError(
        f"`cluster.partition=auto`: the run fits nowhere on `{site.name}`\n  "
        + "\n  ".join(dict.fromkeys(reasons)),
        hint=_way_in(question),
    )


def _way_in(question: Question) -> str:
    if not question.settings.cluster.partitions:
        return "`launch cluster discover` lists the partitions of a site, to choose from"
    if nearest := question.nearest():
        shapes = [f"{ui_options.shape_text(c)} on {c.partition}" for c in nearest]
        return "nearest shapes that fit: " + ", ".join(shapes)
    longest = question.longest_min()
    if longest is not None and longest < question.settings.resources.timeout_min:
        return (
            f"resources.timeout_min={longest} is the longest there is; a run that needs more goes"
            " on in the next job"
        )
    return "`launch plan` with the same overrides compares all places and numbers of GPUs"
