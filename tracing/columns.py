"""The one table of trace columns: everything else about columns is derived from it.

Columns of format 1.0 come first, those of 1.1 after them; a file holds them in this order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tracing.moment import STAGES

KEY_COLUMNS: Final = ("prompt_id", "turn", "step")
LEVELS: Final = ("basic", "digest", "full")
FORM_AXES: Final = frozenset({"N", "K", "H"})
"""Axes that give a row its form: they must agree within a step."""
AXES: Final = {
    "N": "tree nodes, root and pads included",
    "L": "committed tokens before the step",
    "A": "accepted draft nodes",
    "K": "recorded top logits",
    "H": "heads",
    "G": "KV groups of the cache",
    "B": "blocks, filled up with -1",
    "R": "rows of a rotary position (one per section of a multi-axis rotary embedding)",
    "M": "layers with experts",
    "E": "experts chosen per token",
    "X": "experts of a layer",
    "*": "any length",
}
"""Axis letters. L and A count what happened: a length that disagrees with them is recorded as it is."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a row.

    Attributes:
        name: Name in the trace, in `record(...)` and in the arguments of invariants.
        kind: Element type: `int32`, `int64`, `uint64`, `float32`, `float64`, `bool`, `string`,
            `dictionary` or `sites`.
        axes: None for a scalar; else one axis letter (or expression) per dimension, `*` for a free length.
            More than one axis is stored flat, row-major.
        stage: Stage that produces it, or `any`.
        meaning: One line for the documentation.
        unit: Unit of the values, or empty.
        level: Lowest recorder level that keeps it: `basic`, `digest` or `full`.
        null_entries: Entries of an array may be null and then mean something; in every other column a null
            entry is a value that the column's type cannot hold.
        compared: Two sound runs of the same prompt agree in it (floats and digests: on one machine).
    """

    name: str
    kind: str
    axes: tuple[str, ...] | None
    stage: str
    meaning: str
    unit: str = ""
    level: str = "basic"
    null_entries: bool = False
    compared: bool = True

    @property
    def nullable(self) -> bool:
        """Every column but the three keys may be null: null means not recorded."""
        return self.name not in KEY_COLUMNS

    @property
    def is_list(self) -> bool:
        """True for columns that hold an array per step."""
        return self.axes is not None

    @property
    def shape_text(self) -> str:
        """The shape in axis letters, as error messages and the documentation print it, e.g. `[N, K]`."""
        return "a scalar" if self.axes is None else f"[{', '.join(self.axes)}]"


_TIME: Final = "time of the stage, device synchronised at its end"
_N, _NN, _NK, _NH, _ANY = ("N",), ("N", "N"), ("N", "K"), ("N", "H"), ("*",)

# fmt: off
COLUMNS: Final[tuple[Column, ...]] = (
    Column("prompt_id", "int32", None, "any", "prompt number, from 0"),
    Column("turn", "int32", None, "any", "turn of that prompt, from 0"),
    Column("step", "int32", None, "any", "step of that turn, from 0"),
    Column("context_token_ids", "int32", ("L+1",), "prefill",
           "prompt and first root; on a turn's first step, else null", "token id"),
    Column("proposer", "dictionary", None, "draft",
           "who drafted: eagle3, medusa, lookup, draft_model or the engine's word"),
    Column("committed_len", "int32", None, "any",
           "L: tokens whose KV is committed before the step", "tokens"),
    Column("committed_len_after", "int32", None, "commit", "L after the commit: L + A + 1", "tokens"),
    Column("beam_flat_ids", "int32", _ANY, "draft",
           "kept beams, level after level", "flat candidate number"),
    Column("draft_parents", "int32", _ANY, "draft", "the draft's parents, only where they differ", "node"),
    Column("draft_logprobs", "float32", _N, "draft", "cumulative log-probability; root and pads 0", "nat"),
    Column("token_ids", "int32", _N, "tensorize", "token of each node", "token id"),
    Column("parents", "int32", _N, "tensorize", "parent of each node; the root's is 0", "node"),
    Column("depths", "int32", _N, "tensorize", "distance from the root; pads 0", "nodes"),
    Column("valid", "bool", _N, "tensorize", "False for padding"),
    Column("position_ids", "int32", _N, "tensorize", "rotary position L + depth; pads L", "position"),
    Column("cache_positions", "int32", _N, "tensorize", "logical KV place L + i", "position"),
    Column("slots", "int64", _N, "tensorize", "physical KV slot in a paged cache", "slot"),
    Column("visible", "bool", _NN, "verify",
           "[query, key], True attends; read back from what the attention call was given"),
    Column("prefix_visible", "int32", _N, "verify", "visible committed columns", "columns"),
    Column("other_visible", "int32", _N, "verify",
           "visible columns outside prefix and tree; must be 0", "columns"),
    Column("target_token_ids", "int32", _N, "verify", "teacher's choice after each node", "token id"),
    Column("target_top_ids", "int32", _NK, "verify", "teacher's best tokens, best first", "token id"),
    Column("target_top_logits", "float32", _NK, "verify", "their logits, best first", "logit"),
    Column("feature_row_digests", "uint64", _N, "verify",
           "xxh3_64 of each node's teacher features given to the drafter", level="digest"),
    Column("accepted_nodes", "int32", ("A",), "accept", "accepted draft nodes, root excluded", "node"),
    Column("final_token_id", "int32", None, "accept", "token after the accepted path", "token id"),
    Column("emitted_token_ids", "int32", ("A+1",), "accept", "tokens the user gets", "token id"),
    Column("stop_reason", "string", None, "accept",
           "null, eos, length, stop_token or stop_string; the last token is the cut one"),
    Column("path_indices", "int32", ("A+1",), "accept",
           "logical cache positions kept at commit", "position"),
    Column("commit_mode", "string", None, "commit", "what ran: length, full_reorder or fast_reorder"),
    Column("commit_fallback", "string", None, "commit", "why not the mode that was asked for, or null"),
    Column("prefix_kept", "bool", None, "commit", "rows 0..L-1 kept in order"),
    Column("kv_digest_before", "uint64", None, "verify",
           "chain over the committed KV rows before", level="digest"),
    Column("kv_digest_after", "uint64", None, "commit",
           "chain over the committed KV rows after", level="digest"),
    Column("kv_row_digests", "uint64", _N, "verify",
           "xxh3_64 over K then V bytes of each node's row, layers ascending, native dtype", level="digest"),
    Column("draft_top1_offsets", "int32", _NH, "draft",
           "distance from the expanding query to its most attended key; null where never expanded",
           "positions", level="full", null_entries=True),
    Column("index_sites", "sites", _ANY, "any",
           "lowest and highest index seen at each gather or scatter, and the bound above it",
           "index", level="full", compared=False),
    *(Column(f"{stage}_ns", "int64", None, stage, _TIME, "ns", compared=False) for stage in STAGES),
    Column("kernel", "dictionary", None, "verify",
           "operator, layout, sparse mode, mask dtype and shape, backend", compared=False),
    Column("launch_refused", "string", None, "any", "stage that was not launched, and why"),
    Column("incomplete", "string", None, "any", "why the row lacks something that happened"),
    Column("step_verdict", "string", None, "any", "verdict of the judge on this step", compared=False),
    # Format 1.1: kinds of rows, engines, sampling, experts.
    Column("row_kind", "dictionary", None, "any",
           "null is a step; prefill_chunk, preempted, recompute, withdrawn"),
    Column("launch", "int64", None, "any",
           "number of the engine's forward over a batch of requests", compared=False),
    Column("request_id", "string", None, "any", "the engine's name of the request", compared=False),
    Column("request_epoch", "int32", None, "any", "preemptions of the request so far", compared=False),
    Column("batch_row", "int32", None, "any", "row of the request in the batch", compared=False),
    Column("role", "dictionary", None, "any",
           "what the rank does for the request, in the engine's word", compared=False),
    *(
        Column(f"{kind}_rank", "int32", None, "any", f"{kind} rank", compared=False)
        for kind in ("dp", "tp", "pp", "cp")
    ),
    Column("graph_mode", "dictionary", None, "verify",
           "how the forward was launched, in the engine's word", compared=False),
    Column("num_tokens_padded", "int32", None, "verify",
           "query rows of the launch, padding included", "tokens", compared=False),
    Column("num_reqs_padded", "int32", None, "verify",
           "requests of the launch, padding included", "requests", compared=False),
    Column("query_len", "int32", None, "verify", "query rows of the request", "tokens"),
    Column("kv_len", "int32", None, "verify",
           "KV length of the request on the device, this step's rows included", "tokens"),
    Column("kv_len_host", "int32", None, "verify",
           "KV length that the operator was given from the host", "tokens"),
    Column("num_rejected_before", "int32", None, "any",
           "draft tokens that the step before rejected", "tokens"),
    Column("block_ids", "int32", ("G", "B"), "any",
           "blocks appended; all of them at admission and resume", "block", compared=False),
    Column("num_cached", "int32", None, "any",
           "context tokens found in the cache at admission and resume", "tokens", compared=False),
    Column("group_slots", "int64", ("G", "N"), "tensorize",
           "physical slot per KV group; slots is group 0", "slot", compared=False),
    Column("rotary_position_ids", "int32", ("R", "N"), "tensorize",
           "what rotary was given; position_ids stays logical", "position"),
    Column("discarded_token_ids", "int32", _ANY, "commit", "committed and never emitted", "token id"),
    Column("proposed_token_ids", "int32", _ANY, "draft",
           "as the drafter proposed them, before any cut", "token id"),
    Column("draft_position_ids", "int32", _ANY, "draft",
           "rotary position of each row of the drafter", "position"),
    Column("draft_slots", "int64", _ANY, "draft",
           "physical slot of each row of the drafter", "slot", compared=False),
    Column("logits_kind", "dictionary", None, "verify",
           "what target_top_logits are: raw, masked or processed"),
    Column("allowed_digest", "uint64", _N, "verify",
           "xxh3_64 of the tokens allowed after the node; null: all", level="digest", null_entries=True),
    Column("choice_allowed", "bool", _N, "verify", "the choice after the node is an allowed token"),
    Column("num_invalid_drafts", "int32", None, "draft",
           "draft tokens that the constraint refused", "tokens"),
    Column("row_temperature", "float32", None, "accept", "temperature as the sampler got it"),
    Column("row_top_k", "int32", None, "accept", "top-k as the sampler got it", "tokens"),
    Column("row_top_p", "float32", None, "accept", "top-p as the sampler got it"),
    Column("row_seed", "int64", None, "accept", "seed as the sampler got it"),
    Column("emitted_logprobs", "float32", ("A+1",), "accept",
           "log-probability of each emitted token", "nat"),
    Column("draws", "float64", _ANY, "accept", "recorded uniforms in the order of their use"),
    Column("draw_position", "int64", None, "accept",
           "place of the first draw of the step among those of row_seed", "draws"),
    Column("draft_probs", "float32", _N, "draft",
           "draft law of the node's token given its parent, warped; root 1, pads 0"),
    Column("target_probs", "float32", _N, "accept",
           "teacher's law of the node's token given its parent, warped; root 1, pads 0"),
    Column("recovered_token_id", "int32", None, "accept",
           "token drawn from the residual law after a rejection", "token id"),
    Column("table_block_ids", "int32", ("G", "*"), "tensorize",
           "the worker's block table as given to the kernel, up to kv_len", "kernel block", level="digest",
           compared=False),
    Column("block_copies", "int32", _ANY, "any",
           "copies on write before the launch: group, source, target of each", "block", compared=False),
    Column("expert_ids", "int32", ("M", "N", "E"), "verify",
           "experts chosen per layer and node", "expert", level="full"),
    Column("expert_loads", "int32", ("M", "X"), "verify",
           "tokens of the launch that each expert got", "tokens", level="full"),
)
# fmt: on
"""All columns in file order; add nullable ones freely, each with its stage."""


COLUMN_BY_NAME: Final = {column.name: column for column in COLUMNS}


def names_where(fits: Callable[[Column], bool]) -> tuple[str, ...]:
    """Return the names of the columns for which `fits` holds, in file order."""
    return tuple(column.name for column in COLUMNS if fits(column))


PER_NODE: Final = names_where(lambda column: column.axes == ("N",))
"""Columns with one entry per node."""
PER_NODE_ROWS: Final = names_where(lambda column: ("N",) == (column.axes or ())[:1] != column.axes)
"""Columns with a row of entries per node."""
NULL_ENTRIES: Final = frozenset(names_where(lambda column: column.null_entries))
"""Columns in which an entry may be null."""
