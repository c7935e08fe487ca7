"""Every panel of a step, in the order in which a person reads a step."""

from __future__ import annotations

from typing import Final

from tracing.finding import Finding
from workbench.view.acceptance import acceptance_lines
from workbench.view.cache import cache_lines
from workbench.view.distance import distance_lines
from workbench.view.findings import findings_lines
from workbench.view.grid import LEAKED, grid_panel
from workbench.view.lines import Lines
from workbench.view.logits import logits_lines
from workbench.view.panel import Panel
from workbench.view.stages import stages_lines
from workbench.view.step import StepView, ViewOptions
from workbench.view.targets import CellTarget, NodeTarget, PositionTarget, Target
from workbench.view.tree import tree_lines
from workbench.view.visible import visible_lines


def _rules_lines(step: StepView, options: ViewOptions) -> Lines:
    """Draw the rules; all of them are imported when they are first asked for, not when the screen opens."""
    from workbench.view.rules import rules_lines

    return rules_lines(step, options)


PANELS: Final[tuple[Panel, ...]] = (
    Panel("findings", "f", "what was found in this step, and what the rule says", findings_lines),
    Panel(
        "tree",
        "t",
        "the draft tree: tokens, log-probabilities, teacher's choices, accepted path",
        tree_lines,
        frozenset({"parents", "depths", "token_ids", "valid", "position_ids", "draft_logprobs"}),
    ),
    Panel(
        "visible",
        "m",
        "who attends to whom, wrong cells as letters",
        visible_lines,
        frozenset({"visible", "prefix_visible", "other_visible"}),
    ),
    Panel(
        "logits",
        "o",
        "the teacher's best tokens, both sides, with margins",
        logits_lines,
        frozenset({"logits", "target_token_ids", "target_top_ids", "target_top_logits"}),
    ),
    Panel(
        "acceptance",
        "a",
        "the accepted walk and the final token",
        acceptance_lines,
        frozenset({"accepted_nodes", "final_token_id", "emitted_token_ids", "stop_reason"}),
    ),
    Panel(
        "cache",
        "c",
        "cache positions before and after the commit, with path indices",
        cache_lines,
        frozenset(
            {
                "cache_positions",
                "slots",
                "path_indices",
                "committed_len",
                "committed_len_after",
                "commit_mode",
                "prefix_kept",
                "kv_digest_before",
                "kv_digest_after",
                "kv_row_digests",
            }
        ),
    ),
    Panel(
        "distance",
        "b",
        "how far back the drafter looks, in buckets by head and depth",
        distance_lines,
        frozenset({"draft_top1_offsets"}),
    ),
    Panel(
        "stages",
        "s",
        "stage times, kernel, indices, refusals",
        stages_lines,
        frozenset({"index_sites", "kernel"}),
    ),
    Panel("rules", "i", "what the invariants say of this step, judged now", _rules_lines),
)

PANEL_BY_NAME: Final = {panel.name: panel for panel in PANELS}


def panel_for(column: str) -> str:
    """Return the panel that shows a column; findings for a quantity that no panel shows."""
    return next((panel.name for panel in PANELS if column in panel.columns), "findings")


def target_of(finding: Finding, step: StepView) -> Target | None:
    """Return what a finding points to: the wrong cell of the grid, a position, or its node."""
    panel = panel_for(finding.column)
    if panel == "visible":
        return _cell_of(finding, step)
    if panel == "cache" and finding.moment.node is not None:
        places = step.left.values("cache_positions") or []
        if finding.moment.node < len(places) and places[finding.moment.node] is not None:
            return PositionTarget(places[finding.moment.node])
    return None if finding.moment.node is None else NodeTarget(finding.moment.node)


def _cell_of(finding: Finding, step: StepView) -> Target | None:
    """Return the first wrong cell of the finding's row, or of the grid where it names no row."""
    panel = grid_panel(step)
    if panel is not None:
        for query, key in panel.wrong_cells():
            if finding.moment.node in {None, query} and panel.codes[query, key] >= LEAKED:
                return CellTarget(query, key)
    return None if finding.moment.node is None else NodeTarget(finding.moment.node)
