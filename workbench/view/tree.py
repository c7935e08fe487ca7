"""The draft tree: parents and children, the teacher's choice after each node, and what was accepted.

    !* ├─ 1 'the'     -0.06  → 'cat' = 4

reads: a finding names the node, it was accepted, its cumulative log-probability, the teacher's choice after
it, and the child that drafted that choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from workbench.view.lines import Line, Lines, Role, Span, note
from workbench.view.panel import Panel, missing_lines
from workbench.view.step import Side, StepView, ViewOptions, differ
from workbench.view.targets import NodeTarget
from workbench.view.tokens import Tokens
from workbench.view.width import cell_width, fitted

COLUMNS = ("token_ids", "parents", "depths", "valid", "draft_logprobs", "target_token_ids", "position_ids")
MAX_LABEL = 44


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One node as drawn.

    Attributes:
        node: Its number.
        branch: Lines that lead to it, e.g. `│  └─ `.
        token_id, logprob, choice: As recorded, None where not.
        child: Child that drafted the teacher's choice, None where none did.
        accepted: It is on the accepted path (the root does where anything was accepted or emitted).
        stray: Its parents do not lead to the root.
        found: A finding of this step names it.
        remark: What does not fit its parent or its position, empty where all does.
        differences: Column, this side's value and the other's, where the two sides differ.
    """

    node: int
    branch: str
    token_id: int | None
    logprob: float | None
    choice: int | None
    child: int | None
    accepted: bool
    stray: bool
    found: bool
    remark: str = ""
    differences: tuple[tuple[str, Any, Any], ...] = ()


def tree_nodes(step: StepView) -> list[TreeNode]:
    """Return the valid nodes of the left side in the order of drawing, stray ones last."""
    side, pads = step.left, step.left.pads
    shown = [node for node in range(side.num_nodes) if node not in pads]
    children = _children(side, shown)
    accepted = (
        {0, *(side.values("accepted_nodes") or [])} if side.get("accepted_nodes") is not None else set()
    )
    drawn = list(_walk(children, set(shown))) if side.parents else [(node, "") for node in shown]
    reached = {node for node, _ in drawn}
    drawn += [(node, "? ") for node in shown if node not in reached]
    found = step.finding_nodes()
    return [
        TreeNode(
            node=node,
            branch=branch,
            token_id=side.at("token_ids", node),
            logprob=side.at("draft_logprobs", node),
            choice=side.at("target_token_ids", node),
            child=_child_with_choice(side, node, children.get(node, ())),
            accepted=node in accepted,
            stray=node not in reached,
            found=node in found,
            remark=_remark(side, node),
            differences=_differences(side, step.right, node),
        )
        for node, branch in drawn
    ]


def tree_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw the tree."""
    lines = missing_lines(step.left, "parents", "token_ids")
    nodes, other = tree_nodes(step), step.right.label if step.right else ""
    if options.differences_only:
        nodes = [node for node in nodes if node.differences or node.found or node.stray]
        if not nodes:
            return [*lines, note("no node differs" if other else "no other side to differ from")]
    width = min(MAX_LABEL, max((cell_width(_label(node, step.tokens)) for node in nodes), default=0))
    for node in nodes:
        lines.append(_node_line(node, step.tokens, width))
        lines.extend(_difference_line(node, each, other, step.tokens) for each in node.differences)
    pads = sorted(step.left.pads)
    if pads and not options.differences_only:
        lines.append(note(f"   {len(pads)} padding rows: nodes {_ranges(pads)}"))
    return lines


def _children(side: Side, shown: Sequence[int]) -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for node in shown:
        parent = side.at("parents", node)
        if node and parent is not None:
            children.setdefault(parent, []).append(node)
    return children


def _walk(children: dict[int, list[int]], shown: set[int]) -> Iterator[tuple[int, str]]:
    """Yield node and branch from the root down, each node once even where parents run in a circle."""
    pending, seen = [(0, "", "")], set()
    while pending:
        node, branch, stem = pending.pop()
        if node in seen or node not in shown:
            continue
        seen.add(node)
        yield node, branch
        below = [child for child in children.get(node, ()) if child not in seen]
        for child in reversed(below):
            last = child == below[-1]
            pending.append((child, stem + ("└─ " if last else "├─ "), stem + ("   " if last else "│  ")))


def _child_with_choice(side: Side, node: int, children: Sequence[int]) -> int | None:
    choice = side.at("target_token_ids", node)
    return next(
        (child for child in children if choice is not None and side.at("token_ids", child) == choice), None
    )


def _remark(side: Side, node: int) -> str:
    """Hold a node's depth against its parent's and its position against L + depth."""
    depth, position, parent = (side.at(name, node) for name in ("depths", "position_ids", "parents"))
    above, length = side.at("depths", parent) if node else None, side.committed_len
    if depth is not None and above is not None and depth != above + 1:
        return f"depth {depth}, its parent's is {above}"
    if depth is not None and position is not None and length is not None and position != length + depth:
        return f"position {position}, expected {length + depth} (L + depth)"
    return ""


def _differences(side: Side, other: Side | None, node: int) -> tuple[tuple[str, Any, Any], ...]:
    if other is None:
        return ()
    pairs = [(name, side.at(name, node), other.at(name, node)) for name in COLUMNS]
    return tuple((name, ours, theirs) for name, ours, theirs in pairs if differ(ours, theirs))


def _label(node: TreeNode, tokens: Tokens) -> str:
    return f"{node.branch}{node.node} {tokens.text(node.token_id)}"


def _node_line(node: TreeNode, tokens: Tokens, width: int) -> Line:
    target = NodeTarget(node.node)
    wrong = node.found or node.stray or bool(node.remark)
    mark = "!" if wrong else "≠" if node.differences else " "
    role: Role = "good" if node.accepted else "plain"
    logprob = "" if node.logprob is None else f"{node.logprob:7.2f}"
    spans = [
        Span(mark, "bad" if wrong else "warn"),
        Span("* " if node.accepted else "  ", "good"),
        Span(fitted(_label(node, tokens), width), role, target),
        Span(f" {logprob:>7}", "dim"),
    ]
    if node.choice is not None:
        spans.append(Span(f"  → {tokens.text(node.choice)}", "plain"))
        spans.append(Span("" if node.child is None else f" = {node.child}", "good"))
    if node.remark or node.stray:
        spans.append(Span(f"  {node.remark or 'not under the root'}", "bad"))
    return tuple(spans)


def _difference_line(node: TreeNode, difference: tuple[str, Any, Any], other: str, tokens: Tokens) -> Line:
    name, ours, theirs = difference
    as_token = name in {"token_ids", "target_token_ids"}
    here, there = (tokens.text(each) if as_token else f"{each:.6g}" for each in (ours, theirs))
    indent = " " * (3 + cell_width(node.branch))
    return (Span(f"{indent}≠ {name} {here}, {other} {there}", "warn", NodeTarget(node.node)),)


def _ranges(numbers: Sequence[int]) -> str:
    """Return `3-5, 9`."""
    pieces: list[list[int]] = []
    for number in numbers:
        if pieces and number == pieces[-1][1] + 1:
            pieces[-1][1] = number
        else:
            pieces.append([number, number])
    return ", ".join(f"{low}-{high}" if low < high else str(low) for low, high in pieces)


PANEL: Final = Panel(
    "tree",
    "t",
    "the draft tree: tokens, log-probabilities, teacher's choices, accepted path",
    tree_lines,
    columns=frozenset({"parents", "depths", "token_ids", "valid", "position_ids", "draft_logprobs"}),
    stage="tensorize",
    stages=("draft", "tensorize"),
    legend=(
        ("*", "accepted"),
        ("!", "a finding names it"),
        ("≠", "the two sides differ"),
        ("→", "the teacher's choice after it"),
        ("= 4", "node 4 drafted that choice"),
    ),
)
