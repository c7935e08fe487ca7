"""One line on what the cursor is on: what it is, why it is right or wrong, how the other side has it."""

from __future__ import annotations

from typing import Any

from invariants.ancestry import path_to_root
from tracing.finding import Finding
from workbench.judge import places
from workbench.view.lines import Line, Role, Span, note
from workbench.view.source_frames import innermost
from workbench.view.step import Side, StepView
from workbench.view.targets import (
    CellTarget,
    FindingTarget,
    NodeTarget,
    PositionTarget,
    SlotTarget,
    SourceTarget,
    Target,
    text_of,
)

MAX_PATH = 6
"""Nodes of a path that are named."""


def explain(step: StepView, target: Target | None) -> Line:
    """Return one line on a target of the left side; an empty one where nothing is known."""
    match target:
        case CellTarget(query, key):
            return _cell(step, query, key)
        case NodeTarget(node):
            return note(_node(step, node), "plain")
        case PositionTarget(position):
            return note(_position(step, position), "plain")
        case SlotTarget(slot):
            return note(f"slot {slot}: enter looks for who wrote it before this step", "plain")
        case FindingTarget():
            return _finding(
                step.all_findings[target.number] if target.number < len(step.all_findings) else None
            )
    return note(
        f"e opens {text_of(target)} in your editor" if isinstance(target, SourceTarget) else "", "plain"
    )


def _finding(finding: Finding | None) -> Line:
    if finding is None:
        return note("")
    place = innermost(finding)
    source = "" if place is None else f"e opens {text_of(place)} in your editor"
    return note(source or f"enter shows what it is about: {finding.column}", "plain")


def both_values(finding: Finding) -> Line:
    """Return one line on a finding that points to no cell, node or position: the value, and the right one."""
    values = places.both_values(finding)
    return note(f"{finding.column}: {values}" if values else "", "plain")


def relation(query: int, key: int, parents: list[Any], pads: frozenset[int]) -> str:
    """Return what `key` is to `query` in the tree, as a noun phrase."""
    if key in pads or query == key:
        return "a pad" if key in pads else "itself"
    ours, theirs = path_to_root(query, parents), path_to_root(key, parents)
    if ours is None or theirs is None:
        return "of a tree whose parents do not lead to the root"
    if key in ours:
        return "its parent" if parents[query] == key else "its ancestor"
    if query in theirs:
        return "its child" if parents[key] == query else "its descendant"
    if parents[query] == parents[key]:
        return "its sibling"
    meeting = next(node for node in ours if node in theirs)
    return f"on another branch, parting at node {meeting}"


def _cell(step: StepView, query: int, key: int) -> Line:
    side = step.left
    seen = _seen(side, query, key)
    if seen is None:
        return note(f"visible[{query}, {key}]: {side.why_not('visible')}")
    verb = "sees" if seen else "does not see"
    who = f"node {query}{_token(step, query)} {verb} node {key}{_token(step, key)}"
    parents, pads = side.parents, side.pads
    role: Role = "plain"
    if query < len(parents) and key < len(parents):
        path = path_to_root(query, parents)
        who += f", {relation(query, key, parents, pads)}"
        if query not in pads and path is not None and seen != (key in path):
            role = "bad"
            who = f"{'leaked' if seen else 'hidden'}: {who}"
    other = _seen(step.right, query, key) if step.right is not None else None
    if step.right is not None and other is not None:
        who += f"; {step.right.label} {'too' if other == seen else 'does not' if seen else 'does'}"
        role = role if other == seen else "bad"
    return (Span(f"[{query}, {key}] ", "accent"), Span(who, role))


def _seen(side: Side, query: int, key: int) -> bool | None:
    grid = side.grid("visible")
    if grid is None or query >= grid.shape[0] or key >= grid.shape[1]:
        return None
    return bool(grid[query, key])


def _token(step: StepView, node: int) -> str:
    token_id = step.left.at("token_ids", node)
    return "" if token_id is None else f" {step.tokens.text(token_id)}"


def _node(step: StepView, node: int) -> str:
    side = step.left
    facts = [
        f"{word} {value}"
        for word, name in (
            ("parent", "parents"),
            ("depth", "depths"),
            ("position", "position_ids"),
            ("cache", "cache_positions"),
            ("slot", "slots"),
        )
        if (value := side.at(name, node)) is not None and (node or name != "parents")
    ]
    path = path_to_root(node, side.parents) if side.parents else None
    if path is not None and node:
        _, *below = (str(each) for each in reversed(path))
        left_out = "… " if len(below) >= MAX_PATH else ""
        facts.append(f"path 0 {left_out}{' '.join(below[1 - MAX_PATH :])}")
    if node in (side.values("accepted_nodes") or []):
        facts.append("accepted")
    if node in side.pads:
        facts.append("a pad")
    return f"{'root' if node == 0 else f'node {node}'}{_token(step, node)}: {', '.join(facts)}"


def _position(step: StepView, position: int) -> str:
    side = step.left
    places = side.values("cache_positions") or []
    facts = []
    if position in places:
        writer = places.index(position)
        facts.append(f"verify wrote node {writer}{_token(step, writer)}")
    length = side.committed_len
    source = None if length is None else side.at("path_indices", position - length)
    if source is not None:
        facts.append("the commit kept it" if source == position else f"the commit put {source} there")
    return f"position {position}: {', '.join(facts) or 'of the prefix'}"
