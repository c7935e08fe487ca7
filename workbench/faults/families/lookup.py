"""Faults of prompt lookup: which earlier place is found, and how much of what follows is proposed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from workbench.faults.fault import fault
from workbench.faults.placement import on_function
from workbench.fused.drafters import lookup

Function = Callable[..., Any]

PLACE: Final = on_function(lookup, "_continuation")
lookup_fault: Final = partial(fault, stage="draft", noticed_by=("JUDGE-DRAFT-PROPOSAL",), need="lookup")


@lookup_fault("F-LOOKUP-01", "n-gram proposers", placed=PLACE)
def continuation_one_late(original: Function, *arguments: Any) -> int | None:
    """The continuation is copied from one place too late, so that its first token is left out."""
    after = original(*arguments)
    return None if after is None else after + 1


@lookup_fault("F-LOOKUP-02", "n-gram proposers", placed=PLACE)
def n_gram_proposed_again(original: Function, *arguments: Any) -> int | None:
    """The n-gram that was found is proposed itself, instead of what follows it."""
    after = original(*arguments)
    return None if after is None else after - 1


@lookup_fault("F-LOOKUP-03", "n-gram proposers", placed=PLACE)
def last_match_first(original: Function, text: Any, source: Any, shortest: int, longest: int) -> int | None:
    """The last place of the n-gram is taken, not the first."""
    for size in range(min(longest, len(source)), shortest - 1, -1):
        after = original(text, source, size, size)
        while after is not None:
            passed = after - size + 1
            later = original(text, source[passed:], size, size)
            if later is None:
                return int(after)
            after = passed + later
    return None


@lookup_fault("F-LOOKUP-04", "n-gram proposers", placed=PLACE)
def shortest_n_gram_first(original: Function, text: Any, source: Any, shortest: int, longest: int) -> Any:
    """Short n-grams are looked up before long ones."""
    sizes = (original(text, source, size, size) for size in range(shortest, longest + 1))
    return next((after for after in sizes if after is not None), None)


@lookup_fault("F-LOOKUP-05", "n-gram proposers", placed=on_function(lookup, "look_up"))
def root_not_looked_up(original: Function, text: Any, *arguments: Any) -> Any:
    """The text is that of the step before: the newest token is not part of the n-gram."""
    return original(text[:-1], *arguments)


@lookup_fault("F-LOOKUP-06", "n-gram proposers", placed=on_function(lookup, "_until_any"), need="lookup_eos")
def end_of_sequence_proposed(_original: Function, found: Any, _stops: Any) -> int:
    """An end-of-sequence token, and what came after it, is proposed like any other token."""
    return len(np.asarray(found))
