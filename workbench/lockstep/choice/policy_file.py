"""Reads a policy file: every word is known or refused, with the place where it stands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from tracing.errors import CheckpointError, UsageError
from tracing.settings import PROPOSERS, DecodeSettings, require_one_of
from workbench.checkpoints.json_text import parse_object
from workbench.lockstep.choice.policy import (
    MAIN,
    RANGES,
    SHAPE,
    LabelQuestion,
    Policy,
    PolicyChoice,
    PolicyRule,
    shipped_policy,
)

FORMAT: Final = "specwb-policy-1"
MAX_BYTES: Final = 1 << 20
MAX_ENTRIES: Final = 64
MAX_NAME: Final = 60
_WHOLE: Final = ("tree_nodes", "depth", "top_k", "lookup_min", "lookup_max")
_TOP: Final = ("format", "about", "probe", "teachers", "choices", "rules")


def read_policy(path: Path | None = None) -> Policy:
    """Read a policy file, the shipped one for None.

    Directories in it are relative to it.

    Raises:
        UsageError: It cannot be read, or says something that has no meaning here; names the place.
    """
    path = path or shipped_policy()
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        held = parse_object(data, f"policy {path}", most_bytes=MAX_BYTES)
    except OSError as problem:
        raise UsageError(f"cannot read policy {path}: {problem.strerror}") from None
    except CheckpointError as problem:
        raise UsageError(str(problem)) from None
    try:
        return _Reader(path.parent).policy(held, {"file": str(path), **held})
    except UsageError as problem:
        raise UsageError(f"policy {path}: {problem}") from None


class _Reader:
    """Reads the parts of one file, which lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def policy(self, held: Mapping[str, Any], source: Mapping[str, Any]) -> Policy:
        known(held, "the file", _TOP)
        if held.get("format") != FORMAT:
            raise UsageError(f"format should be {FORMAT!r}, got {held.get('format')!r}")
        probe = mapping(held.get("probe", {}), "probe")
        known(probe, "probe", ("ngram", "last_tokens", "model", "template", "labels", "gate"))
        teachers = {
            name: self._directory(given, f"teachers.{name}")
            for name, given in entries(held.get("teachers", {}), "teachers").items()
        }
        if MAIN in teachers:
            raise UsageError(f"teachers.{MAIN} is the teacher of the command line and has no entry")
        choices = {
            name: self._choice(name, mapping(given, f"choices.{name}"), (MAIN, *teachers))
            for name, given in entries(held.get("choices"), "choices").items()
        }
        question = self._question(probe) if "model" in probe else None
        labels = () if question is None else tuple(question.labels)
        return Policy(
            choices=choices,
            rules=_rules(held.get("rules"), choices, labels),
            teachers=teachers,
            question=question,
            ngram=whole(probe.get("ngram", 3), "probe.ngram", 2, 16),
            last_tokens=whole(probe.get("last_tokens", 32), "probe.last_tokens", 1, 1 << 20),
            source=source,
        )

    def _directory(self, given: Any, place: str) -> Path:
        return self._folder / text(given, place)

    def _choice(self, name: str, given: Mapping[str, Any], teachers: Collection[str]) -> PolicyChoice:
        place = f"choices.{name}"
        known(given, place, ("proposer", "teacher", "draft", "tree", "accepted", *SHAPE))
        require_one_of(f"{place}.proposer", given.get("proposer"), PROPOSERS)
        require_one_of(f"{place}.teacher", given.get("teacher", MAIN), teachers)
        if given.get("tree", "auto") != "auto":
            raise UsageError(
                f"{place}.tree should be 'auto', got {given['tree']!r}; else give tree_nodes ..."
            )
        shape = {each: given[each] for each in SHAPE if each in given}
        for each, value in shape.items():
            (
                whole(value, f"{place}.{each}", 0, 1 << 20)
                if each in _WHOLE
                else text(value, f"{place}.{each}")
            )
        choice = PolicyChoice(
            name=name,
            proposer=given["proposer"],
            teacher=given.get("teacher", MAIN),
            draft=self._directory(given["draft"], f"{place}.draft") if "draft" in given else None,
            shape=shape,
            auto_tree="tree" in given,
            accepted=number(given["accepted"], f"{place}.accepted") if "accepted" in given else None,
        )
        if choice.auto_tree and shape:
            raise UsageError(f"{place}.tree is auto, which takes no other setting of the draft")
        try:
            choice.settings(DecodeSettings())
        except UsageError as problem:
            raise UsageError(f"{place}: {problem}") from None
        return choice

    def _question(self, probe: Mapping[str, Any]) -> LabelQuestion:
        template = text(probe.get("template"), "probe.template")
        if template.count("{prompt}") != 1:
            raise UsageError("probe.template should hold {prompt} once, where the prompt stands")
        before, _, after = template.partition("{prompt}")
        labels = entries(probe.get("labels"), "probe.labels")
        if len(labels) < 2:
            raise UsageError("probe.labels should name two classes or more")
        return LabelQuestion(
            model=self._directory(probe["model"], "probe.model"),
            before=before,
            after=after,
            labels={name: text(given, f"probe.labels.{name}") for name, given in labels.items()},
            gate=number(probe.get("gate", 0.45), "probe.gate"),
        )


def _rules(given: Any, choices: Collection[str], labels: Collection[str]) -> tuple[PolicyRule, ...]:
    if not isinstance(given, list) or not 0 < len(given) <= MAX_ENTRIES:
        raise UsageError(f"rules should be a list of 1 to {MAX_ENTRIES} rules")
    rules = tuple(
        _rule(mapping(each, f"rules[{number}]"), f"rules[{number}]", choices, labels)
        for number, each in enumerate(given)
    )
    names = [rule.name for rule in rules]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"rules should have names of their own, got {doubled!r} twice")
    if rules[-1].ranges or rules[-1].labels:
        raise UsageError("the last rule should have no `when`: it is for every other request")
    return rules


def _rule(
    given: Mapping[str, Any], place: str, choices: Collection[str], labels: Collection[str]
) -> PolicyRule:
    known(given, place, ("name", "when", "among"))
    when = mapping(given.get("when", {}), f"{place}.when")
    known(when, f"{place}.when", (*RANGES, "label"))
    wanted = when.get("label", [])
    if not isinstance(wanted, list):
        raise UsageError(f"{place}.when.label should be a list of classes, got {wanted!r}")
    for label in wanted:
        require_one_of(f"{place}.when.label", label, labels or ("none: there is no probe.model",))
    among = given.get("among")
    if among is not None and (not isinstance(among, list) or not among):
        raise UsageError(f"{place}.among should be a list of choices, got {among!r}")
    for name in among or ():
        require_one_of(f"{place}.among", name, choices)
    return PolicyRule(
        name=name_of(given.get("name"), f"{place}.name"),
        ranges={name: _range(when[name], f"{place}.when.{name}") for name in RANGES if name in when},
        labels=tuple(wanted),
        among=None if among is None else tuple(among),
    )


def _range(given: Any, place: str) -> tuple[float | None, float | None]:
    if not isinstance(given, list) or len(given) != 2:
        raise UsageError(f"{place} should be [least, most], either of which may be null, got {given!r}")
    least, most = (None if each is None else number(each, place) for each in given)
    if least is not None and most is not None and least > most:
        raise UsageError(f"{place} should be [least, most], got {given!r}")
    return least, most


def known(held: Mapping[str, Any], place: str, names: Collection[str]) -> None:
    """Refuse a word that has no meaning here."""
    unknown = sorted(set(held).difference(names))
    if unknown:
        raise UsageError(f"{place} should hold {', '.join(names)}, got {unknown[0]!r}")


def mapping(value: Any, place: str) -> Mapping[str, Any]:
    """Return an object of JSON."""
    return _checked(value, place, "an object", lambda each: isinstance(each, dict))  # type: ignore[no-any-return]  # checked just now


def entries(value: Any, place: str) -> Mapping[str, Any]:
    """Return named entries, few and with short names."""
    held = mapping(value, place)
    if len(held) > MAX_ENTRIES or (not held and place == "choices"):
        raise UsageError(f"{place} should have 1 to {MAX_ENTRIES} entries, got {len(held)}")
    for name in held:
        name_of(name, place)
    return held


def name_of(value: Any, place: str) -> str:
    """Return a short, printable name."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise UsageError(f"{place} should be named in 1 to {MAX_NAME} printable characters, got {value!r}")
    return value


def text(value: Any, place: str) -> str:
    """Return a text that is not empty."""
    return _checked(value, place, "text", lambda each: isinstance(each, str) and bool(each))  # type: ignore[no-any-return]  # checked just now


def number(value: Any, place: str) -> float:
    """Return a number from 0 on."""
    good = _checked(
        value,
        place,
        "a number from 0 on",
        lambda each: isinstance(each, (int, float)) and not isinstance(each, bool) and 0 <= each < 1e12,
    )
    return float(good)


def whole(value: Any, place: str, least: int, most: int) -> int:
    """Return an integer."""
    return _checked(  # type: ignore[no-any-return]  # checked just now
        value,
        place,
        f"a whole number from {least} to {most}",
        lambda n: type(n) is int and least <= n <= most,
    )


def _checked(value: Any, place: str, expected: str, good: Callable[[Any], bool]) -> Any:
    if not good(value):
        raise UsageError(f"{place} should be {expected}, got {value!r:.80}")
    return value
