"""The way from a symptom to its writer, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workbench.judge.cache_history import CacheHistory
from workbench.locate.text import located_lines
from workbench.locate.trace_back import TracedBack
from workbench.view.chain_file import Link
from workbench.view.counted import counted

MOST = 8


def chain_text(
    symptom: Link | None,
    traced: TracedBack | None,
    history: CacheHistory | None,
    *,
    num_judged: int = 0,
    full: bool = False,
) -> list[str]:
    """Return the symptom, what digests alone tell, and what running the path again told."""
    if symptom is not None:
        return list(_lines(symptom, traced, history, full=full))
    if num_judged:
        return [
            f"symptom     none: no error is recorded, and {counted(num_judged, 'token')} are the teacher's"
        ]
    return ["symptom     none: no error is recorded; whether its tokens are the teacher's was not judged"]


def _lines(
    symptom: Link, traced: TracedBack | None, history: CacheHistory | None, *, full: bool
) -> Iterator[str]:
    yield f"symptom     {symptom.moment}  {symptom.text}"
    if history is not None:
        yield from _digests(symptom, history)
    if traced is None:
        return
    for number, link in enumerate(traced.links[1:]):
        yield f"{'because' if number == 0 else '':<11} {'  ' * number}{link.moment}  {link.text}"
    if traced.writer is None:
        yield "because     not known: nothing that was looked at is wrong"
    for remark in traced.remarks:
        yield f"{'':<12}{remark}"
    if traced.located is not None:
        yield from located_lines(traced.located, full=full)


def _digests(symptom: Link, history: CacheHistory) -> Iterator[str]:
    changes = history.changes_before(symptom.moment)
    for number, change in enumerate(changes[:MOST]):
        yield f"{'digests' if number == 0 else '':<11} {change.at}  {change.sentence}"
    if len(changes) > MOST:
        yield f"{'':<12}and {len(changes) - MOST} more"
    if history.not_known:
        yield f"digests     {history.not_known}"
    elif not changes:
        yield "digests     every committed row is the one that was written for it"


def links_of(symptom: Link, traced: TracedBack | None, history: CacheHistory) -> Sequence[Link]:
    """Return the way to keep beside the trace; where it ends in no writer, what digests tell."""
    if traced is not None and traced.writer is not None:
        return traced.links
    return (symptom, *(Link(each.at, each.sentence) for each in history.changes_before(symptom.moment)))
