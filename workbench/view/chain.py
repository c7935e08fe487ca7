"""From a step back to where a wrong value entered the cache that it reads: a way that can be followed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tracing.moment import Moment
from workbench.judge.cache_history import RowChange
from workbench.view.counted import counted
from workbench.view.lines import Line, Lines, Span, note, wrapped
from workbench.view.panel import Panel
from workbench.view.safe_text import safe_text
from workbench.view.step import StepView, ViewOptions
from workbench.view.targets import MomentTarget, NodeTarget

OF_THE_CACHE: Final = frozenset(
    {"KV004", "KV005", "JUDGE-COMMIT-ROWS", "JUDGE-COMMIT-PREFIX", "JUDGE-CACHE-WRITTEN"}
)
"""Rules whose findings are a reason to look here."""
MAX_CHANGES: Final = 200
INDENT: Final = 4
"""Cells before what of a sentence does not fit on its line."""


def chain_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw the way from the step to the writers of what is wrong in its cache."""
    drawn = [*_located(step), *_symptom(step), *_cache(step)]
    return [piece for line in drawn for piece in wrapped(line, options.width, INDENT)]


def _located(step: StepView) -> Iterator[Line]:
    """Draw what `specwb locate` found when it ran the path again."""
    links = step.located
    if not links:
        return
    yield note("found by running the path again (specwb locate):", "title")
    for number, link in enumerate(links):
        is_last = number == len(links) - 1
        yield (
            Span("! " if is_last else "  ", "bad"),
            Span(" " * min(number, 12) + ("" if number == 0 else "← "), "dim"),
            Span(str(link.moment), "accent", MomentTarget(link.moment)),
            Span(f"  {safe_text(link.text)}", "bad" if is_last else "plain"),
        )


def _symptom(step: StepView) -> Iterator[Line]:
    yield note(f"step {step.moment}:", "title")
    found = [finding for finding in step.own_findings() if finding.severity == "error"]
    if found:
        first = found[0]
        target = None if first.moment.node is None else NodeTarget(first.moment.node)
        yield (
            Span("! ", "bad"),
            Span(f"{first.moment.stage or 'found'} {safe_text(first.rule)}", "bad", target),
            Span(f"  {safe_text(first.message)}"),
        )
    else:
        yield note("  no finding here")


def _cache(step: StepView) -> Iterator[Line]:
    history, length = step.history(), step.left.committed_len
    if length is None:
        yield note(f"  {step.left.why_not('committed_len')}", "warn")
        return
    changes = history.changes_before(step.moment)
    yield note(f"  ← verify reads the committed rows 0..{length - 1}" if length else "  ← nothing committed")
    for change in changes[:MAX_CHANGES]:
        yield from _change(change, step.moment)
    if len(changes) > MAX_CHANGES:
        yield note(f"    and {len(changes) - MAX_CHANGES} more")
    if history.not_known:
        yield note(f"  {history.not_known}", "warn")
    elif not changes:
        written = "  every row is the one that was written for it, by the digests"
        tells = "; whether it was written right, specwb locate RUN tells: it runs the path again"
        yield note(written + ("" if step.located else tells))
    own = [each for each in history.changes if each not in changes and each.at.step == step.moment.step]
    if own:
        yield note(f"  and its own commit leaves {counted(len(own), 'wrong row')}:")
        for change in own[:MAX_CHANGES]:
            yield from _change(change, step.moment)


def _change(change: RowChange, here: Moment) -> Iterator[Line]:
    yield (
        Span("! ", "bad"),
        Span("  ← ", "dim"),
        Span(str(change.at), "accent", MomentTarget(change.at)),
        Span(f"  {change.sentence}", "bad"),
    )
    for writer, what in ((change.holds, "wrote what is there"), (change.belongs, "wrote what belongs there")):
        if writer is not None and writer.node is not None:
            at = Moment(here.prompt_id, here.turn, writer.step, "verify", writer.node)
            yield (Span("        ← ", "dim"), Span(str(at), "accent", MomentTarget(at)), Span(f"  {what}"))


def _shown_for(step: StepView) -> bool:
    return bool(step.located) or any(finding.rule in OF_THE_CACHE for finding in step.all_findings)


PANEL: Final = Panel(
    "chain",
    "C",
    "from a step back to where a wrong value entered the cache that it reads",
    chain_lines,
    legend=(("←", "caused by what follows; enter goes there"), ("!", "not what belongs there")),
    shown_for=_shown_for,
)
