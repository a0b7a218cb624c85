from __future__ import annotations

import pytest

from launcher.errors import ConfigError
from launcher.sites import questions
from launcher.sites.profile import Profile
from launcher.sites.questions import Question


def suggested(question: Question) -> str:
    return question.suggested


def site() -> Profile:
    profile = Profile()
    profile.add(("partition",), "gpu")
    return profile


def test_an_account_is_only_asked_for_where_there_is_a_choice() -> None:
    assert questions.about_account(["vision"], None) is None
    question = questions.about_account(["vision", "robots"], "robots")
    assert question is not None
    assert question.suggested == "robots"


def test_flags_answer_and_only_the_rest_is_asked() -> None:
    asked = []

    def ask(question: Question) -> str:
        asked.append(question.flag)
        return question.suggested

    open_ones = questions.about_rest(site(), ["gpu", "low"])
    answers = questions.answered(open_ones, {"--python": "venv:/v", "--partition": "low"}, ask)
    assert asked == ["--modules", "--work"]
    assert (answers["--partition"], answers["--python"]) == ("low", "venv:/v")


def test_where_nobody_can_answer_the_flags_that_would_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        questions.answered(questions.about_rest(site(), ["gpu"]), {"--work": "/w"}, None)
    assert "launch cluster init --python same --modules none," in str(caught.value.hint)


def test_an_answer_that_is_no_choice_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        questions.answered(
            questions.about_rest(site(), ["gpu", "low"]), {"--partition": "gpus"}, suggested
        )
    assert caught.value.hint == "did you mean --partition=gpu?"


def test_words_about_python_become_keys() -> None:
    assert questions.python_values("same", "none", None) == {}
    assert questions.python_values("apptainer:/i.sif", "a, b", "/init") == {
        ("python", "kind"): "apptainer",
        ("python", "path"): "/i.sif",
        ("python", "modules"): ["a", "b"],
        ("python", "module_init"): "/init",
    }
    with pytest.raises(ConfigError, match="needs a path"):
        questions.python_values("conda", None, None)
