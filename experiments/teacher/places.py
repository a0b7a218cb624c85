"""Which teacher scores a run learns from."""

from __future__ import annotations

from experiments.data.finding import fitting
from experiments.data.source import SceneSource
from experiments.settings import ExperimentConfig
from experiments.teacher.identity import expected_facts
from experiments.teacher.store import TeacherFolder, TeacherStore
from experiments.vocabulary import FILE_NAME, load
from launcher.context import RunContext

LABEL = "teacher"
"""Required scorings are called so, or `teacher/<number>`."""


def open_teacher(
    config: ExperimentConfig, source: SceneSource, context: RunContext
) -> TeacherStore | None:
    """Open the scores that the head of a run learns from; None where it learns from none.

    Raises:
        DataError: there are none, they are not whole, or they are of another vocabulary, other
            data, other scenes or another scorer; then all that differs is named.
    """
    if config.head.name != "hydra_mdp" or not config.head.metrics:
        return None
    vocabulary = load(context.inputs["vocabulary"] / FILE_NAME)
    store = fitting(
        TeacherFolder,
        expected_facts(config, vocabulary, source.fingerprint),
        config.data,
        context,
        label=LABEL,
        hint="let the run require it, as head=hydra_mdp does; after a change of the scorer, remove"
        " the required run, whose folder `launch status` shows, or send it again with force=true",
    )
    return TeacherStore.open(store.folder, config.head.teacher_metrics)
