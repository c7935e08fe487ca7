"""The one table of trace columns: everything else about columns is derived from it.

Axis letters: N tree nodes incl. root and pads, L committed tokens before the step, A accepted draft nodes,
K recorded top logits, H heads. N, K and H give a row its form, so they must agree within a step; L and A
count what happened, so a length that disagrees with them (a lost or doubled token) is evidence
and is recorded as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tracing.moment import STAGES

KEY_COLUMNS: Final = ("prompt_id", "turn", "step")
LEVELS: Final = ("basic", "digest", "full")
FORM_AXES: Final = frozenset({"N", "K", "H"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a step row.

    Attributes:
        name: Name in the trace, in `record(...)` and in the arguments of invariants.
        kind: Element type: `int32`, `int64`, `uint64`, `float32`, `bool`, `string`, `dictionary` or `sites`.
        axes: None for a scalar; else one axis letter (or expression) per dimension, `*` for a free length.
            More than one axis is stored flat, row-major.
        stage: Stage that produces it, or `any`.
        level: Lowest recorder level that keeps it: `basic`, `digest` or `full`.
        meaning: One line for the documentation.
        unit: Unit of the values, or empty.
        null_entries: Entries of an array may be null and then mean something; in every other column a null
            entry is a value that the column's type cannot hold.
    """

    name: str
    kind: str
    axes: tuple[str, ...] | None
    stage: str
    level: str
    meaning: str
    unit: str = ""
    null_entries: bool = False

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


_NS_MEANING: Final = "time of the stage, device synchronised at its end"
_N, _NN, _NK, _NH, _FREE = ("N",), ("N", "N"), ("N", "K"), ("N", "H"), ("*",)

COLUMNS: Final[tuple[Column, ...]] = (
    Column("prompt_id", "int32", None, "any", "basic", "prompt number, from 0"),
    Column("turn", "int32", None, "any", "basic", "turn of that prompt, from 0"),
    Column("step", "int32", None, "any", "basic", "step of that turn, from 0"),
    Column(
        "context_token_ids",
        "int32",
        ("L+1",),
        "prefill",
        "basic",
        "prompt and first root; on a turn's first step, else null",
        "token id",
    ),
    Column(
        "proposer", "dictionary", None, "draft", "basic", "who drafted: eagle3, medusa, pld or the engine's"
    ),
    Column(
        "committed_len",
        "int32",
        None,
        "any",
        "basic",
        "L: tokens whose KV is committed before the step",
        "tokens",
    ),
    Column(
        "committed_len_after", "int32", None, "commit", "basic", "L after the commit: L + A + 1", "tokens"
    ),
    Column(
        "beam_flat_ids",
        "int32",
        _FREE,
        "draft",
        "basic",
        "kept beams, level after level",
        "flat candidate number",
    ),
    Column(
        "draft_parents",
        "int32",
        _FREE,
        "draft",
        "basic",
        "the draft's parents, only where they differ",
        "node",
    ),
    Column(
        "draft_logprobs",
        "float32",
        _N,
        "draft",
        "basic",
        "cumulative log-probability; root and pads 0",
        "nat",
    ),
    Column("token_ids", "int32", _N, "tensorize", "basic", "token of each node", "token id"),
    Column("parents", "int32", _N, "tensorize", "basic", "parent of each node; the root's is 0", "node"),
    Column("depths", "int32", _N, "tensorize", "basic", "distance from the root; pads 0", "nodes"),
    Column("valid", "bool", _N, "tensorize", "basic", "False for padding"),
    Column(
        "position_ids", "int32", _N, "tensorize", "basic", "rotary position L + depth; pads L", "position"
    ),
    Column("cache_positions", "int32", _N, "tensorize", "basic", "logical KV place L + i", "position"),
    Column("slots", "int64", _N, "tensorize", "basic", "physical KV slot in a paged cache", "slot"),
    Column(
        "visible",
        "bool",
        _NN,
        "verify",
        "basic",
        "visible[query, key], True attends; read back from what the attention call was given",
    ),
    Column("prefix_visible", "int32", _N, "verify", "basic", "visible committed columns", "columns"),
    Column(
        "other_visible",
        "int32",
        _N,
        "verify",
        "basic",
        "visible columns outside prefix and tree; must be 0",
        "columns",
    ),
    Column(
        "target_token_ids", "int32", _N, "verify", "basic", "teacher's choice after each node", "token id"
    ),
    Column(
        "target_top_ids", "int32", _NK, "verify", "basic", "teacher's best tokens, best first", "token id"
    ),
    Column("target_top_logits", "float32", _NK, "verify", "basic", "their logits, best first", "logit"),
    Column(
        "feature_row_digests",
        "uint64",
        _N,
        "verify",
        "digest",
        "xxh3_64 of each node's teacher features handed to the drafter",
    ),
    Column(
        "accepted_nodes", "int32", ("A",), "accept", "basic", "accepted draft nodes, root excluded", "node"
    ),
    Column("final_token_id", "int32", None, "accept", "basic", "token after the accepted path", "token id"),
    Column("emitted_token_ids", "int32", ("A+1",), "accept", "basic", "tokens the user gets", "token id"),
    Column("stop_reason", "string", None, "accept", "basic", "null, eos or length"),
    Column(
        "path_indices",
        "int32",
        ("A+1",),
        "accept",
        "basic",
        "logical cache positions kept at commit",
        "position",
    ),
    Column(
        "commit_mode", "string", None, "commit", "basic", "what ran: length, full_reorder or fast_reorder"
    ),
    Column(
        "commit_fallback", "string", None, "commit", "basic", "why not the mode that was asked for, or null"
    ),
    Column("prefix_kept", "bool", None, "commit", "basic", "rows 0..L-1 kept in order"),
    Column("kv_digest_before", "uint64", None, "verify", "digest", "chain over the committed KV rows before"),
    Column("kv_digest_after", "uint64", None, "commit", "digest", "chain over the committed KV rows after"),
    Column(
        "kv_row_digests",
        "uint64",
        _N,
        "verify",
        "digest",
        "xxh3_64 over K then V bytes of each node's row, layers ascending, native dtype",
    ),
    Column(
        "draft_top1_offsets",
        "int32",
        _NH,
        "draft",
        "full",
        "distance from the query that expanded the node to its most attended key; null where never expanded",
        "positions",
        null_entries=True,
    ),
    Column(
        "index_sites",
        "sites",
        _FREE,
        "any",
        "full",
        "lowest and highest index seen at each gather or scatter, and the bound it must stay under",
        "index",
    ),
    *(Column(f"{stage}_ns", "int64", None, stage, "basic", _NS_MEANING, "ns") for stage in STAGES),
    Column(
        "kernel",
        "dictionary",
        None,
        "verify",
        "basic",
        "operator, layout, sparse mode, mask dtype and shape, backend",
    ),
    Column("launch_refused", "string", None, "any", "basic", "stage that was not launched, and why"),
    Column("incomplete", "string", None, "any", "basic", "why the row lacks something that happened"),
    Column("step_verdict", "string", None, "any", "basic", "verdict of the judge on this step"),
)
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
