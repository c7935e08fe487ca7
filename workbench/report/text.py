"""The report of a run for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

from tracing.finding import Finding
from workbench.judge.places import both_values
from workbench.report.summary import RunSummary
from workbench.view.counted import counted
from workbench.view.safe_text import safe_line, safe_text

Detail = Literal["short", "usual", "full"]
"""How much a report says: only what was found; that and what it rests on; everything, nothing summed up."""
WHY: Final = " (-v says why)"
MAX_LISTED = 5
MAX_RULES = 6
MAX_TEXT = 400


def render_text(summary: RunSummary, detail: Detail = "usual", context: Sequence[str] = ()) -> str:
    """Return the report of a run, safe for any terminal.

    Args:
        summary: What a run found.
        detail: How much of it.
        context: Lines to show below the first divergence, see `workbench.view.context`.
    """
    lines = _found(summary, context) if detail == "short" else _lines(summary, detail, context)
    return "\n".join(map(safe_line, lines)) + "\n"


def _found(summary: RunSummary, context: Sequence[str] = ()) -> Iterator[str]:
    remark = f" ({summary.remark})" if summary.remark else ""
    yield f"verdict     {summary.verdict}{remark}"
    yield from _divergence(summary, context)


def _lines(summary: RunSummary, detail: Detail, context: Sequence[str]) -> Iterator[str]:
    verdict, *found = _found(summary, context)
    yield verdict
    for warning in summary.warnings:
        yield f"warning     {safe_text(warning)}"
    yield from found
    yield f"steps       {summary.steps}{_unjudged(summary)}, {_emitted(summary)}, {_acceptance(summary)}"
    yield from _choices(summary)
    of_experts = f", {summary.routing_near_ties} of them in routing" if summary.routing_near_ties else ""
    yield f"near ties   {summary.near_ties}{of_experts}"
    yield from _invariants(summary, detail)
    if summary.hidden:
        yield f"could hide  {summary.hidden}"
    yield f"coverage    {_coverage(summary)}"
    if summary.quality:
        yield f"quality     {summary.quality}"
    yield from _text(summary)
    if summary.run:
        yield f"run         {safe_text(str(summary.run))}"
        yield f"next        {_next_command(summary)}"


def _choices(summary: RunSummary) -> Iterator[str]:
    """Say what was chosen for the first turns, and by which rule; count them where there are more."""
    for each in summary.choices[:MAX_LISTED]:
        reason = safe_text(str(next(iter(each["reasons"]), "")))
        speeds = [f"{safe_text(name)} {rate:.3g}" for name, rate in each["tokens_per_second"].items()]
        yield (
            f"chosen      {each['prompt_id']}:{each['turn']} {safe_text(str(each['choice']))} ({reason}; "
            f"tokens/s expected: {', '.join(speeds)})"
        )
    if len(summary.choices) > MAX_LISTED:
        counts = Counter(safe_text(str(each["choice"])) for each in summary.choices)
        yield f"            in all {', '.join(f'{name} {count}' for name, count in counts.most_common())}"


def explained(finding: Finding) -> str:
    """Return the explanation of a finding as the end of its message."""
    return f"; {finding.explanation}" if finding.explanation else ""


def finding_line(finding: Finding) -> str:
    """One greppable line per finding."""
    name = f" {finding.path}" if finding.path else ""
    consequence = " (consequence)" if finding.consequence else ""
    request = f" request={finding.request}" if finding.request else ""
    return safe_text(
        f"{finding.moment} {finding.rule} {finding.verdict}{name} guilty={finding.guilty}{request}: "
        f"{finding.message}{explained(finding)}{consequence}"
    )


def consequences_line(findings: Iterable[Finding]) -> str:
    """Return one line that counts possible consequences by rule, or an empty string."""
    counts = Counter(finding.rule for finding in findings if finding.consequence)
    if not counts:
        return ""
    named = [f"{safe_text(rule)} {count}" for rule, count in counts.most_common(MAX_RULES)]
    if len(counts) > MAX_RULES:
        named.append(counted(len(counts) - MAX_RULES, "more rule"))
    total = counted(counts.total(), "possible consequence")
    return f"and {total}: {', '.join(named)} (--format json lists them)"


def _invariants(summary: RunSummary, detail: Detail) -> Iterator[str]:
    """Yield how often rules looked, and, in full, what was not looked at and why."""
    held, violated = summary.invariants.get("held", 0), summary.invariants.get("violated", 0)
    not_checked = summary.invariants.get("not_checked", 0)
    why = WHY if summary.not_checked and detail != "full" else ""
    yield f"invariants  {held} held, {violated} violated, {not_checked} not checked{why}"
    if detail == "full":
        for reason, count in summary.not_checked.items():
            yield f"not checked {safe_text(reason)} ({counted(count, 'time')})"


def _divergence(summary: RunSummary, context: Sequence[str]) -> Iterator[str]:
    first = summary.first_divergence
    if first is None:
        return
    yield f"first       {finding_line(first)}"
    if values := safe_text(both_values(first)) + _margin(first):
        yield f"            {values.removeprefix('; ')}"
    for frame in first.frames:
        yield f"            in {safe_text(frame)}"
    yield from (f"            {line}" for line in context)
    others = [finding for finding in summary.findings if finding is not first and not finding.consequence]
    for finding in others[:MAX_LISTED]:
        yield f"then        {finding_line(finding)}"
    if len(others) > MAX_LISTED:
        yield f"            and {len(others) - MAX_LISTED} more in findings.jsonl"
    following = consequences_line(finding for finding in summary.findings if finding is not first)
    if following:
        yield f"            {following}"


def _margin(finding: Finding) -> str:
    if finding.gap is None or finding.allowance is None:
        return ""
    ratio = f", {finding.gap / finding.allowance:.3g} times" if finding.allowance > 0 else ""
    return f"; gap {finding.gap:.3g}, allowed {finding.allowance:.3g}{ratio}"


def _unjudged(summary: RunSummary) -> str:
    return f" ({summary.unjudged_steps} not judged)" if summary.unjudged_steps else ""


def _emitted(summary: RunSummary) -> str:
    num_tokens = sum(len(turn) for turn in summary.emitted_token_ids)
    return f"{counted(num_tokens, 'token')} in {counted(len(summary.emitted_token_ids), 'turn')}"


def _acceptance(summary: RunSummary) -> str:
    if summary.mean_accepted is None:
        return "no uncut step"
    num_cut = summary.coverage.get("cut_steps", 0)
    left_out = f" ({counted(num_cut, 'cut step')} left out)" if num_cut else ""
    return f"{summary.mean_accepted:.2f} accepted per step{left_out}"


def _coverage(summary: RunSummary) -> str:
    seen = [f"{name} {count}" for name, count in summary.coverage.items() if count]
    missing = [name for name, count in summary.coverage.items() if not count]
    text = ", ".join(seen) or "nothing"
    return text + (f"; not exercised: {', '.join(missing)}" if missing else "")


def _text(summary: RunSummary) -> Iterator[str]:
    for turn, text in enumerate(summary.emitted_text):
        label = "text" if len(summary.emitted_text) == 1 else f"text {turn}"
        shown = safe_text(text)
        yield f"{label:<11} {shown[:MAX_TEXT]}{'…' if len(shown) > MAX_TEXT else ''}"


def _next_command(summary: RunSummary) -> str:
    first = summary.first_divergence
    moment = f" {first.moment}" if first else ""
    return f"specwb view {safe_text(str(summary.run))}{moment}"
