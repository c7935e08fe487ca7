"""Where the time of a step went, which kernel ran, what was refused, and the indices that were seen."""

from __future__ import annotations

from typing import Any, Final

from tracing.moment import STAGES
from workbench.view.lines import Line, Lines, Role, Span, note
from workbench.view.panel import Panel
from workbench.view.safe_text import safe_text
from workbench.view.step import Side, StepView, ViewOptions

BAR: Final = 18
MAX_REASONS: Final = 8
_TROUBLE: Final = ("launch_refused", "incomplete")
_FACTS: Final = ("proposer", "kernel", "commit_mode", "commit_fallback", "step_verdict")
_SAID: Final = frozenset((*_TROUBLE, *_FACTS))


def stages_lines(step: StepView, _options: ViewOptions) -> Lines:
    """Draw times, kernel, refusals and index sites of each side."""
    lines: list[Line] = _choice(step)
    for side in step.sides:
        if side.absent:
            lines.append(note(side.why_not("times"), "warn"))
            continue
        total = sum(side.get(f"{stage}_ns") or 0 for stage in STAGES)
        lines.append((Span(f"{side.label}: {duration(total)}" if total else side.label, "title"),))
        lines += _bars(side, total) if total else [note("  no stage times recorded")]
        lines += _facts(side)
        lines += _sites(side)
    return lines


def _choice(step: StepView) -> list[Line]:
    """Draw what was chosen for the turn, and why, where its run chose."""
    held = step.manifest.get("choices")
    requests = held.get("requests") if isinstance(held, dict) else None
    if not isinstance(requests, list):
        return []
    where = (step.moment.prompt_id, step.moment.turn)
    for each in requests:
        if isinstance(each, dict) and (each.get("prompt_id"), each.get("turn")) == where:
            reasons = each.get("reasons")
            said = reasons if isinstance(reasons, list) else []
            title = (
                Span("chosen for this turn: ", "title"),
                Span(safe_text(str(each.get("choice"))), "accent"),
            )
            return [title, *(note(f"  {safe_text(str(reason))}") for reason in said[:MAX_REASONS])]
    return [note("chosen for this turn: not recorded", "warn")]


def duration(nanoseconds: int) -> str:
    """Return a time in the unit that keeps it short."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds} ns"


def _bars(side: Side, total: int) -> list[Line]:
    lines: list[Line] = []
    for stage in STAGES:
        value = side.get(f"{stage}_ns")
        if value is None:
            lines.append(note(f"  {stage:<10} not recorded"))
            continue
        share = value / total
        bar = "█" * max(0, round(share * BAR))
        lines.append(
            (
                Span(f"  {stage:<10}"),
                Span(f"{bar:<{BAR}}", "accent"),
                Span(f" {duration(value):>8} {share:4.0%}"),
            )
        )
    return lines


def _facts(side: Side) -> list[Line]:
    recorded = {
        name: safe_text(str(value)) for name, value in side.row.items() if name in _SAID and value is not None
    }
    lines = [note(f"  ! {name} {recorded[name]}", "bad") for name in _TROUBLE if name in recorded]
    lines += [(Span(f"  {name:<16}", "dim"), Span(recorded[name])) for name in _FACTS if name in recorded]
    if side.running:
        lines.append(note(f"  the trace ends while {side.running} runs", "warn"))
    return lines


def _sites(side: Side) -> list[Line]:
    """Draw the index watch: lowest and highest index per place, and the bound it must stay under."""
    sites = side.get("index_sites")
    if not sites:
        return []
    lines: list[Line] = [note("  index sites: lowest, highest, bound")]
    for site in sites:
        low, high, bound = (site.get(name) for name in ("min", "max", "bound"))
        outside = _is_outside(low, high, bound)
        role: Role = "bad" if outside else "plain"
        text = f"{safe_text(str(site.get('site')))[:28]:<28} {_shown(low)} {_shown(high)} {_shown(bound)}"
        lines.append((Span("  ! " if outside else "    ", "bad"), Span(text, role)))
    return lines


def _is_outside(low: int | None, high: int | None, bound: int | None) -> bool:
    return (low is not None and low < 0) or (high is not None and bound is not None and high >= bound)


def _shown(value: Any) -> str:
    return f"{'-' if value is None else value:>7}"


PANEL: Final = Panel(
    "stages",
    "s",
    "stage times, kernel, indices, refusals",
    stages_lines,
    columns=frozenset({"index_sites", "kernel"}),
    stages=("prefill",),
)
