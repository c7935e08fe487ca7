"""How the step was accepted: the walk from the root along the teacher's choices, and the final token."""

from __future__ import annotations

from typing import Final

from workbench.view.lines import Line, Lines, Span, note
from workbench.view.panel import Panel, missing_lines
from workbench.view.safe_text import safe_text
from workbench.view.step import Side, StepView, ViewOptions
from workbench.view.targets import NodeTarget
from workbench.view.tokens import Tokens


def visited_nodes(side: Side) -> list[int]:
    """Return the root and the accepted nodes; none where they are not recorded."""
    accepted = side.values("accepted_nodes")
    return [] if accepted is None else [0, *accepted]


def acceptance_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw the walk of each side, or of the left one alone where both are the same."""
    sides = step.sides
    lines: list[Line] = []
    facts = [_facts(side) for side in sides]
    same = len(sides) == 2 and facts[0] == facts[1] and any(fact is not None for fact in facts[0])
    if same:
        lines.append(note(f"{sides[0].label} and {sides[1].label} accept the same"))
        if options.differences_only:
            return lines
        sides = sides[:1]
    for side in sides:
        lines.append(_title(side, "both" if same else side.label))
        lines += missing_lines(side, "accepted_nodes", "emitted_token_ids")
        lines += [_step_line(side, number, step.tokens) for number in range(len(visited_nodes(side)))]
        lines += _end_lines(side, step.tokens)
        lines += _draw_lines(side)
    return lines


MOST_DRAWS: Final = 8
"""Draws that a line shows."""


def _draw_lines(side: Side) -> Lines:
    """Draw the uniforms of a sampled step, with their seed and place where they have one."""
    draws = side.values("draws")
    if not draws:
        return []
    shown = " ".join(f"{float(draw):.6f}" for draw in draws[:MOST_DRAWS])
    more = f" and {len(draws) - MOST_DRAWS} more" if len(draws) > MOST_DRAWS else ""
    seed, place = side.get("row_seed"), side.get("draw_position")
    where = "" if seed is None or place is None else f" of seed {seed} from place {place}"
    return [note(f"{len(draws)} draws{where}: {shown}{more}")]


def _facts(side: Side) -> list[object]:
    lists = [side.values(name) for name in ("accepted_nodes", "emitted_token_ids")]
    return [*lists, side.get("final_token_id"), side.get("stop_reason")]


def final_kind(side: Side) -> str:
    """Return `bonus` after a leaf, `correction` where children were refused, `cut` at a stop, or nothing."""
    path = visited_nodes(side)
    if not path or side.get("final_token_id") is None:
        return ""
    if side.get("stop_reason"):
        return "cut"
    if side.get("parents") is None:
        return ""
    children = {node for node, parent in enumerate(side.parents) if node and parent == path[-1]}
    return "correction" if children - side.pads else "bonus"


def _title(side: Side, label: str) -> Line:
    accepted = side.values("accepted_nodes")
    if accepted is None:
        return (Span(label, "title"),)
    num_drafted = max(0, side.num_nodes - len(side.pads) - 1)
    return (Span(f"{label}: {len(accepted)} accepted of {num_drafted} drafted", "title"),)


def _step_line(side: Side, number: int, tokens: Tokens) -> Line:
    node, *after = visited_nodes(side)[number:]
    choice = side.at("target_token_ids", node)
    following = side.at("token_ids", after[0]) if after else side.get("final_token_id")
    name = "root" if node == 0 else f"node {node}"
    agrees = choice is None or following is None or choice == following
    spans = [
        Span(f"  {'  ' * min(number, 12)}"),
        Span(f"{name} {tokens.text(side.at('token_ids', node))}", "good", NodeTarget(node)),
        Span(f" → {tokens.text(choice)}", "plain" if agrees else "bad"),
    ]
    if not agrees:
        spans.append(Span(f"  but {tokens.text(following)} follows", "bad"))
    return tuple(spans)


def _end_lines(side: Side, tokens: Tokens) -> list[Line]:
    lines: list[Line] = []
    final, emitted, stop_reason = (
        side.get("final_token_id"),
        side.values("emitted_token_ids"),
        side.get("stop_reason"),
    )
    if final is not None:
        kind = final_kind(side)
        lines.append(
            (
                Span("  final   "),
                Span(tokens.text(final), "accent"),
                Span(f" ({kind})" if kind else "", "dim"),
            )
        )
    if emitted is not None:
        shown = " ".join(tokens.text(token_id) for token_id in emitted)
        lines.append((Span(f"  emitted {len(emitted)}: "), Span(shown, "accent")))
    if stop_reason:
        lines.append(note(f"  the turn stops: {safe_text(stop_reason)}", "warn"))
    return lines


PANEL: Final = Panel(
    "acceptance",
    "a",
    "the accepted walk and the final token",
    acceptance_lines,
    columns=frozenset({"accepted_nodes", "final_token_id", "emitted_token_ids", "stop_reason"}),
    stage="accept",
    stages=("accept",),
    short="accept",
)
