"""The lines around the panels: where the user is, which finding was gone to, what the cursor is on."""

from __future__ import annotations

from workbench.view.counted import counted
from workbench.view.explain import both_values, explain
from workbench.view.lines import Line, Span, note
from workbench.view.run_state import RunState
from workbench.view.safe_text import safe_text


def status_text(state: RunState) -> str:
    """Return the line at the top: run, moment, place, proof, sides, findings, and what is switched on."""
    view, look = state.view, state.look
    moment = str(state.step.moment) if state.step is not None else "-"
    labels = view.labels[::-1] if look.swapped else view.labels
    shown = labels[:1] if look.one_side else labels
    parts = [
        safe_text(view.folder.name),
        moment,
        f"{state.row + 1 if view.num_rows else 0} of {view.num_rows}",
        *_switched_on(state),
        view.proof(),
        " | ".join(shown[:2]) or "no path",
        counted(len(view.findings), "finding"),
    ]
    return "  ".join(parts)


def _switched_on(state: RunState) -> list[str]:
    """Return what is switched on, in words short enough to stand before the rest."""
    words = ["following" if state.following else "paused"] if state.live else []
    words += ["differences only"] if state.look.options.differences_only else []
    return words + (["steps with findings"] if state.only_findings else [])


def finding_line(state: RunState) -> Line:
    """Return the line that says which finding was gone to; without one, what there is to find."""
    findings, number = state.view.findings, state.found_number
    if number is not None and number < len(findings):
        place = Span(f"! {number + 1} of {len(findings)}: ", "bad")
        return (place, Span(findings[number].rule, "accent"), Span(f" {findings[number].message}", "bad"))
    here = [finding.rule for _, finding in state.step.findings] if state.step is not None else []
    if here:
        rules = Span(", ".join(dict.fromkeys(here)), "accent")
        return (Span(f"! {len(here)} in this step: ", "bad"), rules, Span("; } goes there"))
    first = state.order.first_divergence()
    if first is None:
        return note(state.view.judged().text)
    place = Span(str(findings[first].moment), "accent")
    return (Span("nothing found in this step; ", "dim"), Span("! goes to the first: "), place)


def cursor_line(state: RunState) -> Line:
    """Return the line on what the cursor is on; without anything there, on the finding that was gone to."""
    if state.step is None:
        return ()
    if state.target is None and state.found_number is not None:
        return both_values(state.view.findings[state.found_number])
    return explain(state.look.applied(state.step), state.target)
