"""Names of published heads, and what they claim of a head's values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.errors import ConfigError

PUBLISHED_SIZES = {82: 8192, 83: 16384}
"""Anchors of the published V2-99 models with that many million parameters: 81.97 M and 82.95 M."""
_WORDS = "v<anchors>, w, ep, additive, <millions of parameters>m"


@dataclass(frozen=True, kw_only=True)
class HeadFacts:
    """What a name may claim of a head."""

    name: str
    vocabulary_size: int | None
    """Anchors; None of heads without."""
    ep: bool
    """Whether ego progress is learnt and counts."""
    is_weighted: bool
    """Whether scores count differently when a trajectory is chosen."""
    is_additive: bool
    """Whether the weighted scores are summed, and not their logarithms."""
    has_teacher: bool


@dataclass(frozen=True)
class _Claims:
    anchors: int | None
    millions: int | None
    words: frozenset[str]


def check_preset(preset: str, facts: HeadFacts) -> None:
    """Refuse a preset name that contradicts the values of its head.

    `hydra_mdp_v8192_w_ep` claims 8192 anchors, weighted confidence, ego progress; a name
    without `ep` claims that there is none, and likewise for `w` and `additive`.

    Raises:
        ConfigError: name and values differ, or the name has a word that claims nothing known.
    """
    claims = _claims(preset, facts.name)
    if claims.anchors is not None:
        _agree(preset, "head.vocabulary_size", claims.anchors, facts.vocabulary_size)
    published = PUBLISHED_SIZES.get(claims.millions or 0)
    if published is not None and facts.vocabulary_size != published:
        raise ConfigError(
            f"`head.preset={preset}` contradicts `head.vocabulary_size={facts.vocabulary_size}`:"
            f" the published model of {claims.millions} M parameters has {published} anchors",
            hint=f"take head.vocabulary_size={published}, or a name without {claims.millions}m",
        )
    if facts.name != "hydra_mdp":
        return
    _agree(preset, "head.teacher", "scores", "scores" if facts.has_teacher else "none")
    _agree(preset, "head.ep", _yaml("ep" in claims.words), _yaml(facts.ep))
    rules = ("log_sum", "additive")
    _agree(preset, "head.rule", rules["additive" in claims.words], rules[facts.is_additive])
    if ("w" in claims.words) != facts.is_weighted:
        is_or_not = "not all 1, as `_w_` claims" if "w" in claims.words else "all 1, without `_w_`"
        raise ConfigError(
            f"`head.preset={preset}` contradicts the weights of its rule, which should be"
            f" {is_or_not}",
            hint="set head.log_sum.* (or head.additive.*), or head.preset=null",
        )


def check_size(preset: str | None, num_parameters: int) -> None:
    """Refuse a preset whose name claims another number of parameters than a model has.

    Args:
        preset: `head.preset`; names without a number such as `77m` claim none.
        num_parameters: of backbone and head, with the frozen vocabulary.

    Raises:
        ConfigError: they differ by a million or more.
    """
    found = re.search(r"_(\d+)m(_|$)", preset or "")
    if found is None or abs(num_parameters / 1e6 - int(found[1])) < 1.0:
        return
    raise ConfigError(
        f"`head.preset={preset}` claims {found[1]} M parameters, but this backbone and head have"
        f" {num_parameters / 1e6:.2f} M",
        hint="published counts include parameters that are never used; set head.preset to a name"
        f" with {round(num_parameters / 1e6)}m, or without a size",
    )


def _claims(preset: str, name: str) -> _Claims:
    prefix, _, rest = preset.partition(name)
    if prefix or (rest and not rest.startswith("_")):
        raise ConfigError(
            f"`head.preset={preset}` contradicts `head.name={name}`",
            hint="choose the preset as a whole, e.g. head=hydra_mdp_v8192, or head.preset=null",
        )
    words = rest.split("_")[1:]
    anchors, millions = _number(words, r"v(\d+)"), _number(words, r"(\d+)m")
    plain = {w for w in words if not re.fullmatch(r"v\d+|\d+m", w)}
    unknown = sorted(plain - {"w", "ep", "additive"})
    if unknown:
        raise ConfigError(
            f"`head.preset={preset}`: `{unknown[0]}` claims nothing that can be checked",
            hint=f"words of a preset after the head's name: {_WORDS}",
        )
    return _Claims(anchors, millions, frozenset(plain))


def _number(words: Sequence[str], pattern: str) -> int | None:
    found = [match[1] for word in words if (match := re.fullmatch(pattern, word))]
    return int(found[0]) if found else None


def _agree(preset: str, key: str, claimed: object, actual: object) -> None:
    if claimed != actual:
        raise ConfigError(
            f"`head.preset={preset}` contradicts `{key}={actual}`",
            hint=f"set {key}={claimed}, or head.preset=null for a head of your own",
        )


def _yaml(value: bool) -> str:
    return str(value).lower()
