"""What a command of `launch` asks a program for, besides sending its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.errors import one_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.submit import Submission

ACTIONS = ("submit", "plan", "doctor", "probe")


def act(action: str, submission: Submission, task_function: Callable[..., Any]) -> None:
    """Do what `hydra.launcher.action` says with the runs of a command; nothing of them is sent.

    Raises:
        ConfigError: there is no such action.
        LauncherError: what the action found wrong.
    """
    one_of("hydra.launcher.action", action, ACTIONS)
    if action == "plan":
        from launcher.planning import options

        options.show(submission)
    elif action == "doctor":
        from launcher import preflight

        preflight.show(submission, task_function)
    else:
        from launcher import probing

        probing.run(submission, task_function)
