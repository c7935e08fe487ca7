"""Cache positions before and after the commit: where each node's K/V was, and what is there now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tracing.finding import Finding
from workbench.view.lines import Line, Lines, Role, Span, note
from workbench.view.panel import Panel, missing_lines, node_target
from workbench.view.safe_text import safe_text
from workbench.view.step import Side, StepView, ViewOptions, differ
from workbench.view.targets import NodeTarget, PositionTarget, SlotTarget, Target
from workbench.view.tokens import Tokens
from workbench.view.width import fitted

FINDING_COLUMNS: Final = frozenset(
    {"cache_positions", "slots", "path_indices", "kv_row_digests", "kv_digest_after", "kv"}
)
"""Columns whose findings mark a row here."""


@dataclass(frozen=True, slots=True)
class CacheRow:
    """One logical position.

    Attributes:
        position: Which.
        node: Node that verify put there, None where none was.
        slot: Its physical slot, None where not paged.
        token_id: Token of that node.
        kept_from: Position whose row is there after the commit, None where nothing is.
        expected_from: Position that the accepted path calls for, None where none.
        other_from: The same on the other side, None where not recorded.
        found: A finding about the cache names its node.
    """

    position: int
    node: int | None
    slot: int | None
    token_id: int | None
    kept_from: int | None
    expected_from: int | None
    other_from: int | None
    found: bool = False

    @property
    def wrong(self) -> bool:
        """What was kept is not what the accepted path calls for."""
        return self.kept_from is not None and self.kept_from != self.expected_from

    @property
    def differs(self) -> bool:
        """The two sides kept different rows."""
        return differ(self.kept_from, self.other_from)


def cache_rows(step: StepView) -> list[CacheRow]:
    """Return the positions that the tree or the commit of the left side touched, in order."""
    side, length = step.left, step.left.committed_len
    node_at = _node_at(side)
    named = {finding.moment.node for finding in step.own_findings() if finding.column in FINDING_COLUMNS}
    start = length if length is not None else min(node_at, default=0)
    last = max([*node_at, start + len(side.values("path_indices") or []) - 1], default=start - 1)
    rows = []
    for position in [
        *sorted(place for place in node_at if place < start),
        *range(start, min(last, start + 4096) + 1),
    ]:
        node, offset = node_at.get(position), position - start
        rows.append(
            CacheRow(
                position,
                node,
                side.at("slots", node),
                side.at("token_ids", node),
                side.at("path_indices", offset),
                _expected_from(side, offset),
                None if step.right is None else step.right.at("path_indices", offset),
                node is not None and node in named,
            )
        )
    return rows


def cache_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw the positions: before on the left, after on the right."""
    side, rows, node_at = step.left, cache_rows(step), _node_at(step.left)
    lines = missing_lines(side, "cache_positions", "path_indices")
    lines += [_lengths(side), *_mode(side), *_digests(step)]
    if options.differences_only:
        rows = [row for row in rows if row.wrong or row.differs or row.found]
    if rows:
        lines.append(note("  place  before the commit  ← after, by path"))
    if not options.differences_only and side.committed_len:
        lines.append(note(f" 0..{side.committed_len - 1}  prefix, {_kept(side)}"))
    for row in rows:
        lines.append(_row_line(row, step.tokens, node_at))
        if row.differs and step.right is not None:
            lines.append(note(f"      ≠ {step.right.label} keeps position {row.other_from} here", "warn"))
    if options.differences_only and not rows:
        lines.append(note("every kept row is the one that the accepted path calls for"))
    return lines


def _node_at(side: Side) -> dict[int, int]:
    """Return the first node at each position."""
    places = enumerate(side.values("cache_positions") or [])
    return {place: node for node, place in reversed(list(places)) if place is not None}


def _expected_from(side: Side, offset: int) -> int | None:
    """Return the position that the accepted path calls for: the root's, then those of the accepted nodes."""
    root = 0 if offset == 0 and side.get("accepted_nodes") is not None else None
    position: int | None = side.at(
        "cache_positions", side.at("accepted_nodes", offset - 1) if root is None else root
    )
    return position


def _lengths(side: Side) -> Line:
    before, after = side.get("committed_len"), side.get("committed_len_after")
    shown = " → ".join("not recorded" if value is None else str(value) for value in (before, after))
    accepted = side.values("accepted_nodes")
    expected = None if before is None or accepted is None else before + len(accepted) + 1
    if after is not None and expected is not None and after != expected:
        return (Span("!", "bad"), Span(f" committed length {shown}, expected {expected} (L + A + 1)", "bad"))
    return note(f"  committed length {shown}", "plain")


def _mode(side: Side) -> list[Line]:
    mode, fallback, kept = (side.get(name) for name in ("commit_mode", "commit_fallback", "prefix_kept"))
    if mode is None:
        return [note(f"  {side.why_not('commit_mode')}")]
    text = f"  commit {safe_text(str(mode))}" + (f", because {safe_text(str(fallback))}" if fallback else "")
    return [(Span(text), Span("" if kept is not False else "  prefix not kept in order", "bad"))]


def _kept(side: Side) -> str:
    kept = side.get("prefix_kept")
    return (
        "kept in order" if kept else "not kept in order" if kept is False else "whether kept is not recorded"
    )


def _digests(step: StepView) -> list[Line]:
    lines: list[Line] = []
    for side in step.sides:
        before, after = side.get("kv_digest_before"), side.get("kv_digest_after")
        if before is not None or after is not None:
            shown = " → ".join("-" if value is None else f"{value:016x}" for value in (before, after))
            mark, role = _digest_mark(step, side)
            lines.append((Span(mark, "bad"), Span(f" {side.label} kv {shown}", role)))
    return lines


def _digest_mark(step: StepView, side: Side) -> tuple[str, Role]:
    """Mark the digests that a finding is about."""
    about = any(
        finding.column.startswith("kv_digest") and finding.path in {"", side.label}
        for _, finding in step.findings
    )
    return ("!", "bad") if about else (" ", "dim")


def _row_line(row: CacheRow, tokens: Tokens, node_at: dict[int, int]) -> Line:
    wrong = row.wrong or row.found
    mark = "!" if wrong else "≠" if row.differs else " "
    spans = [
        Span(mark, "bad" if wrong else "warn"),
        Span(f"{row.position:>5}  ", "plain", PositionTarget(row.position)),
    ]
    before = "" if row.node is None else f"node {row.node} {tokens.text(row.token_id, 10)}"
    target = None if row.node is None else NodeTarget(row.node)
    spans.append(Span(fitted(before, 17), "plain", target))
    if row.slot is not None:
        spans.append(Span(fitted(f" slot {row.slot}", 12), "dim", SlotTarget(row.slot)))
    if row.kept_from is None:
        return tuple(spans)
    source = node_at.get(row.kept_from)
    moved = "stays" if row.kept_from == row.position else "moved"
    after = f" ← {row.kept_from}" + (f" node {source}" if source is not None else "") + f" {moved}"
    spans.append(Span(after, "bad" if row.wrong else "good", None if source is None else NodeTarget(source)))
    if row.wrong:
        wanted = "nothing" if row.expected_from is None else str(row.expected_from)
        spans.append(Span(f", the path calls for {wanted}", "bad"))
    return tuple(spans)


def _position_of(finding: Finding, step: StepView) -> Target | None:
    """Return the position of the finding's node, else the node."""
    places = step.left.values("cache_positions") or []
    if (
        finding.moment.node is not None
        and finding.moment.node < len(places)
        and places[finding.moment.node] is not None
    ):
        return PositionTarget(places[finding.moment.node])
    return node_target(finding, step)


PANEL: Final = Panel(
    "cache",
    "c",
    "cache positions before and after the commit, with path indices",
    cache_lines,
    columns=frozenset(
        {
            *("cache_positions", "slots", "path_indices", "committed_len", "committed_len_after"),
            *("commit_mode", "prefix_kept", "kv_digest_before", "kv_digest_after", "kv_row_digests"),
        }
    ),
    stage="commit",
    stages=("commit",),
    legend=(
        ("←", "the row that the commit put there"),
        ("!", "not the row that the accepted path calls for"),
    ),
    point=_position_of,
)
