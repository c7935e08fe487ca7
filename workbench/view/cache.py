"""Cache positions before and after the commit: where each node's K/V was, and what is there now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tracing.finding import Finding
from workbench.view.lines import Line, Lines, Role, Span, note
from workbench.view.missing import missing_lines
from workbench.view.panel import Panel, node_target
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


@dataclass(frozen=True, slots=True)
class CachePanel:
    """Positions from L on.

    Attributes:
        rows: One per position that the tree or the commit touched, in order.
        committed_len, committed_len_after: Lengths, None where not recorded.
        expected_len_after: L + A + 1, None where unknown.
        position_of_node: Where each node was put.
    """

    rows: tuple[CacheRow, ...]
    committed_len: int | None
    committed_len_after: int | None
    expected_len_after: int | None
    position_of_node: dict[int, int]


def cache_panel(step: StepView) -> CachePanel:
    """Return the positions of the left side."""
    side = step.left
    places = side.values("cache_positions") or []
    slots, token_ids = side.values("slots") or [], side.values("token_ids") or []
    accepted, kept = side.values("accepted_nodes"), side.values("path_indices") or []
    other_kept = (step.right.values("path_indices") if step.right is not None else None) or []
    length = side.committed_len
    node_at = {place: node for node, place in reversed(list(enumerate(places))) if place is not None}
    expected = _expected(accepted, places)
    named = {finding.moment.node for finding in step.own_findings() if finding.column in FINDING_COLUMNS}
    start = length if length is not None else min(node_at, default=0)
    last = max([*node_at, start + len(kept) - 1], default=start - 1)
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
                _item(slots, node),
                _item(token_ids, node),
                _item(kept, offset),
                _item(expected, offset),
                _item(other_kept, offset),
                node is not None and node in named,
            )
        )
    after = side.get("committed_len_after")
    return CachePanel(
        tuple(rows),
        length,
        None if after is None else int(after),
        None if length is None or accepted is None else length + len(accepted) + 1,
        {node: place for node, place in enumerate(places) if place is not None},
    )


def cache_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw the positions: before on the left, after on the right."""
    side, panel = step.left, cache_panel(step)
    node_of_place = {place: node for node, place in panel.position_of_node.items()}
    lines = missing_lines(side, "cache_positions", "path_indices")
    lines += [_lengths(panel), *_mode(side), *_digests(step)]
    rows = panel.rows
    if options.differences_only:
        rows = tuple(row for row in rows if row.wrong or row.differs or row.found)
    if rows:
        lines.append(note("   place  before the commit   after, by path_indices"))
    if not options.differences_only and panel.committed_len:
        lines.append(
            (Span(f"  0..{panel.committed_len - 1}", "dim"), Span(f"  prefix, {_kept(side)}", "dim"))
        )
    for row in rows:
        lines.append(_row_line(row, step.tokens, node_of_place))
        if row.differs and step.right is not None:
            lines.append(note(f"      ≠ {step.right.label} keeps position {row.other_from} here", "warn"))
    if options.differences_only and not rows:
        lines.append(note("every kept row is the one that the accepted path calls for"))
    return lines


def _expected(accepted: list[int] | None, places: list[int]) -> list[int | None]:
    """Return the positions that should be kept: the root's and the accepted nodes'."""
    if accepted is None or not places:
        return []
    return [places[node] if 0 <= node < len(places) else None for node in (0, *accepted)]


def _item(values: list[int] | list[int | None], number: int | None) -> int | None:
    return values[number] if number is not None and 0 <= number < len(values) else None


def _lengths(panel: CachePanel) -> Line:
    def shown(value: int | None) -> str:
        return "not recorded" if value is None else str(value)

    text = f"committed length {shown(panel.committed_len)} → {shown(panel.committed_len_after)}"
    after, expected = panel.committed_len_after, panel.expected_len_after
    if after is not None and expected is not None and after != expected:
        return (Span("!", "bad"), Span(f" {text}, expected {expected} (L + A + 1)", "bad"))
    return (Span(f"  {text}", "plain"),)


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


def _row_line(row: CacheRow, tokens: Tokens, node_of_place: dict[int, int]) -> Line:
    wrong = row.wrong or row.found
    mark = "!" if wrong else "≠" if row.differs else " "
    spans = [
        Span(mark, "bad" if wrong else "warn"),
        Span(f"{row.position:>6}  ", "plain", PositionTarget(row.position)),
    ]
    before = "" if row.node is None else f"node {row.node} {tokens.text(row.token_id, 12)}"
    target = None if row.node is None else NodeTarget(row.node)
    spans.append(Span(fitted(before, 19), "plain", target))
    if row.slot is not None:
        spans.append(Span(fitted(f" slot {row.slot}", 12), "dim", SlotTarget(row.slot)))
    if row.kept_from is None:
        return tuple(spans)
    source = node_of_place.get(row.kept_from)
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
