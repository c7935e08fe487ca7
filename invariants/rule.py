"""A rule: a function whose argument names are trace columns, with an id, a name and fixed documentation.

Arguments may also be `previous_<column>` (the step before, same turn), `first_<column>` (the turn's first
step), a field of `RunContext`, `thresholds`, or, for run rules, `statistics`. A rule over a whole launch of
an engine has the one argument `launched`, and states the columns that it reads. An argument with a default
is optional; every other one must be there, else the rule is not checked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.floating[Any]]
Value = int | float | str | None
Scope = Literal["step", "turn", "launch", "run"]
Severity = Literal["error", "warning"]

LAUNCHED: Final = "launched"
"""Argument of a rule over launches: the launch, as `invariants.launches.view.LaunchView`."""
HEADINGS: Final = ("What it does", "Why it matters", "Example", "Seen in", "Limits")
"""Headings of every rule's docstring, in this order."""


@dataclass(frozen=True, slots=True)
class Violation:
    """What a rule yields; the engine adds path, moment and rule to make a `Finding`.

    Attributes:
        message: One sentence for a reader who sees only that line, both values in it.
        column: Column that holds the wrong value.
        node: Node meant, or None.
        found: Value found, as a number or short text.
        expected: Value that the rule derives.
        stage: Stage that made the wrong value, where it is not the rule's.
        place: Prompt, turn and step meant by a rule over the whole run; else it is the run's last step.
    """

    message: str
    column: str
    node: int | None = None
    found: Value = None
    expected: Value = None
    stage: str = ""
    place: tuple[int, int, int] | None = None


Violations = Iterator[Violation]
"""What a rule's function returns."""


class NotApplicableError(Exception):
    """Raised by a rule that has nothing to look at in this step; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One invariant.

    Attributes:
        id: Family letters and three digits; never reused, never given another meaning.
        name: The defect, in kebab-case.
        stage: Stage that produced what the rule reads (`tracing.moment.STAGES`).
        scope: `step` reads one row, `turn` also earlier rows of the turn, `launch` the rows of one launch of
            an engine and the blocks before it, `run` statistics at the end.
        severity: `error`, or `warning` for an alarm that legal runs may raise.
        requires: Rules that must hold first; otherwise this one is not checked.
        inputs: Required argument names.
        optional: Argument names that may be None.
        reads: Columns that a rule over launches needs.
        check: The law itself.
        docstring: As written, under `HEADINGS`.
    """

    id: str
    name: str
    stage: str
    scope: Scope
    severity: Severity
    requires: tuple[str, ...]
    inputs: tuple[str, ...]
    optional: tuple[str, ...]
    check: Callable[..., Iterable[Violation]] = field(repr=False)
    docstring: str = field(repr=False)
    reads: tuple[str, ...] = ()

    @property
    def documentation(self) -> str:
        """Docstring without its indentation."""
        return inspect.cleandoc(self.docstring)

    @property
    def family(self) -> str:
        """Letters of the id, e.g. `MASK`."""
        return self.id.rstrip("0123456789")

    @property
    def arguments(self) -> tuple[str, ...]:
        """All argument names, required ones first."""
        return self.inputs + self.optional


def invariant(
    rule_id: str,
    *,
    stage: str,
    severity: Severity = "error",
    requires: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    reads: tuple[str, ...] = (),
) -> Callable[[Callable[..., Iterable[Violation]]], Rule]:
    """Turn a function named after the defect into a `Rule`; `catalogue.py` collects those of its modules.

    How far the rule looks follows from its argument names.

    Args:
        rule_id: Id.
        stage: Stage that produced what the rule reads.
        severity: How bad a violation is.
        requires: Rules that must hold first.
        optional: Argument names that may be None, in addition to those with a default; passed by `**`.
        reads: Columns without which a rule over launches has nothing to look at.
    """

    def make(check: Callable[..., Iterable[Violation]]) -> Rule:
        inputs, optional_inputs = argument_names(check)
        names = (*inputs, *optional_inputs, *optional)
        looks_back = any(name.startswith(("previous_", "first_")) for name in names)
        return Rule(
            id=rule_id,
            name=check.__name__.replace("_", "-"),
            stage=stage,
            scope=_scope(inputs, looks_back=looks_back),
            severity=severity,
            requires=requires,
            inputs=inputs,
            optional=(*optional_inputs, *optional),
            check=check,
            docstring=check.__doc__ or "",
            reads=reads,
        )

    return make


def _scope(inputs: tuple[str, ...], *, looks_back: bool) -> Scope:
    if LAUNCHED in inputs:
        return "launch"
    return "run" if "statistics" in inputs else "turn" if looks_back else "step"


def argument_names(check: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the argument names of a function, those without a default and those with one.

    Read off its code: the signatures of all rules and clauses take longer than the rest of their import.
    Of a decorated function they are those of the function inside.
    """
    check = inspect.unwrap(check)
    code, defaults = check.__code__, check.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    optional = {*names[code.co_argcount - len(defaults) : code.co_argcount], *(check.__kwdefaults__ or ())}
    required = tuple(name for name in names if name not in optional)
    return required, tuple(name for name in names if name in optional)


def draft_nodes(valid: BoolArray) -> list[int]:
    """Return the valid nodes but the root, `[num_draft]`.

    Raises:
        NotApplicableError: There is none, so a rule about draft nodes has nothing to look at.
    """
    nodes = [node for node in range(1, len(valid)) if valid[node]]
    if not nodes:
        raise NotApplicableError("the tree is only a root")
    return nodes


def pad_nodes(valid: BoolArray) -> list[int]:
    """Return the padding nodes, `[num_pads]`.

    Raises:
        NotApplicableError: There is none.
    """
    pads: list[int] = (~valid).nonzero()[0].tolist()
    if not pads:
        raise NotApplicableError("the step has no padding")
    return pads


def require_greedy(acceptance: str) -> None:
    """Leave a law of greedy acceptance alone where tokens are sampled.

    Raises:
        NotApplicableError: They are.
    """
    if acceptance != "greedy":
        raise NotApplicableError(f"tokens are chosen by chance (acceptance {acceptance})")


def listed(values: Iterable[int], limit: int = 8) -> str:
    """Return `1, 2, 3` and, past `limit` values, how many more there are."""
    items = [str(value) for value in values]
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
