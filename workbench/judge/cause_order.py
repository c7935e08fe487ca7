"""Which of several findings is the cause: the earliest in the data flow, then the lowest node.

Within a stage quantities are computed from each other, so a wrong one makes later ones wrong. Of findings
about one quantity at one node the most specific explains it, and the others repeat it in weaker words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from tracing.finding import Finding
from workbench.judge.rules import RULES


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that a stage computes.

    Attributes:
        name: What it is called here.
        keys: Rule ids and columns of findings about it; a rule id goes before a column.
        needs: Earlier quantities of the stage that it is computed from; None: all of them.
    """

    name: str
    keys: frozenset[str]
    needs: tuple[str, ...] | None = None


def _quantity(name: str, keys: str, needs: str | None = None) -> Quantity:
    return Quantity(name, frozenset(keys.split()), None if needs is None else tuple(needs.split()))


_GIVEN: Final = _quantity(
    "given",
    "JUDGE-INPUT-LAUNCHED JUDGE-INPUT-WRITTEN JUDGE-STALE JUDGE-CACHE-WRITTEN JUDGE-SHAPE STEP001 STEP003 "
    "STEP004 NPU-STATIC-ADDRESS NPU-STATIC-FORM NPU-STATIC-OPERATOR NPU-STATIC-CONTENTS",
    "",
)
"""What a stage was given, or should have left alone."""
_RAISED: Final = _quantity("outcome", "RUN-STAGE-RAISED RUN-STAGE-TIMEOUT")
"""A stage ends in an exception because of what was wrong before."""

FLOW: Final[Mapping[str, tuple[Quantity, ...]]] = {
    "prefill": (
        _GIVEN,
        _quantity("context", "JUDGE-PREFILL-CONTEXT STEP005"),
        _quantity("cached", "num_cached REQ006", "given"),
        _quantity("fed", "committed_len token_ids", "given"),
        _quantity("router", "router_logits"),
        _quantity("experts", "expert_ids expert_loads"),
        _quantity("kv", "kv kv_digest_before"),
        _quantity("features", "features feature_row_digests"),
        _quantity("logits", "logits"),
        _quantity("root", "context_token_ids draws"),
        _RAISED,
    ),
    "draft": (
        _GIVEN,
        _quantity("root", "JUDGE-DRAFT-ROOT STEP002 STEP005"),
        _quantity("rejected", "num_rejected_before", "given"),
        _quantity("stale", "DRAFT005"),
        _quantity("places", "num_cached REQ007 draft_slots draft_position_ids", ""),
        _quantity("kv", "kv"),
        _quantity("levels", "JUDGE-DRAFT-LEVELS DRAFT003"),
        _quantity("proposal", "JUDGE-DRAFT-PROPOSAL JUDGE-DRAW-COUNT JUDGE-DRAFT-DRAWN"),
        _quantity("scores", "JUDGE-DRAFT-SCORES JUDGE-DRAFT-VOCAB draft_logprobs"),
        _quantity("candidates", "JUDGE-DRAFT-CANDIDATES JUDGE-DRAFT-ORDER"),
        _quantity("beams", "beam_flat_ids"),
        _quantity("selected", "flat_ids"),
        _quantity(
            "nodes", "JUDGE-DRAFT-COPIES DRAFT001 DRAFT002 token_ids parents depths draft_parents draft_probs"
        ),
        _quantity("offsets", "draft_top1_offsets"),
        _RAISED,
    ),
    "tensorize": (
        _GIVEN,
        _quantity("token_ids", "token_ids", ""),
        _quantity("logprobs", "draft_logprobs logprobs", ""),
        _quantity("valid", "valid", ""),
        _quantity("parents", "parents draft_parents", "valid"),
        _quantity("depths", "depths", "parents valid"),
        _quantity("positions", "position_ids rotary_position_ids", "depths parents valid"),
        _quantity("cache_positions", "cache_positions", ""),
        _quantity("blocks", "block_ids table_block_ids num_tokens_padded num_reqs_padded", ""),
        _quantity("slots", "slots group_slots", "cache_positions valid blocks"),
        _quantity("visible", "visible", "parents valid"),
        _RAISED,
    ),
    "verify": (
        _GIVEN,
        _quantity("sites", "index_sites"),
        _quantity("lengths", "kv_len kv_len_host", "given"),
        _quantity("visible", "visible prefix_visible other_visible"),
        _quantity("committed", "JUDGE-COMMIT-PREFIX kv_digest_before"),
        _quantity("router", "router_logits"),
        _quantity("experts", "expert_ids expert_loads"),
        _quantity("kv", "kv kv_row_digests"),
        _quantity("features", "features feature_row_digests"),
        _quantity("logits", "logits target_top_logits target_top_ids"),
        _quantity("choices", "LOGIT002 target_token_ids choice_allowed"),
        _RAISED,
    ),
    "accept": (
        _GIVEN,
        _quantity("law", "row_temperature row_top_k row_top_p target_probs"),
        _quantity("draws", "draws"),
        _quantity("accepted", "accepted_nodes"),
        _quantity("final", "final_token_id"),
        _quantity("emitted", "emitted_token_ids"),
        _quantity("logprobs", "emitted_logprobs"),
        _quantity("stop", "stop_reason"),
        _quantity("longest", "ACC003"),  # a path may be short because the turn stops
        _quantity("path", "path_indices", "accepted given"),
        _RAISED,
    ),
    "commit": (
        _GIVEN,
        _quantity("mode", "commit_mode commit_fallback"),
        _quantity("prefix", "JUDGE-COMMIT-PREFIX KV003 JUDGE-COMMIT-KEPT prefix_kept", "given mode"),
        _quantity("length", "committed_len committed_len_after", "given"),
        _quantity("rows", "kv_row_digests kv_digest_after kv_digest_before"),
        _RAISED,
    ),
}
"""What each stage computes, in an order in which nothing comes before what it is computed from."""

EXPLAIN: Final = frozenset(
    {
        *(
            "MASK005",
            "MASK006",
            "MASK007",
            "MASK008",
            "MASK012",
            "DRAFT005",
            "FEAT002",
            "TREE001",
            "IDX003",
            "IDX004",
        ),
        *(
            "JUDGE-DRAFT-VOCAB",
            "JUDGE-LEANING",
            "JUDGE-ROW-MOVED",
            "JUDGE-INPUT-LAUNCHED",
            "JUDGE-STALE",
            "JUDGE-INPUT-WRITTEN",
            "JUDGE-CACHE-WRITTEN",
        ),
    }
)
"""Rules that say what happened, and not only that a value is wrong."""
RECORDED_PAIR: Final = "JUDGE-PATHS-"
"""Rules of comparing two recorded rows: the weakest words, as they do not know which row is right."""

_PLACES: Final[Mapping[str, Mapping[str, int]]] = {
    stage: {key: place for place, each in enumerate(flow) for key in each.keys}
    for stage, flow in FLOW.items()
}


def cause_key(finding: Finding) -> tuple[tuple[int, int, int], int, int, float, int]:
    """Return what findings are sorted by so that the cause comes first.

    That is the step, the stage, the place in its data flow, the node (where none is named, after those that
    name one), and how specific the rule is.
    """
    moment = finding.moment
    node = float("inf") if moment.node is None else float(moment.node)
    return moment.place, moment.stage_number, quantity_place(finding), node, _vagueness(finding)


def quantity_place(finding: Finding) -> int:
    """Return the place of a finding's quantity in the data flow of its stage; what is not known is last."""
    places = _PLACES.get(finding.moment.stage, {})
    return places.get(finding.rule, places.get(finding.column, len(places)))


def follows(finding: Finding, cause: Finding) -> bool:
    """Return whether a finding of the cause's stage is about the same quantity, or one computed from it."""
    flow = FLOW.get(finding.moment.stage, ())
    ours, theirs = quantity_place(finding), quantity_place(cause)
    if ours >= len(flow) or theirs >= len(flow):
        return ours == theirs and finding.column == cause.column
    if ours == theirs:
        return True
    needs = flow[ours].needs
    return theirs < ours if needs is None else flow[theirs].name in needs


def _vagueness(finding: Finding) -> int:
    if finding.rule in EXPLAIN:
        return 0
    if finding.rule.startswith(RECORDED_PAIR):
        return 3
    return 1 if finding.rule in RULES else 2


OF_THE_RECORD: Final = "ROW"
"""Rules of how a step was recorded, which hangs on nothing that it computed."""
Turn = tuple[int, int]


class Causes:
    """The first error of each turn, and what it may have caused."""

    def __init__(self) -> None:
        self._first: dict[Turn, Finding] = {}

    def marked(self, finding: Finding) -> Finding:
        """Mark a finding that the first error of its turn may have caused; remember the first error."""
        turn = finding.moment.place[:2]
        cause = self._first.get(turn)
        if cause is not None and _may_follow(finding, cause):
            return replace(finding, consequence=True)
        if cause is None and finding.severity == "error":
            self._first[turn] = finding
        return finding

    def forget(self, turn: Turn | None = None) -> None:
        """Begin a turn, or all, anew: what is found from here on is independent."""
        if turn is None:
            self._first.clear()
        else:
            self._first.pop(turn, None)


def by_cause(
    findings: Iterable[Finding], rebuilt: Collection[tuple[int, int, int]] = ()
) -> tuple[Finding, ...]:
    """Return findings step by step, the cause first and consequences marked.

    Args:
        findings: Of one path.
        rebuilt: Steps before which the path was rebuilt by prefill.
    """
    causes, waiting, found = Causes(), sorted(rebuilt), []
    for finding in sorted(findings, key=cause_key):
        while waiting and waiting[0] <= finding.moment.place:
            causes.forget(waiting.pop(0)[:2])
        found.append(causes.marked(finding))
    return tuple(found)


def _may_follow(finding: Finding, cause: Finding) -> bool:
    if finding.rule.startswith(OF_THE_RECORD):
        return False
    ours, theirs = ((*each.moment.place, each.moment.stage_number) for each in (finding, cause))
    return follows(finding, cause) if ours == theirs else ours > theirs
