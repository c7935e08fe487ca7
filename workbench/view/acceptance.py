"""How the step was accepted: the walk from the root along the teacher's choices, and the final token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from workbench.view.lines import Line, Lines, Span, note
from workbench.view.missing import missing_lines
from workbench.view.panel import Panel
from workbench.view.safe_text import safe_text
from workbench.view.step import Side, StepView, ViewOptions
from workbench.view.targets import NodeTarget
from workbench.view.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Walk:
    """Acceptance on one side.

    Attributes:
        label: Which side.
        accepted: Accepted draft nodes, None where not recorded.
        visited: The root and the accepted nodes, with token and the teacher's choice after each.
        num_drafted: Valid draft nodes that were offered.
        final_token_id: Token after the path.
        final_kind: `bonus` after a leaf, `correction` where children were refused, `cut` at a stop, or empty.
        emitted: What the user gets, None where not recorded.
        stop_reason: `eos`, `length` or None.
    """

    label: str
    accepted: tuple[int, ...] | None
    visited: tuple[tuple[int, int | None, int | None], ...]
    num_drafted: int
    final_token_id: int | None
    final_kind: str
    emitted: tuple[int, ...] | None
    stop_reason: str | None


def walk_of(side: Side) -> Walk:
    """Return the walk of one side."""
    accepted = side.values("accepted_nodes")
    tokens, choices = side.values("token_ids") or [], side.values("target_token_ids") or []
    valid, emitted = side.values("valid"), side.values("emitted_token_ids")
    num_valid = sum(each is not False for each in valid) if valid is not None else side.num_nodes
    path = [0, *accepted] if accepted is not None else []

    def at(values: list[int], node: int) -> int | None:
        return values[node] if 0 <= node < len(values) else None

    return Walk(
        side.label,
        None if accepted is None else tuple(accepted),
        tuple((node, at(tokens, node), at(choices, node)) for node in path),
        max(0, num_valid - 1),
        side.get("final_token_id"),
        _final_kind(side, path),
        None if emitted is None else tuple(emitted),
        side.get("stop_reason"),
    )


def acceptance_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw the walk of each side, or of the left one alone where both are the same."""
    walks = [walk_of(side) for side in step.sides]
    lines: list[Line] = []
    same = len(walks) == 2 and _facts(walks[0]) == _facts(walks[1])
    if same:
        lines.append(note(f"{walks[0].label} and {walks[1].label} accept the same"))
        if options.differences_only:
            return lines
        walks = walks[:1]
    for side, walk in zip(step.sides, walks, strict=False):
        lines.append(_title(walk, same))
        lines += missing_lines(side, "accepted_nodes", "emitted_token_ids")
        lines += [_step_line(number, walk, step.tokens) for number in range(len(walk.visited))]
        lines += _end_lines(walk, step.tokens)
    return lines


def _facts(walk: Walk) -> tuple[object, ...]:
    return walk.accepted, walk.final_token_id, walk.emitted, walk.stop_reason


def _final_kind(side: Side, path: list[int]) -> str:
    if not path or side.get("final_token_id") is None:
        return ""
    if side.get("stop_reason"):
        return "cut"
    parents = side.values("parents")
    if parents is None:
        return ""
    valid = side.values("valid") or [True] * len(parents)
    has_child = any(
        parent == path[-1] and node and valid[node] is not False for node, parent in enumerate(parents)
    )
    return "correction" if has_child else "bonus"


def _title(walk: Walk, same: bool) -> Line:
    label = "both" if same else walk.label
    if walk.accepted is None:
        return (Span(label, "title"),)
    return (Span(f"{label}: {len(walk.accepted)} accepted of {walk.num_drafted} drafted", "title"),)


def _step_line(number: int, walk: Walk, tokens: Tokens) -> Line:
    node, token_id, choice = walk.visited[number]
    name = "root" if node == 0 else f"node {node}"
    following = walk.visited[number + 1][1] if number + 1 < len(walk.visited) else walk.final_token_id
    agrees = choice is None or following is None or choice == following
    spans = [
        Span(f"  {'  ' * min(number, 12)}"),
        Span(f"{name} {tokens.text(token_id)}", "good", NodeTarget(node)),
        Span(f" → {tokens.text(choice)}", "plain" if agrees else "bad"),
    ]
    if not agrees:
        spans.append(Span(f"  but {tokens.text(following)} follows", "bad"))
    return tuple(spans)


def _end_lines(walk: Walk, tokens: Tokens) -> list[Line]:
    lines: list[Line] = []
    if walk.final_token_id is not None:
        kind = f" ({walk.final_kind})" if walk.final_kind else ""
        lines.append(
            (Span("  final   "), Span(tokens.text(walk.final_token_id), "accent"), Span(kind, "dim"))
        )
    if walk.emitted is not None:
        shown = " ".join(tokens.text(token_id) for token_id in walk.emitted)
        lines.append((Span(f"  emitted {len(walk.emitted)}: "), Span(shown, "accent")))
    if walk.stop_reason:
        lines.append(note(f"  the turn stops: {safe_text(walk.stop_reason)}", "warn"))
    return lines


PANEL: Final = Panel(
    "acceptance",
    "a",
    "the accepted walk and the final token",
    acceptance_lines,
    columns=frozenset({"accepted_nodes", "final_token_id", "emitted_token_ids", "stop_reason"}),
    stage="accept",
    stages=("accept",),
)
